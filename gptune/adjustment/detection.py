"""Sequential change detection: has what is watched become worse, beyond doubt? Pure.

A Shiryaev-Roberts e-detector for numbers in [0, 1]: bets against "the mean is still at least
``level``". Whatever the numbers' distribution, and whatever they depend on, the mean number of
records up to a false alarm is at least ``every``.

Source:
    Shin, Ramdas, Rinaldo (2022), E-detectors: a nonparametric framework for sequential change
    detection, arXiv:2203.03532, theorem 2.4.
"""

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace
from scipy import special

STAKES = (0.05, 0.1, 0.2, 0.4, 0.7)  # parts of the largest bet, mixed: small and large falls
SURE = 0.99  # that the level which is taken from a reference is not too high


class Alarm(Struct, frozen=True, kw_only=True):
    """What a detector remembers.

    Attributes:
        level: The mean that counts as well, in [0, 1).
        every: Mean number of records up to a false alarm, at least [records].
        evidence: Of each stake.
        seen: Records so far [records].
    """

    level: float
    every: float
    evidence: tuple[float, ...] = (0.0,) * len(STAKES)
    seen: int = 0

    @property
    def is_raised(self) -> bool:
        """Whether the mean has fallen, beyond doubt."""
        return math.fsum(self.evidence) / len(STAKES) >= self.every


def watch(alarm: Alarm, value: float) -> Alarm:
    """Take one number in [0, 1] into account: ``R <- (1 + R) (1 + bet (level - value))``.

    Example:
        >>> alarm = Alarm(level=0.8, every=1000.0)
        >>> for _ in range(30):
        ...     alarm = watch(alarm, 0.0)
        >>> alarm.is_raised
        True
    """
    largest = 1.0 / (1.0 - alarm.level)
    evidence = tuple(
        min((1.0 + before) * (1.0 + stake * largest * (alarm.level - value)), 1e300)
        for stake, before in zip(STAKES, alarm.evidence, strict=True)
    )
    return replace(alarm, evidence=evidence, seen=alarm.seen + 1)


def level_of(successes: float, count: int) -> float:
    """Give a success rate that the true one is surely not below.

    The lower end of Clopper's and Pearson's interval, one-sided.

    Args:
        successes: How many there were [records].
        count: Of how many [records].

    Example:
        >>> round(level_of(90, 100), 3)
        0.809
    """
    if successes <= 0:
        return 0.0
    return float(special.betaincinv(successes, count - successes + 1.0, 1.0 - SURE))


def median_of(reference: Sequence[float]) -> tuple[float, float]:
    """Give a value that half of a reference reaches, and the share of later ones that surely does.

    Whatever the distribution of ``n`` independent values, the share above the ``k``-th smallest is
    distributed as Beta(n + 1 - k, k).

    Args:
        reference: Values, larger is better, at least 2.
    """
    ordered, count = sorted(reference), len(reference)
    place = max(1, count // 2)
    share = float(special.betaincinv(count + 1.0 - place, place, 1.0 - SURE))
    return ordered[place - 1], share
