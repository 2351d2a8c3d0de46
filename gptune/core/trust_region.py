"""The trust region: it grows while changes are kept, and shrinks while they are undone. Pure."""

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor

from gptune.configs import TrustRegion

LEAST, MOST = 0.5, 2.0  # of a side, as a multiple of the region's length


class TrustRegionState(Struct, frozen=True, kw_only=True):
    """Length of the box [fractions of a side of the unit cube], and the streaks that move it."""

    length: float
    successes: int = 0
    failures: int = 0
    restarts: int = 0


def start(config: TrustRegion) -> TrustRegionState:
    """Give the state before the first proposal."""
    return TrustRegionState(length=config.initial)


def update(config: TrustRegion, state: TrustRegionState, *, success: bool) -> TrustRegionState:
    """Count one kept or undone change; a full streak moves the length.

    A region that would shrink below its minimum has collapsed: nothing is to be gained near the
    point in force, so it starts again at its initial length.

    Source:
        Eriksson et al. (2019), TuRBO, arXiv:1910.01739, section 2.
    """
    successes = state.successes + 1 if success else 0
    failures = 0 if success else state.failures + 1
    if successes >= config.successes:
        length, restarts = min(config.maximum, state.length * config.expand), state.restarts
    elif failures >= config.failures:
        shrunk = state.length * config.shrink
        collapsed = shrunk < config.minimum * (1 - 1e-9)  # .05 / .4 is no exact power of two
        length = config.initial if collapsed else max(config.minimum, shrunk)
        restarts = state.restarts + collapsed
    else:
        return replace(state, successes=successes, failures=failures)
    return TrustRegionState(length=length, restarts=restarts)


def sides(state: TrustRegionState, lengthscale: Tensor) -> Tensor:
    """Shape the box like the surrogate: longer where the objective changes slowly.

    Args:
        state: The region's state.
        lengthscale: Of the fitted surrogate [sides of the unit cube], shape ``(d,)``; any
            constant gives a cube.

    Returns:
        Sides of the box, shape ``(d,)``: the region's length times lengthscale over the
        geometric mean of all, between ``LEAST`` and ``MOST`` times the length.

    Source:
        Eriksson et al. (2019), TuRBO, arXiv:1910.01739, section 2.
    """
    logs = lengthscale.clamp(1e-3, 1.0).log()  # beyond 1 a dimension is flat: no longer, no matter
    return state.length * (logs - logs.mean()).exp().clamp(LEAST, MOST)


def bounds(
    config: TrustRegion, state: TrustRegionState, center: Tensor, lengthscale: Tensor
) -> tuple[Tensor, Tensor]:
    """Give the lower and upper corner of the box around ``center``, each of shape ``(d,)``."""
    if not config.enabled:
        return torch.zeros_like(center), torch.ones_like(center)
    reach = sides(state, lengthscale) / 2
    return (center - reach).clamp(0.0, 1.0), (center + reach).clamp(0.0, 1.0)
