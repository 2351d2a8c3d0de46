"""Audit of a run directory: does its log keep what gptune promises? See docs/safety.md.

The auditor restates the rules. It reads the files as they lie there, finished, running or
crashed, changes nothing, and shares no code with what tuned the run.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gptune.audit.account import Account, advance
from gptune.audit.chain import FAULTS, Chain, Entry, counting, read_chain
from gptune.audit.promises import PROMISES, Promise
from gptune.audit.summary import differences
from gptune.errors import RunDirectoryError

EVENTS, SUMMARY = "events.jsonl", "summary.json"
LARGEST_LOG, LARGEST_SUMMARY = 4 * 2**30, 64 * 2**20  # [bytes]; a run writes far less

__all__ = ["Break", "Finding", "Report", "audit", "audit_data"]


@dataclass(frozen=True, slots=True)
class Break:
    """A broken promise: the line, and what is wrong with it."""

    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, and what the log shows of it.

    Attributes:
        name: Of the promise.
        says: The promise.
        looked: Lines that it is about.
        breaks: Those that break it.
    """

    name: str
    says: str
    looked: int
    breaks: tuple[Break, ...]

    @property
    def holds(self) -> bool:
        """Say whether it is kept."""
        return not self.breaks


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found.

    Attributes:
        lines: Whole lines of the log.
        counting: Lines that no later ``rewind`` took back.
        state: closed | not closed: running, or crashed.
        torn: Bytes after the last whole line.
        decisions: Made.
        changes: Applied.
        findings: One a promise.
    """

    lines: int
    counting: int
    state: str
    torn: int
    decisions: int
    changes: int
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Say whether every promise is kept."""
        return all(finding.holds for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Give plain data."""
        found = [{**asdict(one), "holds": one.holds} for one in self.findings]
        return {**asdict(self), "findings": found, "holds": self.holds}


def audit(directory: str | Path) -> Report:
    """Audit a run directory.

    Args:
        directory: Of a finished, running or crashed run.

    Returns:
        What was found; it is no error that a promise is broken.

    Raises:
        RunDirectoryError: If there is no log in it, or it cannot be read.
    """
    place = Path(directory)
    try:
        # The summary first: of a run that goes on, the log then knows all that it knows.
        there = os.path.lexists(place / SUMMARY)
        summary = _read(place / SUMMARY, LARGEST_SUMMARY) if there else None
        data = _read(place / EVENTS, LARGEST_LOG)
    except OSError as error:
        raise RunDirectoryError(
            f"run directory {str(place)!r}: its log or summary cannot be read ({error}); name "
            "a run, see gptune ls"
        ) from error
    return audit_data(data, summary)


def _read(path: Path, most: int) -> bytes:
    """Read a plain file: a link could lead anywhere, a pipe could be waited for in vain."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link, which is not followed", str(path))
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is not a file", str(path))
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"is larger than {most} bytes", str(path))
        return file.read(about.st_size)


def audit_data(data: bytes, summary: bytes | None = None) -> Report:
    """Audit the bytes of a log, and of a summary if there is one."""
    chain = read_chain(data)
    account, looked, breaks = Account(), dict.fromkeys(PROMISES, 0), _none()
    formless: list[Break] = []
    for entry in counting(chain.entries):
        for promise in PROMISES:
            if promise.kinds == ("*",) or entry.kind in promise.kinds:
                looked[promise] += 1
                breaks[promise].extend(_complaints(promise, account, entry))
        account, odd = _take(account, entry)
        formless += [Break(entry.number, odd)] if odd else []
    count = len(counting(chain.entries))
    form = Finding("form", "every line holds what its kind must", count, tuple(formless))
    findings = [Finding(p.name, p.says, looked[p], tuple(breaks[p])) for p in PROMISES]
    return Report(
        lines=len(chain.entries),
        counting=count,
        state="closed" if account.closed else "not closed",
        torn=chain.torn,
        decisions=account.decision,
        changes=account.counts.get("applied", 0),
        findings=(_chained(chain), form, *findings, _summarized(chain, summary)),
    )


def _none() -> dict[Promise, list[Break]]:
    return {promise: [] for promise in PROMISES}


def _complaints(promise: Promise, account: Account, entry: Entry) -> Iterator[Break]:
    try:
        for what in promise.rule(account, entry):
            yield Break(entry.number, what)
    except FAULTS as error:
        yield Break(entry.number, f"{entry.kind} lacks what the rule looks at ({error!r})")


def _take(account: Account, entry: Entry) -> tuple[Account, str]:
    """Take a line into account; says what is wrong if that cannot be done."""
    try:
        return advance(account, entry), ""
    except FAULTS as error:
        return replace(account, last=entry.kind), f"{entry.kind or 'a line'} lacks {error}"


def _chained(chain: Chain) -> Finding:
    says = "every line follows from the one before it: checksum, number, generation"
    breaks = tuple(Break(number, what) for number, what in chain.breaks)
    return Finding("chain", says, len(chain.entries), breaks)


def _summarized(chain: Chain, summary: bytes | None) -> Finding:
    """Compare the summary with the lines that it knew."""
    says = "the summary says what the log says"
    if summary is None:
        return Finding("summary", says, 0, ())
    whats = differences(summary, chain.entries)
    return Finding("summary", says, 1, tuple(Break(0, what) for what in whats))
