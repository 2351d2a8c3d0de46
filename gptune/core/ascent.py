"""Climb from several places at once inside a box: BFGS in lock step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Slopes = Callable[[Tensor], tuple[Tensor, Tensor]]  # (s, d) -> values (s,), gradients (s, d)

ENOUGH = 1e-4  # of the expected gain that a step must bring (Armijo)
BACK = (0.1, 0.5)  # how much shorter the next try is, where a step brought too little
FLAT = 1e-12  # cosine of the angle between a move and the fall of the slope: no curvature
BOTTOM = -1e300  # stands for a value that is not finite
LONGEST = 0.5  # of a step [lengthscales]


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

    One call of ``slopes`` a step serves all of them: on a small surrogate the calls cost more than
    the arithmetic. Steps are projected on the box; a coordinate at an edge that the gradient
    points beyond is held. The steps themselves are NumPy's: on arrays this small an operation
    costs half of torch's.

    Args:
        slopes: What is climbed, with its gradient; what is not finite is never climbed to.
        x: Where to start, inside the box, shape ``(s, d)``.
        box: Lower and upper corner for each place, each ``(s, d)``; equal where a side is held.
        scale: Typical length of each dimension, shape ``(d,)``.
        evaluations: Most calls of ``slopes``.
        tolerance: Relative gain below which a climb has ended; all end together.
        expired: Says when the time is up.

    Returns:
        The highest places found, shape ``(s, d)``, and their values, shape ``(s,)``.

    Source:
        Nocedal and Wright (2006), Numerical Optimization, algorithm 6.1, with projection.
    """
    low, high, lengths = box[0].numpy(), box[1].numpy(), scale.numpy()
    look = _Look(slopes)
    here = x.numpy()
    value, slope = look(here)
    curvature = np.broadcast_to(np.diag(lengths**2), (*here.shape, here.shape[-1]))
    step, fresh = np.ones(len(here)), np.ones(len(here), dtype=bool)
    for _ in range(evaluations - 1):
        if expired():
            break
        held = ((here <= low) & (slope <= 0)) | ((here >= high) & (slope >= 0))
        uphill = np.where(held, 0.0, slope)
        way = _direction(curvature, uphill, held, lengths)
        trial = np.minimum(np.maximum(here + step[:, None] * way, low), high)
        move = trial - here
        there, slope_there = look(trial)
        gain = there - value
        hoped = (uphill * move).sum(-1)
        good = (gain >= ENOUGH * hoped) & (gain >= 0)
        small = np.abs(gain) <= tolerance * (1.0 + np.abs(value))
        updated = _update(curvature, move, slope - slope_there, fresh)
        fresh = fresh & ~good
        curvature = np.where(good[:, None, None], updated, curvature)
        here = np.where(good[:, None], trial, here)
        slope = np.where(good[:, None], slope_there, slope)
        value = np.where(good, there, value)
        # The top of the parabola through both values and the slope at the start of the step.
        back = np.clip(0.5 * hoped / np.maximum(hoped - gain, 1e-300), *BACK)
        step = np.where(good, 1.0, step * back)
        if small.all():
            break
    return torch.from_numpy(here), torch.from_numpy(value)


class _Look:
    """Calls what is climbed; what is not finite becomes a bottom without a slope."""

    def __init__(self, slopes: Slopes) -> None:
        self._slopes = slopes

    def __call__(self, x: Array) -> tuple[Array, Array]:
        values, gradients = self._slopes(torch.from_numpy(x))
        value, gradient = values.numpy(), gradients.numpy()
        if np.isfinite(value).all() and np.isfinite(gradient).all():
            return value, gradient
        sound = np.isfinite(value) & np.isfinite(gradient).all(-1)
        return np.where(sound, value, BOTTOM), np.where(sound[:, None], gradient, 0.0)


def _direction(curvature: Array, uphill: Array, held: Array, scale: Array) -> Array:
    """Quasi-Newton direction along the free coordinates, no longer than ``LONGEST``, ``(s, d)``."""
    way = np.where(held, 0.0, (curvature @ uphill[..., None])[..., 0])
    climbs = (way * uphill).sum(-1, keepdims=True) > 0
    if not climbs.all():
        way = np.where(climbs, way, uphill * scale**2)
    length = np.abs(way / scale).max(-1, keepdims=True)
    return way * np.minimum(1.0, LONGEST / np.maximum(length, 1e-300))


def _update(curvature: Array, move: Array, fall: Array, fresh: Array) -> Array:
    """BFGS update of the inverse curvature of the negated criterion, shape ``(s, d, d)``.

    Where the criterion does not bend downwards along the move, the curvature stays.
    """
    dot = (move * fall).sum(-1)
    bends = dot > FLAT * np.sqrt((move * move).sum(-1) * (fall * fall).sum(-1))
    rho = np.where(bends, 1.0 / np.where(bends, dot, 1.0), 0.0)[:, None, None]
    if fresh.any():  # the first move tells the scale of all others (Nocedal and Wright, eq. 6.20)
        turned = (curvature @ fall[..., None])[..., 0]
        size = np.maximum((fall * turned).sum(-1), 1e-300)
        factor = np.where(bends & fresh, dot / size, 1.0)
        curvature = curvature * factor[:, None, None]
    turned = (curvature @ fall[..., None])[..., 0]
    weight = 1.0 + rho * (fall * turned).sum(-1)[:, None, None]
    cross = move[..., None] * turned[:, None, :]
    outer = move[..., None] * move[:, None, :]
    return curvature + rho * (weight * outer - cross - cross.swapaxes(-1, -2))
