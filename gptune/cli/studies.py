"""``gptune study``: make, list, look at and export studies; none of it loads torch.

What runs trials, or asks the model, is in `study_runs`, and is loaded when it is wanted.
"""

import csv
import io
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptune.errors import StudyError, UsageError
from gptune.printable import printable

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gptune.study.records import StudyRecord, TrialRecord
    from gptune.study.storage import Storage

    Commands = _SubParsersAction[ArgumentParser]

DEFAULT = "studies.db"
SAMPLERS = ("gp", "random", "sobol", "grid")
PRUNERS = ("none", "median", "percentile", "halving", "patience", "threshold")
PLOTS = ("history", "importance", "slices", "contour", "parallel_coordinates", "learning_curves")


def add_studies(commands: "Commands") -> None:
    """Add the verb and what it can do."""
    study = commands.add_parser(
        "study",
        help="tune before training: make, run, resume and look at studies",
        description="Works on studies, which are kept in a file of SQLite. Exit code 2 and a "
        "message that says what to do where something is wrong.",
    )
    verbs = study.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_new(verbs)
    listed = _add(verbs, "ls", ls, "list the studies of a file, and what they have come to")
    listed.add_argument("--json", action="store_true", help="print one JSON list")
    _add_runs(verbs)
    best = _add(verbs, "best", best_of, "print the best parameters", named=True)
    form = best.add_mutually_exclusive_group()
    form.add_argument("--yaml", action="store_true", help="print the parameters as YAML, no more")
    form.add_argument("--json", action="store_true", help="print the whole trial as JSON")
    export = _add(verbs, "export", export_all, "print every trial as a table", named=True)
    export.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="(default: csv)")
    export.add_argument("--out", metavar="FILE", help="write it there, not to stdout")
    _add_pictures(verbs)


def _add(
    verbs: "Commands",
    name: str,
    run: Callable[[Namespace], int],
    said: str,
    *,
    named: bool = False,
) -> ArgumentParser:
    parser = verbs.add_parser(name, help=said, description=f"{said[0].upper()}{said[1:]}.")
    if named:
        parser.add_argument("name", metavar="NAME", help="of the study")
    parser.add_argument(
        "--storage", default=DEFAULT, metavar="FILE", help=f"where studies lie (default: {DEFAULT})"
    )
    parser.set_defaults(run=run)
    return parser


def _add_new(verbs: "Commands") -> None:
    parser = _add(verbs, "new", new, "make a study", named=True)
    parser.add_argument(
        "--space",
        metavar="FILE",
        help="a .yaml or .json file: name -> {type: float, low: ..., high: ..., log: true}, "
        "{type: int, ...} or {type: categorical, choices: [...]}; without one the objective "
        "suggests as it runs",
    )
    parser.add_argument("--direction", choices=("minimize", "maximize"), default="minimize")
    parser.add_argument("--seed", type=int, default=0, help="of all chance (default: 0)")


def _add_runs(verbs: "Commands") -> None:
    for name, said in (
        ("run", "run the first trials of a study; one that is not there yet is made"),
        ("resume", "run more trials of a study"),
    ):
        parser = _add(verbs, name, _later(name), said, named=True)
        parser.add_argument("objective", metavar="MODULE:FUNCTION", help="what is measured")
        parser.add_argument("--trials", type=int, metavar="N", help="to run now")
        parser.add_argument("--total", type=int, metavar="N", help="in all, earlier ones included")
        parser.add_argument("--timeout", type=float, metavar="S", help="begin none after it [s]")
        parser.add_argument(
            "--patience", type=int, metavar="N", help="stop when so many in a row bring no gain"
        )
        parser.add_argument("--sampler", choices=SAMPLERS, default="gp", help="(default: gp)")
        parser.add_argument("--pruner", choices=PRUNERS, default="none", help="(default: none)")
        parser.add_argument(
            "--workers", type=int, default=1, metavar="N", help="processes (default: 1, this one)"
        )
        parser.add_argument(
            "--keep-going", action="store_true", help="what the objective raises fails its trial"
        )
        if name == "run":
            parser.add_argument("--direction", choices=("minimize", "maximize"), default=None)
    parser = _add(verbs, "validate", _later("validate"), "measure the best again", named=True)
    parser.add_argument("objective", metavar="MODULE:FUNCTION", help="what is measured")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="best trials (default: 3)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each (default: 5)")


def _add_pictures(verbs: "Commands") -> None:
    said = "say how much each parameter matters: Sobol indices of the model's mean"
    parser = _add(verbs, "importance", _later("importance"), said, named=True)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser = _add(verbs, "plot", _later("plot"), "draw a study, as a file of HTML", named=True)
    parser.add_argument("--kind", choices=PLOTS, default="history", help="(default: history)")
    parser.add_argument("--params", nargs="+", metavar="NAME", help="parameters to draw")
    parser.add_argument("--out", metavar="FILE", help="(default: NAME-KIND.html)")


def _later(verb: str) -> Callable[[Namespace], int]:
    """Load what a verb needs when it is wanted: it may take a second or two."""

    def run(args: Namespace) -> int:
        import importlib

        refuse_run(args)
        module = importlib.import_module("gptune.cli.study_runs")
        return int(getattr(module, verb)(args))

    return run


def new(args: Namespace) -> int:
    """Make a study."""
    from gptune.configs.text import read_file
    from gptune.study.study import Study

    refuse_run(args)
    space = None if args.space is None else read_file(args.space)
    if args.space is not None and not isinstance(space, dict):
        raise UsageError(f"--space: {args.space!r} must hold a mapping of names to parameters")
    with Study(
        args.name,
        storage=args.storage,
        direction=args.direction,
        space=space,
        seed=args.seed,
    ) as made:
        count = len(made.record.space or ())
        given = f", {count} parameter{'s' if count > 1 else ''}" if count else ""
        print(f"{printable(args.name)}: made in {args.storage}, to {args.direction}{given}")
    return 0


def ls(args: Namespace) -> int:
    """List studies."""
    refuse_run(args)
    with closing(opened(args.storage)) as storage:
        rows = [_row(record, _trials(storage, record)) for record in storage.studies()]
    if args.json:
        print(json.dumps(rows))
        return 0
    if not rows:
        print(f"no studies in {args.storage}")
    for row in rows:
        counts = ", ".join(f"{count} {state}" for state, count in row["trials"].items())
        best = "" if row["best"] is None else f"; best {row['best']:.6g} of trial {row['number']}"
        print(f"{printable(row['name'])}  to {row['direction']}  {counts or 'no trials'}{best}")
    return 0


def best_of(args: Namespace) -> int:
    """Print the best trial."""
    from gptune.configs.text import write

    refuse_run(args)
    with closing(opened(args.storage)) as storage:
        record = _find(storage, args.name)
        best = _best(record, _trials(storage, record))
    if best is None:
        raise StudyError(f"study {args.name!r}: no trial is complete yet")
    if args.json:
        print(json.dumps(best.to_row()))
    elif args.yaml:
        print(write(dict(best.params)).rstrip())
    else:
        print(f"{best.value:.6g}, trial {best.number}")
        for name, value in best.params.items():
            print(f"  {printable(name)}: {printable(str(value))}")
    return 0


def export_all(args: Namespace) -> int:
    """Print every trial."""
    refuse_run(args)
    with closing(opened(args.storage)) as storage:
        trials = _trials(storage, _find(storage, args.name))
    text = _csv(trials) if args.format == "csv" else _lines(trials)
    if args.out is None:
        sys.stdout.write(text)
    else:
        Path(args.out).write_text(text)
    return 0


def opened(place: str) -> "Storage":
    """Open a file of studies to look at it.

    Raises:
        StorageError: If it cannot be read.
    """
    from gptune.study.storage import Storage

    return Storage(place, writes=False)


def refuse_run(args: Namespace) -> None:
    """Refuse ``--dir``, which names a run.

    Raises:
        UsageError: If it was given.
    """
    if args.dir is not None:
        raise UsageError(
            f"--dir: names a run, got {args.dir!r}, and this is not about one; see --storage"
        )


def _find(storage: "Storage", name: str) -> "StudyRecord":
    from gptune.configs import nearest

    record = storage.find(name)
    if record is None:
        names = [one.name for one in storage.studies()]
        hint = nearest(name, names) if names else "there are none"
        raise StudyError(f"study {name!r}: is not in {storage.url!r}; {hint}")
    return record


def _trials(storage: "Storage", record: "StudyRecord") -> "list[TrialRecord]":
    return list(storage.changes(record.id, 0).trials)


def _best(record: "StudyRecord", trials: "list[TrialRecord]") -> "TrialRecord | None":
    complete = [trial for trial in trials if trial.value is not None]
    return max(complete, key=lambda one: record.sign * (one.value or 0.0), default=None)


def _row(record: "StudyRecord", trials: "list[TrialRecord]") -> dict[str, Any]:
    states = [trial.state.value for trial in trials]
    best = _best(record, trials)
    return {
        "name": record.name,
        "direction": record.direction,
        "trials": {state: states.count(state) for state in dict.fromkeys(sorted(states))},
        "best": None if best is None else best.value,
        "number": None if best is None else best.number,
        "params": None if best is None else best.params,
    }


def _csv(trials: "list[TrialRecord]") -> str:
    rows = [trial.to_row() for trial in trials]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _lines(trials: "list[TrialRecord]") -> str:
    return "".join(
        json.dumps({**trial.to_row(), "reports": trial.reports}) + "\n" for trial in trials
    )
