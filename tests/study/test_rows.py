"""What is written to a row is read from it, also what SQLite has no number for."""

import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.errors import StorageError, TrialPruned
from gptune.study.pruners import ThresholdPruner
from gptune.study.records import TrialState
from gptune.study.samplers import RandomSampler
from gptune.study.storage import Storage
from gptune.study.study import Study
from tests.strategies import any_float

ODD = [math.nan, math.inf, -math.inf]


def begun(storage: Storage) -> tuple[int, int]:
    record, _ = storage.create("one", "minimize", None, 0)
    storage.begin(record.id, "")
    return record.id, 0


@given(st.dictionaries(st.integers(0, 2**63 - 1), any_float, max_size=8))
@settings(deadline=None, max_examples=60)
def test_every_report_comes_back_as_it_was(reports: dict[int, float]) -> None:
    storage = Storage(":memory:")
    trial = begun(storage)
    for step, value in reports.items():
        storage.report(trial, step, math.nan)  # and is replaced
        storage.report(trial, step, value)
    (read,) = storage.changes(trial[0], 0).trials
    assert read.reports.keys() == reports.keys()
    assert all(type(value) is float for value in read.reports.values())
    assert repr([read.reports[step] for step in reports]) == repr(list(reports.values()))
    storage.close()


@pytest.mark.parametrize("value", ODD)
def test_a_report_that_is_not_finite_is_kept_in_the_file(tmp_path: Path, value: float) -> None:
    storage = Storage(tmp_path / "s.db")
    trial = begun(storage)
    storage.report(trial, 3, value)
    storage.close()
    again = Storage(tmp_path / "s.db", writes=False)
    (read,) = again.changes(trial[0], 0).trials
    assert repr(read.reports) == repr({3: value})
    again.close()


@pytest.mark.parametrize("value", ODD)
def test_a_trial_that_reports_what_is_not_finite_is_pruned_and_the_study_goes_on(
    tmp_path: Path, value: float
) -> None:
    def objective(trial: Any) -> float:
        trial.suggest_float("x", 0.0, 1.0)
        trial.report(value if trial.number == 1 else 0.5, 0)
        if trial.should_prune():
            raise TrialPruned
        return 1.0

    file = tmp_path / "s.db"
    made: dict[str, Any] = {"sampler": RandomSampler(), "pruner": ThresholdPruner()}
    with Study("one", storage=file, **made) as study:
        study.optimize(objective, n_trials=3)
        assert [trial.state for trial in study.trials] == ["complete", "pruned", "complete"]
    with Study.load("one", file) as study:
        assert study.trials[1].state is TrialState.PRUNED
        assert repr(study.trials[1].last) == repr(value)


def test_a_report_that_is_no_number_in_the_file_is_named(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "s.db")
    trial = begun(storage)
    storage.report(trial, 0, 1.0)
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("UPDATE report SET value = 'nonsense'")
    db.close()
    with pytest.raises(StorageError, match="has not written"):
        storage.changes(trial[0], 0)
    storage.close()
