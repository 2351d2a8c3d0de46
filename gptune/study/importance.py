"""How much each parameter matters: Sobol indices of the posterior mean."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from gptune.core.space import SearchSpace
from gptune.records import Categorical
from gptune.study.landscape import landscape_of
from gptune.study.samplers import View

SAMPLES = 4096  # points of each of the two samples


@dataclass(frozen=True, slots=True)
class Importance:
    """What part of the objective's variance over the space a parameter explains.

    Attributes:
        first: Alone.
        total: Together with what it does in concert with others.
    """

    first: float
    total: float


def importance_of(view: View, *, samples: int = SAMPLES) -> dict[str, Importance]:
    """Give the Sobol indices of each parameter, the most important first.

    First order: V(E(f | x_i)) / V(f); total: E(V(f | all but x_i)) / V(f), for x even over the
    space, on the scale that is searched, and f the posterior mean of a Gaussian process on all
    trials.

    Args:
        view: The study.
        samples: Points of each of the two samples, a power of two.

    Raises:
        StudyError: If there are too few trials, or nothing was searched.

    Source:
        Saltelli et al. (2010), Computer Physics Communications 181; Jansen (1999) for the total.
    """
    land = landscape_of(view, "importance")
    parameters = land.space.parameters
    first, second = _units(len(parameters), samples, view.seed)
    one, other = (land.mean(_places(land.space, unit)) for unit in (first, second))
    variance = torch.cat([one, other]).var()
    found = {}
    for index, name in enumerate(parameters):
        mixed = first.clone()
        mixed[:, index] = second[:, index]
        both = land.mean(_places(land.space, mixed))
        found[name] = Importance(
            first=_share((other * (both - one)).mean(), variance),
            total=_share((one - both).square().mean() / 2, variance),
        )
    return dict(sorted(found.items(), key=lambda item: -item[1].total))


def _share(part: Tensor, variance: Tensor) -> float:
    """Give a part of the variance, which rounding and chance may put outside of [0, 1]."""
    return 0.0 if float(variance) <= 0 else min(1.0, max(0.0, float(part / variance)))


def _units(dimension: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw two samples that are independent, each of shape ``(samples, d)``."""
    engine = SobolEngine(2 * dimension, scramble=True, seed=seed % 2**31)  # type: ignore[no-untyped-call]
    both = engine.draw(samples, dtype=torch.float64)
    return both[:, :dimension], both[:, dimension:]


def _places(space: SearchSpace, unit: Tensor) -> Tensor:
    """Give the places of points that are even over the space, ``(m, parameters)`` -> ``(m, d)``."""
    columns = list(_columns(space, unit))
    return space.snap(torch.cat(columns, dim=1))


def _columns(space: SearchSpace, unit: Tensor) -> Iterator[Tensor]:
    for index, (_, parameter, _part) in enumerate(space.columns()):
        share = unit[:, index]
        if isinstance(parameter, Categorical):
            count = len(parameter.choices)
            chosen = (share * count).long().clamp_max(count - 1)
            yield torch.nn.functional.one_hot(chosen, count).to(unit)
        else:
            yield share.unsqueeze(-1)
