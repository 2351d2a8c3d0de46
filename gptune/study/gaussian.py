"""The sampler that studies have by default: the Gaussian process that also tunes live runs."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gptune.configs import STUDY, Search
from gptune.core import trust_region
from gptune.core.criteria import Acquisition
from gptune.core.fitting import Fitted
from gptune.core.proposer import Proposer, ProposerState, Seeded, whole
from gptune.core.space import SearchSpace
from gptune.core.transforms import WARPS
from gptune.study.places import PROPOSED, Places, observations_of, searched
from gptune.study.samplers import Suggestion, View, draw_allowed

FITTED = "fitted"


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
        numbers = searched(view.space)
        if not numbers:
            return Suggestion(draw_allowed(view))
        space = SearchSpace(numbers)
        places = Places(view.space, numbers)
        proposer = Proposer(
            space,
            self._config,
            acquisition=self._acquisition,
            randomness=Seeded(view.seed),
            allows=lambda point: view.allowed(places.outer(point)),
        )
        observations = observations_of(view, places, self._config.max_observations)
        proposer.resume(
            ProposerState(
                observations=observations,
                count=len(observations),
                trials=view.number,
                region=trust_region.start(self._config.trust_region),
                fitted=_fitted(view.memory, space),
            )
        )
        pending = tuple(places.inner(params) for params in view.running)
        request = whole(space, view.number, pending)
        made = proposer.ask(request)
        params = places.outer({**request.point, **made.point})
        if not view.allowed(params):
            params = draw_allowed(view)
        return Suggestion(params, {**_memory(proposer.state.fitted, space), PROPOSED: params})


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
