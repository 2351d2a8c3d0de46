"""The score of a replay: every group once, in its order, at its step; and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.configs import Knob, Mode, Mutation, make_knob
from gptune.errors import ActuatorError, RecipeError
from gptune.online.replay import Score, check_replay, read_replay
from gptune.recipe.recorded import Movement
from gptune.records import Categorical, Float, Integer

FAMILIES = ("loss.aux", "opt.lr")
KNOBS: dict[str, Knob] = {
    "opt.lr": make_knob("opt.lr", Mutation(bounds=(0.1, 10.0)), Float(0.1, 10.0), 1.0),
    "loss.aux": make_knob("loss.aux", Mutation(bounds=(0.1, 10.0)), Float(0.1, 10.0), 1.0),
    "m.size": make_knob("m.size", Mutation(mode="set"), Integer(1, 9), 3),
    "m.kind": make_knob("m.kind", Mutation(mode="set"), Categorical(("a", "b")), "a"),
}
START: dict[str, Any] = {"opt.lr": 1.0, "loss.aux": 1.0, "m.size": 3, "m.kind": "a"}


def moved(step: int, family: str = "opt.lr", new: Any = 2.0, **more: Any) -> Movement:
    more = {"old": START[family], "decision": step, "id": f"{step}:{family}", **more}
    return Movement(step=step, family=family, new=new, **more)


@st.composite
def scores(draw: st.DrawFn) -> list[Movement]:
    """Draw movements in the order of their steps, some of them made together."""
    steps = sorted(draw(st.lists(st.integers(0, 30), max_size=8)))
    rows: list[Movement] = []
    for number, step in enumerate(steps):
        families = draw(st.lists(st.sampled_from(FAMILIES), min_size=1, max_size=2, unique=True))
        rows.extend(moved(step, family, float(number), id=str(number)) for family in families)
    return rows


def taken(score: Score, steps: list[int]) -> list[tuple[int, dict[str, Any]]]:
    return [(step, news_of(group)) for step in steps for group in score.due(step)]


def news_of(group: tuple[Movement, ...]) -> dict[str, Any]:
    return {movement.family: movement.new for movement in group}


def groups(rows: list[Movement]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row.id, {})[row.family] = row.new
    return list(found.values())


@given(scores())
def test_every_group_is_due_once_and_at_its_step(rows: list[Movement]) -> None:
    score = Score(rows)
    found = taken(score, list(range(32)))
    assert [group for _, group in found] == groups(rows)
    steps = {row.id: row.step for row in rows}
    assert [step for step, _ in found] == list(steps.values())
    assert score.step is None


@given(scores(), st.lists(st.integers(0, 30), max_size=5))
def test_steps_that_are_passed_over_make_up_for_it(rows: list[Movement], looks: list[int]) -> None:
    score = Score(rows)
    found = taken(score, [*sorted(looks), 30])
    assert [group for _, group in found] == groups(rows)


@given(scores(), st.integers(0, 30), st.integers(0, 30))
def test_going_back_makes_what_comes_after_again_and_nothing_before(
    rows: list[Movement], there: int, back: int
) -> None:
    score = Score(rows)
    taken(score, list(range(there + 1)))
    again = [row for row in rows if row.step > min(there, back)]
    score.due(back)  # as `Session.resume` does
    if back > there:
        again = [row for row in rows if row.step > back]
    assert score.step == (again[0].step if again else None)
    assert [group for _, group in taken(score, list(range(back + 1, 32)))] == groups(again)


@given(scores(), st.integers(0, 30))
def test_the_next_step_is_the_first_that_is_not_made(rows: list[Movement], step: int) -> None:
    score = Score(rows)
    score.due(step)
    left = [row.step for row in rows if row.step > step]
    assert score.step == (left[0] if left else None)


def test_a_way_back_is_a_group_of_its_own() -> None:
    rows = [moved(3), moved(3, new=1.0, status="rolled_back"), moved(3, "loss.aux", 0.5, id="x")]
    made = [news_of(group) for group in Score(rows).due(3)]
    assert made == [{"opt.lr": 2.0}, {"opt.lr": 1.0}, {"loss.aux": 0.5}]


def test_only_mode_replay_reads_anything(tmp_path: Path) -> None:
    assert read_replay(Mode.ACTIVE, None) == ()
    with pytest.raises(RecipeError, match=r"^replay: needs mode 'replay', got 'suggest'"):
        read_replay(Mode.SUGGEST, tmp_path)
    with pytest.raises(RecipeError, match=r"^mode: 'replay' needs replay= beside it"):
        read_replay(Mode.REPLAY, None)


def test_what_is_missing_is_named_with_the_nearest() -> None:
    rows = [moved(1), moved(2, new=1.0, family="opt.lr", old=2.0)]
    with pytest.raises(ActuatorError, match=r"^replay: opt\.lr moved .* did you mean 'opt\.lrr'"):
        check_replay(rows, {"opt.lrr": KNOBS["opt.lr"]}, {"opt.lrr": 1.0})
    with pytest.raises(ActuatorError, match="no knob is attached"):
        check_replay(rows, {}, {})


WRONG: list[tuple[list[Movement], str]] = [
    ([moved(1, new=11.0)], "opt.lr 1.0 -> 11.0 at step 1 is not allowed here (bounds)"),
    ([moved(1, new=11.0, source="human")], "(bounds)"),
    ([moved(1, new=11.0, status="rolled_back")], "(bounds)"),
    ([moved(1, new=2.1)], "(step)"),
    ([moved(1), moved(2, new=4.1, old=2.0)], "opt.lr 2.0 -> 4.1 at step 2"),
    ([moved(1), moved(2, new=1.5, old=1.0)], "(it stands at 2.0 then)"),
    ([moved(1, "m.size", 2.5)], "(bad value)"),
    ([moved(1, "m.kind", "c")], "(bad value)"),
    ([moved(1, "m.kind", "a")], "(no change)"),
    ([moved(2), moved(1, new=1.0)], "steps must count up from 0"),
    ([moved(-1)], "steps must count up from 0"),
    ([moved(2**63)], "steps must count up from 0"),
    ([moved(1), moved(1, new=3.0, old=2.0)], "moves a knob twice at step 1"),
]


@pytest.mark.parametrize(("rows", "message"), WRONG, ids=lambda value: str(value)[-40:])
def test_what_the_recipe_does_not_allow_is_refused(rows: list[Movement], message: str) -> None:
    with pytest.raises(RecipeError, match=r"^replay: ") as caught:
        check_replay(rows, KNOBS, START)
    assert message in str(caught.value)


def test_what_a_run_may_have_done_is_let_through() -> None:
    check_replay([], {}, {})
    check_replay(
        [
            moved(0, new=2.0),
            moved(0, new=9.0, old=2.0, source="human", id="0:opt.lr@a"),
            moved(3, new=1.5, old=9.0, source="replay"),
            moved(3, new=9.0, old=1.5, status="rolled_back"),
            moved(4, "m.size", 5),
            moved(4, "m.kind", "b"),
        ],
        KNOBS,
        START,
    )
