"""What a study costs beside its objective: many trials of no cost at all, on SQLite."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from examples.benchmarks.proposal.rivals import rival
from gptune import RandomSampler, Study

TRIALS, FIRST = 10_000, 500  # [trials]


def objective(trial: Any) -> float:
    """Suggest three parameters; the value costs nothing."""
    x = trial.suggest_float("x", 0.0, 1.0)
    y = trial.suggest_float("y", 1e-5, 1.0, log=True)
    return float(x + y + trial.suggest_int("n", 1, 10))


def of_gptune(trials: int, seed: int) -> list[float]:
    """Give when each trial ended [s]."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "study.db"
        with Study("one", storage=file, sampler=RandomSampler(), seed=seed) as study:
            begin = time.perf_counter()
            study.optimize(
                objective,
                n_trials=trials,
                progress=False,
                callbacks=[lambda *_: ends.append(time.perf_counter() - begin)],
            )
    return ends


def of_optuna(trials: int, seed: int) -> list[float]:
    """The same of Optuna, which draws at random, too."""
    optuna = rival("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        study = optuna.create_study(
            storage=f"sqlite:///{place}/study.db",
            sampler=optuna.samplers.RandomSampler(seed=seed),
        )
        begin = time.perf_counter()
        study.optimize(
            objective,
            n_trials=trials,
            callbacks=[lambda *_: ends.append(time.perf_counter() - begin)],
        )
    return ends


def per_trial(ends: list[float], first: int, last: int) -> float:
    """Give what a trial from ``first`` up to ``last`` took [s]."""
    begin = ends[first - 1] if first else 0.0
    return (ends[last - 1] - begin) / (last - first)


def ratios(seeds: list[int]) -> dict[str, float]:
    """Measure both in turns; the medians of the ratios over the seeds."""
    faster, flat, ours, theirs = [], [], [], []
    for seed in seeds:
        own, other = of_gptune(TRIALS, seed), of_optuna(FIRST, seed)
        ours.append(per_trial(own, 0, TRIALS))
        theirs.append(per_trial(other, 0, FIRST))
        faster.append(theirs[-1] / ours[-1])
        flat.append(per_trial(own, TRIALS - FIRST, TRIALS) / per_trial(own, 0, FIRST))
    return {
        "optuna_seconds_per_trial_over_gptune": statistics.median(faster),
        "last_500_of_10000_over_first_500": statistics.median(flat),
        "gptune_ms_per_trial": 1e3 * statistics.median(ours),
        "optuna_ms_per_trial": 1e3 * statistics.median(theirs),
    }
