"""The trust region: it grows while changes are kept, and shrinks while they are undone. Pure."""

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor

from gptune.configs import TrustRegion


class TrustRegionState(Struct, frozen=True, kw_only=True):
    """Side of the box [fractions of a side of the unit cube], and the streaks that move it."""

    length: float
    successes: int = 0
    failures: int = 0


def start(config: TrustRegion) -> TrustRegionState:
    """Give the state before the first proposal."""
    return TrustRegionState(length=config.initial)


def update(config: TrustRegion, state: TrustRegionState, *, success: bool) -> TrustRegionState:
    """Count one kept or undone change; a full streak moves the length, within its limits.

    Source:
        Eriksson et al. (2019), TuRBO, arXiv:1910.01739, section 2.
    """
    successes = state.successes + 1 if success else 0
    failures = 0 if success else state.failures + 1
    if successes >= config.successes:
        return TrustRegionState(length=min(config.maximum, state.length * config.expand))
    if failures >= config.failures:
        return TrustRegionState(length=max(config.minimum, state.length * config.shrink))
    return replace(state, successes=successes, failures=failures)


def bounds(config: TrustRegion, state: TrustRegionState, center: Tensor) -> tuple[Tensor, Tensor]:
    """Give the lower and upper corner of the box around ``center``, each of shape ``(d,)``."""
    reach = state.length / 2 if config.enabled else 1.0
    return (center - reach).clamp(0.0, 1.0), (center + reach).clamp(0.0, 1.0)


def inside(low: Tensor, high: Tensor, x: Tensor) -> Tensor:
    """Say which places lie in a box: bool, shape ``(m,)`` for ``x`` of shape ``(m, d)``."""
    return torch.all((x >= low) & (x <= high), dim=-1)
