"""The sampler that studies have by default: the Gaussian process that also tunes live runs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import msgspec
import torch

from gptune.configs import STUDY, Search
from gptune.core import trust_region
from gptune.core.criteria import Acquisition
from gptune.core.fitting import Fitted
from gptune.core.proposer import Proposer, ProposerState, Seeded, whole
from gptune.core.space import SearchSpace
from gptune.core.transforms import WARPS
from gptune.records import Observation, Parameter, Point, Scalar
from gptune.study.domains import Domain, Domains, Fixed, from_inner, inner, to_inner
from gptune.study.records import TrialRecord, TrialState
from gptune.study.samplers import Suggestion, View, draw_allowed

FITTED, PROPOSED = "fitted", "proposed"


class GaussianProcessSampler:
    """Proposes where the Gaussian process expects most; knows what other workers are trying.

    Failed trials count as the worst value seen, so that their surroundings are left alone; pruned
    ones as what they reported last, but as no better than the middle of the complete ones. A
    parameter that a trial did not have (a condition was not met) counts as what was proposed for
    it, so that the model learns that it did not matter there; else as the middle of its range.

    Args:
        config: How it searches: ``gptune.configs.STUDY``, or one like it.
        acquisition: A criterion instead of ``config.acquisition``: a name of a built-in one is
            given with ``config``, your own function or one of BoTorch's here.
    """

    def __init__(self, config: Search = STUDY, acquisition: Acquisition | None = None) -> None:
        self._config, self._acquisition = config, acquisition

    def suggest(self, view: View) -> Suggestion:
        """Propose all parameters that are known, together."""
        searched = _searched(view.space)
        if not searched:
            return Suggestion(draw_allowed(view))
        space = SearchSpace(searched)
        back = _Back(view.space, searched)
        proposer = Proposer(
            space,
            self._config,
            acquisition=self._acquisition,
            randomness=Seeded(view.seed),
            allows=lambda point: view.allowed(back.outer(point)),
        )
        observations = _observations(view, back, self._config.max_observations)
        proposer.resume(
            ProposerState(
                observations=observations,
                count=len(observations),
                trials=view.number,
                region=trust_region.start(self._config.trust_region),
                fitted=_fitted(view.memory, space),
            )
        )
        pending = tuple(back.inner(params) for params in view.running)
        request = whole(space, view.number, pending)
        made = proposer.ask(request)
        params = back.outer({**request.point, **made.point})
        if not view.allowed(params):
            params = draw_allowed(view)
        return Suggestion(params, {**_memory(proposer.state.fitted, space), PROPOSED: params})


@dataclass(frozen=True, slots=True)
class _Back:
    """Between what trials have and what is searched."""

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


def _searched(space: Domains) -> dict[str, Parameter]:
    found = {name: inner(domain) for name, domain in space.items()}
    return {name: parameter for name, parameter in found.items() if parameter is not None}


def _middle(parameter: Parameter) -> Scalar:
    space = SearchSpace({"it": parameter})
    return space.decode(torch.full((space.dimension,), 0.5, dtype=torch.float64))["it"]


def _observations(view: View, back: _Back, limit: int) -> tuple[Observation, ...]:
    """Give what the trials came to, larger is better; of too many, the newest and the best."""
    complete = [view.sign * t.value for t in view.finished if t.value is not None]
    worst = min(complete, default=0.0)
    middle = median(complete) if complete else None
    found = []
    for trial in view.finished:
        value = _value(trial, view.sign, (worst, middle))
        if value is not None and trial.params:
            point = back.inner(trial.params, trial.memory.get(PROPOSED))
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
    is_known = trial.state is TrialState.COMPLETE and trial.noise is not None
    return trial.noise if is_known and 0 <= (trial.noise or 0.0) < math.inf else None


def _memory(fitted: Fitted | None, space: SearchSpace) -> dict[str, Any]:
    if fitted is None:
        return {}
    return {FITTED: msgspec.to_builtins(fitted), "dimension": space.dimension}


def _fitted(memory: Mapping[str, Any], space: SearchSpace) -> Fitted | None:
    """Give what the last fit came to, if it was one of the same space."""
    if FITTED not in memory or memory.get("dimension") != space.dimension:
        return None
    try:
        fitted = msgspec.convert(memory[FITTED], Fitted)
    except msgspec.ValidationError:
        return None  # another version's
    return fitted if fitted.warp in {"none", *WARPS} else None
