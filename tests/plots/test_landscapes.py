"""What the model says: bars in the order of importance, and a surface as the objective has it."""

import math
from typing import Any

import pytest

from gptune import Categorical, Float, Integer, RandomSampler, SobolSampler, Study
from gptune.errors import StudyError
from gptune.plots import contour, importance
from gptune.plots.axes import SIDE
from tests.plots.studies import check_figure, empty, nets, traces

SPACE = {
    "rate": Float(1e-4, 1.0, log=True),
    "n": Integer(1, 9),
    "kind": Categorical(("plain", "fancy")),
    "still": {"type": "int", "low": 3, "high": 3},
}


def bowl(params: dict[str, Any]) -> float:
    return float(
        (math.log10(params["rate"]) + 2) ** 2
        + 0.05 * (params["n"] - 4) ** 2
        + (1.0 if params["kind"] == "fancy" else 0.0)
    )


@pytest.fixture(scope="module")
def study() -> Study:
    study = Study("bowl", space=SPACE, sampler=SobolSampler())
    study.optimize(bowl, n_trials=60)
    return study


def test_bars_show_both_indices_the_most_important_on_top(study: Study) -> None:
    figure = importance(study)
    found, known = traces(figure), study.importance()
    assert list(found) == ["total", "first order"]
    assert list(found["total"].y) == list(found["first order"].y) == list(known)
    assert list(found["total"].x) == [one.total for one in known.values()]
    assert list(found["first order"].x) == [one.first for one in known.values()]
    assert found["total"].y[0] == "rate"
    assert {trace.orientation for trace in figure.data} == {"h"}
    assert figure.layout.yaxis.autorange == "reversed"  # the first one is on top
    check_figure(figure)


def test_the_surface_is_the_objective_at_the_best_trials_other_values(study: Study) -> None:
    figure = contour(study, "rate", "n")
    surface = traces(figure)["posterior mean"]
    assert surface.type == "contour"
    assert (len(surface.x), list(surface.y)) == (SIDE, list(range(1, 10)))
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "linear")
    others = study.best_params
    errors = [
        abs(value - bowl({**others, "rate": rate, "n": n}))
        for n, row in zip(surface.y, surface.z, strict=True)
        for rate, value in zip(surface.x, row, strict=True)
    ]
    assert sum(errors) / len(errors) < 0.15
    check_figure(figure)


def test_what_the_other_parameters_are_is_written_below_the_title(study: Study) -> None:
    note = contour(study, "rate", "n").layout.title.subtitle.text
    assert note == f"as in trial {study.best_trial.number}: kind = plain, still = 3"


def test_the_trials_and_the_best_one_are_marked(study: Study) -> None:
    found = traces(contour(study, "rate", "n"))
    best = study.best_trial
    assert (found["best"].x, found["best"].y) == ((best.params["rate"],), (best.params["n"],))
    assert list(found["trials"].x) == [t.params["rate"] for t in study.trials if t != best]
    assert found["best"].marker.symbol == "star"


def test_a_surface_over_choices_has_a_row_each(study: Study) -> None:
    figure = contour(study, "rate", "kind")
    surface = traces(figure)["posterior mean"]
    assert surface.type == "heatmap"
    assert list(surface.y) == list(figure.layout.yaxis.categoryarray) == ["plain", "fancy"]
    means = [sum(row) / len(row) for row in surface.z]
    assert means[1] - means[0] == pytest.approx(1.0, abs=0.2)
    check_figure(figure)


def test_a_larger_objective_is_better_where_it_is_maximized() -> None:
    study = Study("up", space=SPACE, sampler=SobolSampler(), direction="maximize")
    study.optimize(lambda params: 100.0 - bowl(params), n_trials=40)
    surface = traces(contour(study, "rate", "n"))["posterior mean"]
    heights = [value for row in surface.z for value in row]
    assert 80.0 < min(heights) < max(heights) == pytest.approx(100.0, abs=1.0)
    assert surface.reversescale
    assert not traces(contour(nets(), "rate", "width"))["posterior mean"].reversescale


def test_parameters_that_were_not_always_there_can_be_drawn() -> None:
    study = nets()
    figure = contour(study, "rate", "momentum")
    found = traces(figure)
    there = [t for t in study.trials if t.state == "complete" and "momentum" in t.params]
    assert len(found["trials"].x) + len(found["best"].x) == len(there) > 0
    complete = sum(trial.state == "complete" for trial in study.trials)
    assert f"{len(there)} of {complete} trials are drawn" in figure.layout.title.subtitle.text
    check_figure(figure)


def test_trials_alone_can_be_drawn_too(study: Study) -> None:
    whole, alone = (
        contour(study, "rate", "n"),
        contour(study.trials, "rate", "n", direction="minimize"),
    )
    assert alone.data[0].z == whole.data[0].z
    assert alone.layout.title.text == "Posterior mean"


def test_many_other_parameters_are_not_all_written_down() -> None:
    space = {f"p{i}": Float(0.0, 1.0) for i in range(9)}
    study = Study("many", space=space, sampler=RandomSampler())
    study.optimize(lambda params: params["p0"], n_trials=8)
    assert contour(study, "p0", "p1").layout.title.subtitle.text.endswith(", 3 more")


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("rate", "m"), "contour: study 'bowl' has no parameter 'm'; "),
        (("kin", "rate"), r"no parameter 'kin'; did you mean 'kind'\?"),
        (("rate", "rate"), "needs two different parameters, got 'rate' twice"),
        (("rate", "still"), "'still' has one value only"),
    ],
)
def test_parameters_that_cannot_be_drawn_are_told(
    study: Study, pair: tuple[str, str], said: str
) -> None:
    with pytest.raises(StudyError, match=said):
        contour(study, *pair)


def test_too_few_trials_are_told_with_what_to_do() -> None:
    for call in (lambda study: contour(study, "x", "x"), importance):
        with pytest.raises(StudyError, match=r"of 0 trials .* run some: study\.optimize"):
            call(empty())
    study = Study("few", space=SPACE, sampler=RandomSampler())
    study.optimize(bowl, n_trials=3)
    for call in (lambda study: contour(study, "rate", "n"), importance):
        with pytest.raises(StudyError, match=r"needs 4 finished trials .*; run more"):
            call(study)
