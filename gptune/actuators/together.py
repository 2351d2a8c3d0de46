"""Several actuators as one: set together, all or nothing."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Generic, TypeVar

from gptune.actuators.protocol import Actuator, TupleActuator
from gptune.errors import ActuatorError
from gptune.records import Scalar, Tuple

Part = TypeVar("Part", bound=Actuator)


def parts_of(actuators: Iterable[Actuator | TupleActuator]) -> list[Actuator]:
    """List single actuators, with those that are set as one taken apart."""
    apart: list[Actuator] = []
    for actuator in actuators:
        if isinstance(actuator, TupleActuator):
            apart.extend(actuator.parts())
        else:
            apart.append(actuator)
    return apart


def call_all(calls: Sequence[Callable[[], object]]) -> None:
    """Make every call, also if one before it raises; what the first one raised passes."""
    if calls:
        try:
            calls[0]()
        finally:
            call_all(calls[1:])


class Together(Generic[Part]):
    """Several actuators whose values are set as one tuple, all or nothing.

    Args:
        name: Its family, e.g. ``opt.betas``.
        parts: The actuators, in the order of the tuple.

    Raises:
        ActuatorError: If there are fewer than two, or two have one name.

    Example:
        >>> from gptune import Float, value_actuators
        >>> weights = {"low": 1.0, "high": 2.0}
        >>> both = Together("clip.range", value_actuators(weights, name="clip"))
        >>> both.apply((0.5, 4.0))
        >>> weights
        {'low': 0.5, 'high': 4.0}
    """

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        if not isinstance(parts, Sequence) or not all(isinstance(p, Actuator) for p in parts):
            raise ActuatorError(f"{name}: needs a list of actuators, got {parts!r}")
        self._name, self._parts = name, tuple(parts)
        names = [part.name for part in self._parts]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ActuatorError(
                f"{name}: needs two or more actuators of different names, got {names}; "
                "hand a single one over as it is"
            )

    @property
    def name(self) -> str:
        """Its family."""
        return self._name

    def parts(self) -> tuple[Part, ...]:
        """Give the actuators, in the order of the tuple."""
        return self._parts

    def describe_space(self) -> Tuple:
        """Give the range of each part, by its name."""
        return Tuple({part.name: part.describe_space() for part in self._parts})

    def read(self) -> tuple[Scalar, ...]:
        """Give the values in force."""
        return tuple(part.read() for part in self._parts)

    def snapshot(self) -> tuple[object, ...]:
        """Give every part's snapshot."""
        return tuple(part.snapshot() for part in self._parts)

    def validate(self, value: object) -> str | None:
        """Complain about what is no tuple of the right length, or about the first bad part."""
        if not isinstance(value, tuple | list) or len(value) != len(self._parts):
            return f"{self._name}: must be a tuple of {len(self._parts)} values, got {value!r}"
        complaints = (part.validate(v) for part, v in zip(self._parts, value, strict=True))
        return next((complaint for complaint in complaints if complaint), None)

    def apply(self, value: Sequence[Scalar]) -> None:
        """Put all values in force, or none.

        Raises:
            ActuatorError: If `validate` complains. What a part raises passes, after the parts that
                were already set are put back.
        """
        complaint = self.validate(value)
        if complaint:
            raise ActuatorError(complaint)
        before, done = self.snapshot(), False
        try:
            for part, one in zip(self._parts, value, strict=True):
                part.apply(one)
            done = True
        finally:
            if not done:
                self.restore(before)

    def restore(self, snapshot: object) -> None:
        """Put every part back, the last first; one that fails does not stop the others."""
        assert isinstance(snapshot, tuple)
        pairs = zip(self._parts, snapshot, strict=True)
        call_all([partial(part.restore, saved) for part, saved in reversed(list(pairs))])
