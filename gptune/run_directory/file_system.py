"""The few things that gptune asks of a disk, so that a test can be the disk."""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Protocol


class FileSystem(Protocol):
    """A disk. Every method may raise `OSError`."""

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents, if there is none."""
        ...

    def read(self, path: Path, limit: int = -1) -> bytes:
        """Give a file's bytes, at most the first ``limit``; one that does not exist is empty."""
        ...

    def open_append(self, path: Path) -> int:
        """Open a file for appending, making it if there is none; gives a handle."""
        ...

    def write(self, handle: int, data: bytes) -> int:
        """Append some of the data; gives how many bytes were taken, maybe not all."""
        ...

    def sync(self, handle: int) -> None:
        """Return only when what was written survives a loss of power."""
        ...

    def close(self, handle: int) -> None:
        """Give a handle back."""
        ...

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to its first ``size`` bytes."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory survive a loss of power."""
        ...

    def names(self, path: Path) -> list[str]:
        """List the names in a directory, sorted; one that does not exist is empty."""
        ...

    def replace(self, path: Path, data: bytes, *, durable: bool = False) -> None:
        """Give a file new content, all of it or none, making it and its directory if need be.

        If ``durable``, return only when the new content survives a loss of power.
        """
        ...

    def remove(self, path: Path) -> bool:
        """Remove a file; gives whether it was there: of two removers one hears yes."""
        ...

    def lock(self, path: Path) -> int | None:
        """Take a lock that the process's end releases; ``None`` when another holds it."""
        ...


LOOKS, PAUSE = 50, 0.002  # tries to take a lock, and the wait between them [s]
_LOCKS: set[int] = set()  # handles of the locks that this process holds
_at_fork: list[bool] = []  # not empty once the rule below is registered


def _leave_locks_to_the_parent() -> None:
    """Close the locks in a forked child, or a worker that outlives its parent keeps them."""
    for handle in _LOCKS:
        with contextlib.suppress(OSError):
            os.close(handle)
    _LOCKS.clear()


class Disk:
    """The real one."""

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents, if there is none."""
        path.mkdir(parents=True, exist_ok=True)

    def read(self, path: Path, limit: int = -1) -> bytes:
        """Give a file's bytes, at most the first ``limit``; one that does not exist is empty.

        Raises:
            OSError: Also if it is no file: reading a pipe could wait for ever.
        """
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "is not a file", str(path))
        with os.fdopen(handle, "rb") as file:
            return file.read(limit)

    def open_append(self, path: Path) -> int:
        """Open a file for appending, making it if there is none; gives a handle."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, handle: int, data: bytes) -> int:
        """Append some of the data; gives how many bytes were taken, maybe not all."""
        return os.write(handle, data)

    def sync(self, handle: int) -> None:
        """Return only when what was written survives a loss of power."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """Give a handle back; a lock taken through it is released, also from forked children."""
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        _LOCKS.discard(handle)
        os.close(handle)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to its first ``size`` bytes."""
        os.truncate(path, size)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory survive a loss of power."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def names(self, path: Path) -> list[str]:
        """List the names in a directory, sorted; one that does not exist is empty."""
        try:
            return sorted(found.name for found in path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def replace(self, path: Path, data: bytes, *, durable: bool = False) -> None:
        """Give a file new content, all of it or none, making it and its directory if need be.

        A reader sees the old content or the new one. Unless it is ``durable``, a loss of power
        may leave the old content, or none.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with fresh.open("wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        if durable:
            self.sync_directory(path.parent)

    def remove(self, path: Path) -> bool:
        """Remove a file; gives whether it was there: of two removers one hears yes."""
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def lock(self, path: Path) -> int | None:
        """Take a lock that the process's end releases; ``None`` when another holds it.

        The file names the owner for people; the lock itself is the kernel's, so that a dead
        owner never blocks. Local disks only: network file systems do not keep such locks.
        Whoever only looks for the owner holds it for microseconds, so it is tried for 0.1 s.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _take(handle):
                os.close(handle)
                return None
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        except OSError:
            os.close(handle)
            raise
        if not _at_fork:
            os.register_at_fork(after_in_child=_leave_locks_to_the_parent)
            _at_fork.append(True)
        _LOCKS.add(handle)
        return handle


def _take(handle: int) -> bool:
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(PAUSE)
    return False
