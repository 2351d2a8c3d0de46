"""Trials on a real Ray of this machine: reports and pruning, deaths, exceptions, bad arguments."""

import builtins
import importlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from gptune import Study, TrialPruned
from gptune.adapters import ray as room
from gptune.adapters.ray import Clerk, Letters, RayExecutor, run_order
from gptune.errors import StudyError
from gptune.records import Float
from gptune.study.pruners import ThresholdPruner
from gptune.study.samplers import RandomSampler
from gptune.study.ticket import Ticket
from gptune.study.trial import Trial

CPUS = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        num_cpus=CPUS,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 2**20,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


def study(place: Path, **chosen: Any) -> Study:
    return Study("one", storage=place / "study.db", sampler=RandomSampler(), **chosen)


def dying(place: Path, often: int) -> Any:
    """Make an objective whose worker dies in trial 7, so many times."""

    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", -1.0, 1.0)
        mark = place / f"died-{trial.number}"
        if trial.number == 7 and (not mark.exists() or len(mark.read_text()) < often):
            with mark.open("a") as file:
                file.write("x")
            os._exit(9)
        trial.report(x, 0)
        trial.report(x * x, 1)
        if trial.should_prune():
            raise TrialPruned(f"at {x}")
        return x * x

    return objective


@pytest.mark.slow
@pytest.mark.parametrize("often", [1, 2])
@pytest.mark.usefixtures("cluster")
def test_twenty_trials_on_two_cpus_of_which_one_loses_its_worker(
    often: int, tmp_path: Path
) -> None:
    made = study(tmp_path, pruner=ThresholdPruner(upper=0.2))
    executor = RayExecutor()
    made.optimize(dying(tmp_path, often), n_trials=20, executor=executor)
    assert executor.workers == CPUS
    assert [trial.number for trial in made.trials] == list(range(20))
    lost = made.trials[7]
    assert (tmp_path / "died-7").read_text() == "x" * often
    assert lost.state == ("failed" if often == 2 else "complete")
    assert often == 1 or "its worker died 2 times" in lost.error
    states = {trial.state.value for trial in made.trials} - {"failed"}
    assert states == {"complete", "pruned"}
    for trial in made.trials:
        if trial is not lost:
            x = float(trial.params["x"])
            assert trial.reports == {0: x, 1: x * x}
            assert (trial.state == "pruned") is (x * x > 0.2)


def raises(params: Any) -> float:
    if params["x"] > 0:
        raise ZeroDivisionError(f"x = {params['x']}")
    return float(params["x"])


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_an_objective_raises_passes_and_the_rest_is_written_down(tmp_path: Path) -> None:
    made = study(tmp_path, space={"x": Float(-1.0, 1.0)})
    made.optimize(raises, n_trials=4, catch=ZeroDivisionError, executor=RayExecutor(2))
    bad = [trial for trial in made.trials if trial.state == "failed"]
    assert bad
    assert all("x = " in trial.error for trial in bad)
    with pytest.raises(ZeroDivisionError, match="x = "):
        made.optimize(raises, n_trials=20, executor=RayExecutor(1))
    assert not [trial for trial in made.trials if trial.state == "running"]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_runs_when_a_study_is_interrupted_is_ended_and_begun_again_later(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "begun"

    def waits(params: Any) -> float:
        mark.write_text("x")
        time.sleep(60)
        return 0.0

    made = study(tmp_path, space={"x": Float(-1.0, 1.0)})

    class Impatient(RayExecutor):
        def submit(self, objective: Any, trial: Trial) -> Any:
            future = super().submit(objective, trial)
            while not mark.exists():
                time.sleep(0.05)
            future.add_done_callback(lambda done: None)
            threading.Timer(0.2, lambda: future.set_exception(KeyboardInterrupt())).start()
            return future

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        made.optimize(waits, n_trials=1, executor=Impatient(1))
    assert time.monotonic() - begin < 30
    (trial,) = made.trials
    begun = made.ask()
    assert begun.number == trial.number, "the same trial is begun again"


def test_a_study_in_memory_is_refused_with_what_to_do() -> None:
    made = Study("one", sampler=RandomSampler(), space={"x": Float(0.0, 1.0)})
    with pytest.raises(StudyError, match="sqlite"):
        RayExecutor(1).submit(raises, made.ask())


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"workers": 0}, "workers"),
        ({"cpus": -1}, "cpus"),
        ({"gpus": "all"}, "gpus"),
        ({"cpus": float("nan")}, "cpus"),
    ],
)
def test_a_wrong_number_is_named(chosen: Any, named: str) -> None:
    with pytest.raises(StudyError, match=f"{named}: must be"):
        RayExecutor(**chosen)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cluster_without_room_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no room for a trial of .*'GPU': 64"):
        study(tmp_path).optimize(raises, n_trials=1, executor=RayExecutor(gpus=64))


class Said:
    """A call of an actor that is made here and now."""

    def __init__(self, call: Any) -> None:
        self.remote = call


class Local:
    """A clerk that is no actor."""

    def __init__(self, clerk: Clerk) -> None:
        self.write, self.report = Said(clerk.write), Said(clerk.report)
        self.prunes = Said(clerk.prunes)


def test_a_worker_writes_to_the_clerk_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "get", lambda value: value)
    made = study(tmp_path, pruner=ThresholdPruner(upper=0.0), space={"x": Float(0.5, 1.0)})
    ticket = Ticket.of(made.ask())
    letters = Local(Clerk(ticket))

    def objective(params: Any, trial: Trial) -> float:
        assert isinstance(trial.desk, Letters)
        trial.report(params["x"], 3)
        if trial.should_prune():
            raise TrialPruned("too large")
        return 0.0

    order = room.Order(letters, ticket.study, ticket.trial, ticket.proposed)
    outcome = run_order(objective, order)
    assert outcome.pruned
    assert list(made.trials[0].reports) == [3]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'gptune-torch\[ray\]'"):
        importlib.reload(room)
