"""Latency: what does one more point cost, everything included?

Each method is told the same n points, asked once to warm up, and then ten times asks, evaluates
and tells, the methods taking turns step by step. CPU time, one thread.
"""

import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from msgspec.structs import replace

from examples.benchmarks.proposal.ours import Gptune
from examples.benchmarks.proposal.problems import PROBLEMS, Problem, ackley, over
from examples.benchmarks.proposal.rivals import Ax, Method, Optuna, RandomSearch, StockBotorch
from gptune import SearchSpace
from gptune.configs import STUDY
from gptune.records import Point

STEPS = 10
WARM = replace(STUDY, startup_trials=0)  # for it is told the points of a run

CASES = {  # name -> problem, points told before the first timed step
    "d2_n10": (Problem("ackley2", over(-32.768, 32.768, 2), ackley), 10),
    "d6_n50": (PROBLEMS["hartmann6"], 50),
    "d10_n200": (Problem("ackley10", over(-32.768, 32.768, 10), ackley), 200),
}
SLOW = {"ax": {"d2_n10", "d6_n50"}}  # where a method is measured, if not everywhere

METHODS: dict[str, Callable[[SearchSpace, int], Method]] = {
    "gptune": lambda space, seed: Gptune(space, seed, WARM),
    "stock_botorch": StockBotorch,
    "optuna_gp": lambda space, seed: Optuna(space, lambda o: o.samplers.GPSampler(seed=seed)),
    "optuna_tpe": lambda space, seed: Optuna(space, lambda o: o.samplers.TPESampler(seed=seed)),
    "ax": Ax,
}


@dataclass(frozen=True, slots=True)
class Latency:
    """What one more point cost a method [ms of CPU time], a step each."""

    case: str
    method: str
    steps: list[float]

    @property
    def mean(self) -> float:
        """Mean over the steps: what is done only now and then counts too."""
        return statistics.fmean(self.steps)


def history(problem: Problem, count: int, seed: int) -> list[tuple[Point, float]]:
    """Give the points of a run: a tenth by chance, the others near the best so far.

    The run is nobody's own: it halves its reach ten times on the way, as an optimizer would.
    """
    chance = RandomSearch(problem.space, seed)
    told: list[tuple[Point, float]] = []
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        point: Point = chance.ask()
        if number >= max(5, count // 10):
            best = problem.space.encode(min(told, key=lambda one: one[1])[0])
            noise = torch.randn(len(best), generator=generator, dtype=torch.float64)
            reach = 0.3 * 0.5 ** (10 * number / count)
            point = problem.space.decode((best + reach * noise).clamp(0, 1))
        told.append((point, problem.truth(point)))
    return told


def measure(case: str, seed: int, methods: list[str]) -> list[Latency]:
    """Let the methods take turns over ten steps."""
    torch.set_num_threads(1)
    with quiet():
        return _take_turns(case, seed, methods)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the rivals' warnings and messages from the terminal for a while."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def _take_turns(case: str, seed: int, methods: list[str]) -> list[Latency]:
    problem, count = CASES[case]
    running: dict[str, Method] = {}
    for name in methods:
        if case in SLOW.get(name, CASES):
            running[name] = METHODS[name](problem.space, seed)
            for point, loss in history(problem, count, seed):
                running[name].tell(point, loss)
            running[name].tell(*_ask(running[name], problem))
    steps: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(STEPS):
        names = list(running)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begin = time.process_time()
            point = running[name].ask()
            spent = time.process_time() - begin
            loss = problem.truth(point)
            begin = time.process_time()
            running[name].tell(point, loss)
            steps[name].append((spent + time.process_time() - begin) * 1e3)
    return [Latency(case, name, spent) for name, spent in steps.items()]


def _ask(method: Method, problem: Problem) -> tuple[Point, float]:
    point = method.ask()
    return point, problem.truth(point)
