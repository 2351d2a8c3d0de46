"""The event log: append-only, repaired, chained, owned, and silent about a failing disk."""

import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.errors import EventLogError, RunDirectoryError
from gptune.events import (
    ORIGIN,
    Applied,
    Blocked,
    Envelope,
    Event,
    Intent,
    Line,
    ModeChanged,
    Moment,
    Observed,
    Raw,
    Rewind,
    encode,
)
from gptune.records import Change, Reason
from gptune.run_directory.event_log import EventLog, effective, glance, read_events, read_run
from gptune.run_directory.file_system import FileSystem
from gptune.run_directory.names import EVENTS, LOCK
from tests.fakes import Fault, MemoryDisk

RUN = Path("/runs/one")
PATH = RUN / EVENTS
QUICK = settings(deadline=None, max_examples=40)
OWN = """
import sys, time
from pathlib import Path
from gptune.run_directory.event_log import EventLog
log = EventLog(Path(sys.argv[1]))
from gptune.events import Blocked, Moment
assert log.append(Moment(decision=1, step=1, phase="mid"), Blocked(reasons=()))
print("owned", flush=True)
time.sleep(60)
"""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
moves = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), texts)
changes = st.lists(st.builds(Change, texts, moves, moves), max_size=2).map(tuple)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Blocked, reasons=st.lists(st.sampled_from(Reason), max_size=2).map(tuple)),
    st.builds(Intent, id=texts, changes=changes),
    st.builds(Applied, id=texts, changes=changes, read_back=st.dictionaries(texts, moves)),
    st.builds(ModeChanged, old=texts, new=texts),
    st.builds(
        Observed,
        metric=st.one_of(st.floats(allow_nan=False), st.builds(Raw, texts)),
        metrics=st.dictionaries(texts, st.floats(allow_nan=False), max_size=2),
    ),
)
moments = st.builds(
    Moment, decision=st.integers(0, 10**9), step=st.integers(0, 10**12), phase=texts
)
entries = st.tuples(moments, events)
histories = st.lists(entries, min_size=1, max_size=8)
HERE = Moment(decision=1, step=10, phase="mid")


@contextmanager
def opened(disk: FileSystem, run: Path = RUN) -> Iterator[EventLog]:
    ticks = count()
    log = EventLog(run, disk, wall=lambda: {"time": next(ticks)})
    try:
        yield log
    finally:
        log.close()


@contextmanager
def owned(directory: Path) -> Iterator[EventLog]:
    log = EventLog(directory)
    try:
        yield log
    finally:
        log.close()


def mark(number: int) -> ModeChanged:
    return ModeChanged(old=str(number), new="")


def written(disk: MemoryDisk, history: list[tuple[Moment, Event]]) -> bytes:
    with opened(disk) as log:
        for moment, event in history:
            assert log.append(moment, event)
    return disk.read(PATH)


def content(lines: list[Line]) -> list[tuple[Moment, Event]]:
    return [
        (Moment(decision=e.decision, step=e.step, phase=e.phase), line.event)
        for line in lines
        for e in [line.envelope]
    ]


def names(lines: list[Line]) -> list[str]:
    return [line.event.old for line in lines if isinstance(line.event, ModeChanged)]


# What was written is read


@QUICK
@given(histories)
def test_what_was_appended_is_what_is_read(history: list[tuple[Moment, Event]]) -> None:
    disk = MemoryDisk()
    data = written(disk, history)
    lines = read_events(RUN, disk)
    assert content(lines) == history
    assert [line.envelope.seq for line in lines] == list(range(1, len(history) + 1))
    assert {line.envelope.generation for line in lines} == {0}
    assert data.count(b"\n") == len(history)
    assert [line.wall for line in lines] == [{"time": i} for i in range(len(history))]


KINDS_DRAWN = ["blocked", "intent", "applied", "mode", "observed", "rewind", "closed"]


@QUICK
@given(histories, st.sets(st.sampled_from(KINDS_DRAWN)), st.data())
def test_a_glance_sees_the_whole_lines_of_its_kinds_as_a_full_reading_does(
    history: list[tuple[Moment, Event]], kinds: set[str], data: st.DataObject
) -> None:
    disk = MemoryDisk()
    whole = written(disk, history)
    disk.files[PATH] = whole[: len(whole) - data.draw(st.integers(0, 50))]
    full = [line for line in read_events(RUN, disk) if line.event.__struct_config__.tag in kinds]
    assert glance(RUN, kinds, disk) == full


def test_a_glance_checks_nothing_for_its_owner_wrote_it() -> None:
    disk = MemoryDisk()
    data = written(disk, [(HERE, mark(number)) for number in range(3)])
    disk.files[PATH] = data.replace(b'"old":"1"', b'"old":"7"')
    assert names(glance(RUN, ["mode"], disk)) == ["0", "7", "2"]
    assert complaint_of(disk)


@QUICK
@given(histories, st.integers(1, 9))
def test_a_listener_hears_exactly_the_lines_that_were_written(
    history: list[tuple[Moment, Event]], nth: int
) -> None:
    disk, heard = MemoryDisk(), list[Line]()
    with opened(disk) as log:
        log.listen = heard.append
        disk.break_at("write", nth)
        for moment, event in history:
            log.append(moment, event)
    assert heard == read_events(RUN, disk)
    assert len(heard) == min(nth - 1, len(history))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_every_line_is_strict_json_though_a_value_is_not_finite(value: float) -> None:
    disk = MemoryDisk()
    data = written(disk, [(HERE, Observed(metric=value, metrics={"b": value}))])

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    body = json.loads(data, parse_constant=refuse)
    assert body["metric"] == {"value": None, "raw": str(value)}
    event = read_events(RUN, disk)[0].event
    assert isinstance(event, Observed)
    assert repr(event.metric) == repr(event.metrics["b"]) == repr(value)


def test_what_a_metric_holds_is_never_mistaken_for_a_number() -> None:
    disk = MemoryDisk()
    written(disk, [(HERE, Observed(metric=Raw("high")))])
    event = read_events(RUN, disk)[0].event
    assert isinstance(event, Observed)
    assert event.metric == Raw("high")


@QUICK
@given(histories, st.data())
def test_bytes_up_to_the_last_newline_are_a_prefix_of_all_later_contents(
    history: list[tuple[Moment, Event]], data: st.DataObject
) -> None:
    disk, before = MemoryDisk(), b""
    for moment, event in history:
        with opened(disk) as log:
            action = data.draw(st.sampled_from(["append", "rewind", "tear", "fail"]))
            if action in ("tear", "fail"):
                disk.break_at("write", 1, Fault(action))
            if action == "rewind":
                log.rewind(data.draw(st.integers(0, log.seq)), moment)
            log.append(moment, event, durable=data.draw(st.booleans()))
        disk.repair()
        now = disk.read(PATH)
        assert now.startswith(before)
        before = now[: now.rfind(b"\n") + 1]
    read_events(RUN, disk)


# A death in the middle of a write


@QUICK
@given(histories, entries, st.data())
def test_cut_at_any_byte_exactly_the_whole_lines_remain_and_appending_goes_on(
    history: list[tuple[Moment, Event]], more: tuple[Moment, Event], data: st.DataObject
) -> None:
    disk = MemoryDisk()
    whole = written(disk, history)
    cut = data.draw(st.integers(0, len(whole)))
    disk.files[PATH] = whole[:cut]
    kept = whole[:cut].count(b"\n")
    assert content(read_events(RUN, disk)) == history[:kept]
    assert disk.files[PATH] == whole[:cut], "reading must leave a torn tail alone"
    with opened(disk) as log:
        assert (log.was_used, log.seq) == (kept > 0, kept)
        assert disk.files[PATH] == whole[: whole[:cut].rfind(b"\n") + 1]
        assert log.append(*more)
    assert content(read_events(RUN, disk)) == [*history[:kept], more]


def test_cut_at_every_byte_of_a_real_file_the_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / EVENTS
    with owned(tmp_path) as log:
        for number in range(3):
            log.append(HERE, mark(number), durable=True)
    whole = path.read_bytes()
    for cut in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:cut])
        with owned(tmp_path) as log:
            assert log.append(HERE, mark(9), durable=True)
        kept = whole[:cut].count(b"\n")
        assert names(read_events(tmp_path)) == [*map(str, range(kept)), "9"]


@QUICK
@given(histories, st.data())
def test_after_a_loss_of_power_every_durable_line_is_there_and_the_rest_is_a_prefix(
    history: list[tuple[Moment, Event]], data: st.DataObject
) -> None:
    disk = MemoryDisk()
    log = EventLog(RUN, disk)
    durable = 0
    for number, (moment, event) in enumerate(history, start=1):
        is_durable = data.draw(st.booleans())
        log.append(moment, event, durable=is_durable)
        durable = number if is_durable else durable
    whole = disk.read(PATH)
    disk.lose_power(kept=data.draw(st.integers(0, len(whole))))
    with opened(disk) as again:
        assert again.seq >= durable
        assert content(read_events(RUN, disk)) == history[: again.seq]


def test_a_durable_append_is_synced_before_it_answers_and_another_is_not() -> None:
    disk = MemoryDisk()
    with opened(disk) as log:
        log.append(HERE, mark(0))
        assert disk.synced.get(PATH, b"") == b""
        log.append(HERE, mark(1), durable=True)
        assert disk.synced[PATH] == disk.files[PATH]
        assert names(read_events(RUN, disk)) == ["0", "1"]


@QUICK
@given(histories, st.integers(0, 8), st.data())
def test_all_lines_before_a_sync_survive_a_loss_of_power(
    history: list[tuple[Moment, Event]], after: int, data: st.DataObject
) -> None:
    disk = MemoryDisk()
    log = EventLog(RUN, disk)
    for number, (moment, event) in enumerate(history):
        log.append(moment, event)
        assert number != after or log.sync()
    disk.lose_power(kept=data.draw(st.integers(0, len(disk.read(PATH)))))
    kept = content(read_events(RUN, disk))
    assert kept == history[: len(kept)]
    assert after >= len(history) or len(kept) > after


@QUICK
@given(st.integers(1, 4), st.integers(0, 3))
def test_a_sync_that_fails_is_said_once_and_nothing_is_written_or_synced_again(
    nth: int, appended: int
) -> None:
    disk = MemoryDisk()
    with opened(disk) as log:
        for number in range(appended):
            log.append(HERE, mark(number))
        disk.break_at("sync", nth)
        assert [log.sync() for _ in range(6)] == [True] * (nth - 1) + [False] * (7 - nth)
        assert log.failure == "[Errno 28] the test breaks sync"
        assert disk.calls["sync"] == nth
        assert not log.append(HERE, mark(9))
    assert names(read_events(RUN, disk)) == [*map(str, range(appended))]


def test_a_closed_log_has_nothing_left_to_sync() -> None:
    disk = MemoryDisk()
    with opened(disk) as log:
        log.append(HERE, mark(0))
    assert log.sync()
    assert disk.calls["sync"] == 0


def test_the_new_files_name_survives_a_loss_of_power_too() -> None:
    disk = MemoryDisk()
    with opened(disk):
        assert disk.calls["sync_directory"] >= 1


@QUICK
@given(histories)
def test_the_log_of_a_named_run_is_read_or_refused_by_the_runs_name(
    history: list[tuple[Moment, Event]],
) -> None:
    disk = MemoryDisk()
    whole = written(disk, history)
    assert read_run(RUN, disk) == read_events(RUN, disk)
    disk.break_at("read")
    with pytest.raises(RunDirectoryError, match=f"{str(RUN)!r}: its log cannot be .*breaks read"):
        read_run(RUN, disk)
    disk.files[PATH] = b"{}\n" + whole
    with pytest.raises(EventLogError, match="line 1"):
        read_run(RUN, disk)


# Changed lines


def complaint_of(disk: MemoryDisk) -> str:
    """Say what is wrong with the log; empty when nothing is."""
    try:
        read_events(RUN, disk)
    except EventLogError as error:
        return str(error)
    return ""


def body_bytes(data: bytes) -> list[int]:
    """The positions that the checksum covers; times, host and process may be edited."""
    inside = set()
    for found in re.finditer(rb'"wall":\{"time":(\d+)\}', data):
        inside |= set(range(*found.span(1)))
    return [at for at in range(len(data)) if at not in inside]


@settings(deadline=None, max_examples=100)
@given(histories, st.data())
def test_a_changed_byte_is_found_or_means_the_same(
    history: list[tuple[Moment, Event]], data: st.DataObject
) -> None:
    disk = MemoryDisk()
    whole = written(disk, history)
    before = read_events(RUN, disk)
    at = data.draw(st.sampled_from(body_bytes(whole)))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    disk.files[PATH] = whole[:at] + bytes([byte]) + whole[at + 1 :]
    line = whole[:at].count(b"\n") + 1
    if complaint := complaint_of(disk):
        assert re.search(rf"line ({line}|{line + 1})\b", complaint), complaint
        with pytest.raises(EventLogError, match=r"line \d+"):
            EventLog(RUN, disk)
        assert not disk.locks, "a refused log must give the directory back"
    else:
        torn = at == len(whole) - 1  # the last newline: then the last line is a torn tail
        after = read_events(RUN, disk)
        assert content(after) == content(before)[: len(history) - torn]


@QUICK
@given(st.lists(entries, min_size=2, max_size=8), st.data())
def test_a_dropped_swapped_or_repeated_line_is_named(
    history: list[tuple[Moment, Event]], data: st.DataObject
) -> None:
    disk = MemoryDisk()
    lines = written(disk, history).splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 2))
    what = data.draw(st.sampled_from(["drop", "swap", "repeat"]))
    first, second = lines[at], lines[at + 1]
    between = {"drop": [second], "swap": [second, first], "repeat": [first, first, second]}
    disk.files[PATH] = b"".join([*lines[:at], *between[what], *lines[at + 2 :]])
    wrong = at + 2 if what == "repeat" else at + 1
    with pytest.raises(EventLogError, match=rf"line {wrong}\b"):
        read_events(RUN, disk)
    with pytest.raises(EventLogError, match=rf"line {wrong}\b"):
        EventLog(RUN, disk)


@pytest.mark.parametrize(
    "junk",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"7\n",
        b'"text"\n',
        b"not json\n",
        b"\xff\xfe\n",
        b'{"v":"\xff"}\n',
    ],
)
def test_a_whole_line_that_gptune_did_not_write_is_refused_with_its_number(junk: bytes) -> None:
    disk = MemoryDisk()
    written(disk, [(HERE, mark(0))])
    disk.files[PATH] += junk
    with pytest.raises(EventLogError, match="line 2"):
        read_events(RUN, disk)


def test_an_edited_time_is_no_harm() -> None:
    disk = MemoryDisk()
    whole = written(disk, [(HERE, mark(0)), (HERE, mark(1))])
    disk.files[PATH] = whole.replace(b'{"time":0}', b'{"time":77,"host":"elsewhere"}')
    assert names(read_events(RUN, disk)) == ["0", "1"]


def test_lines_of_unknown_kinds_are_skipped_but_stay_in_the_chain() -> None:
    disk = MemoryDisk()
    whole = written(disk, [(HERE, mark(0))])
    first = json.loads(whole)
    later = Envelope(seq=2, generation=3, decision=1, step=1, phase="mid")
    line = encode(later, mark(1), {}, first["checksum"])
    body = json.loads(line)
    del body["wall"], body["checksum"]
    body["kind"] = "from_the_future"
    text = first["checksum"].encode() + json.dumps(body, separators=(",", ":")).encode()
    checksum = hashlib.blake2b(text, digest_size=8).hexdigest()
    future = json.dumps({**body, "wall": {}, "checksum": checksum}, separators=(",", ":"))
    disk.files[PATH] = whole + future.encode() + b"\n"
    assert names(read_events(RUN, disk)) == ["0"]
    with opened(disk) as log:
        assert (log.seq, log.generation) == (2, 3)
        assert log.append(HERE, mark(2))
    lines = read_events(RUN, disk)
    assert names(lines) == ["0", "2"]
    assert [line.envelope.seq for line in lines] == [1, 3]


def test_equal_runs_have_equal_lines_but_for_wall() -> None:
    one, other = MemoryDisk(), MemoryDisk()
    history: list[Event] = [mark(0), Blocked(reasons=(Reason.PHASE,))]
    for disk, start in ((one, 0), (other, 1000)):
        ticks = count(start)
        log = EventLog(RUN, disk, wall=lambda ticks=ticks: {"time": next(ticks)})  # type: ignore[misc]
        for event in history:
            log.append(HERE, event)
    first, second = read_events(RUN, one), read_events(RUN, other)
    assert [line.checksum for line in first] == [line.checksum for line in second]
    assert [line.wall for line in first] != [line.wall for line in second]


def test_the_first_line_is_chained_to_the_origin() -> None:
    disk = MemoryDisk()
    whole = written(disk, [(HERE, mark(0))])
    envelope = Envelope(seq=1, generation=0, decision=1, step=10, phase="mid")
    assert whole == encode(envelope, mark(0), {"time": 0}, ORIGIN)


# A failing disk


@QUICK
@given(histories, st.sets(st.integers(1, 20)))
def test_short_writes_are_completed(history: list[tuple[Moment, Event]], short: set[int]) -> None:
    disk, steady = MemoryDisk(), MemoryDisk()
    for nth in short:
        disk.break_at("write", nth, Fault.SHORT)
    assert written(disk, history) == written(steady, history)


def test_a_disk_that_takes_no_bytes_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MemoryDisk()
    with opened(disk) as log:
        assert log.append(HERE, mark(0))
        with monkeypatch.context() as full:
            full.setattr(disk, "write", lambda handle, data: 0)
            assert not log.append(HERE, mark(1))
        assert log.failure == "the disk takes no more bytes"
        assert not log.append(HERE, mark(2)), "though there is room again"
    assert names(read_events(RUN, disk)) == ["0"]


@QUICK
@given(
    histories,
    st.sampled_from(["write", "sync"]),
    st.sampled_from([Fault.FAIL, Fault.TEAR]),
    st.integers(1, 9),
)
def test_once_the_disk_fails_append_answers_false_for_ever_and_never_raises(
    history: list[tuple[Moment, Event]], call: str, fault: Fault, nth: int
) -> None:
    disk = MemoryDisk()
    with opened(disk) as log:
        disk.break_at(call, nth, fault)
        answers = [log.append(*entry, durable=True) for entry in history]
        good = min(nth - 1, len(history))
        assert answers == [True] * good + [False] * (len(history) - good)
        assert log.seq == good
        failed = good < len(history)
        assert (log.failure is not None) == failed
        at_failure = disk.read(PATH)
        if failed:
            assert not log.append(HERE, mark(0))
            assert not log.append(HERE, mark(0), durable=True)
            assert not log.rewind(0, HERE)
            assert disk.read(PATH) == at_failure, "nothing may follow a failed line"
    disk.repair()
    lines = read_events(RUN, disk)
    assert content(lines)[:good] == history[:good]
    with opened(disk) as again:
        assert again.failure is None
        assert again.append(HERE, mark(1), durable=True)
    read_events(RUN, disk)


def test_a_lasting_failure_keeps_the_log_from_nothing_but_writing() -> None:
    disk = MemoryDisk()
    log = EventLog(RUN, disk)
    log.append(HERE, mark(0))
    for call in ("write", "sync", "close"):
        disk.break_for_ever(call)
    assert not log.append(HERE, mark(1))
    log.close()
    log.close()
    assert "breaks write" in str(log.failure)
    assert names(read_events(RUN, disk)) == ["0"]


def test_a_closed_log_appends_nothing() -> None:
    disk = MemoryDisk()
    with opened(disk) as log:
        pass
    assert not log.append(HERE, mark(0), durable=True)
    assert disk.read(PATH) == b""


@pytest.mark.parametrize(
    "call",
    ["make_directory", "lock", "read", "open_append", "truncate", "sync_directory"],
)
def test_a_directory_that_cannot_be_taken_is_refused_by_name_and_given_back(call: str) -> None:
    disk = MemoryDisk()
    written(disk, [(HERE, mark(0))])
    disk.files[PATH] += b'{"torn'
    disk.break_at(call)
    with pytest.raises(RunDirectoryError, match=f"{str(RUN)!r}.*breaks {call}.*run_dir"):
        EventLog(RUN, disk)
    assert not disk.locks
    assert not disk.handles
    with opened(disk) as log:
        assert log.append(HERE, mark(1))
    assert names(read_events(RUN, disk)) == ["0", "1"]


def test_a_file_in_the_way_is_refused_by_name(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    for path in (blocked, blocked / "run"):
        with pytest.raises(RunDirectoryError, match=re.escape(repr(str(path)))):
            EventLog(path)
    disk = MemoryDisk(files={RUN: b""})
    with pytest.raises(RunDirectoryError, match="in the way"):
        EventLog(RUN, disk)


# Rewind


rewinds = st.lists(st.one_of(st.none(), st.integers(0, 30)), min_size=1, max_size=25)


@QUICK
@given(rewinds)
def test_rewinding_to_a_line_in_force_leaves_the_log_of_an_uninterrupted_run(
    actions: list[int | None],
) -> None:
    disk, model = MemoryDisk(), list[tuple[int, str]]()
    generation = 0
    for number, action in enumerate(actions):
        with opened(disk) as log:
            seq = log.seq
            if action is None:
                assert log.append(HERE, mark(number))
                model.append((seq + 1, str(number)))
            else:
                to = [0, *(at for at, _ in model)][action % (len(model) + 1)]
                assert log.rewind(to, HERE)
                model = [entry for entry in model if entry[0] <= to]
                generation += 1
            assert log.seq == seq + 1, "numbers go on"
            assert log.generation == generation, "the generation rises"
    lines = read_events(RUN, disk)
    assert [line.envelope.seq for line in lines] == list(range(1, len(actions) + 1))
    assert names(effective(lines)) == [name for _, name in model]
    assert not any(isinstance(line.event, Rewind) for line in effective(lines))


@QUICK
@given(rewinds)
def test_rewinding_to_any_line_restores_the_log_as_it_was_when_that_line_was_new(
    actions: list[int | None],
) -> None:
    """A checkpoint taken on a branch that was left may be the one that the user goes on with."""
    disk = MemoryDisk()
    then: list[list[str]] = [[]]  # line -> the effective log when it was the last one
    with opened(disk) as log:
        for number, action in enumerate(actions):
            if action is None:
                log.append(HERE, mark(number))
                then.append([*then[-1], str(number)])
            else:
                log.rewind(action % len(then), HERE)
                then.append(then[action % len(then)])
    assert names(effective(read_events(RUN, disk))) == then[-1]


@pytest.mark.parametrize("to", [-1, 3, 1000])
def test_rewinding_to_a_line_that_does_not_exist_is_refused_and_writes_nothing(to: int) -> None:
    disk = MemoryDisk()
    with opened(disk) as log:
        for number in range(2):
            log.append(HERE, mark(number))
        before = disk.read(PATH)
        with pytest.raises(EventLogError, match=f"line {to} .*last one is 2"):
            log.rewind(to, HERE)
        assert disk.read(PATH) == before
        assert log.generation == 0


@QUICK
@given(histories, st.integers(-3, 12), st.text("0123456789abcdef", max_size=16))
def test_a_log_holds_exactly_the_lines_that_it_wrote(
    history: list[tuple[Moment, Event]], seq: int, other: str
) -> None:
    disk = MemoryDisk()
    written(disk, history)
    lines = read_events(RUN, disk)
    with opened(disk) as log:
        assert log.checksum == lines[-1].checksum
        for line in lines:
            assert log.holds(line.envelope.seq, line.checksum)
            assert not log.holds(seq, line.checksum) or seq == line.envelope.seq
        assert not log.holds(seq, other) or other == lines[seq - 1].checksum


# One owner


def test_a_second_owner_is_refused_and_told_who_the_first_one_is() -> None:
    disk = MemoryDisk(owner="31415")
    with opened(disk) as log:
        before = dict(disk.files)
        with pytest.raises(RunDirectoryError, match="live process 31415"):
            EventLog(RUN, disk)
        assert disk.files == before
        assert log.append(HERE, mark(0)), "the first one goes on"
    with opened(disk) as again:
        assert again.was_used


def test_a_dead_owner_does_not_block() -> None:
    disk = MemoryDisk()
    EventLog(RUN, disk).append(HERE, mark(0))
    disk.die()
    with opened(disk) as log:
        assert log.seq == 1


def test_a_second_owner_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with (
        owned(tmp_path),
        pytest.raises(RunDirectoryError, match=f"live process {os.getpid()};"),
    ):
        EventLog(tmp_path)
    with owned(tmp_path) as log:
        assert not log.was_used


def test_a_real_owner_blocks_while_it_lives_and_no_longer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "owned\n"
            with pytest.raises(RunDirectoryError, match=f"live process {child.pid};"):
                EventLog(tmp_path)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            with owned(tmp_path) as log:
                assert (log.was_used, log.seq) == (True, 1)
                assert log.append(HERE, mark(1), durable=True)
        finally:
            child.kill()
    assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    assert len(read_events(tmp_path)) == 2


def test_a_log_takes_no_more_handles_than_it_gives_back() -> None:
    with tempfile.TemporaryDirectory() as folder:
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(5):
            with owned(Path(folder)) as log:
                log.append(HERE, mark(0))
        assert len(list(Path("/dev/fd").iterdir())) == before


def test_what_a_death_in_the_middle_of_a_replacement_left_is_cleared_away_by_the_next_owner() -> (
    None
):
    disk = MemoryDisk()
    assert EventLog(RUN, disk).append(HERE, Blocked(reasons=(Reason.PAUSED,)))
    disk.die()
    left = [".summary.json.77.0123abcd", ".recipe.yaml.9.ffffffff"]
    others = [".freeze.json.77.0123abcd", ".summary.json", ".summary.json.77.0123abcd.mine", ".x"]
    for name in (*left, *others):
        disk.replace(RUN / name, b"half")
    EventLog(RUN, disk).close()
    assert disk.names(RUN) == sorted([*others, EVENTS, LOCK])
