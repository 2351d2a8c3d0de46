"""The best trials again: which, how often, on which seeds, and what is said of them."""

import math
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune import Float, Study, Threads
from gptune.errors import StudyError
from gptune.study.records import TrialRecord, TrialState
from gptune.study.samplers import RandomSampler
from gptune.study.trial import Trial
from gptune.study.validation import SUFFIX, Validated, best_points, missing, validated

SPACE = {"x": Float(-1.0, 1.0)}
POINTS = st.sampled_from([0.0, 0.25, 0.5, 1.0])
STATES = st.sampled_from([TrialState.COMPLETE, TrialState.FAILED, TrialState.PRUNED])


def record(number: int, x: float, state: TrialState) -> TrialRecord:
    value = x + number / 100 if state is TrialState.COMPLETE else None
    return TrialRecord(number=number, state=state, params={"x": x}, value=value)


TRIALS = st.lists(st.tuples(POINTS, STATES), max_size=12).map(
    lambda rows: [record(number, *row) for number, row in enumerate(rows)]
)


@given(TRIALS, st.sampled_from([-1.0, 1.0]), st.integers(1, 4))
def test_the_best_points_are_complete_and_each_is_there_once(
    trials: list[TrialRecord], sign: float, top: int
) -> None:
    best = best_points(trials, sign, top)
    points = [trial.params["x"] for trial in best]
    assert len(set(points)) == len(points) <= top
    values = [sign * float(trial.value or 0.0) for trial in best]
    assert values == sorted(values, reverse=True)
    left = [t for t in trials if t.value is not None and t.params["x"] not in points]
    assert len(points) == top or not left
    assert all(sign * float(t.value or 0.0) <= min(values) for t in left)


@given(TRIALS, TRIALS, st.integers(1, 4))
def test_what_is_missing_makes_the_repeats_whole(
    trials: list[TrialRecord], repeated: list[TrialRecord], repeats: int
) -> None:
    best = best_points(trials, -1.0, 3)
    due = missing(best, repeated, repeats)
    for trial in best:
        there = sum(one.params == trial.params for one in repeated)
        assert due.count(trial.params) == max(0, repeats - there)
    for one in validated(best, repeated, -1.0):
        own = [t for t in repeated if t.params == one.params]
        assert one.values == tuple(t.value for t in own if t.value is not None)
        assert one.failed == sum(t.state is TrialState.FAILED for t in own)


def test_mean_and_spread_are_of_the_repeats_alone() -> None:
    one = Validated(3, {"x": 0.5}, -9.0, (1.0, 2.0, 6.0), failed=1)
    assert one.mean == 3.0
    assert one.deviation == pytest.approx(math.sqrt(7.0))
    assert str(one) == "trial 3: 3 +/- 2.6 of 3 repeats, 1 failed, was -9: x=0.5"
    nothing = Validated(3, {"x": 0.5}, -9.0, ())
    assert math.isnan(nothing.mean)
    assert math.isnan(nothing.deviation)


def noisy(params: Mapping[str, Any], trial: Trial) -> float:
    luck = (trial.seed % 1000) / 1000 - 0.5
    return float(params["x"]) ** 2 + luck


@pytest.mark.parametrize("executor", [None, Threads(2)])
def test_the_best_of_a_study_are_measured_again_on_fresh_seeds(
    executor: Any, tmp_path: Path
) -> None:
    study = Study("one", storage=tmp_path / "study.db", space=SPACE, sampler=RandomSampler())
    study.optimize(noisy, n_trials=20)
    found = study.validate(noisy, top=3, repeats=4, executor=executor)
    assert [one.mean for one in found] == sorted(one.mean for one in found)
    assert {one.number for one in found} == {t.number for t in best_points(study.trials, -1.0, 3)}
    values = [value for one in found for value in one.values]
    assert len(values) == 12
    seeds = {round(value - float(one.params["x"]) ** 2, 9) for one in found for value in one.values}
    assert len(seeds) > 10, "each repeat has a seed of its own"
    assert len(study.trials) == 20, "the repeats are not trials of the study"
    mean = sum(one.mean for one in found) / 3
    assert mean > sum(one.value for one in found) / 3, "the best were so by luck, too"


def test_validated_again_only_what_is_missing_is_run(tmp_path: Path) -> None:
    study = Study("one", storage=tmp_path / "study.db", space=SPACE, sampler=RandomSampler())
    study.optimize(noisy, n_trials=6)
    first = study.validate(noisy, top=2, repeats=2)

    def never(params: Any) -> float:
        pytest.fail("nothing is missing")

    assert study.validate(never, top=2, repeats=2) == first
    more = study.validate(noisy, top=2, repeats=3)
    for one in more:
        (before,) = [old for old in first if old.number == one.number]
        assert one.values[:2] == before.values
    assert len(Study("one" + SUFFIX, storage=tmp_path / "study.db", resume=True).trials) == 6


def test_parameters_that_are_suggested_as_it_runs_are_repeated_too() -> None:
    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", -1.0, 1.0)
        return x * trial.suggest_int("n", 1, 3) if x > 0 else -x

    study = Study("one", sampler=RandomSampler())
    study.optimize(objective, n_trials=12)
    for one in study.validate(objective, top=4, repeats=2):
        assert one.values == (one.value, one.value)


def test_a_repeat_that_gives_no_number_is_counted() -> None:
    study = Study("one", space=SPACE, sampler=RandomSampler())
    study.optimize(noisy, n_trials=3)
    (found,) = study.validate(lambda params: float("nan"), top=1, repeats=2)
    assert (found.values, found.failed) == ((), 2)


@pytest.mark.parametrize("chosen", [{"top": 0}, {"repeats": 0}, {"top": 1.5}, {"repeats": True}])
def test_wrong_numbers_are_named(chosen: dict[str, Any]) -> None:
    study = Study("one", space=SPACE, sampler=RandomSampler())
    study.optimize(noisy, n_trials=3)
    (name,) = chosen
    with pytest.raises(StudyError, match=f"{name}: must be a whole number >= 1"):
        study.validate(noisy, **chosen)


def test_without_a_complete_trial_there_is_no_best_one() -> None:
    with pytest.raises(StudyError, match="no trial is complete yet"):
        Study("one", space=SPACE).validate(noisy)


def test_what_a_death_interrupted_is_finished_the_next_time(tmp_path: Path) -> None:
    study = Study("one", storage=tmp_path / "study.db", space=SPACE, sampler=RandomSampler())
    study.optimize(noisy, n_trials=4)
    begun: list[int] = []

    class Death(BaseException):
        pass

    def dies(params: Mapping[str, Any], trial: Trial) -> float:
        begun.append(trial.number)
        if len(begun) == 2:
            again = Study.load("one" + SUFFIX, tmp_path / "study.db")
            assert again.trials[1].state == "running"
            raise Death
        return noisy(params, trial)

    with pytest.raises(Death):
        study.validate(dies, top=1, repeats=3)
    with sqlite3.connect(tmp_path / "study.db") as db:  # as a death leaves it, of another process
        dead = f"{os.uname().nodename}:1:0"
        db.execute("UPDATE trial SET state = 'running', worker = ? WHERE number = 5", (dead,))
    db.close()
    (found,) = study.validate(noisy, top=1, repeats=3)
    assert len(found.values) == 3
