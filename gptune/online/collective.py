"""One decision for all processes that train one model: rank 0 decides, and all do the same.

All is built of one exchange of bytes. At a decision there are four, at the same places on every
rank: what rank 0 was ordered, what each has seen, what rank 0 plans, and where each stands
afterwards. There is one more when a Tuner is made, one when a state is loaded, and two when the
guard restores; nothing else communicates. A failure is a word like any other, so that nobody waits
for one that has none to say.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from torch import distributed

from gptune.configs import Mode
from gptune.configs.reading import shown
from gptune.errors import StateError
from gptune.foreign import Answer, foreign_call
from gptune.online.decision import KernelConfig, KernelState, Plan, Seen
from gptune.records import Reading
from gptune.run_directory.control import Message
from gptune.run_directory.names import RANK

NOBODY = b""  # the word of one that takes no part, or has none


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


class Word(Struct, frozen=True, kw_only=True):
    """What rank 0 has decided, or why it could not."""

    state: KernelState | None = None
    plan: Plan | None = None
    failure: str = ""

    @classmethod
    def of(cls, planned: Answer[tuple[KernelState, Plan]]) -> Self:
        """Say what came of planning."""
        state, plan = planned.value or (None, None)
        return cls(state=state, plan=plan, failure=planned.message)


class Vote(Struct, frozen=True, kw_only=True):
    """What a rank would do with a state that all of them load.

    Attributes:
        goes_on: Go on where it was made; else begin anew with where it stands.
        refusal: Why it cannot be loaded at all.
    """

    goes_on: bool
    refusal: str = ""


class DifferError(StateError):
    """Ranks are not alike: contained where it arises, like any failure of an exchange."""


class Start(Struct, frozen=True, kw_only=True):
    """What a rank starts with.

    Attributes:
        run_dir: The run directory; rank 0's counts.
        seed: Of all chance; rank 0's counts.
        alike: Name -> what must be the same on all ranks.
    """

    run_dir: str | None
    seed: int
    alike: dict[str, Any] = {}

    @classmethod
    def of(cls, config: KernelConfig, run_dir: str | Path | None, seed: int) -> Self:
        """Say what this rank starts with."""
        knobs = {
            f"knob {family}": msgspec.to_builtins(knob) for family, knob in config.knobs.items()
        }
        return cls(
            run_dir=None if run_dir is None else str(run_dir),
            seed=seed,
            alike={
                **{f"recipe.{name}": part for name, part in config.recipe.to_dict().items()},
                "total_steps": config.total_steps,
                "knobs": sorted(config.knobs),
                **knobs,
            },
        )


# Made once: two threads that make one at once can crash the interpreter (msgspec 0.22).
SEEN, WORD = msgspec.msgpack.Decoder(Seen), msgspec.msgpack.Decoder(Word)
VOTE, START = msgspec.json.Decoder(Vote), msgspec.json.Decoder(Start)


def begin(ranks: Ranks, mine: Start, name: Callable[[], Path]) -> tuple[Path | None, int]:
    """Give every rank its own directory, inside rank 0's, and the seed of them all.

    Args:
        ranks: The processes.
        mine: What this one starts with.
        name: Names a run directory, where rank 0 has none.

    Raises:
        StateError: If they start with different things, or one cannot be reached.
    """
    path = Path(mine.run_dir) if mine.run_dir is not None else None
    if ranks.count == 1:
        return path, mine.seed

    def tell() -> bytes:
        place = path or (name() if ranks.number == 0 else None)
        return msgspec.json.encode(replace(mine, run_dir=None if place is None else str(place)))

    said = foreign_call(lambda: _exchange(ranks, tell))
    if said.value is None:
        raise StateError(
            f"ranks: the other processes that train this model do not answer ({said.message}); "
            "make the Tuner on all of them, at the same place, or pass ranks=Alone()"
        ) from said.error
    starts = [START.decode(one) for one in said.value]
    _check_alike(starts)
    place = Path(str(starts[0].run_dir))
    return (place / f"{RANK}{ranks.number}" if ranks.number else place), starts[0].seed


def meet(
    ranks: Ranks, orders: Sequence[Message], mode: Mode
) -> tuple[Sequence[Message], Sequence[Mode]]:
    """Give every rank the orders that rank 0 has taken, and the mode of each of them.

    Raises:
        DifferError: If one takes no part.
        Exception: Whatever the exchange raises.
    """
    if ranks.count == 1:
        return orders, [mode]

    def tell() -> bytes:
        # Not msgspec's: a number of any length may stand in an order, and is refused where it is
        # read.
        plain = [msgspec.structs.asdict(one) for one in orders]
        return json.dumps({"mode": mode.value, "orders": plain}).encode()

    said = [json.loads(one) for one in _exchange(ranks, tell)]
    taken = [Message(**one) for one in said[0]["orders"]]
    return taken, [Mode(one["mode"]) for one in said]


def decline(ranks: Ranks) -> None:
    """Tell the others, who wait for it, that this rank takes no part in a decision.

    Raises:
        DifferError: If another one would.
        Exception: Whatever the exchange raises.
    """
    if ranks.count > 1 and any(one != NOBODY for one in ranks.exchange(NOBODY)):
        raise DifferError(f"rank {ranks.number} is in mode off and takes no part")


def join(ranks: Ranks, seen: Seen, memory: Callable[[], str] = str) -> Seen:
    """Give every rank what all have seen together, if they remember the same.

    Raises:
        DifferError: If they have not taken the same steps.
        Exception: Whatever the exchange raises.
    """
    if ranks.count == 1:
        return seen
    said = _exchange(ranks, lambda: msgspec.msgpack.encode(replace(seen, memory=memory())))
    return joint([SEEN.decode(one) for one in said])


def first(ranks: Ranks, word: Word) -> Word:
    """Give every rank what rank 0 says; what it cannot put into words is a failure of its own."""
    if ranks.count == 1:
        return word

    def tell() -> bytes:
        packed = foreign_call(lambda: msgspec.msgpack.encode(word))
        return packed.value or msgspec.msgpack.encode(Word(failure=packed.message))

    said = _exchange(ranks, tell if ranks.number == 0 else lambda: b"-")
    return WORD.decode(said[0])


def agree(ranks: Ranks, stand: Callable[[], str]) -> bool:
    """Say whether all ranks stand where this one does; alone, nothing is looked at."""
    if ranks.count == 1:
        return True
    return len(set(_exchange(ranks, lambda: stand().encode(errors="backslashreplace")))) == 1


def vote(ranks: Ranks, mine: Vote) -> Vote:
    """Say what all ranks do with a state: they go on if each of them can.

    Raises:
        StateError: If one refuses, or cannot be reached.
    """
    said = foreign_call(lambda: _exchange(ranks, lambda: msgspec.json.encode(mine)))
    if said.value is None:
        raise StateError(
            f"ranks: the other processes that train this model do not answer ({said.message}); "
            "call load_state_dict on all of them, with the same state"
        ) from said.error
    votes = [VOTE.decode(one) for one in said.value]
    refusals = [one.refusal for one in votes if one.refusal]
    if refusals:
        raise StateError(refusals[0])
    return Vote(goes_on=all(one.goes_on for one in votes))


def joint(all_seen: Sequence[Seen]) -> Seen:
    """Reduce what several ranks have seen: means of metrics; what one finds wrong, all do. Pure.

    Raises:
        DifferError: If they have not taken the same steps, or one reports other metrics.
    """
    mine = all_seen[0]
    steps = {seen.step for seen in all_seen}
    if len(steps) > 1:
        raise DifferError(f"they have taken different numbers of steps: {sorted(steps)}")
    if any(seen.memory != mine.memory for seen in all_seen):
        raise DifferError("one has changed its mode, a knob or a rule since the last decision")
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
        blames_data=any(seen.blames_data for seen in all_seen),
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


def _exchange(ranks: Ranks, tell: Callable[[], bytes]) -> Sequence[bytes]:
    """Exchange words; one that cannot find its own still says so, for the others wait for it.

    Raises:
        DifferError: If one says nothing.
        Exception: Whatever ``tell`` and the exchange raise.
    """
    mine = foreign_call(tell)
    said = ranks.exchange(NOBODY if mine.value is None else mine.value)
    if mine.error is not None:
        raise mine.error
    silent = [number for number, one in enumerate(said) if one == NOBODY]
    if silent:
        raise DifferError(f"rank {silent[0]} takes no part: its mode is off, or it has failed")
    return said


def _check_alike(starts: Sequence[Start]) -> None:
    """Raise if a rank starts with something else than rank 0."""
    for number, start in enumerate(starts):
        for name, value in starts[0].alike.items():
            if start.alike.get(name) != value:
                raise StateError(
                    f"ranks: rank {number} has {name} {shown(start.alike.get(name))}, rank 0 has "
                    f"{shown(value)}; make the Tuner with the same arguments on all of them"
                )
