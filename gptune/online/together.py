"""One rank's part in what all ranks do together, until something parts them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from gptune.configs import Mode
from gptune.foreign import Answer, foreign_call
from gptune.online import collective
from gptune.online.choices import WIDTH
from gptune.online.collective import Alone, DifferError, Ranks, Vote, Word
from gptune.online.decision import KernelState, Plan, Seen
from gptune.run_directory.control import Message

T = TypeVar("T")


def remembered(state: KernelState) -> str:
    """Say what is remembered that must be equal on all ranks."""
    pending = state.pending
    what = (state.decision, state.mode.value, state.point, state.overrides, state.safety)
    return repr((*what, pending and pending.id))


class Together:
    """Exchanges words with the other ranks; one that cannot be exchanged parts them, for good.

    Nobody can know what the others have heard last, so ranks that part do not go back to what
    they had agreed on, but to what all of them know: the values that the user gave.

    Args:
        part: Called once, when this rank parts from the others, with the reason.
    """

    def __init__(self, part: Callable[[Answer[object]], None]) -> None:
        self.ranks: Ranks = Alone()
        self.parted = False  # what is done here is not done there
        self._parts_now = False  # since the last decision, which the next one says
        self._part = part

    def meet(self, orders: Sequence[Message], mode: Mode) -> tuple[Sequence[Message], Mode] | None:
        """Begin a decision: give all ranks rank 0's orders, and the narrowest mode of them all.

        ``None`` where they part.
        """
        met = self._do(lambda: collective.meet(self.ranks, orders, mode))
        return None if met is None else (met[0], min(met[1], key=lambda one: WIDTH[one]))

    def join(self, seen: Seen, memory: Callable[[], str]) -> Seen | None:
        """Give what all ranks have seen together; ``None`` where they part."""
        return self._do(lambda: collective.join(self.ranks, seen, memory))

    def first(self, planned: Answer[tuple[KernelState, Plan]]) -> Word | None:
        """Give what rank 0 says; ``None`` where they part."""
        return self._do(lambda: collective.first(self.ranks, Word.of(planned)))

    def agree(self, stand: Callable[[], str]) -> bool:
        """Say whether all ranks stand alike; where they do not, they part."""

        def compare() -> None:
            if not collective.agree(self.ranks, stand):
                raise DifferError("they differ in its knobs, or in what is put back")

        self._do(compare)
        return not self._parts_now

    def decline(self) -> None:
        """Take no part in a decision that other ranks may make."""
        self._do(lambda: collective.decline(self.ranks))
        self.end()

    def vote(self, mine: Vote) -> Vote:
        """Give what all ranks do with a state that each of them loads.

        Raises:
            StateError: If rank 0 refuses it, or one cannot be reached.
        """
        return collective.vote(self.ranks, mine)

    def end(self) -> None:
        """End a decision: the next one is made alone, if this one has parted them."""
        self._parts_now = False

    def _do(self, work: Callable[[], T]) -> T | None:
        """Do what needs the other ranks; if it fails, part from them."""
        if self._parts_now:
            return None
        done = foreign_call(work)
        if done.error is not None:
            self.ranks, self.parted, self._parts_now = Alone(), True, True
            self._part(Answer(error=done.error))
        return done.value
