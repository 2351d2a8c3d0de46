"""The few things that gptune asks of a disk, so that a test can be the disk."""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from gptune.run_directory.regular import open_directory, open_regular


class FileSystem(Protocol):
    """A disk. Every method may raise `OSError`.

    Files are those inside a run directory: one that is a symbolic link is an error, never
    followed. The run directory itself may be reached through links; a ``nested`` directory, one
    that lies inside it, is none.
    """

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents, if there is none."""
        ...

    def read(self, path: Path, limit: int = -1, *, nested: bool = False) -> bytes:
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

    def names(self, path: Path, *, nested: bool = False) -> list[str]:
        """List the names in a directory, sorted; one that does not exist is empty."""
        ...

    def replace(
        self, path: Path, data: bytes, *, durable: bool = False, nested: bool = False
    ) -> None:
        """Give a file new content, all of it or none, making it and its directory if need be.

        A link of its name is replaced. If ``durable``, return only when the new content survives
        a loss of power.
        """
        ...

    def remove(self, path: Path, *, nested: bool = False) -> bool:
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

    def read(self, path: Path, limit: int = -1, *, nested: bool = False) -> bytes:
        """Give a file's bytes, at most the first ``limit``; one that does not exist is empty.

        Raises:
            OSError: Also if it is no file: reading a pipe could wait for ever.
        """
        try:
            with _held(path, nested=nested) as within:
                handle = open_regular(path, os.O_RDONLY, within)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        with os.fdopen(handle, "rb") as file:
            return file.read(limit)

    def open_append(self, path: Path) -> int:
        """Open a file for appending, making it if there is none; gives a handle."""
        return open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

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
        handle = open_regular(path, os.O_WRONLY)
        try:
            os.ftruncate(handle, size)
        finally:
            os.close(handle)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory survive a loss of power."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def names(self, path: Path, *, nested: bool = False) -> list[str]:
        """List the names in a directory, sorted; one that does not exist is empty."""
        try:
            with open_directory(path, nested=nested) as handle:
                return sorted(os.listdir(handle))  # noqa: PTH208  a Path knows no handles
        except (FileNotFoundError, NotADirectoryError):
            return []

    def replace(
        self, path: Path, data: bytes, *, durable: bool = False, nested: bool = False
    ) -> None:
        """Give a file new content, all of it or none, making it and its directory if need be.

        A reader sees the old content or the new one. Unless it is ``durable``, a loss of power
        may leave the old content, or none.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_directory(path.parent, nested=nested) as within:
            _put(within, path.name, data, durable=durable)

    def remove(self, path: Path, *, nested: bool = False) -> bool:
        """Remove a file; gives whether it was there: of two removers one hears yes."""
        try:
            with _held(path, nested=nested) as within:
                os.unlink(path if within is None else path.name, dir_fd=within)
        except FileNotFoundError:
            return False
        return True

    def lock(self, path: Path) -> int | None:
        """Take a lock that the process's end releases; ``None`` when another holds it.

        The file names the owner for people; the lock itself is the kernel's, so that a dead
        owner never blocks. Local disks only: network file systems do not keep such locks.
        Whoever only looks for the owner holds it for microseconds, so it is tried for 0.1 s.
        """
        handle = open_regular(path, os.O_RDWR | os.O_CREAT)
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


@contextlib.contextmanager
def _held(path: Path, *, nested: bool) -> Iterator[int | None]:
    """Hold a file's directory open if it is nested; the path alone will do if it is not."""
    if nested:
        with open_directory(path.parent, nested=True) as within:
            yield within
    else:
        yield None


def _put(within: int, name: str, data: bytes, *, durable: bool) -> None:
    """Write a new file into an open directory and give it its name."""
    fresh = f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    handle = os.open(fresh, flags, 0o666, dir_fd=within)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(handle)
        os.replace(fresh, name, src_dir_fd=within, dst_dir_fd=within)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=within)
        raise
    if durable:
        os.fsync(within)


def _take(handle: int) -> bool:
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(PAUSE)
    return False
