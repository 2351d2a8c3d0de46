"""A run as its log tells it."""

import math
from pathlib import Path

import pytest

from gptune.errors import RunDirectoryError
from gptune.events import (
    Applied,
    Closed,
    Command,
    KnobReading,
    LookAhead,
    Observed,
    Proposed,
    Restored,
    RolledBack,
)
from gptune.records import Change, Reason
from gptune.report.run import read, tell
from tests.logs import FAMILIES, Entries, knob, make_lines, moment, opened
from tests.report.pages import real_run, run_of

CHANGE = (Change("loss.aux", 1.0, 2.0),)
SEEN = Observed(metric=0.5, knobs={"loss.aux": KnobReading(1.0)})


def proposed(source: str = "gp") -> Proposed:
    return Proposed(changes=CHANGE, source=source)


def applied(ident: str = "1:loss.aux") -> Applied:
    return Applied(id=ident, changes=CHANGE, read_back={"loss.aux": 2.0})


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


def test_a_decision_ends_with_what_it_writes_itself_however_long_the_run_waits_then() -> None:
    back = RolledBack(id="1:loss.aux", changes=CHANGE, reasons=(Reason.CLOSED,))
    events: Entries = [(moment(), opened()), (moment(1, 10), SEEN), (moment(1, 10), proposed())]
    events += [(moment(1, 10), applied()), (moment(1, 10), back)]
    events += [(moment(1, 10), Closed(decisions=1))]
    times = [{"time": at} for at in (0.0, 1.0, 2.0, 4.0, 100.0, 200.0)]
    assert tell("r", make_lines(events, wall=times)).deciding == 3.0
