"""``gptune recipe export`` and ``evolve``: recipes that come from runs; none of it loads torch."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptune.cli.place import run_of
from gptune.errors import UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gptune.configs import Recipe

    Verbs = _SubParsersAction[ArgumentParser]


def add_learning(verbs: "Verbs") -> None:
    """Add the verbs."""
    export = verbs.add_parser(
        "export",
        help="write what a run did as a recipe, and as a schedule",
        description="Writes the recipe of a run, with what an operator set, and with prior centers "
        "where the knobs stood when each phase ended. Beside --out F goes F.schedule.json: "
        "the moves of every knob by step, for LambdaLR(optimizer, gptune.schedule.recorded(FILE)).",
    )
    export.add_argument(
        "named", nargs="?", metavar="RUN", help="run directory (default: the newest)"
    )
    export.add_argument("--schedule", metavar="FILE", help="write the schedule there")
    _add_out(export)
    export.set_defaults(run=_export)
    evolve = verbs.add_parser(
        "evolve",
        help="move a recipe's priors towards what runs accepted",
        description="Moves prior centers and bounds of a recipe towards what the runs accepted, "
        "never beyond its own bounds. Why, is said on stderr and in comments of a YAML file.",
    )
    evolve.add_argument("base", metavar="BASE", help="the recipe that the runs were made with")
    evolve.add_argument("runs", nargs="+", metavar="RUN", help="run directories, the oldest first")
    evolve.add_argument(
        "--alpha",
        type=float,
        default=0.3,
        metavar="A",
        help="how much one accepted move counts (0.3)",
    )
    _add_out(evolve)
    evolve.set_defaults(run=_evolve)


def _add_out(parser: ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="write the recipe there, not to stdout")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")


def _export(args: Namespace) -> int:
    """Write recipe and schedule; exit 0."""
    from gptune.recipe.export import export_recipe, export_schedule

    directory = run_of(args, args.named)
    schedule = args.schedule
    if schedule is None and args.out is not None:
        schedule = str(Path(args.out).with_suffix("")) + ".schedule.json"
    if schedule is not None and schedule == args.out:
        raise UsageError(f"--schedule: {schedule!r} is what --out names too; name another")
    _check_free(args, ("--out", args.out), ("--schedule", schedule))
    recipe = export_recipe(directory)
    text = f"{json.dumps(export_schedule(directory))}\n"
    _write(args, recipe, (f"What the run {directory.name} did, as a recipe.",))
    if schedule is not None:
        _write_schedule(schedule, text)
    return 0


def _evolve(args: Namespace) -> int:
    """Write the evolved recipe; what was changed and why goes to stderr; exit 0."""
    from gptune.configs import Recipe
    from gptune.recipe.evolve import evolve

    if args.dir is not None:
        raise UsageError(f"--dir: names one run, got {args.dir!r}; list the runs after BASE")
    _check_free(args, ("--out", args.out))
    base = Recipe.load(args.base)
    recipe, changes = evolve(base, args.runs, args.alpha)
    _write(args, recipe, (f"{Path(args.base).name}, evolved by {_count(args.runs)}.", *changes))
    return 0


def _count(runs: Sequence[str]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def _check_free(args: Namespace, *files: tuple[str, str | None]) -> None:
    """Check that nothing is overwritten that was not meant to be.

    Raises:
        UsageError: Naming the option and the file.
    """
    for option, file in files:
        if file is not None and Path(file).exists() and not args.force:
            raise UsageError(f"{option}: {file!r} is there already; name another, or add --force")


def _write_schedule(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"--schedule: {file!r} cannot be written ({error})") from error


def _write(args: Namespace, recipe: "Recipe", comments: tuple[str, ...]) -> None:
    from gptune.configs.text import write

    text = "\n".join(comments)
    if args.out is None:
        print(write(recipe.to_dict(), text).rstrip())
        return
    recipe.save(args.out, comments=text)
    for comment in comments:
        print(f"# {comment}", file=sys.stderr)
