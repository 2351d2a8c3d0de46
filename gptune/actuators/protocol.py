"""What an actuator is: any object with these members will do, no base class, no registration."""

from typing import Protocol, runtime_checkable

from gptune.records import Parameter, Scalar


@runtime_checkable
class Actuator(Protocol):
    """One knob of the live training state.

    gptune calls, in this order: `snapshot`, `validate`, `apply`, `read` (which must give back
    exactly what was applied), and `restore` with the snapshot when the change is undone. Whatever
    one of them raises is contained: a half-applied value is restored, and the knob is left alone
    from then on.
    """

    @property
    def name(self) -> str:
        """Its family: ``group.knob``, such as ``loss.aux``."""
        ...

    def describe_space(self) -> Parameter:
        """Say which values are possible: `Float`, `Integer` or `Categorical`."""
        ...

    def read(self) -> Scalar:
        """Give the value in force, read from the live object."""
        ...

    def snapshot(self) -> object:
        """Give all that `restore` needs to undo every later `apply`, bit for bit."""
        ...

    def validate(self, value: Scalar) -> str | None:
        """Complain about a value, in words, or return ``None`` when it may be applied."""
        ...

    def apply(self, value: Scalar) -> None:
        """Put a value in force."""
        ...

    def restore(self, snapshot: object) -> None:
        """Put back what `snapshot` saw; exempt from all limits."""
        ...


@runtime_checkable
class LiveActuator(Actuator, Protocol):
    """An actuator that works inside the optimizer's step and follows the user's schedule."""

    def attach(self) -> None:
        """Start to act and to watch; calling it twice is calling it once."""
        ...

    def detach(self) -> None:
        """Leave no trace."""
        ...

    def heal(self) -> None:
        """Put back what a step that raised had left scaled."""
        ...

    def scheduled(self) -> float:
        """Give the schedule's own value."""
        ...

    def effective(self) -> float | None:
        """Give what the optimizer really used in its last step; ``None`` before the first."""
        ...
