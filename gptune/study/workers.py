"""Which process runs a trial, and whether it still lives."""

import os
from functools import cache
from pathlib import Path

MOST_DIGITS = 10  # of a process's number


@cache  # asked at each trial, and the kernel takes a millisecond to answer
def this_worker() -> str:
    """Name this process so that no other one, then or now, has that name: ``host:pid:start``."""
    pid = os.getpid()
    return f"{_host()}:{pid}:{_start(pid)}"


os.register_at_fork(after_in_child=this_worker.cache_clear)


def is_alive(worker: str) -> bool:
    """Say whether a process lives; one of another machine is taken to.

    Example:
        >>> is_alive(this_worker())
        True
    """
    host, _, rest = worker.rpartition(":")[0].rpartition(":")
    start = worker.rpartition(":")[2]
    if host != _host() or not rest.isdecimal():
        return True
    return len(rest) <= MOST_DIGITS and _start(int(rest)) == start


@cache
def _host() -> str:
    return os.uname().nodename


def _start(pid: int) -> str:
    """When a process began, in ticks of the machine's clock; empty if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return "" if not _is_there(pid) else "?"
    # The name in brackets may hold anything; a zombie does no work any more.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
