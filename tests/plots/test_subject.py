"""What a figure is about is read from studies and from trials; what is missing is said."""

import math
from typing import Any

import pytest

from gptune import Float, RandomSampler, Study
from gptune.errors import StudyError
from gptune.plots.subject import Subject, subject_of
from gptune.study.records import TrialRecord, TrialState
from tests.plots.studies import empty, line, nets

SPACE = {"rate": Float(0.0, 1.0), "width": Float(0.0, 1.0)}


def made(direction: str = "minimize", values: list[float | None] | None = None) -> Subject:
    return Subject("slices", "one", direction, SPACE, line(values or [3.0, 1.0, None, 1.0, 2.0]))


def test_a_study_and_its_trials_alone_are_the_same_subject() -> None:
    study = nets(12)
    whole, alone = (
        subject_of("history", study, None),
        subject_of("history", study.trials, "minimize"),
    )
    assert (whole.name, alone.name) == ("nets", "")
    assert whole.trials == alone.trials == study.trials
    assert dict(whole.space) == dict(alone.space) == study.space
    assert whole.direction == alone.direction


def test_trials_alone_come_in_the_order_of_their_numbers() -> None:
    trials = line([3.0, 1.0, 2.0])
    assert subject_of("history", trials[::-1], "minimize").trials == trials


@pytest.mark.parametrize("direction", [None, "down"])
def test_trials_alone_need_a_direction(direction: str | None) -> None:
    with pytest.raises(StudyError, match=r"^history: .* one of minimize, maximize, got"):
        subject_of("history", line([1.0]), direction)


def test_a_direction_that_is_not_the_studys_is_refused() -> None:
    study = empty(direction="maximize")
    assert subject_of("history", study, "maximize").sign == 1.0
    with pytest.raises(StudyError, match="direction is 'maximize'; leave it out"):
        subject_of("history", study, "minimize")


@pytest.mark.parametrize("given", ["study.db", 3, None, [1.0]])
def test_what_is_no_study_is_refused(given: Any) -> None:
    with pytest.raises(StudyError, match=r"^slices: needs a Study, or a list of trials, got"):
        subject_of("slices", given, "minimize")


def test_the_best_is_the_first_of_the_best_complete_ones() -> None:
    for direction, number in (("minimize", 1), ("maximize", 0)):
        subject = made(direction)
        best = subject.best(subject.trials)
        assert best is not None
        assert best.number == number
        assert subject.better(best, None)
        assert not subject.better(best, best)
    assert subject.best([]) is None


def test_the_axis_says_what_is_better() -> None:
    assert made("minimize").objective == "objective (lower is better)"
    assert made("maximize").objective == "objective (higher is better)"


def test_a_value_that_is_not_finite_is_none() -> None:
    subject = made(values=[math.nan, math.inf, 2.0])
    assert [trial.number for trial in subject.complete()] == [2]


def test_what_there_is_none_of_is_told_with_what_to_do() -> None:
    subject = subject_of("history", empty(), None)
    with pytest.raises(StudyError, match=r"history: of 0 trials of study 'empty' none is finished"):
        subject.finished()
    with pytest.raises(StudyError, match=r"none is complete; run some: study\.optimize\("):
        subject.complete()
    silent = TrialRecord(number=0, state=TrialState.RUNNING, reports={0: math.nan})
    with pytest.raises(StudyError, match=r"call trial\.report\(value, step\) in the objective"):
        subject_of("learning_curves", [silent], "minimize").reporting()


def test_an_unknown_parameter_is_named_with_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"no parameter 'with'; did you mean 'width'\?"):
        made().parameters(["rate", "with"])
    with pytest.raises(StudyError, match=r"what was given has no parameter 'x'; valid: "):
        subject_of("slices", line([1.0]), "minimize").parameters("x")


def test_parameters_are_those_chosen_once_each_or_all_that_vary() -> None:
    assert made().parameters() == ["rate", "width"]
    assert made().parameters("width") == ["width"]
    assert made().parameters(["width", "rate", "width"]) == ["width", "rate"]
    with pytest.raises(StudyError, match="name at least one"):
        made().parameters([])
    space = {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "k": {"type": "int", "low": 3, "high": 3},
    }
    study = Study("one", space=space, sampler=RandomSampler())
    assert subject_of("slices", study, None).parameters() == ["x"]
    alone = Study("two", space={"k": space["k"]}, sampler=RandomSampler())
    assert subject_of("slices", alone, None).parameters() == ["k"]
