"""How good the best trial is after so many: ours, Optuna's and random search's."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from examples.benchmarks.proposal.regret import Comparison, compare
from examples.benchmarks.proposal.rivals import version_of
from examples.benchmarks.proposal.rows import DIGITS, Job, Row, engine_version
from examples.benchmarks.study import methods

TRIALS = 50  # [trials]


def jobs(tasks: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """List what is to be run, seed by seed."""
    ours, optuna = engine_version("study"), f"optuna {version_of('optuna')}"
    versions = {name: optuna if name.startswith("optuna") else ours for name in methods.METHODS}
    return [Job(m, versions[m], t, seed) for seed in seeds for t in tasks for m in versions]


def run(job: Job) -> Row:
    """Run one method on one task: the least loss after each trial."""
    torch.set_num_threads(1)
    made = methods.compare(job.task, job.method, TRIALS, job.seed)
    return Row(job, [float(f"{loss:.{DIGITS}g}") for loss in made.best], round(made.seconds, 2))


def comparisons(rows: Mapping[Job, Row]) -> list[Comparison]:
    """Compare the methods task by task; no optimum is known."""
    return compare(rows, lambda task: None)


def ranks(made: Sequence[Comparison]) -> dict[str, list[float]]:
    """Rank the methods on each task and seed, equal ones share: method -> its ranks."""
    from scipy.stats import rankdata

    found: dict[str, list[float]] = {}
    for one in made:
        names = list(one.regrets)
        for column in zip(*one.regrets.values(), strict=True):
            for name, rank in zip(names, rankdata(column), strict=True):
                found.setdefault(name, []).append(float(rank))
    return found


def summary(rows: Mapping[Job, Row]) -> dict[str, Any]:
    """Give mean ranks, what each library itself took, and where we lose significantly."""
    made = comparisons(rows)
    mean = {name: statistics.fmean(values) for name, values in ranks(made).items()}
    seconds = {
        name: statistics.fmean(row.seconds for job, row in rows.items() if job.method == name)
        for name in mean
    }
    lost = {one.task: one.lost_to for one in made if one.lost_to}
    return {"ranks": mean, "seconds": seconds, "lost": lost, "comparisons": made}
