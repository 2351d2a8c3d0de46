"""Panels and parallel axes: every kind of parameter, those that were not always there included."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune import Categorical, Float, Integer, RandomSampler, Study
from gptune.errors import StudyError
from gptune.plots import parallel_coordinates, slices
from gptune.plots.spaces import ABSENT
from gptune.plots.style import MOST
from gptune.study.records import TrialRecord
from tests.plots.studies import check_figure, empty, line, nets, traces
from tests.study.drawing import complete, points_of, spaces

NAMES = ["rate", "kind", "width", "momentum"]


@pytest.fixture(scope="module")
def study() -> Study:
    return nets()


def completed(study: Study) -> list[TrialRecord]:
    return [trial for trial in study.trials if trial.state == "complete"]


def test_each_parameter_has_a_panel_with_the_axis_of_its_domain(study: Study) -> None:
    figure = slices(study)
    found = traces(figure)
    layout = check_figure(figure)["layout"]
    axes = [layout[axis] for axis in ("xaxis", "xaxis2", "xaxis3", "xaxis4")]
    assert [axis["title"]["text"] for axis in axes] == sorted(NAMES, key=list(study.space).index)
    kinds = {axis["title"]["text"]: axis["type"] for axis in axes}
    assert kinds == {"rate": "log", "kind": "category", "width": "linear", "momentum": "linear"}
    for name in NAMES:
        there = [trial for trial in completed(study) if name in trial.params]
        assert list(found[name].x) == [trial.params[name] for trial in there]
        assert list(found[name].y) == [trial.value for trial in there]
        assert list(found[name].marker.color) == [trial.number for trial in there]
    assert 0 < len(found["momentum"].x) < len(found["rate"].x)


def test_the_best_trial_is_a_star_in_the_panels_of_what_it_had(study: Study) -> None:
    stars = [trace for trace in slices(study).data if trace.name == "best"]
    assert len(stars) == len(study.best_params)
    assert {star.y for star in stars} == {(study.best_value,)}


def test_choices_stay_in_the_order_of_their_domain(study: Study) -> None:
    figure = slices(study, "kind")
    assert list(figure.layout.xaxis.categoryarray) == ["adam", "sgd", "lion"]


def test_panels_are_those_that_were_asked_for_in_rows_of_four(study: Study) -> None:
    figure = slices(study, ["width", "rate"])
    assert [trace.name for trace in figure.data if trace.name != "best"] == ["width", "rate"]
    space = {f"p{i}": Float(0.0, 1.0) for i in range(9)}
    many = Study("many", space=space, sampler=RandomSampler(), direction="maximize")
    many.optimize(lambda params: params["p0"], n_trials=5)
    whole = slices(many)
    assert len(traces(whole)) == 10
    assert whole.layout.height > slices(many, ["p0"]).layout.height
    assert whole.layout.yaxis.title.text == "objective (higher is better)"
    assert whole.layout.yaxis2.title.text is None
    check_figure(whole)


def test_wide_values_get_logarithmic_axes_in_all_panels(study: Study) -> None:
    wide = Study("wide", space={"x": Float(-4.0, 4.0), "n": Integer(1, 9)}, sampler=RandomSampler())
    wide.optimize(lambda params: 10 ** params["x"], n_trials=20)
    figure = slices(wide)
    assert figure.layout.yaxis.type == figure.layout.yaxis2.type == "log"


def test_too_many_points_are_thinned_and_the_best_stays() -> None:
    def params(number: int) -> dict[str, Any]:
        space = {"x": Float(0.0, 1.0), "n": Integer(0, 9)}
        return {"params": {"x": number / 5000, "n": number % 10}, "space": space}

    trials = line([abs(number - 1234) + 1.0 for number in range(5000)], params)
    figure = slices(trials, direction="minimize")
    assert sum(len(trace.x) for trace in figure.data) <= MOST + 4
    assert figure.layout.title.subtitle.text == "1001 of 5000 trials are drawn"
    assert 1234 in traces(figure)["x"].marker.color
    lines = parallel_coordinates(trials, direction="minimize")
    drawn = [len(dimension["values"]) for dimension in lines.data[0].dimensions]
    assert sum(drawn) <= MOST
    assert "of 5000 trials are drawn" in lines.layout.title.subtitle.text


@pytest.mark.parametrize("plot", [slices, parallel_coordinates])
def test_what_cannot_be_drawn_is_told(plot: Any, study: Study) -> None:
    with pytest.raises(StudyError, match=r"no parameter 'widht'; did you mean 'width'\?"):
        plot(study, ["rate", "widht"])
    with pytest.raises(StudyError, match=r"none is complete; run some: study\.optimize"):
        plot(empty())


def dimensions(figure: Any) -> dict[str, Any]:
    return {dimension.label: dimension for dimension in figure.data[0].dimensions}


def test_parallel_axes_have_ticks_that_people_can_read(study: Study) -> None:
    figure = parallel_coordinates(study)
    found = dimensions(figure)
    assert list(found) == [*study.space, "objective"]
    assert list(found["rate"].ticktext) == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert list(found["rate"].tickvals) == pytest.approx([-5, -4, -3, -2, -1])
    assert list(found["rate"].range) == pytest.approx([-5, -1])
    assert list(found["kind"].ticktext) == ["adam", "sgd", "lion"]
    assert list(found["width"].ticktext) == ["50", "100", "150", "200", "250"]
    check_figure(figure)


def test_lines_go_through_the_values_of_their_trials_the_best_one_last(study: Study) -> None:
    found = dimensions(parallel_coordinates(study))
    ranked = sorted(completed(study), key=lambda trial: -(trial.value or 0.0))
    assert list(found["rate"]["values"]) == [math.log10(float(t.params["rate"])) for t in ranked]
    assert list(found["width"]["values"]) == [t.params["width"] for t in ranked]
    kinds = ["adam", "sgd", "lion"]
    assert list(found["kind"]["values"]) == [kinds.index(str(t.params["kind"])) for t in ranked]
    assert ranked[-1].number == study.best_trial.number


def test_what_a_trial_did_not_have_lies_below_the_others(study: Study) -> None:
    found = dimensions(parallel_coordinates(study))["momentum"]
    assert found.ticktext[0] == ABSENT
    assert found.tickvals[0] == found.range[0] == min(found["values"]) < 0.0
    ranked = sorted(completed(study), key=lambda trial: -(trial.value or 0.0))
    for place, trial in zip(found["values"], ranked, strict=True):
        assert place == trial.params.get("momentum", found.range[0])


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_good_trials_are_dark(direction: str) -> None:
    trials = [complete(0, {"x": 0.5}, 2.0, space={"x": Float(0.0, 1.0)})]
    line = parallel_coordinates(trials, direction=direction).data[0].line
    assert bool(line.reversescale) is (direction == "maximize")  # the scale begins dark
    assert sum(int(line.colorscale[0][1][i : i + 2], 16) for i in (1, 3, 5)) < 200


def test_an_axis_of_one_value_has_a_width() -> None:
    space = {"x": Float(0.0, 1.0), "k": Categorical(("a", "b"))}
    trials = [complete(0, {"x": 0.5, "k": "a"}, 2.0, space=space)]
    found = dimensions(parallel_coordinates(trials, direction="minimize"))
    assert all(one.range[0] < one.range[1] for one in found.values())
    assert list(found["objective"].ticktext) == ["2"]


@given(st.data())
def test_any_space_can_be_drawn(data: st.DataObject) -> None:
    space = data.draw(spaces(3))
    trials = []
    for number in range(data.draw(st.integers(1, 4))):
        params = data.draw(points_of(space))
        for name in data.draw(st.sets(st.sampled_from(sorted(space)))):
            params.pop(name)
        value = data.draw(st.floats(-1e9, 1e9))
        trials.append(complete(number, params, value, space=space))
    for plot in (slices, parallel_coordinates):
        assert "NaN" not in plot(trials, direction="minimize").to_json()
