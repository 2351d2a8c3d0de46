"""A frame of ``gptune watch``: a view of a run, drawn for a terminal of some size. Pure."""

from msgspec import Struct
from rich.text import Text

from gptune.cli.live import standing
from gptune.cli.live.glyphs import BOLD, DULL, MEANINGS, TONES, TRIAL, Glyphs, ink
from gptune.cli.live.plot import Axis, axis_of, marks, plot, spark
from gptune.cli.live.rails import rails
from gptune.cli.live.sentences import foreign, tell
from gptune.cli.live.series import totals
from gptune.cli.live.standing import Standing
from gptune.cli.live.view import MARKS, View
from gptune.run_directory.words import number

TALL = 33  # rows of a frame that nothing limits, such as one in a pipe
PLOT = (4, 10)  # the fewest and the most rows of a plot; below that one row of blocks
GUTTER = 40  # columns from which the plot's axis is labelled


class Plan(Struct, frozen=True):
    """How many rows each part of a frame has.

    Attributes:
        plot: The curve; one row is a sparkline, more a plot with two rows below it.
        knobs: The knobs.
        told: What happened.
        hints: What can be done.
        gaps: Empty rows between the parts.
    """

    plot: int
    knobs: int
    told: int
    hints: int
    gaps: int


def frame(view: View, where: Standing, size: tuple[int, int | None], glyphs: Glyphs) -> list[Text]:
    """Draw a run.

    Args:
        view: The run.
        where: What the log does not say: its name, who owns it, and the time.
        size: Columns and rows of the terminal; ``None`` takes as many rows as are useful.
        glyphs: The signs.

    Returns:
        Rows, none wider than the terminal, and no more than it has.
    """
    width, height = max(1, size[0]), size[1]
    inner = max(1, width - 2) if width >= GUTTER else width
    rows = plan(TALL if height is None else height, len(view.rails), len(view.happenings))
    parts = [
        standing.header(view, where, inner, glyphs),
        _metric(view, (inner, rows.plot), glyphs),
        rails(view, inner, rows.knobs, glyphs) if rows.knobs else [],
        standing.now(view, where, glyphs),
        _told(view, rows.told, glyphs),
        [standing.hints(view, where, inner, glyphs)] if rows.hints else [],
    ]
    lines: list[Text] = []
    gaps = rows.gaps
    for part in parts:
        if part and lines and gaps:
            lines.append(Text())
            gaps -= 1
        lines += part
    return [_clipped(line, inner, width, glyphs) for line in lines[:height]]


def plan(height: int, knobs: int, told: int) -> Plan:
    """Share the rows of a frame: first what matters most, then what is nice.

    Example:
        >>> plan(24, 1, 9)
        Plan(plot=7, knobs=1, told=3, hints=1, gaps=5)
        >>> plan(8, 3, 9)
        Plan(plot=1, knobs=1, told=1, hints=0, gaps=0)
    """
    left = max(0, height - 6)  # the header's two, what is tried: two, the metric: two
    few_knobs = min(knobs, max(1, left // 3))
    left -= few_knobs
    few = min(told, 3, max(0, left))
    left -= few
    hints = 1 if left > 0 else 0
    gaps = min(5, max(0, left - 1))
    left = max(0, left - hints - gaps)
    curve, least = 1, PLOT[0] + 1  # a plot has two rows more below it, and no sparkline
    if left >= least:
        curve = min(PLOT[1], left - 1)
        left -= curve + 1
    more_knobs = min(knobs - few_knobs, left)
    left -= more_knobs
    return Plan(curve, few_knobs + more_knobs, few + min(told - few, left), hints, gaps)


def _metric(view: View, size: tuple[int, int], glyphs: Glyphs) -> list[Text]:
    """Draw the objective: its last and its best value, and its course."""
    axis = axis_of(view.series.stretches, view.summary.direction)
    width, rows = size
    title = standing.fill(_values(view, glyphs), width)
    if axis is None:
        return [title] if view.observed is None else [title, ink("no number to draw yet", DULL)]
    if rows <= 1:
        return [title, spark(view.series, axis, width, glyphs)]
    return [title, *_plot(view, axis, size, glyphs)]


def _values(view: View, glyphs: Glyphs) -> list[Text]:
    """Give the objective's last value, its best, what was forecast, and which way is better."""
    run, last = view.summary, view.observed
    name = ink(foreign(run.objective or "metric"), BOLD)
    if last is None:
        return [name, ink("nothing reported yet", DULL)]
    if run.metric is None:
        name.append(f"  no number: {foreign(number(last.metric))}", TONES["restored"])
    else:
        name.append(f"  {number(run.metric)}", BOLD)
    parts = [name]
    if run.best is not None:
        parts.append(ink(f"best {number(run.best.metric)}", TRIAL))
        parts.append(ink(f"at decision {run.best.decision}, step {run.best.step}", DULL))
    if last.forecast is not None:
        spread = f"{glyphs.about} {number(last.deviation)}"
        parts.append(ink(f"forecast {number(last.forecast)} {spread}", DULL))
    words = {"min": "lower is better", "max": "higher is better"}
    return [*parts, ink(words.get(run.direction, ""), DULL)]


def _plot(view: View, axis: Axis, size: tuple[int, int], glyphs: Glyphs) -> list[Text]:
    width, rows = size
    labels = {0: number(axis.high), rows - 1: number(axis.low)}
    margin = max(map(len, labels.values())) if width >= GUTTER else 0
    edge = f" {glyphs.edge}"
    columns = width - margin - len(edge) if margin else width
    lines = []
    for n, row in enumerate(plot(view.series, axis, (columns, rows), glyphs)):
        line = ink(labels.get(n, "").rjust(margin) + edge if margin else "", DULL)
        lines.append(line.append(row, TRIAL))
    blank = " " * (margin + len(edge)) if margin else ""
    below = ink(blank).append_text(marks(view.series, columns, glyphs))
    return [*lines, below, _legend(view, axis, (margin, columns), glyphs)]


def _legend(view: View, axis: Axis, place: tuple[int, int], glyphs: Glyphs) -> Text:
    """Say what the axes and the marks are; the steps stand at the plot's own ends."""
    margin, columns = place
    first, last = view.series.stretches[0].first, view.series.stretches[-1].last
    left = ink(" " * (margin + 2) if margin else "").append(f"step {first}", DULL)
    counts = totals(view.series)
    for name in (name for name in MARKS if counts.get(name)):
        left.append("   ")
        left.append(f"{glyphs.marks[name]} {counts[name]} {MEANINGS[name]}", TONES[name])
    if axis.log:
        left.append("   log axis", DULL)
    if axis.beyond:
        left.append(f"   beyond the axis: {axis.beyond}", DULL)
    end = f"step {last}"
    room = (margin + 2 if margin else 0) + columns - left.cell_len - len(end)
    return left.append(" " * room + end, DULL) if room >= 2 and last > first else left


def _told(view: View, rows: int, glyphs: Glyphs) -> list[Text]:
    """Say what happened, the newest first."""
    happenings = view.happenings[::-1][:rows]
    said = [tell(view, happening, glyphs) for happening in happenings]
    margin = max((len(str(happening.decision)) for happening in happenings), default=0)
    word = max((len(sentence.verdict) for sentence in said), default=0)
    lines = []
    for happening, sentence in zip(happenings, said, strict=True):
        line = ink(str(happening.decision).rjust(margin) + "  ", DULL)
        line.append(f"{glyphs.marks[sentence.sign]} {sentence.verdict.ljust(word)}", sentence.tone)
        lines.append(line.append(f"  {sentence.text}", _grey(sentence.tone)))
    return lines


def _grey(tone: str) -> str:
    return DULL if tone == DULL else ""


def _clipped(line: Text, inner: int, width: int, glyphs: Glyphs) -> Text:
    """Cut a row to the width, and set it in by a column where there is room."""
    line.truncate(inner, overflow="ellipsis" if glyphs.fine and inner > 3 else "crop")
    return ink(" ").append_text(line) if inner < width else line
