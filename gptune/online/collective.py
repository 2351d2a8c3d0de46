"""One decision for all processes that train one model: rank 0 decides, and all do the same.

All is built of one exchange of bytes. At a decision there are three, at the same places on every
rank: what each has seen, what rank 0 plans, and where each stands afterwards. A failure is a word
like any other, so that nobody waits for one that has none to say.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import msgspec
from msgspec.structs import replace
from torch import distributed

from gptune.errors import StateError
from gptune.online.decision import KernelState, Plan, Seen
from gptune.online.foreign import Answer
from gptune.records import Reading


class Ranks(Protocol):
    """The processes that train one model, numbered from 0: their ranks."""

    @property
    def number(self) -> int:
        """This process's own number."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def exchange(self, mine: bytes) -> Sequence[bytes]:
        """Give every rank what each of them has said, in the order of their numbers.

        Raises:
            Exception: Of any kind, if one cannot be reached; tuning then stops here.
        """
        ...


class Alone:
    """The default: there is one process."""

    number, count = 0, 1

    def exchange(self, mine: bytes) -> Sequence[bytes]:
        """Give back what was said."""
        return [mine]


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What rank 0 has decided, or why it could not."""

    state: KernelState | None = None
    plan: Plan | None = None
    failure: str = ""

    @classmethod
    def of(cls, planned: Answer[tuple[KernelState, Plan]]) -> Self:
        """Say what came of planning."""
        state, plan = planned.value or (None, None)
        return cls(state=state, plan=plan, failure=planned.message)


class DifferError(StateError):
    """Ranks are not alike: contained where it arises, like any failure of an exchange."""


def join(ranks: Ranks, seen: Seen) -> Seen:
    """Give every rank what all have seen together.

    Raises:
        DifferError: If one takes no part, or they have not taken the same steps.
        Exception: Whatever the exchange raises.
    """
    if ranks.count == 1:
        return seen
    all_seen = _gather(ranks, seen)
    present = [one for one in all_seen if one is not None]
    if len(present) < len(all_seen):
        absent = [number for number, one in enumerate(all_seen) if one is None]
        raise DifferError(f"rank {absent[0]} is in mode off and takes no part")
    return joint(present)


def decline(ranks: Ranks) -> None:
    """Tell the others, who wait for it, that this rank takes no part in a decision."""
    if ranks.count > 1:
        ranks.exchange(msgspec.msgpack.encode(None))


def first(ranks: Ranks, word: Word) -> Word:
    """Give every rank what rank 0 says."""
    if ranks.count == 1:
        return word
    mine = msgspec.msgpack.encode(word) if ranks.number == 0 else b""
    return msgspec.msgpack.decode(ranks.exchange(mine)[0], type=Word)


def agree(ranks: Ranks, stand: Callable[[], str]) -> bool:
    """Say whether all ranks stand where this one does; alone, nothing is looked at."""
    return ranks.count == 1 or len(set(ranks.exchange(stand().encode()))) == 1


def joint(all_seen: Sequence[Seen]) -> Seen:
    """Reduce what several ranks have seen: means of metrics; what one finds wrong, all do. Pure.

    Raises:
        DifferError: If they have not taken the same steps, or one reports other metrics.
    """
    mine = all_seen[0]
    steps = {seen.step for seen in all_seen}
    if len(steps) > 1:
        raise DifferError(f"they have taken different numbers of steps: {sorted(steps)}")
    if any(seen.backups.keys() != mine.backups.keys() for seen in all_seen):
        raise DifferError("they have different recipes")
    backups = {name: mean([seen.backups[name] for seen in all_seen]) for name in mine.backups}
    return replace(
        mine,
        objective=mean([seen.objective for seen in all_seen]),
        backups=backups,
        anomaly=any(seen.anomaly for seen in all_seen),
        looking=any(seen.looking for seen in all_seen),
        guarded=all(seen.guarded for seen in all_seen),
        poisoned=any(seen.poisoned for seen in all_seen),
        trains=all(seen.trains for seen in all_seen),
    )


def mean(readings: Sequence[Reading]) -> Reading:
    """Give the mean of one metric over the ranks; one that is no number counts for all.

    Example:
        >>> mean([Reading(value=1.0), Reading(value=2.0)]).value
        1.5
    """
    faulty = [reading for reading in readings if reading.fault is not None]
    if faulty:
        return faulty[0]
    return Reading(value=math.fsum(reading.value / len(readings) for reading in readings))


def is_alone() -> bool:
    """Say whether no other process of torch's takes part."""
    initialised = distributed.is_available() and distributed.is_initialized()
    return not initialised or distributed.get_world_size() == 1


def _gather(ranks: Ranks, mine: Seen) -> list[Seen | None]:
    said = ranks.exchange(msgspec.msgpack.encode(mine))
    return [msgspec.msgpack.decode(one, type=Seen | None) for one in said]
