"""The audit: silent about every run of the real thing, and never about a forged one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gptune
from gptune.audit import audit, audit_data
from gptune.errors import RunDirectoryError
from tests.audit.forging import (
    Body,
    Edit,
    bodies,
    both,
    broken,
    change,
    command,
    drop,
    encoded,
    first,
    knob,
    moved,
    named,
    opened,
    put,
    rechained,
)
from tests.audit.steered import knobs, steer
from tests.cli.runs import make_run
from tests.doubles import FakeKnob
from tests.logs import KernelRun, kernel_runs
from tests.training import Training, run_decisions


@given(kernel_runs())
def test_whatever_the_kernel_writes_keeps_every_promise(run: KernelRun) -> None:
    report = audit_data(encoded(named(run.lines)))
    assert not broken(report), report
    assert report.lines == len(run.lines)


def test_real_runs_keep_every_promise_and_are_counted(
    steered: Path, carried: Path, run: Path, guarded: Path
) -> None:
    for place in (steered, carried):
        assert audit(place).holds, audit(place)
    for place in (run, guarded):
        report = audit(place)
        assert report.holds, report
        assert report.state == "closed"
        looked = {finding.name: finding.looked for finding in report.findings}
        assert looked["chain"] == len(bodies(place)) == report.counting
    assert report.changes == sum(line["kind"] == "applied" for line in bodies(guarded))
    assert looked["restores"] == 1
    assert looked["look ahead"] == 2


def test_a_log_whose_checksums_are_worked_out_anew_still_keeps_them(
    run: Path, guarded: Path
) -> None:
    for place in (run, guarded):
        assert audit_data(rechained(bodies(place))).holds


@given(at=st.integers(0, 10**6), data=st.data())
def test_any_line_that_is_dropped_changed_or_swapped_is_found_and_named(
    run: Path, at: int, data: st.DataObject
) -> None:
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    summary = (run / "summary.json").read_bytes()
    n = at % (len(lines) - 1)
    how = data.draw(st.sampled_from(["drop", "swap", "change"]))
    if how == "drop":
        forged = lines[:n] + lines[n + 1 :]
    elif how == "swap":
        forged = [*lines[:n], lines[n + 1], lines[n], *lines[n + 2 :]]
    else:
        body = json.loads(lines[n])
        body["step"] += 1
        wall, checksum = body.pop("wall"), body.pop("checksum")
        text = json.dumps({**body, "wall": wall, "checksum": checksum}, separators=(",", ":"))
        forged = [*lines[:n], text.encode() + b"\n", *lines[n + 1 :]]
    report = audit_data(b"".join(forged), summary)
    chain = report.findings[0]
    assert not chain.holds
    assert chain.breaks[0].line == n + 1


def test_the_last_line_is_missed_by_the_summary(run: Path) -> None:
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    report = audit_data(b"".join(lines[:-1]), (run / "summary.json").read_bytes())
    assert broken(report) == {"summary"}
    assert "knows of" in report.findings[-1].breaks[0].what


def again(kind: str, nth: int = 0) -> Edit:
    """Let a line stand there twice."""

    def edit(lines: list[Body]) -> list[Body]:
        at = first(lines, kind, nth)
        return lines[: at + 1] + lines[at:]

    return edit


def metric(value: Any) -> Edit:
    """Let what was observed at the decision of the first verdict for a change be another thing."""

    def edit(lines: list[Body]) -> list[Body]:
        at = first(lines, "accepted")
        observed = max(n for n in range(at) if lines[n]["kind"] == "observed")
        return [{**x, "metric": value} if n == observed else x for n, x in enumerate(lines)]

    return edit


def after_observed(kind: str, **fields: Any) -> Edit:
    """Put a line of another kind between what was observed and what was then done."""

    def edit(lines: list[Body]) -> list[Body]:
        at = first(lines, "intent")
        return [*lines[:at], {**lines[at - 1], "kind": kind, **fields}, *lines[at:]]

    return edit


FORGERIES: dict[str, tuple[Edit, str]] = {
    "a value outside of the bounds": (moved(1, 1e6), "bounds"),
    "no number at all": (moved(1, "large"), "bounds"),  # type: ignore[arg-type]
    "a smaller largest step": (knob(max_step=1.01), "step"),
    "applied without intent": (drop("intent"), "intent"),
    "applied otherwise than intended": (
        change("applied", changes=[{"family": "opt.lr", "old": 1.0, "new": 1.5}]),
        "intent",
    ),
    "read back otherwise": (change("applied", read_back={"opt.lr": 1.75}), "read back"),
    "not read back": (change("applied", read_back={}), "read back"),
    "judged twice": (again("rolled_back"), "once"),
    "not judged": (drop("rolled_back"), "once"),
    "applied twice": (again("applied"), "once"),
    "one name for two": (
        lambda x: change("intent", 1, id=x[first(x, "intent")]["id"])(x),
        "unique",
    ),
    "put back elsewhere": (
        change("rolled_back", changes=[{"family": "opt.lr", "old": 1.0, "new": 1.01}]),
        "continuity",
    ),
    "a longer cooldown": (knob(cooldown=50), "cooldown"),
    "a longer rest after a reject": (opened(safety={"global_cooldown": 9}), "cooldown"),
    "a pause that did not end": (drop("unpaused"), "pause"),
    "a pause that was to be longer": (change("paused", decisions=500), "pause"),
    "a streak that was to pause": (opened(safety={"max_global_reject_streak": 1}), "pause"),
    "a metric that is none": (metric({"value": None, "raw": "nan"}), "verdict"),
    "a change beside a metric that is none": (change("observed", 3, metric="x"), "blockers"),
    "a change while blocked": (after_observed("blocked", reasons=["anomaly"]), "blockers"),
    "a stricter gate": (opened(acceptance={"probability": 0.9999}), "verdict"),
    "kept for no reason": (change("accepted", reasons=["operator"]), "verdict"),
    "another mode": (after_observed("mode", old="active", new="observe", by="call"), "mode"),
    "by nobody's hand": (change("proposed", source="human"), "authority"),
    "calibrated by nothing": (change("proposed", source="calibration"), "authority"),
    "guarded by nothing": (change("proposed", source="guard"), "authority"),
    "a warm-up": (opened(safety={"warmup": 30}), "authority"),
    "a knob of high risk": (knob(risk="high"), "movable"),
    "another phase": (knob(phases=["late"]), "movable"),
    "a pinned knob": (
        after_observed(
            "command", id="c", verb="pin", arguments={"family": "opt.lr"}, accepted=True, message=""
        ),
        "movable",
    ),
    "a knob that had failed": (
        after_observed("rollback_failed", id="", families=["opt.lr"], message=""),
        "movable",
    ),
    "a change that nobody proposed": (drop("proposed"), "authority"),
    "an intent that is left open": (both(drop("applied"), drop("rolled_back")), "intent"),
    "a line of a decision to come": (change("unpaused", decision=90), "order"),
    "an applied one of a decision to come": (change("applied", 1, decision=90), "order"),
    "an end that counts otherwise": (change("closed", decisions=4), "order"),
    "another recipe later": (
        put({"kind": "opened", "recipe": {}, "knobs": {}, "resumed": False}, before="closed"),
        "recipe",
    ),
    "mode active left with an open change": (
        put({"kind": "mode", "old": "active", "new": "observe", "by": ""}, before="rolled_back"),
        "mode",
    ),
    "a brake taken off by an order": (
        put(command("set", changes={"safety.block_on_nan": False}), before="closed"),
        "form",
    ),
    "a decision that is missing": (drop("observed", 5), "order"),
    "a line after the end": (lambda x: [*x, {**x[5], "decision": 99}], "order"),
    "no beginning": (drop("opened"), "order"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_broken_rule_is_found_though_every_checksum_is_right(name: str, run: Path) -> None:
    edit, promise = FORGERIES[name]
    report = audit_data(rechained(edit(bodies(run))))
    assert report.findings[0].holds
    assert promise in broken(report), broken(report)
    (finding,) = (one for one in report.findings if one.name == promise)
    assert all(one.line > 0 and one.what for one in finding.breaks)


@given(st.binary(max_size=200))
def test_no_summary_and_no_log_can_stop_it(data: bytes) -> None:
    audit_data(data, data)
    audit_data(b"{}\n" + data + b"\n")


WILD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(10**401, -(10**401), "@huge@", 0, -1, 0.5, True, None, "", "x", [], [[]], {}, {"a": {}}),
        *({"value": None, "raw": "inf"}, [{"family": "opt.lr", "old": 10**401, "new": 0}]),
    ]
)


def spoil(body: Any, data: st.DataObject) -> Any:
    """Replace something, however deep, by a wild value."""
    if isinstance(body, dict) and body and data.draw(st.integers(0, 3)):
        name = data.draw(st.sampled_from(sorted(body)))
        return {**body, name: spoil(body[name], data)}
    if isinstance(body, list) and body and data.draw(st.integers(0, 3)):
        at = data.draw(st.integers(0, len(body) - 1))
        return [*body[:at], spoil(body[at], data), *body[at + 1 :]]
    return data.draw(WILD)


@given(data=st.data())
def test_no_wild_value_in_a_line_or_a_summary_can_stop_it(
    run: Path, guarded: Path, data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from([run, guarded]))
    lines, summary = bodies(place), json.loads((place / "summary.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(sorted({line["kind"] for line in lines})))
        places = [n for n, line in enumerate(lines) if line["kind"] == kind]
        at = data.draw(st.sampled_from(places))
        name = data.draw(st.sampled_from(sorted(lines[at].keys() - {"wall", "kind", "seq"})))
        lines[at] = {**lines[at], name: spoil(lines[at][name], data)}
    told = json.dumps(spoil(summary, data)).encode()
    report = audit_data(rechained(lines).replace(b'"@huge@"', b"1e999"), told)
    assert report.lines == len(lines)
    assert audit_data(rechained(lines), told.replace(b'"@huge@"', b"1e999")).lines


@pytest.mark.parametrize(
    "edit",
    [knob(on_schedule=True, base=0, mode="set"), change("observed", 3, metric=10**401)],
)
def test_numbers_that_nothing_can_be_reckoned_with_break_a_promise(edit: Edit, run: Path) -> None:
    assert not audit_data(rechained(edit(bodies(run)))).holds


@pytest.mark.parametrize("name", ["events.jsonl", "summary.json"])
def test_a_file_that_is_too_large_is_refused(name: str, tmp_path: Path) -> None:
    gptune.Tuner([FakeKnob("loss.aux")], run_dir=tmp_path / "run").close()
    os.truncate(tmp_path / "run" / name, 4 * 2**30 + 1)  # takes no room on the disk
    with pytest.raises(RunDirectoryError, match="is larger than"):
        audit(tmp_path / "run")


def test_lines_that_lack_what_a_rule_looks_at_break_it(run: Path) -> None:
    for kind in ("observed", "intent", "applied", "accepted", "proposed"):
        lines = bodies(run)
        at = first(lines, kind)
        envelope = ("v", "seq", "generation", "decision", "step", "phase", "kind", "wall")
        lines[at] = {name: lines[at][name] for name in envelope}
        assert broken(audit_data(rechained(lines)))


def test_a_run_that_only_suggests_keeps_them(tmp_path: Path) -> None:
    training = Training()
    place = tmp_path / "run"
    tuner = gptune.Tuner(training.optimizer, run_dir=place, mode="suggest", total_steps=90, seed=1)
    run_decisions(training, tuner, [1 / (n + 3) for n in range(30)])
    tuner.close()
    assert sum(line["kind"] == "suggested" for line in bodies(place)) > 1
    assert audit(place).holds
    acts = rechained(drop("proposed", 1)(bodies(place)))
    assert "authority" in broken(audit_data(acts))


def test_a_process_that_waits_for_a_checkpoint_breaks_nothing(tmp_path: Path) -> None:
    place = tmp_path / "run"
    tuner = steer(place, close=False)
    state = tuner.state_dict()
    tuner.report({"val/loss": 0.5})
    tuner.close()
    for loads in (False, True):
        hands = [*knobs(), FakeKnob("loss.late")]
        again = gptune.Tuner(hands, run_dir=place, resume=True, total_steps=100, seed=2)
        again.set_mode("suggest")
        assert audit(place).holds, audit(place)
        if loads:
            again.load_state_dict(state)
            again.report({"val/loss": 0.5})
        again.close()
        assert audit(place).holds, audit(place)


def test_a_run_that_crashed_and_one_that_goes_on_keep_them_too(tmp_path: Path) -> None:
    tuner = make_run(tmp_path / "run", close=False)
    report = audit(tmp_path / "run")
    assert report.holds
    assert report.state == "not closed"
    tuner.close()
    data = (tmp_path / "run" / "events.jsonl").read_bytes()
    torn = audit_data(data[:-7])
    assert torn.holds
    assert torn.torn > 0


@pytest.mark.parametrize("name", ["events.jsonl", "summary.json"])
def test_no_link_is_followed_and_no_pipe_is_waited_for(name: str, tmp_path: Path) -> None:
    gptune.Tuner([FakeKnob("loss.aux")], run_dir=tmp_path / "run").close()
    path = tmp_path / "run" / name
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(RunDirectoryError, match="is a symbolic link"):
        audit(tmp_path / "run")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunDirectoryError, match="is not a file"):
        audit(tmp_path / "run")


def test_where_there_is_no_log_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        audit(tmp_path)
