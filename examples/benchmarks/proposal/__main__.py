"""The command: measure, print, write."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from examples.benchmarks.proposal import drift, latency, regret
from examples.benchmarks.proposal.problems import PROBLEMS
from examples.benchmarks.proposal.rivals import version_of
from examples.benchmarks.proposal.rows import Job, Row, engine_version, fill

LIBRARIES = ("torch", "gpytorch", "botorch", "optuna", "ax-platform", "scikit-learn")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
FRESH = 100  # first seed of the full comparison; constants were chosen on seeds below


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    latency_seeds: Sequence[int]
    latency_methods: Sequence[str]
    methods: Sequence[str]
    tasks: Sequence[str]
    seeds: Sequence[int]
    decays: Sequence[str]
    drift_seeds: Sequence[int]
    rows: Path | None  # None: nothing is kept


QUICK = Effort(
    latency_seeds=range(3),
    latency_methods=list(latency.METHODS),
    methods=["gptune", "stock_botorch", "optuna_tpe", "random"],
    tasks=["branin", "hartmann6"],
    seeds=range(2),
    decays=["none", "window 12", drift.DEFAULT],
    drift_seeds=range(3),
    rows=None,
)
FULL = Effort(
    latency_seeds=range(5),
    latency_methods=list(latency.METHODS),
    methods=list(regret.METHODS),
    tasks=list(PROBLEMS),
    seeds=range(FRESH, FRESH + 8),
    decays=list(drift.DECAYS),
    drift_seeds=range(3 * FRESH, 3 * FRESH + 24),
    rows=Path("docs/benchmarks/proposal"),
)


def figure(value: float, unit: str, better: str = "higher") -> dict[str, Any]:
    return {"value": value, "unit": unit, "better": better}


def measure_latency(effort: Effort, console: Console) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure what a point costs; figures are medians over the seeds of the ratios of means."""
    found: dict[str, Any] = {}
    cells: dict[str, dict[str, list[float]]] = {}
    for case in latency.CASES:
        ratios: dict[str, list[float]] = {}
        for seed in effort.latency_seeds:
            means = {
                one.method: one.mean
                for one in latency.measure(case, seed, list(effort.latency_methods))
            }
            for method, mean in means.items():
                ratios.setdefault(method, []).append(mean / means["gptune"])
                cells.setdefault(method, {}).setdefault(case, []).append(mean)
            shown = "  ".join(f"{name} {mean:.1f}" for name, mean in means.items())
            console.print(f"latency {case} seed {seed}, in ms: {shown}", highlight=False)
        for rival in ("stock_botorch", "optuna_gp"):
            name = f"{rival}_over_gptune_{case}"
            found[name] = figure(statistics.median(ratios[rival]), "ratio")
        found[f"gptune_ms_{case}"] = figure(statistics.median(cells["gptune"][case]), "ms", "lower")
    table = Table(title="CPU time of one more point in ms: median (least - most) over seeds")
    table.add_column("method")
    for case in latency.CASES:
        table.add_column(case, justify="right")
    for method, measured in cells.items():
        table.add_row(method, *(_spread(measured.get(case, [])) for case in latency.CASES))
    console.print(table)
    return found, cells


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.1f} ({min(values):.1f} - {max(values):.1f})"


def measure_regret(effort: Effort, console: Console) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare regrets: mean rank, and the problems where a rival is significantly better."""
    wanted = regret.jobs(effort.methods, effort.tasks, effort.seeds)
    rows = _rows(effort, wanted, regret.run, console)
    comparisons = regret.compare(rows)
    ranks = regret.mean_ranks(comparisons)
    table = Table(
        title=f"regret after {regret.EVALUATIONS} evaluations: median over {len(effort.seeds)} "
        "seeds (p against gptune)"
    )
    table.add_column("problem")
    for method in effort.methods:
        table.add_column(method, justify="right")
    for one in comparisons:
        cells = [f"{one.median('gptune'):.3g}"]
        for rival in effort.methods[1:]:
            chance = one.chances[rival]
            mark = " *" if rival in one.lost_to else ""
            cells.append(f"{one.median(rival):.3g} ({chance:.3f}){mark}")
        table.add_row(one.task, *cells)
    table.add_row("mean rank", *(f"{ranks[method]:.2f}" for method in effort.methods))
    spent = [_mean_seconds(rows, method) for method in effort.methods]
    table.add_row("CPU seconds a run", *(f"{seconds:.1f}" for seconds in spent))
    console.print(table)
    lost = [f"{one.task}: {', '.join(one.lost_to)}" for one in comparisons if one.lost_to]
    console.print(f"significantly worse (*): {'; '.join(lost) or 'nowhere'}")
    found = {
        "mean_rank_gptune": figure(ranks["gptune"], "rank", "lower"),
        "mean_rank_best_rival": figure(
            min(rank for method, rank in ranks.items() if method != "gptune"), "rank", "lower"
        ),
        "significant_losses": figure(len(lost), "problems", "lower"),
    }
    return found, {one.task: asdict(one) for one in comparisons}


def _mean_seconds(rows: dict[Job, Row], method: str) -> float:
    return statistics.fmean(row.seconds for job, row in rows.items() if job.method == method)


def measure_drift(effort: Effort, console: Console) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare decays: mean tracking regret over the scenarios."""
    wanted = [
        Job(decay, engine_version(), task, seed)
        for seed in effort.drift_seeds
        for task in drift.SCENARIOS
        for decay in effort.decays
    ]
    rows = _rows(effort, wanted, drift.run, console)
    finals: dict[str, dict[str, list[float]]] = {}
    for job, row in rows.items():
        finals.setdefault(job.method, {}).setdefault(job.task, []).append(row.final)
    table = Table(title=f"mean tracking regret, {len(effort.drift_seeds)} seeds (standard error)")
    for column in ("decay", *drift.SCENARIOS, "mean"):
        table.add_column(column, justify="left" if column == "decay" else "right")
    means = {}
    for decay, tasks in finals.items():
        cells = [f"{statistics.fmean(v):.3f} ({_error(v):.3f})" for v in tasks.values()]
        by_seed = [statistics.fmean(values) for values in zip(*tasks.values(), strict=True)]
        means[decay] = statistics.fmean(by_seed)
        table.add_row(decay, *cells, f"{means[decay]:.3f} ({_error(by_seed):.3f})")
    console.print(table)
    best_other = min(mean for decay, mean in means.items() if decay != drift.DEFAULT)
    found = {
        "drift_default": figure(means[drift.DEFAULT], "regret", "lower"),
        "drift_best_other": figure(best_other, "regret", "lower"),
    }
    return found, finals


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def _rows(
    effort: Effort, wanted: list[Job], run: Callable[[Job], Row], console: Console
) -> dict[Job, Row]:
    if effort.rows is None:
        return {job: run(job) for job in wanted}
    file = effort.rows / f"{run.__module__.rpartition('.')[-1]}.jsonl"
    return fill(file, wanted, run, lambda line: console.print(line, highlight=False))


def versions() -> dict[str, str]:
    """Name what was measured, and on what."""
    return {
        "gptune": engine_version(),
        **{name: version_of(name) or "not installed" for name in LIBRARIES},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
        "scipy": version("scipy"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.proposal",
        description="How fast a proposal is, and how good: gptune beside its rivals.",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--quick", action="store_true", help="under five minutes (default)")
    amount.add_argument(
        "--full", action="store_true", help="everything; rows are kept in docs/benchmarks"
    )
    parser.add_argument(
        "--only", choices=("latency", "regret", "drift"), nargs="+", help="these parts alone"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(arguments)
    effort = FULL if args.full else QUICK
    torch.set_num_threads(1)
    console, begin = Console(width=None if sys.stdout.isatty() else 150), time.monotonic()
    parts = {"latency": measure_latency, "regret": measure_regret, "drift": measure_drift}
    figures: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    for name, part in parts.items():
        if args.only is None or name in args.only:
            found, tables[name] = part(effort, console)
            figures.update(found)
    for name, one in figures.items():
        console.print(f"{name:<40} {one['value']:.3g} {one['unit']}", highlight=False)
    console.print(f"{time.monotonic() - begin:.0f} s")
    if args.json is not None:
        result = {
            "figures": figures,
            "tables": tables,
            "versions": versions(),
            "seeds": {"latency": list(effort.latency_seeds), "regret": list(effort.seeds)},
        }
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def on_one_thread() -> None:
    """Start anew with one thread everywhere: BLAS reads its number when it is loaded."""
    if any(os.environ.get(name) != one for name, one in ONE_THREAD.items()):
        command = [sys.executable, "-m", "examples.benchmarks.proposal", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ONE_THREAD})


if __name__ == "__main__":
    on_one_thread()
    sys.exit(main())
