"""A candidate against what runs: a sequential test of pairs, with stated rates of error. Pure.

Of each pair only who was better counts, so the metric may be anything. Two bets run side by side:
one against "the candidate wins no more than half of the pairs", which keeps it, and one against "it
wins at least half + gain", which puts it back. By Ville's inequality a candidate that is no better
is kept with a probability of at most ``false_keep``, and one that wins half + gain is put back by
the second bet with at most half of ``missed``; ``most`` pairs are enough for the other half.

Source:
    Waudby-Smith and Ramdas (2023), Estimating means of bounded random variables by betting, Journal
    of the Royal Statistical Society B 86(1).
"""

import math
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from gptune.errors import UsageError

ROOM = 7.0  # times the pairs that are needed on average: fewer would leave gains undecided


class Terms(Struct, frozen=True, kw_only=True):
    """How sure the comparison is.

    Attributes:
        gain: Share of the pairs, above one half, that is worth having: .1 = 60 of 100.
        false_keep: Most often that a candidate which is no better is kept.
        missed: Most often that one which is better by ``gain`` is put back.

    Raises:
        UsageError: Naming the field.
    """

    gain: float = 0.1
    false_keep: float = 0.05
    missed: float = 0.1

    def __post_init__(self) -> None:
        for name in ("gain", "false_keep", "missed"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < 0.5:
                raise UsageError(f"{name}: must lie between 0 and 0.5, got {value!r}")

    @property
    def most(self) -> int:
        """Pairs after which a candidate that has not won is put back [pairs]."""
        edge = 2 * self.gain
        growth = ((1 + edge) * math.log1p(edge) + (1 - edge) * math.log1p(-edge)) / 2
        surest = min(self.false_keep, self.missed / 2)
        return math.ceil(ROOM * -math.log(surest) / growth)


class Verdict(StrEnum):
    """How a comparison stands."""

    OPEN = "open"
    KEEP = "keep"
    PUT_BACK = "put_back"


class Duel(Struct, frozen=True, kw_only=True):
    """What a comparison has seen.

    Attributes:
        pairs: How many [pairs].
        wins: Of these the candidate's; a tie is half a win.
        keep: Evidence for keeping it, as a logarithm.
        back: Evidence for putting it back, likewise.
    """

    pairs: int = 0
    wins: float = 0.0
    keep: float = 0.0
    back: float = 0.0


def compare(terms: Terms, duel: Duel, running: float, candidate: float) -> Duel:
    """Take one pair into account; larger is better, and what is no number loses.

    Args:
        terms: How sure it is to be.
        duel: What was seen.
        running: What runs came to.
        candidate: What the candidate came to, under the same circumstances.
    """
    sign = _better(candidate, running)
    edge = 2 * terms.gain
    return Duel(
        pairs=duel.pairs + 1,
        wins=duel.wins + (sign + 1) / 2,
        keep=duel.keep + math.log1p(edge * sign),
        back=duel.back + math.log1p(-edge * (sign - edge)),
    )


def verdict(terms: Terms, duel: Duel) -> Verdict:
    """Say how a comparison stands."""
    if duel.keep >= -math.log(terms.false_keep):
        return Verdict.KEEP
    if duel.back >= -math.log(terms.missed / 2) or duel.pairs >= terms.most:
        return Verdict.PUT_BACK
    return Verdict.OPEN


def lost(duel: Duel, terms: Terms) -> Duel:
    """Give a comparison that is over: the candidate failed."""
    return replace(duel, back=-math.log(terms.missed / 2))


def _better(candidate: float, running: float) -> float:
    if not math.isfinite(candidate):
        return -1.0
    if not math.isfinite(running):
        return 1.0
    return float((candidate > running) - (candidate < running))
