"""What would keep gptune from working here: packages, the disk, the run directory."""

import os
import re
import secrets
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import msgspec
from msgspec import Struct

from gptune.cli.place import run_of, runs, runs_root
from gptune.errors import EventLogError
from gptune.printable import printable
from gptune.run_directory.control import frozen
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk
from gptune.run_directory.names import EVENTS, RUNS
from gptune.run_directory.owner import owner_of

DISTRIBUTION = "gptune-torch"
ROOM = 100 * 2**20  # free bytes below which a run may end in the middle
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*\])?(?:>=([\w.]+))?(?:\s*;\s*extra == ['\"](.+)['\"])?")
LOOK = """
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1]), fcntl.LOCK_SH | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)
"""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at: well or not, and what was seen."""

    what: str
    ok: bool
    said: str


def doctor(args: Namespace) -> int:
    """Say what would keep gptune from working here; exit 2 if anything would, else 0."""
    findings = [*_packages(), *_place(args)]
    if args.json:
        print(msgspec.json.encode(findings).decode())
    else:
        for finding in findings:
            word = "ok" if finding.ok else "PROBLEM"
            print(f"{word:<8} {finding.what}: {printable(finding.said)}")
    return 0 if all(finding.ok for finding in findings) else 2


def _packages() -> Iterator[Finding]:
    recent = sys.version_info >= (3, 11)
    yield Finding(what="python", ok=recent, said=sys.version.partition(" ")[0])
    found = _version(DISTRIBUTION)
    hint = f"is not installed; pip install {DISTRIBUTION}"
    yield Finding(what=DISTRIBUTION, ok=found is not None, said=found or hint)
    extras: dict[str, list[str]] = {}
    for text in (requires(DISTRIBUTION) or []) if found else []:
        name, least, extra = _parse(text)
        if extra:
            extras.setdefault(extra, []).append(name)
        else:
            yield _package(name, least)
    for extra, names in extras.items():
        missing = [name for name in names if _version(name) is None]
        hint = f"not installed, and needed by nothing else: pip install '{DISTRIBUTION}[{extra}]'"
        yield Finding(what=f"extra {extra}", ok=True, said=hint if missing else "installed")


def _parse(requirement: str) -> tuple[str, str, str]:
    """Split a requirement into name, least version and extra; empty where there is none."""
    found = REQUIREMENT.match(requirement)
    return (found[1], found[2] or "", found[3] or "") if found else (requirement, "", "")


def _package(name: str, least: str) -> Finding:
    found = _version(name)
    if found is None:
        hint = f"is not installed; pip install '{name}>={least}'"
        return Finding(what=name, ok=False, said=hint)
    if _release(found) < _release(least):
        hint = f"{found} is too old; pip install '{name}>={least}'"
        return Finding(what=name, ok=False, said=hint)
    return Finding(what=name, ok=True, said=found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _release(text: str) -> tuple[int, ...]:
    """Give the leading numbers of a version: ``2.13.0+cpu`` is ``(2, 13, 0)``."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def _place(args: Namespace) -> Iterator[Finding]:
    """Look at the run that is named, else at the place where the next one would begin."""
    root = os.environ.get(RUNS)
    is_file = root is not None and Path(root).exists() and not Path(root).is_dir()
    hint = "is a file; name a directory" if is_file else ""
    yield Finding(what=RUNS, ok=not is_file, said=f"{root or 'not set: ./runs'} {hint}".rstrip())
    named = args.named or args.dir or runs()
    place = run_of(args, args.named) if named else _nearest(runs_root())
    tried = place / f".doctor.{os.getpid()}.{secrets.token_hex(4)}"  # a name nobody waits for
    for what, check in (("atomic replace", _replace), ("lock", _lock), ("free space", _space)):
        yield _try(what, check, tried)
    tried.unlink(missing_ok=True)
    if named:
        yield from _run(place)


def _nearest(path: Path) -> Path:
    """Give the nearest directory that is there."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def _try(what: str, check: Callable[[Path], str], path: Path) -> Finding:
    """Run a check, which gives a complaint, empty when all is well."""
    try:
        complaint = check(path)
    except OSError as error:
        complaint = f"{error}; choose another place with run_dir= or {RUNS}"
    return Finding(what=what, ok=not complaint, said=complaint or f"well in {path.parent}")


def _replace(path: Path) -> str:
    disk = Disk()
    disk.replace(path, b"old")
    disk.replace(path, b"new")
    return "" if disk.read(path) == b"new" else "a file that was replaced reads as before"


def _lock(path: Path) -> str:
    """Take a lock here, and let another process say whether it sees it."""
    disk, command = Disk(), [sys.executable, "-I", "-c", LOOK, str(path)]
    handle = disk.lock(path)
    seen = subprocess.run(command, check=False, capture_output=True).returncode
    if handle is not None:
        disk.close(handle)
    hint = "a lock is not seen by another process: is this a network disk? use a local one"
    return "" if seen == 3 else hint


def _space(path: Path) -> str:
    free = shutil.disk_usage(path.parent).free
    hint = "a log that cannot grow stops tuning; make room"
    return "" if free >= ROOM else f"{free / 2**20:.0f} MiB left: {hint}"


def _run(run: Path) -> Iterator[Finding]:
    yield _try("log", _log, run / EVENTS)
    why = frozen(Disk(), run)
    yield Finding(what="outside commands", ok=not why, said=why or "are let in")
    owner = owner_of(run)
    said = f"process {owner} owns the run" if owner else "none: the run can be resumed"
    yield Finding(what="owner", ok=True, said=said)


def _log(path: Path) -> str:
    try:
        read_events(path.parent)
    except EventLogError as error:
        return f"{error}; the run cannot be resumed"
    return ""
