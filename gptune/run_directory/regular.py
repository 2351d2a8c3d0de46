"""Opens what lies inside a run directory: a plain file, and never a link, a pipe or a device.

Otherwise whoever may write to a run directory could have its owner read, cut off or overwrite any
file of the owner's. The standard library alone: `gptune status` has no time for more.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

LINK = "is a symbolic link, and inside a run directory none is followed; remove it"
CAREFUL = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link, no wait for a pipe, no heirs


def open_regular(path: Path, flags: int, within: int | None = None) -> int:
    """Open a file.

    Args:
        path: The file; only its last name may not be a link.
        flags: As for `os.open`.
        within: Handle of its directory, if that is open; else it is found by its path.

    Returns:
        A handle that no other program inherits.

    Raises:
        OSError: Also if it is no plain file: reading a pipe could wait for ever.
    """
    name = path if within is None else path.name
    try:
        handle = os.open(name, flags | CAREFUL, 0o644, dir_fd=within)
    except OSError as error:
        raise _said(error, path) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is not a file", str(path))
    return handle


@contextlib.contextmanager
def open_directory(path: Path, *, nested: bool) -> Iterator[int]:
    """Hold a directory open, so that nobody can put another in its place meanwhile.

    Args:
        path: The directory.
        nested: Whether it lies inside a run directory, and therefore is no link.

    Yields:
        A handle.

    Raises:
        OSError: If it cannot be opened, or is none.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if nested else 0)
    try:
        handle = os.open(path, flags)
    except NotADirectoryError as error:  # what Linux says of a link, too
        raise (_link(path) if path.is_symlink() else error) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _said(error: OSError, path: Path) -> OSError:
    return _link(path) if error.errno == errno.ELOOP else error


def _link(path: Path) -> OSError:
    return OSError(errno.ELOOP, LINK, str(path))
