"""Which run is meant: the one that is named, the one of ``--dir``, or the newest; and its log."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptune.errors import RunDirectoryError, UsageError
from gptune.run_directory.names import DEFAULT_RUNS, EVENTS, RUNS

if TYPE_CHECKING:
    from gptune.events import Line


def add_run(parser: ArgumentParser) -> None:
    """Let a verb that takes nothing else be given its run, as ``named``."""
    parser.add_argument(
        "named", nargs="?", metavar="RUN", help="run directory (default: the newest under ./runs)"
    )


def run_of(args: Namespace, named: str | None) -> Path:
    """Find the run directory that is meant.

    Args:
        args: The parsed words; ``args.dir`` is what ``--dir`` gave.
        named: The run named after the verb, if any.

    Raises:
        UsageError: If it was named twice.
        RunDirectoryError: If there is no run.
    """
    if named is not None and args.dir is not None:
        raise UsageError(
            f"RUN: is named twice, by --dir {str(args.dir)!r} and as {named!r}; leave one out"
        )
    chosen = named if named is not None else args.dir
    path = newest() if chosen is None else Path(chosen)
    if not (path / EVENTS).is_file():
        raise RunDirectoryError(
            f"run directory {str(path)!r}: holds no {EVENTS}; give the directory of a run, "
            "or see gptune ls"
        )
    return path


def split_run(words: Sequence[str], count: int) -> tuple[str | None, list[str]]:
    """Tell the run, which may be left out, from the ``count`` words of a verb."""
    extra = len(words) > count
    return (words[0] if extra else None), list(words[extra:])


def runs_root() -> Path:
    """Where new run directories go: ``$GPTUNE_RUNS``, or ``./runs``."""
    return Path(os.environ.get(RUNS) or DEFAULT_RUNS)


def runs() -> list[Path]:
    """List the run directories under the root, the newest first."""
    root = runs_root()
    try:
        found = [path for path in root.iterdir() if (path / EVENTS).is_file()]
    except OSError:
        found = []
    return sorted(found, key=lambda path: (path / EVENTS).stat().st_mtime_ns, reverse=True)


def newest() -> Path:
    """Give the run directory that was written last.

    Raises:
        RunDirectoryError: If there is none.
    """
    found = runs()
    if not found:
        raise RunDirectoryError(
            f"run directory: there is none under {str(runs_root())!r}; name one with --dir RUN, "
            f"or set {RUNS}"
        )
    return found[0]


def read_log(run: Path) -> "list[Line]":
    """Read a run's log.

    Raises:
        EventLogError: If it is broken.
        RunDirectoryError: If it cannot be read.
    """
    from gptune.run_directory.event_log import read_run

    return read_run(run)
