"""The surrogate's hyperparameters and how well they explain the data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gptune.core.ascent import row_dot
from gptune.core.history import HALF_LIFE, TrainingData
from gptune.core.kernels import KERNELS, LN2, square_distances, time_correlation
from gptune.core.space import cube
from gptune.core.transforms import WARPS, Array, Bent

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
        lengthscales and to lower but less certain noise by measurement (docs/benchmarks.md). The
        half-life's prior is narrow: left free, a slow rate explains a drift as well as a fast one,
        and follows it less well (the same page).
    """
    center = [math.sqrt(2) + math.log(dimension) / 2 - 2.5] * dimension + [-6.0]
    spread = [1.5] * dimension + [2.5]
    if form.fits_half_life:
        center.append(math.log(HALF_LIFE))
        spread.append(0.15)
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
        raised = matrices
        if jitter:
            raised = matrices.clone()
            raised.diagonal(dim1=-2, dim2=-1).add_(jitter)
        lower: Tensor
        lower, info = torch.linalg.cholesky_ex(raised)
        # What is not finite anywhere spreads to the last pivot.
        if not info.numpy().any() and np.isfinite(lower[:, -1, -1].numpy()).all():
            return lower, True
    return matrices, False


def profiled_mean(inverse: Tensor, y: Tensor) -> Tensor:
    """Best constant mean given the covariance's inverse, shape ``()``."""
    solved = inverse.sum(0)
    return (solved @ y) / solved.sum()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Values as the GP sees them: warped and standardised, with the Jacobian of both."""

    value: Array  # shape (s, n)
    log_jacobian: Array  # sum over the values, shape (s,)
    by_parameter: Array  # d value / d warp, but for what all values share, shape (s, n)
    log_jacobian_by_parameter: Array  # shape (s,)


def outcome(bent: Bent, parameter: Array) -> Outcome:
    """Warp standardised values and standardise them again.

    Args:
        bent: A warp bound to the values.
        parameter: Of the warp, shape ``(s,)``.
    """
    made = bent(parameter[:, None])
    size = made.value.shape[-1]
    centered = made.value - np.add.reduce(made.value, -1, keepdims=True) / size
    deviation = np.maximum(np.sqrt(row_dot(centered, centered) / size), 1e-12)
    value = centered / deviation[:, None]
    stretch = row_dot(value, made.by_parameter) / (size * deviation)  # d log dev. / d parameter
    return Outcome(
        value=value,
        log_jacobian=np.add.reduce(made.log_slope, -1) - size * np.log(deviation),
        # The part that all share is the mean's to take up.
        by_parameter=made.by_parameter / deviation[:, None] - value * stretch[:, None],
        log_jacobian_by_parameter=np.add.reduce(made.log_slope_by_parameter, -1) - size * stretch,
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
        warps: The warp of each row, equal ones side by side; several families are fitted in
            lock step, for on few observations a call costs more than its arithmetic.

    Source:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, eq. 5.8 and 5.9.
    """

    def __init__(self, data: TrainingData, form: Form, warps: Sequence[str] = ()) -> None:
        self._data, self._d = data, data.x.shape[-1]
        self._kernel = KERNELS[form.kernel]
        self._y, self._weight = data.y.numpy(), data.weight.numpy()
        self._warps = np.array(warps or [form.warp])
        families = [str(w) for w in dict.fromkeys(self._warps) if w != "none"]
        self._bent = {warp: WARPS[warp].bind(self._y) for warp in families}
        tables = [prior(self._d, replace(form, warp=str(warp))) for warp in self._warps]
        self._center = np.stack([center.numpy() for center, _ in tables])
        self._scale = np.stack([scale.numpy() for _, scale in tables])
        self._given_noise = (data.noise.numpy() + NOISE_FLOOR) / self._weight
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
            rows: Whose warps and priors hold, rising, shape ``(s,)``.

        Returns:
            The heights, shape ``(s,)``, and the gradients, shape ``(s, p)``; heights of minus
            infinity where a covariance has no Cholesky factor.
        """
        d, natural = self._d, np.exp(theta.numpy())
        scaled = self._data.x / torch.from_numpy(natural[:, None, :d])  # (s, n, d)
        signal, slope = self._kernel(square_distances(scaled, scaled))
        fade = self._fade
        if self._gap is not None:
            fade = torch.exp(self._gap / torch.from_numpy(-natural[:, d + 1, None, None]))
        if fade is not None:
            signal, slope = signal * fade, slope * fade
        noise = natural[:, d, None] / self._weight  # (s, n)
        signal.diagonal(dim1=-2, dim2=-1).add_(torch.from_numpy(noise + self._given_noise))
        lower, sound = factors(signal)
        if not sound:
            return self._one_by_one(theta, rows)
        inverse, seen = torch.cholesky_inverse(lower), self._outcomes(theta.numpy()[:, -1], rows)
        height, weights = self._height(lower, inverse, seen)
        w = torch.from_numpy(weights)
        pull = w.unsqueeze(-1) * w.unsqueeze(-2) - inverse  # (s, n, n), twice what the slopes need
        gradient = np.empty_like(natural)
        gradient[:, :d] = _by_lengthscale(scaled, pull * slope).numpy()
        own = weights * weights - inverse.diagonal(dim1=-2, dim2=-1).numpy()
        gradient[:, d] = 0.5 * row_dot(own, noise)
        if self._gap is not None:
            by_time = (pull * signal * self._gap).sum((-2, -1)).numpy()
            gradient[:, d + 1] = 0.5 * by_time / natural[:, d + 1]
        if seen is not None:
            by_warp = row_dot(weights, seen.by_parameter)
            gradient[:, -1] = seen.log_jacobian_by_parameter - by_warp
        return self._add_prior(theta.numpy(), list(rows), (height, gradient))

    def _height(self, lower: Tensor, inverse: Tensor, seen: Outcome | None) -> tuple[Array, Array]:
        """The log marginal likelihood, ``(s,)``, and ``K^-1 (values - mean)``, ``(s, n)``."""
        value = self._y[None] if seen is None else seen.value
        ones = inverse.sum(-1).numpy()  # K^-1 1
        solved = (inverse @ torch.from_numpy(value).unsqueeze(-1)).squeeze(-1).numpy()
        mean = row_dot(ones, np.broadcast_to(value, ones.shape)) / np.add.reduce(ones, -1)
        weights = solved - mean[:, None] * ones
        pivots = lower.diagonal(dim1=-2, dim2=-1).numpy()
        # The weights sum to zero, the mean being at its optimum: the values stand for residuals.
        misfit = row_dot(np.broadcast_to(value, ones.shape), weights)
        height = -0.5 * (misfit + self._size) - np.add.reduce(np.log(pivots), -1)
        return height if seen is None else height + seen.log_jacobian, weights

    def _add_prior(
        self, theta: Array, rows: list[int], found: tuple[Array, Array]
    ) -> tuple[Tensor, Tensor]:
        away, scale = (theta - self._center[rows]) / self._scale[rows], self._scale[rows]
        height = found[0] - 0.5 * row_dot(away, away)
        return torch.from_numpy(height), torch.from_numpy(found[1] - away / scale)

    def _outcomes(self, parameter: Array, rows: Sequence[int]) -> Outcome | None:
        """The values of each row as the GP sees them; ``None`` without warps."""
        if len(self._bent) < 2:
            return next((outcome(bent, parameter) for bent in self._bent.values()), None)
        mine = [(bent, self._warps[list(rows)] == warp) for warp, bent in self._bent.items()]
        made = [outcome(bent, parameter[own]) for bent, own in mine if own.any()]
        return Outcome(
            *(np.concatenate([getattr(m, name) for m in made]) for name in Outcome.__slots__)
        )

    def _one_by_one(self, theta: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Where a covariance has no factor: the others shall not suffer for it."""
        if len(theta) == 1:
            return torch.full_like(theta[:, 0], -torch.inf), torch.zeros_like(theta)
        alone = [self(theta[i : i + 1], rows[i : i + 1]) for i in range(len(theta))]
        return torch.cat([h for h, _ in alone]), torch.cat([g for _, g in alone])


def _by_lengthscale(scaled: Tensor, weight: Tensor) -> Tensor:
    """Sum half of ``weight_ab (x_aj - x_bj)**2`` over all pairs; the weight is symmetric.

    Two matrix products instead of a tensor of all gaps: ``x_j' (diag(rows) - W) x_j``.

    Args:
        scaled: Places, shape ``(s, n, d)``.
        weight: Of each pair, shape ``(s, n, n)``.

    Returns:
        Shape ``(s, d)``.
    """
    rows = weight.sum(-1, keepdim=True)
    return (scaled * (rows * scaled - weight @ scaled)).sum(-2)
