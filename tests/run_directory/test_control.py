"""Commands and answers: atomic, ordered, read in bounded time, and never trusted."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.errors import RunDirectoryError
from gptune.run_directory import control, names
from gptune.run_directory.control import Answer
from gptune.run_directory.file_system import Disk, FileSystem
from tests.fakes import Fault, MemoryDisk

RUN = Path("run")


@pytest.fixture(params=["real", "memory"])
def files(request: pytest.FixtureRequest) -> FileSystem:
    return Disk() if request.param == "real" else MemoryDisk()


def test_commands_are_found_in_the_order_in_which_they_were_sent(
    files: FileSystem, tmp_path: Path
) -> None:
    sent = [control.send(files, tmp_path, "pin", {"family": f"opt.{n}"}) for n in range(5)]
    assert control.waiting(files, tmp_path) == sent
    taken = [control.take(files, tmp_path, ident) for ident in sent]
    assert [m.arguments for m in taken if m] == [{"family": f"opt.{n}"} for n in range(5)]
    assert control.waiting(files, tmp_path) == []


def test_of_two_who_take_a_command_one_gets_it(files: FileSystem, tmp_path: Path) -> None:
    ident = control.send(files, tmp_path, "pause", {})
    assert control.take(files, tmp_path, ident) is not None
    assert control.take(files, tmp_path, ident) is None
    assert not control.take_back(files, tmp_path, ident)
    other = control.send(files, tmp_path, "pause", {})
    assert control.take_back(files, tmp_path, other)
    assert control.take(files, tmp_path, other) is None


def test_an_answer_is_read_back(files: FileSystem, tmp_path: Path) -> None:
    made = Answer(id="7-a", accepted=False, message="no: ü", decision=3, step=40)
    assert control.read_answer(files, tmp_path, "7-a") is None
    control.answer(files, tmp_path, made)
    assert control.read_answer(files, tmp_path, "7-a") == made


BAD = [
    b"",
    b"\x00\xff",
    b"42",
    b"[]",
    b"null",
    b"{}",
    b'{"verb": "pin"}',
    b'{"verb": 3, "arguments": {}}',
    b'{"verb": "pin", "arguments": []}',
    b'{"verb": "pin", "arguments": {}, "more": 1}',
    b'{"verb": "pin", "arguments": {"a": NaN}}',
    b'{"verb": "pin", "arguments": {"a": 1e999}}',
    b'{"verb": "pin", "arguments": {"a": ' + b"9" * 400 + b"}}",
    b'{"verb": "\\ud800", "arguments": {}}',
    b'{"verb": "pin", "arguments": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    b'{"verb": "pin", "arguments": {"a": "' + b"x" * control.LONGEST + b'"}}',
]


@pytest.mark.parametrize("data", BAD, ids=lambda data: repr(data[:40]))
def test_what_is_no_command_is_taken_away_and_says_why(data: bytes) -> None:
    disk = MemoryDisk()
    disk.replace(RUN / names.COMMANDS / "1-a.json", data)
    message = control.take(disk, RUN, "1-a")
    assert message is not None
    assert message.fault
    assert (message.verb, message.arguments) == ("", {})
    assert control.waiting(disk, RUN) == []


def test_a_command_may_be_as_long_as_the_limit_and_not_a_byte_longer() -> None:
    disk, frame = MemoryDisk(), b'{"verb": "pin", "arguments": {"a": "%s"}}'
    fill = control.LONGEST - len(frame % b"")
    for size, fault in ((fill, ""), (fill + 1, "is longer than 65536 bytes; no command is")):
        disk.replace(RUN / names.COMMANDS / "1-a.json", frame % (b"x" * size))
        message = control.take(disk, RUN, "1-a")
        assert message is not None
        assert message.fault == fault


@pytest.mark.parametrize("depth", [100, 900, 1100, 5_000, 10_000])
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}"), (b"[", b"")], ids=repr)
def test_depth_is_refused_or_read_and_ends_nothing(depth: int, pair: tuple[bytes, bytes]) -> None:
    disk, (opens, shuts) = MemoryDisk(), pair
    deep = opens * depth + b"1" + shuts * depth
    disk.replace(
        RUN / names.COMMANDS / "1-a.json", b'{"verb": "pin", "arguments": {"a":%s}}' % deep
    )
    message = control.take(disk, RUN, "1-a")
    assert message is not None
    assert message.fault or json.dumps(message.arguments)


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"null", b"{}", b'{"id": 3}', b"\xff", b"[" * 60_000, b"x" * 2**17],
    ids=range(8),
)
def test_an_answer_that_gptune_did_not_write_is_refused(data: bytes) -> None:
    disk = MemoryDisk()
    disk.replace(RUN / names.ANSWERS / "1-a.json", data)
    with pytest.raises(RunDirectoryError, match="the answer to 1-a is none that gptune wrote"):
        control.read_answer(disk, RUN, "1-a")


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    disk = MemoryDisk()
    disk.replace(RUN / names.COMMANDS / "1-a.json", data)
    message = control.take(disk, RUN, "1-a")
    assert message is not None
    assert message.fault or isinstance(message.arguments, dict)


def test_files_in_the_making_and_others_are_no_commands() -> None:
    disk = MemoryDisk()
    odd = "\udcff.json"  # a name that is no UTF-8, and could not be logged
    long = "1" * 80 + ".json"
    for name in (".1-a.json.77.ff", "readme.txt", ".hidden.json", "a b.json", odd, long):
        disk.replace(RUN / names.COMMANDS / name, b"{}")
    assert control.waiting(disk, RUN) == []


def test_one_look_takes_a_bounded_number() -> None:
    disk = MemoryDisk()
    for number in range(control.MOST + 20):
        disk.replace(RUN / names.COMMANDS / f"{number:05d}-a.json", b"{}")
    assert len(control.waiting(disk, RUN)) == control.MOST


def test_a_freeze_shuts_out_and_lets_in(files: FileSystem, tmp_path: Path) -> None:
    assert control.frozen(files, tmp_path) == ""
    control.freeze(files, tmp_path, on=True)
    assert control.frozen(files, tmp_path) == "it is frozen"
    control.freeze(files, tmp_path, on=False)
    assert control.frozen(files, tmp_path) == ""


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'"off"', b"3", b"{}", b'{"freeze": null}', b'{"freeze": "of"}', b"\xff"],
)
def test_a_freeze_file_that_cannot_be_read_counts_as_frozen(data: bytes) -> None:
    disk = MemoryDisk()
    disk.replace(RUN / names.FREEZE, data)
    assert control.frozen(disk, RUN)


def test_what_is_no_file_is_taken_away_or_left_but_never_waited_for(tmp_path: Path) -> None:
    disk, place = Disk(), tmp_path / names.COMMANDS
    place.mkdir()
    os.mkfifo(place / "1-a.json")
    message = control.take(disk, tmp_path, "1-a")
    assert message is not None
    assert "cannot be read" in message.fault
    (place / "2-b.json").mkdir()
    with pytest.raises(OSError, match="2-b"):
        control.take(disk, tmp_path, "2-b")
    os.mkfifo(tmp_path / names.FREEZE)
    assert "counts as frozen" in control.frozen(disk, tmp_path)


@pytest.mark.parametrize("call", ["names", "read"])
def test_a_disk_that_fails_counts_as_frozen(call: str) -> None:
    disk = MemoryDisk()
    control.freeze(disk, RUN, on=False)
    disk.break_for_ever(call, Fault.FAIL)
    assert "counts as frozen" in control.frozen(disk, RUN)


def test_a_command_on_the_disk_is_plain_json(tmp_path: Path) -> None:
    ident = control.send(Disk(), tmp_path, "set", {"changes": {"acceptance.epsilon": 0.1}})
    text = (tmp_path / "commands" / f"{ident}.json").read_text()
    wanted = {"verb": "set", "arguments": {"changes": {"acceptance.epsilon": 0.1}}}
    assert json.loads(text) == wanted
