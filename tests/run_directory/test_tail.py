"""A log that grows is read line by line, each whole and checked."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from gptune.errors import EventLogError, RunDirectoryError
from gptune.events import ModeChanged
from gptune.run_directory.event_log import EventLog
from gptune.run_directory.names import EVENTS
from gptune.run_directory.tail import tail
from tests.logs import moment


def write(log: EventLog, *names: str) -> None:
    for name in names:
        assert log.append(moment(1, 1), ModeChanged(old=name, new=""))


def names(entries: list) -> list[str]:  # type: ignore[type-arg]
    return [entry.line.event.old for entry in entries]


def test_each_look_gives_what_is_new(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    feed = tail(tmp_path)
    assert next(feed) == []
    write(log, "a", "b")
    first = next(feed)
    assert names(first) == ["a", "b"]
    assert [entry.kind for entry in first] == ["mode", "mode"]
    assert "\n".join(entry.text for entry in first) + "\n" == (tmp_path / EVENTS).read_text()
    assert next(feed) == []
    write(log, "c")
    assert names(next(feed)) == ["c"]
    log.close()


def test_a_torn_line_waits_for_its_rest_or_for_another_in_its_place(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write(log, "a", "b")
    log.close()
    path = tmp_path / EVENTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    feed = tail(tmp_path)
    assert names(next(feed)) == ["a"]
    assert next(feed) == []
    log = EventLog(tmp_path)  # cuts the torn line off
    write(log, "other")
    log.close()
    assert names(next(feed)) == ["other"]


def test_a_kind_of_a_later_version_is_shown_as_it_stands(tmp_path: Path) -> None:
    body = {"v": 1, "seq": 1, "generation": 0, "decision": 1, "step": 1, "phase": "", "kind": "new"}
    checksum = hashlib.blake2b(msgspec.json.encode(body), digest_size=8).hexdigest()
    text = json.dumps({**body, "wall": {}, "checksum": checksum})
    (tmp_path / EVENTS).write_text(f"{text}\n")
    (entry,) = next(tail(tmp_path))
    assert (entry.text, entry.line, entry.kind) == (text, None, "")


@pytest.mark.parametrize("foreign", [b"{}\n", b"not json\n", b"\xff\n", b"\n"])
def test_what_gptune_did_not_write_is_refused_with_its_line(foreign: bytes, tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write(log, "a")
    log.close()
    feed = tail(tmp_path)
    next(feed)
    with (tmp_path / EVENTS).open("ab") as file:
        file.write(foreign)
    with pytest.raises(EventLogError, match=r"events\.jsonl, line 2"):
        next(feed)


def test_a_log_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        next(tail(tmp_path / "missing"))


@pytest.mark.parametrize("most", [1, 200, 450, 10_000])
def test_a_long_log_can_be_read_in_pieces_each_of_whole_lines(most: int, tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write(log, *"abcdefgh")
    log.close()
    feed, read = tail(tmp_path, most), []
    while entries := next(feed):
        assert most >= 10_000 or len(entries) <= max(1, most // 150)
        read += names(entries)
    assert read == list("abcdefgh")


def test_a_log_that_another_has_taken_the_place_of_is_refused(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write(log, "a", "b")
    log.close()
    feed = tail(tmp_path)
    next(feed)
    (tmp_path / EVENTS).write_text("")
    with pytest.raises(RunDirectoryError, match="another stands in its place"):
        next(feed)


def test_a_log_that_is_moved_away_while_it_is_read_is_refused(tmp_path: Path) -> None:
    EventLog(tmp_path).close()
    feed = tail(tmp_path)
    next(feed)
    (tmp_path / EVENTS).unlink()
    with pytest.raises(RunDirectoryError, match="none any more"):
        next(feed)
