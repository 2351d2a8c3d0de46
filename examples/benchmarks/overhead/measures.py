"""What a counted step, a scaled step, a decision, a durable line and an import cost."""

import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from time import perf_counter_ns

import torch
from torch import nn
from torch.optim import SGD

from examples.benchmarks.overhead.clock import (
    MS,
    US,
    Effort,
    paired_difference,
    take_turns,
    time_loop,
    undisturbed,
)
from gptune import Tuner
from gptune.cli.looking import PAUSED
from gptune.events import Blocked, Moment
from gptune.records import Action
from gptune.run_directory.event_log import EventLog, read_events
from gptune.run_directory.file_system import Disk
from gptune.run_directory.summary import summarize, write_summary

KNOBS = ("lr", "weight_decay", "momentum")


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


def measure_guarded(directory: Path, effort: Effort, seed: int) -> float:
    """Time `Tuner.step` with a loss, under the guard, less the loop around it [us]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Linear(8, 8)
    optimizer = SGD(model.parameters(), lr=1e-3)
    loss = model(torch.ones(4, 8)).square().mean()
    with Tuner(optimizer, model=model, mode="guard", run_dir=directory / "guarded") as tuner:
        tuner.report({"val/loss": 1.0})
        empty, stepping = take_turns(None, lambda: tuner.step(loss), effort)
    return (statistics.median(stepping) - statistics.median(empty)) * US


def measure_off(effort: Effort, seed: int) -> float:
    """Time `Tuner.step` in mode off, where no hook is installed, less the loop around it [us]."""
    optimizer = make_optimizer(seed)
    with Tuner(optimizer, mode="off") as tuner:
        hooks = len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
        if hooks:
            raise RuntimeError(f"mode off has installed {hooks} hooks")
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
            optimizer.step()
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
    return time_processes(("-c", "import gptune"), STANDARD, effort)


def measure_status(run: Path, effort: Effort) -> tuple[float, float]:
    """Time ``gptune status``, and processes that import two standard modules [ms]."""
    write_summary(Disk(), run, summarize(read_events(run)))
    return time_processes(("-m", "gptune", "--dir", str(run), "status"), STANDARD, effort)


STANDARD = ("-c", "import argparse, json")


def time_processes(one: Sequence[str], other: Sequence[str], effort: Effort) -> tuple[float, float]:
    """Time two commands of Python in turns, each first every second time [ms]."""
    times: tuple[list[int], list[int]] = ([], [])
    for turn in range(effort.imports + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            command = [sys.executable, *(one, other)[which]]
            begin = perf_counter_ns()
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            passed = perf_counter_ns() - begin
            if done.returncode not in (0, PAUSED):
                raise RuntimeError(f"{command} fails: {done.stderr}")
            if turn:  # the first one fills the disk's cache
                times[which].append(passed)
    return statistics.median(times[0]) * MS, statistics.median(times[1]) * MS
