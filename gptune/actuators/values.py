"""Entries of a dict and attributes of an object as knobs."""

import math
from collections.abc import Mapping, MutableMapping
from typing import Any

from gptune.errors import ActuatorError
from gptune.records import Categorical, Float, Integer, Parameter, Scalar

REACH = 10.0  # a positive number without a range of its own may go this far up or down [ratio]


class ValueKnob:
    """One entry of a mapping, or one attribute of an object; the object itself is kept."""

    def __init__(self, target: Any, key: str, family: str, space: Parameter) -> None:
        self._target, self._key, self._name, self._space = target, key, family, space
        self._is_mapping = isinstance(target, MutableMapping)

    @property
    def name(self) -> str:
        """Its family, e.g. ``loss.aux``."""
        return self._name

    def describe_space(self) -> Parameter:
        """Give the range of the value."""
        return self._space

    def read(self) -> Scalar:
        """Give the value in force."""
        value: Scalar = self.snapshot()
        return value

    def snapshot(self) -> Any:
        """Give the very object that is in force."""
        return self._target[self._key] if self._is_mapping else getattr(self._target, self._key)

    def validate(self, value: Scalar) -> str | None:
        """Complain about a value of another kind, or outside the range."""
        if isinstance(self._space, Categorical):
            known = any(type(c) is type(value) and c == value for c in self._space.choices)
            return None if known else f"{self._name}: {value!r} is none of {self._space.choices}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{self._name}: must be a number, got {value!r}"
        if isinstance(self._space, Integer) and not isinstance(value, int):
            return f"{self._name}: must be a whole number, got {value!r}"
        low, high = self._space.low, self._space.high
        inside = low <= value <= high
        return None if inside else f"{self._name}: must lie in [{low}, {high}], got {value!r}"

    def apply(self, value: Scalar) -> None:
        """Put a value in force.

        Raises:
            ActuatorError: If `validate` complains.
        """
        complaint = self.validate(value)
        if complaint:
            raise ActuatorError(complaint)
        self.restore(value)

    def restore(self, snapshot: object) -> None:
        """Put back what `snapshot` saw."""
        if self._is_mapping:
            self._target[self._key] = snapshot
        else:
            setattr(self._target, self._key, snapshot)


def value_actuators(
    target: Any, spaces: Mapping[str, Parameter] | None = None, *, name: str = "loss"
) -> list[ValueKnob]:
    """Make knobs of the entries of a mapping, or of attributes of an object.

    Args:
        target: A mutable mapping such as ``{"aux": 0.5}``, or any object.
        spaces: Entry or attribute -> its range. ``None`` takes every positive real entry of a
            mapping, each from a tenth to ten times its value; an object needs ``spaces``.
        name: The first part of the families: ``loss.aux`` and so on.

    Raises:
        ActuatorError: If an entry does not exist, is no plain value, or lies outside its range.

    Example:
        >>> weights = {"aux": 0.5, "kl": 0.1}
        >>> [knob.name for knob in value_actuators(weights)]
        ['loss.aux', 'loss.kl']
    """
    if spaces is None:
        spaces = _guess(target, name)
    knobs = [ValueKnob(target, key, f"{name}.{key}", space) for key, space in spaces.items()]
    for key, knob in zip(spaces, knobs, strict=True):
        try:
            complaint = knob.validate(knob.read())
        except (KeyError, AttributeError) as error:
            raise ActuatorError(f"{knob.name}: there is no {key!r} in {target!r}") from error
        if complaint:
            raise ActuatorError(f"{complaint}; give a range that holds the value in force")
    return knobs


def _guess(target: Any, name: str) -> dict[str, Parameter]:
    if not isinstance(target, MutableMapping):
        raise ActuatorError(
            f"{name}: spaces must name the attributes of {type(target).__name__} to tune, got None"
        )
    guessed: dict[str, Parameter] = {}
    for key, value in target.items():
        if not (isinstance(value, float) and math.isfinite(value) and value > 0):
            raise ActuatorError(
                f"{name}.{key}: only a positive real number has a range of its own, got "
                f"{value!r}; give spaces={{{key!r}: gptune.Float(low, high)}}"
            )
        guessed[str(key)] = Float(value / REACH, value * REACH, log=True)
    return guessed
