"""How figures look: colours that the colour-blind can tell apart, words, and what is left out."""

import html
import importlib
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from gptune.plots.subject import Subject
from gptune.records import show
from gptune.study.records import TrialRecord, TrialState

MISSING = "gptune.plots needs Plotly: pip install 'gptune-torch[plot]'"
MOST = 2000  # points that are drawn: more tell the eye nothing, and make a browser slow
WIDE = 2.0  # beyond so many decades values are drawn on a logarithmic axis
LONGEST, PARAMETERS = 80, 20  # letters of a text, parameters of a trial, that are shown

# Okabe and Ito (2008), Color Universal Design; shapes differ as well.
BEST, DIMMED = "#D55E00", "#999999"
MARKS = {
    TrialState.COMPLETE: {"color": "#0072B2", "symbol": "circle", "size": 7},
    TrialState.PRUNED: {"color": "#E69F00", "symbol": "triangle-down-open", "size": 8},
    TrialState.FAILED: {"color": "#000000", "symbol": "x-thin-open", "size": 8},
    TrialState.RUNNING: {"color": "#56B4E9", "symbol": "circle-open", "size": 7},
    TrialState.WAITING: {"color": "#56B4E9", "symbol": "circle-open", "size": 7},
}
STAR = {
    "color": BEST,
    "symbol": "star",
    "size": 14,
    "line": {"color": "white", "width": 1},
}
SCALE = "Cividis"  # Nunez, Anderton and Renslow (2018): even also for the colour-blind

T = TypeVar("T")


def plotly(part: str = "graph_objects") -> Any:
    """Load a part of Plotly.

    Raises:
        ImportError: If it is not installed; it names the extra.
    """
    try:
        return importlib.import_module(f"plotly.{part}")
    except ModuleNotFoundError as missing:
        if str(missing.name).partition(".")[0] != "plotly":
            raise
        raise ImportError(MISSING) from missing


def dress(figure: Any, subject: Subject, title: str, note: str = "") -> Any:
    """Give a figure its title, and a note below it; gives the figure."""
    of = f" of {plain(subject.name)}" if subject.name else ""
    figure.update_layout(
        template="plotly_white",
        title={"text": title + of, "subtitle": {"text": note}},
        margin={"t": 90},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(exponentformat="power", hoverformat=".4g")
    figure.update_yaxes(exponentformat="power", hoverformat=".4g")
    return figure


def plain(text: object) -> str:
    """Write a text of the user's so that Plotly shows it as it is, and not as markup.

    Example:
        >>> plain("a<b")
        'a&lt;b'
    """
    return html.escape(shortened(str(text)), quote=False)


def shortened(text: str) -> str:
    """Cut a text off that is too long to be read."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def hover(trial: TrialRecord) -> str:
    """Write what is shown where the mouse points at a trial."""
    lines = [f"trial {trial.number}, {trial.state.value}"]
    if trial.value is not None:
        lines.append(f"value {show(trial.value)}")
    if trial.error:
        lines.append(plain(trial.error.splitlines()[0]))
    params = list(trial.params.items())
    lines += [f"{plain(name)} = {plain(show(value))}" for name, value in params[:PARAMETERS]]
    if len(params) > PARAMETERS:
        lines.append(f"and {len(params) - PARAMETERS} more")
    return "<br>".join(lines)


def is_wide(values: Iterable[float]) -> bool:
    """Say whether values need a logarithmic axis: positive, and more than two decades apart.

    Example:
        >>> is_wide([0.01, 2.0]), is_wide([0.01, 1.0]), is_wide([0.0, 5.0])
        (True, False, False)
    """
    known = list(values)
    if not known or min(known) <= 0:
        return False
    return math.log10(max(known)) - math.log10(min(known)) > WIDE


def scale_of(values: Iterable[float]) -> str:
    """Give the type of an axis for values of the objective."""
    return "log" if is_wide(values) else "linear"


def thinned(items: Sequence[T], most: int, keep: Collection[int] = ()) -> list[T]:
    """Leave out some of too many, evenly; the first and the last stay, and those to keep.

    Args:
        items: All of them.
        most: How many may stay, besides those to keep; at least two.
        keep: Indices of others that stay.

    Example:
        >>> thinned(range(100), 4, keep=[50])
        [0, 33, 50, 66, 99]
    """
    if len(items) <= most:
        return list(items)
    even = {index * (len(items) - 1) // (most - 1) for index in range(most)}
    return [items[index] for index in sorted(even.union(keep))]


def note_of(drawn: int, there: int, what: str = "trials") -> str:
    """Say what was left out; nothing if that was nothing.

    Example:
        >>> note_of(2, 10), note_of(10, 10)
        ('2 of 10 trials are drawn', '')
    """
    return f"{drawn} of {there} {what} are drawn" if drawn < there else ""
