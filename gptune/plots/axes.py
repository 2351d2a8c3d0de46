"""The axis of a parameter: linear, logarithmic, or one place a choice."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gptune.plots.style import plain, shortened
from gptune.records import Categorical, Float, Integer, Scalar, show
from gptune.study.domains import Domain, Fixed, at_share

TICKS = 6  # about so many on an axis
SIDE = 41  # values of a parameter that a model is asked at


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the values of a parameter lie.

    Attributes:
        name: The parameter's.
        type: ``linear``, ``log`` or ``category``, as Plotly calls them.
        choices: What there is to choose from, in order; none for numbers.
        low: The smallest number; 0 for choices.
        high: The largest number; the last choice's place for choices.
    """

    name: str
    type: str
    choices: tuple[Scalar, ...]
    low: float
    high: float

    @property
    def labels(self) -> list[str]:
        """What the choices are called, each in another way."""
        for write in (show, repr):
            found = [shortened(write(choice)) for choice in self.choices]
            if len(set(found)) == len(found):
                return found
        return [f"{number}: {label}" for number, label in enumerate(found)]

    def at(self, values: Iterable[Scalar]) -> list[Scalar]:
        """Give what stands for values: numbers, or the labels of choices."""
        if not self.choices:
            return list(values)
        labels = [plain(label) for label in self.labels]
        return [labels[rank] for rank in self._ranks(values)]

    def coordinates(self, values: Iterable[Scalar]) -> list[float]:
        """Give numbers for values, on the axis's own scale: logarithms, or places of choices."""
        if self.choices:
            return [float(rank) for rank in self._ranks(values)]
        numbers = [float(value) for value in values]
        return [math.log10(number) for number in numbers] if self.type == "log" else numbers

    def _ranks(self, values: Iterable[Scalar]) -> list[int]:
        """Give the places of choices: 0, 1, 2 ..."""
        ranks = {_key(choice): rank for rank, choice in enumerate(self.choices)}
        return [ranks[_key(value)] for value in values]

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest coordinate."""
        if self.type == "log":
            return math.log10(self.low), math.log10(self.high)
        return self.low, self.high

    def layout(self) -> dict[str, Any]:
        """Give the settings of a Plotly axis."""
        title = {"title": plain(self.name), "type": self.type}
        if not self.choices:
            return title
        order = [plain(label) for label in self.labels]
        return {**title, "categoryorder": "array", "categoryarray": order}

    def ticks(self) -> tuple[list[float], list[str]]:
        """Give a few places that are easy to read, as coordinates, and how they are written."""
        if self.choices:
            chosen = range(0, len(self.choices), 1 + len(self.choices) // 40)
            return [float(i) for i in chosen], [self.labels[i] for i in chosen]
        return log_ticks(self.low, self.high) if self.type == "log" else ticks(self.low, self.high)


def axis_of(name: str, domain: Domain, values: Iterable[Scalar]) -> Axis:
    """Make the axis of a parameter; where trials had it from other domains, theirs fit, too.

    Args:
        name: The parameter's.
        domain: What it is suggested from.
        values: What shall be drawn.
    """
    seen = list(values)
    given = _given(domain)
    numbers = [float(value) for value in (*given, *seen) if is_number(value)]
    if isinstance(domain, Categorical) or len(numbers) < len(given) + len(seen):
        choices = _different([*given, *seen])
        return Axis(name, "category", choices, 0.0, len(choices) - 1.0)
    is_log = isinstance(domain, Float | Integer) and domain.log and min(numbers) > 0
    return Axis(name, "log" if is_log else "linear", (), min(numbers), max(numbers))


def grid(domain: Domain) -> list[Scalar]:
    """List values of a domain that lie evenly on the scale that is searched; of choices, all."""
    if isinstance(domain, Categorical):
        return list(domain.choices)
    return list(dict.fromkeys(at_share(domain, i / (SIDE - 1)) for i in range(SIDE)))


def is_number(value: object) -> bool:
    """Say whether a value lies on an axis of numbers; a truth value does not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _given(domain: Domain) -> Sequence[Scalar]:
    if isinstance(domain, Categorical):
        return domain.choices
    return (domain.value,) if isinstance(domain, Fixed) else (domain.low, domain.high)


def _different(values: Iterable[Scalar]) -> tuple[Scalar, ...]:
    return tuple({_key(value): value for value in values}.values())


def _key(value: Scalar) -> tuple[type, Scalar]:
    """Tell ``1`` from ``True`` and from ``1.0``."""
    return type(value), value


def ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Give round numbers in a range, and how they are written.

    Example:
        >>> ticks(0.0, 1.0)[1]
        ['0', '0.2', '0.4', '0.6', '0.8', '1']
    """
    span = high - low
    if not 0 < span < math.inf:
        return _written(dict.fromkeys([low, high]))
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(
        step * unit for step in (0.1, 0.2, 0.5, 1, 2, 5) if span / (step * unit) < TICKS + 0.5
    )
    if not step or abs(low) + abs(high) > 1e12 * step:  # too close to be told apart
        return _written([low, high])
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(4, 1 + math.ceil(math.log10(max(abs(low), abs(high)) / step)))
    return _written([number * step for number in range(first, last + 1)], digits)


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Give round numbers in a range as decimal logarithms, and how they are written.

    Example:
        >>> log_ticks(1e-4, 1.0)[1], log_ticks(3.0, 60.0)[1]
        (['0.0001', '0.001', '0.01', '0.1', '1'], ['5', '10', '20', '50'])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1,) if math.log10(high) - math.log10(low) > 2 else (1, 2, 5)
    every = 1 + (last - first) // (TICKS + 2)
    found = [f * 10.0**power for power in range(first, last + 1, every) for f in factors]
    inside = [value for value in found if low <= value * (1 + 1e-9) and value <= high * (1 + 1e-9)]
    if len(inside) < 2:
        inside = list(dict.fromkeys([low, high]))
    return [math.log10(value) for value in inside], _written(inside)[1]


def _written(values: Iterable[float], digits: int = 4) -> tuple[list[float], list[str]]:
    known = list(values)
    return known, [f"{value:.{digits}g}" for value in known]
