"""Where trials lie in the space that a model sees, and what each counts as there."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import msgspec
import torch

from gptune.core.space import SearchSpace
from gptune.records import Observation, Parameter, Point, Scalar
from gptune.study.domains import Domain, Domains, Fixed, from_inner, inner, to_inner
from gptune.study.records import TrialRecord, TrialState
from gptune.study.samplers import View

LARGEST = sys.float_info.max
PROPOSED = "proposed"  # in a trial's memory: what was proposed, also where it was not used


@dataclass(frozen=True, slots=True)
class Places:
    """Between what trials have and what is searched.

    Attributes:
        space: What trials are suggested from.
        searched: Of it, what there is to search.
    """

    space: Domains
    searched: Mapping[str, Parameter]

    def inner(self, params: Point, proposed: object = None) -> dict[str, Scalar]:
        """Give the place of a trial; what it does not have lies where it was proposed."""
        known = {**proposed, **params} if isinstance(proposed, Mapping) else params
        found = {}
        for name, parameter in self.searched.items():
            value = to_inner(self.space[name], known[name]) if name in known else None
            found[name] = _middle(parameter) if value is None else value
        return found

    def outer(self, point: Point) -> dict[str, Scalar]:
        """Give the values of a trial at a place."""
        return {
            name: domain.value if isinstance(domain, Fixed) else self._value(name, domain, point)
            for name, domain in self.space.items()
        }

    def _value(self, name: str, domain: Domain, point: Point) -> Scalar:
        return from_inner(domain, point.get(name, 0))


def searched(space: Domains) -> dict[str, Parameter]:
    """Give the inner parameter of each domain that has more than one value."""
    found = {name: inner(domain) for name, domain in space.items()}
    return {name: parameter for name, parameter in found.items() if parameter is not None}


def _middle(parameter: Parameter) -> Scalar:
    space = SearchSpace({"it": parameter})
    return space.decode(torch.full((space.dimension,), 0.5, dtype=torch.float64))["it"]


def observations_of(view: View, places: Places, limit: int) -> tuple[Observation, ...]:
    """Give what the trials came to, larger is better; of too many, the newest and the best.

    Args:
        view: The study.
        places: Where its trials lie.
        limit: How many are given at most.
    """
    complete = [view.sign * t.value for t in view.finished if t.value is not None]
    worst = min(complete, default=0.0)
    middle = median(complete) if complete else None
    found = []
    for trial in view.finished:
        value = _value(trial, view.sign, (worst, middle))
        if value is not None and trial.params:
            point = places.inner(trial.params, trial.memory.get(PROPOSED))
            found.append(Observation(point=point, value=value, noise=_noise(trial)))
    if len(found) > limit:
        best = set(sorted(range(len(found)), key=lambda i: -found[i].value)[: limit // 2])
        newest = [i for i in range(len(found)) if i not in best][-(limit - len(best)) :]
        found = [found[i] for i in sorted(best | set(newest))]
    return tuple(msgspec.structs.replace(one, number=i) for i, one in enumerate(found))


def _value(trial: TrialRecord, sign: float, known: tuple[float, float | None]) -> float | None:
    """Give what a trial counts as; ``None`` if it says nothing."""
    worst, middle = known
    if trial.value is not None:
        return sign * trial.value
    if middle is None:
        return None  # nothing to compare it with
    last = trial.last
    if trial.state is TrialState.PRUNED and last is not None and math.isfinite(last):
        return min(sign * last, middle)
    return worst


def _noise(trial: TrialRecord) -> float | None:
    """Give the variance of a trial's value, if one is known that can be."""
    noise: object = trial.noise  # a file holds whatever was written to it
    if trial.state is not TrialState.COMPLETE or isinstance(noise, bool):
        return None
    return float(noise) if isinstance(noise, int | float) and 0 <= noise <= LARGEST else None
