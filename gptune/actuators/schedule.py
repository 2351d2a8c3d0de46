"""Learning-rate schedules for users without one: warm-up, then hold and decay, cosine, or linear.

Each scales the optimizer's own rate, which is the highest that is reached. Before the optimizer's
step number t, counted from 0, the factor is ``(t + 1) / w`` while t is below the w steps of the
warm-up, then falls from 1 to ``final``, which it has at the end of the run and after it. Call
``scheduler.step()`` after each step of the optimizer.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gptune.errors import ActuatorError

WARMUP, COOLDOWN = 0.02, 0.2  # fractions of the run; a fifth to decay: Hägele et al., section 3


@dataclass(frozen=True)  # without slots: LambdaLR saves and loads a factor by its __dict__
class Factor:
    """The factor at a step: plain data, so that a scheduler with it can be saved.

    Attributes:
        kind: Shape after the warm-up.
        total: Steps of the whole run [steps].
        warmup: Steps until the factor is 1 [steps].
        cooldown: Steps of the decay at the end [steps].
        final: Factor at the end, and after it.
    """

    kind: Literal["stable", "cosine", "linear"]
    total: int
    warmup: int
    cooldown: int
    final: float

    def __call__(self, step: int) -> float:
        """Give the factor before the optimizer's step number ``step``, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        left = self.total - step
        done = min(max(1.0 - left / self.cooldown, 0.0), 1.0) if self.cooldown else 1.0
        return self.final + (1.0 - self.final) * SHAPES[self.kind](done)


# From 1 at the beginning of the decay to 0 at its end.
SHAPES: dict[str, Callable[[float], float]] = {
    "stable": lambda done: 1.0 - math.sqrt(done),
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "linear": lambda done: 1.0 - done,
}


@dataclass(frozen=True)  # without slots: LambdaLR saves and loads a factor by its __dict__
class Recorded:
    """A factor that is constant from each of some steps on: what a tuned run did.

    Attributes:
        steps: Where the factor changes [steps], ascending from 0.
        factors: From each of those steps on.
    """

    steps: tuple[int, ...]
    factors: tuple[float, ...]

    def __call__(self, step: int) -> float:
        """Give the factor before the optimizer's step number ``step``, counted from 0."""
        return self.factors[max(0, bisect_right(self.steps, step) - 1)]


def recorded(path: str | Path, family: str = "opt.lr") -> Recorded:
    """Read a schedule that ``gptune recipe export`` wrote, as a factor for ``LambdaLR``.

    Args:
        path: The ``.schedule.json`` file.
        family: The knob; of mode mult.

    Raises:
        ActuatorError: If the file cannot be read or does not hold that knob.

    Example:
        >>> import json, tempfile, torch
        >>> file = tempfile.NamedTemporaryFile("w", suffix=".json")
        >>> json.dump({"opt.lr": [[0, 1.0], [50, 2.0]]}, file); file.flush()
        >>> factor = recorded(file.name)
        >>> factor(49), factor(50)
        (1.0, 2.0)
        >>> sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> schedule = LambdaLR(sgd, factor)
    """
    try:
        found = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, msgspec.Raw])
        rows = msgspec.json.decode(found[family], type=list[tuple[int, float]])
    except (OSError, KeyError, msgspec.MsgspecError, RecursionError) as error:
        raise ActuatorError(
            f"recorded: {str(path)!r} holds no schedule of {family!r} ({error!r}); "
            "give a file that gptune recipe export wrote"
        ) from error
    steps, factors = tuple(step for step, _ in rows), tuple(factor for _, factor in rows)
    if steps[:1] != (0,) or list(steps) != sorted(set(steps)):
        raise ActuatorError(f"recorded: steps must count up from 0, got {steps!r} in {str(path)!r}")
    if min(factors) <= 0:
        raise ActuatorError(f"recorded: factors must be above 0, got {factors!r} in {str(path)!r}")
    return Recorded(steps, factors)


def warmup_stable_decay(
    optimizer: Optimizer,
    total_steps: int,
    *,
    warmup: float = WARMUP,
    cooldown: float = COOLDOWN,
    final: float = 0.0,
) -> LambdaLR:
    """Warm up, hold the rate, and let it decay as ``1 - sqrt(t)`` at the end.

    The one to take beside a tuner: for most of the run the rate is the optimizer's own, times
    what the tuner found.

    Args:
        optimizer: Its rates are the highest that are reached.
        total_steps: Steps of the whole run [steps].
        warmup: Fraction of the run in which the rate rises.
        cooldown: Fraction of the run in which it decays.
        final: Factor at the end.

    Raises:
        ActuatorError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> schedule = warmup_stable_decay(sgd, 100, warmup=0.1)
        >>> factors = schedule.lr_lambdas[0]
        >>> [round(factors(step), 2) for step in (0, 9, 50, 80, 85, 100, 200)]
        [0.1, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]

    Source:
        Hägele et al. (2024), arXiv:2405.18392; Hu et al. (2024), arXiv:2404.06395.
    """
    _check(optimizer, total_steps, (warmup, cooldown, final))
    rise, fall = round(warmup * total_steps), round(cooldown * total_steps)
    factor = Factor("stable", total_steps, rise, max(1, fall), final)
    return LambdaLR(optimizer, factor)


def cosine(
    optimizer: Optimizer, total_steps: int, *, warmup: float = WARMUP, final: float = 0.0
) -> LambdaLR:
    """Warm up, then fall along half a cosine to the end of the run.

    Args:
        optimizer: Its rates are the highest that are reached.
        total_steps: Steps of the whole run [steps].
        warmup: Fraction of the run in which the rate rises.
        final: Factor at the end.

    Raises:
        ActuatorError: If an argument is out of its range.

    Source:
        Loshchilov and Hutter (2017), arXiv:1608.03983.
    """
    return _falling("cosine", optimizer, total_steps, (warmup, final))


def linear(
    optimizer: Optimizer, total_steps: int, *, warmup: float = WARMUP, final: float = 0.0
) -> LambdaLR:
    """Warm up, then fall in a straight line to the end of the run.

    Args:
        optimizer: Its rates are the highest that are reached.
        total_steps: Steps of the whole run [steps].
        warmup: Fraction of the run in which the rate rises.
        final: Factor at the end.

    Raises:
        ActuatorError: If an argument is out of its range.

    Source:
        Defazio et al. (2023), arXiv:2310.07831.
    """
    return _falling("linear", optimizer, total_steps, (warmup, final))


def _falling(
    kind: Literal["cosine", "linear"],
    optimizer: Optimizer,
    total_steps: int,
    shape: tuple[float, float],
) -> LambdaLR:
    warmup, final = shape
    _check(optimizer, total_steps, (warmup, 0.0, final))
    rise = round(warmup * total_steps)
    return LambdaLR(optimizer, Factor(kind, total_steps, rise, total_steps - rise, final))


def _check(optimizer: object, total_steps: int, fractions: tuple[float, float, float]) -> None:
    if not isinstance(optimizer, Optimizer):
        raise ActuatorError(
            f"optimizer: must be a torch.optim.Optimizer, got {type(optimizer).__name__}"
        )
    warmup, cooldown, final = fractions
    if type(total_steps) is not int or total_steps < 1:
        raise ActuatorError(f"total_steps: must be a count >= 1 [steps], got {total_steps!r}")
    for name, value in (("warmup", warmup), ("cooldown", cooldown), ("final", final)):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= 1:
            raise ActuatorError(f"{name}: must be a fraction in [0, 1], got {value!r}")
    if warmup + cooldown > 1:
        raise ActuatorError(
            f"warmup + cooldown: must be at most the whole run, got {warmup} + {cooldown}"
        )
