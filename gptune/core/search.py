"""Where is a criterion largest? Candidates over the box, then a climb from the best of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from gptune.core.ascent import ascend
from gptune.core.criteria import Score
from gptune.core.space import SearchSpace
from gptune.errors import CriterionError

WIDE, CLOSE = 256, 64  # candidates over the boxes, and near the best place known
STARTS, EVALUATIONS = 4, 10  # of the climb: the best candidates, half of them close ones
STILL = 1e-5  # relative gain below which a climb has ended
ROUNDS = 6  # of moves to a neighbouring whole number or choice
LOOKS, ZOOM = 3, 0.2  # closer looks where there is no gradient, each at a fifth of the last one
GRID = 4096  # points of a finite space that are all looked at
SAME = 1e-9  # sides of the unit cube: nearer places are the same point
NEAR = (0.3, 0.03)  # spread of the close candidates [lengthscales]

Box = tuple[Tensor, Tensor]  # lower and upper corner, each of shape (d,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """Where to look, and how.

    Attributes:
        space: Where points are.
        boxes: Lower and upper corners; equal where a side is held.
        scale: Typical length of each dimension, shape ``(d,)``.
        near: Best place known, shape ``(d,)``, if any.
        taken: Places that are not to be proposed again, shape ``(t, d)``.
        allows: Says which places meet the user's constraints, ``(m, d)`` -> bool ``(m,)``.
        seed: Of the candidates.
        expired: Says when the time is up.
    """

    space: SearchSpace
    boxes: list[Box]
    scale: Tensor
    near: Tensor | None = None
    taken: Tensor | None = None
    allows: Callable[[Tensor], Tensor] | None = None
    seed: int = 0
    expired: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Found:
    """Places that were scored, m of them."""

    places: Tensor  # shape (m, d)
    values: Tensor  # shape (m,)
    owner: Tensor  # which box each lies in, shape (m,)

    def only(self, chosen: Tensor) -> "Found":
        """Keep some: their indices, or a mask."""
        return Found(self.places[chosen], self.values[chosen], self.owner[chosen])


def sobol(count: int, low: Tensor, high: Tensor, seed: int) -> Tensor:
    """Scrambled Sobol points in a box, shape ``(count, d)``."""
    engine = SobolEngine(low.numel(), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    # The first point alone is of torch's default dtype.
    engine.fast_forward(1)  # type: ignore[no-untyped-call]
    unit = engine.draw(count, dtype=torch.float64).to("cpu")
    return low + unit * (high - low)


def shifted_sobol(count: int, low: Tensor, high: Tensor, seed: int) -> Tensor:
    """Sobol points shifted by chance, modulo one: as even, and ten times quicker to draw.

    Source:
        Cranley and Patterson (1976), SIAM Journal on Numerical Analysis 13(6).
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    shift = torch.rand(low.numel(), generator=generator, dtype=torch.float64, device="cpu")
    return low + ((_unshifted(count, low.numel()) + shift) % 1.0) * (high - low)


@cache
def _unshifted(count: int, dimension: int) -> Tensor:
    zero, one = torch.zeros(2, dimension, dtype=torch.float64, device="cpu")
    return sobol(count, zero, one + 1.0, seed=0)


def evaluate(score: Score, x: Tensor) -> Tensor:
    """Score places, shape ``(m, d)`` -> ``(m,)``; NaN counts as the worst.

    Raises:
        CriterionError: If every value is NaN.
    """
    values = score.values(x)
    if bool(values.isnan().all()):
        raise CriterionError(f"acquisition: all {x.shape[0]} values are NaN; check the criterion")
    return _without_nan(values)


def _without_nan(values: Tensor) -> Tensor:
    return values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def maximise(score: Score, hunt: Hunt) -> tuple[Tensor, float]:
    """Find the best place over several boxes.

    Quasi-random and close candidates are scored; the best are climbed from in lock step along the
    real coordinates; then whole numbers and choices move one at a time while that helps. Whole
    numbers and choices are looked at only where points are, and places that are taken are
    left out for as long as there are others. A finite space of few points is looked at whole.

    Args:
        score: What is climbed.
        hunt: Where to look.

    Returns:
        The best place, shape ``(d,)``, and its value.

    Raises:
        CriterionError: If the criterion gives nothing usable.
    """
    candidates, owner, wide = _candidates(hunt)
    found = Found(candidates, evaluate(score, candidates), owner)
    if hunt.space.size > GRID:
        found = _climb(score, hunt, found.only(_starts(found.values, wide)))
    best = int(found.values.argmax())
    place, value = found.places[best], float(found.values[best])
    for _ in range(0 if hunt.space.all_floats else ROUNDS):
        moved = _step(score, hunt, int(found.owner[best]), (place, value))
        if moved is None or hunt.expired():
            break
        place, value = moved
    return place, value


def _candidates(hunt: Hunt) -> tuple[Tensor, Tensor, Tensor]:
    """Give places to score, the box of each, and whether it is none of the close ones.

    Returns:
        Shapes ``(m, d)``, ``(m,)`` and ``(m,)``; those taken are left out if others remain.
    """
    count, places, owner, wide = len(hunt.boxes), [], [], []
    for index, (low, high) in enumerate(hunt.boxes):
        spread = shifted_sobol(max(CLOSE, WIDE // count), low, high, hunt.seed)
        corners = torch.stack([low, high])  # a criterion may well be largest at an end of a line
        kinds = [torch.cat([spread, corners])]
        if hunt.space.size <= GRID:
            every = hunt.space.grid
            kinds[0] = torch.cat([kinds[0], every[_inside(every, (low, high))]])
        if hunt.near is not None:
            kinds.append(_close(hunt, hunt.near, (spread, low, high), max(CLOSE // count, 16)))
        for kind, made in enumerate(kinds):
            places.append(hunt.space.snap(made))
            owner.append(torch.full_like(made[:, 0], index, dtype=torch.long))
            wide.append(torch.full_like(owner[-1], kind == 0, dtype=torch.bool))
    all_of = torch.cat(places), torch.cat(owner), torch.cat(wide)
    free = _choice(all_of[0], hunt)
    return (all_of[0][free], all_of[1][free], all_of[2][free]) if bool(free.any()) else all_of


def _inside(places: Tensor, box: Box) -> Tensor:
    return ((places >= box[0] - SAME) & (places <= box[1] + SAME)).all(-1)


def _close(hunt: Hunt, near: Tensor, around: tuple[Tensor, Tensor, Tensor], count: int) -> Tensor:
    """Change some coordinates of the best place known a little, shape ``(count, d)``."""
    spread, *box = around
    near = near.clamp(*box)
    generator = torch.Generator("cpu").manual_seed(hunt.seed)
    shape = (count, len(near))
    noise = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    number = torch.arange(count, device="cpu")
    reach = torch.where(number % 2 == 0, *NEAR).unsqueeze(-1)
    moved = near + noise * reach * hunt.scale.clamp_max(1.0)
    if not hunt.space.all_floats:  # whole numbers and choices have no "a little": drawn anew
        moved = torch.where(hunt.space.floats, moved, spread[number % len(spread)])
    share = min(1.0, 3.0 / len(near))
    chosen = torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu") < share
    chosen[number, number % len(near)] = True
    return torch.where(chosen, moved, near).clamp(*box)


def is_open(places: Tensor, hunt: Hunt) -> Tensor:
    """Say which places may be proposed: neither taken nor against a constraint, bool ``(m,)``."""
    free = is_free(places, hunt.taken)
    if hunt.allows is None or not bool(free.any()):
        return free
    found = free.clone()
    found[free] = hunt.allows(places[free])
    return found


def _choice(places: Tensor, hunt: Hunt) -> Tensor:
    """Say which candidates are looked at: those open, else those allowed though taken."""
    found = is_open(places, hunt)
    if hunt.allows is None or bool(found.any()):
        return found
    return hunt.allows(places)


def is_free(places: Tensor, taken: Tensor | None) -> Tensor:
    """Say which places are not taken: bool, shape ``(m,)`` for ``(m, d)`` and ``(t, d)``."""
    if taken is None or len(taken) == 0:
        return torch.ones(len(places), dtype=torch.bool, device="cpu")
    return torch.cdist(places, taken, p=torch.inf).amin(-1) > SAME


def _starts(values: Tensor, wide: Tensor) -> Tensor:
    """Indices of the best candidates, half of them from each kind if there are both."""
    order = values.argsort(descending=True, stable=True)
    from_wide = order[wide[order]][: STARTS // 2]
    from_close = order[~wide[order]][: STARTS - len(from_wide)]
    return torch.cat([from_wide, from_close]) if len(from_close) else order[:STARTS]


def _climb(score: Score, hunt: Hunt, starts: Found) -> Found:
    """Climb along the real coordinates; give starts and ends."""
    places, owner = starts.places, starts.owner
    low = torch.stack([hunt.boxes[i][0] for i in owner.tolist()])
    high = torch.stack([hunt.boxes[i][1] for i in owner.tolist()])
    floats = hunt.space.floats
    box = (torch.where(floats, low, places), torch.where(floats, high, places))
    if not bool((box[0] < box[1]).any()) or hunt.expired():
        return starts
    if not score.is_smooth(places[:1]):
        best = int(starts.values.argmax())
        ends, heights = _zoom(score, hunt, (box[0][best], box[1][best]), places[best])
        theirs = owner[best].expand(len(ends))
    else:
        unit = score.unit(starts.values)

        def slopes(x: Tensor, _: object) -> tuple[Tensor, Tensor]:
            values, gradients = score.slopes(x)
            return values / unit, gradients / unit

        ends, heights = ascend(
            slopes,
            places,
            box,
            hunt.scale.clamp_max(1.0),
            evaluations=EVALUATIONS,
            tolerance=STILL,
            expired=hunt.expired,
        )
        heights, theirs = heights * unit, owner
    lost = torch.full_like(heights, -torch.inf)
    heights = torch.where(is_open(ends, hunt), heights, lost)
    # Starts come first: where no end is higher, argmax gives the start, with the bits of a point.
    return Found(
        torch.cat([places, ends]), torch.cat([starts.values, heights]), torch.cat([owner, theirs])
    )


def _zoom(score: Score, hunt: Hunt, box: Box, place: Tensor) -> tuple[Tensor, Tensor]:
    """Look closer and closer around a place, where a criterion has no gradient."""
    low, high = box
    found, heights = [place.unsqueeze(0)], [_without_nan(score.values(place.unsqueeze(0)))]
    for look in range(1, LOOKS + 1):
        reach = (high - low) * ZOOM**look / 2
        center = torch.cat(found)[int(torch.cat(heights).argmax())]
        corners = (center - reach).clamp(low, high), (center + reach).clamp(low, high)
        found.append(shifted_sobol(CLOSE, *corners, hunt.seed))
        heights.append(_without_nan(score.values(found[-1])))
    return torch.cat(found), torch.cat(heights)


def _step(
    score: Score, hunt: Hunt, owner: int, at: tuple[Tensor, float]
) -> tuple[Tensor, float] | None:
    """Move one whole number or choice if that is better, then climb again; ``None`` if none is."""
    near = hunt.space.neighbours(at[0])
    near = near[_inside(near, hunt.boxes[owner])]
    near = near[is_open(near, hunt)]
    if len(near) == 0:
        return None
    values = _without_nan(score.values(near))
    order = values.argsort(descending=True, stable=True)[:STARTS]
    found = _climb(score, hunt, Found(near, values, torch.full((len(near),), owner)).only(order))
    best = int(found.values.argmax())
    value = float(found.values[best])
    return (found.places[best], value) if value > at[1] else None
