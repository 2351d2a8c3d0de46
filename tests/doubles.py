"""Stand-ins for the world: a knob that can fail or lie, a log that can fail, an adversary."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gptune.configs import Mutation, Recipe, make_knob
from gptune.events import Event, Moment
from gptune.foreign import Answer
from gptune.online.decision import Hand, KernelConfig, KernelState, start_point
from gptune.online.decision.state import Seen
from gptune.records import Float, Proposal, Reading, Request, Scalar, Told


class BrokenError(Exception):
    """What a broken double raises."""


@dataclass
class FakeKnob:
    """A knob that notes all that is done to it, and fails where it is told to."""

    name: str = "loss.aux"
    value: float = 1.0
    low: float = 0.01
    high: float = 100.0
    fails: set[str] = field(default_factory=set)
    lies: bool = False
    once: bool = False  # whether the next restore fails
    calls: list[tuple[str, Any]] = field(default_factory=list)
    before_apply: Callable[[float], None] = lambda value: None

    def _note(self, call: str, argument: Any = None) -> None:
        self.calls.append((call, argument))
        if call in self.fails:
            raise BrokenError(f"{self.name}: {call} is broken")

    def describe_space(self) -> Float:
        return Float(self.low, self.high, log=True)

    def read(self) -> float:
        self._note("read")
        return self.value

    def snapshot(self) -> float:
        self._note("snapshot")
        return self.value

    def validate(self, value: Scalar) -> str | None:
        self._note("validate", value)
        return None

    def apply(self, value: Scalar) -> None:
        assert isinstance(value, float)
        self.before_apply(value)
        self.value = value * 1.5 if self.lies else value  # half-way, even if it raises
        self._note("apply", value)

    def restore(self, snapshot: object) -> None:
        self._note("restore", snapshot)
        if self.once:
            self.once = False
            raise BrokenError(f"{self.name}: restore is broken, once")
        assert isinstance(snapshot, float)
        self.value = snapshot


@dataclass
class MemoryLog:
    """A log in memory; from ``fails_from`` on nothing more can be written."""

    events: list[tuple[Moment, Event]] = field(default_factory=list)
    fails: bool = False

    def append(self, moment: Moment, event: Event, *, durable: bool = False) -> bool:
        if self.fails:
            return False
        self.events.append((moment, event))
        return True

    def of_kind(self, kind: type) -> list[Any]:
        return [event for _, event in self.events if isinstance(event, kind)]


def hands_of(*knobs: FakeKnob, mutation: Mutation | None = None) -> dict[str, Hand]:
    chosen = mutation or Mutation(bounds=(0.1, 10.0), max_step=2.0)
    return {
        knob.name: Hand(knob, make_knob(knob.name, chosen, knob.describe_space(), knob.value))
        for knob in knobs
    }


def config_of(
    hands: dict[str, Hand], recipe: dict[str, Any] | None = None, total_steps: int | None = None
) -> KernelConfig:
    knobs = {family: hand.knob for family, hand in hands.items()}
    made = Recipe.from_dict(recipe or {})
    return KernelConfig(recipe=made, knobs=knobs, total_steps=total_steps)


def first_state(config: KernelConfig) -> KernelState:
    return KernelState(mode=config.recipe.mode, point=start_point(config))


def seen_at(step: int, value: float, fault: Any = None) -> Seen:
    return Seen(step=step, objective=Reading(value=value, fault=fault))


def always(*moves: float, family: str = "loss.aux") -> Callable[..., Answer[Proposal] | None]:
    """Propose these moves in turn, then the last one for ever."""
    queue = list(moves)

    def propose(told: Told | None, request: Request | None) -> Answer[Proposal] | None:
        if request is None:
            return None
        move = queue.pop(0) if len(queue) > 1 else queue[0]
        return Answer(value=Proposal(point={family: move}, source="gp"))

    return propose
