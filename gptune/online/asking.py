"""The talk with the proposer: it hears what was measured, and is asked what to try next."""

from typing import Protocol

import msgspec

from gptune.foreign import Answer, foreign_call
from gptune.records import Proposal, Request, Told


class Adviser(Protocol):
    """What the kernel needs of a proposer."""

    def tell(self, told: Told) -> None:
        """Learn what was measured."""
        ...

    def ask(self, request: Request) -> Proposal:
        """Propose the next moves."""
        ...


def consult(adviser: Adviser, told: Told | None, request: Request | None) -> Answer[Proposal]:
    """Tell, then ask; either may be left out. What it raises, or a malformed answer, is contained.

    Args:
        adviser: The proposer.
        told: What was measured, if anything.
        request: What is asked, if anything.

    Returns:
        The proposal, read back as plain data, or the error; neither when nothing was asked.
    """
    error = foreign_call(lambda: adviser.tell(told)).error if told is not None else None
    if error is not None or request is None:
        return Answer(error=error)
    return foreign_call(
        lambda: msgspec.convert(msgspec.to_builtins(adviser.ask(request)), Proposal)
    )
