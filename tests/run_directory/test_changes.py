"""Which knob moved, and how each trial ended, read from the log alone."""

import pytest
from hypothesis import given, settings

from gptune.events import (
    Abandoned,
    Accepted,
    Applied,
    Event,
    Observed,
    Proposed,
    RollbackFailed,
    RolledBack,
)
from gptune.records import Change, Reason
from gptune.run_directory.changes import Course, Ending, advance
from tests.logs import KernelRun, kernel_runs, make_lines, moment

UP, DOWN = Change("opt.lr", 1.0, 2.0), Change("opt.lr", 2.0, 1.0)
ID = "1:opt.lr"
REPORT = Observed(metric=1.0)
APPLIED = Applied(id=ID, changes=(UP,), read_back={})


def read(*events: Event) -> tuple[list[tuple[Change, ...]], list[Ending]]:
    course, moves, endings = Course(), [], []
    for line in make_lines((moment(n, n), event) for n, event in enumerate(events)):
        course, moved, ending = advance(course, line)
        moves.append(moved)
        endings.extend([ending] if ending else [])
    return moves, endings


def proposed(source: str) -> Proposed:
    return Proposed(changes=(UP,), source=source)


@given(kernel_runs())
@settings(max_examples=150, deadline=None)
def test_following_the_movements_gives_the_point_in_force_whatever_the_kernel_did(
    run: KernelRun,
) -> None:
    course, point = Course(), dict(run.points[1])
    for number, line in enumerate(run.lines, start=1):
        course, moved, _ = advance(course, line)
        for change in moved:
            assert point[change.family] == change.old, "it moves from where it was"
            point[change.family] = change.new
        assert point == run.points.get(number, point)
        if isinstance(line.event, Observed):
            assert point == {f: reading.move for f, reading in line.event.knobs.items()}
    pending = run.state.pending
    assert (course.trial.id if course.trial else None) == (pending.id if pending else None)


@pytest.mark.parametrize(
    ("event", "verdict", "moved"),
    [
        (Accepted(id=ID, changes=(UP,), probability=0.9), "accepted", ()),
        (RolledBack(id=ID, changes=(DOWN,), reasons=(Reason.NO_GAIN,)), "rejected", (DOWN,)),
        (RollbackFailed(id=ID, families=("opt.lr",), message=""), "rejected", (DOWN,)),
        (Abandoned(id=ID, changes=(UP,), reasons=(Reason.KEPT_ON_REJECT,)), "abandoned", ()),
        (Abandoned(id=ID, changes=(UP,), reasons=(Reason.OVERWRITTEN,)), "abandoned", (DOWN,)),
    ],
)
def test_each_ending_has_its_verdict_and_its_way_back(
    event: Event, verdict: str, moved: tuple[Change, ...]
) -> None:
    moves, endings = read(proposed("gp"), APPLIED, REPORT, event)
    assert moves == [(), (UP,), (), moved]
    assert [(e.verdict, e.judged, e.trial.source) for e in endings] == [(verdict, True, "gp")]
    assert endings[0].trial.decision == 1


def test_what_ends_between_two_reports_was_not_judged_by_the_gate() -> None:
    _, endings = read(proposed("gp"), APPLIED, Accepted(id=ID, changes=(UP,)))
    assert [ending.judged for ending in endings] == [False]


@pytest.mark.parametrize("why", [Reason.CLOSED, Reason.LEFT_ACTIVE, Reason.OPERATOR])
def test_what_is_put_back_for_another_reason_was_not_judged(why: Reason) -> None:
    back = RolledBack(id=ID, changes=(DOWN,), reasons=(why,))
    moves, endings = read(proposed("gp"), APPLIED, REPORT, back)
    assert moves[-1] == (DOWN,)
    assert [ending.judged for ending in endings] == [False]


@pytest.mark.parametrize("source", ["human", "replay"])
def test_a_change_by_hand_moves_the_knob_and_opens_nothing(source: str) -> None:
    ident = "1:opt.lr@command"
    applied = Applied(id=ident, changes=(UP,), read_back={})
    moves, endings = read(REPORT, proposed(source), applied, Accepted(id=ident, changes=(UP,)))
    assert moves == [(), (), (UP,), ()]
    assert endings == []


def test_a_way_back_without_a_trial_is_a_movement_and_no_ending() -> None:
    moves, endings = read(RolledBack(id="0:opt.lr", changes=(DOWN,), reasons=()))
    assert moves == [(DOWN,)]
    assert endings == []


def test_the_end_of_another_change_leaves_the_trial_open() -> None:
    other = RolledBack(id="0:opt.lr", changes=(DOWN,), reasons=(Reason.NO_GAIN,))
    end = Accepted(id=ID, changes=(UP,))
    moves, endings = read(proposed("gp"), APPLIED, other, REPORT, end)
    assert moves == [(), (UP,), (DOWN,), (), ()]
    assert [(ending.trial.id, ending.verdict) for ending in endings] == [(ID, "accepted")]


def test_a_failed_change_does_not_move_anything() -> None:
    moves, endings = read(proposed("gp"), RollbackFailed(id=ID, families=("opt.lr",), message=""))
    assert moves == [(), ()]
    assert endings == []
