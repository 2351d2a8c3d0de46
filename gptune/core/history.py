"""What was measured, bounded in number, and how it fades with age."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gptune.configs import Decay
from gptune.core.space import SearchSpace, cube
from gptune.records import Observation

HALF_LIFE = 13.0  # `auto` [observations]; the prior median that tracked a drifting optimum best
LEAST_WEIGHT = 1e-3  # below this an observation says nothing and spoils the conditioning


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What the surrogate is fitted to; n observations, d coordinates."""

    x: Tensor  # places in the unit cube, shape (n, d)
    y: Tensor  # values, larger is better, shape (n,)
    noise: Tensor  # given variance of each value, zero where unknown, shape (n,)
    weight: Tensor  # in (0, 1]; the noise is divided by it, shape (n,)
    age: Tensor  # of each value; one measured now has age 0 [observations], shape (n,)
    half_life: float | None = None  # age at which correlation is one half; None = no decay


@dataclass(frozen=True, slots=True)
class History:
    """The newest observations, oldest first. Frozen: `add` gives the next one.

    Args:
        limit: How many are kept [observations].
        observations: Those kept.
        count: How many were ever added [observations].
    """

    limit: int
    observations: tuple[Observation, ...] = ()
    count: int = 0

    def add(self, observation: Observation) -> "History":
        """Append one; a value that is not finite becomes the worst finite one seen."""
        value = observation.value
        if not math.isfinite(value):
            value = min((o.value for o in self.observations), default=0.0)
        noise = observation.noise
        if noise is not None and not (math.isfinite(noise) and noise >= 0):
            noise = None
        fields = {"value": value, "noise": noise, "number": self.count}
        kept = Observation(point=observation.point, **fields)  # type: ignore[arg-type]
        newest = (*self.observations, kept)[-self.limit :]
        return replace(self, observations=newest, count=self.count + 1)

    def data(self, space: SearchSpace, decay: Decay) -> TrainingData:
        """Turn the history into what a surrogate is fitted to.

        The moment of prediction is the next observation: the newest one has age 1. With
        ``weights`` an observation of age a weighs ``2 ** (-a / half_life)``; with ``kernel`` it
        correlates that much with now; with ``window`` only the newest count.

        Raises:
            SpaceError: If a point does not lie in ``space``.
        """
        kept = self.observations
        if decay.kind == "window" and decay.window is not None:
            kept = kept[-decay.window :]
        age = cube([self.count - o.number for o in kept])  # (n,)
        half_life = HALF_LIFE if decay.half_life == "auto" else decay.half_life
        fade = torch.exp2(-age / half_life)
        if decay.kind == "weights":
            heavy = fade >= LEAST_WEIGHT
            kept = tuple(o for o, keep in zip(kept, heavy.tolist(), strict=True) if keep)
            age, fade = age[heavy], fade[heavy]
        return TrainingData(
            x=torch.stack([space.encode(o.point) for o in kept])
            if kept
            else cube([]).reshape(0, space.dimension),
            y=cube([o.value for o in kept]),
            noise=cube([o.noise or 0.0 for o in kept]),
            weight=fade if decay.kind == "weights" else torch.ones_like(fade),
            age=age,
            half_life=half_life if decay.kind == "kernel" else None,
        )
