"""The command: train, compare, print, write."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.benchmarks.online import accept, alarms, learning, plots
from examples.benchmarks.online.faults import FAULTS, NAN_AT, SPIKE_AT
from examples.benchmarks.online.figures import FACTORS, GRID, Ratios, Results, geomean
from examples.benchmarks.online.ours import VARIANTS
from examples.benchmarks.online.pool import together
from examples.benchmarks.online.rivals import RIVALS
from examples.benchmarks.online.rows import Job, Row, fill, is_there, job, version_of
from examples.benchmarks.online.tasks import TASKS, find

EXAMPLES = """examples:
  python -m examples.benchmarks.online --quick --json figures.json
  python -m examples.benchmarks.online --full
  python -m examples.benchmarks.online --methods calibrate --tasks "teacher|steps=500" --rates 1 .1
"""
LIBRARIES = ("torch", "schedulefree", "prodigyopt", "autotunenet", "scikit-learn")
PARTS = ("ratios", "harm", "faults", "alarms", "accept", "learning")
HARM = ("guard", "calibrate", "active", "restless", "search")
FAULTY = ("plain", "plateau", "schedule_free", "prodigy", "autotunenet", "autolrs")
MOMENTS = {"spike": (SPIKE_AT,), "nan": NAN_AT}
FRESH = 2000  # first seed of the full comparison; constants were chosen on seeds below


@dataclass(frozen=True, slots=True)
class Effort:
    """What is measured, and how often.

    Attributes:
        tasks: Tasks.
        methods: Methods of the table of ratios.
        factors: The user's rate, in units of the good one.
        seeds: Seeds of each cell.
        healthy: Healthy runs a kind, for the alarms of the guard.
        idle: Runs a task with a knob that does nothing.
        moments: Seeds of the table of accepted changes.
        parts: What is measured.
        rows: Where rows are kept; nowhere if ``None``.
    """

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    factors: tuple[float, ...]
    seeds: tuple[int, ...]
    healthy: int
    idle: int
    moments: int
    parts: tuple[str, ...] = PARTS
    rows: Path | None = None


QUICK = Effort(
    tasks=("digits_ln", "teacher", "nqm"),
    methods=("plain", "calibrate"),
    factors=FACTORS,
    seeds=(0, 1, 2),
    healthy=1,
    idle=5,
    moments=2,
)
FULL = Effort(
    tasks=tuple(TASKS),
    methods=(*RIVALS, "calibrate", "race"),
    factors=FACTORS,
    seeds=tuple(range(FRESH, FRESH + 8)),
    healthy=10,
    idle=8,
    moments=20,
    rows=Path("docs/benchmarks/online"),
)

Found = tuple[dict[str, Any], dict[str, Any]]


def figure(value: float, unit: str = "ratio", better: str = "lower") -> dict[str, Any]:
    return {"value": value, "unit": unit, "better": better}


def in_means(tasks: Iterable[str]) -> list[str]:
    """Leave out what is reported apart."""
    return [task for task in tasks if find(task).in_means]


def wanted(effort: Effort) -> list[Job]:
    """List the runs that the parts need, each once."""
    made: list[Job] = []
    for task in effort.tasks:
        for seed in effort.seeds:
            made += [
                job("plain", task, shape, factor=factor, seed=seed)
                for shape in ("constant", "cosine")
                for factor in GRID
            ]
            made += _of_ratios(effort, task, seed) if "ratios" in effort.parts else []
            made += _of_harm(task, seed) if "harm" in effort.parts else []
            made += _of_faults(effort, task, seed) if "faults" in effort.parts else []
    return list(dict.fromkeys(made))


def _of_ratios(effort: Effort, task: str, seed: int) -> list[Job]:
    return [
        job(method, task, shape, factor=factor, seed=seed)
        for method in effort.methods
        for shape in schedules(method)
        for factor in effort.factors
    ]


def schedules(method: str) -> tuple[str, ...]:
    """List the schedules that a method is compared on."""
    if method == "plain":
        return ("constant", "cosine", "wsd")
    return ("cosine", "wsd") if method == "calibrate" else ("cosine",)


def _of_harm(task: str, seed: int) -> list[Job]:
    return [job(method, task, "cosine", factor=1.0, seed=seed) for method in ("plain", *HARM)]


def _of_faults(effort: Effort, task: str, seed: int) -> list[Job]:
    rivals = [name for name in FAULTY if name in effort.methods]
    return [
        job(method, task, "cosine", factor=1.0, seed=seed, fault=fault)
        for method in (*rivals, "guard", "calibrate")
        for fault in faults_of(task)
    ]


def faults_of(task: str) -> list[str]:
    """List the faults that can happen to a task: whole numbers are never NaN."""
    name = task.partition("|")[0]
    cannot = {"characters": {"nan"}, "nqm": {"label_noise"}}.get(name, set())
    return [fault for fault in FAULTS if fault and fault not in cannot]


def measure_ratios(effort: Effort, results: Results, console: Console) -> Found:
    """Compare final test losses over the initial rates."""
    tasks, figures, cells = in_means(effort.tasks), {}, {}
    for shape, name in (("cosine", "cosine_ratio_geomean"), ("wsd", "wsd_ratio_geomean")):
        if "calibrate" in effort.methods:
            found = results.ratios("calibrate", shape, effort.factors, tasks)
            figures[name] = figure(found.geomean)
            if shape == "cosine":
                figures["worst_seed_ratio"] = figure(found.worst)
    title = "test loss / that of the best tuned constant or cosine schedule: mean (worst seed)"
    for group in (tasks, *([task] for task in effort.tasks)):
        shown = " + ".join(group)
        table = Table(title=f"{title}\n{shown}")
        for column in ("method", *(f"x{factor:g}" for factor in effort.factors), "all rates"):
            table.add_column(column, justify="left" if column == "method" else "right")
        for method in effort.methods:
            for shape in schedules(method):
                by_rate = [results.ratios(method, shape, [f], group) for f in effort.factors]
                every = results.ratios(method, shape, effort.factors, group)
                table.add_row(_name(method, shape), *map(_cell, (*by_rate, every)))
                values = [[one.geomean, one.worst] for one in (*by_rate, every)]
                cells[f"{shown}: {_name(method, shape)}"] = [*values, list(every.interval())]
        console.print(table)
    return figures, cells


def _name(method: str, shape: str) -> str:
    return shape if method == "plain" else f"{method} on {shape}" if method in VARIANTS else method


def _cell(ratios: Ratios) -> str:
    return f"{ratios.geomean:.2f} ({ratios.worst:.2f})"


def measure_harm(effort: Effort, results: Results, console: Console) -> Found:
    """Compare runs at a good rate with the same runs without gptune."""
    tasks, figures, cells = in_means(effort.tasks), {}, {}
    table = Table(title="harm: test loss / that of the same seed on the cosine alone, good rate")
    for column in ("", "mean", "95 % interval", *effort.tasks, "worst seed"):
        table.add_column(column, justify="right")
    for method in HARM:
        paired, every = (results.paired(method, "cosine", t) for t in (tasks, effort.tasks))
        low, high = paired.interval()
        means = [geomean(values) for values in every.by_task.values()]
        shown = [f"{paired.geomean:.3f}", f"{low:.3f} - {high:.3f}"]
        table.add_row(method, *shown, *(f"{mean:.3f}" for mean in means), f"{every.worst:.2f}")
        figures[f"harm_{method}"] = figure(paired.geomean)
        cells[method] = {"mean": paired.geomean, "interval": [low, high], "by_task": every.by_task}
    console.print(table)
    return figures, cells


def measure_faults(effort: Effort, results: Results, console: Console) -> Found:
    """Compare runs that something happens to."""
    figures, cells = {}, {}
    table = Table(
        title="test loss / that of the same seed's cosine without the fault (worst seed); "
        "evaluations until the loss is back"
    )
    names = [fault for fault in FAULTS if fault]
    for column in ("method", *names):
        table.add_column(column, justify="left" if column == "method" else "right")
    methods = [name for name in FAULTY if name in effort.methods]
    for method in (*methods, "guard", "calibrate"):
        row = []
        for fault in names:
            tasks = [task for task in in_means(effort.tasks) if fault in faults_of(task)]
            paired = results.paired(method, "cosine", tasks, fault)
            back = None
            if fault in MOMENTS:
                back = results.recovery(method, tasks, fault, MOMENTS[fault])
            row.append(_cell(paired) + ("" if back is None else f"; {back:.1f}"))
            cells[f"{method}: {fault}"] = [paired.geomean, paired.worst, back]
            if method == "calibrate" and fault in MOMENTS:
                figures[f"{fault}_ratio"] = figure(paired.geomean)
        table.add_row("cosine" if method == "plain" else method, *row)
    console.print(table)
    return figures, cells


def measure_alarms(effort: Effort, note: Callable[[str], None], console: Console) -> Found:
    """Count restores of healthy runs, and accepted changes of a knob that does nothing."""
    first = effort.seeds[0]
    healthy = [
        alarms.Alarm(task, schedule, factor, first + number)
        for task, schedule, factor in alarms.HEALTHY
        if task.partition("|")[0] in effort.tasks
        for number in range(effort.healthy)
    ]
    restores = together(alarms.restores, healthy, note)
    rate = sum(map(bool, restores)) / len(restores)
    idle = [
        (task, first + number, rule)
        for rule in ("forecast", "last")
        for task in effort.tasks
        for number in range(effort.idle)
    ]
    judged = together(alarms.judge_nothing, idle, note)
    rates = {}
    for rule in ("forecast", "last"):
        found = [one for one in judged if one.rule == rule]
        segments = sum(one.segments for one in found)
        rates[rule] = (sum(one.accepted for one in found) / segments, segments)
    console.print(
        f"guard: {sum(map(bool, restores))} of {len(restores)} healthy runs restored; accepted "
        f"without a change: {rates['forecast'][0]:.1%} of {rates['forecast'][1]} segments "
        f"(by the older rule {rates['last'][0]:.1%} of {rates['last'][1]})",
        highlight=False,
    )
    figures = {
        "guard_false_alarm_rate": figure(rate, "share of runs"),
        "false_accept_rate": figure(rates["forecast"][0], "share of segments"),
        "false_accept_rate_last": figure(rates["last"][0], "share of segments"),
    }
    by_kind: dict[str, list[int]] = {}
    for one, count in zip(healthy, restores, strict=True):
        by_kind.setdefault(f"{one.task} {one.schedule} x{one.factor:g}", []).append(count)
    return figures, {"restores": by_kind, "segments": {k: v[1] for k, v in rates.items()}}


def measure_accept(effort: Effort, note: Callable[[str], None], console: Console) -> Found:
    """Say how often a change of the rate is accepted: the table of section 4 of the study."""
    seeds = range(effort.seeds[0], effort.seeds[0] + effort.moments)
    asked = [
        accept.Asked(rule, factor, seed)
        for rule in accept.RULES
        for factor in accept.FACTORS
        for seed in seeds
    ]
    answers = together(accept.is_accepted, asked, note)
    table = Table(title=f"share of changes accepted, {accept.TASK}, {effort.moments} seeds")
    for column in ("rule", *(f"rate x{factor:g}" for factor in accept.FACTORS)):
        table.add_column(column, justify="left" if column == "rule" else "right")
    cells: dict[str, list[float]] = {}
    for rule in accept.RULES:
        shares = [
            sum(a for one, a in zip(asked, answers, strict=True) if (one.rule, one.factor) == cell)
            / effort.moments
            for cell in ((rule, factor) for factor in accept.FACTORS)
        ]
        cells[rule] = shares
        table.add_row(accept.RULES[rule], *(f"{share:.2f}" for share in shares))
    console.print(table)
    return {}, cells


def measure_learning(effort: Effort, note: Callable[[str], None], console: Console) -> Found:
    """Compare the fifth run of a task with the same run as a first one."""
    asked = [(task, seed) for task in in_means(effort.tasks) for seed in effort.seeds]
    learnt = together(learning.learn, asked, note)
    by_task: dict[str, list[float]] = {}
    for one in learnt:
        by_task.setdefault(one.task, []).append(one.ratio)
    ratios = Ratios(by_task)
    low, high = ratios.interval()
    means = ", ".join(f"{task} {geomean(values):.3f}" for task, values in by_task.items())
    console.print(
        f"fifth run / the same run as the first, rate x{learning.FACTOR:g}: {ratios.geomean:.3f} "
        f"[{low:.3f}, {high:.3f}], worst {ratios.worst:.2f} ({means})",
        highlight=False,
    )
    found = {"fifth_run_over_first": figure(ratios.geomean)}
    return found, {"interval": [low, high], "runs": [asdict(one) for one in learnt]}


def compare(effort: Effort, console: Console, note: Callable[[str], None]) -> dict[str, Any]:
    """Run what is missing, and make figures and tables."""
    kept = None if effort.rows is None else effort.rows / "rows.jsonl"
    rows: dict[Job, Row] = fill(wanted(effort), kept, note)
    results = Results(rows, effort.tasks, effort.seeds)
    figures: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    of_rows = {"ratios": measure_ratios, "harm": measure_harm, "faults": measure_faults}
    of_runs = {"alarms": measure_alarms, "accept": measure_accept, "learning": measure_learning}
    for part in effort.parts:
        found, tables[part] = (
            of_rows[part](effort, results, console)
            if part in of_rows
            else of_runs[part](effort, note, console)
        )
        figures.update(found)
    for name, one in figures.items():
        console.print(f"{name:<28} {one['value']:.3f} {one['unit']}", highlight=False)
    if effort.rows is not None and "ratios" in effort.parts and "faults" in effort.parts:
        plots.draw(results, effort.rows, in_means(effort.tasks))
    return {
        "figures": figures,
        "tables": tables,
        "versions": versions(effort.methods),
        "seeds": list(effort.seeds),
    }


def versions(methods: Iterable[str]) -> dict[str, str]:
    """Name what was measured, and on what."""
    return {
        **{method: version_of(method) for method in methods},
        **{name: _installed(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread a run",
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def read_effort(arguments: Sequence[str] | None) -> tuple[Effort, Path | None]:
    """Read the command line: how much is measured, and where the figures go."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.online",
        description="Does tuning a live run help, and does it harm? gptune beside its rivals.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--quick", action="store_true", help="under five minutes (default)")
    amount.add_argument("--full", action="store_true", help="everything; rows are kept in docs")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds")
    tasks = ", ".join(TASKS)
    parser.add_argument("--tasks", nargs="+", help=f"of {tasks}; 'teacher|steps=500' changes one")
    names = ", ".join((*RIVALS, *VARIANTS))
    parser.add_argument("--methods", nargs="+", help=f"of {names}")
    parser.add_argument("--rates", type=float, nargs="+", help="in units of the task's good one")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="what is measured")
    parser.add_argument("--rows", type=Path, metavar="DIR", help="keep rows there, and go on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(arguments)
    effort = FULL if args.full else QUICK
    for name in args.tasks or ():
        _checked(parser, find, name)
    unknown = set(args.methods or ()) - {*RIVALS, *VARIANTS}
    if unknown:
        parser.error(f"--methods: no method {sorted(unknown)[0]!r}; there are {names}")
    chosen = {
        "seeds": args.seeds,
        "tasks": args.tasks,
        "methods": args.methods,
        "factors": args.rates,
        "parts": args.parts,
    }
    changed: dict[str, Any] = {
        name: tuple(value) for name, value in chosen.items() if value is not None
    }
    if args.methods and not args.parts:
        changed["parts"] = ("ratios",)
    return replace(effort, **changed, rows=args.rows or effort.rows), args.json


def _checked(parser: argparse.ArgumentParser, read: Callable[[str], object], given: str) -> None:
    try:
        read(given)
    except ValueError as error:
        parser.error(str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write; gives the exit code."""
    effort, file = read_effort(arguments)
    console, begin = Console(width=None if sys.stdout.isatty() else 150), time.monotonic()
    progress = Console(stderr=True)
    missing = [method for method in effort.methods if not is_there(method)]
    for method in missing:
        progress.print(f"{method} is left out: {RIVALS[method][0]} is not installed")
    kept = tuple(method for method in effort.methods if method not in missing)
    result = compare(
        replace(effort, methods=kept), console, lambda line: progress.print(line, highlight=False)
    )
    console.print(f"{time.monotonic() - begin:.0f} s")
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
