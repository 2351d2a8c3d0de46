"""The way back to the values that the user gave: what ranks do that part."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from gptune.actuators import Actuator
from gptune.foreign import foreign_call
from gptune.online.decision import Hand, KernelConfig, KernelState, Outcome, is_same, start_point
from gptune.records import Parameter, Point, Reason, Scalar
from gptune.run_directory.event_log import EventLog

TRIES = ("ranks", "ranks-again")  # tags: what fails once may hold the second time


class Run(Protocol):
    """What is needed of a run in motion."""

    hands: dict[str, Hand]
    state: KernelState
    config: KernelConfig
    log: EventLog | None

    def say(self, message: str) -> None:
        """Warn the user."""
        ...

    def move(self, moves: Point, *, source: str, tag: str, reason: Reason) -> Outcome:
        """Make moves, and log them."""
        ...


@dataclass(frozen=True, slots=True)
class WayBack:
    """An actuator of which nothing is asked but that it restores what the user gave.

    Attributes:
        actuator: The real one.
        given: Its snapshot, taken before anything was changed.
    """

    actuator: Actuator
    given: object

    @property
    def name(self) -> str:
        """Its family."""
        return self.actuator.name

    def describe_space(self) -> Parameter:
        """Say which values are possible."""
        return self.actuator.describe_space()

    def read(self) -> Scalar:
        """Give the value in force."""
        return self.actuator.read()

    def snapshot(self) -> object:
        """Give the user's own value: there is no other one to go back to."""
        return self.given

    def validate(self, value: Scalar) -> None:
        """Have no objection: it was there before."""

    def apply(self, value: Scalar) -> None:
        """Restore it."""
        self.actuator.restore(self.given)

    def restore(self, snapshot: object) -> None:
        """Restore it."""
        self.actuator.restore(self.given)


def ways_back(hands: Mapping[str, Hand], given: Mapping[str, object]) -> dict[str, Hand]:
    """Give hands that only restore; one without a snapshot applies the user's value."""
    return {
        family: Hand(WayBack(hand.actuator, given[family]), hand.knob) if family in given else hand
        for family, hand in hands.items()
    }


def go_home(run: Run, given: Mapping[str, object], strays: tuple[str, ...]) -> None:
    """Put every knob back to the value that the user gave, each on its own, and read it.

    Args:
        run: The run.
        given: Family -> snapshot of the user's own value.
        strays: Families that something else has written: left alone, unless gptune has failed to
            put them back itself.
    """
    real, run.hands = run.hands, ways_back(run.hands, given)
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, run, "hands", real)
        for family, move in start_point(run.config).items():
            if family not in strays or family in run.state.safety.quarantined:
                _give_back(run, family, move)


def _give_back(run: Run, family: str, move: Scalar) -> None:
    hand = run.hands[family]
    for tag in TRIES:
        if not is_same(run.state.point[family], move):
            run.move({family: move}, source="ranks", tag=tag, reason=Reason.RANKS_DIFFER)
    if not _holds(hand, move):
        foreign_call(lambda: hand.actuator.restore(None))
    if not _holds(hand, move):
        run.say(f"{family} does not go back to the value that you gave; end the run")
    elif run.log is None or run.log.failure is not None:  # else the log says where it stands
        run.state = replace(run.state, point={**run.state.point, family: move})


def _holds(hand: Hand, move: Scalar) -> bool:
    return is_same(foreign_call(hand.actuator.read).value, hand.knob.native(move))
