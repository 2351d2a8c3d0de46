"""Hyperparameters that go by their usual names: a sensible range, a unit, a risk."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from gptune.records import Categorical, Float, Integer, Parameter

REACH = 10.0  # a positive number without a range of its own may go this far up or down [ratio]
YES_NO = Categorical((False, True))


@dataclass(frozen=True, slots=True)
class Usual:
    """What is known of a value before anything was measured.

    Attributes:
        space: The range in which it is worth trying.
        unit: Its unit, for people.
        risk: low | medium | high.
    """

    space: Parameter
    unit: str = ""
    risk: str = "low"


def _probability(value: float) -> Parameter | None:
    return Float(0.0, max(0.5, value)) if 0 <= value <= 1 else None


def _chance(value: float) -> Parameter | None:
    return Float(0.0, 1.0) if 1e-3 <= value <= 1 else None  # 1e-8 is no exploration rate


def _ratio(value: float) -> Parameter | None:
    low, high = value / REACH, value * REACH
    return Float(low, high, log=True) if 0 < low < high < math.inf else None


def _size(value: float) -> Parameter | None:
    whole = type(value) is int and 1 <= value < 2**61  # no larger one is ever a size
    return Integer(max(1, int(value) // 4), 4 * int(value), log=True) if whole else None


def _horizon(value: float) -> Parameter | None:
    """Give the range of a discount by its horizon 1 / (1 - value), from a tenth to ten times."""
    low, high = 1 - min(1.0, (1 - value) * REACH), 1 - (1 - value) / REACH
    return Float(low, high) if 0 < value < 1 else None


# Name -> how its range follows from its value, unit, risk. Dropout, smoothing and the size of a
# batch show what they do late; a discount changes what is being optimised.
NAMES: tuple[tuple[str, Callable[[float], Parameter | None], str, str], ...] = (
    (
        r"dropout|drop(out)?_?(p|prob|rate|path)|label_smoothing",
        _probability,
        "probability",
        "medium",
    ),
    (r"epsilon|exploration(_rate)?", _chance, "probability", "low"),
    (r"temperature", _ratio, "", "low"),
    (r"ent(ropy)?_?(coef|coefficient|bonus|weight)", _ratio, "loss per nat", "low"),
    (r"(max_)?(grad|gradient)?_?(clip|norm|clip_norm|norm_clip)(_norm)?", _ratio, "norm", "low"),
    (r"batch_size", _size, "examples", "medium"),
    (r"gamma|discount|gae_lambda", _horizon, "kept a step", "high"),
)


def usual(name: str, value: object) -> Usual | None:
    """Say what is known of a value that goes by a usual name; ``None`` if it does not.

    Example:
        >>> usual("batch_size", 64)
        Usual(space=Integer(low=16, high=256, log=True), unit='examples', risk='medium')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    for pattern, space_of, unit, risk in NAMES:
        if re.fullmatch(pattern, name):
            space = space_of(value)
            return None if space is None else Usual(space, unit, risk)
    return None


def guess(value: object) -> Usual | None:
    """Say what is known of a value by its kind alone: a positive real number, or yes or no."""
    if isinstance(value, bool):
        return Usual(YES_NO)
    space = _ratio(value) if isinstance(value, float) else None
    return None if space is None else Usual(space)
