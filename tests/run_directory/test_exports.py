"""Rows in the style of older tools: enough to replay a run, and one for each judged change."""

from pathlib import Path

import msgspec
from hypothesis import given, settings

from gptune.events import Accepted, Applied, KnobReading, Observed, Proposed, Rewind, RolledBack
from gptune.records import Change, Evidence, Reason
from gptune.run_directory.event_log import read_events
from gptune.run_directory.exports import mutations, observations, segments
from tests.cli.runs import make_run
from tests.logs import Entries, KernelRun, kernel_runs, make_lines, moment

UP, DOWN = Change("opt.lr", 1.0, 2.0), Change("opt.lr", 2.0, 1.0)
ID = "1:opt.lr"
SOON, LATE = moment(1, 10, "early"), moment(2, 20)
EVIDENCE = Evidence(gain=-0.5, deviation=0.1, penalty=0.2, probability=0.01)
REJECTED: Entries = [
    (SOON, Observed(metric=1.0)),
    (SOON, Proposed(changes=(UP,), source="gp")),
    (SOON, Applied(id=ID, changes=(UP,), read_back={"opt.lr": 2.0})),
    (LATE, Observed(metric=1.5, evidence=EVIDENCE)),
    (LATE, RolledBack(id=ID, changes=(DOWN,), reasons=(Reason.NO_GAIN,), probability=0.01)),
]


@given(kernel_runs())
@settings(max_examples=100, deadline=None)
def test_following_the_rows_gives_the_moves_that_every_decision_observed(run: KernelRun) -> None:
    rows = list(mutations(run.lines))
    point = dict(run.points[1])
    for line in run.lines:
        event = line.event
        if isinstance(event, Observed):
            now = (line.envelope.decision, line.envelope.step)
            while rows and (rows[0]["decision"], rows[0]["step"]) < now:
                row = rows.pop(0)
                point[row["family"]] = row["new"]
            assert point == {family: reading.move for family, reading in event.knobs.items()}


@given(kernel_runs())
@settings(max_examples=100, deadline=None)
def test_every_row_is_json_and_has_the_same_columns(run: KernelRun) -> None:
    for rows in (list(mutations(run.lines)), list(segments(run.lines))):
        assert len({tuple(row) for row in rows}) <= 1
        assert len(msgspec.json.decode(msgspec.json.encode(rows))) == len(rows)


def test_a_change_that_is_undone_is_two_movements() -> None:
    assert list(mutations(make_lines(REJECTED))) == [
        {
            "id": ID,
            "decision": 1,
            "step": 10,
            "phase": "early",
            "family": "opt.lr",
            "old": 1.0,
            "new": 2.0,
            "status": "applied",
            "source": "gp",
        },
        {
            "id": ID,
            "decision": 2,
            "step": 20,
            "phase": "mid",
            "family": "opt.lr",
            "old": 2.0,
            "new": 1.0,
            "status": "rolled_back",
            "source": "gp",
        },
    ]


def test_a_judged_change_is_one_segment_with_its_evidence() -> None:
    assert list(segments(make_lines(REJECTED))) == [
        {
            "id": ID,
            "families": ["opt.lr"],
            "source": "gp",
            "decision_opened": 1,
            "step_opened": 10,
            "phase_opened": "early",
            "decision": 2,
            "step": 20,
            "phase": "mid",
            "old": {"opt.lr": 1.0},
            "new": {"opt.lr": 2.0},
            "verdict": "rejected",
            "reasons": ["no_gain"],
            "gain": -0.5,
            "deviation": 0.1,
            "penalty": 0.2,
            "probability": 0.01,
            "metric_before": 1.0,
            "metric_after": 1.5,
        }
    ]


def test_a_metric_that_was_no_number_is_none() -> None:
    entries: Entries = [*REJECTED]
    entries[3] = (LATE, Observed(metric=float("nan"), evidence=None))
    (row,) = segments(make_lines(entries))
    assert (row["gain"], row["metric_before"]) == (None, 1.0)
    assert row["metric_after"] is None


def test_what_was_made_by_hand_or_put_back_unjudged_is_no_segment() -> None:
    by_hand = f"{ID}@command"
    entries: Entries = [
        *REJECTED[:4],
        (LATE, RolledBack(id=ID, changes=(DOWN,), reasons=(Reason.CLOSED,))),
        (LATE, Proposed(changes=(UP,), source="human")),
        (LATE, Applied(id=by_hand, changes=(UP,), read_back={})),
        (LATE, Accepted(id=by_hand, changes=(UP,))),
    ]
    lines = make_lines(entries)
    assert list(segments(lines)) == []
    assert [(row["id"], row["status"], row["source"]) for row in mutations(lines)] == [
        (ID, "applied", "gp"),
        (ID, "rolled_back", "gp"),
        (by_hand, "applied", "human"),
    ]


def test_what_the_proposer_was_told_is_what_it_remembers(tmp_path: Path) -> None:
    tuner = make_run(tmp_path, close=False)
    known = tuner.state_dict()["proposer"]["observations"]
    tuner.close()
    rows = list(observations(read_events(tmp_path)))
    assert len(rows) > 20
    assert [(r["point"], r["gain"], r["deviation"] ** 2) for r in rows] == [
        (o["point"], o["value"], o["noise"]) for o in known
    ]
    verdicts = {row["verdict"] for row in rows}
    assert verdicts == {None, "accepted", "rejected"}


def test_a_change_of_a_knob_that_did_not_act_tells_the_proposer_nothing() -> None:
    lost = KnobReading(2.0, None, 2.0, Reason.NOT_LIVE)
    entries: Entries = [*REJECTED]
    entries[3] = (LATE, Observed(metric=1.5, evidence=EVIDENCE, knobs={"opt.lr": lost}))
    assert list(observations(make_lines(entries))) == []
    (row,) = observations(make_lines(REJECTED))
    assert (row["decision"], row["gain"], row["verdict"]) == (2, -0.5, "rejected")


def test_what_a_rewind_superseded_did_not_happen() -> None:
    lines = make_lines([*REJECTED, (SOON, Rewind(to=1)), *REJECTED[1:3]])
    assert [row["status"] for row in mutations(lines)] == ["applied"]
    assert list(segments(lines)) == []
