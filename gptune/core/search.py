"""Where is a criterion largest? Candidates over the box, then closer and closer looks."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from gptune.errors import CriterionError

WIDE, CLOSE, LOOKS = 256, 64, 3  # candidates of the first look, of each closer one, closer looks
ZOOM = 0.2  # each closer look spans this much of the one before


def sobol(count: int, low: Tensor, high: Tensor, seed: int) -> Tensor:
    """Scrambled Sobol points in a box, shape ``(count, d)``."""
    engine = SobolEngine(low.numel(), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    # The first point alone is of torch's default dtype.
    engine.fast_forward(1)  # type: ignore[no-untyped-call]
    unit = engine.draw(count, dtype=torch.float64).to("cpu")
    return low + unit * (high - low)


def evaluate(criterion: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Score places one by one, shape ``(m, d)`` -> ``(m,)``; NaN counts as the worst.

    Raises:
        CriterionError: If the shape is wrong, or every value is NaN.
    """
    values = torch.as_tensor(criterion(x.unsqueeze(-2)), device="cpu").detach()
    if values.shape != x.shape[:1]:
        given, wanted = tuple(values.shape), (x.shape[0],)
        raise CriterionError(f"acquisition: must give shape {wanted}, got {given}; one per point")
    if bool(values.isnan().all()):
        raise CriterionError(f"acquisition: all {x.shape[0]} values are NaN; check the criterion")
    return values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _ends(box: tuple[Tensor, Tensor], snap: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Give a box's two corners: a criterion may well be largest at an end of a line."""
    return [snap(corner.unsqueeze(0)) for corner in box]


def maximise(
    criterion: Callable[[Tensor], Tensor],
    boxes: list[tuple[Tensor, Tensor]],
    snap: Callable[[Tensor], Tensor],
    seed: int,
) -> tuple[Tensor, float]:
    """Find the best place over several boxes.

    Needs no gradient, so any criterion will do, and whole numbers and choices are looked at only
    where points are.

    Args:
        criterion: ``(b, 1, d)`` -> ``(b,)``, larger is better.
        boxes: Lower and upper corners, each of shape ``(d,)``; equal where a side is held.
        snap: Moves places to where points are.
        seed: Of the candidates.

    Returns:
        The best place, shape ``(d,)``, and its value.

    Raises:
        CriterionError: As `evaluate`.
    """
    per_box = max(CLOSE, WIDE // len(boxes))
    looks = [torch.cat([snap(sobol(per_box, *box, seed)), *_ends(box, snap)]) for box in boxes]
    per_box = len(looks[0])
    candidates = torch.cat(looks)
    values = evaluate(criterion, candidates)
    best = int(values.argmax())
    low, high = boxes[best // per_box]
    place, value = candidates[best], float(values[best])
    for look in range(1, LOOKS + 1):
        reach = (high - low) * ZOOM**look / 2
        near = sobol(
            CLOSE, (place - reach).clamp(low, high), (place + reach).clamp(low, high), seed
        )
        closer = snap(near)
        values = evaluate(criterion, closer)
        best = int(values.argmax())
        if float(values[best]) > value:
            place, value = closer[best], float(values[best])
    return place, value
