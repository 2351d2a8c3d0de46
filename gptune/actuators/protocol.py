"""What an actuator is: any object with these members will do, no base class, no registration.

Kinds of values, and the space that describes each: a real number (`Float`), one that is searched on
a log scale (``Float(..., log=True)``), a whole number (`Integer`), yes or no
(``Categorical((False, True))``), a choice (`Categorical`), and several of them as one value
(`Tuple`).
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

from gptune.records import Parameter, Reason, Scalar, Tuple

FAMILY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(\[\d+\])?")  # group.knob, group.knob[0]


class Life(StrEnum):
    """Where an actuator stands.

    init -> untouched -> unverified -> verified | disabled. A disabled knob is reported, not tuned;
    one whose hooks fire again, or whose value is again the one that gptune put there, returns.
    """

    INIT = "init"  # made, not attached: nothing watches it
    UNTOUCHED = "untouched"  # attached; gptune has not changed it
    UNVERIFIED = "unverified"  # changed; not yet read back from what training used
    VERIFIED = "verified"  # changed, and training used what was put there
    DISABLED = "disabled"  # it failed, its hooks no longer fire, or somebody else writes it


def live_stage(*, attached: bool, lost: bool, moved: bool, used: bool) -> Life:
    """Say where an actuator stands.

    Args:
        attached: Whether it is watched.
        lost: Whether it failed, does not act any more, or is written by somebody else.
        moved: Whether gptune has changed it.
        used: Whether training has used, since then, what was put there.

    Example:
        >>> live_stage(attached=True, lost=False, moved=True, used=False).value
        'unverified'
    """
    if not attached:
        return Life.INIT
    if lost:
        return Life.DISABLED
    if not moved:
        return Life.UNTOUCHED
    return Life.VERIFIED if used else Life.UNVERIFIED


@runtime_checkable
class Actuator(Protocol):
    """One knob of the live training state.

    gptune calls, in this order: `snapshot`, `validate`, `apply`, `read` (which must give back
    exactly what was applied), and `restore` with the snapshot when the change is undone. Whatever
    one of them raises is contained: a half-applied value is restored, and the knob is left alone
    from then on. ``gptune.testing.check_actuator`` tests the whole contract.
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
        """Put a value in force, or raise and change nothing."""
        ...

    def restore(self, snapshot: object) -> None:
        """Put back what `snapshot` saw; exempt from all limits."""
        ...


@runtime_checkable
class LiveActuator(Actuator, Protocol):
    """An actuator that works inside the optimizer's step and follows the user's schedule.

    Its value is a multiplier on that schedule; 1 leaves it alone.
    """

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

    def reference(self) -> float:
        """Give the highest value of the schedule that is known; absolute targets go by it."""
        ...

    def fired(self) -> int:
        """Count the steps that it has seen; if it stops, the knob no longer acts [steps]."""
        ...

    def fault(self) -> Reason | None:
        """Say why the last step did not use what is in force; ``None`` if it did."""
        ...


@runtime_checkable
class Described(Protocol):
    """An actuator that says more of itself: what people, and defaults, go by."""

    @property
    def unit(self) -> str:
        """Unit of the value, for people; empty if there is none."""
        ...

    @property
    def risk(self) -> str:
        """How dangerous a change is: low | medium | high; high is not moved unless asked for."""
        ...

    @property
    def owner(self) -> str | None:
        """What else moves the value, such as ``OneCycleLR``; ``None`` for nothing."""
        ...


@runtime_checkable
class TupleActuator(Protocol):
    """Several actuators that are set as one, all or nothing; a Tuner tunes its parts."""

    @property
    def name(self) -> str:
        """Its family, such as ``opt.betas``."""
        ...

    def describe_space(self) -> Tuple:
        """Say which values each part may have."""
        ...

    def parts(self) -> Sequence[Actuator]:
        """Give the actuators that it is made of, in order."""
        ...

    def read(self) -> tuple[Scalar, ...]:
        """Give the values in force."""
        ...

    def snapshot(self) -> object:
        """Give all that `restore` needs."""
        ...

    def validate(self, value: tuple[Scalar, ...]) -> str | None:
        """Complain about a value, or return ``None``."""
        ...

    def apply(self, value: tuple[Scalar, ...]) -> None:
        """Put all values in force, or raise and change none."""
        ...

    def restore(self, snapshot: object) -> None:
        """Put back what `snapshot` saw."""
        ...
