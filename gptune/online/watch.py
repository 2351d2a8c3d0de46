"""Watches the knobs: does each still act, and is its value still the one that gptune put there?"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from gptune.actuators import Described, Life, LiveActuator, live_stage
from gptune.configs import Mode
from gptune.events import KnobReading
from gptune.foreign import foreign_call
from gptune.online.decision import Hand, KernelConfig, KernelState, start_point
from gptune.online.metrics import plain
from gptune.records import Parameter, Point, Reason, Scalar

MEANINGS = {
    Reason.NOT_LIVE: "its hooks have not fired since the last decision, so it does not act; is its "
    "optimizer the one that trains, and is it stepped?",
    Reason.OVERWRITTEN: "something else has written its value, so gptune leaves it alone",
    Reason.BOUNDS: "the schedule has risen so far that its multiplier would pass the limit of the "
    "value, and was left out",
}


class KnobStatus(Struct, frozen=True, kw_only=True):
    """Where one knob stands, for people.

    Attributes:
        family: Its name.
        life: init | untouched | unverified | verified | disabled.
        move: The move in force, in the recipe's units.
        scheduled: The schedule's own value, for an optimizer's knob.
        effective: What training used last.
        space: Where the move may lie.
        unit: Unit of the scheduled and effective value; empty if there is none.
        risk: The recipe's: low | medium | high.
        owner: What else moves the value, such as ``OneCycleLR``.
        reason: Why it is disabled.
    """

    family: str
    life: Life
    move: Scalar
    scheduled: Scalar | None
    effective: Scalar | None
    space: Parameter
    unit: str = ""
    risk: str = "low"
    owner: str | None = None
    reason: Reason | None = None


class Watch:
    """Remembers, from one decision to the next, how often each knob's hooks have fired.

    Args:
        say: Warns the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._step = 0
        self._fired: dict[str, int] = {}
        self._readings: dict[str, KnobReading] = {}

    def start(self, hands: Mapping[str, Hand], step: int) -> None:
        """Take note of where everything stands, without a judgement."""
        self._step = step
        self._fired = {family: _fired(hand) for family, hand in hands.items()}

    def read(self, hands: Mapping[str, Hand], point: Point, step: int) -> dict[str, KnobReading]:
        """Read every knob at a decision: its values, and whether it is lost.

        Args:
            hands: The knobs; what a failed step left scaled is healed first.
            point: Their moves in force.
            step: Optimizer steps counted so far [steps].
        """
        before, stepped = self._fired, step > self._step
        self.start(hands, step)
        for family, hand in hands.items():
            idle = stepped and before.get(family, -1) == self._fired[family]
            self._readings[family] = reading = _reading(hand, point[family], idle=idle)
            if reading.lost is not None:
                self._say(f"{family} is not tuned now: {MEANINGS[reading.lost]}")
        return dict(self._readings)

    def strays(self, hands: Mapping[str, Hand], point: Point) -> tuple[str, ...]:
        """List the families whose value something else has written."""
        now = {family: _reading(hand, point[family], idle=False) for family, hand in hands.items()}
        return tuple(f for f, reading in now.items() if reading.lost is Reason.OVERWRITTEN)

    def describe(
        self, hands: Mapping[str, Hand], config: KernelConfig, state: KernelState, step: int
    ) -> dict[str, KnobStatus]:
        """Say where every knob stands.

        Args:
            hands: The knobs.
            config: What the kernel was told of them.
            state: What it remembers of them; none is watched in mode off.
            step: Optimizer steps counted so far [steps].
        """
        told, start = {}, start_point(config)
        for family, hand in hands.items():
            now = _reading(hand, state.point[family], idle=False)
            why = now.lost or self._readings.get(family, now).lost
            if family in state.safety.quarantined:
                why = Reason.QUARANTINED
            life = live_stage(
                attached=state.mode is not Mode.OFF,
                lost=why is not None,
                moved=state.point[family] != start[family],
                used=_is_used(hand, state, step, self._fired.get(family, -1)),
            )
            told[family] = _status(hand, now, life, why)
        return told


def _is_used(hand: Hand, state: KernelState, step: int, fired: int) -> bool:
    """Say whether a step has used the move in force: one that is judged has been used."""
    pending = state.pending
    if pending is None or hand.knob.family not in {c.family for c in pending.changes}:
        return True
    is_live = isinstance(hand.actuator, LiveActuator)
    return step > pending.step and (
        not is_live or _fired(hand) > fired or state.decision > pending.decision
    )


def _status(hand: Hand, reading: KnobReading, life: Life, why: Reason | None) -> KnobStatus:
    actuator, knob = hand.actuator, hand.knob
    more = actuator if isinstance(actuator, Described) else None
    return KnobStatus(
        family=knob.family,
        life=life,
        move=reading.move,
        scheduled=reading.scheduled,
        effective=reading.effective,
        space=knob.space,
        unit=more.unit if more else "",
        risk=knob.mutation.risk,
        owner=more.owner if more else None,
        reason=why,
    )


def _fired(hand: Hand) -> int:
    if not isinstance(hand.actuator, LiveActuator):
        return 0
    return foreign_call(hand.actuator.fired).value or 0


def _reading(hand: Hand, move: Scalar, *, idle: bool) -> KnobReading:
    actuator, wanted = hand.actuator, hand.knob.native(move)
    if not isinstance(actuator, LiveActuator):
        value = plain(foreign_call(actuator.read).value)
        strayed = value is not None and value != wanted
        return KnobReading(move, None, value, Reason.OVERWRITTEN if strayed else None)
    foreign_call(actuator.heal)
    scheduled = foreign_call(actuator.scheduled).value
    effective = foreign_call(actuator.effective).value
    fault = Reason.NOT_LIVE if idle else foreign_call(actuator.fault).value
    read = foreign_call(actuator.read)
    if read.error is None and read.value != wanted:
        fault = Reason.OVERWRITTEN
    return KnobReading(move, scheduled, effective, fault)
