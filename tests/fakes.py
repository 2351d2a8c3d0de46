"""Stand-ins for the world: a disk that breaks on order, and a clock that is told the time."""

import errno
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

ANY = "any call"


class Death(BaseException):
    """The process is gone: nothing that it meant to do afterwards is done."""


class Fault(Enum):
    """How a call of the disk goes wrong."""

    FAIL = "fail"  # nothing is done, OSError
    SHORT = "short"  # of a write: half is taken, no error
    TEAR = "tear"  # of a write: half is taken, then OSError; of the others: done, then OSError
    KILL = "kill"  # the process dies before anything is done
    CUT = "cut"  # of a write: half is taken, of the others: done; then the process dies


@dataclass
class MemoryDisk:
    """A `gptune.run_directory.FileSystem` in memory, shared by all the processes of a test.

    `break_at` orders what goes wrong, and ``break_any`` of which call whatever its kind; `die` is
    the end of the process that holds the handles; `lose_power` also forgets what was never synced.
    A process that a fault has killed reaches nothing more until `die` has buried it. It knows no
    links, so ``nested`` makes no difference.
    """

    files: dict[Path, bytes] = field(default_factory=dict)
    synced: dict[Path, bytes] = field(default_factory=dict)
    directories: set[Path] = field(default_factory=set)
    locks: dict[Path, int] = field(default_factory=dict)
    handles: dict[int, Path] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    owner: str = "4711"
    dead: bool = False
    _faults: dict[tuple[str, int], Fault] = field(default_factory=dict)
    _lasting: dict[str, Fault] = field(default_factory=dict)

    def break_at(self, call: str, nth: int = 1, fault: Fault = Fault.FAIL) -> None:
        """Let the ``nth`` call from now on go wrong, once."""
        self._faults[call, self.calls[call] + nth] = fault

    def break_any(self, nth: int, fault: Fault) -> None:
        """Let the ``nth`` call from now on go wrong, once, whatever it is."""
        self._faults[ANY, self.calls[ANY] + nth] = fault

    def break_for_ever(self, call: str, fault: Fault = Fault.FAIL) -> None:
        """Let every call from now on go wrong."""
        self._lasting[call] = fault

    def repair(self) -> None:
        """Let every call succeed again."""
        self._faults.clear()
        self._lasting.clear()

    def die(self) -> None:
        """End the process: the kernel gives back its handles and locks, all bytes stay."""
        self.dead = False
        self.handles.clear()
        self.locks.clear()

    def lose_power(self, kept: int = 0) -> None:
        """Die; of what was written and never synced only the first ``kept`` bytes survive."""
        self.die()
        for path, data in self.files.items():
            durable = len(self.synced.get(path, b""))
            self.files[path] = data[: durable + kept]

    def make_directory(self, path: Path) -> None:
        self._leave(self._enter("make_directory"))
        if path in self.files or any(parent in self.files for parent in path.parents):
            raise FileExistsError(errno.EEXIST, "a file is in the way", str(path))
        self.directories |= {path, *path.parents}

    def read(self, path: Path, limit: int = -1, *, nested: bool = False) -> bytes:
        self._leave(self._enter("read"))
        return self.files.get(path, b"")[: limit if limit >= 0 else None]

    def open_append(self, path: Path) -> int:
        self._leave(self._enter("open_append"))
        self.files.setdefault(path, b"")
        return self._handle(path)

    def write(self, handle: int, data: bytes) -> int:
        path = self._path(handle)
        fault = self._enter("write")
        taken = len(data) if fault is None else (len(data) + 1) // 2
        self.files[path] += data[:taken]
        self._leave(fault)
        return taken

    def sync(self, handle: int) -> None:
        path = self._path(handle)
        fault = self._enter("sync")
        self.synced[path] = self.files[path]
        self._leave(fault)

    def close(self, handle: int) -> None:
        path = self._path(handle)
        fault = self._enter("close")
        del self.handles[handle]
        if self.locks.get(path) == handle:
            del self.locks[path]
        self._leave(fault)

    def truncate(self, path: Path, size: int) -> None:
        fault = self._enter("truncate")
        self.files[path] = self.files[path][:size]
        self._leave(fault)

    def sync_directory(self, path: Path) -> None:
        self._leave(self._enter("sync_directory"))

    def names(self, path: Path, *, nested: bool = False) -> list[str]:
        self._leave(self._enter("names"))
        return sorted(file.name for file in self.files if file.parent == path)

    def replace(
        self, path: Path, data: bytes, *, durable: bool = False, nested: bool = False
    ) -> None:
        fault = self._enter("replace")
        self.files[path] = data
        if durable:
            self.synced[path] = data
        else:
            self.synced.pop(path, None)
        self._leave(fault)

    def remove(self, path: Path, *, nested: bool = False) -> bool:
        fault = self._enter("remove")
        found = self.files.pop(path, None)
        self._leave(fault)
        return found is not None

    def lock(self, path: Path) -> int | None:
        fault = self._enter("lock")
        if path in self.locks:
            return None
        self._leave(fault)
        self.files[path] = f"{self.owner}\n".encode()
        self.locks[path] = self._handle(path)
        return self.locks[path]

    def _handle(self, path: Path) -> int:
        handle = 1 + max(self.handles, default=2)
        self.handles[handle] = path
        return handle

    def _path(self, handle: int) -> Path:
        if handle not in self.handles:
            raise OSError(errno.EBADF, "bad handle", str(handle))
        return self.handles[handle]

    def _enter(self, call: str) -> Fault | None:
        if self.dead:
            raise Death
        self.calls[call] += 1
        self.calls[ANY] += 1
        ordered = self._faults.pop((ANY, self.calls[ANY]), self._lasting.get(call))
        fault = self._faults.pop((call, self.calls[call]), ordered)
        if fault is Fault.FAIL:
            raise OSError(errno.ENOSPC, f"the test breaks {call}")
        if fault is Fault.KILL:
            self.dead = True
            raise Death
        return fault

    def _leave(self, fault: Fault | None) -> None:
        if fault is Fault.TEAR:
            raise OSError(errno.EIO, "the test tears")
        if fault is Fault.CUT:
            self.dead = True
            raise Death


@dataclass
class ToldClock:
    """A `gptune.online.clock.Clock` that says what it was told, and ``tick`` more at each look."""

    time: float = 1_700_000_000.0
    tick: float = 1.0
    passed: float = 0.0

    def now(self) -> float:
        self.passed += self.tick
        return self.time + self.passed

    def elapsed(self) -> float:
        self.passed += self.tick
        return self.passed
