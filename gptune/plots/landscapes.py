"""Figures of what the model says: which parameters matter, and where the objective is good."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gptune.errors import StudyError
from gptune.plots.axes import Axis, axis_of, grid
from gptune.plots.style import (
    MARKS,
    MOST,
    SCALE,
    STAR,
    dress,
    hover,
    note_of,
    plain,
    plotly,
    thinned,
)
from gptune.plots.subject import Given, Subject, subject_of
from gptune.records import Scalar, show
from gptune.study.domains import inner
from gptune.study.records import TrialRecord
from gptune.study.samplers import View
from gptune.study.study import Study

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FIRST, TOTAL = "#56B4E9", "#0072B2"
PLACES = 4  # parameters whose values are written below a contour


def importance(study: Study) -> "Figure":
    """Draw how much each parameter matters, the most important one on top: Sobol indices.

    First order is what it explains of the objective's variance alone; total, together with what
    it does in concert with others.

    Args:
        study: The study.

    Raises:
        StudyError: If there are too few trials.
        ImportError: If Plotly is not installed.
    """
    subject = subject_of("importance", study, None)
    subject.complete()
    found = study.importance()
    names = [plain(name) for name in found]
    figure = plotly().Figure()
    for label, color, shares in (
        ("total", TOTAL, [one.total for one in found.values()]),
        ("first order", FIRST, [one.first for one in found.values()]),
    ):
        figure.add_bar(
            x=shares,
            y=names,
            orientation="h",
            name=label,
            marker={"color": color},
            hovertemplate="%{y}: %{x:.3f}",
        )
    figure.update_xaxes(title="share of the objective's variance", rangemode="tozero")
    figure.update_yaxes(title="parameter", type="category", autorange="reversed")
    figure.update_layout(barmode="group", height=200 + 45 * len(names))
    return dress(figure, subject, "Importance")


def contour(study: Given, x: str, y: str, direction: str | None = None) -> "Figure":
    """Draw the posterior mean of a Gaussian process over two parameters, and the trials.

    The other parameters are as in the best trial. Good is dark.

    Args:
        study: A `Study`, or a list of trials.
        x: The parameter from left to right.
        y: The parameter from bottom to top.
        direction: ``minimize`` or ``maximize``, for a list of trials.

    Raises:
        StudyError: If there are too few trials, or a parameter is unknown or was not varied.
        ImportError: If Plotly is not installed.
    """
    subject = subject_of("contour", study, direction)
    trials, pair = subject.complete(), _pair(subject, x, y)
    best = subject.best(trials)
    assert best is not None
    there = [trial for trial in trials if all(name in trial.params for name in pair)]
    drawn = thinned(there, MOST)
    across, up = (_axis(subject, name, there) for name in pair)
    figure = plotly().Figure()
    held = _surface(figure, subject, best, (across, up))
    _marks(figure, drawn, best, (across, up))
    figure.update_xaxes(across.layout())
    figure.update_yaxes(up.layout())
    notes = [held, note_of(len(drawn), len(trials))]
    return dress(figure, subject, "Posterior mean", "; ".join(filter(None, notes)))


def _pair(subject: Subject, x: str, y: str) -> tuple[str, str]:
    """Check both parameters.

    Raises:
        StudyError: If one is unknown or was not varied, or they are the same.
    """
    subject.parameters([x, y])
    for name in (x, y):
        if inner(subject.space[name]) is None:
            raise StudyError(f"contour: {name!r} has one value only; choose another parameter")
    if x == y:
        raise StudyError(f"contour: needs two different parameters, got {x!r} twice; see slices")
    return x, y


def _axis(subject: Subject, name: str, trials: Iterable[TrialRecord]) -> Axis:
    domain = subject.space[name]
    return axis_of(name, domain, [*grid(domain), *(trial.params[name] for trial in trials)])


def _surface(figure: Any, subject: Subject, best: TrialRecord, axes: tuple[Axis, Axis]) -> str:
    """Draw the posterior mean; says what the other parameters are."""
    from gptune.study.landscape import landscape_of

    finished = subject.finished()
    view = View(number=0, seed=0, sign=subject.sign, space=subject.space, finished=finished)
    landscape = landscape_of(view, "contour")
    around = landscape.point(best)
    across, up = (grid(subject.space[axis.name]) for axis in axes)
    points = [{**around, axes[0].name: a, axes[1].name: b} for b in up for a in across]
    values = [value if math.isfinite(value) else None for value in landscape.values(points)]
    is_smooth = all(axis.type != "category" for axis in axes)
    draw = figure.add_contour if is_smooth else figure.add_heatmap
    draw(
        x=axes[0].at(across),
        y=axes[1].at(up),
        z=[values[i : i + len(across)] for i in range(0, len(values), len(across))],
        name="posterior mean",
        colorscale=SCALE,
        reversescale=subject.sign > 0,  # good is dark
        colorbar={"title": {"text": subject.objective, "side": "right"}},
        hovertemplate="%{x}, %{y}: %{z:.4g}<extra></extra>",
    )
    return _held({n: v for n, v in around.items() if n not in [axis.name for axis in axes]}, best)


def _held(others: dict[str, Scalar], best: TrialRecord) -> str:
    """Write down where the other parameters are."""
    if not others:
        return ""
    shown = [f"{plain(n)} = {plain(show(v))}" for n, v in list(others.items())[:PLACES]]
    more = [f"{len(others) - PLACES} more"] if len(others) > PLACES else []
    return f"as in trial {best.number}: {', '.join(shown + more)}"


def _marks(
    figure: Any, trials: Iterable[TrialRecord], best: TrialRecord, axes: tuple[Axis, Axis]
) -> None:
    """Mark the trials, and the best one if it has both parameters."""
    across, up = axes
    rows = [trial for trial in trials if trial is not best]
    stars = [best] if across.name in best.params and up.name in best.params else []
    circle = {**MARKS[best.state], "color": "white", "line": {"color": "black", "width": 1}}
    for name, found, mark in (("trials", rows, circle), ("best", stars, STAR)):
        figure.add_scatter(
            x=across.at(trial.params[across.name] for trial in found),
            y=up.at(trial.params[up.name] for trial in found),
            name=name,
            mode="markers",
            marker=mark,
            hovertext=[hover(trial) for trial in found],
            hoverinfo="text",
        )
    figure.update_layout(
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}
    )
