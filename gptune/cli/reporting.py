"""``gptune report``: a run, several runs or a study as one HTML file. Loads no torch itself."""

import json
import subprocess
import sys
import webbrowser
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptune.cli.place import run_of
from gptune.errors import StudyError, UsageError
from gptune.printable import printable
from gptune.run_directory.names import EVENTS, REPORT

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gptune.study.records import StudyRecord
    from gptune.study.storage import Storage

    Commands = _SubParsersAction[ArgumentParser]

PATIENCE = 300.0  # for the model of a study, which runs in a process of its own [s]
FIRST = 4096  # bytes of a file in which a report names what made it


def add_reporting(commands: "Commands") -> None:
    """Add the verb."""
    parser = commands.add_parser(
        "report",
        help="a run, several runs, or a study as one HTML file",
        description="Writes a report that is one HTML file: what was measured, what was changed, "
        "why, and what came of it. It loads nothing, so it can be sent by e-mail. A run's report "
        f"goes into its directory, as {REPORT}; that of several runs, or of a study, here.",
        epilog="examples: gptune report; gptune report runs/digits --open; gptune report runs/a "
        "runs/b --out both.html; gptune report study.db",
    )
    parser.add_argument(
        "named",
        nargs="*",
        metavar="RUN",
        help="run directories, side by side if there are several, or one file of studies "
        "(default: the newest run under ./runs)",
    )
    parser.add_argument(
        "--twin",
        type=Path,
        metavar="RUN",
        help="the same run without gptune, in mode observe (default: twin in the run directory)",
    )
    parser.add_argument("--study", metavar="NAME", help="which study, if the file holds several")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the report goes")
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.set_defaults(run=report)


def report(args: Namespace) -> int:
    """Write a report, and say where it is."""
    studies = [name for name in args.named if _is_file_of_studies(name)]
    if studies and len(args.named) > 1:
        raise UsageError("RUN: a report is about runs, or about one file of studies; give either")
    if args.study is not None and not studies:
        raise UsageError("--study: names a study of a file; give the file, e.g. study.db")
    default, text = _of_study(args, studies[0]) if studies else _of_runs(args)
    path = args.out if args.out is not None else default
    _write(path, text)
    print(printable(str(path)))
    if args.open and not webbrowser.open(path.resolve().as_uri()):
        print("gptune: there is no browser to open it in", file=sys.stderr)
    return 0


def _of_runs(args: Namespace) -> tuple[Path, str]:
    from gptune.report import comparison, run_report

    if len(args.named) < 2:
        run = run_of(args, args.named[0] if args.named else None)
        return run / REPORT, run_report(run, args.twin)
    if args.dir is not None or args.twin is not None:
        word = "--dir" if args.dir is not None else "--twin"
        raise UsageError(f"{word}: is about one run, and {len(args.named)} are given; leave it out")
    return Path(REPORT), comparison([Path(name) for name in args.named])


def _of_study(args: Namespace, file: str) -> tuple[Path, str]:
    from gptune.cli.studies import opened
    from gptune.report import study_report

    for word in ("dir", "twin"):
        if getattr(args, word) is not None:
            raise UsageError(f"--{word}: names a run, and {file!r} is a file of studies")
    with closing(opened(file)) as storage:
        record = _chosen(storage, args.study)
        trials = list(storage.changes(record.id, 0).trials)
    importance, why_not = _importance(record.name, file)
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in record.name)
    text = study_report(record, trials, importance, why_not)
    return Path(f"{name.lstrip('.') or 'study'}-{REPORT}"), text


def _is_file_of_studies(name: str) -> bool:
    """Say whether a word names a file: a run is a directory, or is not there at all."""
    return name.startswith("sqlite:") or (Path(name).is_file() and Path(name).name != EVENTS)


def _chosen(storage: "Storage", name: str | None) -> "StudyRecord":
    """Find the study that is meant.

    Raises:
        StudyError: If there is none, or several and none is named.
    """
    from gptune.configs import nearest
    from gptune.study.validation import SUFFIX

    known = {record.name: record for record in storage.studies()}
    own = [record for record in known.values() if not record.name.endswith(SUFFIX)]
    if name is None and len(own) == 1:
        return own[0]
    if name in known:
        return known[name]
    if not known:
        raise StudyError(f"{storage.url!r}: holds no studies yet")
    if name is None:
        names = ", ".join(map(repr, list(known)[:20]))
        raise StudyError(f"--study: {storage.url!r} holds several studies; name one of {names}")
    raise StudyError(f"--study: {name!r} is not in {storage.url!r}; {nearest(name, known)}")


def _importance(name: str, file: str) -> tuple[dict[str, Any] | None, str]:
    """Ask how much each parameter matters, in a process of its own: the model needs torch.

    Returns:
        Parameter -> its Sobol indices; or ``None``, and why.
    """
    verb = [sys.executable, "-P", "-m", "gptune", "study", "importance", "--json"]
    try:
        done = subprocess.run(
            [*verb, "--storage", file, "--", name],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"The model could not be asked: {error}."
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason was given"]
        return None, said[-1].removeprefix("gptune: ")
    found: dict[str, Any] = json.loads(done.stdout)
    return found, ""


def _write(path: Path, text: str) -> None:
    """Write a report; a file that is none is not overwritten.

    Raises:
        UsageError: If it cannot be written there.
    """
    from gptune.report.page import MARK
    from gptune.run_directory.file_system import Disk

    hint = "name a new file with --out"
    try:
        if path.is_file() and MARK.encode() not in path.read_bytes()[:FIRST]:
            raise UsageError(f"--out: {str(path)!r} is there, and is no report; {hint}")
        Disk().replace(path, text.encode())
    except OSError as error:
        raise UsageError(f"--out: {str(path)!r} cannot be written ({error}); {hint}") from error
