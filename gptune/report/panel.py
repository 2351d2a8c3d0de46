"""A figure as data: what the page's template draws."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptune.report.drawing import Place, Scale

Shares = tuple[tuple[float, str], ...]  # places on an axis, and what is written there


@dataclass(frozen=True, slots=True)
class Layer:
    """One path.

    Attributes:
        kind: How it looks: a class of the style sheet.
        path: What SVG draws.
        key: What it stands for, if the page shall say so: the number of a trial.
        says: What is shown where the mouse points at it.
        name: Its name in the legend.
    """

    kind: str
    path: str
    key: int | None = None
    says: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A sign that keeps its size.

    Attributes:
        kind: Which: kept | undone | suggested | hand | restored | failed | open | best | nan.
        at: Where.
        says: What is shown where the mouse points at it.
        link: The id of what it leads to.
    """

    kind: str
    at: Place
    says: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the axis across that is set apart."""

    kind: str
    start: float
    end: float
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A figure.

    Attributes:
        title: Above it.
        note: Small, beside the title.
        across: What is written on the axis across.
        up: What is written on the axis upwards.
        label: What the axis across is called.
        layers: Paths, the lowest first.
        marks: Signs, the lowest first.
        spans: Stretches, behind all else.
        height: How tall it is [pixels].
    """

    title: str
    note: str = ""
    across: Shares = ()
    up: Shares = ()
    label: str = ""
    layers: tuple[Layer, ...] = ()
    marks: tuple[Mark, ...] = ()
    spans: tuple[Span, ...] = ()
    height: int = 200

    @property
    def legend(self) -> list[Layer]:
        """Layers that have a name, each look once."""
        named = [layer for layer in self.layers if layer.name]
        return list({(layer.kind, layer.name): layer for layer in named}.values())


def axis(scale: Scale) -> Shares:
    """Write a scale's round numbers."""
    return tuple(scale.ticks())


def spread(shares: Sequence[tuple[float, str]], most: int) -> Shares:
    """Leave out some of too many words on an axis, evenly."""
    every = max(1, -(-len(shares) // most))
    return tuple(shares[::every])
