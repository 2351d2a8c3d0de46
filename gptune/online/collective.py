"""One decision for all processes that train one model."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import distributed

T = TypeVar("T")


class Ranks(Protocol):
    """The processes that train one model, numbered from 0: their ranks."""

    def first(self, value: T) -> T:
        """Give every rank what rank 0 gave."""
        ...

    def agree(self, value: Callable[[], str]) -> bool:
        """Say whether ``value()`` is the same on every rank."""
        ...


class Alone:
    """The default: there is one process."""

    def first(self, value: T) -> T:
        """Give the value back."""
        return value

    def agree(self, value: Callable[[], str]) -> bool:
        """Agree."""
        return True


def is_alone() -> bool:
    """Say whether no other process of torch's takes part."""
    initialised = distributed.is_available() and distributed.is_initialized()
    return not initialised or distributed.get_world_size() == 1
