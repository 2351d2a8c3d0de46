"""A posterior slice drawn with letters: what the model believed along one knob."""

import math
from itertools import pairwise

from gptune.records import Change, Float, Integer, Scalar, Slice, show

HEIGHT, WIDTH = 9, 66  # rows and columns of the drawing
MEAN, BAND, OLD, NEW = "*", ".", "o", "n"


def chart(curve: Slice, space: Float | Integer, change: Change) -> list[str]:
    """Draw the mean and one deviation to each side, and where a knob was and was to go.

    Args:
        curve: The slice.
        space: Where the knob's moves lie.
        change: The move, from ``o`` to ``n``.

    Returns:
        Lines of text, `HEIGHT` for the curve and three for the axis below it.
    """
    means = [_between(curve.at, curve.mean, column / (WIDTH - 1)) for column in range(WIDTH)]
    spread = [_between(curve.at, curve.deviation, column / (WIDTH - 1)) for column in range(WIDTH)]
    low = min(mean - wide for mean, wide in zip(means, spread, strict=True))
    high = max(mean + wide for mean, wide in zip(means, spread, strict=True))
    step = (high - low) / HEIGHT
    rows = [""] * HEIGHT
    for mean, wide in zip(means, spread, strict=True):
        top, middle, bottom = (_row(v, high, step) for v in (mean + wide, mean, mean - wide))
        for row in range(HEIGHT):
            rows[row] += MEAN if row == middle else BAND if top <= row <= bottom else " "
    labels = [show(high), *[""] * (HEIGHT - 2), show(low)]
    margin = max(map(len, labels))
    drawn = [f"{label:>{margin}} |{row}" for label, row in zip(labels, rows, strict=True)]
    ends = show(space.low) + show(space.high).rjust(WIDTH - len(show(space.low)))
    said = f"{change.family}: {MEAN} mean, {BAND} one deviation, {OLD} where it was, {NEW} proposed"
    below = [_axis(space, change), ends, said]
    return [line.rstrip() for line in [*drawn, *(" " * (margin + 2) + line for line in below)]]


def place(space: Float | Integer, move: Scalar) -> float:
    """Give the coordinate of a move, from 0 to 1, as the search space has it.

    Example:
        >>> round(place(Float(0.01, 100.0, log=True), 1.0), 9)
        0.5
    """
    margin = 0.5 if isinstance(space, Integer) else 0.0
    ends = (space.low - margin, space.high + margin, float(move))
    low, high, here = map(math.log, ends) if space.log else ends
    return min(1.0, max(0.0, (here - low) / (high - low)))


def _axis(space: Float | Integer, change: Change) -> str:
    marks = ["-"] * WIDTH
    for mark, move in ((OLD, change.old), (NEW, change.new)):
        marks[round(place(space, move) * (WIDTH - 1))] = mark
    return "".join(marks)


def _row(value: float, high: float, step: float) -> int:
    """Give the row of a value, the highest first."""
    rows = (high - value) / step if step > 0 else HEIGHT / 2
    return min(HEIGHT - 1, max(0, int(rows))) if math.isfinite(rows) else HEIGHT - 1


def _between(at: tuple[float, ...], values: tuple[float, ...], here: float) -> float:
    """Read a curve between its points."""
    for (left, one), (right, other) in pairwise(zip(at, values, strict=True)):
        if here <= right and right > left:
            return one + (other - one) * (here - left) / (right - left)
    return values[-1]
