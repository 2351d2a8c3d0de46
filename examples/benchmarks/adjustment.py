"""How often automatic adjustment is wrong, and how soon it is right: rates over many simulations.

python -m examples.benchmarks.adjustment [--runs N] [--json FILE]
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.benchmarks.proposal.__main__ import figure
from gptune.adjustment.detection import Alarm, watch
from gptune.adjustment.duel import Duel, Terms, Verdict, compare, verdict

THRESHOLD, EVERY = 0.8, 1000.0
FALLS = (0.8, 0.7, 0.6, 0.3)  # success rates, of which the first is no fall
SHARES = (0.4, 0.5, 0.6, 0.7)  # of the pairs that a candidate wins


def records_to_alarm(rate: float, seed: int, most: int) -> int:
    """Watch a stream of one success rate until an alarm is raised [records]."""
    chance, alarm = random.Random(seed), Alarm(level=THRESHOLD, every=EVERY)
    while not alarm.is_raised and alarm.seen < most:
        alarm = watch(alarm, float(chance.random() < rate))
    return alarm.seen


def decide(terms: Terms, share: float, seed: int) -> tuple[bool, int]:
    """Compare a candidate that wins a share of pairs; says whether it is kept, and the pairs."""
    chance, duel = random.Random(seed), Duel()
    while verdict(terms, duel) is Verdict.OPEN:
        duel = compare(terms, duel, 0.0, 1.0 if chance.random() < share else -1.0)
    return verdict(terms, duel) is Verdict.KEEP, duel.pairs


def _shown(values: Sequence[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.3g} +/- {error:.2g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print, and write; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.adjustment", description=__doc__
    )
    parser.add_argument("--runs", type=int, default=1000, help="simulations (default: 1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(arguments)
    if args.runs < 2:
        parser.error("--runs: must be at least 2")
    console = Console(width=None if sys.stdout.isatty() else 110)
    figures: dict[str, Any] = {}
    table = Table(
        title=f"records up to an alarm, threshold {THRESHOLD:.0%}, one false in {EVERY:g}"
    )
    for column in ("success rate", "records, mean +/- standard error"):
        table.add_column(column, justify="right")
    for rate in FALLS:
        count = args.runs if rate < THRESHOLD else max(args.runs // 10, 2)
        seen = [records_to_alarm(rate, seed, 100_000) for seed in range(count)]
        table.add_row(f"{rate:.0%}", _shown(seen))
        better = "higher" if rate >= THRESHOLD else "lower"
        figures[f"records_to_alarm_{rate:g}"] = figure(statistics.fmean(seen), "records", better)
    console.print(table)
    terms = Terms()
    table = Table(title="candidates: kept, after so many pairs, mean +/- standard error")
    for column in ("wins", "kept", "pairs"):
        table.add_column(column, justify="right")
    for share in SHARES:
        found = [decide(terms, share, seed) for seed in range(args.runs)]
        kept = [float(one) for one, _ in found]
        pairs = [float(count) for _, count in found]
        table.add_row(f"{share:.0%}", _shown(kept), _shown(pairs))
        figures[f"kept_{share:g}"] = figure(
            statistics.fmean(kept), "rate", "higher" if share > 0.5 else "lower"
        )
        figures[f"pairs_{share:g}"] = figure(statistics.fmean(pairs), "pairs", "lower")
    console.print(table)
    if args.json is not None:
        args.json.write_text(json.dumps({"figures": figures, "runs": args.runs}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
