"""A candidate on trial: what the user's functions may do, and what becomes of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from gptune.adjustment.canary import AT_ONCE, Canary
from gptune.adjustment.course import Rules
from gptune.adjustment.duel import Duel, Verdict, verdict

RULES = Rules()


def made(pairs: Any) -> Canary:
    canary = Canary(dict, lambda candidate: pairs)
    assert canary.send({"x": 1.0}) == ""
    return canary


def test_it_is_tried_until_it_is_sure_and_then_taken_away() -> None:
    closed: list[bool] = []

    def run(candidate: Any) -> Iterator[tuple[float, float]]:
        assert candidate == {"x": 1.0}
        try:
            while True:
                yield (0.0, 1.0)
        finally:
            closed.append(True)

    canary = Canary(dict, run)
    assert canary.send({"x": 1.0}) == ""
    assert canary.is_out
    duel, complaint = canary.look(RULES, Duel())
    assert complaint == ""
    assert verdict(RULES.terms, duel) is Verdict.KEEP
    assert duel.pairs < 30
    assert canary.call_back() == ""
    assert closed == [True]
    assert not canary.is_out
    assert canary.call_back() == ""


def test_where_nothing_is_new_it_waits() -> None:
    canary = made(iter([(1.0, 2.0), None, (1.0, 2.0), None]))
    duel, complaint = canary.look(RULES, Duel())
    assert (duel.pairs, complaint) == (1, "")
    assert canary.look(RULES, duel)[0].pairs == 2


def test_larger_is_better_unless_the_rules_say_otherwise() -> None:
    costs = Rules(direction="minimize")
    assert made(iter([(1.0, 2.0), None])).look(RULES, Duel())[0].wins == 1.0
    assert made(iter([(1.0, 2.0), None])).look(costs, Duel())[0].wins == 0.0


def test_one_look_takes_so_many_at_most() -> None:
    ties = iter(lambda: (1.0, 1.0), None)
    duel, _ = made(ties).look(Rules(), Duel(pairs=-10 * AT_ONCE))
    assert duel.pairs <= -9 * AT_ONCE


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([], "canary ended before it was sure"),
        ([3], "must give pairs of numbers, got int"),
        ([(1.0,)], "must give pairs of numbers, got tuple"),
        ([("a", "b")], "must give pairs of numbers"),
        ([(1.0, 2.0, 3.0)], "must give pairs"),
    ],
)
def test_what_is_no_pair_is_said(pairs: list[Any], said: str) -> None:
    duel, complaint = made(iter(pairs)).look(RULES, Duel())
    assert duel == Duel()
    assert said in complaint


def breaks(*_: Any) -> Any:
    raise ValueError("broken")


def broken(candidate: Any) -> Iterator[tuple[float, float]]:
    yield (1.0, 2.0)
    raise ValueError("broken")


def stays(candidate: Any) -> Iterator[tuple[float, float] | None]:
    try:
        yield None
    finally:
        raise ValueError("it stays")


def test_what_the_users_functions_raise_is_a_complaint() -> None:
    assert Canary(breaks, breaks).send({}) == "retrain raised ValueError: broken"
    assert Canary(dict, breaks).send({}) == "canary raised ValueError: broken"
    canary = Canary(dict, broken)
    assert canary.send({}) == ""
    assert canary.look(RULES, Duel())[1] == "canary raised ValueError: broken"
    canary = Canary(dict, stays)
    canary.send({})
    canary.look(RULES, Duel())
    assert canary.call_back() == "canary could not be closed: ValueError: it stays"
