"""The page of a run, and that of several."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from gptune import Tuner
from gptune.errors import RunDirectoryError, UsageError
from gptune.events import Applied, KnobReading, Observed, Proposed, RolledBack
from gptune.records import Change, Reason, Slice
from gptune.report import comparison, run_report
from gptune.report import run_pages as room
from gptune.report.run_pages import RUNS
from gptune.report.says import counterfactual
from gptune.run_directory.names import TWIN
from tests.cli.runs import make_run
from tests.logs import KernelRun, kernel_runs, knob, opened
from tests.report.pages import check, kernel_run, run_of
from tests.training import Training, run_decisions


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "tuned"
    make_run(directory)
    return directory


def observed(directory: Path, mode: str = "observe", **given: object) -> Path:
    """Make a run in which nothing is changed."""
    training = Training()
    tuner = Tuner(training.optimizer, run_dir=directory, mode=mode, seed=1, **given)  # type: ignore[arg-type]
    run_decisions(training, tuner, [1 / (n + 3) for n in range(20)])
    tuner.close()
    return directory


@settings(max_examples=20)
@given(kernel_runs())
def test_every_log_makes_a_sound_page(made: KernelRun) -> None:
    run = kernel_run(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "read", lambda _: run)
        check(run_report(Path("there")))
        check(comparison([Path("there"), Path("there")]))


def test_a_page_says_all_that_it_should(tuned: Path) -> None:
    reader = check(run_report(tuned))
    for said in (
        *("tuned", "mode active", "changes tried", "No twin run: estimate", "your schedule"),
        *("allowed", "Safety ledger", "Time spent", "the Gaussian process", "P(gain)", "seed"),
        *("What differs from the defaults", "acceptance:", "version: 1", "torch"),
    ):
        assert said in reader.text, said
    assert {"verdict", "curve", "changes", "beliefs", "ledger", "time", "recipe"} <= set(reader.ids)


def test_a_twin_is_found_in_the_run_or_given_and_is_named(tuned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned, run)
    twin = observed(tmp_path / "twin")
    assert "Its twin without gptune" in run_report(run, twin)
    assert "No twin run" in run_report(run)
    observed(run / TWIN)
    assert "Its twin without gptune" in run_report(run)


def test_a_twin_that_is_none_is_refused(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="something was changed"):
        run_report(tuned, tuned)
    other = observed(tmp_path / "other", objective="accuracy")
    with pytest.raises(UsageError, match="give its own twin"):
        run_report(tuned, other)


def test_runs_side_by_side_say_what_differs(tuned: Path, tmp_path: Path) -> None:
    watched = observed(tmp_path / "watched")
    reader = check(comparison([tuned, watched]))
    assert "2 runs of val/loss" in reader.text
    assert "acceptance.probability" in reader.text
    assert "watched" in reader.text
    alike = check(comparison([tuned, tuned]))
    assert "Nothing." in alike.text


def test_runs_of_two_objectives_are_not_compared(tuned: Path, tmp_path: Path) -> None:
    other = observed(tmp_path / "other", objective="accuracy")
    with pytest.raises(UsageError, match="compare runs of one objective"):
        comparison([tuned, other])


def test_a_page_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="holds no events"):
        run_report(tmp_path)


def test_a_run_that_still_goes_or_was_only_begun_has_a_page(tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, run_dir=tmp_path / "r", mode="suggest") as tuner:
        assert "not closed" in check(run_report(tmp_path / "r")).text
        run_decisions(training, tuner, [1.0])
        assert "not closed" in check(run_report(tmp_path / "r")).text


def test_a_page_of_a_long_run_with_many_knobs_and_long_names_fits() -> None:
    families = [f"loss.{'long name ' * 50}{n}" for n in range(30)]
    told: list[tuple[int, Any]] = [(0, opened(knobs={family: knob() for family in families}))]
    curve = Slice(at=(0.0, 0.5, 1.0) * 11, mean=(0.1,) * 33, deviation=(0.2,) * 33)
    for n in range(1, 3000):
        family = families[n % 30]
        readings = {f: KnobReading(1.0 + n % 7, 0.5, 1.0) for f in families}
        change = (Change(family, 1.0, 2.0),)
        told += [(n, Observed(metric=1.0 / n, knobs=readings))]
        told += [(n, Proposed(changes=change, source="gp", slices=dict.fromkeys(families, curve)))]
        told += [(n, Applied(id=f"{n}:{family}", changes=change, read_back={}))]
        told += [(n, RolledBack(id=f"{n}:{family}", changes=change, reasons=(Reason.NO_GAIN,)))]
    run = run_of(*told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "read", lambda _: run)
        check(run_report(Path("there")))
        check(comparison([Path("there")] * RUNS))
        with pytest.raises(UsageError, match="name fewer"):
            comparison([Path("there")] * (RUNS + 1))


def test_a_twin_that_has_come_less_far_is_compared_where_both_were() -> None:
    run = run_of((0, opened()), *((n, Observed(metric=1.0 / n)) for n in range(1, 11)))
    twin = run_of((0, opened()), *((n, Observed(metric=2.0 / n)) for n in range(1, 6)))
    said = counterfactual(run, twin)
    assert "stood, at step 50, at 0.4, this run at 0.2" in said


def test_runs_of_one_name_are_told_apart_and_any_name_can_be_shown(
    tuned: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        shutil.copytree(tuned, tmp_path / folder / "run")
    text = check(comparison([tmp_path / "a" / "run", tmp_path / "b" / "run"])).text
    assert "a/run" in text
    assert "b/run" in text
    odd = tmp_path / os.fsdecode(b"odd\xff")
    shutil.copytree(tuned, odd)
    run_report(odd).encode()
