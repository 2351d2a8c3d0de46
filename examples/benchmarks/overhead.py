"""What gptune costs: a counted step, a scaled step, a decision, a durable line, an import.

Run from the root of the repository::

    python -m examples.benchmarks.overhead --quick --json overhead.json

Everything is measured on one thread, against the same thing without gptune, taking turns, so that
a busy machine slows both alike.
"""

import argparse
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.optim import SGD

from gptune import Tuner
from gptune.events import Blocked, Moment
from gptune.records import Action
from gptune.run_directory import EventLog

LIBRARIES = ("gptune-torch", "torch", "gpytorch", "botorch", "numpy", "scipy", "msgspec")
KNOBS = ("lr", "weight_decay", "momentum")
US, MS = 1e-3, 1e-6  # nanoseconds -> microseconds, milliseconds


@dataclass(frozen=True, slots=True)
class Effort:
    """How often each thing is measured."""

    repeats: int  # turns that a loop is taken
    calls: int  # calls a turn
    decisions: int
    lines: int  # durable lines
    imports: int  # processes of each kind


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    value: float
    unit: str
    better: str = "lower"


QUICK = Effort(repeats=150, calls=300, decisions=150, lines=500, imports=31)
FULL = Effort(repeats=1000, calls=500, decisions=600, lines=5000, imports=151)


# The clock


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector out of a measurement."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def time_loop(call: Callable[[], object] | None, calls: int) -> float:
    """Time one call in a loop [ns]; ``None`` is the empty loop."""
    if call is None:
        begin = perf_counter_ns()
        for _ in range(calls):
            pass
        return (perf_counter_ns() - begin) / calls
    begin = perf_counter_ns()
    for _ in range(calls):
        call()
    return (perf_counter_ns() - begin) / calls


def take_turns(
    one: Callable[[], object] | None, other: Callable[[], object] | None, effort: Effort
) -> tuple[list[float], list[float]]:
    """Time two calls in turns, each first every second time [ns]."""
    times: tuple[list[float], list[float]] = ([], [])
    pair = (one, other)
    with undisturbed():
        for call in pair:
            time_loop(call, effort.calls)  # warm up
        for turn in range(effort.repeats):
            for which in (0, 1) if turn % 2 else (1, 0):
                times[which].append(time_loop(pair[which], effort.calls))
    return times


def paired_difference(without: Sequence[float], with_it: Sequence[float]) -> float:
    """Give the median over the turns of what the second costs more [ns]."""
    return statistics.median(b - a for a, b in zip(without, with_it, strict=True))


# What is measured


def make_optimizer(seed: int) -> SGD:
    """Give an optimizer of two small groups, with gradients, for which all three knobs exist."""
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for rate in (1e-3, 1e-4):
        parameter = nn.Parameter(torch.randn(8, 8, generator=generator))
        parameter.grad = torch.randn(8, 8, generator=generator)
        groups.append({"params": [parameter], "lr": rate})
    return SGD(groups, lr=1e-3, momentum=0.9, weight_decay=1e-3)


def open_segment(directory: Path, seed: int) -> tuple[Tuner, SGD]:
    """Drive a real Tuner until all three knobs hold a multiplier and the change is unjudged."""
    optimizer = make_optimizer(seed)
    recipe = {
        "objective": {"primary": "loss"},
        "actuators": {"opt": {"mutations": {name: {} for name in KNOBS}}},
        "search": {"joint": True},
        "acceptance": {"horizon": 10**6},
    }
    tuner = Tuner(optimizer, recipe=recipe, run_dir=directory, seed=seed)
    chance = random.Random(seed)
    for number in range(1, 100):
        optimizer.step()
        tuner.step()
        decision = tuner.report({"loss": 1.0 / number + 0.01 * chance.random()})
        if decision.verdict is Action.APPLIED:
            break
    held = [value for value in tuner.values.values() if value != 1.0]
    if len(held) != len(KNOBS):
        tuner.close()
        raise RuntimeError(f"the multipliers in force are {tuner.values}: all must differ from 1")
    return tuner, optimizer


def measure_step(directory: Path, effort: Effort, seed: int) -> float:
    """Time `Tuner.step`, less the loop around it [us]."""
    tuner, _ = open_segment(directory / "step", seed)
    with tuner:
        empty, stepping = take_turns(None, tuner.step, effort)
    return (statistics.median(stepping) - statistics.median(empty)) * US


def measure_hooks(directory: Path, effort: Effort, seed: int) -> tuple[float, float]:
    """Time what three knobs in force add to an optimizer's step, and that step alone [us]."""
    bare = make_optimizer(seed)
    tuner, tuned = open_segment(directory / "hooks", seed)
    with tuner:
        without, with_it = take_turns(bare.step, tuned.step, effort)
    return paired_difference(without, with_it) * US, statistics.median(without) * US


def measure_training_step(effort: Effort, seed: int) -> float:
    """Time a whole training step of a small classifier without gptune [us]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        inputs, labels = torch.randn(128, 64), torch.randint(0, 10, (128,))
    optimizer = SGD(model.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-3)

    def train() -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    with undisturbed():
        time_loop(train, 10)
        times = [time_loop(train, max(1, effort.calls // 10)) for _ in range(effort.repeats)]
    return statistics.median(times) * US


def measure_decisions(directory: Path, effort: Effort, seed: int) -> tuple[float, float]:
    """Time `Tuner.report` where the Gaussian process proposes, and where nothing is done [ms]."""
    recipe = {
        "objective": {"primary": "loss"},
        "actuators": {"opt": {"mutations": {"lr": {"cooldown": 0}}}},
        "safety": {"global_cooldown": 0, "max_global_reject_streak": 10**6, "patience": 10**6},
    }
    optimizer, chance = make_optimizer(seed), random.Random(seed)
    proposed: list[int] = []
    with Tuner(optimizer, recipe=recipe, run_dir=directory / "decisions", seed=seed) as tuner:
        for number in count(1):
            tuner.step()
            metrics = {"loss": 1.0 / number + 0.01 * chance.random()}
            begin = perf_counter_ns()
            decision = tuner.report(metrics)
            passed = perf_counter_ns() - begin
            if decision.source == "gp":
                proposed.append(passed)
            if len(proposed) >= effort.decisions or number >= 10 * effort.decisions + 50:
                break
    idle: list[int] = []
    with Tuner(optimizer, mode="observe", run_dir=directory / "idle", seed=seed) as watcher:
        for number in range(effort.decisions):
            begin = perf_counter_ns()
            watcher.report({"val/loss": 1.0 / (1 + number)})
            idle.append(perf_counter_ns() - begin)
    if not proposed:
        raise RuntimeError("the Gaussian process never proposed")
    return statistics.median(proposed) * MS, statistics.median(idle) * MS


def measure_sync(directory: Path, effort: Effort) -> tuple[float, float]:
    """Time a durable line of the event log, and one that is not [ms]."""
    log = EventLog(directory / "log")
    here, event = Moment(decision=1, step=1, phase="mid"), Blocked(reasons=())
    times: dict[bool, list[int]] = {True: [], False: []}
    try:
        for _ in range(effort.lines):
            for durable, taken in times.items():
                begin = perf_counter_ns()
                written = log.append(here, event, durable=durable)
                taken.append(perf_counter_ns() - begin)
                if not written:
                    raise RuntimeError(f"the disk fails: {log.failure}")
    finally:
        log.close()
    return statistics.median(times[True]) * MS, statistics.median(times[False]) * MS


def measure_import(effort: Effort) -> tuple[float, float]:
    """Time processes that import gptune, and that import two standard modules [ms]."""
    codes = ("import gptune", "import argparse, json")
    times: dict[str, list[int]] = {code: [] for code in codes}
    for turn in range(effort.imports + 1):
        for code in codes if turn % 2 else reversed(codes):
            begin = perf_counter_ns()
            subprocess.run([sys.executable, "-c", code], check=True)
            if turn:  # the first one fills the disk's cache
                times[code].append(perf_counter_ns() - begin)
    ours, theirs = (statistics.median(times[code]) * MS for code in codes)
    return ours, theirs


# The report


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured: the figures, and what they stand beside."""

    figures: dict[str, Figure]
    beside: dict[str, Figure]

    def to_dict(self, seed: int) -> dict[str, Any]:
        """Give plain data in the form that all benchmarks share."""
        return {
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "tables": {"beside": {name: asdict(figure) for name, figure in self.beside.items()}},
            "versions": versions(),
            "seeds": [seed],
        }


def measure(directory: Path, effort: Effort, seed: int) -> Report:
    """Measure everything; logs go under the directory."""
    step = measure_step(directory, effort, seed)
    hooks, bare_optimizer = measure_hooks(directory, effort, seed)
    decision, idle = measure_decisions(directory, effort, seed)
    synced, unsynced = measure_sync(directory, effort)
    ours, theirs = measure_import(effort)
    figures = {
        "step_us": Figure(step, "us"),
        "hooks_3_knobs_us": Figure(hooks, "us"),
        "decision_ms": Figure(decision, "ms"),
        "fsync_ms": Figure(synced, "ms"),
        "import_ratio": Figure(ours / theirs, "ratio"),
    }
    beside = {
        "bare_step_us": Figure(measure_training_step(effort, seed), "us"),
        "bare_optimizer_step_us": Figure(bare_optimizer, "us"),
        "idle_decision_ms": Figure(idle, "ms"),
        "unsynced_line_ms": Figure(unsynced, "ms"),
        "import_gptune_ms": Figure(ours, "ms"),
        "import_argparse_json_ms": Figure(theirs, "ms"),
    }
    return Report(figures, beside)


MEANINGS = {
    "step_us": "Tuner.step, once a training step",
    "hooks_3_knobs_us": "added to optimizer.step by 3 multipliers in 2 groups",
    "decision_ms": "Tuner.report with a proposal of the Gaussian process",
    "fsync_ms": "one durable line of events.jsonl",
    "import_ratio": "import gptune / import argparse, json",
    "bare_step_us": "a training step of a small classifier, without gptune",
    "bare_optimizer_step_us": "that optimizer.step without the multipliers",
    "idle_decision_ms": "Tuner.report in mode observe",
    "unsynced_line_ms": "a line that need not survive a loss of power",
    "import_gptune_ms": "a process that imports gptune",
    "import_argparse_json_ms": "a process that imports argparse and json",
}


def versions() -> dict[str, str]:
    """Name what was measured, and on what."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread"
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "machine": machine,
    }


def make_table(report: Report) -> Table:
    """Draw the figures, then what they stand beside."""
    table = Table(title="what gptune costs (medians, lower is better)")
    for column, side in (("", "left"), ("", "right"), ("unit", "left"), ("of what", "left")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for figures, style in ((report.figures, "bold"), (report.beside, "dim")):
        for name, figure in figures.items():
            row = (name, f"{figure.value:.3g}", figure.unit, MEANINGS[name])
            table.add_row(*row, style=style)
        table.add_section()
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--quick", action="store_true", help="under a minute (default)")
    amount.add_argument("--full", action="store_true", help="more repeats: some minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--seed", type=int, default=0, help="of the metrics and proposals")
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="on whose disk to write (default: here)"
    )
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(1)
    effort = FULL if parsed.full else QUICK
    with tempfile.TemporaryDirectory(prefix="overhead-", dir=parsed.directory) as folder:
        report = measure(Path(folder), effort, parsed.seed)
    Console().print(make_table(report))
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(report.to_dict(parsed.seed), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
