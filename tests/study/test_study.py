"""Studies: asking and telling, optimizing, going on, and what is refused."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.errors import SpaceError, StorageError, StudyError, TrialPruned
from gptune.records import Float, Integer
from gptune.study.executors import Threads
from gptune.study.objective import Measured
from gptune.study.pruners import median_pruner
from gptune.study.records import TrialState
from gptune.study.samplers import GridSampler, RandomSampler, Suggestion, View
from gptune.study.study import Study
from gptune.study.trial import Trial
from tests.study.objectives import SPACE, bowl, by_running

FEW = settings(max_examples=max(8, settings().max_examples // 4))


def random_study(name: str = "one", **chosen: Any) -> Study:
    return Study(name, **{"space": SPACE, "sampler": RandomSampler(), **chosen})


def essence(study: Study) -> list[Any]:
    return [(t.number, t.state, t.params, t.value, t.noise, t.reports) for t in study.trials]


def test_a_study_finds_the_bottom_of_a_bowl() -> None:
    study = Study("bowl", space=SPACE)
    study.optimize(bowl, n_trials=30)
    assert study.best_value < 0.001
    assert study.best_params == study.best_trial.params
    assert study.best_params["n"] == 4
    assert [trial.number for trial in study.trials] == list(range(30))


def test_a_study_that_is_defined_by_running_goes_through_a_condition() -> None:
    study = Study("running")
    study.optimize(by_running, n_trials=30)
    assert study.best_value < 0.0201
    assert {t.params["kind"] for t in study.trials} == {"plain", "fancy"}
    assert all("n" in t.params for t in study.trials if t.params["kind"] == "fancy")
    assert all("n" not in t.params for t in study.trials if t.params["kind"] == "plain")


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_best_is_the_best_in_the_direction_and_the_first_of_equals(direction: str) -> None:
    study = random_study(direction=direction)
    values = [1.0, 3.0, 2.0, 3.0, 1.0]
    for value in values:
        study.tell(study.ask(), value)
    due = 0 if direction == "minimize" else 1
    assert study.best_trial.number == due
    assert study.best_value == values[due]


@FEW
@given(st.integers(0, 2**31), st.sampled_from(["gp", "random"]), st.booleans())
def test_equal_seeds_make_equal_studies(seed: int, sampler: str, given_: bool) -> None:
    def run() -> list[Any]:
        made = {"sampler": RandomSampler()} if sampler == "random" else {}
        study = Study("one", seed=seed, space=SPACE if given_ else None, **made)  # type: ignore[arg-type]
        study.optimize(bowl if given_ else by_running, n_trials=11)
        return essence(study)

    assert run() == run()


def test_torchs_and_numpys_chance_are_left_alone() -> None:
    torch.manual_seed(1)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    Study("one", space=SPACE).optimize(bowl, n_trials=12)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpys).all()  # type: ignore[index]  # noqa: NPY002


# what an objective may do -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["text", [1.0, 2.0], None, math.nan, math.inf, {}, True, np.ones(3), torch.ones(2)]
)
def test_what_is_no_finite_number_makes_a_failed_trial_that_shows_its_parameters(
    value: object, caplog: pytest.LogCaptureFixture
) -> None:
    study = random_study()
    with caplog.at_level(logging.WARNING, logger="gptune"):
        study.optimize(lambda params: value, n_trials=2)
    assert [trial.state for trial in study.trials] == ["failed", "failed"]
    assert "finite number" in study.trials[0].error
    assert "x=" in caplog.text
    with pytest.raises(StudyError, match="no trial is complete"):
        _ = study.best_trial


@pytest.mark.parametrize("value", [1, 1.5, np.float32(0.5), np.array(2.0), torch.tensor([3.0])])
def test_numbers_of_any_library_are_numbers(value: Any) -> None:
    study = random_study()
    study.optimize(lambda params: value, n_trials=1)
    assert study.best_value == float(value)


def test_a_value_may_say_how_sure_it_is() -> None:
    study = random_study()
    study.optimize(lambda params: Measured(2.0, noise=0.25), n_trials=1)
    assert (study.best_value, study.best_trial.noise) == (2.0, 0.25)


def test_what_an_objective_raises_passes_and_is_written_down() -> None:
    def objective(params: dict[str, Any]) -> float:
        raise ZeroDivisionError("mine")

    study = random_study()
    with pytest.raises(ZeroDivisionError, match="mine"):
        study.optimize(objective, n_trials=3)
    assert [(t.state, t.error) for t in study.trials] == [("failed", "ZeroDivisionError: mine")]
    study.optimize(objective, n_trials=3, catch=ZeroDivisionError)
    assert len(study.trials) == 4
    with pytest.raises(ZeroDivisionError):
        study.optimize(objective, n_trials=1, catch=(KeyError, OSError))


def test_a_wish_to_stop_passes_and_the_trial_begins_again_with_the_same_values() -> None:
    seen: list[dict[str, Any]] = []

    def objective(params: dict[str, Any]) -> float:
        seen.append(params)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return bowl(params)

    study = random_study()
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=5)
    assert [trial.state for trial in study.trials] == ["complete", "complete", "waiting"]
    study.optimize(objective, n_trials=3)
    assert len(study.trials) == 5
    assert seen[2] == seen[3]
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)


def test_raising_pruned_ends_a_trial_with_or_without_a_report() -> None:
    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        if trial.number == 1:
            trial.report(x, 3)
        if trial.number < 2:
            raise TrialPruned("enough")
        return x

    study = Study("one", sampler=RandomSampler())
    study.optimize(objective, n_trials=3)
    assert [trial.state for trial in study.trials] == ["pruned", "pruned", "complete"]
    assert study.trials[0].error == "enough"
    assert study.trials[1].reports == {3: study.trials[1].params["x"]}


def test_a_pruner_ends_what_is_worse_than_the_others() -> None:
    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        for step in range(10):
            trial.report(x + 1 / (step + 1), step)
            if trial.should_prune():
                raise TrialPruned
        return x

    study = Study("one", sampler=RandomSampler(), pruner=median_pruner())
    study.optimize(objective, n_trials=30)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.PRUNED) > 5
    assert all(state is TrialState.COMPLETE for state in states[:5])
    best = min(trial.params["x"] for trial in study.trials)
    assert study.best_params["x"] == best


def test_an_objective_may_ask_for_the_trial_beside_the_parameters() -> None:
    seeds = []

    def objective(params: dict[str, Any], trial: Trial) -> float:
        trial.report(params["x"], 0)
        seeds.append(trial.seed)
        return bowl(params)

    for _ in range(2):
        random_study().optimize(objective, n_trials=3)
    assert seeds[:3] == seeds[3:]
    assert len(set(seeds)) == 3


def test_the_same_name_gives_the_same_value_and_another_range_is_refused() -> None:
    trial = Study("one", sampler=RandomSampler()).ask()
    assert trial.suggest_float("x", 0.0, 1.0) == trial.suggest_float("x", 0.0, 1.0)
    assert trial.suggest_int("k", 2, 2) == 2
    with pytest.raises(StudyError, match="'x': was suggested from"):
        trial.suggest_float("x", 0.0, 2.0)
    with pytest.raises(SpaceError, match=r"'y'.*low must be below high"):
        trial.suggest_float("y", 1.0, 0.0)
    with pytest.raises(StudyError, match="must be a word"):
        trial.suggest_float("", 0.0, 1.0)
    assert trial.params.keys() == {"x", "k"}


@pytest.mark.parametrize(("value", "step"), [("a", 1), (None, 1), (1.0, -1), (1.0, 1.5), (1, True)])
def test_a_report_must_be_a_number_at_a_step(value: Any, step: Any) -> None:
    with pytest.raises(StudyError, match="report: "):
        Study("one", sampler=RandomSampler()).ask().report(value, step)


# when to stop -----------------------------------------------------------------------------------


def test_it_stops_at_the_first_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    study = random_study()
    study.optimize(bowl, n_trials=3)
    study.optimize(bowl, n_trials=2)
    assert len(study.trials) == 5
    study.optimize(bowl, total=5)
    study.optimize(bowl, total=8, n_trials=99)
    assert len(study.trials) == 8
    study.optimize(bowl, n_trials=0)
    study.optimize(bowl, timeout=0.05)
    assert len(study.trials) > 8


def test_it_stops_when_nothing_becomes_better() -> None:
    study = random_study()
    study.optimize(lambda params: 1.0, n_trials=100, patience=4)
    assert len(study.trials) == 5


def test_a_callback_is_told_of_each_trial_and_may_stop_the_study() -> None:
    told: list[int] = []

    def callback(study: Study, trial: Any) -> None:
        told.append(trial.number)
        if trial.number == 3:
            study.stop()

    study = random_study()
    study.optimize(bowl, n_trials=10, callbacks=[callback])
    assert told == [0, 1, 2, 3]
    study.optimize(bowl, n_trials=1)
    assert len(study.trials) == 5


def test_a_grid_ends_the_study_and_leaves_nothing_open() -> None:
    study = random_study(sampler=GridSampler({"x": [0.0, 0.5]}))
    study.optimize(bowl)
    assert len(study.trials) == 18
    assert {(t.params["x"], t.params["n"]) for t in study.trials} == {
        (x, n) for x in (0.0, 0.5) for n in range(1, 10)
    }
    study.optimize(bowl, n_trials=5)
    assert len(study.trials) == 18


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"n_trials": -1}, "n_trials"),
        ({"n_trials": 1.5}, "n_trials"),
        ({"total": True}, "total"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"patience": 0}, "patience"),
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(StudyError, match=named):
        random_study().optimize(bowl, **wrong)


def test_a_bar_is_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    study = random_study()
    study.optimize(bowl, n_trials=3, progress=True)
    shown = capsys.readouterr()
    assert "3/3" in shown.out + shown.err
    assert "best" in shown.out + shown.err


# enqueue ----------------------------------------------------------------------------------------


def test_what_is_enqueued_comes_next_and_the_rest_is_suggested() -> None:
    study = random_study()
    assert study.enqueue({"x": 0.25}) == 0
    assert study.enqueue({"x": -0.5, "n": 3}) == 1
    study.optimize(bowl, n_trials=3)
    first, second, third = study.trials
    assert first.params["x"] == 0.25
    assert second.params == {"x": -0.5, "n": 3}
    assert third.number == 2


def test_what_is_enqueued_must_lie_in_the_space() -> None:
    study = random_study(constraints=[lambda p: p["n"] < 5])
    for wrong in ({"x": 2.0}, {"y": 1.0}, {"n": 2.5}, {"x": 0.0, "n": 7}):
        with pytest.raises(StudyError, match="enqueue"):
            study.enqueue(wrong)
    running = Study("two", sampler=RandomSampler())
    running.enqueue({"x": 5.0})
    with pytest.raises(StudyError, match="was enqueued and does not lie"):
        running.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=1)


# going on ---------------------------------------------------------------------------------------


@FEW
@given(stop=st.integers(0, 14), sampler=st.sampled_from(["gp", "random"]), given_=st.booleans())
def test_a_study_that_goes_on_proposes_what_it_would_have(
    tmp_path_factory: pytest.TempPathFactory, stop: int, sampler: str, given_: bool
) -> None:
    chosen: dict[str, Any] = {"seed": 7, "space": SPACE if given_ else None}
    if sampler == "random":
        chosen["sampler"] = RandomSampler()
    objective = bowl if given_ else by_running
    whole = Study("one", **chosen)
    whole.optimize(objective, n_trials=15)
    file = tmp_path_factory.mktemp("study") / "study.db"
    with Study("one", storage=file, **chosen) as first:
        first.optimize(objective, n_trials=stop)
    with Study("one", storage=file, resume=True, **chosen) as second:
        second.optimize(objective, total=15)
        assert essence(second) == essence(whole)


def test_a_study_that_exists_goes_on_only_if_it_is_meant_to(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    random_study(storage=file).close()
    with pytest.raises(StudyError, match="exists already; pass resume=True"):
        random_study(storage=file)
    with pytest.raises(StudyError, match="is to minimize, got direction 'maximize'"):
        random_study(storage=file, resume=True, direction="maximize")
    with pytest.raises(StudyError, match="its space differs in x"):
        random_study(storage=file, resume=True, space={**SPACE, "x": Float(0.0, 1.0)})
    with pytest.raises(StudyError, match="its space differs in y"):
        random_study(storage=file, resume=True, space={**SPACE, "y": Integer(0, 1)})
    with random_study(storage=file, resume=True, space=None) as same:
        assert same.space.keys() == SPACE.keys()
    with random_study("two", storage=f"sqlite:///{file}", resume=True) as new:
        assert not new.trials


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"direction": "up"}, "direction"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"name": ""}, "name"),
        ({"name": "a\x1b[2J"}, "name"),
        ({"space": {}}, "space"),
        ({"space": {"x": {"type": "float", "low": 1.0, "high": 0.0}}}, "'x'.*low must be below"),
        ({"storage": "postgres://there"}, "storage"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises((StudyError, SpaceError), match=named):
        random_study(**wrong)


def test_a_trial_is_told_once() -> None:
    study = random_study()
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(StorageError, match="is complete"):
        study.tell(trial, 2.0)
    with pytest.raises(StorageError, match="is not there"):
        study.tell(9, 2.0)
    with pytest.raises(StudyError, match="state must be"):
        study.tell(study.ask(), 1.0, state="running")


def test_what_a_sampler_raises_passes_and_takes_no_number() -> None:
    class Moody:
        calls = 0

        def suggest(self, view: View) -> Suggestion:
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("not today")
            return Suggestion({"x": 9.0, "n": 3})  # one of them lies outside, and is drawn

    study = random_study(sampler=Moody())
    with pytest.raises(RuntimeError, match="not today"):
        study.optimize(bowl, n_trials=3)
    study.optimize(bowl, n_trials=2)
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert all(trial.params["n"] == 3 for trial in study.trials)
    assert all(-1 <= trial.params["x"] <= 1 for trial in study.trials)  # type: ignore[operator]


def test_rows_are_flat() -> None:
    study = random_study()
    study.optimize(bowl, n_trials=1)
    (row,) = study.to_rows()
    assert row["params.n"] == study.best_params["n"]
    assert row["state"] == "complete"
    assert row["seconds"] >= 0


# several at once --------------------------------------------------------------------------------


def test_batches_that_are_waited_for_repeat_exactly() -> None:
    def run() -> list[Any]:
        study = Study("one", space=SPACE)
        study.optimize(bowl, n_trials=16, executor=Threads(4, synchronous=True))
        return essence(study)

    assert run() == run()


def test_threads_share_a_study() -> None:
    study = random_study()
    study.optimize(bowl, n_trials=40, executor=Threads(4))
    assert [trial.number for trial in study.trials] == list(range(40))
    assert all(trial.value == bowl(trial.params) for trial in study.trials)


def test_a_study_is_opened_to_be_looked_at_by_its_name_alone(tmp_path: Path) -> None:
    place = tmp_path / "study.db"
    with Study("one", storage=place, direction="maximize", seed=3, sampler=RandomSampler()) as made:
        made.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=5)
        with Study.load("one", place) as seen:
            assert seen.trials == made.trials
            assert (seen.direction, seen.best_value) == ("maximize", made.best_value)
            with pytest.raises(StorageError, match="read"):
                seen.ask()
    with pytest.raises(StudyError, match=r"'onne': is not in 'sqlite:///.*'; .*one"):
        Study.load("onne", place)
    with pytest.raises(StorageError):
        Study.load("one", tmp_path / "not-there.db")
    assert not (tmp_path / "not-there.db").exists()


@pytest.mark.parametrize("noise", [np.float32(0.25), torch.tensor(0.25), 0.25])
def test_the_noise_of_a_value_may_be_any_number(noise: Any) -> None:
    study = Study("one", space={"x": Float(0.0, 1.0)}, sampler=RandomSampler())
    study.optimize(lambda params: Measured(params["x"], noise=noise), n_trials=2)
    assert [trial.noise for trial in study.trials] == [0.25, 0.25]
    study.tell(study.ask(), 1.0, noise=noise)
    assert study.trials[-1].noise == 0.25


@pytest.mark.parametrize("noise", [-1.0, math.inf, math.nan, "low", [0.1]])
def test_a_noise_that_is_no_variance_fails_its_trial_and_nothing_else(noise: Any) -> None:
    study = Study("one", space={"x": Float(0.0, 1.0)}, sampler=RandomSampler())
    study.optimize(
        lambda params, trial: Measured(1.0, noise=noise if trial.number == 0 else 0.1), n_trials=2
    )
    first, second = study.trials
    assert (first.state, second.state) == ("failed", "complete")
    assert "noise: must be a variance" in first.error
    trial = study.ask()
    with pytest.raises(StudyError, match="noise: must be a variance"):
        study.tell(trial, 1.0, noise=noise)
    assert study.tell(trial, 1.0).state == "complete"


@pytest.mark.parametrize("catch", [ValueError, (ValueError,), [KeyError, ValueError], {ValueError}])
def test_exceptions_to_catch_may_be_one_or_any_several(catch: Any) -> None:
    def objective(trial: Trial) -> float:
        raise ValueError("no")

    study = Study("one", sampler=RandomSampler())
    study.optimize(objective, n_trials=2, catch=catch)
    assert [trial.state.value for trial in study.trials] == ["failed"] * 2


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"catch": "ValueError"}, "catch: must be exceptions, such as"),
        ({"catch": [int]}, "catch: must be exceptions, such as"),
        ({"catch": KeyboardInterrupt}, "catch: must be exceptions"),
        ({"callbacks": [3]}, "callbacks: must be a list of functions"),
        ({"callbacks": "x"}, "callbacks: must be a list of functions"),
    ],
)
def test_what_cannot_be_caught_or_called_is_said_before_anything_runs(
    chosen: Any, said: str
) -> None:
    study = Study("one", sampler=RandomSampler())
    with pytest.raises(StudyError, match=said):
        study.optimize(lambda trial: 1.0, n_trials=2, **chosen)
    assert study.trials == []


def test_one_callback_needs_no_list() -> None:
    heard: list[int] = []
    study = Study("one", sampler=RandomSampler())
    study.optimize(
        lambda trial: 1.0, n_trials=2, callbacks=lambda _, trial: heard.append(trial.number)
    )
    assert heard == [0, 1]


def test_a_constraint_that_names_no_parameter_is_an_error_and_not_ignored() -> None:
    space = {"rate": Float(0.0, 1.0), "width": Float(0.0, 1.0)}
    study = Study("one", space=space, constraints=[lambda p: bool(p["rte"])])
    with pytest.raises(StudyError, match=r"one needs 'rte', which is no parameter; .*rate"):
        study.optimize(lambda params: params["rate"], n_trials=3)
    with pytest.raises(StudyError, match=r"enqueue: 'rte' is no parameter; .*rate"):
        study.enqueue({"rte": 0.5})


def test_a_bar_goes_to_stderr_and_begins_where_the_study_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = Study("one", sampler=RandomSampler())
    study.optimize(lambda trial: 1.0, total=5)
    study.optimize(lambda trial: 1.0, total=8, progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "8/8" in said.err


@pytest.mark.parametrize("seed", range(6))
def test_constraints_hold_where_the_space_is_defined_as_it_runs(seed: int) -> None:
    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        return x - trial.suggest_float("y", 0.0, 1.0)

    study = Study("one", seed=seed, constraints=[lambda p: float(p["x"]) < float(p["y"])])
    study.optimize(objective, n_trials=12)
    assert all(float(trial.params["x"]) < float(trial.params["y"]) for trial in study.trials)
