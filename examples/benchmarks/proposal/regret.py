"""Regret: how far from the optimum is the best point after so many evaluations?"""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from examples.benchmarks.proposal.latency import quiet
from examples.benchmarks.proposal.ours import Gptune
from examples.benchmarks.proposal.problems import PROBLEMS
from examples.benchmarks.proposal.rivals import RIVALS, Method
from examples.benchmarks.proposal.rows import DIGITS, Job, Row, engine_version
from gptune import SearchSpace

EVALUATIONS = 50
FLOOR = 1e-4  # of random search's median regret: closer to the optimum than that is a tie
SIGNIFICANT = 0.05

METHODS: dict[str, Callable[[SearchSpace, int], Method]] = {
    "gptune": Gptune,
    **{name: make for name, (_, make) in RIVALS.items()},
}


def jobs(methods: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """List what is to be run, seed by seed."""
    versions = {name: version for name, (version, _) in RIVALS.items()}
    versions["gptune"] = engine_version()
    return [Job(m, versions[m], t, seed) for seed in seeds for t in tasks for m in methods]


def run(job: Job) -> Row:
    """Run one method on one problem: the least true loss among the points evaluated so far."""
    torch.set_num_threads(1)
    with quiet():
        return _run(job)


def _run(job: Job) -> Row:
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


def known_optimum(task: str) -> float | None:
    """Give a problem's least loss, where it is known."""
    return PROBLEMS[task].optimum


@dataclass(frozen=True, slots=True)
class Comparison:
    """All methods on one problem.

    Attributes:
        task: The problem.
        regrets: Method -> final regret of each seed, in the order of the seeds.
        chances: Rival -> two-sided p of the Mann-Whitney test against gptune.
    """

    task: str
    regrets: dict[str, list[float]]
    chances: dict[str, float]

    def median(self, method: str) -> float:
        return statistics.median(self.regrets[method])

    @property
    def lost_to(self) -> list[str]:
        """The rivals that are significantly better."""
        ours = self.median("gptune")
        return [
            rival
            for rival, chance in self.chances.items()
            if chance < SIGNIFICANT and self.median(rival) < ours
        ]


def compare(
    rows: Mapping[Job, Row], optimum_of: Callable[[str], float | None] = known_optimum
) -> list[Comparison]:
    """Compare the methods problem by problem.

    Where no optimum is known, regret is measured from the best loss that any method found.
    """
    from scipy.stats import mannwhitneyu

    made = []
    for task in dict.fromkeys(job.task for job in rows):
        finals: dict[str, list[float]] = {}
        for job, row in sorted(rows.items(), key=lambda item: item[0].seed):
            if job.task == task:
                finals.setdefault(job.method, []).append(row.final)
        known = optimum_of(task)
        best = min(min(values) for values in finals.values()) if known is None else known
        floor = FLOOR * (statistics.median(finals["random"]) - best)
        regrets = {m: [max(v - best, floor) for v in values] for m, values in finals.items()}
        chances = {
            method: float(mannwhitneyu(regrets["gptune"], values).pvalue)
            for method, values in regrets.items()
            if method != "gptune"
        }
        made.append(Comparison(task, regrets, chances))
    return made


def mean_ranks(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Rank the methods by median regret on each problem, ties shared, and average."""
    from scipy.stats import rankdata

    methods = list(comparisons[0].regrets)
    table = [rankdata([c.median(method) for method in methods]) for c in comparisons]
    return {
        method: statistics.fmean(float(ranks[column]) for ranks in table)
        for column, method in enumerate(methods)
    }
