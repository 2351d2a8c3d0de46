"""The study of an adjustment: its budget, its resume, and what earlier ones lend it."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gptune import Float
from gptune.adjustment.state import Order
from gptune.adjustment.tuning import DAY, Tuned, Tuning, open_storage, tune, with_order
from gptune.errors import UsageError
from gptune.presets import ALGORITHMS
from gptune.study.storage import Storage
from gptune.study.trial import Trial


def bowl(params: Any) -> float:
    return float((params["x"] - 0.3) ** 2)


def tuning(**chosen: Any) -> Tuning:
    usual: dict[str, Any] = {"objective": bowl, "space": {"x": Float(0.0, 1.0)}, "n_trials": 6}
    return Tuning(**{**usual, "method": "random", **chosen})


def run(made: Tuning, storage: Storage, number: int = 1, **chosen: Any) -> Tuned:
    usual: dict[str, Any] = {"running": {"x": 0.9}, "retrain": dict, "now": 1e9}
    return tune(made, storage, number, **{**usual, "stopped": lambda: False, **chosen})


def test_what_runs_is_tried_first_and_the_best_is_given(tmp_path: Path) -> None:
    with closing(open_storage(tmp_path)) as storage:
        found = run(tuning(), storage)
        assert found.study == "agent/1"
        assert found.trials == {"complete": 6}
        assert found.before == pytest.approx(0.36)
        assert found.best is not None
        assert found.value == bowl(found.best)
        assert found.value <= (found.before or 0.0)


def test_a_study_that_was_stopped_goes_on(tmp_path: Path) -> None:
    with closing(open_storage(tmp_path)) as storage:
        asked: list[int] = []

        def stopped() -> bool:
            asked.append(1)
            return len(asked) == 3

        assert run(tuning(), storage, stopped=stopped).trials == {"complete": 3}
        assert run(tuning(), storage).trials == {"complete": 6}


def test_retrain_may_be_called_once_a_trial(tmp_path: Path) -> None:
    made: list[Any] = []

    def retrain(params: Any) -> float:
        made.append(params)
        return float(params["x"])

    def objective(candidate: float, trial: Trial) -> float:
        assert trial.params["x"] == candidate
        return candidate

    with closing(open_storage(tmp_path)) as storage:
        each = tuning(objective=objective, retrain_each=True)
        run(each, storage, retrain=retrain)
        assert len(made) == 6
        run(tuning(), storage, number=2, retrain=lambda params: pytest.fail("not asked for"))


def test_the_best_of_earlier_adjustments_is_tried_again_and_fades(tmp_path: Path) -> None:
    clock = [1e9]
    storage = Storage(tmp_path / "studies.db", clock=lambda: clock[0])
    old = tuning(warm_starts=2, half_life=DAY)
    first = run(old, storage, 1, running=None)
    clock[0] += 30 * DAY
    second = run(old, storage, 2, running=None, now=clock[0])
    third = run(old, storage, 3, now=clock[0])
    record = storage.find("agent/3")
    assert record is not None
    points = [trial.params for trial in storage.changes(record.id, 0).trials]
    assert points[0] == {"x": 0.9}
    assert points[1] == second.best, "the younger of two"
    assert first.best is not None
    assert third.trials == {"complete": 6}
    storage.close()


def test_a_point_that_lies_in_the_space_no_more_is_left_out(tmp_path: Path) -> None:
    with closing(open_storage(tmp_path)) as storage:
        found = run(tuning(space={"x": Float(0.0, 0.5)}), storage)
        assert found.before is None
        found = run(tuning(), storage, number=2, running={"x": 0.9, "old": 3})
        assert found.trials == {"complete": 6}


def test_trials_that_fail_are_no_best(tmp_path: Path) -> None:
    def fails(params: Any) -> float:
        raise ValueError("no data")

    with closing(open_storage(tmp_path)) as storage:
        found = run(tuning(objective=fails), storage)
        assert (found.best, found.trials) == (None, {"failed": 6})


def test_what_is_wanted_by_hand_counts() -> None:
    made = tuning()
    assert with_order(made, None) is made
    wanted = Order(agent_name="mine", algorithm="Q-learning", method="grid", n_trials=3)
    changed = with_order(made, wanted)
    assert changed.space == ALGORITHMS["q_learning"]
    assert (changed.agent_name, changed.method, changed.n_trials) == ("mine", "grid", 3)
    assert with_order(made, Order()) == made


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"method": "tpe"}, "method: is unknown"),
        ({"n_trials": 0}, "n_trials: must be"),
        ({"half_life": 0.0}, "half_life: must be"),
    ],
)
def test_what_is_wrong_is_named(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        tuning(**chosen)
    with pytest.raises(UsageError, match="algorithm: is unknown, got 'sarsa'"):
        with_order(tuning(), Order(algorithm="sarsa"))
