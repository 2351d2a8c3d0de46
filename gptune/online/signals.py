"""The two signals of a ramp: where the training loss blows up, where the cosine is spent. Pure."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

TURN = 0.15  # what is left of the deepest cosine at the turn
FLAT = -0.05  # a cosine that never lies deeper says nothing
SMOOTH_COSINE, SMOOTH_LOSS = 0.87, 0.8  # kept a step
LOST, NOISE = 0.5, 6.0  # a blow-up: half of the progress, and so many MADs of the first losses


@dataclass(slots=True)
class Losses:
    """The training losses of one ramp."""

    seen: list[float] = field(default_factory=list)
    smooth: float = 0.0
    lowest: float = math.inf
    is_sudden: bool = False  # the newest is no number, though the one before was as the first ones

    def blows_up(self, loss: float) -> bool:
        """Say whether the loss has left its course; in units of its own progress and noise."""
        if not math.isfinite(loss):
            self.is_sudden = self._was_well()
            return True
        self.seen.append(loss)
        kept = SMOOTH_LOSS if len(self.seen) > 1 else 0.0
        self.smooth = kept * self.smooth + (1 - kept) * loss
        if len(self.seen) < 6:
            return False
        self.lowest = min(self.lowest, self.smooth)
        if len(self.seen) < 9:
            return False
        start = median(self.seen[:8])
        limit = self.lowest + max(LOST * (start - self.lowest), 0.0) + NOISE * self._spread(start)
        return min(self.smooth, median(self.seen[-5:])) > limit

    def _was_well(self) -> bool:
        """Say whether the newest loss lay where the first ones lie, or below."""
        if len(self.seen) < 2:
            return bool(self.seen)
        start = median(self.seen[:8])
        return self.seen[-1] <= start + NOISE * self._spread(start)

    def _spread(self, start: float) -> float:
        """Give the MAD of a step's loss: of the first ones, or, more of them, of differences."""
        first = median(abs(one - start) for one in self.seen[:8])
        jumps = median(abs(b - a) for a, b in pairwise(self.seen))
        return max(first, jumps / math.sqrt(2))


@dataclass(slots=True)
class Cosines:
    """The cosines of one ramp, smoothed: a mean at first, then a moving one."""

    steps: int = 0
    seen: int = 0
    smooth: float = 0.0
    deepest: float = 0.0

    def has_turned(self, alignment: float | None) -> bool:
        """Say whether the cosine is spent, compared with the deepest so far."""
        self.steps += 1
        if alignment is not None:
            self.seen += 1
            kept = min(SMOOTH_COSINE, 1 - 1 / self.seen)
            self.smooth = kept * self.smooth + (1 - kept) * alignment
            if self.seen >= 8:
                self.deepest = min(self.deepest, self.smooth)
        left = self.left
        return left is not None and self.steps >= 13 and left < TURN

    @property
    def left(self) -> float | None:
        """Give what is left of the deepest cosine; ``None`` while too few were seen."""
        return self.smooth / min(FLAT, self.deepest) if self.seen >= 8 else None
