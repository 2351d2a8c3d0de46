"""How soon reports are made and drawn, and how large they are: the demo's, and a study's.

python -m examples.benchmarks.report [--repeats N] [--json FILE]

Needs Debian's chromium and chromium-driver, and selenium.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.benchmarks.browser import MISSING, browser, is_installed, visit
from examples.benchmarks.proposal.__main__ import figure
from gptune import RandomSampler, Study, Trial, TrialPruned, median_pruner
from gptune.cli import main as gptune
from gptune.demo import Settings, demo

TRIALS, STEPS = 500, 20


def objective(trial: Trial) -> float:
    """Have five parameters, learning curves, and trials that are pruned."""
    rate: float = trial.suggest_float("rate", 1e-4, 1.0, log=True)
    decay: float = trial.suggest_float("decay", 1e-6, 1e-1, log=True)
    momentum: float = trial.suggest_float("momentum", 0.0, 0.99)
    depth: int = trial.suggest_int("depth", 1, 12)
    kind: str = trial.suggest_categorical("kind", ["tree", "linear", "net"])
    loss = (rate - 0.01) ** 2 + 0.01 * abs(depth - 7) + 0.1 * (kind == "linear")
    loss += 0.1 * (momentum - 0.8) ** 2 + decay
    for step in range(STEPS):
        trial.report(loss + 1 / (step + 1), step)
        if trial.should_prune():
            raise TrialPruned
    return loss


def make_demo(root: Path) -> list[str]:
    """Run the demo; gives what ``gptune report`` is asked for."""
    demo(Settings(run_dir=root / "demo", quiet=True), Console(quiet=True))
    return [str(root / "demo")]


def make_study(root: Path) -> list[str]:
    """Run a study of 500 trials."""
    pruner = median_pruner(warmup_steps=5)
    file = root / "study.db"
    with Study("trees", storage=file, sampler=RandomSampler(), pruner=pruner) as study:
        study.optimize(objective, n_trials=TRIALS, progress=False)
    return [str(file)]


SUBJECTS: dict[str, Callable[[Path], list[str]]] = {
    "demo": make_demo,
    f"study_{TRIALS}": make_study,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, draw, print, and write; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.report", description=__doc__
    )
    parser.add_argument("--repeats", type=int, default=9, help="looks at each (default: 9)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(arguments)
    if args.repeats < 1:
        parser.error("--repeats: must be at least 1")
    if not is_installed():
        parser.error(MISSING)
    figures: dict[str, Any] = {}
    table = Table(title=f"reports in Chromium, median of {args.repeats} looks (slowest)")
    for column in ("report", "made in [s]", "drawn in [s]", "size [kB]", "requests", "complaints"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as directory, browser() as driver:
        for name, make in SUBJECTS.items():
            named, page = make(Path(directory)), Path(directory) / f"{name}.html"
            begin = time.perf_counter()
            if gptune(["report", *named, "--out", str(page)]):
                return 1
            made = time.perf_counter() - begin
            seen = [visit(driver, page) for _ in range(args.repeats)]
            drawn = [one.seconds for one in seen]
            asked = sum(len(one.requests) for one in seen)
            complaints = sum(len(one.complaints) for one in seen)
            size = page.stat().st_size / 1000
            middle = statistics.median(drawn)
            shown = (f"{made:.2f}", f"{middle:.2f} ({max(drawn):.2f})", f"{size:.0f}")
            table.add_row(name, *shown, str(asked), str(complaints))
            figures |= {
                f"report_{name}_made_seconds": figure(made, "s", "lower"),
                f"report_{name}_drawn_seconds": figure(max(drawn), "s", "lower"),
                f"report_{name}_kilobytes": figure(size, "kB", "lower"),
                f"report_{name}_requests": figure(float(asked), "requests", "lower"),
            }
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    if args.json is not None:
        args.json.write_text(json.dumps({"figures": figures, "repeats": args.repeats}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
