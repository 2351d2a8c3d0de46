"""Climb from several places at once inside a box: BFGS in lock step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
# (places (k, d), which of the climbs they belong to) -> values (k,), gradients (k, d)
Slopes = Callable[[Tensor, Sequence[int]], tuple[Tensor, Tensor]]

ENOUGH = 1e-4  # of the expected gain that a step must bring (Armijo)
BACK = (0.1, 0.5)  # how much shorter the next try is, where a step brought too little
FLAT = 1e-12  # cosine of the angle between a move and the fall of the slope: no curvature
BOTTOM = -1e300  # stands for a value that is not finite
LONGEST = 0.5  # of a step [lengthscales]
SHORTEST = 1e-6  # of a try, as a share of the step: nothing is to be gained that way


def ascend(
    slopes: Slopes,
    x: Tensor,
    box: tuple[Tensor, Tensor],
    scale: Tensor,
    *,
    evaluations: int,
    tolerance: float,
    expired: Callable[[], bool],
) -> tuple[Tensor, Tensor]:
    """Climb from ``s`` places at once; each keeps its own step and curvature.

    One call of ``slopes`` a step serves all that still climb: on few observations the calls cost
    more than the arithmetic. Steps are projected on the box; a coordinate at an edge that the
    gradient points beyond is held. The steps themselves are NumPy's: on arrays this small an
    operation costs half of torch's.

    Args:
        slopes: What is climbed, with its gradient; what is not finite is never climbed to.
        x: Where to start, inside the box, shape ``(s, d)``.
        box: Lower and upper corner for each place, each ``(s, d)``; equal where a side is held.
        scale: Typical length of each dimension, shape ``(d,)``.
        evaluations: Most calls of ``slopes``.
        tolerance: Relative gain below which a climb has ended.
        expired: Says when the time is up.

    Returns:
        The highest places found, shape ``(s, d)``, and their values, shape ``(s,)``.

    Source:
        Nocedal and Wright (2006), Numerical Optimization, algorithm 6.1, with projection.
    """
    lengths = scale.numpy()
    places, rows = x.numpy().copy(), np.arange(len(x))
    values, slope = _look(slopes, places, rows)
    climbs = _Climbs(
        rows=rows,
        low=box[0].numpy(),
        high=box[1].numpy(),
        here=places,
        value=values,
        slope=slope,
        curvature=np.broadcast_to(np.diag(lengths**2), (*places.shape, len(lengths))),
        step=np.ones(len(rows)),
        fresh=np.ones(len(rows), dtype=bool),
    )
    for _ in range(evaluations - 1):
        if expired():
            break
        climbs, gain = _step(slopes, climbs, lengths)
        places[climbs.rows], values[climbs.rows] = climbs.here, climbs.value
        # A try that was no gain has ended nothing: it is followed by a shorter one.
        small = np.abs(gain) <= tolerance * (1.0 + np.abs(climbs.value))
        goes_on = np.where(climbs.step == 1.0, ~small, climbs.step > SHORTEST)
        if not goes_on.any():
            break
        if not goes_on.all():
            climbs = climbs.keep(goes_on)
    return torch.from_numpy(places), torch.from_numpy(values)


@dataclass(frozen=True, slots=True)
class _Climbs:
    """The climbs that have not ended, k of them."""

    rows: Array  # which they are, (k,)
    low: Array  # (k, d)
    high: Array  # (k, d)
    here: Array  # (k, d)
    value: Array  # (k,)
    slope: Array  # (k, d)
    curvature: Array  # inverse curvature of the negated criterion, (k, d, d)
    step: Array  # share of the step that is tried next, 1 after a good one, (k,)
    fresh: Array  # whether none of its moves was good so far, (k,)

    def keep(self, chosen: Array) -> "_Climbs":
        return _Climbs(*(getattr(self, name)[chosen] for name in self.__slots__))


def _look(slopes: Slopes, x: Array, rows: Array) -> tuple[Array, Array]:
    """Call what is climbed; what is not finite becomes a bottom without a slope."""
    found = slopes(torch.from_numpy(x), rows.tolist())
    value, gradient = found[0].numpy(), found[1].numpy()
    if np.isfinite(value).all() and np.isfinite(gradient).all():
        return value.copy(), gradient
    sound = np.isfinite(value) & np.isfinite(gradient).all(-1)
    return np.where(sound, value, BOTTOM), np.where(sound[:, None], gradient, 0.0)


def _step(slopes: Slopes, at: _Climbs, lengths: Array) -> tuple[_Climbs, Array]:
    """Try one step of each; give where they are then, and what the tries gained, ``(k,)``."""
    held = ((at.here <= at.low) & (at.slope <= 0)) | ((at.here >= at.high) & (at.slope >= 0))
    uphill = np.where(held, 0.0, at.slope)
    way = _direction(at.curvature, uphill, held, lengths)
    trial = np.minimum(np.maximum(at.here + at.step[:, None] * way, at.low), at.high)
    move = trial - at.here
    there, slope = _look(slopes, trial, at.rows)
    gain, hoped = there - at.value, row_dot(uphill, move)
    good = (gain >= ENOUGH * hoped) & (gain >= 0)
    curvature = _update(at.curvature, move, at.slope - slope, at.fresh)
    if good.all():
        step, fresh = np.ones_like(at.step), np.zeros_like(at.fresh)
        made = (at.rows, at.low, at.high, trial, there, slope, curvature, step, fresh)
        return _Climbs(*made), gain
    # The top of the parabola through both values and the slope at the start of the step.
    back = np.clip(0.5 * hoped / np.maximum(hoped - gain, 1e-300), *BACK)
    return _Climbs(
        rows=at.rows,
        low=at.low,
        high=at.high,
        here=np.where(good[:, None], trial, at.here),
        value=np.where(good, there, at.value),
        slope=np.where(good[:, None], slope, at.slope),
        curvature=np.where(good[:, None, None], curvature, at.curvature),
        step=np.where(good, 1.0, at.step * back),
        fresh=at.fresh & ~good,
    ), gain


def _direction(curvature: Array, uphill: Array, held: Array, scale: Array) -> Array:
    """Quasi-Newton direction along the free coordinates, no longer than ``LONGEST``, ``(k, d)``."""
    way = np.where(held, 0.0, (curvature @ uphill[..., None])[..., 0])
    climbs = row_dot(way, uphill) > 0
    if not climbs.all():
        way = np.where(climbs[:, None], way, uphill * scale**2)
    length = np.maximum.reduce(np.abs(way / scale), axis=-1, keepdims=True)
    return way * np.minimum(1.0, LONGEST / np.maximum(length, 1e-300))


def _update(curvature: Array, move: Array, fall: Array, fresh: Array) -> Array:
    """BFGS update of the inverse curvature of the negated criterion, shape ``(k, d, d)``.

    Where the criterion does not bend downwards along the move, the curvature stays.
    """
    dot = row_dot(move, fall)
    bends = dot > FLAT * np.sqrt(row_dot(move, move) * row_dot(fall, fall))
    turned = (curvature @ fall[..., None])[..., 0]
    if fresh.any():  # the first move tells the scale of all others (Nocedal and Wright, eq. 6.20)
        size = np.maximum(row_dot(fall, turned), 1e-300)
        factor = np.where(bends & fresh, dot / size, 1.0)
        curvature, turned = curvature * factor[:, None, None], turned * factor[:, None]
    rho = np.where(bends, 1.0 / np.where(bends, dot, 1.0), 0.0)[:, None, None]
    weight = 1.0 + rho * row_dot(fall, turned)[:, None, None]
    cross = move[..., None] * turned[:, None, :]
    outer = move[..., None] * move[:, None, :]
    updated: Array = curvature + rho * (weight * outer - cross - cross.swapaxes(-1, -2))
    return updated


def row_dot(a: Array, b: Array) -> Array:
    """Products row by row, ``(k,)``: one call, where multiplying and summing are two."""
    product: Array = np.einsum("ij,ij->i", a, b)
    return product
