"""When a calibration begins, what it has to keep to, and what becomes of what it found."""

import math
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from torch.optim import Optimizer

from gptune.actuators import OptimizerKnob
from gptune.actuators.optimizer import mean_level
from gptune.configs import Mode
from gptune.events import Blocked
from gptune.online import look_ahead
from gptune.online.calibration import LEAST, PROGRAMS, Found, Terms
from gptune.online.decision import Hand, KernelConfig
from gptune.online.foreign import foreign_call
from gptune.online.look_ahead import Looking
from gptune.online.session import Session
from gptune.records import Float, Reason
from gptune.safety import gate

EARLY = 0.05  # a calibration begins within this part of the run: later its signals have faded
WARM = 0.1  # a warm-up that lasts longer leaves no start to calibrate at
RISEN = 0.999  # of the peak: the warm-up is over
LOWEST, HIGHEST = 0.3, 1.0  # what the mean of a schedule can be, in units of its value now
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
    """

    def __init__(self, session: Session, looking: Looking, rate: Hand, scheduler: Any) -> None:
        self._session, self._looking, self._scheduler = session, looking, scheduler
        assert isinstance(rate.actuator, OptimizerKnob)
        self._rate, self._knob = rate.actuator, rate.knob
        self._before: float | None = None  # the schedule's value one step ago

    @property
    def waits(self) -> bool:
        """Say whether the calibration is still to come."""
        session = self._session
        active = session.state.mode is Mode.ACTIVE and not session.waits_for_state
        return active and not (session.state.calibrated or self._looking.is_running)

    def before_step(self, has_closure: bool) -> None:  # noqa: FBT001  a hook's signature
        """Begin, if this is the step; called before the optimizer takes it."""
        if not self.waits or self._session.log is None:
            return
        why = self._why_not(has_closure=has_closure)
        if why:
            self._give_up(why)
        elif not self._is_warming_up():
            self._begin()

    def _why_not(self, *, has_closure: bool) -> str:
        session, family = self._session, self._knob.family
        now, total = session.now(), session.config.total_steps or 0
        free, resting = gate.free_knobs(
            session.state.safety, {family: self._knob}, now.decision + 1, now.phase
        )
        if has_closure:
            return "the optimizer is stepped with a closure, which computes its gradients unseen"
        if not free or session.state.safety.paused:
            return f"{family} may not move now: {', '.join(resting) or 'tuning is paused'}"
        warms = self._before is not None
        if session.steps > (WARM if warms else EARLY) * total:
            return "the start of the run is over" + (", and the rate still rises" if warms else "")
        return ""

    def _is_warming_up(self) -> bool:
        """Say whether the schedule still rises: it is below its peak, and has not stopped."""
        now, before = self._rate.scheduled(), self._before
        rises = now < RISEN * self._rate.reference() and (before is None or now > before)
        self._before = now if rises else before
        return rises

    def _begin(self) -> None:
        session, terms = self._session, self._terms()
        home = float(session.state.point[self._knob.family])
        event = look_ahead.announced("calibration", home, terms.low, terms.high)
        if session.log is None or not session.log.append(session.now(), event, durable=True):
            return self._give_up("the log could not be written")
        program = PROGRAMS[session.config.recipe.calibration.method](terms)
        self._looking.begin(program, home, self._end)
        return None

    def _terms(self) -> Terms:
        config, left = self._session.config, (self._session.config.total_steps or 0)
        left -= self._session.steps
        home = float(self._session.state.point[self._knob.family])
        space = self._knob.space
        assert isinstance(space, Float)
        return Terms(
            total=left,
            budget=int(config.recipe.calibration.budget * left),
            low=math.log10(space.low / home),
            high=math.log10(space.high / home),
            inertia=self._looking.inertia(),
            level=level(self._rate.optimizer, self._scheduler, left),
        )

    def _end(self, found: Found | None, why: str) -> None:
        session, family = self._session, self._knob.family
        home = float(session.state.point[family])
        chosen = home if found is None else look_ahead.within(self._knob, home * 10**found.decades)
        event = look_ahead.told("calibration", found, home, sign=session.config.sign, why=why)
        if session.log is not None:
            session.log.append(session.now(), event, durable=True)
        again = found is None and why == look_ahead.SAVED
        session.state = replace(session.state, calibrated=not again)
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


def level(optimizer: Optimizer, scheduler: Any, steps: int) -> float:
    """Say how high the schedule will be on average, in units of its value now."""
    mean = foreign_call(lambda: mean_level(optimizer, scheduler, steps)).value
    return UNKNOWN if mean is None else min(max(mean, LOWEST), HIGHEST)
