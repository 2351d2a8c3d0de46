"""The auditor's own summary of a log, against the one that the run itself keeps."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.audit import audit, audit_data
from gptune.audit.chain import read_chain
from gptune.audit.summary import differences, is_same
from gptune.run_directory.summary import summarize, to_plain
from tests.audit.forging import bodies, broken, encoded, named
from tests.logs import KernelRun, kernel_runs

UNTOUCHED = {"seq"}  # says which lines the rest is about


@given(kernel_runs())
def test_it_says_what_the_run_itself_says_after_every_line(run: KernelRun) -> None:
    lines = named(run.lines)
    entries = read_chain(encoded(lines)).entries
    for count in range(1, len(lines) + 1):
        told = msgspec.json.encode(to_plain(summarize(lines[:count])))
        assert differences(told, entries) == []


def other(value: Any) -> Any:
    """Give another value, much like a given one."""
    made: Any = "x" if value is None else {"x": 1}
    if isinstance(value, bool):
        made = not value
    elif isinstance(value, int | float):
        made = value * (1 + 1e-6) + 1e-6
    elif isinstance(value, str):
        made = value + "x"
    elif isinstance(value, list):
        made = [*value, "x"]
    elif value:
        name = next(iter(value))
        made = {**value, name: other(value[name])}
    return made


@pytest.mark.parametrize("name", ["run", "guarded", "steered", "carried"])
def test_no_field_can_be_another_or_be_missing(name: str, request: pytest.FixtureRequest) -> None:
    place: Path = request.getfixturevalue(name)
    log = (place / "events.jsonl").read_bytes()
    told = json.loads((place / "summary.json").read_bytes())
    assert audit(place).holds
    for field in told.keys() - UNTOUCHED:
        rest = {key: value for key, value in told.items() if key != field}
        for forged in ({**told, field: other(told[field])}, rest):
            report = audit_data(log, json.dumps(forged).encode())
            assert broken(report) == {"summary"}, field
            assert report.findings[-1].breaks[0].what.startswith(f"{field} is ")


def test_no_number_in_what_became_of_trials_can_be_another(run: Path) -> None:
    log = (run / "events.jsonl").read_bytes()
    told = json.loads((run / "summary.json").read_bytes())
    count = 0
    for family, phases in told["families"].items():
        for phase, said in phases.items():
            for name, value in said.items():
                changed = {**phases, phase: {**said, name: other(value)}}
                forged = {**told, "families": {**told["families"], family: changed}}
                assert "summary" in broken(audit_data(log, json.dumps(forged).encode()))
                count += 1
    assert count >= 7


@pytest.mark.parametrize("seq", [0, -1, 10**6, True, None, "3", 10**401, 2.5])
def test_a_summary_of_other_lines_than_there_are_is_none(seq: Any, run: Path) -> None:
    told = json.loads((run / "summary.json").read_bytes())
    forged = json.dumps({**told, "seq": seq}).encode()
    assert broken(audit_data((run / "events.jsonl").read_bytes(), forged)) == {"summary"}


def test_a_run_without_a_line_that_counts_has_a_summary_all_the_same(carried: Path) -> None:
    lines = bodies(carried)[:2]
    assert lines[-1]["kind"] == "rewind"
    log = b"".join((carried / "events.jsonl").read_bytes().splitlines(keepends=True)[:2])
    found = differences(json.dumps({"seq": 2, "decision": 0}).encode(), read_chain(log).entries)
    assert not any(what.startswith("decision") for what in found)


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1, 1.0, True),
        (1.0, 1.0 + 1e-6, False),
        (True, 1, False),
        (None, 0, False),
        ([1.0], [1.0 + 1e-12], True),
        ([1.0], [1.0, 2.0], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        (math.inf, math.inf, True),
    ],
)
def test_plain_data_is_the_same_but_for_rounding(one: Any, two: Any, same: bool) -> None:
    assert is_same(one, two) is same


@given(st.binary(max_size=50))
def test_what_is_no_summary_is_none(data: bytes) -> None:
    assert differences(data, ()) != []
