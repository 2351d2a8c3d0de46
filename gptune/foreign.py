"""The one place that calls code which is not gptune's on the user's behalf."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
LONGEST = 500  # characters of a message in the log


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What foreign code gave: a value, or the exception that it raised."""

    value: T | None = None
    error: Exception | None = None

    @property
    def message(self) -> str:
        """The exception in one line for the log, without addresses that differ between runs."""
        if self.error is None:
            return ""
        error = self.error
        words = foreign_call(lambda: str(error)).value
        text = f"{type(error).__name__}: {words if words is not None else '?'}"
        text = text.encode(errors="replace").decode()  # a lone surrogate cannot be written
        return re.sub(r"0x[0-9a-fA-F]+", "0x", text)[:LONGEST]


def foreign_call(call: Callable[[], T]) -> Answer[T]:
    """Call a metric accessor, ``evaluate``, an actuator, a criterion or a proposer.

    Whatever it raises is contained here and nowhere else: a failure of tuning must never end
    training. ``KeyboardInterrupt`` and ``SystemExit`` pass.
    """
    try:
        return Answer(value=call())
    except Exception as error:  # noqa: BLE001  the only place; the rule of the house
        return Answer(error=error)
