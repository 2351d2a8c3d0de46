"""A run as its log tells it."""

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given

from gptune.errors import RunDirectoryError
from gptune.events import (
    Accepted,
    Applied,
    Command,
    Failed,
    KnobReading,
    LookAhead,
    Observed,
    Proposed,
    Restored,
    RolledBack,
    Suggested,
)
from gptune.records import Change, Evidence, Reason
from gptune.report.run import read, tell
from gptune.run_directory.exports import segments
from tests.logs import FAMILIES, KernelRun, kernel_runs, knob, make_lines, moment, opened
from tests.report.pages import kernel_run, real_run, run_of

CHANGE = (Change("loss.aux", 1.0, 2.0),)
SEEN = Observed(metric=0.5, knobs={"loss.aux": KnobReading(1.0)})


def proposed(source: str = "gp") -> Proposed:
    return Proposed(changes=CHANGE, source=source)


def applied(ident: str = "1:loss.aux") -> Applied:
    return Applied(id=ident, changes=CHANGE, read_back={"loss.aux": 2.0})


@given(kernel_runs())
def test_every_change_of_a_log_is_told_once_and_ends_as_the_log_says(made: KernelRun) -> None:
    run = kernel_run(made)
    counts = Counter(str(line.event.__struct_config__.tag) for line in made.lines)
    states = Counter(move.state for move in run.moves)
    assert len(run.samples) == counts["observed"]
    assert sum(states.values()) == counts["applied"] + counts["failed"]
    assert states["kept"] == counts["accepted"]
    assert states["undone"] == counts["rolled_back"] + counts["rollback_failed"]
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


def test_a_look_ahead_sets_its_samples_apart() -> None:
    begun = LookAhead(arms={}, chosen="", steps=0, purpose="calibration")
    ended = LookAhead(arms={}, chosen="2", steps=20, purpose="calibration")
    run = run_of((0, opened()), (0, begun), (1, SEEN), (2, SEEN), (2, ended), (3, SEEN))
    assert [sample.is_trial for sample in run.samples] == [True, True, False]
    assert [(t.steps, t.seconds) for t in run.tryings] == [((0, 20), 3.0)]
    run = run_of((0, opened()), (0, begun), (1, SEEN), (2, SEEN))
    assert all(sample.is_trial for sample in run.samples)
    assert run.tryings[0].last is None


def test_incidents_are_what_safety_did_and_what_it_refused() -> None:
    refused = Command(id="c", verb="set", arguments={}, accepted=False, message="no")
    obeyed = Command(id="d", verb="pin", arguments={}, accepted=True, message="yes")
    restored = Restored(symptom="spike", to_step=5, snapshot="s")
    spike = RolledBack(id="1:loss.aux", changes=CHANGE, reasons=(Reason.SPIKE,))
    run = run_of(
        *[(0, opened()), (1, SEEN), (1, proposed()), (1, applied()), (2, SEEN), (2, spike)],
        *[(2, restored), (3, refused), (3, obeyed)],
    )
    assert [line.event for line in run.incidents] == [spike, restored, refused]
    assert [line.event for line in run.restores] == [restored]


def test_the_evidence_is_that_of_the_decision_that_judged() -> None:
    evidence = Evidence(gain=0.1, deviation=0.01, probability=0.99)
    seen = Observed(metric=0.4, evidence=evidence, knobs=SEEN.knobs)
    kept = Accepted(id="1:loss.aux", changes=CHANGE, probability=0.99)
    told = [(0, opened()), (1, SEEN), (1, proposed()), (1, applied()), (2, seen), (2, kept)]
    (move,) = run_of(*told).moves
    assert (move.state, move.evidence, move.probability) == ("kept", evidence, 0.99)


def test_a_metric_that_is_no_number_is_none_and_the_last_that_was_stands() -> None:
    broken = Observed(metric=math.nan)
    run = run_of((0, opened()), (1, SEEN), (2, broken))
    assert [sample.metric for sample in run.samples] == [0.5, None]
    assert run.last == 0.5
    assert run_of((0, opened()), (1, broken)).last is None


def test_a_knob_of_a_later_versions_kind_is_left_out() -> None:
    odd = {"loss.aux": {"mutation": {"mode": "spiral"}, "space": {"type": "knot"}, "base": 1}}
    run = run_of((0, opened(knobs={**odd, "loss.kl": knob()})), (1, SEEN))
    assert list(run.knobs) == ["loss.kl"]


def test_lines_without_times_cost_nothing() -> None:
    lines = make_lines([(moment(), opened()), (moment(1, 10), SEEN)], wall=[{}, {}])
    assert tell("r", lines).deciding == 0.0


def test_a_real_run_is_read_with_all_that_it_did(tmp_path: Path) -> None:
    run = real_run(tmp_path / "real")
    assert {"kept", "undone"} <= {move.state for move in run.moves}
    assert run.beliefs
    assert run.deciding > 0
    assert run.name == "real"
    assert set(run.knobs) == {"opt.lr"}
    assert read(tmp_path / "real") == run


def test_a_directory_without_a_log_or_with_an_empty_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"holds no events\.jsonl"):
        read(tmp_path)
    (tmp_path / "events.jsonl").write_bytes(b"")
    with pytest.raises(RunDirectoryError, match="wait for the run's first line"):
        read(tmp_path)


def test_families_of_the_log_have_knobs() -> None:
    assert set(run_of((0, opened())).knobs) == set(FAMILIES)
