"""Every kind of event travels through a line and back, and no line can be changed unseen."""

import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptune.errors import EventLogError
from gptune.events import (
    KINDS,
    ORIGIN,
    VERSION,
    Abandoned,
    Accepted,
    Applied,
    Blocked,
    Closed,
    Command,
    Envelope,
    Event,
    Failed,
    Intent,
    KnobReading,
    LookAhead,
    ModeChanged,
    Observed,
    Opened,
    Paused,
    Proposed,
    Raw,
    Restored,
    Rewind,
    RollbackFailed,
    RolledBack,
    Suggested,
    Unpaused,
    checksum_of,
    decode,
    encode,
)
from gptune.records import Change, Reason, Slice
from tests.strategies import any_float, evidences, names, scalars

texts = st.text(max_size=8)
maybe = st.none() | any_float
many = {
    "changes": st.lists(st.builds(Change, names, scalars, scalars), max_size=2).map(tuple),
    "reasons": st.lists(st.sampled_from(list(Reason)), max_size=2).map(tuple),
    "families": st.lists(names, max_size=2).map(tuple),
}
numbers = st.lists(any_float, max_size=3)
slices = st.builds(
    Slice, at=numbers.map(tuple), mean=numbers.map(tuple), deviation=numbers.map(tuple)
)
raws = st.builds(Raw, texts.filter(lambda text: text not in ("nan", "inf", "-inf")))
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | any_float | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
plains = st.dictionaries(names, plain, max_size=2)
metrics = any_float | raws
readings = st.builds(KnobReading, move=scalars, scheduled=st.none() | scalars)


def of(kind: type[Event], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    named = {name: many[name] for name in kind.__struct_fields__ if name in many}
    return st.builds(kind, **{**named, **fields})


EVENTS: dict[type[Event], st.SearchStrategy[Event]] = {
    Opened: of(
        Opened,
        recipe=plains,
        seed=st.integers(-(2**53), 2**53),
        knobs=st.dictionaries(names, plains, max_size=2),
        resumed=st.booleans(),
        versions=st.dictionaries(names, texts, max_size=2),
    ),
    Observed: of(
        Observed,
        metric=metrics,
        metrics=st.dictionaries(names, metrics, max_size=2),
        forecast=maybe,
        deviation=maybe,
        evidence=st.none() | evidences(),
        knobs=st.dictionaries(names, readings, max_size=2),
    ),
    Proposed: of(
        Proposed,
        source=texts,
        mean=maybe,
        deviation=maybe,
        criterion=maybe,
        hyperparameters=st.dictionaries(names, numbers, max_size=2),
        slices=st.dictionaries(names, slices, max_size=2),
    ),
    Suggested: of(Suggested, id=texts),
    Intent: of(Intent, id=texts),
    Applied: of(Applied, id=texts, read_back=st.dictionaries(names, scalars, max_size=2)),
    Failed: of(Failed, id=texts, message=texts),
    Accepted: of(Accepted, id=texts, probability=maybe),
    RolledBack: of(RolledBack, id=texts, probability=maybe),
    RollbackFailed: of(RollbackFailed, id=texts, message=texts),
    Abandoned: of(Abandoned, id=texts),
    Blocked: of(Blocked, message=texts),
    Paused: of(Paused, decisions=st.integers(0, 99)),
    Unpaused: of(Unpaused, by=texts),
    Restored: of(Restored, symptom=texts, to_step=st.integers(0, 99), snapshot=texts),
    LookAhead: of(
        LookAhead,
        arms=st.dictionaries(names, any_float, max_size=2),
        chosen=texts,
        steps=st.integers(0, 99),
    ),
    ModeChanged: of(ModeChanged, old=texts, new=texts, by=texts),
    Command: of(
        Command, id=texts, verb=texts, arguments=plains, accepted=st.booleans(), message=texts
    ),
    Rewind: of(Rewind, to=st.integers(0, 99)),
    Closed: of(Closed, decisions=st.integers(0, 99)),
}
events = st.one_of(*EVENTS.values())
counts = st.integers(0, 2**53)
envelopes = st.builds(
    Envelope, seq=counts, generation=counts, decision=counts, step=counts, phase=texts
)
walls = st.dictionaries(names, st.integers(-9, 9) | st.text(max_size=4), max_size=2)
ENVELOPE = Envelope(seq=7, generation=0, decision=3, step=120, phase="mid")
NAN_EVENT = Observed(metric=math.nan, metrics={"a": math.inf, "b": -math.inf, "c": 1.0})


def same(one: Any, other: Any) -> bool:
    """Compare plain data, where NaN equals NaN and every type counts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)


def alike(one: Event, other: Event) -> bool:
    return type(one) is type(other) and same(msgspec.to_builtins(one), msgspec.to_builtins(other))


def test_there_is_a_strategy_for_every_kind_of_event() -> None:
    assert set(EVENTS) == set(Event.__args__)
    tags = {str(kind.__struct_config__.tag) for kind in EVENTS}
    assert tags == KINDS
    assert len(tags) == len(EVENTS)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: str(kind.__name__))
def test_every_kind_of_event_survives_its_line(kind: type[Event]) -> None:
    @given(EVENTS[kind], envelopes, walls, st.text(max_size=16))
    @settings(deadline=None, max_examples=15)
    def survives(event: Event, envelope: Envelope, wall: dict[str, Any], before: str) -> None:
        line = encode(envelope, event, wall, before)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        read = decode(line, before)
        assert read is not None
        assert read.envelope == envelope
        assert alike(read.event, event)
        assert read.wall == wall
        assert read.checksum == checksum_of(line)
        assert encode(envelope, read.event, wall, before) == line

    survives()


@given(events, envelopes)
@settings(deadline=None, max_examples=50)
def test_a_line_is_strict_json_with_the_envelope_and_the_kind(
    event: Event, envelope: Envelope
) -> None:
    line = encode(envelope, event, {"time": 1.5}, ORIGIN)

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    body = json.loads(line, parse_constant=refuse)
    assert body["v"] == VERSION == 1
    assert body["kind"] == type(event).__struct_config__.tag
    assert body["wall"] == {"time": 1.5}
    assert list(body)[-1] == "checksum"
    for name in Envelope.__struct_fields__:
        assert body[name] == getattr(envelope, name)


@pytest.mark.parametrize(
    ("number", "raw"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_a_number_that_is_not_finite_travels_as_null_with_its_name(number: float, raw: str) -> None:
    body = json.loads(encode(ENVELOPE, Observed(metric=number), {}, ORIGIN))
    assert body["metric"] == {"value": None, "raw": raw}
    nested = Proposed(changes=(), source="gp", hyperparameters={"noise": [number]})
    body = json.loads(encode(ENVELOPE, nested, {}, ORIGIN))
    assert body["hyperparameters"]["noise"] == [{"value": None, "raw": raw}]


def test_a_metric_that_is_no_number_travels_as_null_with_its_text() -> None:
    body = json.loads(encode(ENVELOPE, Observed(metric=Raw("high")), {}, ORIGIN))
    assert body["metric"] == {"raw": "high", "value": None}


def relabel(line: bytes, kind: str) -> bytes:
    body = json.loads(line)
    body["kind"] = kind
    return json.dumps(body).encode()


@given(events, names.filter(lambda name: name not in KINDS))
@settings(deadline=None, max_examples=30)
def test_a_kind_that_is_not_known_reads_as_none(event: Event, kind: str) -> None:
    line = relabel(encode(ENVELOPE, event, {}, ORIGIN), kind)
    assert decode(line, None) is None
    assert checksum_of(line) == checksum_of(encode(ENVELOPE, event, {}, ORIGIN))
    with pytest.raises(EventLogError, match="checksum"):
        decode(line, ORIGIN)


@given(events, walls, walls, st.text(max_size=8))
@settings(deadline=None, max_examples=50)
def test_wall_is_not_covered_by_the_checksum(
    event: Event, wall: dict[str, Any], other: dict[str, Any], before: str
) -> None:
    line = encode(ENVELOPE, event, wall, before)
    assert checksum_of(line) == checksum_of(encode(ENVELOPE, event, other, before))
    body = json.loads(line)
    body["wall"] = other
    read = decode(json.dumps(body).encode(), before)
    assert read is not None
    assert read.wall == other


@given(events, st.text(max_size=8), st.data())
@settings(deadline=None, max_examples=80)
def test_a_changed_field_breaks_the_chain(event: Event, before: str, data: st.DataObject) -> None:
    body = json.loads(encode(ENVELOPE, event, {"host": "a"}, before))
    field = data.draw(st.sampled_from([name for name in body if name != "wall"]))
    value: Any = data.draw(st.sampled_from([0, 1, -1, 0.5, "x", None, [], {}, True]))
    if same(body[field], value):
        value = "another"
    body[field] = value
    with pytest.raises(EventLogError):
        decode(json.dumps(body).encode(), before)


@given(events, st.text(max_size=8), st.data())
@settings(deadline=None, max_examples=50)
def test_a_field_that_is_taken_away_or_added_breaks_the_chain(
    event: Event, before: str, data: st.DataObject
) -> None:
    body = json.loads(encode(ENVELOPE, event, {}, before))
    gone = data.draw(st.sampled_from(sorted(body)))
    for changed in ({k: v for k, v in body.items() if k != gone}, {**body, "extra": 1}):
        with pytest.raises(EventLogError):
            decode(json.dumps(changed).encode(), before)


@given(events, st.data())
@example(NAN_EVENT, None)
@settings(deadline=None, max_examples=40)
def test_no_changed_byte_reads_as_anything_but_what_was_written(
    event: Event, data: st.DataObject | None
) -> None:
    line = encode(ENVELOPE, event, {}, ORIGIN)
    original = decode(line, ORIGIN)
    assert original is not None
    places = range(len(line)) if data is None else [data.draw(st.integers(0, len(line) - 1))]
    for place in places:
        byte = (line[place] + 1) % 256 if data is None else data.draw(st.integers(0, 255))
        changed = line[:place] + bytes([byte]) + line[place + 1 :]
        try:
            read = decode(changed, ORIGIN)
        except EventLogError:
            continue
        assert read is not None
        assert read.envelope == original.envelope
        assert alike(read.event, event)
        assert read.checksum == original.checksum


@given(events, st.text(max_size=8), st.text(max_size=8))
@settings(deadline=None, max_examples=40)
def test_a_line_belongs_behind_one_line_only(event: Event, before: str, other: str) -> None:
    line = encode(ENVELOPE, event, {}, before)
    if before == other:
        assert decode(line, other) is not None
    else:
        with pytest.raises(EventLogError, match=r"seq 7.*checksum"):
            decode(line, other)
    assert decode(line, None) is not None


@given(st.lists(events, min_size=2, max_size=5), st.data())
@settings(deadline=None, max_examples=30)
def test_the_chain_holds_across_lines_and_breaks_when_one_is_left_out(
    history: list[Event], data: st.DataObject
) -> None:
    lines, previous = [], ORIGIN
    for seq, event in enumerate(history):
        envelope = msgspec.structs.replace(ENVELOPE, seq=seq)
        lines.append(encode(envelope, event, {"time": seq}, previous))
        previous = checksum_of(lines[-1])
    previous = ORIGIN
    for line in lines:
        assert decode(line, previous) is not None
        previous = checksum_of(line)
    gone = data.draw(st.integers(0, len(lines) - 2))
    kept = lines[:gone] + lines[gone + 1 :]
    before = checksum_of(kept[gone - 1]) if gone else ORIGIN
    with pytest.raises(EventLogError, match="checksum"):
        decode(kept[gone], before)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"\xff\xfe",
        b'{"wall": {}}',
        b'{"checksum": "x"}',
        b'{"a": "\xff"}',
        b"\0" * 40,
    ],
)
def test_what_is_not_a_line_is_refused(line: bytes) -> None:
    with pytest.raises(EventLogError, match=r"not a line of events\.jsonl"):
        decode(line, None)


@pytest.mark.parametrize("line", [b"", b"{", b"{}", b"[]", b'{"wall": {}}', b"\xff"])
def test_a_line_without_a_checksum_has_none_to_read(line: bytes) -> None:
    with pytest.raises(EventLogError, match=r"not a line of events\.jsonl"):
        checksum_of(line)


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=100)
def test_whatever_the_disk_gives_is_read_or_refused(line: bytes) -> None:
    with pytest.raises(EventLogError):
        decode(line, ORIGIN)


@pytest.mark.parametrize("kind", sorted(KINDS - {"unpaused"}))
def test_a_kind_without_its_fields_is_refused(kind: str) -> None:
    body = {"v": 1, "seq": 0, "generation": 0, "decision": 0, "step": 0, "phase": "", "kind": kind}
    line = json.dumps({**body, "wall": {}, "checksum": ""}).encode()
    with pytest.raises(EventLogError, match=r"not a line of events\.jsonl"):
        decode(line, None)


@given(events, st.integers() | texts | st.none())
@settings(deadline=None, max_examples=30)
def test_a_line_of_another_schema_version_is_refused_and_says_which(
    event: Event, version: object
) -> None:
    body = {**json.loads(encode(ENVELOPE, event, {}, ORIGIN)), "v": version}
    line = msgspec.json.encode(body)
    if version == VERSION:
        assert decode(line, ORIGIN) is not None
        return
    rule = f"schema version {version!r} is not {VERSION}"
    with pytest.raises(EventLogError, match=re.escape(rule)):
        decode(line, None)


def test_two_equal_runs_write_equal_checksums() -> None:
    first = encode(ENVELOPE, Closed(decisions=3), {"time": 1.0, "pid": 1}, "abc")
    second = encode(ENVELOPE, Closed(decisions=3), {"time": 2.0, "pid": 2}, "abc")
    assert first != second
    assert checksum_of(first) == checksum_of(second)
