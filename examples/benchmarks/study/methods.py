"""The libraries that are compared, each as its documentation uses it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from examples.benchmarks.proposal.rivals import rival
from examples.benchmarks.study.tasks import TASKS, loss
from gptune import RandomSampler, Study

Made = Callable[[Any], float]  # an objective of a trial


def gptune(objective: Made, trials: int, seed: int) -> list[float]:
    """Run a study of ours, with everything by default."""
    with Study("one", seed=seed) as study:
        study.optimize(objective, n_trials=trials, progress=False)
        return [_number(trial.value) for trial in study.trials]


def optuna_gp(objective: Made, trials: int, seed: int) -> list[float]:
    """Optuna's Gaussian process."""
    return _optuna(lambda optuna: optuna.samplers.GPSampler(seed=seed), objective, trials)


def optuna_tpe(objective: Made, trials: int, seed: int) -> list[float]:
    """Optuna's default."""
    return _optuna(lambda optuna: optuna.samplers.TPESampler(seed=seed), objective, trials)


def random(objective: Made, trials: int, seed: int) -> list[float]:
    """Draw at random."""
    with Study("one", seed=seed, sampler=RandomSampler()) as study:
        study.optimize(objective, n_trials=trials, progress=False)
        return [_number(trial.value) for trial in study.trials]


METHODS: dict[str, Callable[[Made, int, int], list[float]]] = {
    "gptune": gptune,
    "optuna_gp": optuna_gp,
    "optuna_tpe": optuna_tpe,
    "random": random,
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a method came to on a task."""

    best: list[float]  # after each trial
    seconds: float  # of the library alone: all but the evaluations


def compare(task: str, method: str, trials: int, seed: int) -> Run:
    """Run one method on one task."""
    spent = 0.0

    def objective(trial: Any) -> float:
        nonlocal spent
        model, data = TASKS[task](trial, seed)
        begin = time.perf_counter()
        value = loss(model, data, seed)
        spent += time.perf_counter() - begin
        return value

    begin = time.perf_counter()
    values = METHODS[method](objective, trials, seed)
    seconds = time.perf_counter() - begin - spent
    return Run([min(values[: number + 1]) for number in range(len(values))], seconds)


def _number(value: float | None) -> float:
    return float("inf") if value is None else value


def _optuna(make: Callable[[Any], Any], objective: Made, trials: int) -> list[float]:
    optuna = rival("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=make(optuna))
    study.optimize(objective, n_trials=trials, catch=(ValueError,))
    return [_number(trial.value) for trial in study.trials]
