"""Does the demo's tuning help where the rate is wrong, and do no harm where it is right?

``python -m examples.benchmarks.demo --quick`` runs seeds 0-2, ``--full`` seeds 0-9, each from the
good rate and from a tenth of it, and compares the final validation loss with the untuned twin's.
"""

import argparse
import io
import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from gptune import __version__
from gptune.demo import GOOD_RATE, Settings, demo

RATES = {"good": 1.0, "tenth": 0.1}


@dataclass(frozen=True, slots=True)
class Pair:
    """One tuned run beside its untuned twin."""

    seed: int
    tuned: float
    untuned: float
    multiplier: float  # of the learning rate, as it was calibrated

    @property
    def ratio(self) -> float:
        return self.tuned / self.untuned


def run_pair(seed: int, lr: float, steps: int) -> Pair:
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        settings = Settings(lr=lr, seed=seed, steps=steps, run_dir=run_dir, quiet=True)
        tuned, untuned = demo(settings, Console(file=io.StringIO()))
    return Pair(seed, tuned.loss, untuned.loss, tuned.multiplier)


def figures(pairs: dict[str, list[Pair]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, runs in pairs.items():
        ratios = [pair.ratio for pair in runs]
        wins = sum(ratio < 1 for ratio in ratios) / len(ratios)
        found[f"{name}_ratio_geomean"] = {"value": geometric_mean(ratios), "better": "lower"}
        found[f"{name}_ratio_worst"] = {"value": max(ratios), "better": "lower"}
        found[f"{name}_wins"] = {"value": wins, "better": "higher"}
    return {name: {**figure, "unit": "ratio"} for name, figure in found.items()}


def show(pairs: dict[str, list[Pair]], console: Console) -> None:
    table = Table(title="final validation loss, tuned / untuned, the demo")
    for column in ("rate", "seed", "tuned", "untuned", "ratio", "rate x"):
        table.add_column(column, justify="right")
    for name, runs in pairs.items():
        for pair in runs:
            losses = (f"{pair.tuned:.4f}", f"{pair.untuned:.4f}", f"{pair.ratio:.3f}")
            table.add_row(name, str(pair.seed), *losses, f"{pair.multiplier:.3g}")
        table.add_section()
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="seeds 0-2 (the default)")
    size.add_argument("--full", action="store_true", help="seeds 0-9")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds instead")
    parser.add_argument("--steps", type=int, default=Settings().steps, help="steps a run")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args(arguments)
    seeds = args.seeds or list(range(10 if args.full else 3))
    console = Console()
    pairs: dict[str, list[Pair]] = {}
    for name, factor in RATES.items():
        pairs[name] = []
        for seed in seeds:
            pairs[name].append(run_pair(seed, GOOD_RATE * factor, args.steps))
            ratio = pairs[name][-1].ratio
            console.print(f"{name} rate, seed {seed}: tuned / untuned {ratio:.3f}")
    show(pairs, console)
    found = figures(pairs)
    for name, figure in found.items():
        console.print(f"{name:<24} {figure['value']:.3f}")
    if args.json:
        versions = {
            "gptune": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        }
        rows = {
            name: [[p.seed, p.tuned, p.untuned, p.multiplier] for p in runs]
            for name, runs in pairs.items()
        }
        result = {"figures": found, "tables": rows, "versions": versions, "seeds": seeds}
        args.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
