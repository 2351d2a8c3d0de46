"""The proposal benchmark measures what it says; how well that goes is not tested here."""

import json
import logging
import math
import random
import statistics
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from examples.benchmarks.proposal import __main__ as command
from examples.benchmarks.proposal import drift, latency, regret, rivals, rows
from examples.benchmarks.proposal.ours import Gptune
from examples.benchmarks.proposal.problems import PROBLEMS
from examples.benchmarks.proposal.rows import Job, Row

HERE_TOO = ["gptune", "stock_botorch", "turbo1", "random"]  # what needs no further package
OPTIMA = {
    "branin": (math.pi, 2.275),
    "hartmann6": (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573),
    "ackley5": (0.0,) * 5,
    "rosenbrock4": (1.0,) * 4,
    "levy8": (1.0,) * 8,
    "styblinski6": (-2.903534,) * 6,
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", OPTIMA)
def test_a_known_optimum_is_where_the_literature_has_it(name: str) -> None:
    problem = PROBLEMS[name]
    best = dict(zip(problem.space.parameters, OPTIMA[name], strict=True))
    assert problem.optimum is not None
    assert problem.truth(best) == pytest.approx(problem.optimum, abs=1e-4)
    chance = rivals.RandomSearch(problem.space, 0)
    assert all(problem.truth(chance.ask()) > problem.optimum for _ in range(200))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_gives_a_finite_loss_and_the_same_again(name: str) -> None:
    problem = PROBLEMS[name]
    chance = rivals.RandomSearch(problem.space, 1)
    for _ in range(2):
        point = chance.ask()
        loss = problem.truth(point)
        assert math.isfinite(loss)
        assert problem.truth(point) == loss


def test_only_the_noisy_problem_is_told_with_noise() -> None:
    for name, problem in PROBLEMS.items():
        if name in OPTIMA or problem.noise:
            point = rivals.RandomSearch(problem.space, 2).ask()
            gaps = [problem.told(point, random.Random(i)) - problem.truth(point) for i in range(99)]
            assert statistics.pstdev(gaps) == pytest.approx(problem.noise, rel=0.25)


@pytest.mark.filterwarnings("ignore")  # the rivals' own
@pytest.mark.parametrize("method", HERE_TOO)
@pytest.mark.parametrize(("task", "count"), [("branin", 12), ("mixed6", 24)])
def test_every_method_runs_and_its_trace_never_rises(
    method: str, task: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regret, "EVALUATIONS", count)  # one model at least, for all
    monkeypatch.setattr(rivals, "STARTUP", count - 2)
    row = regret.run(Job(method, "1", task, 0))
    assert len(row.trace) == count
    assert row.trace == sorted(row.trace, reverse=True)
    assert row.seconds >= 0
    if method in ("gptune", "random"):
        assert regret.run(row.job).trace == row.trace


@pytest.mark.filterwarnings("ignore")
def test_latencies_are_measured_on_the_same_points_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(latency, "STEPS", 4)
    for one in latency.measure("d2_n10", 0, ["gptune", "stock_botorch"]):
        assert len(one.steps) == latency.STEPS
        assert min(one.steps) > 0
    told = latency.history(PROBLEMS["hartmann6"], 50, 3)
    assert told == latency.history(PROBLEMS["hartmann6"], 50, 3)
    assert len(told) == 50
    early, late = (statistics.fmean(loss for _, loss in part) for part in (told[:10], told[40:]))
    assert late < early  # a run that gets somewhere, as real ones do


def test_the_rivals_are_silenced_for_the_time_of_a_measurement_only() -> None:
    before = logging.root.manager.disable
    with latency.quiet():
        warnings.warn("a rival's", stacklevel=1)
        assert logging.root.manager.disable == logging.WARNING
    assert logging.root.manager.disable == before
    with pytest.warns(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)


def test_gptune_is_measured_with_its_model_at_work() -> None:
    problem, count = latency.CASES["d2_n10"]
    ours = latency.METHODS["gptune"](problem.space, 0)
    assert isinstance(ours, Gptune)
    for point, loss in latency.history(problem, count, 0):
        ours.tell(point, loss)
    ours.ask()
    assert ours.proposer.state.fitted is not None


def test_a_rival_that_is_not_installed_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(SystemExit, match=r"not_a_package is not installed; pip install .*-r"):
        rivals.rival("not_a_package")
    assert rivals.version_of("not_a_package") == ""


@pytest.mark.parametrize("decay", [drift.DEFAULT, "none", "window 12", "weights, half-life 3"])
def test_a_tracking_regret_repeats_and_counts_all_steps(decay: str) -> None:
    job = Job(decay, "1", "jump", 0)
    row = drift.run(job)
    assert len(row.trace) == drift.STEPS // drift.EVERY
    assert row.trace == drift.run(job).trace


def test_the_online_default_is_the_recipes_own() -> None:
    from gptune import Recipe

    assert drift.DECAYS[drift.DEFAULT] == Recipe().search.decay


def row(method: str, task: str, seed: int, final: float) -> tuple[Job, Row]:
    job = Job(method, "1", task, seed)
    return job, Row(job, [final + 1.0, final], 0.1)


def test_ranks_and_losses_count_what_is_significant() -> None:
    table = dict(
        row(method, "hartmann6", seed, -3.3 + level + 0.001 * seed)
        for method, level in (("gptune", 0.5), ("better", 0.1), ("random", 1.0))
        for seed in range(6)
    )
    (found,) = regret.compare(table)
    assert found.lost_to == ["better"]
    assert regret.mean_ranks([found]) == {"gptune": 2.0, "better": 1.0, "random": 3.0}


def test_what_is_closer_than_anyone_could_mind_is_a_tie() -> None:
    table = dict(
        row(method, "ackley5", seed, level)
        for method, level in (("gptune", 1e-6), ("better", 1e-9), ("random", 10.0))
        for seed in range(6)
    )
    (found,) = regret.compare(table)
    assert found.lost_to == []
    assert regret.mean_ranks([found]) == {"gptune": 1.5, "better": 1.5, "random": 3.0}


def measured(job: Job) -> Row:
    return Row(job, [float(job.seed)], 0.0)


def unwanted(job: Job) -> Row:
    raise AssertionError(f"{job} was measured again")


def test_a_comparison_that_was_stopped_goes_on_and_old_versions_are_dropped(tmp_path: Path) -> None:
    file, said = tmp_path / "deep" / "rows.jsonl", list[str]()
    one, two = [Job("a", "1", "t", 0)], [Job("a", "1", "t", n) for n in range(2)]
    rows.fill(file, one, measured, said.append)
    found = rows.fill(file, two, measured, said.append)
    assert [r.final for r in found.values()] == [0.0, 1.0]
    assert len(said) == 2
    assert rows.fill(file, two, unwanted, said.append) == found
    rows.fill(file, [Job("a", "2", "t", 7)], measured, said.append)
    assert {job.version for job in rows.read_rows(file)} == {"2"}


def test_the_version_of_the_engine_follows_its_code() -> None:
    assert rows.engine_version() == rows.engine_version()
    assert "+" in rows.engine_version()


@pytest.mark.filterwarnings("ignore")
def test_the_command_prints_tables_and_writes_the_figures_that_the_project_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = command.Effort(
        latency_seeds=[0],
        latency_methods=["gptune", "stock_botorch", "optuna_gp"],
        methods=["gptune", "random"],
        tasks=["branin"],
        seeds=range(2),
        decays=["none", drift.DEFAULT],
        drift_seeds=range(2),
        rows=None,
    )
    monkeypatch.setattr(command, "QUICK", tiny)
    # The rival that the suite does not install is played by one that it does.
    monkeypatch.setitem(latency.METHODS, "optuna_gp", rivals.StockBotorch)
    monkeypatch.setattr(latency, "CASES", {"d2_n10": latency.CASES["d2_n10"]})
    monkeypatch.setattr(latency, "STEPS", 3)
    monkeypatch.setattr(regret, "EVALUATIONS", 16)
    monkeypatch.setattr(drift, "STEPS", 20)
    file = tmp_path / "figures.json"
    assert command.main(["--quick", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert written.keys() == {"figures", "tables", "versions", "seeds"}
    assert {
        "stock_botorch_over_gptune_d2_n10",
        "optuna_gp_over_gptune_d2_n10",
        "mean_rank_gptune",
        "significant_losses",
        "drift_default",
        "drift_best_other",
    } <= written["figures"].keys()
    for figure in written["figures"].values():
        assert figure.keys() == {"value", "unit", "better"}
        assert math.isfinite(figure["value"])
    assert "mean rank" in capsys.readouterr().out
