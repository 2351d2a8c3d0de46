"""From rows to figures: ratios, paired harm, recovery, with intervals and the worst seed. Pure."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from examples.benchmarks.online.rows import Job, Row

FACTORS = (1.0, 0.3, 3.0, 0.1, 0.01, 10.0)
GRID = tuple(10 ** (half / 2) for half in range(-3, 4))  # of the oracle: half a decade apart
DRAWS = 2000  # of the bootstrap
BACK = 1.1  # a run has recovered when its loss is this close to what it was
ALMOST = 1e-9  # least loss that a logarithm is taken of


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ratios of test losses, by task."""

    by_task: dict[str, list[float]]

    @property
    def geomean(self) -> float:
        """Geometric mean over tasks of the geometric means over seeds."""
        return geomean([geomean(values) for values in self.by_task.values()])

    @property
    def worst(self) -> float:
        """The largest of all."""
        return max(value for values in self.by_task.values() for value in values)

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """Bootstrap the 95 % interval of the geometric mean: seeds are drawn within each task."""
        chance = random.Random(seed)
        logs = [[math.log(max(v, ALMOST)) for v in values] for values in self.by_task.values()]
        means = [
            fmean(fmean(chance.choices(values, k=len(values))) for values in logs)
            for _ in range(DRAWS)
        ]
        cuts = quantiles(means, n=40)
        return math.exp(cuts[0]), math.exp(cuts[-1])


class Results:
    """All rows, looked up by what was run; a method's version does not matter here."""

    def __init__(self, rows: Mapping[Job, Row], tasks: Sequence[str], seeds: Sequence[int]) -> None:
        self.tasks, self.seeds = list(tasks), list(seeds)
        self._rows = {key(job): row for job, row in rows.items()}
        self._references = {task: self._reference(task) for task in tasks}

    def row(self, method: str, task: str, schedule: str, factor: float, *cell: object) -> Row:
        """Give a row; ``cell`` is the seed, and the fault if there is one."""
        seed, fault = (*cell, "")[:2]
        for form in ((schedule, factor), ("own", factor), (schedule, 1.0)):
            found = self._rows.get((method, task, *form, fault, seed))
            if found is not None:
                return found
        raise KeyError((method, task, schedule, factor, fault, seed))

    def has(self, method: str) -> bool:
        """Say whether a method was run at all."""
        return any(method == known for known, *_ in self._rows)

    def reference(self, task: str) -> float:
        """Give the mean test loss of the task's best tuned constant or cosine schedule."""
        return self._references[task]

    def ratios(
        self, method: str, schedule: str, factors: Iterable[float], tasks: Iterable[str]
    ) -> Ratios:
        """Give test losses in units of the reference."""
        factors = list(factors)
        return Ratios(
            {
                task: [
                    self.row(method, task, schedule, factor, seed).outcome.loss
                    / self.reference(task)
                    for factor in factors
                    for seed in self.seeds
                ]
                for task in tasks
            }
        )

    def paired(self, method: str, schedule: str, tasks: Iterable[str], fault: str = "") -> Ratios:
        """Give test losses in units of the same seed's on the schedule alone, without a fault."""
        return Ratios(
            {
                task: [
                    self.row(method, task, schedule, 1.0, seed, fault).outcome.loss
                    / self.row("plain", task, schedule, 1.0, seed).outcome.loss
                    for seed in self.seeds
                ]
                for task in tasks
            }
        )

    def recovery(
        self, method: str, tasks: Iterable[str], fault: str, moments: Sequence[float]
    ) -> float:
        """Give the mean number of evaluations until the loss is back where it was."""
        return fmean(
            evaluations_until_back(
                self.row(method, task, "cosine", 1.0, seed, fault).outcome.curve, at
            )
            for task in tasks
            for seed in self.seeds
            for at in moments
        )

    def _reference(self, task: str) -> float:
        means = [
            fmean(self.row("plain", task, shape, factor, seed).outcome.loss for seed in self.seeds)
            for shape in ("constant", "cosine")
            for factor in GRID
        ]
        return min(means)


def key(job: Job) -> tuple[object, ...]:
    """Give a job without its version."""
    return job.method, job.task, job.schedule, job.factor, job.fault, job.seed


def evaluations_until_back(curve: Sequence[float], at: float) -> int:
    """Count evaluations after a moment until the loss is back; those that are left if it never is.

    Back means at most `BACK` times the last loss before; a loss that the fault did not raise
    counts 0.

    Args:
        curve: Validation losses.
        at: When, as a fraction of the run.
    """
    first = int(at * len(curve))
    before, after = curve[max(first - 1, 0)], curve[first:]
    limit = before * BACK if before > 0 else before + abs(before) * (BACK - 1)
    return next((n for n, loss in enumerate(after) if loss <= limit), len(after))


def geomean(values: Sequence[float]) -> float:
    """Geometric mean."""
    return math.exp(fmean(math.log(max(value, ALMOST)) for value in values))
