"""The surrogate's hyperparameters and how well they explain the data."""

import math
from dataclasses import dataclass, replace

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
    for jitter in JITTERS:
        lower: Tensor
        raised = matrix + torch.diag(torch.full_like(matrix[0], jitter)) if jitter else matrix
        lower, info = torch.linalg.cholesky_ex(raised)
        # What is not finite anywhere spreads to the last pivot.
        if int(info) == 0 and math.isfinite(float(lower[-1, -1])):
            return lower
    return None


def profiled_mean(inverse: Tensor, y: Tensor) -> Tensor:
    """Best constant mean given the covariance's inverse, shape ``()``."""
    solved = inverse.sum(0)
    return (solved @ y) / solved.sum()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Values as the GP sees them: warped and standardised, with the Jacobian of both."""

    value: Tensor  # shape (n,)
    log_jacobian: Tensor  # sum over the values, shape ()
    by_parameter: Tensor  # d value / d warp, shape (n,)
    log_jacobian_by_parameter: Tensor  # shape ()


def outcome(bent: Bent, parameter: Tensor) -> Outcome:
    """Warp standardised values and standardise them again.

    Args:
        bent: A warp bound to the values.
        parameter: Of the warp, shape ``()``.
    """
    made = bent(parameter)
    size = len(made.value)
    centered = made.value - made.value.mean()
    deviation = (centered @ centered / size).sqrt().clamp_min(1e-12)
    value = centered / deviation
    stretch = (value @ made.by_parameter) / size / deviation  # d log deviation / d parameter
    return Outcome(
        value=value,
        log_jacobian=made.log_slope.sum() - size * deviation.log(),
        # The part that all share is the mean's to take up.
        by_parameter=made.by_parameter / deviation - value * stretch,
        log_jacobian_by_parameter=made.log_slope_by_parameter.sum() - size * stretch,
    )


class LogPosterior:
    """Log marginal likelihood plus log prior of the hyperparameters, and its gradient.

    Computes ``-(r' K^-1 r + log|K| + n log 2 pi) / 2 + log|J| + log p(theta)`` with the residuals
    r of the warped values from the profiled mean and the warp's Jacobian J, so that warps compare
    with each other and with none. The gradient is ``tr((a a' - K^-1) dK) / 2`` with
    ``a = K^-1 r``; the mean adds nothing to it, being at its optimum.

    Args:
        data: Standardised training data, n observations.
        form: What is fitted.

    Source:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, eq. 5.8 and 5.9.
    """

    def __init__(self, data: TrainingData, form: Form) -> None:
        self._data, self._form, self._d = data, form, data.x.shape[-1]
        self._kernel = KERNELS[form.kernel]
        self._center, self._scale = prior(self._d, form)
        self._given_noise = (data.noise + NOISE_FLOOR) / data.weight
        self._size = len(data) * math.log(2 * math.pi)
        self._gap = self._fade = None
        self._bent: Bent | None = None
        if form.warp != "none":
            self._bent = WARPS[form.warp].bind(data.y)
        if form.fits_half_life:
            self._gap = (data.age.unsqueeze(-1) - data.age).abs() * LN2
        elif data.half_life is not None:
            self._fade = time_correlation(data.age, data.age, data.half_life)

    def __call__(self, theta: Tensor) -> tuple[Tensor, Tensor] | None:
        """Give the height and the gradient.

        Args:
            theta: As `Hyperparameters.pack` writes them, shape ``(p,)``.

        Returns:
            The height, shape ``()``, and the gradient, shape ``(p,)``; ``None`` when K has no
            Cholesky factor.
        """
        d, natural = self._d, theta.exp()
        scaled = self._data.x / natural[:d]
        r2 = square_distances(scaled, scaled)
        r2.fill_diagonal_(0.0)
        signal, slope = self._kernel(r2)
        fade = self._fade if self._gap is None else torch.exp(self._gap / -natural[d + 1])
        if fade is not None:
            signal, slope = signal * fade, slope * fade
        noise = natural[d] / self._data.weight
        lower = factor(signal + torch.diag(noise + self._given_noise))
        if lower is None:
            return None
        inverse = torch.cholesky_inverse(lower)
        seen = outcome(self._bent, theta[-1]) if self._bent is not None else None
        value = self._data.y if seen is None else seen.value
        residual = value - profiled_mean(inverse, value)
        weights = inverse @ residual
        height = -0.5 * (residual @ weights + self._size) - lower.diagonal().log().sum()
        pull = 0.5 * (torch.outer(weights, weights) - inverse)  # (n, n)
        gradient = torch.empty_like(theta)
        gradient[:d] = _by_lengthscale(scaled, pull * slope)
        gradient[d] = pull.diagonal() @ noise
        if self._gap is not None:
            gradient[d + 1] = (pull * signal * self._gap).sum() / natural[d + 1]
        if seen is not None:
            height = height + seen.log_jacobian
            gradient[-1] = seen.log_jacobian_by_parameter - weights @ seen.by_parameter
        away = (theta - self._center) / self._scale
        return height - 0.5 * (away @ away), gradient - away / self._scale


def _by_lengthscale(scaled: Tensor, weight: Tensor) -> Tensor:
    """Sum ``weight_ab (s_aj - s_bj)**2`` over all pairs, shape ``(d,)``; the weight is symmetric.

    Two matrix products instead of a tensor of all gaps: ``2 s_j' (diag(rows) - W) s_j``.
    """
    rows = weight.sum(1, keepdim=True)
    return 2.0 * (scaled * (rows * scaled - weight @ scaled)).sum(0)
