"""Who owns a run directory: the live process that holds its lock."""

import fcntl
import os
from pathlib import Path

from gptune.errors import RunDirectoryError
from gptune.run_directory.names import LOCK
from gptune.run_directory.regular import open_regular


def owner_of(directory: Path) -> str | None:
    """Name the live process that owns a run directory.

    The kernel's lock tells, not the text in the file, so an owner that died is none. To look, the
    lock is taken for a moment, shared; `Disk.lock` waits for longer than that.

    Returns:
        The process id as its owner wrote it, ``"unknown"`` if it did not, or ``None``: nobody.

    Raises:
        RunDirectoryError: If there is a lock file that cannot be opened.
    """
    try:
        handle = open_regular(directory / LOCK, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: its lock cannot be opened ({error}); "
            "look as the user who started the run"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(handle, 64, 0).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(handle)  # the last handle of this look: its lock goes with it
    return None
