"""A series as a plot of dots, or as one row of blocks; with marks of what happened below it."""

import math
from collections.abc import Sequence

from msgspec import Struct
from rich.text import Text

from gptune.cli.live.glyphs import TONES, TRIAL, Glyphs
from gptune.cli.live.series import Series, Stretch
from gptune.cli.live.view import MARKS

BRAILLE = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # column, row -> bit
LOG_FROM = {"min": 5.0, "max": 1e3}  # largest over smallest from which an axis is logarithmic
FAR = 6.0  # how far the axis goes beyond the middle 80 % [widths of those]
FEW = 8  # values of which that cannot be said


class Axis(Struct, frozen=True):
    """Which values are shown, and how.

    Attributes:
        low: The lowest [metric units].
        high: The highest [metric units].
        log: Whether the axis is logarithmic.
        beyond: How many stretches lie in part outside.
    """

    low: float
    high: float
    log: bool
    beyond: int = 0

    def place(self, value: float) -> float:
        """Give the height of a value, from 0 to 1; what lies outside is shown at the edge."""
        low, high, here = (self._scaled(v) for v in (self.low, self.high, value))
        if not high > low:
            return 0.5
        return min(1.0, max(0.0, (here - low) / (high - low)))

    def _scaled(self, value: float) -> float:
        return _scaled(value, log=self.log)


def axis_of(stretches: Sequence[Stretch], direction: str) -> Axis | None:
    """Choose an axis that shows almost all; ``None`` if there is no number.

    Example:
        >>> axis_of([Stretch(1, 1, 1, 0, 0.2, 0.2, 0.2), Stretch(2, 2, 1, 0, 2.0, 2.0, 2.0)], "min")
        Axis(low=0.2, high=2.0, log=True, beyond=0)
    """
    known = [s for s in stretches if s.high >= s.low]
    if not known:
        return None
    low, high = min(s.low for s in known), max(s.high for s in known)
    log = low > 0 and high / low >= LOG_FROM.get(direction, math.inf)
    values = sorted(_scaled(v, log=log) for s in known for v in (s.low, s.high))
    bottom, top = _trim(values)
    inside = [v for s in known for v in (s.low, s.high) if bottom <= _scaled(v, log=log) <= top]
    low, high = min(inside), max(inside)
    return Axis(low, high, log, sum(s.low < low or s.high > high for s in known))


def plot(series: Series, axis: Axis, size: tuple[int, int], glyphs: Glyphs) -> list[str]:
    """Draw a series.

    Args:
        series: The series.
        axis: Of the values; that of the steps goes from the first report to the last.
        size: Columns and rows, each at least one.
        glyphs: The signs.

    Returns:
        The rows, from the top.
    """
    (columns, rows), (across, down) = size, glyphs.dots
    wide, high = columns * across, rows * down
    bits = [[0] * columns for _ in range(rows)]
    before: tuple[int, int] | None = None
    for stretch in series.stretches:
        if not stretch.high >= stretch.low:
            before = None if stretch.reports else before
            continue
        x = _column(series, stretch, wide)
        ends = (stretch.close, stretch.low, stretch.high)
        y, lowest, highest = (_row(axis, value, high) for value in ends)
        for column, row in [*_line(before, (x, y)), *_upright(x, highest, lowest)]:
            bit = BRAILLE[column % 2][row % 4] if across == 2 else 1
            bits[row // down][column // across] |= bit
        before = (x, y)
    return ["".join(_sign(cell, across) for cell in row) for row in bits]


def marks(series: Series, columns: int, glyphs: Glyphs) -> Text:
    """Mark what happened, below a plot of so many columns; of several the weightiest."""
    there: dict[int, str] = {}
    for stretch in series.stretches:
        column = _column(series, stretch, columns)
        seen = {*stretch.marks, there.get(column)}
        weightiest = next((name for name in MARKS if name in seen), None)
        if weightiest is not None:
            there[column] = weightiest
    text = Text(" " * columns)
    signs = list(text.plain)
    for column, name in there.items():
        signs[column] = glyphs.marks[name]
        text.stylize(TONES[name], column, column + 1)
    text.plain = "".join(signs)
    return text


def spark(series: Series, axis: Axis, columns: int, glyphs: Glyphs) -> Text:
    """Draw a series as one row; marks of what happened take the place of their blocks."""
    cells = [" "] * columns
    for stretch in series.stretches:
        if stretch.high >= stretch.low:
            level = axis.place(stretch.close) * (len(glyphs.blocks) - 1)
            cells[_column(series, stretch, columns)] = glyphs.blocks[round(level)]
    text = Text()
    above = marks(series, columns, glyphs).plain
    if 3 * len("".join(above.split())) > columns:  # so many would hide the curve
        above = " " * columns
    for cell, sign in zip(cells, above, strict=True):
        text.append(cell if sign == " " else sign, TRIAL if sign == " " else "")
    return text


def _trim(values: Sequence[float]) -> tuple[float, float]:
    """Leave out what lies so far away that the rest would be flat; values from low to high."""
    low, high, count = values[0], values[-1], len(values)
    under, over = values[count // 10], values[count - 1 - count // 10]
    if count < 2 * FEW or not over > under:
        return low, high
    reach = FAR * (over - under)
    return max(low, under - reach), min(high, over + reach)


def _scaled(value: float, *, log: bool) -> float:
    """Give a value on its axis; small enough that differences are finite."""
    return math.log10(value) if log and value > 0 else value / 64


def _column(series: Series, stretch: Stretch, columns: int) -> int:
    first, last = series.stretches[0].first, series.stretches[-1].last
    if last <= first:
        return 0
    share = ((stretch.first + stretch.last) / 2 - first) / (last - first)
    return min(columns - 1, max(0, round(share * (columns - 1))))


def _row(axis: Axis, value: float, rows: int) -> int:
    return rows - 1 - round(axis.place(value) * (rows - 1))


def _upright(x: int, top: int, bottom: int) -> list[tuple[int, int]]:
    return [(x, row) for row in range(min(top, bottom), max(top, bottom) + 1)]


def _line(before: tuple[int, int] | None, here: tuple[int, int]) -> list[tuple[int, int]]:
    """Give the dots from one to another, both columns included, without a gap."""
    if before is None or here[0] <= before[0]:
        return []
    (left, start), (right, end) = before, here
    heights = [
        round(start + (end - start) * (x - left) / (right - left)) for x in range(left, right + 1)
    ]
    dots: list[tuple[int, int]] = []
    for n in range(1, len(heights)):
        dots += _upright(left + n, heights[n], _next_to(heights[n - 1], heights[n]))
    return dots


def _next_to(before: int, here: int) -> int:
    """Give the row next to the one before, on the way here."""
    return before + (here > before) - (here < before)


def _sign(cell: int, across: int) -> str:
    if not cell:
        return " "
    return chr(0x2800 + cell) if across == 2 else "*"
