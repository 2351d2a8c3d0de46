"""The study benchmark measures what it says; how well that goes is not tested here."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from examples.benchmarks.proposal.rows import Job, Row
from examples.benchmarks.study import __main__ as command
from examples.benchmarks.study import bookkeeping, methods, regret
from examples.benchmarks.study.tasks import TASKS, loss
from gptune import RandomSampler, Study

HERE_TOO = {name: methods.METHODS[name] for name in ("gptune", "random")}  # what needs no more


@pytest.mark.parametrize("task", TASKS)
def test_a_task_gives_a_finite_loss_and_the_same_again(task: str) -> None:
    def objective(trial: Any) -> float:
        model, data = TASKS[task](trial, 3)
        again, _ = TASKS[task](trial, 3)
        value = loss(model, data, 3)
        assert loss(again, data, 3) == value
        return value

    study = Study("one", sampler=RandomSampler())
    study.optimize(objective, n_trials=2)
    assert all(math.isfinite(trial.value or math.nan) for trial in study.trials)


@pytest.mark.parametrize("method", HERE_TOO)
def test_a_run_is_the_best_so_far_and_the_library_alone(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(model: Any, data: str, seed: int) -> float:
        value = loss(model, data, seed)
        end = time.perf_counter() + 0.2
        while time.perf_counter() < end:
            pass
        return value

    monkeypatch.setattr(methods, "loss", slow)
    made = methods.compare("svr", method, 3, 0)
    assert made.best == sorted(made.best, reverse=True)
    assert len(made.best) == 3
    assert 0 < made.seconds < 0.6, "evaluations do not count"


def test_a_trial_costs_what_lies_between_two_ends() -> None:
    ends = [1.0, 2.0, 4.0, 8.0]
    assert bookkeeping.per_trial(ends, 0, 2) == 1.0
    assert bookkeeping.per_trial(ends, 2, 4) == 3.0
    made = bookkeeping.of_gptune(4, 0)
    assert made == sorted(made)
    assert len(made) == 4


def rows(**finals: list[float]) -> dict[Job, Row]:
    return {
        Job(method, "1", "svr", seed): Row(Job(method, "1", "svr", seed), [9.0, value], 2.0)
        for method, values in finals.items()
        for seed, value in enumerate(values)
    }


def test_ranks_are_those_of_each_task_and_seed() -> None:
    made = regret.summary(rows(gptune=[1.0, 3.0], random=[2.0, 3.0], optuna_gp=[3.0, 1.0]))
    assert made["ranks"] == {"gptune": 1.75, "random": 2.25, "optuna_gp": 2.0}
    assert made["seconds"] == {"gptune": 2.0, "random": 2.0, "optuna_gp": 2.0}


def test_a_task_that_is_lost_is_named() -> None:
    ours, theirs = [float(n) for n in range(10, 20)], [float(n) for n in range(10)]
    assert regret.summary(rows(gptune=ours, random=ours, optuna_gp=theirs))["lost"] == {
        "svr": ["optuna_gp"]
    }


def test_the_command_prints_and_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna_like = {**HERE_TOO, "optuna_gp": HERE_TOO["random"]}
    monkeypatch.setattr(methods, "METHODS", optuna_like)
    monkeypatch.setattr(bookkeeping, "of_optuna", bookkeeping.of_gptune)
    monkeypatch.setattr(bookkeeping, "TRIALS", 40)
    monkeypatch.setattr(bookkeeping, "FIRST", 10)
    monkeypatch.setattr(regret, "TRIALS", 3)
    monkeypatch.setattr(command, "TASKS", {"svr": TASKS["svr"], "linear": TASKS["linear"]})
    threads = torch.get_num_threads()
    try:
        assert command.main(["--quick", "--json", str(tmp_path / "figures.json")]) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    for name in (
        "optuna_seconds_per_trial_over_gptune",
        "last_500_of_10000_over_first_500",
        "mean_rank_gptune",
        "mean_rank_best_rival",
    ):
        assert figures[name]["value"] > 0
        assert name in said
    ranks = [figures[f"mean_rank_{name}"]["value"] for name in optuna_like]
    assert sum(ranks) == pytest.approx(6.0)


def test_a_rival_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit, match="optuna is not installed; pip install"):
        bookkeeping.of_optuna(1, 0)
