"""Figures over time: how a study has gone, and how each of its trials has."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gptune.plots.style import (
    BEST,
    DIMMED,
    MARKS,
    MOST,
    dress,
    hover,
    note_of,
    plotly,
    scale_of,
    thinned,
)
from gptune.plots.subject import Given, Subject, is_complete, subject_of
from gptune.study.records import TrialRecord, TrialState

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CURVES = 100  # that are drawn: more hide each other
EDGE = 0.02  # where trials without a number are marked: just above the lower edge


def history(study: Given, direction: str | None = None) -> "Figure":
    """Draw the value of each trial over its number, and the best so far as a line.

    A pruned trial stands at the value that it reported last. A trial without a number is marked
    at the lower edge.

    Args:
        study: A `Study`, or a list of trials.
        direction: ``minimize`` or ``maximize``, for a list of trials.

    Raises:
        StudyError: If no trial is finished.
        ImportError: If Plotly is not installed.
    """
    subject = subject_of("history", study, direction)
    trials = subject.finished()
    line = _best_so_far(subject, trials)
    drawn = thinned(trials, MOST * 3 // 4)
    figure = plotly().Figure()
    figure.add_scatter(
        x=[number for number, _ in line],
        y=[value for _, value in line],
        name="best so far",
        mode="lines",
        line={"color": BEST, "width": 2, "shape": "hv"},
        hovertemplate="best so far %{y:.4g}<extra></extra>",
    )
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED):
        _mark(figure, state, [trial for trial in drawn if trial.state is state])
    scale = scale_of(value for value in map(_height, trials) if value is not None)
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title=subject.objective, type=scale)
    edge = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    figure.update_layout(yaxis2={**edge, "type": "linear", "title": None})
    return dress(figure, subject, "History", note_of(len(drawn), len(trials)))


def _best_so_far(subject: Subject, trials: Sequence[TrialRecord]) -> list[tuple[int, float]]:
    """Give the corners of the line: number of the trial, value; the last one ends it."""
    best: TrialRecord | None = None
    corners: list[tuple[int, float]] = []
    for trial in trials:
        if is_complete(trial) and subject.better(trial, best):
            best = trial
            corners.append((trial.number, trial.value or 0.0))
    corners = thinned(corners, MOST // 4)
    if corners and corners[-1][0] < trials[-1].number:
        corners.append((trials[-1].number, corners[-1][1]))
    return corners


def _mark(figure: Any, state: TrialState, trials: Sequence[TrialRecord]) -> None:
    """Mark the trials that ended in one way, those without a number at the lower edge."""
    name, heights = state.value, [_height(trial) for trial in trials]
    both = list(zip(trials, heights, strict=True))
    for axis, rows in (
        ("y", [(trial, value) for trial, value in both if value is not None]),
        ("y2", [(trial, EDGE) for trial, value in both if value is None]),
    ):
        if rows:
            figure.add_scatter(
                x=[trial.number for trial, _ in rows],
                y=[value for _, value in rows],
                yaxis=axis,
                name=name if axis == "y" else f"{name}, no number",
                mode="markers",
                marker=MARKS[state],
                hovertext=[hover(trial) for trial, _ in rows],
                hoverinfo="text",
            )


def _height(trial: TrialRecord) -> float | None:
    """Give where a trial stands: its value, or what it reported last before it was pruned."""
    value = trial.last if trial.state is TrialState.PRUNED else trial.value
    return value if value is not None and math.isfinite(value) else None


def learning_curves(study: Given, direction: str | None = None) -> "Figure":
    """Draw what each trial reported over its steps, the best complete one in front.

    Args:
        study: A `Study`, or a list of trials.
        direction: ``minimize`` or ``maximize``, for a list of trials.

    Raises:
        StudyError: If no trial has reported a number.
        ImportError: If Plotly is not installed.
    """
    subject = subject_of("learning_curves", study, direction)
    trials = subject.reporting()
    best = subject.best(trials)
    drawn = thinned(trials, CURVES, [trials.index(best)] if best is not None else [])
    drawn.sort(key=lambda trial: (trial is best, trial.state is TrialState.COMPLETE))
    most = max(2, MOST // len(drawn))
    figure = plotly().Figure()
    seen: set[str] = set()
    for trial in drawn:
        group = "best" if trial is best else trial.state.value
        _curve(figure, trial, thinned(_points(trial), most), group)
        figure.data[-1].showlegend = group not in seen
        seen.add(group)
    figure.update_xaxes(title="step")
    figure.update_layout(legend={"traceorder": "reversed"})  # the best is drawn last
    heights = [value for trial in drawn for _, value in _points(trial)]
    figure.update_yaxes(title=subject.objective, type=scale_of(heights))
    is_thinned = max(len(_points(trial)) for trial in drawn) > most
    notes = [note_of(len(drawn), len(trials)), f"{most} reports of each" if is_thinned else ""]
    return dress(figure, subject, "Learning curves", "; ".join(filter(None, notes)))


def _points(trial: TrialRecord) -> list[tuple[int, float]]:
    return [(step, trial.reports[step]) for step in sorted(trial.reports) if _is_there(trial, step)]


def _is_there(trial: TrialRecord, step: int) -> bool:
    return math.isfinite(trial.reports[step])


def _curve(figure: Any, trial: TrialRecord, points: list[tuple[int, float]], group: str) -> None:
    """Draw one trial; the best stands out, and one that was ended early is dimmed."""
    is_best, is_dimmed = group == "best", trial.state in (TrialState.PRUNED, TrialState.FAILED)
    color = BEST if is_best else DIMMED if is_dimmed else MARKS[trial.state]["color"]
    figure.add_scatter(
        x=[step for step, _ in points],
        y=[value for _, value in points],
        name=group,
        legendgroup=group,
        mode="lines+markers",
        line={"color": color, "width": 3 if is_best else 1, "dash": _dash(trial.state)},
        marker={"size": 6 if is_best else 3},
        opacity=1.0 if is_best else 0.35 if is_dimmed else 0.7,
        hovertext=hover(trial),
        hoverinfo="x+y+text",
    )


def _dash(state: TrialState) -> str:
    return "dot" if state is TrialState.FAILED else "solid"
