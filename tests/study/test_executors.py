"""Trials in threads and in processes, also in such as die."""

from pathlib import Path
from typing import Any

import pytest

from gptune.errors import StudyError, TrialPruned
from gptune.study.executors import Here, Processes, Threads
from gptune.study.pruners import ThresholdPruner
from gptune.study.records import TrialState
from gptune.study.samplers import RandomSampler
from gptune.study.study import Study
from gptune.study.trial import Trial
from tests.study.objectives import SPACE, bowl, by_running, deadly, deadly_reporting, hopeless


def study_in(place: Path, **chosen: Any) -> Study:
    made: dict[str, Any] = {"space": SPACE, "sampler": RandomSampler(), **chosen}
    return Study("one", storage=place / "study.db", **made)


def essence(study: Study) -> list[Any]:
    return [(t.number, t.state, t.params, t.value, t.reports) for t in study.trials]


@pytest.mark.slow
@pytest.mark.parametrize("by_run", [False, True])
def test_processes_make_the_trials_that_would_have_been_made_here(
    by_run: bool, tmp_path: Path
) -> None:
    objective: Any = by_running if by_run else bowl
    chosen: dict[str, Any] = {"space": None if by_run else SPACE, "sampler": RandomSampler()}
    here = Study("one", **chosen)
    here.optimize(objective, n_trials=8)
    with study_in(tmp_path, **chosen) as there:
        there.optimize(objective, n_trials=8, executor=Processes(2))
        assert essence(there) == essence(here)


@pytest.mark.slow
def test_a_trial_whose_process_dies_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTUNE_TEST_MARKS", str(tmp_path))
    with study_in(tmp_path) as study:
        study.optimize(deadly, n_trials=8, executor=Processes(2))
        assert [trial.number for trial in study.trials] == list(range(8))
        assert all(trial.state is TrialState.COMPLETE for trial in study.trials)
    assert {one.name for one in tmp_path.iterdir() if one.name.isdecimal()} == {"2", "5"}


@pytest.mark.slow
def test_a_trial_that_kills_each_process_has_failed(tmp_path: Path) -> None:
    with study_in(tmp_path) as study:
        study.optimize(hopeless, n_trials=1, executor=Processes(1))
        (trial,) = study.trials
        assert trial.state is TrialState.FAILED
        assert "worker died" in trial.error


def test_processes_need_a_file() -> None:
    study = Study("one", space=SPACE, sampler=RandomSampler())
    with pytest.raises(StudyError, match="cannot use a study in memory"):
        study.optimize(bowl, n_trials=1, executor=Processes(1))
    assert [trial.state for trial in study.trials] == ["waiting"]


@pytest.mark.parametrize("kind", [Threads, Processes])
@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(kind: Any, workers: Any) -> None:
    with pytest.raises(StudyError, match="workers"):
        kind(workers)


def test_what_is_raised_in_a_thread_passes_once_all_others_have_ended() -> None:
    def objective(params: dict[str, Any], trial: Trial) -> float:
        if trial.number == 1:
            raise LookupError("mine")
        return bowl(params)

    study = Study("one", space=SPACE, sampler=RandomSampler())
    with pytest.raises(LookupError, match="mine"):
        study.optimize(objective, n_trials=50, executor=Threads(3))
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.FAILED) == 1
    assert TrialState.RUNNING not in states
    assert len(states) < 50


def test_trials_in_threads_may_be_pruned() -> None:
    def objective(params: dict[str, Any], trial: Trial) -> float:
        trial.report(1.0, 0)
        raise TrialPruned

    study = Study("one", space=SPACE, sampler=RandomSampler())
    study.optimize(objective, n_trials=6, executor=Threads(2, synchronous=True))
    assert {trial.state for trial in study.trials} == {TrialState.PRUNED}


def test_here_one_trial_runs_at_a_time() -> None:
    assert (Here.workers, Here.synchronous) == (1, True)


def test_an_objective_that_cannot_be_sent_is_said_at_once_and_no_trial_is_lost(
    tmp_path: Path,
) -> None:
    study = Study("one", storage=tmp_path / "study.db", sampler=RandomSampler())
    with pytest.raises(StudyError, match=r"cannot import the objective .*or use Threads"):
        study.optimize(lambda trial: 1.0, n_trials=3, executor=Processes(1))
    assert not [trial for trial in study.trials if trial.state != "waiting"]


@pytest.mark.slow
def test_a_trial_that_is_begun_again_has_no_reports_of_its_first_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTUNE_TEST_MARKS", str(tmp_path))
    pruner = ThresholdPruner(upper=10.0)
    study = Study("one", storage=tmp_path / "s.db", sampler=RandomSampler(), pruner=pruner)
    study.optimize(deadly_reporting, n_trials=1, executor=Processes(1))
    (trial,) = study.trials
    assert (trial.state, trial.reports, trial.attempts) == ("pruned", {0: 99.0}, 2)
