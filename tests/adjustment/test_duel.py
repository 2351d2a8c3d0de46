"""A comparison: how often it keeps what is no better, and puts back what is."""

import math
import random
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.adjustment.duel import Duel, Terms, Verdict, compare, verdict
from gptune.errors import UsageError

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def fight(terms: Terms, share: float, seed: int, ties: float = 0.0) -> Duel:
    chance, duel = random.Random(seed), Duel()
    while verdict(terms, duel) is Verdict.OPEN:
        tie = chance.random() < ties
        won = chance.random() < share
        duel = compare(terms, duel, 0.0, 0.0 if tie else 1.0 if won else -1.0)
    return duel


def kept(terms: Terms, share: float, ties: float = 0.0, runs: int = 400) -> float:
    found = [verdict(terms, fight(terms, share, seed, ties)) for seed in range(runs)]
    return statistics.fmean(one is Verdict.KEEP for one in found)


def off(rate: float, runs: int = 400) -> float:
    """Three standard errors of a rate."""
    return 3 * math.sqrt(rate * (1 - rate) / runs)


@pytest.mark.parametrize(
    "terms",
    [Terms(), Terms(gain=0.2, false_keep=0.1, missed=0.2), Terms(false_keep=0.45, missed=0.02)],
)
def test_errors_are_as_rare_as_stated(terms: Terms) -> None:
    assert kept(terms, 0.5) <= terms.false_keep + off(terms.false_keep)
    assert kept(terms, 0.5, ties=0.7) <= terms.false_keep + off(terms.false_keep)
    assert kept(terms, 0.45) <= terms.false_keep
    missed = 1 - kept(terms, 0.5 + terms.gain)
    assert missed <= terms.missed + off(terms.missed)
    assert kept(terms, min(0.5 + 2 * terms.gain, 0.95)) > 0.99


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=40))
def test_whatever_is_measured_it_is_counted_and_stays_a_number(
    pairs: list[tuple[float, float]],
) -> None:
    terms, duel = Terms(), Duel()
    for running, candidate in pairs:
        before, duel = duel, compare(terms, duel, running, candidate)
        gained = duel.wins - before.wins
        assert gained in (0.0, 0.5, 1.0)
        if not math.isfinite(candidate):
            assert gained == 0.0, "what is no number loses"
        elif not math.isfinite(running):
            assert gained == 1.0
        assert math.isfinite(duel.keep)
        assert math.isfinite(duel.back)
    assert duel.pairs == len(pairs)


def test_it_ends() -> None:
    terms = Terms(gain=0.05)
    for ties in (0.0, 0.9, 1.0):
        assert fight(terms, 0.55, 1, ties).pairs <= terms.most


@pytest.mark.parametrize("name", ["gain", "false_keep", "missed"])
@pytest.mark.parametrize("value", [0.0, 0.5, -1.0, float("nan"), "half"])
def test_terms_that_are_none_are_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name}: must lie between"):
        Terms(**{name: value})
