"""What may move how far: requests -> boxes of the unit cube, places -> moves."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gptune.core.space import SearchSpace
from gptune.records import Categorical, Float, Integer, Request, Scalar

Box = tuple[Tensor, Tensor]  # lower and upper corner, each of shape (d,)


def boxes(
    space: SearchSpace, request: Request, region: Box, upward: Sequence[str] = ()
) -> list[Box]:
    """Give the boxes to search: one for all free knobs together, or one for each.

    Args:
        space: The moves of all knobs.
        request: The point in force, which knobs are free, and how far each may go.
        region: The trust region.
        upward: Knobs that may only go up.
    """
    center, (low, high) = space.encode(request.point), region
    held = (center.clone(), center.clone())
    each = [(held[0].clone(), held[1].clone()) for _ in request.free]
    joint = held
    for name, parameter, part in space.columns():
        if name not in request.free:
            continue
        if isinstance(parameter, Categorical):
            side = (torch.zeros_like(center[part]), torch.ones_like(center[part]))
        else:
            ends = [space.place(name, end) for end in _ends(parameter, request, name)]
            floor = center[part] if name in upward else low[part].clamp(*ends)
            side = (floor, high[part].clamp(*ends))
        for box in (each[request.free.index(name)], joint):
            box[0][part], box[1][part] = side
    return [joint] if request.joint else each


def _ends(parameter: Float | Integer, request: Request, name: str) -> tuple[float, float]:
    """The limits; of a whole number the last whole ones inside, for no other is moved to."""
    low, high = request.limits[name]
    if isinstance(parameter, Float):
        return low, high
    inside = math.ceil(low), math.floor(high)
    here = float(request.point[name])
    return inside if inside[0] <= inside[1] else (here, here)


def moves(space: SearchSpace, request: Request, place: Tensor) -> dict[str, Scalar]:
    """Read off the moves of the knobs that are not where they were; one stays if none moved.

    Args:
        space: The moves of all knobs.
        request: The point in force, which knobs are free, and how far each may go.
        place: Where to move, shape ``(d,)``.
    """
    center, found = space.encode(request.point), space.decode(place)
    changed = {}
    for name, _, part in space.columns():
        if name in request.free and not torch.equal(place[part], center[part]):
            move = found[name]
            if name in request.limits:  # exp(log(x)) may end one rounding error outside
                assert isinstance(move, int | float)
                move = within(space, request, name, move)
            changed[name] = move
    stay = request.free[0]
    return changed or {stay: request.point[stay]}


def prior_centers(space: SearchSpace, request: Request) -> dict[str, Scalar] | None:
    """Give the prior centers where they differ from the point in force, within the limits."""
    wanted: dict[str, Scalar] = {}
    for name in request.free:
        center = request.centers.get(name)
        if center is not None and name in request.limits:
            move = within(space, request, name, center)
            wanted.update({name: move} if move != request.point[name] else {})
    chosen = list(wanted) if request.joint else list(wanted)[:1]
    return {name: wanted[name] for name in chosen} or None


def within(space: SearchSpace, request: Request, name: str, move: float) -> float:
    """Move a number inside its limits; whole numbers stay whole, and inside their range."""
    low, high = request.limits[name]
    parameter = space.parameters[name]
    if isinstance(parameter, Integer):  # the float of its end may lie beyond it
        most, least = min(parameter.high, math.floor(high)), max(parameter.low, math.ceil(low))
        return min(most, max(least, round(move)))
    return min(float(high), max(float(low), move))
