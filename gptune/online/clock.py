"""The time, for logs and displays only: no decision depends on it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Give the time of day as seconds since 1970, UTC [s]."""
        ...

    def elapsed(self) -> float:
        """Give a time that never runs backwards, from an arbitrary start [s]."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Give the time of day as seconds since 1970, UTC [s]."""
        return time.time()

    def elapsed(self) -> float:
        """Give a time that never runs backwards, from an arbitrary start [s]."""
        return time.perf_counter()
