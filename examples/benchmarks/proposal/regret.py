"""Regret: how far from the optimum is the best point after so many evaluations?"""

import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from examples.benchmarks.proposal.problems import PROBLEMS
from examples.benchmarks.proposal.rivals import RIVALS, Method
from examples.benchmarks.proposal.rows import DIGITS, Job, Row
from gptune import SearchSpace

EVALUATIONS = 50
FLOOR = 1e-4  # of random search's median regret: closer to the optimum than that is a tie


def run(job: Job) -> Row:
    """Run one method on one problem: the least true loss among the points evaluated so far."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the rivals
    problem, chance = PROBLEMS[job.task], random.Random(job.seed)
    method = METHODS[job.method](problem.space, job.seed)
    trace: list[float] = []
    best, spent = float("inf"), 0.0
    for _ in range(EVALUATIONS):
        begin = time.process_time()
        point = method.ask()
        spent += time.process_time() - begin
        best = min(best, problem.truth(point))
        trace.append(float(f"{best:.{DIGITS}g}"))
        loss = problem.told(point, chance)
        begin = time.process_time()
        method.tell(point, loss)
        spent += time.process_time() - begin
    return Row(job, trace, round(spent, 2))


METHODS: dict[str, Callable[[SearchSpace, int], Method]] = {
    **{name: make for name, (_, make) in RIVALS.items()},
}
