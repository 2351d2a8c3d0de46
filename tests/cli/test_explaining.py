"""``gptune explain``: why a decision came out as it did, from the log alone."""

import json
from pathlib import Path

import pytest

from gptune.cli import main
from gptune.cli.explaining import gather, tell, to_plain
from gptune.errors import UsageError
from gptune.events import (
    Abandoned,
    Accepted,
    Applied,
    Blocked,
    Event,
    Failed,
    KnobReading,
    Line,
    ModeChanged,
    Observed,
    Paused,
    Proposed,
    Rewind,
    RollbackFailed,
    Suggested,
)
from gptune.records import Change, Evidence, Reason
from gptune.run_directory.event_log import read_events
from gptune.run_directory.exports import observations, segments
from tests.cli.runs import make_run
from tests.logs import Entries, knob, make_lines, moment, opened

UP = (Change("opt.lr", 1.0, 2.0),)
ID = "1:opt.lr"
PROPOSED = Proposed(changes=UP, source="gp", mean=0.5, deviation=0.25, criterion=-1.0)
APPLIED = Applied(id=ID, changes=UP, read_back={"opt.lr": 2.0})
KNOBS = {"opt.lr": knob()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    make_run(directory)
    return directory


@pytest.fixture(scope="module")
def lines(run: Path) -> list[Line]:
    return read_events(run)


def story(*events: Event, before: Entries | None = None) -> str:
    """Explain decision 1 of a hand-made log."""
    start: Entries = [(moment(), opened(KNOBS)), *(before or [])]
    here: Entries = [(moment(1, 10), event) for event in events]
    return tell(gather(make_lines([*start, *here]), 1))


def test_every_decision_of_a_real_run_is_explained(lines: list[Line]) -> None:
    number = max(line.envelope.decision for line in lines)
    for decision in range(1, number + 1):
        text = tell(gather(lines, decision))
        assert text.startswith(f"decision {decision} at step {3 * decision}, phase ")
        assert "\nobserved\n" in text
        assert "\nproposed\n" in text
        assert "\nwritten" in text


def test_what_it_says_is_what_the_log_holds(lines: list[Line]) -> None:
    rows = [row for row in segments(lines) if row["source"] == "gp"]
    assert {row["verdict"] for row in rows} == {"accepted", "rejected"}
    for row in rows:
        made, judged = gather(lines, row["decision_opened"]), gather(lines, row["decision"])
        assert isinstance(made.tried, Applied)
        assert made.tried.id == row["id"]
        assert made.later is not None
        assert (made.later.verdict, made.later_at) == (row["verdict"], row["decision"])
        assert judged.judged == made.later
        assert judged.observed.metric == row["metric_after"]
        assert f"made at decision {row['decision_opened']}: {row['verdict']}" in tell(judged)
        assert f"at decision {row['decision']} {row['verdict']} (P(gain)" in tell(made)


def test_what_the_proposer_had_been_told_ends_with_this_decision(lines: list[Line]) -> None:
    rows = list(observations(lines))
    number = rows[15]["decision"]
    assert gather(lines, number).told == rows[6:16]
    assert "told to the proposer" in tell(gather(lines, number))
    assert gather(lines, 1).told == []
    assert "told to the proposer" not in tell(gather(lines, 1))


def test_the_posterior_is_shown_with_its_hyperparameters_and_drawn(lines: list[Line]) -> None:
    number = next(
        line.envelope.decision
        for line in lines
        if isinstance(line.event, Proposed) and line.event.source == "gp"
    )
    found = gather(lines, number)
    assert found.proposed is not None
    text = tell(found)
    assert "from the Gaussian process" in text
    assert f"criterion {found.proposed.criterion:.4g}" in text
    for name in found.proposed.hyperparameters:
        assert f"\n  {name} " in text
    assert "* mean, . one deviation, o where it was, n proposed" in text


def test_as_json_it_is_one_object_with_the_same_content(
    run: Path, lines: list[Line], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dir", str(run), "explain", "9", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = gather(lines, 9)
    assert told.keys() == set(found.__struct_fields__)
    assert told == json.loads(json.dumps(to_plain(found)))
    assert [line["seq"] for line in told["lines"]] == [line.envelope.seq for line in found.lines]
    assert told["before"]["version"] == 1


# Why nothing was proposed


SEEN = Observed(metric=1.0, forecast=1.1, deviation=0.1, evidence=Evidence(gain=0.1))


@pytest.mark.parametrize(
    ("events", "before", "why"),
    [
        ([Observed(metric=1.0)], [], "there was no forecast yet"),
        ([SEEN], [ModeChanged(old="active", new="observe")], "mode observe proposes nothing"),
        ([SEEN], [Paused(decisions=3)], "tuning was paused"),
        ([SEEN], [PROPOSED, APPLIED], "opt.lr 1 -> 2 was still being judged"),
        ([SEEN], [], "the knobs were resting"),
        (
            [Observed(metric=float("nan")), Blocked(reasons=(Reason.NOT_FINITE,))],
            [],
            "the metric was no finite number",
        ),
    ],
)
def test_a_decision_without_a_proposal_says_why(
    events: list[Event], before: list[Event], why: str
) -> None:
    assert f"nothing: {why}" in story(*events, before=[(moment(0, 0), e) for e in before])


# What came of a proposal


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([APPLIED], "applied, and read back: opt.lr = 2\n  not judged yet"),
        ([Suggested(id=ID, changes=UP)], "suggested: mode suggest applies nothing"),
        (
            [Failed(id=ID, reasons=(Reason.ACTUATOR_FAILED,), message="opt.lr: apply raised")],
            "failed: the knob failed (opt.lr: apply raised)",
        ),
        ([Blocked(reasons=(Reason.BOUNDS,))], "not applied: the value was out of bounds"),
        ([RollbackFailed(id=ID, families=("opt.lr",), message="stuck")], "not applied: see below"),
    ],
)
def test_what_came_of_a_proposal_is_said(events: list[Event], said: str) -> None:
    assert said in story(SEEN, PROPOSED, *events)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (RollbackFailed(id=ID, families=("opt.lr",), message="x"), "it could not be put back"),
        (
            Abandoned(id=ID, changes=UP, reasons=(Reason.NO_GAIN, Reason.KEPT_ON_REJECT)),
            "abandoned: a gain was not probable enough; the recipe keeps what is rejected",
        ),
        (Accepted(id=ID, changes=UP), "accepted: an operator wanted it"),
    ],
)
def test_every_ending_is_explained(end: Event, said: str) -> None:
    assert said in story(SEEN, PROPOSED, APPLIED, end)


def test_a_change_by_hand_after_a_decision_is_listed_and_not_taken_for_its_proposal() -> None:
    text = story(SEEN, Proposed(changes=UP, source="human"), APPLIED, Accepted(id=ID, changes=UP))
    assert "nothing: the knobs were resting" in text
    assert "[human]" in text


def test_a_lost_knob_and_the_backup_metrics_are_shown() -> None:
    reading = KnobReading(2.0, 0.1, 0.2, Reason.NOT_LIVE)
    text = story(
        Observed(metric=1.0, metrics={"grad/norm": 0.5}, knobs={"opt.lr": reading}),
    )
    assert "grad/norm 0.5" in text
    assert "opt.lr 2 (schedule 0.1, used 0.2), but the knob did not act" in text


# Which decision


def test_a_superseded_decision_is_not_there() -> None:
    entries: Entries = [(moment(n, n), Observed(metric=1.0)) for n in (1, 2, 3)]
    lines = make_lines([(moment(), opened(KNOBS)), *entries, (moment(1, 1), Rewind(to=2))])
    assert gather(lines, 1).number == 1
    with pytest.raises(UsageError, match="N: there is no decision 2; the log holds from 1 to 1"):
        gather(lines, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0"], "there is no decision 0; the log holds from 1 to 40"),
        (["41"], "there is no decision 41; the log holds from 1 to 40"),
        (["-1"], "N: must be the number of one decision, got '-1'"),
        (["x"], "N: must be the number of one decision, got 'x'"),
        (["1.5"], "N: must be the number of one decision, got '1.5'"),
        (["²"], "N: must be the number of one decision"),
        (["1", "2", "3"], "N: must be the number of one decision, got '2 3'"),
    ],
)
def test_a_wrong_number_is_refused_with_the_range(
    words: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dir", str(run), "explain", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_log_without_decisions_says_so() -> None:
    with pytest.raises(UsageError, match="none yet"):
        gather(make_lines([(moment(), opened())]), 1)
