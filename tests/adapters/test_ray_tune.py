"""A real run of Ray Tune whose trials a study proposes; spaces, restores, failures."""

import builtins
import importlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from gptune import GridSampler, Study
from gptune.adapters import ray_tune as room
from gptune.adapters.ray_tune import GptuneSearcher, read_space
from gptune.errors import SpaceError, StudyError
from gptune.records import Categorical, Float, Integer
from gptune.study.domains import Stepped
from gptune.study.samplers import RandomSampler

SPACE = {
    "x": tune.uniform(-1.0, 1.0),
    "model": {"depth": tune.randint(1, 4), "width": 7},
    "kind": tune.choice(["a", "b"]),
}


def train(config: dict[str, Any]) -> None:
    if config["x"] > 0.9:
        raise ValueError("x is too large")
    for step in range(1, 4):
        assert config["model"]["width"] == 7
        loss = config["x"] ** 2 + config["model"]["depth"] + (config["kind"] == "a") + 1 / step
        tune.report({"loss": loss})


@pytest.mark.slow
def test_ray_tune_runs_what_a_study_proposes(tmp_path: Path) -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 2**20,
        _node_ip_address="127.0.0.1",
    )
    searcher = GptuneSearcher(storage=tmp_path / "study.db", sampler=RandomSampler(), seed=3)
    try:
        found = tune.Tuner(
            train,
            param_space=SPACE,
            tune_config=tune.TuneConfig(
                search_alg=searcher, metric="loss", mode="min", num_samples=6
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), name="run", verbose=0),
        ).fit()
    finally:
        ray.shutdown()
    study = searcher.study
    assert study.direction == "minimize"
    assert [trial.number for trial in study.trials] == list(range(6))
    complete = [trial for trial in study.trials if trial.state == "complete"]
    assert len(complete) >= 3
    assert all(sorted(trial.reports) == [1, 2, 3] for trial in complete)
    assert all(trial.value == trial.reports[3] for trial in complete)
    best = found.get_best_result()
    assert best.metrics is not None
    assert best.metrics["loss"] == study.best_value
    assert best.config is not None
    assert best.config["model"] == {"depth": study.best_params["model/depth"], "width": 7}


def told(searcher: GptuneSearcher) -> None:
    assert searcher.set_search_properties("loss", "min", SPACE)


def test_a_trial_lives_as_tune_says() -> None:
    searcher = GptuneSearcher(sampler=RandomSampler())
    told(searcher)
    params = {name: searcher.suggest(name) for name in ("a", "b", "c", "d")}
    assert set(params["a"]) == {"x", "model", "kind"}
    searcher.on_trial_result("a", {"loss": 3.0, "training_iteration": 2})
    searcher.on_trial_result("a", {"other": 3.0})
    searcher.on_trial_complete("a", {"loss": 2.0})
    searcher.on_trial_complete("a", {"loss": 1.0})  # told twice
    searcher.on_trial_complete("b", error=True)
    searcher.on_trial_complete("c", {"other": 1.0})
    first, second, third, fourth = searcher.study.trials
    assert (first.value, first.reports) == (2.0, {2: 3.0})
    assert (second.state, second.error) == ("failed", "it raised in Ray")
    assert (third.state, third.error) == ("failed", "it gave no loss")
    assert fourth.state == "running"


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_restored_searcher_goes_on_where_it_was_saved(in_memory: bool, tmp_path: Path) -> None:
    where: dict[str, Any] = {} if in_memory else {"storage": tmp_path / "study.db"}
    searcher = GptuneSearcher(**where)
    told(searcher)
    for number in range(12):
        params = searcher.suggest(str(number))
        if number != 5:
            searcher.on_trial_complete(str(number), {"loss": params["x"] ** 2})
    again = pickle.loads(pickle.dumps(searcher))  # as Tune keeps it
    assert again._study is None
    searcher.save(str(tmp_path / "saved.json"))
    if not in_memory:
        searcher.suggest("begun after it was saved")
        searcher.study.close()
    again.restore(str(tmp_path / "saved.json"))
    json.loads((tmp_path / "saved.json").read_text())
    before = searcher.study.trials[:12] if in_memory else again.study.trials[:12]
    assert [trial.params for trial in again.study.trials[:12]] == [one.params for one in before]
    states = [trial.state.value for trial in again.study.trials]
    assert states[:12] == ["running" if number == 5 else "complete" for number in range(12)]
    assert states[12:] == ([] if in_memory else ["failed"])
    again.on_trial_complete("5", {"loss": 0.5})
    assert again.study.trials[5].value == 0.5
    assert again.suggest("next")["model"]["depth"] in (1, 2, 3)


def test_what_is_not_known_yet_is_named() -> None:
    searcher = GptuneSearcher()
    with pytest.raises(StudyError, match="has no param_space, metric, mode; pass them"):
        searcher.suggest("a")
    assert searcher.set_search_properties("loss", "min", {})
    with pytest.raises(StudyError, match="has no param_space; pass"):
        searcher.suggest("a")


def test_a_space_of_its_own_is_not_given_twice() -> None:
    searcher = GptuneSearcher({"x": Float(0.0, 1.0)}, metric="score", mode="max")
    assert not searcher.set_search_properties("loss", "min", SPACE)
    assert searcher.set_search_properties("loss", "min", {})
    assert searcher.study.direction == "maximize"
    assert isinstance(searcher.study, Study)


def test_a_grid_ends() -> None:
    searcher = GptuneSearcher(sampler=GridSampler({"x": [0.0, 0.5]}), metric="loss", mode="min")
    assert searcher.set_search_properties(None, None, {"x": tune.uniform(0.0, 1.0)})
    assert [searcher.suggest(name) for name in "abc"] == [{"x": 0.0}, {"x": 0.5}, "FINISHED"]


def test_tunes_domains_are_a_studys() -> None:
    found = read_space(
        {
            "a": tune.uniform(0.0, 1.0),
            "b": {"c": tune.loguniform(1e-4, 1.0), "d": tune.randint(2, 9)},
            "e": tune.lograndint(1, 65),
            "f": tune.quniform(0.0, 1.0, 0.25),
            "g": tune.qrandint(2, 10, 2),
            "h": tune.choice([1, 2, "x"]),
            "constant": 3,
        }
    )
    assert found == {
        "a": Float(0.0, 1.0),
        "b/c": Float(1e-4, 1.0, log=True),
        "b/d": Integer(2, 8),
        "e": Integer(1, 64, log=True),
        "f": Stepped(0.0, 1.0, 0.25),
        "g": Stepped(2, 10, 2),
        "h": Categorical((1, 2, "x")),
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (tune.randn(0.0, 1.0), "x is .* which a study cannot search"),
        (tune.grid_search([1, 2]), "x is a grid_search; use tune.choice"),
        (tune.sample_from(lambda spec: 1), "x is .* which a study cannot search"),
        (tune.qloguniform(0.1, 1.0, 0.1), "log and step"),
    ],
)
def test_what_a_study_cannot_search_is_named(given: Any, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        read_space({"x": given})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("ray"):
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'gptune-torch\[ray\]'"):
        importlib.reload(room)
