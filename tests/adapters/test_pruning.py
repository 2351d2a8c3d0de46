"""Ending a trial early: what is reported, who is told, and what leaves the training."""

from typing import Any

import pytest
import torch

from gptune import Study, TrialPruned
from gptune.adapters.pruning import find, go_on
from gptune.errors import StudyError
from gptune.study.pruners import ThresholdPruner
from gptune.study.samplers import RandomSampler


def study() -> Study:
    return Study("one", sampler=RandomSampler(), pruner=ThresholdPruner(upper=1.0))


def mine(said: bool) -> bool:
    return said


def test_a_trial_is_reported_and_ended_when_it_is_not_worth_going_on() -> None:
    made = study()
    trial = made.ask()
    go_on(trial, lambda: 0.5, 3, mine)
    with pytest.raises(TrialPruned, match="step 4"):
        go_on(trial, lambda: 1.5, 4, mine)
    assert made.trials[0].reports == {3: 0.5, 4: 1.5}


def test_all_end_where_one_does_and_hear_of_it_also_when_it_fails() -> None:
    heard: list[bool] = []

    def tells(said: bool) -> bool:
        heard.append(said)
        return said

    trial = study().ask()
    go_on(None, pytest.fail, 1, tells)  # another rank: it measures nothing
    with pytest.raises(TrialPruned):
        go_on(None, pytest.fail, 1, lambda said: True)
    with pytest.raises(StudyError, match="no number"):
        go_on(trial, lambda: find({"other": 1.0}, "val/loss"), 1, tells)
    assert heard == [False, True]


@pytest.mark.parametrize("value", [0.5, torch.tensor(0.5), torch.tensor([0.5])])
def test_a_number_of_any_kind_is_found(value: Any) -> None:
    assert find({"val/loss": value}, "val/loss") == 0.5


@pytest.mark.parametrize("metrics", [{}, {"a": 1, "b": 2}, {"val/loss": "low"}])
def test_what_is_not_there_is_named_and_what_is(metrics: dict[str, Any]) -> None:
    listed = ", ".join(sorted(metrics)) or "none"
    with pytest.raises(StudyError, match=f"'val/loss' is no number .* there are {listed}; name"):
        find(metrics, "val/loss")
