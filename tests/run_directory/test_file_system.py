"""The disk, the real one and the one of the tests: both keep one contract."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gptune.run_directory.event_log import EventLog
from gptune.run_directory.file_system import Disk, FileSystem
from tests.fakes import Fault, MemoryDisk

HOLD = """
import sys, time
from pathlib import Path
from gptune.run_directory.file_system import Disk
assert Disk().lock(Path(sys.argv[1])) is not None
print("held", flush=True)
time.sleep(60)
"""
FORK = """
import os, signal, sys
from pathlib import Path
from gptune.run_directory.file_system import Disk
disk, path = Disk(), Path(sys.argv[1])
held = disk.lock(path)
child = os.fork()
if not child:
    signal.pause()
try:
    disk.close(held)
    print("free" if disk.lock(path) is not None else "taken")
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.fixture(params=["real", "memory"])
def disk(request: pytest.FixtureRequest) -> FileSystem:
    return Disk() if request.param == "real" else MemoryDisk()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_a_file_that_does_not_exist_is_empty(disk: FileSystem, tmp_path: Path) -> None:
    assert disk.read(tmp_path / "nothing") == b""


def test_a_directory_is_made_with_its_parents_and_twice_is_once(
    disk: FileSystem, tmp_path: Path
) -> None:
    deep = tmp_path / "a" / "b" / "c"
    disk.make_directory(deep)
    disk.make_directory(deep)
    handle = disk.open_append(deep / "file")
    disk.sync_directory(deep)
    disk.close(handle)
    assert disk.read(deep / "file") == b""


def test_bytes_are_appended_and_stay_when_opened_again(disk: FileSystem, tmp_path: Path) -> None:
    disk.make_directory(tmp_path)
    path = tmp_path / "file"
    for part in (b"one\n", b"two\n"):
        handle = disk.open_append(path)
        assert disk.write(handle, part) == len(part)
        disk.sync(handle)
        disk.close(handle)
    assert disk.read(path) == b"one\ntwo\n"


def test_truncate_keeps_the_first_bytes_and_appending_goes_on_behind_them(
    disk: FileSystem, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    disk.make_directory(tmp_path)
    handle = disk.open_append(path)
    disk.write(handle, b"whole\ntorn")
    disk.truncate(path, 6)
    disk.write(handle, b"next\n")
    disk.close(handle)
    assert disk.read(path) == b"whole\nnext\n"


def test_names_are_those_of_the_files_sorted_and_none_where_nothing_is(
    disk: FileSystem, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    assert disk.names(place) == []
    for name in ("b", "a", ".c"):
        disk.replace(place / name, b"")
    assert disk.names(place) == [".c", "a", "b"]


def test_replace_gives_all_of_the_new_content_and_makes_file_and_directory(
    disk: FileSystem, tmp_path: Path
) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"a long first content", b"short", b""):
        disk.replace(path, content)
        assert disk.read(path) == content
        assert disk.names(path.parent) == ["file"], "nothing is left beside it"


def test_remove_removes_and_a_file_that_is_not_there_is_no_error(
    disk: FileSystem, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    disk.remove(path)
    disk.replace(path, b"x")
    disk.remove(path)
    disk.remove(path)
    assert disk.names(tmp_path) == []
    assert disk.read(path) == b""


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_replace_that_fails_leaves_the_old_content_and_nothing_beside_it(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, path = Disk(), tmp_path / "file"
    disk.replace(path, b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as world:
        world.setattr(os, broken, full)
        with pytest.raises(OSError, match="No space"):
            disk.replace(path, b"new", durable=True)
    assert disk.read(path) == b"old"
    assert disk.names(tmp_path) == ["file"]


def test_a_file_that_is_made_may_be_read_by_whom_the_users_mask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Disk().replace(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


CALLS: dict[str, Callable[[Disk, Path], object]] = {
    "read": lambda disk, path: disk.read(path),
    "open_append": lambda disk, path: disk.open_append(path),
    "truncate": lambda disk, path: disk.truncate(path, 1),
    "lock": lambda disk, path: disk.lock(path),
}
NESTED: dict[str, Callable[[Disk, Path], object]] = {
    "read": lambda disk, path: disk.read(path / "file", nested=True),
    "names": lambda disk, path: disk.names(path, nested=True),
    "replace": lambda disk, path: disk.replace(path / "file", b"new", nested=True),
    "remove": lambda disk, path: disk.remove(path / "file", nested=True),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("target", ["file", "nothing"])
def test_no_call_follows_a_link(call: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError, match="is a symbolic link"):
        CALLS[call](Disk(), tmp_path / "link")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("call", NESTED)
def test_no_call_reaches_into_a_nested_directory_that_is_a_link(call: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError, match="is a symbolic link"):
        NESTED[call](Disk(), tmp_path / "link")
    NESTED[call](Disk(), tmp_path / "real")
    assert Disk().names(tmp_path / "link") == Disk().names(tmp_path / "real"), "as a run directory"


def test_a_link_is_replaced_and_removed_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    for nested in (False, True):
        (tmp_path / "link").symlink_to("file")
        Disk().replace(tmp_path / "link", b"new", nested=nested)
        assert not (tmp_path / "link").is_symlink()
        assert Disk().remove(tmp_path / "link", nested=nested)
        (tmp_path / "link").symlink_to("file")
        assert Disk().remove(tmp_path / "link", nested=nested)
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_reader_sees_the_old_content_or_the_new_one_and_nothing_between(tmp_path: Path) -> None:
    disk, path, contents = Disk(), tmp_path / "file", (b"a" * 50_000, b"b" * 100_000)
    disk.replace(path, contents[0])
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.extend(disk.read(path) for _ in range(300)))
    reader.start()
    while reader.is_alive():
        disk.replace(path, contents[1])
        disk.replace(path, contents[0])
    reader.join()
    assert set(seen) <= set(contents)
    assert len(seen) == 300


def test_a_lock_waits_for_whoever_only_looks(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "lock"
    path.touch()
    with path.open() as probe:
        fcntl.flock(probe, fcntl.LOCK_SH)
        leaving = threading.Timer(0.03, lambda: fcntl.flock(probe, fcntl.LOCK_UN))
        leaving.start()
        handle = disk.lock(path)
        leaving.join()
    assert handle is not None
    disk.close(handle)


def test_a_lock_excludes_a_second_one_until_it_is_given_back(
    disk: FileSystem, tmp_path: Path
) -> None:
    disk.make_directory(tmp_path)
    first = disk.lock(tmp_path / "lock")
    assert first is not None
    assert disk.lock(tmp_path / "lock") is None
    assert disk.lock(tmp_path / "another") is not None
    disk.close(first)
    assert disk.lock(tmp_path / "lock") is not None


def test_the_lock_names_its_owner_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("999999999 and a longer text of an earlier owner\n")
    disk = Disk()
    handle = disk.lock(path)
    assert handle is not None
    assert disk.read(path) == f"{os.getpid()}\n".encode()
    disk.close(handle)


def test_a_refused_lock_leaves_the_owners_name_alone(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "lock"
    handle = disk.lock(path)
    assert handle is not None
    os.truncate(path, 0)
    path.write_text("the owner\n")
    assert disk.lock(path) is None
    assert disk.read(path) == b"the owner\n"
    disk.close(handle)


def test_a_refused_lock_leaks_no_handle(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "lock"
    handle = disk.lock(path)
    assert handle is not None
    before = len(list(Path("/dev/fd").iterdir()))
    assert [disk.lock(path) for _ in range(5)] == [None] * 5
    assert len(list(Path("/dev/fd").iterdir())) == before
    disk.close(handle)


def test_a_lock_that_could_not_name_its_owner_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, path = Disk(), tmp_path / "lock"

    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            disk.lock(path)
    handle = disk.lock(path)
    assert handle is not None, "the failed attempt still holds the lock, for ever"
    disk.close(handle)


def test_a_lock_of_a_live_process_is_refused_and_a_killed_one_does_not_block(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    disk, path = Disk(), tmp_path / "lock"
    assert disk.lock(path) is None
    assert disk.read(path) == f"{holder.pid}\n".encode()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    handle = disk.lock(path)
    assert handle is not None
    disk.close(handle)


def test_giving_a_lock_back_frees_it_although_a_forked_worker_lives_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path / "lock")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "free\n"


@pytest.mark.parametrize(
    "call",
    [
        lambda disk, path: disk.open_append(path / "missing" / "file"),
        lambda disk, path: disk.lock(path / "missing" / "lock"),
        lambda disk, path: disk.truncate(path / "missing", 0),
        lambda disk, path: disk.sync_directory(path / "missing"),
        lambda disk, path: disk.read(path),
        lambda disk, path: disk.replace(path, b""),
        lambda disk, path: disk.remove(path),
        lambda disk, path: disk.write(10**6, b"x"),
        lambda disk, path: disk.sync(10**6),
        lambda disk, path: disk.close(10**6),
    ],
)
def test_whatever_goes_wrong_is_an_oserror(
    call: Callable[[Disk, Path], object], tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="Errno"):
        call(Disk(), tmp_path)


def test_handles_are_not_inherited_by_other_programs(tmp_path: Path) -> None:
    disk = Disk()
    handles = [disk.open_append(tmp_path / "file"), disk.lock(tmp_path / "lock")]
    for handle in handles:
        assert handle is not None
        assert not os.get_inheritable(handle)
        disk.close(handle)


def test_the_tests_disk_breaks_exactly_where_it_is_told() -> None:
    disk, path = MemoryDisk(), Path("/run/file")
    disk.make_directory(path.parent)
    handle = disk.open_append(path)
    disk.break_at("write", 2, Fault.SHORT)
    disk.break_at("write", 3, Fault.TEAR)
    disk.break_at("sync")
    assert disk.write(handle, b"abcd") == 4
    assert disk.write(handle, b"efgh") == 2
    with pytest.raises(OSError, match="tears"):
        disk.write(handle, b"ij")
    with pytest.raises(OSError, match="breaks sync"):
        disk.sync(handle)
    assert disk.read(path) == b"abcdefi"
    disk.sync(handle)
    assert disk.write(handle, b"kl") == 2
    disk.lose_power(kept=1)
    assert disk.read(path) == b"abcdefik"


def test_a_forked_worker_does_not_keep_a_dead_owners_lock(tmp_path: Path) -> None:
    script = f"""
import os, signal, time
from pathlib import Path
from gptune.run_directory.event_log import EventLog
log = EventLog(Path({str(tmp_path / "run")!r}))
worker = os.fork()
if worker == 0:
    time.sleep(20)
    os._exit(0)
time.sleep(0.3)
print(worker, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    worker = int(owner.stdout.readline())
    owner.wait()
    owner.stdout.close()
    try:
        EventLog(tmp_path / "run").close()
    finally:
        os.kill(worker, signal.SIGKILL)
