"""A grid is gone through as a plain search through all of it would, at a small part of its cost."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.records import Scalar
from gptune.study.records import TrialRecord
from gptune.study.walk import Walk, count_tried, key_of
from tests.study.drawing import ended

SIDES: dict[str, tuple[Scalar, ...]] = {"a": (1, True, 1.0), "b": ("x", "y"), "c": (0.5, 0.25)}


def whole(params: Mapping[str, Scalar]) -> bool:
    return True


def part(params: Mapping[str, Scalar]) -> bool:
    return params["b"] == "x" or params["c"] == 0.5


def searched(
    sides: Mapping[str, Any],
    history: list[TrialRecord],
    running: list[dict[str, Scalar]],
    allowed: Callable[[Mapping[str, Scalar]], bool],
) -> dict[str, Scalar] | None:
    """Search through all points: what a walk is to give."""
    taken = {key_of(one.params) for one in history} | {key_of(one) for one in running}
    points = (dict(zip(sides, one, strict=True)) for one in itertools.product(*sides.values()))
    return next((one for one in points if allowed(one) and key_of(one) not in taken), None)


@given(st.data(), st.sampled_from([whole, part]))
@settings(deadline=None, max_examples=150)
def test_a_walk_gives_what_a_search_does_whatever_workers_do(
    data: st.DataObject, allowed: Any
) -> None:
    """Workers begin, finish out of order, withdraw, and bring points of their own."""
    history: list[TrialRecord] = []
    running: dict[int, dict[str, Scalar]] = {}
    walk = Walk(SIDES, history, allowed)
    for number in range(30):
        point = walk.step(list(running.values()))
        assert repr(point) == repr(searched(SIDES, history, list(running.values()), allowed))
        chosen = data.draw(st.sampled_from(["begin", "begin", "drop", "own"]))
        if chosen == "own":  # enqueued, on the grid or beside it
            running[number] = {"a": 1, "b": "y", "c": data.draw(st.sampled_from([0.5, 0.25, 9.0]))}
        elif chosen == "begin" and point is not None:
            running[number] = point
        done = data.draw(st.lists(st.sampled_from(sorted(running)), unique=True)) if running else []
        for one in done:
            params = running.pop(one)
            if chosen != "drop":
                history.append(ended(one, params, "failed"))
                history.sort(key=lambda trial: trial.number)  # as a book does


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_a_walk_that_begins_late_goes_on_where_one_was_left(data: st.DataObject) -> None:
    history: list[TrialRecord] = []
    early = Walk(SIDES, history, whole)
    for number in range(data.draw(st.integers(0, 12))):
        point = early.step([])
        assert point is not None
        history.append(ended(number, point, "pruned"))
    assert Walk(SIDES, history, whole).step([]) == early.step([])


def test_a_walk_looks_at_each_trial_and_each_point_about_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[object] = []

    def watched(params: Mapping[str, Scalar]) -> Any:
        looks.append(params)
        return key_of(params)

    monkeypatch.setattr("gptune.study.walk.key_of", watched)
    history: list[TrialRecord] = []
    walk = Walk({"n": range(1000), "m": range(1000)}, history, whole)
    slow = walk.step([])
    assert slow is not None
    costs = []
    for number in range(1, 2000):
        before = len(looks)
        point = walk.step([slow])  # it runs all the time
        assert point == {"n": number // 1000, "m": number % 1000}
        history.append(ended(number, point, "failed"))
        costs.append(len(looks) - before)
    assert max(costs) <= 6


def test_other_trials_or_other_constraints_are_another_walk() -> None:
    history = [ended(0, {"a": 1}, "failed")]
    walk = Walk(SIDES, history, whole)
    walk.step([])
    assert walk.goes_on(history, whole)
    assert not walk.goes_on(list(history), whole)
    assert not walk.goes_on(history, part)
    history.clear()
    assert not walk.goes_on(history, whole)


def test_a_constraint_that_raises_costs_no_point() -> None:
    asked: list[object] = []

    def raises_once(params: Mapping[str, Scalar]) -> bool:
        asked.append(params)
        if len(asked) == 1:
            raise ZeroDivisionError
        return True

    walk = Walk(SIDES, [], raises_once)
    with pytest.raises(ZeroDivisionError):
        walk.step([])
    assert walk.step([]) == {"a": 1, "b": "x", "c": 0.5}


def test_a_point_that_is_given_is_not_the_walks_own() -> None:
    walk = Walk(SIDES, [], whole)
    point = walk.step([])
    assert point is not None
    point["a"] = 7
    assert walk.step([]) == {"a": 1, "b": "x", "c": 0.5}


@given(st.lists(st.tuples(st.sampled_from([1, True, 1.0, 2]), st.integers(-1, 4) | st.booleans())))
def test_points_that_were_tried_are_counted_once_each_and_by_kind(tried: list[Any]) -> None:
    sides: dict[str, Any] = {"a": (1, True), "n": range(3)}
    points = [dict(zip("an", one, strict=True)) for one in tried]
    words = {(repr(a), repr(n)) for a, n in tried}
    wanted = words & set(itertools.product(("1", "True"), ("0", "1", "2")))
    assert count_tried(sides, [*points, {"a": 1}, {}]) == len(wanted)
