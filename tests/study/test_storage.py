"""The file of studies: many processes, sudden deaths, bad files; nothing is lost."""

import math
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from gptune.errors import StorageError, StudyError
from gptune.study.gaussian import GaussianProcessSampler
from gptune.study.records import TrialState
from gptune.study.samplers import RandomSampler
from gptune.study.schema import SCHEMA
from gptune.study.storage import ATTEMPTS, Storage
from gptune.study.study import Study
from gptune.study.workers import this_worker
from tests.study.objectives import SPACE, bowl

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "tests" / "study" / "objectives.py"
DEAD = f"{os.uname().nodename}:1:0"  # no process of that start


def start(file: Path, name: str, total: int, sampler: str = "random") -> subprocess.Popen[bytes]:
    place = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(SCRIPT), str(file), name, str(total), sampler]
    return subprocess.Popen(words, env=place, stderr=subprocess.PIPE)


def made(storage: Storage) -> int:
    record, _ = storage.create("one", "minimize", None, 0)
    return record.id


# deaths -----------------------------------------------------------------------------------------


def live_and_die(file: Path, total: int, sampler: str, more: int) -> bool:
    """Let a process make some more trials and kill it; says whether it died."""
    process = start(file, "one", total, sampler)
    begun = viewed(file)
    while process.poll() is None and viewed(file) < begun + more:
        time.sleep(0.002)
    dies = process.poll() is None
    process.kill()
    process.communicate()
    return dies


def viewed(file: Path) -> int:
    """Count the trials that were begun, as a viewer does."""
    try:
        storage = Storage(file, writes=False)
    except StorageError:
        return 0  # the file is being made
    study = storage.find("one")
    count = 0 if study is None else storage.changes(study.id, 0).begun
    storage.close()
    return count


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "total"), [("random", 100), ("gp", 60)])
def test_a_study_survives_sudden_deaths(sampler: str, total: int, tmp_path: Path) -> None:
    file, chance, deaths = tmp_path / "study.db", Random(3), 0
    while live_and_die(file, total, sampler, chance.randint(5, 25)):
        deaths += 1
    assert deaths >= 3
    kind = RandomSampler() if sampler == "random" else GaussianProcessSampler()
    whole = Study("whole", space=SPACE, sampler=kind)
    whole.optimize(bowl, n_trials=total)
    with Study("one", storage=file, resume=True) as study:
        assert [trial.number for trial in study.trials] == list(range(total))
        assert all(trial.state is TrialState.COMPLETE for trial in study.trials)
        assert [t.params for t in study.trials] == [t.params for t in whole.trials]
        assert [t.value for t in study.trials] == [t.value for t in whole.trials]


@pytest.mark.slow
def test_four_processes_on_one_file_make_four_hundred_trials(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    processes = [start(file, "one", 400) for _ in range(4)]
    told = [process.communicate(timeout=240)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, "\n".join(told)
    assert not any("locked" in one for one in told)
    with Study("one", storage=file, resume=True) as study:
        assert [trial.number for trial in study.trials] == list(range(400))
        assert all(trial.value == bowl(trial.params) for trial in study.trials)


def test_a_trial_that_a_dead_process_left_is_begun_again_as_it_was() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    first = storage.begin(study, DEAD)
    assert first is not None
    storage.suggest((study, 0), {"x": 1.0}, {})
    storage.report((study, 0), 3, 0.5)
    again = storage.begin(study, this_worker())
    assert again is not None
    assert (again.number, again.params, again.attempts) == (0, {"x": 1.0}, 2)
    assert again.reports == {}
    new = storage.begin(study, this_worker())
    assert new is not None
    assert new.number == 1


def test_a_trial_that_somebody_runs_or_asked_for_is_left_alone() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    begun = [storage.begin(study, worker) for worker in (this_worker(), "", this_worker())]
    assert [one.number for one in begun if one is not None] == [0, 1, 2]


def test_a_trial_that_kills_every_process_has_failed() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    for _ in range(ATTEMPTS):
        begun = storage.begin(study, DEAD)
        assert begun is not None
        assert begun.number == 0
    new = storage.begin(study, this_worker())
    assert new is not None
    assert new.number == 1
    failed = storage.changes(study, 0).trials[0]
    assert (failed.state, failed.error) == ("failed", f"its process died {ATTEMPTS} times")


def test_no_more_trials_are_begun_than_there_may_be() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    for _ in range(3):
        assert storage.begin(study, this_worker(), total=3) is not None
    assert storage.begin(study, this_worker(), total=3) is None
    storage.finish((study, 1), TrialState.FAILED)
    assert storage.begin(study, this_worker(), total=3) is None


def test_a_trial_is_withdrawn_without_a_trace_or_waits_as_it_was() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    storage.begin(study, this_worker())
    storage.withdraw((study, 0))
    assert storage.changes(study, 0).begun == 0
    storage.begin(study, this_worker())
    storage.suggest((study, 0), {"x": 2.0}, {})
    storage.withdraw((study, 0))
    (waiting,) = storage.changes(study, 0).trials
    assert (waiting.state, waiting.params, waiting.attempts) == ("waiting", {"x": 2.0}, 0)


def test_only_what_changed_is_read() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    for _ in range(3):
        storage.begin(study, "")
    known = storage.changes(study, 0)
    assert [trial.number for trial in known.trials] == [0, 1, 2]
    assert storage.changes(study, known.revision).trials == ()
    storage.report((study, 1), 0, 1.0)
    (new,) = storage.changes(study, known.revision).trials
    assert (new.number, new.reports) == (1, {0: 1.0})


def watched(storage: Storage) -> list[str]:
    """Give what is asked of the file from now on."""
    asked: list[str] = []
    storage._db.set_trace_callback(asked.append)
    return asked


def test_to_learn_that_nothing_is_new_is_one_look(tmp_path: Path) -> None:
    storage, other = Storage(tmp_path / "s.db"), Storage(tmp_path / "s.db")
    study = made(storage)
    storage.begin(study, "")
    known = storage.changes(study, 0)
    asked = watched(storage)
    again = storage.changes(study, known.revision)
    assert (again.trials, again.revision, again.begun) == ((), known.revision, known.begun)
    assert len(asked) == 1
    other.withdraw((study, 0))
    assert storage.changes(study, known.revision).begun == 0
    other.begin(study, "")
    assert [one.number for one in storage.changes(study, known.revision).trials] == [0]


def test_what_is_written_does_not_read_what_was_written_before() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    storage.begin(study, "")
    for step in range(3):
        storage.report((study, 0), step, 0.5)
    asked = watched(storage)
    storage.report((study, 0), 3, 0.5)
    storage.suggest((study, 0), {"x": 1.0}, {})
    assert not [one for one in asked if one.startswith("SELECT")]
    assert [one.split()[0] for one in asked].count("BEGIN") == 2
    assert storage.changes(study, 0).trials[0].reports == dict.fromkeys(range(4), 0.5)


def test_a_new_trial_has_no_reports_to_delete() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    asked = watched(storage)
    storage.begin(study, DEAD)
    assert not [one for one in asked if one.startswith("DELETE")]
    storage.report((study, 0), 0, 1.0)
    again = storage.begin(study, this_worker())
    assert again is not None
    assert (again.number, again.reports) == (0, {})
    assert [one for one in asked if one.startswith("DELETE")]


def test_no_look_goes_through_the_trials_that_are_known() -> None:
    """Each look at trials is by their number, their revision, or among those that are open."""
    storage = Storage(":memory:")
    study = made(storage)
    asked = watched(storage)
    for number in range(3):
        storage.begin(study, DEAD if number else this_worker(), total=9)
        storage.suggest((study, number), {"x": 1.0}, {})
        storage.report((study, number), 0, 1.0)
        storage.changes(study, number)
        if number == 1:
            storage.begin(study, DEAD)
        storage.finish((study, number), TrialState.FAILED)
    storage.enqueue(study, {})
    storage.begin(study, "")
    looks = [one for one in asked if "trial" in one and one.split()[0] in {"SELECT", "UPDATE"}]
    plans = {
        row["detail"]
        for look in looks
        for row in storage._db.execute(f"EXPLAIN QUERY PLAN {look}")
        if " trial" in row["detail"]
    }
    assert {plan.partition(" (")[2] for plan in plans} == {
        "study=? AND number=?)",
        "study=? AND revision>?)",
        "study=? AND state=?)",
    }


def test_studies_are_found_listed_and_deleted_with_their_trials(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "study.db")
    for name in ("one", "two"):
        record, is_new = storage.create(name, "minimize", None, 3)
        assert is_new
        storage.begin(record.id, "")
        storage.report((record.id, 0), 1, 2.0)
    assert [study.name for study in storage.studies()] == ["one", "two"]
    assert storage.delete("one")
    assert not storage.delete("one")
    assert storage.find("one") is None
    left = sqlite3.connect(tmp_path / "study.db")
    assert left.execute("SELECT count(*) FROM trial").fetchone() == (1,)
    assert left.execute("SELECT count(*) FROM report").fetchone() == (1,)
    left.close()
    storage.close()


# bad files --------------------------------------------------------------------------------------


def test_a_viewer_reads_while_others_write_and_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    with pytest.raises(StorageError, match="no such file"):
        Storage(file, writes=False)
    writer = Storage(file)
    study = made(writer)
    viewer = Storage(file, writes=False)
    writer.begin(study, "")
    assert len(viewer.changes(study, 0).trials) == 1
    with pytest.raises(StorageError, match="cannot be written"):
        viewer.begin(study, "")
    writer._db.execute("BEGIN IMMEDIATE")
    assert len(viewer.changes(study, 0).trials) == 1
    writer._db.execute("ROLLBACK")


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    Storage(file).close()
    db = sqlite3.connect(file)
    db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()
    before = file.read_bytes()
    with pytest.raises(StorageError, match=f"version {SCHEMA + 1}, and this gptune knows {SCHEMA}"):
        Storage(file)
    assert file.read_bytes() == before


def test_a_file_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE mine (x)")
    db.close()
    before = file.read_bytes()
    with pytest.raises(StorageError, match="holds no studies of gptune"):
        Storage(file)
    assert file.read_bytes() == before


def test_a_damaged_file_is_kept_and_named(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    with Study("one", storage=file, space=SPACE, sampler=RandomSampler()) as study:
        study.optimize(bowl, n_trials=50)
    data = bytearray(file.read_bytes())
    data[1000:9000] = os.urandom(8000)
    file.write_bytes(bytes(data))
    with pytest.raises(StorageError, match="damaged"):
        Study("one", storage=file, space=SPACE, resume=True)
    kept = [one for one in tmp_path.iterdir() if one.read_bytes() == bytes(data)]
    assert kept


def test_what_is_no_json_in_a_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    storage = Storage(file)
    study = made(storage)
    storage.begin(study, "")
    storage._db.execute("UPDATE trial SET params = 'nonsense'")
    with pytest.raises(StorageError, match="has not written"):
        storage.changes(study, 0)


def test_who_waits_too_long_for_another_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptune.study.database.PATIENCE", 0.05)
    file = tmp_path / "study.db"
    holder, waiter = Storage(file), Storage(file)
    study = made(holder)
    holder._db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="another process has held it"):
        waiter.begin(study, "")
    holder._db.execute("ROLLBACK")
    assert waiter.begin(study, "") is not None


def test_a_forked_process_must_open_its_own() -> None:
    storage = Storage(":memory:")
    storage._owner = 1
    with pytest.raises(StorageError, match="open it again in each process"):
        storage.studies()


def test_a_change_that_fails_half_way_is_not_made() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    storage.begin(study, "")
    with pytest.raises(TypeError):
        storage.suggest((study, 0), {"x": object()}, {})  # type: ignore[dict-item]
    assert storage.begin(study, "") is not None
    assert len(storage.changes(study, 0).trials) == 2


# --- beginning again ----------------------------------------------------------------------------


def test_a_trial_that_is_begun_again_here_keeps_its_values_and_its_worker() -> None:
    storage = Storage(":memory:", clock=iter(range(100)).__next__)
    study = made(storage)
    storage.enqueue(study, {"y": 2})
    begun = storage.begin(study, this_worker())
    assert begun is not None
    storage.suggest((study, 0), {"x": 1.0, "y": 2}, {}, {"fitted": 3})
    storage.report((study, 0), 3, 0.5)
    known = storage.changes(study, 0)
    again = storage.restart((study, 0))
    assert (again.params, again.fixed, again.memory) == (
        {"x": 1.0, "y": 2},
        {"y": 2},
        {"fitted": 3},
    )
    assert (again.state, again.worker) == ("running", this_worker())
    assert (again.attempts, again.reports) == (2, {})
    assert again.begun is not None
    assert begun.begun is not None
    assert again.begun > begun.begun
    assert storage.changes(study, known.revision).trials == (again,)
    assert storage.restart((study, 0)).attempts == 3


def test_only_a_trial_that_runs_is_begun_again() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    storage.enqueue(study, {})
    with pytest.raises(StorageError, match="trial 0: is waiting, so it cannot be begun again"):
        storage.restart((study, 0))
    storage.begin(study, this_worker())
    storage.report((study, 0), 1, 1.0)
    storage.finish((study, 0), TrialState.FAILED)
    with pytest.raises(StorageError, match="trial 0: is failed, so"):
        storage.restart((study, 0))
    with pytest.raises(StorageError, match="trial 5: is not there, so"):
        storage.restart((study, 5))
    (trial,) = storage.changes(study, 0).trials
    assert (trial.attempts, trial.reports) == (1, {1: 1.0})


# --- what is enqueued ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [[1], None, math.nan, -math.inf, {}, b"a", 2**63, "\ud800", object(), np.ones(2)]
)
def test_what_is_no_plain_value_is_not_enqueued_and_named(value: Any) -> None:
    storage = Storage(":memory:")
    study = made(storage)
    with pytest.raises(StudyError, match=r"^enqueue: rate: must be a finite number, text or"):
        storage.enqueue(study, {"x": 1.0, "rate": value})
    assert storage.changes(study, 0).begun == 0


@pytest.mark.parametrize("params", [[1], None, "x", {1: 2}, {"": 2}])
def test_what_is_enqueued_has_names(params: Any) -> None:
    storage = Storage(":memory:")
    study = made(storage)
    with pytest.raises(StudyError, match=r"^enqueue: must be a mapping of names to values, got"):
        storage.enqueue(study, params)


def test_scalars_of_numpys_are_kept_as_plain_ones() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    given: dict[str, Any] = {"x": np.float64(0.5), "n": np.int64(3), "b": np.bool_(True)}
    kept = storage.enqueue(study, given)
    assert repr(kept.fixed) == "{'x': 0.5, 'n': 3, 'b': True}"
    storage.begin(study, "")
    storage.suggest((study, 0), given, {}, {"loss": np.float32(0.5)})
    (trial,) = storage.changes(study, 0).trials
    assert repr(trial.params) == "{'x': 0.5, 'n': 3, 'b': True}"
    assert trial.memory == {"loss": 0.5}


# --- what a trial came to -----------------------------------------------------------------------


@pytest.mark.parametrize("field", ["value", "noise"])
@pytest.mark.parametrize(
    "odd",
    [
        math.nan,
        pytest.param(10**400, id="10^400"),
        -math.inf,
        "1.0",
        b"1",
        True,
        [1.0],
        np.ones(2),
        1j,
        {},
    ],
)
def test_what_is_no_finite_number_is_not_written_down(field: str, odd: Any) -> None:
    storage = Storage(":memory:")
    study = made(storage)
    storage.begin(study, "")
    fields = {"value": 1.0, field: odd}
    with pytest.raises(StorageError, match=rf"^trial 0: {field} must be a finite number"):
        storage.finish((study, 0), TrialState.COMPLETE, **fields)
    assert storage.changes(study, 0).trials[0].state is TrialState.RUNNING


def test_a_noise_below_nought_is_not_written_down() -> None:
    storage = Storage(":memory:")
    study = made(storage)
    storage.begin(study, "")
    with pytest.raises(StorageError, match=r"^trial 0: noise must be a finite number >= 0, got -1"):
        storage.finish((study, 0), TrialState.COMPLETE, value=1.0, noise=-1.0)


@pytest.mark.parametrize("kind", [float, int, np.float64, np.float32, np.int64])
def test_what_a_trial_came_to_is_kept_as_plain_numbers(kind: Any) -> None:
    storage = Storage(":memory:")
    study = made(storage)
    storage.begin(study, "")
    made_ = storage.finish((study, 0), TrialState.COMPLETE, value=kind(3), noise=kind(2))
    assert (made_.value, made_.noise) == (3.0, 2.0)
    assert (type(made_.value), type(made_.noise)) == (float, float)
