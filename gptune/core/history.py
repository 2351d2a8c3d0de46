"""What was measured, bounded in number, and how it fades with age."""

import math
from dataclasses import dataclass, replace

import torch
from msgspec import structs
from torch import Tensor

from gptune.configs import Decay
from gptune.core.space import SearchSpace, cube
from gptune.core.transforms import detrend, standardise, winsorise
from gptune.records import Observation

HALF_LIFE = 10.0  # `auto` [observations]: the prior median that followed a moving optimum best
LEAST_WEIGHT = 1e-3  # below this an observation says nothing and spoils the conditioning
MOST_NOISE = 1e6  # given variance beyond which a value says nothing [standardised, squared]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What the surrogate is fitted to; n observations, d coordinates."""

    x: Tensor  # places in the unit cube, shape (n, d)
    y: Tensor  # values, larger is better, shape (n,)
    noise: Tensor  # given variance of each value, zero where unknown, shape (n,)
    weight: Tensor  # in (0, 1]; the noise is divided by it, shape (n,)
    age: Tensor  # of each value; one measured now has age 0 [observations], shape (n,)
    half_life: float | None = None  # age at which correlation is one half; None = no decay

    def __len__(self) -> int:
        """Count the observations, n."""
        return len(self.y)

    def prepared(self) -> "TrainingData":
        """Pull in disasters and standardise the values; the given noise is scaled alike."""
        y, _, deviation = standardise(winsorise(self.y))
        noise = (self.noise / deviation / deviation).clamp_max(MOST_NOISE)
        return replace(self, y=y, noise=noise)

    def subset(self, chosen: Tensor) -> "TrainingData":
        """Keep some of the observations: their indices, shape ``(k,)``."""
        return replace(
            self,
            x=self.x[chosen],
            y=self.y[chosen],
            noise=self.noise[chosen],
            weight=self.weight[chosen],
            age=self.age[chosen],
        )


@dataclass(frozen=True, slots=True)
class History:
    """The newest observations with their places, oldest first. Frozen: `add` gives the next one.

    Args:
        space: Where they lie.
        limit: How many are kept [observations].
        observations: Those kept.
        places: Theirs in the unit cube, shape ``(n, d)``.
        count: How many were ever added [observations].
    """

    space: SearchSpace
    limit: int
    observations: tuple[Observation, ...]
    places: Tensor
    count: int

    @staticmethod
    def of(
        space: SearchSpace,
        limit: int,
        observations: tuple[Observation, ...] = (),
        count: int = 0,
    ) -> "History":
        """Make one, from what another kept if given.

        Raises:
            SpaceError: If a point does not lie in ``space``.
        """
        kept = observations[-limit:]
        places = [space.encode(o.point) for o in kept]
        x = torch.stack(places) if places else cube([]).reshape(0, space.dimension)
        return History(space, limit, kept, x, count)

    def add(self, observation: Observation) -> "History":
        """Append one; a value that is not finite becomes the worst finite one seen.

        Raises:
            SpaceError: If its point does not lie in the space.
        """
        place = self.space.encode(observation.point)
        value, noise = observation.value, observation.noise
        if not math.isfinite(value):
            value = min((o.value for o in self.observations), default=0.0)
        if noise is not None and not (math.isfinite(noise) and noise >= 0):
            noise = None
        kept = structs.replace(observation, value=value, noise=noise, number=self.count)
        return replace(
            self,
            observations=(*self.observations, kept)[-self.limit :],
            places=torch.cat([self.places, place.unsqueeze(0)])[-self.limit :],
            count=self.count + 1,
        )

    def data(self, decay: Decay) -> TrainingData:
        """Turn the history into what a surrogate is fitted to.

        The moment of prediction is the next observation: the newest one has age 1. With
        ``weights`` an observation of age a weighs ``2 ** (-a / half_life)``; with ``kernel`` it
        correlates that much with now; with ``window`` only the newest count. The trend in time
        is taken out as ``decay.detrend`` says.
        """
        age = cube([self.count - o.number for o in self.observations])  # (n,)
        half_life = HALF_LIFE if decay.half_life == "auto" else decay.half_life
        weighted = decay.kind == "weights"
        weight = torch.exp2(-age / half_life) if weighted else torch.ones_like(age)
        y = cube([o.value for o in self.observations])
        data = TrainingData(
            x=self.places,
            y=detrend(y, age) if self._has_trend(decay) else y,
            noise=cube([o.noise or 0.0 for o in self.observations]),
            weight=weight,
            age=age,
            half_life=half_life if decay.kind == "kernel" else None,
        )
        if decay.kind == "window" and decay.window is not None:
            return data.subset(torch.arange(len(data))[-decay.window :])
        return data.subset((weight >= LEAST_WEIGHT).nonzero().flatten()) if weighted else data

    def _has_trend(self, decay: Decay) -> bool:
        """Say whether a trend is to be taken out: of raw values under the kernel, if not told."""
        if decay.detrend == "auto":
            return decay.kind == "kernel" and not any(o.is_gain for o in self.observations)
        return decay.detrend
