"""The surrogate's hyperparameters and how well they explain the data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gptune.core.history import HALF_LIFE, TrainingData
from gptune.core.kernels import KERNELS, LN2, square_distances, time_correlation
from gptune.core.space import cube
from gptune.core.transforms import WARPS, Bent

NOISE_FLOOR = 1e-6  # [standardised units, squared]
JITTERS = (0.0, 1e-8, 1e-6, 1e-4, 1e-3)  # tried in turn until the covariance has a Cholesky factor


@dataclass(frozen=True, slots=True)
class Form:
    """What is fitted: the family of models, chosen before its hyperparameters.

    Args:
        kernel: Key of ``KERNELS``.
        warp: Key of ``WARPS``, or ``none``.
        fits_half_life: Whether the rate of decay is a hyperparameter too.
    """

    kernel: str = "matern52"
    warp: str = "none"
    fits_half_life: bool = False


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """One member of the family.

    Attributes:
        lengthscale: Of each dimension [sides of the unit cube], shape ``(d,)``.
        noise: Variance of an observation [standardised units, squared], shape ``()``.
        half_life: Age at which correlation is one half [observations], shape ``()``; ``None``
            where nothing decays or the rate is given.
        warp: The outcome warp's parameter, shape ``()``; ``None`` without a warp.
    """

    lengthscale: Tensor
    noise: Tensor
    half_life: Tensor | None = None
    warp: Tensor | None = None

    def pack(self) -> Tensor:
        """Write them on the scale they are fitted on: logarithms, and the warp's parameter."""
        parts = [self.lengthscale.log(), self.noise.log().reshape(1)]
        if self.half_life is not None:
            parts.append(self.half_life.log().reshape(1))
        if self.warp is not None:
            parts.append(self.warp.reshape(1))
        return torch.cat(parts)

    @staticmethod
    def unpack(theta: Tensor, form: Form) -> "Hyperparameters":
        """Read what `pack` wrote."""
        d = len(theta) - 1 - form.fits_half_life - (form.warp != "none")
        return Hyperparameters(
            lengthscale=theta[:d].exp(),
            noise=theta[d].exp(),
            half_life=theta[d + 1].exp() if form.fits_half_life else None,
            warp=theta[-1] if form.warp != "none" else None,
        )

    def adapt(self, form: Form) -> "Hyperparameters":
        """Carry what fits over to another form; what it has beyond starts at the prior's mode."""
        start = prior_mode(len(self.lengthscale), form)
        kept = self.half_life if self.half_life is not None and form.fits_half_life else None
        return replace(
            start,
            lengthscale=self.lengthscale,
            noise=self.noise,
            half_life=kept if kept is not None else start.half_life,
        )


def prior(dimension: int, form: Form) -> tuple[Tensor, Tensor]:
    """Means and deviations of the normal prior over what `pack` writes, each ``(p,)``.

    Source:
        The dimension-scaled prior of Hvarfner et al. (2024), arXiv:2402.02229, moved to shorter
        lengthscales and lower noise by measurement on sixteen problems. The half-life's median
        is ``eps = .1`` of Bogunovic et al. (2016), arXiv:1601.06650.
    """
    center = [math.sqrt(2) + math.log(dimension) / 2 - 3] * dimension + [-6.0]
    spread = [math.sqrt(3)] * dimension + [1.5]
    if form.fits_half_life:
        center.append(math.log(HALF_LIFE))
        spread.append(1.0)
    if form.warp != "none":
        center.append(WARPS[form.warp].center)
        spread.append(WARPS[form.warp].spread)
    return cube(center), cube(spread)


def prior_mode(dimension: int, form: Form) -> Hyperparameters:
    """Give the hyperparameters before any data."""
    return Hyperparameters.unpack(prior(dimension, form)[0], form)


def half_life_of(data: TrainingData, hyper: Hyperparameters) -> float | None:
    """Give the half-life in force: the fitted one, or the given one."""
    return float(hyper.half_life) if hyper.half_life is not None else data.half_life


def covariance(data: TrainingData, hyper: Hyperparameters, form: Form) -> Tensor:
    """Covariance of the observations, noise included, shape ``(n, n)``."""
    scaled = data.x / hyper.lengthscale
    r2 = square_distances(scaled, scaled)
    r2.fill_diagonal_(0.0)
    signal, _ = KERNELS[form.kernel](r2)
    half_life = half_life_of(data, hyper)
    if half_life is not None:
        signal = signal * time_correlation(data.age, data.age, half_life)
    return signal + torch.diag((data.noise + hyper.noise + NOISE_FLOOR) / data.weight)


def factor(matrix: Tensor) -> Tensor | None:
    """Lower Cholesky factor, with more jitter until there is one; ``None`` if there is none."""
    lower, sound = factors(matrix.unsqueeze(0))
    return lower[0] if sound else None


def factors(matrices: Tensor) -> tuple[Tensor, bool]:
    """Lower Cholesky factors with as little jitter as serves all, and whether there are any.

    Args:
        matrices: Symmetric, shape ``(s, n, n)``.
    """
    for jitter in JITTERS:
        raised = matrices.clone() if jitter else matrices
        raised.diagonal(dim1=-2, dim2=-1).add_(jitter)
        lower: Tensor
        lower, info = torch.linalg.cholesky_ex(raised)
        # What is not finite anywhere spreads to the last pivot.
        if not info.any() and bool(lower[:, -1, -1].isfinite().all()):
            return lower, True
    return matrices, False


def profiled_mean(inverse: Tensor, y: Tensor) -> Tensor:
    """Best constant mean given the covariance's inverse, shape ``()``."""
    solved = inverse.sum(0)
    return (solved @ y) / solved.sum()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Values as the GP sees them: warped and standardised, with the Jacobian of both."""

    value: Tensor  # shape (s, n)
    log_jacobian: Tensor  # sum over the values, shape (s,)
    by_parameter: Tensor  # d value / d warp, but for what all values share, shape (s, n)
    log_jacobian_by_parameter: Tensor  # shape (s,)


def outcome(bent: Bent, parameter: Tensor) -> Outcome:
    """Warp standardised values and standardise them again.

    Args:
        bent: A warp bound to the values.
        parameter: Of the warp, shape ``(s,)``.
    """
    made = bent(parameter.unsqueeze(-1))
    size = made.value.shape[-1]
    centered = made.value - made.value.mean(-1, keepdim=True)
    deviation = centered.square().mean(-1).sqrt().clamp_min(1e-12)
    value = centered / deviation.unsqueeze(-1)
    stretch = (value * made.by_parameter).mean(-1) / deviation  # d log deviation / d parameter
    return Outcome(
        value=value,
        log_jacobian=made.log_slope.sum(-1) - size * deviation.log(),
        # The part that all share is the mean's to take up.
        by_parameter=made.by_parameter / deviation.unsqueeze(-1) - value * stretch.unsqueeze(-1),
        log_jacobian_by_parameter=made.log_slope_by_parameter.sum(-1) - size * stretch,
    )


class LogPosterior:
    """Log marginal likelihood plus log prior of the hyperparameters, and its gradient.

    Computes ``-(r' K^-1 r + log|K| + n log 2 pi) / 2 + log|J| + log p(theta)`` with the residuals
    r of the warped values from the profiled mean and the warp's Jacobian J, so that warps compare
    with each other and with none. The gradient is ``tr((a a' - K^-1) dK) / 2`` with
    ``a = K^-1 r``; the mean adds nothing to it, being at its optimum.

    Args:
        data: Standardised training data, n observations.
        form: What is fitted; its warp is that of every row, unless ``warps`` says otherwise.
        warps: The warp of each row; several families are fitted in lock step, for on few
            observations a call costs more than its arithmetic.

    Source:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, eq. 5.8 and 5.9.
    """

    def __init__(self, data: TrainingData, form: Form, warps: Sequence[str] = ()) -> None:
        self._data, self._d = data, data.x.shape[-1]
        self._kernel = KERNELS[form.kernel]
        self._warps = np.array(warps or [form.warp])
        self._bent = {w: WARPS[w].bind(data.y) for w in dict.fromkeys(self._warps) if w != "none"}
        tables = [prior(self._d, replace(form, warp=str(warp))) for warp in self._warps]
        self._center = torch.stack([center for center, _ in tables])
        self._scale = torch.stack([scale for _, scale in tables])
        self._given_noise = (data.noise + NOISE_FLOOR) / data.weight
        self._size = len(data) * math.log(2 * math.pi)
        self._gap = self._fade = None
        if form.fits_half_life:
            self._gap = (data.age.unsqueeze(-1) - data.age).abs() * LN2
        elif data.half_life is not None:
            self._fade = time_correlation(data.age, data.age, data.half_life)

    def __call__(self, theta: Tensor, rows: Sequence[int] = (0,)) -> tuple[Tensor, Tensor]:
        """Give the heights and the gradients.

        Args:
            theta: As `Hyperparameters.pack` writes them, shape ``(s, p)``.
            rows: Whose warps and priors hold, in order, shape ``(s,)``.

        Returns:
            The heights, shape ``(s,)``, and the gradients, shape ``(s, p)``; heights of minus
            infinity where a covariance has no Cholesky factor.
        """
        d, natural = self._d, theta.exp()
        scaled = self._data.x / natural[:, None, :d]  # (s, n, d)
        r2 = square_distances(scaled, scaled)
        r2.diagonal(dim1=-2, dim2=-1).zero_()
        signal, slope = self._kernel(r2)
        fade = self._fade
        if self._gap is not None:
            fade = torch.exp(self._gap / -natural[:, d + 1, None, None])
        if fade is not None:
            signal, slope = signal * fade, slope * fade
        noise = natural[:, d, None] / self._data.weight  # (s, n)
        signal.diagonal(dim1=-2, dim2=-1).add_(noise + self._given_noise)
        lower, sound = factors(signal)
        if not sound:
            return self._one_by_one(theta, rows)
        value, jacobian, by_parameter, jacobian_slope = self._outcomes(theta[:, -1], rows)
        inverse = torch.cholesky_inverse(lower)
        ones = inverse.sum(-1)  # K^-1 1
        mean = (ones * value).sum(-1) / ones.sum(-1)
        residual = value - mean.unsqueeze(-1)
        weights = (inverse @ residual.unsqueeze(-1)).squeeze(-1)
        height = -0.5 * ((residual * weights).sum(-1) + self._size) + jacobian
        height = height - lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        pull = 0.5 * (weights.unsqueeze(-1) * weights.unsqueeze(-2) - inverse)  # (s, n, n)
        parts = [_by_lengthscale(scaled, pull * slope)]
        parts.append((pull.diagonal(dim1=-2, dim2=-1) * noise).sum(-1, keepdim=True))
        if self._gap is not None:
            by_time = (pull * signal * self._gap).sum((-2, -1)) / natural[:, d + 1]
            parts.append(by_time.unsqueeze(-1))
        if by_parameter is not None:
            by_warp = jacobian_slope - (weights * by_parameter).sum(-1)
            parts.append(by_warp.unsqueeze(-1))
        scale = self._scale[rows]
        away = (theta - self._center[rows]) / scale
        return height - 0.5 * away.square().sum(-1), torch.cat(parts, dim=-1) - away / scale

    def _outcomes(
        self, parameter: Tensor, rows: Sequence[int]
    ) -> tuple[Tensor, Tensor | float, Tensor | None, Tensor | float]:
        """The values of each row as the GP sees them, and what `Outcome` holds beside."""
        if not self._bent:
            return self._data.y.expand(len(parameter), -1), 0.0, None, 0.0
        made, warps = [], self._warps[list(rows)]
        for warp, bent in self._bent.items():
            mine = torch.from_numpy(np.flatnonzero(warps == warp))
            if len(mine):
                made.append(outcome(bent, parameter[mine]))
        return (
            torch.cat([one.value for one in made]),
            torch.cat([one.log_jacobian for one in made]),
            torch.cat([one.by_parameter for one in made]),
            torch.cat([one.log_jacobian_by_parameter for one in made]),
        )

    def _one_by_one(self, theta: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Where a covariance has no factor: the others shall not suffer for it."""
        if len(theta) == 1:
            return torch.full_like(theta[:, 0], -torch.inf), torch.zeros_like(theta)
        alone = [self(theta[i : i + 1], rows[i : i + 1]) for i in range(len(theta))]
        return torch.cat([h for h, _ in alone]), torch.cat([g for _, g in alone])


def _by_lengthscale(scaled: Tensor, weight: Tensor) -> Tensor:
    """Sum ``weight_ab (x_aj - x_bj)**2`` over all pairs; the weight is symmetric.

    Two matrix products instead of a tensor of all gaps: ``2 x_j' (diag(rows) - W) x_j``.

    Args:
        scaled: Places, shape ``(s, n, d)``.
        weight: Of each pair, shape ``(s, n, n)``.

    Returns:
        Shape ``(s, d)``.
    """
    rows = weight.sum(-1, keepdim=True)
    return 2.0 * (scaled * (rows * scaled - weight @ scaled)).sum(-2)
