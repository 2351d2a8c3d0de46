"""What the Gaussian process believed along each knob, as it changed over the run."""

from dataclasses import dataclass
from typing import Any

from gptune.plots.style import shortened, thinned
from gptune.records import Float, Integer, Scalar, Slice
from gptune.report.drawing import SIDE, Scale, scale_of
from gptune.report.panel import Shares, axis
from gptune.report.run import Belief, Run
from gptune.report.says import change_says, value_says

MOST, FRAMES = 60, 180  # moments that a slider can show, and all of them together
KNOBS, TRIED = 12, 30  # knobs that have a slider, and moves that were tried of each kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A knob's beliefs, moment by moment.

    Attributes:
        family: The knob.
        across: What is written on the axis of its moves.
        up: What is written on the axis of the model.
        frames: For each moment: when, in words; the positions; the mean, and its upper and lower
            edge, all in units of the figure; where the knob was and was to go; what was tried.
        there: How many moments the log holds.
    """

    family: str
    across: Shares
    up: Shares
    frames: tuple[dict[str, Any], ...]
    there: int


def films_of(run: Run) -> list[Film]:
    """Make the films of the knobs that the model was asked about."""
    families = dict.fromkeys(f for belief in run.beliefs for f in belief.proposal.slices)
    chosen = list(families)[:KNOBS]
    most = min(MOST, FRAMES // max(1, len(chosen)))
    return [_film(run, family, most) for family in chosen]


def _film(run: Run, family: str, most: int) -> Film:
    known = [belief for belief in run.beliefs if family in belief.proposal.slices]
    shown = thinned(known, most)
    slices = [belief.proposal.slices[family] for belief in shown]
    y = scale_of((v for one in slices for v in _edges(one)), log=False)
    knob = run.knobs.get(family)
    space = knob.space if knob is not None else None
    x = _scale(space)
    return Film(
        family=shortened(family),
        across=tuple((at, value_says(knob, _number(text))) for at, text in axis(x))
        if knob is not None
        else axis(x),
        up=axis(y),
        frames=tuple(_frame(run, family, belief, (x, y)) for belief in shown),
        there=len(known),
    )


def _frame(run: Run, family: str, belief: Belief, axes: tuple[Scale, Scale]) -> dict[str, Any]:
    x, y = axes
    curve, made = belief.proposal.slices[family], belief.proposal
    edges = list(zip(curve.mean, curve.deviation, strict=True))
    change = next((c for c in made.changes if c.family == family), None)
    tried = [
        (x, move)
        for move in run.moves
        if move.decision < belief.decision and move.state in ("kept", "undone", "left")
        for x in [next((c.new for c in move.changes if c.family == family), None)]
        if x is not None
    ]
    return {
        "when": f"decision {belief.decision}, step {belief.step}: {change_says(run, made.changes)}",
        "at": [round(share * SIDE) for share in curve.at],
        "mean": [_height(y, mean) for mean, _ in edges],
        "high": [_height(y, mean + wide) for mean, wide in edges],
        "low": [_height(y, mean - wide) for mean, wide in edges],
        "old": None if change is None else _place(x, change.old),
        "new": None if change is None else _place(x, change.new),
        "kept": [_place(x, move) for move, made in tried if made.state != "undone"][-TRIED:],
        "undone": [_place(x, move) for move, made in tried if made.state == "undone"][-TRIED:],
    }


def _edges(curve: Slice) -> list[float]:
    pairs = list(zip(curve.mean, curve.deviation, strict=True))
    return [mean + sign * wide for mean, wide in pairs for sign in (-1.0, 1.0)]


def _height(y: Scale, value: float) -> int:
    return round((1.0 - y.share(value)) * SIDE)


def _place(x: Scale, move: Scalar) -> int | None:
    if isinstance(move, bool | str):
        return None
    return round(x.share(float(move)) * SIDE)


def _scale(space: object) -> Scale:
    """Give the axis of a knob's moves, as the model's unit interval has it."""
    if isinstance(space, Integer):
        return Scale(space.low - 0.5, space.high + 0.5, space.log)
    if isinstance(space, Float):
        return Scale(space.low, space.high, space.log)
    return Scale(0.0, 1.0)


def _number(text: str) -> float:
    return float(text)
