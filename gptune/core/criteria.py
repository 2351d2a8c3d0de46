"""How promising a point is: the protocol, the built-in criteria, and how each is bound."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from botorch.acquisition import AcquisitionFunction, qLogNoisyExpectedImprovement
from botorch.acquisition import LogExpectedImprovement as BotorchLogEI
from botorch.acquisition import UpperConfidenceBound as BotorchUCB
from botorch.acquisition.analytic import LogProbabilityOfImprovement as BotorchLogPI
from botorch.acquisition.monte_carlo import MCAcquisitionFunction
from botorch.models.model import Model
from torch import Tensor

from gptune.core import closed_form
from gptune.core.closed_form import ClosedForm, believe, believe_without_noise
from gptune.core.draws import PosteriorDraw
from gptune.core.space import cube
from gptune.core.surrogate import Surrogate
from gptune.errors import CriterionError

EXTREME = 60  # power of two beyond which the unit of a user's criterion is not followed


class Acquisition(Protocol):
    """Says how promising each point is; the most promising is proposed.

    Any callable with this signature will do: no base class, no registration.
    It must not mutate ``model`` and must draw randomness from torch only.

    Example:
        >>> from botorch.acquisition import ProbabilityOfImprovement
        >>> mine = lambda model, best: ProbabilityOfImprovement(model, best_f=best)
    """

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model.

        Args:
            model: Fitted surrogate over the unit cube; larger is better.
            best: Best posterior mean so far, shape ``()``, standardised units.
        """
        ...


@runtime_checkable
class HasClosedForm(Protocol):
    """A criterion that knows a faster way than BoTorch's to the same numbers."""

    def closed_form(self, surrogate: Surrogate, best: Tensor, pending: Tensor) -> ClosedForm:
        """Bind to gptune's own surrogate; ``pending`` has shape ``(k, d)``."""
        ...


@dataclass(frozen=True, slots=True)
class LogExpectedImprovement:
    """Score by log expected improvement over the best posterior mean.

    Source:
        Ament et al. (2023), arXiv:2310.20708.
    """

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model."""
        return BotorchLogEI(model, best_f=best)

    def closed_form(self, surrogate: Surrogate, best: Tensor, pending: Tensor) -> ClosedForm:
        """Bind to gptune's own surrogate; values at pending places are drawn by chance."""
        belief = believe(surrogate, best, pending)
        return ClosedForm(belief, closed_form.log_expected_improvement)


@dataclass(frozen=True, slots=True)
class NoisyExpectedImprovement:
    """Score by log expected improvement over the best of values that noise hides.

    Source:
        Letham et al. (2019), arXiv:1706.07094; the logarithm of Ament et al. (2023).
    """

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model; ``best`` is not used."""
        x = cast("tuple[Tensor]", model.train_inputs)[0]
        return qLogNoisyExpectedImprovement(model, X_baseline=x, cache_root=False)

    def closed_form(self, surrogate: Surrogate, best: Tensor, pending: Tensor) -> ClosedForm:
        """Bind to gptune's own surrogate, with mirrored draws of the hidden values."""
        belief = believe_without_noise(surrogate, pending)
        return ClosedForm(belief, closed_form.log_expected_improvement)


@dataclass(frozen=True, slots=True)
class ExpectedImprovement:
    """Log expected improvement, the noisy one where the fit finds noise.

    Args:
        noise: Fitted variance above which noise counts [standardised units, squared].
    """

    noise: float = 0.005  # by measurement: helps where there is noise, changes little elsewhere

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model."""
        return self._chosen(model)(model, best)

    def closed_form(self, surrogate: Surrogate, best: Tensor, pending: Tensor) -> ClosedForm:
        """Bind to gptune's own surrogate; values at pending places are drawn by chance."""
        return self._chosen(surrogate).closed_form(surrogate, best, pending)

    def _chosen(self, model: Model) -> LogExpectedImprovement | NoisyExpectedImprovement:
        is_noisy = isinstance(model, Surrogate) and float(model.hyper.noise) > self.noise
        return NoisyExpectedImprovement() if is_noisy else LogExpectedImprovement()


@dataclass(frozen=True, slots=True)
class ProbabilityOfImprovement:
    """Score by the log probability of a value above the best posterior mean.

    Exploits hard: it counts how likely a gain is, not how large.

    Source:
        Kushner (1964), Journal of Basic Engineering 86(1).
    """

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model."""
        return BotorchLogPI(model, best_f=best)

    def closed_form(self, surrogate: Surrogate, best: Tensor, pending: Tensor) -> ClosedForm:
        """Bind to gptune's own surrogate; values at pending places are drawn by chance."""
        belief = believe(surrogate, best, pending)
        return ClosedForm(belief, closed_form.log_probability_of_improvement)


@dataclass(frozen=True, slots=True)
class UpperConfidenceBound:
    """Score by ``mean + sqrt(beta) * deviation``.

    Args:
        beta: Weight of the unknown, >= 0.

    Raises:
        ValueError: If ``beta`` is negative or not a number.

    Source:
        Srinivas et al. (2010), arXiv:0912.3995; with pending points its batch form, Desautels
        et al. (2014), JMLR 15.
    """

    beta: float = 2.0

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ValueError(f"beta must be >= 0, got {self.beta!r}; 2.0 is usual")

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model."""
        return BotorchUCB(model, beta=cube(self.beta))  # not of torch's default kind

    def closed_form(self, surrogate: Surrogate, best: Tensor, pending: Tensor) -> ClosedForm:
        """Bind to gptune's own surrogate; pending places are known without noise."""
        belief = believe(surrogate, best, pending)
        return ClosedForm(belief, closed_form.upper_confidence_bound(self.beta))


@dataclass(frozen=True, slots=True)
class ThompsonSampling:
    """Score by one function drawn from the posterior; each proposal draws another.

    Source:
        Wilson et al. (2020), arXiv:2002.09309: a prior draw in a random Fourier basis, moved to
        agree with the data.
    """

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model.

        Raises:
            TypeError: If ``model`` is not gptune's own surrogate.
        """
        if not isinstance(model, Surrogate):
            raise TypeError(f"ThompsonSampling needs a gptune Surrogate, got {type(model)}")
        return PosteriorDraw(model)


BY_NAME: dict[str, Acquisition] = {
    "auto": ExpectedImprovement(),
    "log_ei": LogExpectedImprovement(),
    "log_nei": NoisyExpectedImprovement(),
    "pi": ProbabilityOfImprovement(),
    "ucb": UpperConfidenceBound(),
    "thompson": ThompsonSampling(),
}


class Score(Protocol):
    """What the search climbs."""

    def is_smooth(self, x: Tensor) -> bool:
        """Say whether there are gradients at a place, shape ``(1, d)``."""
        ...

    def unit(self, values: Tensor) -> float:
        """Say how large a difference of scores is one that counts, given some, ``(m,)``."""
        ...

    def values(self, x: Tensor) -> Tensor:
        """Score places, shape ``(m, d)`` -> ``(m,)``."""
        ...

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score places with gradients, shape ``(m, d)`` -> ``(m,)``, ``(m, d)``."""
        ...


@dataclass(frozen=True, slots=True)
class Traced:
    """A score through any function ``(b, 1, d) -> (b,)``, with torch's gradients if it has any."""

    criterion: Callable[[Tensor], Tensor]

    def values(self, x: Tensor) -> Tensor:
        """Score places, shape ``(m, d)`` -> ``(m,)``.

        Raises:
            CriterionError: If the shape is wrong.
        """
        with torch.no_grad():
            return self._call(x).detach()

    def unit(self, values: Tensor) -> float:
        """Their deviation, to a power of two: nothing else is known of a user's criterion."""
        finite = values[values.isfinite()]
        spread = float(finite.std(correction=0)) if len(finite) else 0.0
        exponent = math.frexp(spread)[1] if math.isfinite(spread) and spread > 0 else 0
        return 2.0 ** max(-EXTREME, min(EXTREME, exponent))

    def is_smooth(self, x: Tensor) -> bool:
        """Say whether the criterion is differentiable, by trying."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = self._call(x)
            if not values.requires_grad:
                return False
            (gradient,) = torch.autograd.grad(values.sum(), x, allow_unused=True)
        return gradient is not None

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score places with gradients, shape ``(m, d)`` -> ``(m,)``, ``(m, d)``."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = self._call(x)
            (gradient,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradient

    def _call(self, x: Tensor) -> Tensor:
        values = torch.as_tensor(self.criterion(x.unsqueeze(-2)), device="cpu")
        if values.shape != x.shape[:1]:
            given, wanted = tuple(values.shape), (x.shape[0],)
            raise CriterionError(
                f"acquisition: must give shape {wanted}, got {given}; one value per point"
            )
        return values


def bind(acquisition: Acquisition, surrogate: Surrogate, best: Tensor, pending: Tensor) -> Score:
    """Make a score of a criterion: in closed form where it has one, else through BoTorch.

    Pending places reach a Monte-Carlo criterion as its own ``X_pending``; for any other one the
    surrogate takes them as measured at their posterior mean.

    Args:
        acquisition: A built-in criterion, or a user's own.
        surrogate: The fitted surrogate.
        best: Best posterior mean so far, shape ``()``.
        pending: Places that are being measured, shape ``(k, d)``.
    """
    if isinstance(acquisition, HasClosedForm):
        return acquisition.closed_form(surrogate, best, pending)
    criterion = acquisition(surrogate, best)
    if len(pending) > 0:
        if isinstance(criterion, MCAcquisitionFunction):
            criterion.set_X_pending(pending)
        else:
            believed = surrogate.believing(pending)
            best = torch.maximum(best, believed.data.y[-len(pending) :].max())
            criterion = acquisition(believed, best)
    return Traced(criterion)
