"""How a study and its trials have gone: the right points, the best line, and what has no number."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune import Study
from gptune.errors import StudyError
from gptune.plots import history, learning_curves
from gptune.plots.courses import CURVES
from gptune.plots.style import BEST, DIMMED, MOST
from gptune.study.records import TrialRecord, TrialState
from tests.plots.studies import check_figure, empty, line, nets, traces
from tests.study.drawing import reported

values = st.none() | st.floats(-1e300, 1e300)


@pytest.fixture(scope="module")
def study() -> Study:
    return nets()


def numbers(study: Study, state: str) -> list[int]:
    return [trial.number for trial in study.trials if trial.state == state]


def test_each_trial_is_marked_by_how_it_ended(study: Study) -> None:
    figure = history(study)
    found = traces(figure)
    assert list(found) == ["best so far", "complete", "pruned", "failed, no number"]
    for name, state in (
        ("complete", "complete"),
        ("pruned", "pruned"),
        ("failed, no number", "failed"),
    ):
        assert list(found[name].x) == numbers(study, state)
    assert found["failed, no number"].yaxis == "y2"
    assert list(found["complete"].y) == [t.value for t in study.trials if t.state == "complete"]
    assert list(found["pruned"].y) == [t.last for t in study.trials if t.state == "pruned"]
    plain = check_figure(figure)
    assert plain["layout"]["title"]["text"] == "History of nets"
    assert plain["layout"]["xaxis"]["title"]["text"] == "trial"
    assert plain["layout"]["yaxis"]["title"]["text"] == "objective (lower is better)"


def test_pointing_at_a_trial_shows_its_parameters_with_four_digits(study: Study) -> None:
    shown = traces(history(study))["complete"]
    trial = study.trials[shown.x[0]]
    assert f"rate = {trial.params['rate']:.4g}" in shown.hovertext[0]
    assert shown.hoverinfo == "text"


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_line_goes_through_what_was_best_so_far(direction: str) -> None:
    sign = 1.0 if direction == "minimize" else -1.0
    trials = line([None, sign * 5, sign * 7, sign * 3, None, sign * 3, sign * 4])
    best = traces(history(trials, direction))["best so far"]
    assert list(best.x) == [1, 3, 6]
    assert list(best.y) == [sign * 5, sign * 3, sign * 3]
    assert best.line.shape == "hv"


@given(st.lists(values, min_size=1, max_size=30))
def test_any_history_can_be_drawn_and_its_line_only_falls(drawn: list[float | None]) -> None:
    best = traces(history(line(drawn), "minimize"))["best so far"]
    known = [value for value in drawn if value is not None]
    assert list(best.y) == sorted(best.y, reverse=True)
    assert list(best.y[-1:]) == ([min(known)] if known else [])


@pytest.mark.parametrize(
    ("drawn", "kind"),
    [([1e-3, 1.0], "log"), ([0.1, 1.0], "linear"), ([-1.0, 1e3], "linear"), ([None], "linear")],
)
def test_the_axis_is_logarithmic_where_values_ask_for_it(drawn: Any, kind: str) -> None:
    figure = history(line(drawn), "minimize")
    assert figure.layout.yaxis.type == kind
    assert figure.layout.yaxis2.type == "linear"


def test_a_pruned_trial_without_a_finite_report_is_marked_at_the_edge() -> None:
    bare = [
        TrialRecord(number=number, state=TrialState.PRUNED, reports=reports)
        for number, reports in enumerate([{}, {0: math.nan}, {0: 1.0}])
    ]
    found = traces(history(bare, "minimize"))
    assert list(found["pruned"].x) == [2]
    assert list(found["pruned, no number"].x) == [0, 1]
    check_figure(history(bare, "minimize"))


def test_a_long_history_is_thinned_and_its_best_line_stays_true() -> None:
    trials = line([1.0 / (1 + number) for number in range(10_000)])
    figure = history(trials, "minimize")
    found = traces(figure)
    assert sum(len(trace.x) for trace in figure.data) <= MOST
    assert found["complete"].x[0] == 0
    assert found["complete"].x[-1] == found["best so far"].x[-1] == 9999
    assert figure.layout.title.subtitle.text == "1500 of 10000 trials are drawn"
    check_figure(figure)


def test_an_empty_study_is_told_what_to_do() -> None:
    with pytest.raises(StudyError, match=r"history: of 0 trials .*; run some: study\.optimize"):
        history(empty())
    with pytest.raises(StudyError, match=r"learning_curves: of 0 trials .* call trial\.report"):
        learning_curves(empty())


def test_each_trial_that_reported_is_a_curve_and_the_best_lies_in_front(study: Study) -> None:
    figure = learning_curves(study)
    assert len(figure.data) == len(study.trials)
    front = figure.data[-1]
    assert (front.name, front.line.color, front.line.width) == ("best", BEST, 3)
    assert dict(zip(front.x, front.y, strict=True)) == study.best_trial.reports
    dimmed = [trace for trace in figure.data if trace.name == "pruned"]
    assert len(dimmed) == len(numbers(study, "pruned")) > 0
    assert all(trace.line.color == DIMMED and trace.opacity < 0.5 for trace in dimmed)
    others = [trace for trace in figure.data if trace.name == "complete"]
    assert all(trace.opacity > 0.5 for trace in others)
    assert figure.layout.xaxis.title.text == "step"
    check_figure(figure)


def test_each_kind_of_curve_stands_once_in_the_legend(study: Study) -> None:
    shown = [trace.name for trace in learning_curves(study).data if trace.showlegend]
    assert sorted(shown) == ["best", "complete", "failed", "pruned"]


def test_reports_come_in_the_order_of_their_steps_and_only_numbers_are_drawn() -> None:
    reports = {5: 1.0, 1: 3.0, 3: math.nan, 4: math.inf}
    only = TrialRecord(number=0, state=TrialState.RUNNING, reports=reports)
    figure = learning_curves([only], "minimize")
    (trace,) = figure.data
    assert (list(trace.x), list(trace.y), trace.name) == ([1, 5], [3.0, 1.0], "running")
    check_figure(figure)


def test_many_long_curves_are_thinned_and_the_best_stays() -> None:
    def reports(number: int) -> dict[str, Any]:
        return {"reports": {step: 1.0 + step for step in range(500)}}

    trials = line([abs(number - 333) + 1.0 for number in range(1000)], reports)
    figure = learning_curves(trials, "minimize")
    assert len(figure.data) <= CURVES + 1
    assert sum(len(trace.x) for trace in figure.data) <= MOST
    assert figure.data[-1].name == "best"
    assert figure.data[-1].hovertext.startswith("trial 333,")
    note = figure.layout.title.subtitle.text
    assert note == f"{len(figure.data)} of 1000 trials are drawn; 20 reports of each"
    assert figure.data[0].x[-1] == 499


@given(st.lists(st.integers(0, 50).flatmap(reported), min_size=1, max_size=6))
def test_any_trials_that_reported_can_be_drawn(trials: list[TrialRecord]) -> None:
    if any(math.isfinite(value) for trial in trials for value in trial.reports.values()):
        figure = learning_curves(trials, "maximize")
        assert "NaN" not in figure.to_json()
        assert all(len(trace.x) == len(trace.y) >= 1 for trace in figure.data)
