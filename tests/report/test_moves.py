"""What was done to knobs, and what became of it."""

from collections import Counter

from hypothesis import given

from gptune.events import (
    Accepted,
    Applied,
    Failed,
    KnobReading,
    Observed,
    Proposed,
    RollbackFailed,
    RolledBack,
    Suggested,
)
from gptune.records import Change, Evidence, Reason
from gptune.run_directory.exports import segments
from tests.logs import KernelRun, kernel_runs, opened
from tests.report.pages import kernel_run, run_of

CHANGE = (Change("loss.aux", 1.0, 2.0),)
SEEN = Observed(metric=0.5, knobs={"loss.aux": KnobReading(1.0)})


def proposed(source: str = "gp", old: float = 1.0, new: float = 2.0) -> Proposed:
    return Proposed(changes=(Change("loss.aux", old, new),), source=source)


def applied(ident: str = "1:loss.aux", old: float = 1.0, new: float = 2.0) -> Applied:
    return Applied(id=ident, changes=(Change("loss.aux", old, new),), read_back={"loss.aux": new})


@given(kernel_runs())
def test_every_change_of_a_log_is_told_once_and_ends_as_the_log_says(made: KernelRun) -> None:
    run = kernel_run(made)
    counts = Counter(str(line.event.__struct_config__.tag) for line in made.lines)
    states = Counter(move.state for move in run.moves)
    assert len(run.samples) == counts["observed"]
    assert sum(states.values()) == counts["applied"] + counts["failed"]
    assert states["kept"] == counts["accepted"]
    assert states["undone"] == counts["rolled_back"]
    assert states["stuck"] == counts["rollback_failed"]
    assert states["left"] == counts["abandoned"]
    judged = [(m.id, m.decision, m.ended) for m in run.moves if m.is_judged]
    rows = list(segments(made.lines))
    told = [(r["id"], r["decision_opened"], (r["decision"], r["step"])) for r in rows]
    assert sorted(judged) == sorted(told)


def test_what_was_changed_by_hand_is_not_judged_and_may_be_taken_back() -> None:
    back = RolledBack(id="1:loss.aux", changes=CHANGE, reasons=(Reason.OPERATOR,))
    told = [(0, opened()), (1, SEEN), (1, proposed("human")), (1, applied()), (2, SEEN)]
    (move,) = run_of(*told).moves
    assert (move.state, move.source, move.is_judged) == ("hand", "human", False)
    (move,) = run_of(*told, (2, back)).moves
    assert (move.state, move.ended) == ("undone", (2, 20))


def test_a_suggestion_and_a_failure_are_told_as_such() -> None:
    failed = Failed(id="2:x", reasons=(Reason.ACTUATOR_FAILED,), message="no hands")
    suggested = Suggested(id="1:x", changes=CHANGE)
    run = run_of((0, opened()), (1, proposed()), (1, suggested), (2, proposed()), (2, failed))
    assert [(m.state, m.changes) for m in run.moves] == [("suggested", CHANGE), ("failed", CHANGE)]
    assert run.moves[1].message == "no hands"


def test_the_evidence_is_that_of_the_decision_that_judged() -> None:
    evidence = Evidence(gain=0.1, deviation=0.01, probability=0.99)
    seen = Observed(metric=0.4, evidence=evidence, knobs=SEEN.knobs)
    kept = Accepted(id="1:loss.aux", changes=CHANGE, probability=0.99)
    told = [(0, opened()), (1, SEEN), (1, proposed()), (1, applied()), (2, seen), (2, kept)]
    (move,) = run_of(*told).moves
    assert (move.state, move.evidence, move.probability) == ("kept", evidence, 0.99)


def test_a_change_that_could_not_be_undone_is_not_told_as_undone() -> None:
    stuck = RollbackFailed(id="1:loss.aux", families=("loss.aux",), message="no hands")
    told = [(0, opened()), (1, SEEN), (1, proposed()), (1, applied()), (2, SEEN), (2, stuck)]
    assert [move.state for move in run_of(*told).moves] == ["stuck"]


def test_what_a_move_by_hand_led_back_to_before_is_taken_back() -> None:
    first, second = "1:loss.aux", "3:loss.aux"
    told = [(0, opened()), (1, SEEN), (1, proposed()), (1, applied()), (2, SEEN)]
    told += [(2, Accepted(id=first, changes=CHANGE, probability=0.9)), (3, SEEN)]
    told += [(3, proposed("human", 2.0, 3.0)), (3, applied(second, 2.0, 3.0))]
    assert [move.state for move in run_of(*told).moves] == ["kept", "hand"]
    back = [(4, proposed("human", 3.0, 2.0)), (4, applied("4:loss.aux", 3.0, 2.0))]
    assert [move.state for move in run_of(*told, *back).moves] == ["kept", "withdrawn", "hand"]
    all_back = [(4, proposed("human", 3.0, 1.0)), (4, applied("4:loss.aux", 3.0, 1.0))]
    states = [move.state for move in run_of(*told, *all_back).moves]
    assert states == ["withdrawn", "withdrawn", "hand"]
    own = [(4, proposed("gp", 3.0, 1.0)), (4, applied("4:loss.aux", 3.0, 1.0))]
    assert [move.state for move in run_of(*told, *own).moves] == ["kept", "hand", "open"]


def test_what_the_guard_ends_between_two_reports_has_no_evidence_of_the_one_before() -> None:
    evidence = Evidence(gain=0.5, deviation=0.01, probability=0.99)
    seen = Observed(metric=0.4, evidence=evidence, knobs=SEEN.knobs)
    back = RolledBack(id="1:loss.aux", changes=CHANGE, reasons=(Reason.STATE_NOT_FINITE,))
    (move,) = run_of((0, opened()), (1, seen), (1, proposed()), (1, applied()), (1, back)).moves
    assert (move.state, move.is_judged, move.evidence) == ("undone", True, None)
