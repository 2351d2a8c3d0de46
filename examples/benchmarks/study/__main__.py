"""The command: measure, print, write."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from examples.benchmarks.proposal.__main__ import ONE_THREAD, figure
from examples.benchmarks.proposal.rivals import version_of
from examples.benchmarks.proposal.rows import engine_version, fill
from examples.benchmarks.study import bookkeeping, regret
from examples.benchmarks.study.tasks import TASKS

LIBRARIES = ("optuna", "scikit-learn", "torch", "botorch", "gpytorch")
FRESH = 100  # first seed of the full comparison; constants were chosen on seeds below
ROWS = Path("docs/benchmarks/study/regret.jsonl")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    books: Sequence[int]
    seeds: Sequence[int]
    rows: Path | None  # None: nothing is kept


QUICK = Effort(books=range(3), seeds=range(FRESH, FRESH + 2), rows=None)
FULL = Effort(books=range(5), seeds=range(FRESH, FRESH + 10), rows=ROWS)


def measure_books(effort: Effort, console: Console) -> dict[str, Any]:
    """Measure what a trial costs beside its objective."""
    found = bookkeeping.ratios(list(effort.books))
    console.print(
        f"bookkeeping on SQLite, {bookkeeping.TRIALS} trials of ours, the first "
        f"{bookkeeping.FIRST} of Optuna's: {found['gptune_ms_per_trial']:.2f} ms and "
        f"{found['optuna_ms_per_trial']:.2f} ms a trial (medians of {len(effort.books)})",
        highlight=False,
    )
    units = {"gptune_ms_per_trial": "ms", "optuna_ms_per_trial": "ms"}
    higher = "optuna_seconds_per_trial_over_gptune"
    return {
        name: figure(value, units.get(name, "ratio"), "higher" if name == higher else "lower")
        for name, value in found.items()
    }


def measure_regret(effort: Effort, console: Console) -> dict[str, Any]:
    """Compare what is found, and what finding it takes."""
    wanted = regret.jobs(list(TASKS), effort.seeds)

    def note(line: str) -> None:
        console.print(line, highlight=False)

    if effort.rows is None:
        rows = {}
        for number, job in enumerate(wanted, start=1):
            rows[job] = regret.run(job)
            if job.method == "random":
                note(f"{number}/{len(wanted)}  {job.task}, seed {job.seed}")
    else:
        rows = fill(effort.rows, wanted, regret.run, note)
    made = regret.summary(rows)
    _show(made, effort, console)
    ranks = made["ranks"]
    rival = min(rank for name, rank in ranks.items() if name != "gptune")
    return {
        **{f"mean_rank_{name}": figure(rank, "rank", "lower") for name, rank in ranks.items()},
        "mean_rank_best_rival": figure(rival, "rank", "lower"),
        "significant_losses": figure(len(made["lost"]), "tasks", "lower"),
        "optuna_gp_seconds_over_gptune": figure(
            made["seconds"]["optuna_gp"] / made["seconds"]["gptune"], "ratio"
        ),
    }


def _show(made: dict[str, Any], effort: Effort, console: Console) -> None:
    names = list(made["ranks"])
    table = Table(
        title=f"regret after {regret.TRIALS} trials: median over {len(effort.seeds)} seeds "
        "(from the best that any found)"
    )
    for column in ("task", *names):
        table.add_column(column, justify="left" if column == "task" else "right")
    for one in made["comparisons"]:
        marks = {name: " *" if name in one.lost_to else "" for name in names}
        table.add_row(one.task, *(f"{one.median(name):.3g}{marks[name]}" for name in names))
    spread = {name: _error(values) for name, values in regret.ranks(made["comparisons"]).items()}
    table.add_row("mean rank", *(f"{made['ranks'][n]:.2f} ({spread[n]:.2f})" for n in names))
    table.add_row("seconds a study", *(f"{made['seconds'][name]:.2f}" for name in names))
    console.print(table)
    lost = "; ".join(f"{task}: {', '.join(to)}" for task, to in made["lost"].items())
    console.print(f"significantly better than gptune (*): {lost or 'nobody, nowhere'}")


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.study",
        description="What a study costs beside its objective, and what it finds: gptune, Optuna.",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--quick", action="store_true", help="under five minutes (default)")
    amount.add_argument(
        "--full", action="store_true", help="everything; rows are kept in docs/benchmarks"
    )
    parser.add_argument("--only", choices=("books", "regret"), nargs="+", help="these parts alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(arguments)
    effort = FULL if args.full else QUICK
    torch.set_num_threads(1)
    console, begin = Console(width=None if sys.stdout.isatty() else 150), time.monotonic()
    figures: dict[str, Any] = {}
    for name, part in {"books": measure_books, "regret": measure_regret}.items():
        if args.only is None or name in args.only:
            figures |= part(effort, console)
    for name, one in figures.items():
        console.print(f"{name:<40} {one['value']:.3g} {one['unit']}", highlight=False)
    console.print(f"{time.monotonic() - begin:.0f} s")
    if args.json is not None:
        versions = {name: version_of(name) or "not installed" for name in LIBRARIES}
        result = {
            "figures": figures,
            "versions": {
                "gptune": engine_version("study"),
                **versions,
                "python": platform.python_version(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
            },
            "seeds": {"books": list(effort.books), "regret": list(effort.seeds)},
        }
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def on_one_thread() -> None:
    """Start anew with one thread everywhere: BLAS reads its number when it is loaded."""
    if any(os.environ.get(name) != one for name, one in ONE_THREAD.items()):
        command = [sys.executable, "-m", "examples.benchmarks.study", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ONE_THREAD})


if __name__ == "__main__":
    on_one_thread()
    sys.exit(main())
