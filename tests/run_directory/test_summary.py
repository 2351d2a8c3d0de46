"""Where a run stands is a fold over its log: bounded, fast, and what the kernel knows."""

import json
import math
import statistics
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.events import (
    Accepted,
    Applied,
    Closed,
    Command,
    Event,
    Failed,
    Line,
    ModeChanged,
    Moment,
    Observed,
    Paused,
    Proposed,
    Raw,
    Rewind,
    RollbackFailed,
    RolledBack,
    Unpaused,
)
from gptune.records import Change, Evidence, Reason, Scalar
from gptune.run_directory.exports import segments
from gptune.run_directory.file_system import Disk
from gptune.run_directory.names import SUMMARY
from gptune.run_directory.summary import Summary, fold, summarize, to_plain, write_summary
from tests.fakes import Fault, MemoryDisk
from tests.logs import Entries, KernelRun, kernel_runs, knob, make_lines, moment, opened

Knobs = dict[str, dict[str, Any]]


def by_folding(lines: list[Line], start: Summary | None = None) -> Summary:
    summary = start or Summary()
    for line in lines:
        summary = fold(summary, line)
    return summary


def plain(*events: Event, knobs: Knobs | None = None) -> dict[str, Any]:
    """Summarise hand-made events, each at a decision of its own."""
    later: Entries = [(moment(n, 10 * n), event) for n, event in enumerate(events, 1)]
    return to_plain(summarize(make_lines([(moment(), opened(knobs)), *later])))


def trial(family: str, new: Scalar, *, won: bool, at: Moment, source: str = "gp") -> list[Any]:
    change, ident = Change(family, 1.0, new), f"{at.decision}:{family}"
    back = Change(family, new, 1.0)
    end: Event = Accepted(id=ident, changes=(change,))
    if not won:
        end = RolledBack(id=ident, changes=(back,), reasons=(Reason.NO_GAIN,))
    events: list[Event] = [
        Proposed(changes=(change,), source=source),
        Applied(id=ident, changes=(change,), read_back={}),
        Observed(metric=1.0),
        end,
    ]
    return [(at, event) for event in events]


def of_trials(*entries: list[Any], knobs: Knobs) -> dict[str, Any]:
    together = [entry for part in entries for entry in part]
    return to_plain(summarize(make_lines([(moment(), opened(knobs)), *together])))


# The fold


@given(kernel_runs(), st.integers(0, 200))
@settings(max_examples=100, deadline=None)
def test_folding_line_by_line_is_summarising_the_whole_also_halfway(
    run: KernelRun, cut: int
) -> None:
    lines = run.lines
    whole = summarize(lines)
    assert by_folding(lines) == whole
    assert by_folding(lines[cut:], summarize(lines[:cut])) == whole


@given(kernel_runs())
@settings(max_examples=150, deadline=None)
def test_it_is_what_the_kernel_knows(run: KernelRun) -> None:
    summary, state, rows = summarize(run.lines), run.state, list(segments(run.lines))
    assert summary.point == state.point
    assert summary.decision == state.decision
    assert summary.step == run.step
    assert (summary.paused, summary.paused_until) == (
        state.safety.paused,
        state.safety.paused_until,
    )
    assert summary.quarantined == state.safety.quarantined
    trial, pending = summary.course.trial, state.pending
    assert (trial.id if trial else None) == (pending.id if pending else None)
    assert summary.judged == len(rows)
    assert summary.accepted == sum(row["verdict"] == "accepted" for row in rows)
    assert summary.closed == isinstance(run.lines[-1].event, Closed)


@given(kernel_runs())
@settings(max_examples=50, deadline=None)
def test_it_is_plain_json_and_has_always_the_same_fields(run: KernelRun) -> None:
    data = to_plain(summarize(run.lines))
    assert json.loads(json.dumps(data)) == data
    assert data.keys() == to_plain(Summary()).keys()
    best = [row.event.metric for row in run.lines if isinstance(row.event, Observed)]
    finite = [value for value in best if isinstance(value, float) and math.isfinite(value)]
    choose = min if data["direction"] == "min" else max
    assert (data["best"] or {}).get("metric") == (choose(finite) if finite else None)


def test_a_line_is_folded_fast_and_late_ones_as_fast_as_early_ones() -> None:
    entries: Entries = [(moment(), opened({"opt.lr": knob()}))]
    for number in range(1, 1001):
        entries += trial("opt.lr", 2.0, won=number % 2 == 0, at=moment(number, number))
    lines = make_lines(entries)
    begin = perf_counter()
    summary = by_folding(lines)
    assert (perf_counter() - begin) / len(lines) < 200e-6  # a busy machine included
    assert len(json.dumps(to_plain(summary))) < 3000


# What it holds


def test_the_start_of_a_run_names_what_it_is() -> None:
    data = plain(knobs={"opt.lr": knob(), "m.n": knob("set", 4), "m.d": knob("delta", 0.5)})
    assert (data["mode"], data["objective"], data["direction"]) == ("active", "val/loss", "min")
    assert (data["seed"], data["versions"], data["total_steps"]) == (3, {"gptune": "1"}, 100)
    assert data["point"] == {"opt.lr": 1.0, "m.n": 4, "m.d": 0.0}
    assert (data["accept_rate"], data["best"], data["open"]) == (None, None, None)
    assert data["counts"] == {"opened": 1}


@pytest.mark.parametrize(("direction", "best"), [("min", 2), ("max", 1)])
def test_the_best_metric_is_the_first_best_finite_one(direction: str, best: int) -> None:
    values: list[float | Raw] = [3.0, 1.0, float("nan"), 1.0, 3.0, float("inf"), Raw("'x'")]
    events: Entries = [(moment(n, 10 * n), Observed(metric=v)) for n, v in enumerate(values, 1)]
    data = to_plain(summarize(make_lines([(moment(), opened(direction=direction)), *events])))
    assert data["best"] == {"metric": values[best - 1], "decision": best, "step": 10 * best}
    assert data["metric"] is None, "the last one was no number"


moves_of = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=8)


@given(moves_of)
def test_accepted_multipliers_are_averaged_by_their_logarithms(moves: list[float]) -> None:
    trials = [trial("opt.lr", m, won=True, at=moment(n, n, "early")) for n, m in enumerate(moves)]
    tally = of_trials(*trials, knobs={"opt.lr": knob()})["families"]["opt.lr"]["early"]
    logs = [math.log(move) for move in moves]
    assert tally["scale"] == "log"
    assert tally["mean"] == pytest.approx(statistics.geometric_mean(moves))
    assert tally["spread"] == pytest.approx(statistics.pstdev(logs), abs=1e-7)


@given(moves_of, st.sampled_from(["set", "delta"]))
def test_other_accepted_numbers_are_averaged_as_they_are(moves: list[float], mode: str) -> None:
    trials = [trial("m.x", m, won=True, at=moment(n, n)) for n, m in enumerate(moves)]
    tally = of_trials(*trials, knobs={"m.x": knob(mode)})["families"]["m.x"]["mid"]
    assert tally["scale"] == "linear"
    assert tally["mean"] == pytest.approx(statistics.mean(moves))
    assert tally["spread"] == pytest.approx(statistics.pstdev(moves), abs=1e-7)


def test_accepted_choices_are_counted() -> None:
    space = {"type": "categorical", "choices": ["relu", "tanh"]}
    words = ["relu", "tanh", "relu"]
    trials = [trial("m.a", word, won=True, at=moment(n, n)) for n, word in enumerate(words)]
    tally = of_trials(*trials, knobs={"m.a": knob("set", "tanh", space)})["families"]["m.a"]["mid"]
    assert tally["choices"] == {"relu": 2, "tanh": 1}
    assert "mean" not in tally


def test_wins_are_counted_by_family_and_by_the_phase_in_which_the_knob_was_moved() -> None:
    data = of_trials(
        trial("a.x", 2.0, won=True, at=moment(1, 1, "early")),
        trial("a.x", 3.0, won=False, at=moment(2, 2, "early")),
        trial("a.x", 4.0, won=False, at=moment(3, 3, "late")),
        trial("b.y", 5.0, won=True, at=moment(4, 4, "late")),
        trial("b.y", 6.0, won=True, at=moment(5, 5, "late"), source="human"),
        knobs={"a.x": knob(), "b.y": knob()},
    )
    rates = {f: {p: t["win_rate"] for p, t in ps.items()} for f, ps in data["families"].items()}
    assert rates == {"a.x": {"early": 0.5, "late": 0.0}, "b.y": {"late": 1.0}}
    assert (data["judged"], data["accepted"], data["accept_rate"]) == (4, 2, 0.5)
    assert data["families"]["a.x"]["late"]["mean"] is None
    assert data["rejects"] == 0, "the last one was accepted"
    assert data["point"] == {"a.x": 1.0, "b.y": 6.0}


def test_a_pause_is_told_with_its_end_and_a_longer_one_is_never_shortened() -> None:
    def told(*events: Event) -> tuple[bool, int | None]:
        data = plain(*events)
        return data["paused"], data["paused_until"]

    assert told(Paused(decisions=8)) == (True, 9)
    assert told(Paused(decisions=8), Paused(decisions=3)) == (True, 9)
    assert told(Paused(decisions=None), Paused(decisions=3)) == (True, None)
    assert told(Paused(decisions=3), Paused(decisions=None)) == (True, None)
    assert told(Paused(decisions=8), Unpaused()) == (False, None)


def test_rejects_in_a_row_are_counted_until_one_is_accepted_or_a_pause_ends() -> None:
    lost = [trial("opt.lr", 2.0, won=False, at=moment(n, n)) for n in range(3)]
    knobs = {"opt.lr": knob()}
    assert of_trials(*lost, knobs=knobs)["rejects"] == 3
    assert of_trials(*lost, [(moment(4, 4), Unpaused())], knobs=knobs)["rejects"] == 0


def test_a_reject_of_a_knob_that_never_acted_says_nothing_against_it() -> None:
    entries = trial("opt.lr", 2.0, won=False, at=moment(1, 1))
    back = RolledBack(
        id="1:opt.lr", changes=(Change("opt.lr", 2.0, 1.0),), reasons=(Reason.NOT_LIVE,)
    )
    data = of_trials([*entries[:-1], (moment(1, 1), back)], knobs={"opt.lr": knob()})
    assert (data["judged"], data["rejects"]) == (1, 0)


def test_pins_are_read_from_the_commands_that_were_done() -> None:
    def command(verb: str, family: str, *, accepted: bool = True) -> Command:
        arguments = {"family": family}
        return Command(id="c", verb=verb, arguments=arguments, accepted=accepted, message="")

    pins = (command("pin", "b"), command("pin", "a"), command("pin", "c", accepted=False))
    assert plain(*pins)["pinned"] == ["a", "b"]
    assert plain(*pins, command("unpin", "b"))["pinned"] == ["a"]
    assert plain(*pins)["counts"]["command"] == 3


def test_what_broke_is_quarantined_and_its_companions_are_not() -> None:
    broken = Failed(
        id="1:a+b",
        reasons=(Reason.ACTUATOR_FAILED,),
        message="b: apply raised",
        families=("a", "b"),
    )
    refused = Failed(id="1:c", reasons=(Reason.VALIDATE_REFUSED,), message="c: no", families=("c",))
    stuck = RollbackFailed(id="2:d", families=("d",), message="d: restore raised")
    assert plain(broken, refused, stuck)["quarantined"] == ["b", "d"]


def test_the_mode_follows_its_changes_and_a_knob_that_is_added_changes_nothing_else() -> None:
    first, second = opened({"a.x": knob()}), opened({"a.x": knob(), "b.y": knob("delta")})
    entries: Entries = [
        (moment(), first),
        (moment(1, 1), ModeChanged(old="active", new="suggest")),
        *trial("a.x", 2.0, won=True, at=moment(1, 1)),
        (moment(1, 1), second),
    ]
    data = to_plain(summarize(make_lines(entries)))
    assert data["mode"] == "suggest"
    assert data["point"] == {"a.x": 2.0, "b.y": 0.0}


# Rewinds and time


def test_after_a_rewind_the_lines_that_it_superseded_are_forgotten() -> None:
    knobs = {"opt.lr": knob()}
    kept: Entries = [(moment(), opened(knobs)), (moment(1, 1), Observed(metric=5.0))]
    lost: Entries = [
        *trial("opt.lr", 2.0, won=True, at=moment(2, 2)),
        (moment(3, 3), Paused(decisions=1)),
    ]
    again: Entries = [(moment(2, 2), Observed(metric=4.0, evidence=Evidence(gain=1.0)))]
    lines = make_lines([*kept, *lost, (moment(1, 1), Rewind(to=2)), *again])
    summary = summarize(lines)
    assert summary.counts == {"opened": 1, "observed": 2}
    assert (summary.judged, summary.paused, summary.point) == (0, False, {"opt.lr": 1.0})
    assert summary.seq == len(lines)
    assert by_folding(lines[-1:], summarize(lines[:-1])) == summary


def test_the_time_spent_is_that_of_all_processes_without_the_nights_between_them() -> None:
    here: Entries = [
        (moment(), opened()),
        (moment(1, 1), Observed(metric=1.0)),
        (moment(), opened()),
        (moment(), Rewind(to=1)),
        (moment(1, 1), Observed(metric=1.0)),
        (moment(1, 1), Closed(decisions=1)),
    ]
    times = [(100.0, 7), (160.0, None), (9000.0, 8), (9001.0, None), (9030.0, None), (9040.0, None)]
    wall = [{"time": t, **({"pid": p, "host": "h"} if p else {})} for t, p in times]
    data = to_plain(summarize(make_lines(here, wall)))
    assert (data["first"], data["last"], data["seconds"]) == (100.0, 9040.0, 60.0 + 40.0)
    assert (data["pid"], data["host"], data["closed"]) == (8, "h", True)


def test_a_log_without_times_has_taken_none() -> None:
    data = to_plain(summarize(make_lines([(moment(), opened())], [{}])))
    assert (data["first"], data["last"], data["seconds"]) == (None, None, 0.0)


# The file


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    disk, before, after = MemoryDisk(), Summary(decision=1), Summary(decision=2)
    write_summary(disk, tmp_path, before)
    disk.break_at("replace", 1, Fault.FAIL)
    with pytest.raises(OSError, match="breaks replace"):
        write_summary(disk, tmp_path, after)
    assert json.loads(disk.read(tmp_path / SUMMARY)) == to_plain(before)


def test_what_is_not_finite_is_null_in_the_file(tmp_path: Path) -> None:
    write_summary(Disk(), tmp_path, Summary(metric=math.nan, point={"a": math.inf}))
    read = json.loads((tmp_path / SUMMARY).read_bytes(), parse_constant=pytest.fail)
    assert (read["metric"], read["point"]) == (None, {"a": None})
