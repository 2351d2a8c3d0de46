"""Figures over the space: what each parameter did, alone and together."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gptune.plots.axes import Axis, axis_of
from gptune.plots.style import (
    MOST,
    SCALE,
    STAR,
    dress,
    hover,
    note_of,
    plain,
    plotly,
    scale_of,
    thinned,
)
from gptune.plots.subject import Given, Subject, subject_of
from gptune.records import Scalar
from gptune.study.records import TrialRecord

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLUMNS = 4  # panels side by side
LEAST = 50  # trials in each of many panels
ABSENT, GAP = "absent", 0.12  # of trials that did not have a parameter; how far below the others


def slices(
    study: Given, params: str | Iterable[str] | None = None, direction: str | None = None
) -> "Figure":
    """Draw the values of complete trials over each parameter, one panel a parameter.

    The colour is the number of the trial. A trial stands in the panels of the parameters that it
    had.

    Args:
        study: A `Study`, or a list of trials.
        params: Which parameters; all that have several values by default.
        direction: ``minimize`` or ``maximize``, for a list of trials.

    Raises:
        StudyError: If no trial is complete, or a parameter is unknown.
        ImportError: If Plotly is not installed.
    """
    subject = subject_of("slices", study, direction)
    trials, names = subject.complete(), subject.parameters(params)
    best = subject.best(trials)
    keep = [trials.index(best)] if best is not None else []
    drawn = thinned(trials, max(LEAST, MOST // len(names)), keep)
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = plotly("subplots").make_subplots(rows=rows, cols=columns, shared_yaxes=True)
    for index, name in enumerate(names):
        panel = {"row": 1 + index // columns, "col": 1 + index % columns}
        axis = _axis(subject, name, trials)
        _panel(figure, axis, [trial for trial in drawn if name in trial.params], panel)
        figure.update_xaxes(axis.layout(), **panel)
        if best is not None and name in best.params:
            _star(figure, axis.at([best.params[name]]), best, panel)
            figure.data[-1].showlegend = False
    figure.update_yaxes(type=scale_of(trial.value or 0.0 for trial in trials))
    figure.update_yaxes(title=subject.objective, col=1)
    figure.update_layout(
        height=140 + 300 * rows, coloraxis={"colorscale": SCALE, "colorbar": {"title": "trial"}}
    )
    return dress(figure, subject, "Slices", note_of(len(drawn), len(trials)))


def _axis(subject: Subject, name: str, trials: Sequence[TrialRecord]) -> Axis:
    values = [trial.params[name] for trial in trials if name in trial.params]
    return axis_of(name, subject.space[name], values)


def _panel(figure: Any, axis: Axis, trials: Sequence[TrialRecord], panel: dict[str, int]) -> None:
    figure.add_scatter(
        x=axis.at(trial.params[axis.name] for trial in trials),
        y=[trial.value for trial in trials],
        name=plain(axis.name),
        showlegend=False,
        mode="markers",
        marker={
            "color": [trial.number for trial in trials],
            "coloraxis": "coloraxis",
            "line": {"color": "#555555", "width": 0.5},
            "size": 7,
        },
        hovertext=[hover(trial) for trial in trials],
        hoverinfo="text",
        **panel,
    )


def _star(figure: Any, x: list[Scalar], best: TrialRecord, panel: dict[str, int]) -> None:
    figure.add_scatter(
        x=x,
        y=[best.value],
        name="best",
        mode="markers",
        marker=STAR,
        hovertext=[f"best: {hover(best)}"],
        hoverinfo="text",
        **panel,
    )


def parallel_coordinates(
    study: Given, params: str | Iterable[str] | None = None, direction: str | None = None
) -> "Figure":
    """Draw each complete trial as a line through the axes of its parameters, to its value.

    Good trials are dark, and drawn last. What a trial did not have is marked below the others.

    Args:
        study: A `Study`, or a list of trials.
        params: Which parameters; all that have several values by default.
        direction: ``minimize`` or ``maximize``, for a list of trials.

    Raises:
        StudyError: If no trial is complete, or a parameter is unknown.
        ImportError: If Plotly is not installed.
    """
    subject = subject_of("parallel_coordinates", study, direction)
    trials, names = subject.complete(), subject.parameters(params)
    ranked = sorted(trials, key=lambda trial: subject.sign * (trial.value or 0.0))
    drawn = thinned(ranked, max(LEAST, MOST // (len(names) + 1)))
    values = [trial.value or 0.0 for trial in drawn]
    axes = [_axis(subject, name, drawn) for name in names]
    objective = Axis("objective", scale_of(values), (), min(values), max(values))
    at, written = objective.ticks()
    heights = objective.coordinates(values)
    figure = plotly().Figure()
    figure.add_parcoords(
        dimensions=[_dimension(axis, drawn) for axis in axes]
        + [_line(objective.name, heights, objective.ends, (at, written))],
        line={
            "color": heights,
            "colorscale": SCALE,
            "reversescale": subject.sign > 0,  # good is dark
            "showscale": True,
            "colorbar": {
                "tickvals": at,
                "ticktext": written,
                "title": {"text": subject.objective, "side": "right"},
            },
        },
        labelangle=-20 if len(names) > COLUMNS * 2 else 0,
    )
    dress(figure, subject, "Parallel coordinates", note_of(len(drawn), len(trials)))
    return figure.update_layout(margin={"t": 130, "l": 100})  # room for the labels


def _dimension(axis: Axis, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """Make the axis of a parameter; trials that did not have it lie below the others."""
    there = [trial for trial in trials if axis.name in trial.params]
    found = axis.coordinates(trial.params[axis.name] for trial in there)
    at, written = axis.ticks()
    low, high = axis.ends
    if len(there) == len(trials):
        return _line(axis.name, found, (low, high), (at, written))
    below, known = low - GAP * ((high - low) or 1.0), iter(found)
    coordinates = [next(known) if axis.name in trial.params else below for trial in trials]
    return _line(axis.name, coordinates, (below, high), ([below, *at], [ABSENT, *written]))


def _line(
    name: str,
    coordinates: list[float],
    ends: tuple[float, float],
    ticks: tuple[list[float], list[str]],
) -> dict[str, Any]:
    low, high = ends if ends[0] < ends[1] else (ends[0] - 0.5, ends[1] + 0.5)
    return {
        "label": plain(name),
        "values": coordinates,
        "range": [low, high],
        "tickvals": ticks[0],
        "ticktext": ticks[1],
    }
