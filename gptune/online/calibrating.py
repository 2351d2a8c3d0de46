"""When a calibration begins, what it has to keep to, and what becomes of what it found."""

import math
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from gptune.actuators import OptimizerKnob
from gptune.actuators.optimizer import mean_rate
from gptune.configs import Mode
from gptune.events import Blocked
from gptune.foreign import foreign_call
from gptune.online import look_ahead
from gptune.online.calibration import LEAST, PROGRAMS, Found, Terms
from gptune.online.decision import Hand, KernelConfig
from gptune.online.look_ahead import Looking
from gptune.online.session import Session
from gptune.records import Float, Reason
from gptune.safety import gate

EARLY = 0.05  # a calibration begins within this part of the run: later its signals have faded
ROOM = 1.0  # above its peak that the bounds must leave, in a warm-up too [decades]
LOWEST, HIGHEST = 0.3, 1.0  # what the mean of a schedule can be, in units of its peak
UNKNOWN = 0.7  # and what it is taken to be where it is not known: between cosine and constant


def rate_of(hands: Mapping[str, Hand]) -> Hand | None:
    """Give the learning rate's hand, if there is exactly one that a look ahead could move."""
    rates = [hand for hand in hands.values() if hand.knob.is_rate]
    if len(rates) != 1 or not isinstance(rates[0].actuator, OptimizerKnob):
        return None
    return rates[0] if rates[0].knob.mutation.mode == "mult" else None


def obstacle(config: KernelConfig, hands: Mapping[str, Hand], given: Mapping[str, object]) -> str:
    """Say why no calibration is possible; empty if one is.

    Args:
        config: The recipe, and the length of the run.
        hands: The knobs.
        given: Name -> what the Tuner was given, or ``None``.
    """
    needed = {**given, "total_steps": config.total_steps}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        return f"it needs {', '.join(missing)}; pass them to the Tuner"
    if rate_of(hands) is None:
        return "it needs exactly one learning rate that may move, of mode mult"
    budget = config.recipe.calibration.budget
    steps = int(budget * (config.total_steps or 0))
    if steps < LEAST:
        return (
            f"it needs {LEAST} steps, but calibration.budget {budget:g} of {config.total_steps} "
            f"steps are {steps}; train longer, or raise the budget"
        )
    return ""


class Calibrator:
    """Waits for the start of the run, lets a program look ahead, and moves the learning rate.

    Args:
        session: The run.
        looking: What carries programs out.
        rate: The learning rate.
        scheduler: The user's, which says how high the rate will be later.
        known: The rate that earlier runs of the same task found best, if they are asked [1/step].
    """

    def __init__(
        self,
        session: Session,
        looking: Looking,
        rate: Hand,
        *,
        scheduler: Any,
        known: float | None,
    ) -> None:
        self._session, self._looking, self._scheduler = session, looking, scheduler
        self._known = known
        assert isinstance(rate.actuator, OptimizerKnob)
        self._rate, self._knob = rate.actuator, rate.knob

    @property
    def waits(self) -> bool:
        """Say whether the calibration is still to come."""
        session = self._session
        active = session.state.mode is Mode.ACTIVE and not session.waits_for_state
        return active and not (session.state.calibrated or self._looking.is_running)

    def before_step(self) -> None:
        """Begin, if this is the step; called before the optimizer takes it."""
        if not self.waits or self._session.log is None:
            return
        why = self._why_not()
        if why:
            self._give_up(why)
        elif not self._is_held():
            self._begin()

    def _why_not(self) -> str:
        session, family = self._session, self._knob.family
        now, total = session.now(), session.config.total_steps or 0
        free, resting = gate.free_knobs(
            session.state.safety, {family: self._knob}, now.decision + 1, now.phase
        )
        why = ""
        if not free or session.state.safety.paused:
            why = f"{family} may not move now: {', '.join(resting) or 'tuning is paused'}"
        elif session.steps > EARLY * total:
            why = "the start of the run is over"
        elif session.state.wasted and self._budget() < LEAST:
            spent = f"has spent its budget: {session.state.wasted} steps"
            why = f"it was stopped before, as each checkpoint saved meanwhile does, and {spent}"
        return why

    def _is_held(self) -> bool:
        """Say whether a warm-up still holds the rate down, whatever the multiplier."""
        now, _, high = self._range()
        return high + math.log10(max(now, 1e-9)) < min(ROOM, high - 0.05)

    def _range(self) -> tuple[float, float, float]:
        """Give the schedule's value as a part of its peak, and the bounds [decades]."""
        space, home = self._knob.space, float(self._session.state.point[self._knob.family])
        assert isinstance(space, Float)
        return self._looking.part(), math.log10(space.low / home), math.log10(space.high / home)

    def _begin(self) -> None:
        session, terms = self._session, self._terms()
        home = float(session.state.point[self._knob.family])
        event = look_ahead.announced("calibration", home, terms.low, terms.high)
        if session.log is None or not session.log.append(session.now(), event, durable=True):
            return self._give_up("the log could not be written")
        known = self._decades_known(home, terms)
        if known is not None:
            return self._end(Found(decades=known, aim=known), "")
        program = PROGRAMS[session.config.recipe.calibration.method](terms)
        self._looking.begin(program, home, self._end, levels=True)
        return None

    def _decades_known(self, home: float, terms: Terms) -> float | None:
        """Give what earlier runs found, above the rate that is in force now."""
        now = self._rate.reference() * home
        if self._known is None or now <= 0:
            return None
        return min(max(math.log10(self._known / now), terms.low), terms.high)

    def _left(self) -> int:
        return (self._session.config.total_steps or 0) - self._session.steps

    def _budget(self) -> int:
        """Give the steps that may be thrown away; stopped calibrations have used it, too."""
        share = self._session.config.recipe.calibration.budget
        return int(share * self._left()) - self._session.state.wasted

    def _terms(self) -> Terms:
        _, low, high = self._range()
        left = self._left()
        return Terms(
            total=left,
            budget=self._budget(),
            room=self._looking.room(left),
            low=low,
            high=high,
            inertia=self._looking.inertia(),
            level=level(self._rate, self._scheduler, left),
        )

    def _end(self, found: Found | None, why: str) -> None:
        session, family = self._session, self._knob.family
        home = float(session.state.point[family])
        chosen = home if found is None else look_ahead.within(self._knob, home * 10**found.decades)
        sign, taken = session.config.sign, self._looking.steps
        event = look_ahead.told("calibration", found, home, sign=sign, why=why, taken=taken)
        if session.log is not None:
            session.log.append(session.now(), event, durable=True)
        again = found is None and why == look_ahead.SAVED
        families = () if found is None else (family,)
        lost = session.state.wasted + (taken if again else 0)
        session.state = replace(session.state, calibrated=not again, found=families, wasted=lost)
        if found is not None and why:
            session.say(f"calibration: {why}")
        if found is None and not again:
            session.say(f"the learning rate is not calibrated: {why}")
        elif chosen != home:
            tag = "calibration"
            session.move({family: chosen}, source=tag, tag=tag, reason=Reason.MEASURED)

    def _give_up(self, why: str) -> None:
        session = self._session
        session.state = replace(session.state, calibrated=True)
        said = f"the learning rate is not calibrated: {why}"
        if session.log is not None:
            session.log.append(session.now(), Blocked(reasons=(Reason.LOOK_AHEAD,), message=said))
        session.say(said)


def level(rate: OptimizerKnob, scheduler: Any, steps: int) -> float:
    """Say how high the schedule will be on average, in units of its peak."""
    mean = foreign_call(lambda: mean_rate(rate.optimizer, scheduler, steps)).value
    peak = rate.reference()
    return UNKNOWN if mean is None or peak <= 0 else min(max(mean / peak, LOWEST), HIGHEST)
