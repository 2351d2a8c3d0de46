"""A metric over steps, in bounded memory: of a long run, stretches are kept instead of reports."""

import math
from collections.abc import Mapping

from msgspec import Struct

LIMIT = 512  # stretches; even, and more than a plot has columns of dots


class Stretch(Struct, frozen=True):
    """Some reports in a row.

    Attributes:
        first: Step of the first of them [steps].
        last: Step of the last of them [steps].
        reports: How many they are.
        faults: How many of them were no finite number.
        low: The lowest number; infinity without one.
        high: The highest number; minus infinity without one.
        close: The last number; NaN without one.
        marks: What happened there -> how often.
    """

    first: int
    last: int
    reports: int = 0
    faults: int = 0
    low: float = math.inf
    high: float = -math.inf
    close: float = math.nan
    marks: Mapping[str, int] = {}


class Series(Struct, frozen=True):
    """A metric over steps, as stretches of equally many reports; the last may hold fewer.

    Attributes:
        stretches: From the first to the last, at most `LIMIT`.
        size: Reports that a whole stretch holds.
    """

    stretches: tuple[Stretch, ...] = ()
    size: int = 1


def add(series: Series, step: int, value: float) -> Series:
    """Add a report; NaN or an infinity is one that was no finite number.

    Example:
        >>> series = add(add(Series(), 10, 2.0), 20, math.nan)
        >>> [(s.first, s.close, s.faults) for s in series.stretches]
        [(10, 2.0, 0), (20, nan, 1)]
    """
    if math.isfinite(value):
        new = Stretch(step, step, 1, 0, value, value, value)
    else:
        new = Stretch(step, step, 1, 1)
    return _append(series, new)


def mark(series: Series, step: int, name: str) -> Series:
    """Take note of what happened at a step, on the stretch that is there, or before the first."""
    new = Stretch(step, step, marks={name: 1})
    if not series.stretches:
        return Series((new,), series.size)
    return Series((*series.stretches[:-1], _join(series.stretches[-1], new)), series.size)


def totals(series: Series) -> dict[str, int]:
    """Count all that was marked.

    Example:
        >>> totals(mark(mark(Series(), 1, "kept"), 2, "kept"))
        {'kept': 2}
    """
    counts: dict[str, int] = {}
    for stretch in series.stretches:
        counts = _sum(counts, stretch.marks)
    return counts


def _append(series: Series, new: Stretch) -> Series:
    held, size = series.stretches, series.size
    if held and held[-1].reports < size:
        return Series((*held[:-1], _join(held[-1], new)), size)
    if len(held) < LIMIT:
        return Series((*held, new), size)
    halves = tuple(_join(held[n], held[n + 1]) for n in range(0, LIMIT, 2))
    return Series((*halves, new), 2 * size)


def _join(one: Stretch, other: Stretch) -> Stretch:
    return Stretch(
        one.first,
        other.last,
        one.reports + other.reports,
        one.faults + other.faults,
        min(one.low, other.low),
        max(one.high, other.high),
        one.close if math.isnan(other.close) else other.close,
        _sum(one.marks, other.marks),
    )


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in (*one, *other)}
