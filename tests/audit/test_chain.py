"""The auditor's own reading of a log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.audit.chain import DEEPEST, LONGEST, counting, plain, read_chain
from gptune.events import Closed, Envelope, Line, Rewind
from gptune.run_directory.event_log import effective
from tests.audit.forging import encoded, rechained

BODY = {"v": 1, "generation": 0, "decision": 0, "step": 0, "phase": "mid", "kind": "x", "wall": {}}


@given(st.lists(st.none() | st.integers(0, 30), max_size=30))
def test_the_lines_that_count_are_those_that_the_log_itself_counts(goals: list[int | None]) -> None:
    lines, generation = [], 0
    for number, goal in enumerate(goals, start=1):
        to = None if goal is None else min(goal, number - 1)
        generation += to is not None
        envelope = Envelope(seq=number, generation=generation, decision=0, step=0, phase="mid")
        event = Closed(decisions=number) if to is None else Rewind(to=to)
        lines.append(Line(envelope=envelope, event=event, wall={}, checksum=""))
    chain = read_chain(encoded(lines))
    assert not chain.breaks
    numbers = [line.envelope.seq for line in effective(lines)]
    assert [entry.number for entry in counting(chain.entries)] == numbers


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seq": 9}, "says that it is line 9"),
        ({"generation": 1}, "generation 1, due is 0"),
        ({"kind": "rewind", "to": 5, "generation": 1}, "goes back to 5"),
        ({"v": 2}, "schema version 2"),
        ({"decision": -1}, "decision is -1"),
        ({"decision": True}, "decision is True"),
        ({"deep": json.loads("[" * DEEPEST + "]" * DEEPEST)}, "nested deeper"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(change: dict[str, object], what: str) -> None:
    data = rechained([BODY, {**BODY, **change}])
    if "seq" in change:
        data = data.replace(b'"seq":2', b'"seq":9')
    breaks = read_chain(data).breaks
    assert any(number == 2 and what in said for number, said in breaks)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"[]", b"{", b"NaN", b'{"wall":1}', b"\xff"),
        pytest.param(b"[" * 10**5, id="deep"),
        pytest.param(b" " * (LONGEST + 1), id="long"),
    ],
)
def test_what_is_no_line_is_no_line(line: bytes) -> None:
    chain = read_chain(line + b"\n")
    assert chain.entries[0].kind == ""
    assert "is no line of a log" in chain.breaks[0][1]


def test_a_torn_line_is_counted_and_is_no_break() -> None:
    chain = read_chain(rechained([BODY]) + b'{"v":1')
    assert (len(chain.entries), chain.breaks, chain.torn) == (1, (), 6)


def test_numbers_that_json_lacks_are_read() -> None:
    assert plain({"value": None, "raw": "-inf"}) == float("-inf")
    assert plain({"value": None, "raw": "three"}) == {"value": None, "raw": "three"}
    assert plain(2.5) == 2.5
