"""Keeps good training states, and puts one back when the guard says that a run went wrong."""

import math
from typing import Any

from msgspec.structs import replace
from torch import Tensor

from gptune.actuators.training_state import TrainingState
from gptune.configs import Mode
from gptune.errors import StateError
from gptune.events import Blocked, Restored
from gptune.online import guard, look_ahead
from gptune.online.batches import Batches
from gptune.online.calibrating import rate_of
from gptune.online.calibration import LOOK, SHORTEST, Found, Program, Save, race
from gptune.online.decision import Seen
from gptune.online.foreign import foreign_call
from gptune.online.look_ahead import Looking
from gptune.online.session import Session
from gptune.records import Decision, Float, Reason

EVERY = 16  # steps between two looks at the losses: one wait for the device [steps]
DOWN = (0.0, -0.5, -1.0)  # rates that are tried when restoring alone does not help [decades]
REGAINED = 0.25  # of the dip: by less a lower rate does not win, for any looks good for a while
LATEST = 0.8  # part of the run after which nothing is tried any more


class Rescue:
    """Watches the training state between and at decisions, and restores it.

    Args:
        session: The run.
        state: What is saved and restored.
        batches: Where poisoned batches are skipped.
        looking: What tries lower rates, if that is possible.
        alone: Whether no other process trains the same model: what one alone has seen, it may not
            act on between decisions.
    """

    def __init__(
        self,
        session: Session,
        state: TrainingState,
        batches: Batches,
        looking: Looking | None,
        *,
        alone: bool,
    ) -> None:
        self.losses: list[Any] = []  # of the newest steps; whoever appends shall detach
        self._alone = alone
        self._session, self._state, self._batches = session, state, batches
        self._looking = looking
        self._steps: dict[str, int] = {}  # slot -> when it was saved

    @property
    def watches(self) -> bool:
        """Say whether the guard is at work."""
        session = self._session
        may = session.state.mode in (Mode.GUARD, Mode.ACTIVE)
        return may and session.config.recipe.guard.enabled and not session.closed

    @property
    def is_busy(self) -> bool:
        """Say whether a look ahead has the training state in its hands."""
        return self._looking is not None and self._looking.is_running

    def look(self) -> None:
        """Look at the losses since the last look; restores if training is beyond repair."""
        losses = list(self.losses)
        self.losses.clear()
        if not self.watches or self.is_busy:
            return
        if not _all_finite(losses):
            if self._may_restore() and self._is_poisoned():
                self._restore(Reason.STATE_NOT_FINITE)
        elif losses and "last" not in self._steps and not self._is_poisoned():
            self._save("last")  # nothing was measured yet, but it is better than nothing

    def sees(self, seen: Seen) -> Seen:
        """Add what the guard needs to what a decision sees."""
        if not self.watches:
            return seen
        odd = seen.objective.fault is Reason.NOT_FINITE
        poisoned = odd and not self.is_busy and self._is_poisoned()
        return replace(seen, guarded=bool(self._steps), looking=self.is_busy, poisoned=poisoned)

    def after(self, decision: Decision) -> Decision:
        """Restore if the decision has found a symptom; else keep the state if it is a good one."""
        session = self._session
        if not self.watches or self.is_busy:
            return decision
        if session.symptom is not None:
            done = self._restore(session.symptom, decision.metric)
            reasons = (*decision.reasons, *((Reason.RESTORED,) if done else ()))
            return replace(decision, reasons=reasons, restored=decision.restored or done)
        state = session.state
        is_measured = state.guard.steps[-1:] == (session.steps,)
        is_judged = state.pending is None or state.pending.step == session.steps
        if is_measured and is_judged and self._keeps():
            return replace(decision, restored=True)
        return decision

    def _keeps(self) -> bool:
        """Keep the state if it is sound; if not, restore, and say whether that was done.

        A metric such as accuracy is a number even where every weight is none.
        """
        if self._is_poisoned():
            return self._may_restore() and self._restore(Reason.STATE_NOT_FINITE)
        self._keep()
        return False

    def _may_restore(self) -> bool:
        """Say whether one process alone may restore now, on what it alone has seen."""
        session = self._session
        rules, state = session.config.recipe.guard, session.state.guard
        return self._alone and not guard.gives_up(rules, state)

    def _keep(self) -> None:
        self._save("last")
        state, rules = self._session.state.guard, self._session.config.recipe.guard
        if rules.snapshots > 1 and state.values[-1] == state.best:
            self._save("best")

    def _save(self, slot: str) -> None:
        session = self._session
        done = foreign_call(lambda: self._state.save(slot))
        if done.error is None:
            self._steps[slot] = session.steps
            return
        session.say(f"the guard cannot keep the training state: {done.message}")
        if not isinstance(done.error, StateError):
            session.caught.append(done.error)

    def _is_poisoned(self) -> bool:
        return foreign_call(self._state.is_sound).value is False

    def _restore(self, symptom: Reason, metric: float | None = None) -> bool:
        """Put a good state back, and say so; gives whether it was done."""
        session, total = self._session, self._session.config.total_steps
        if not self._steps:
            session.say(f"{symptom}: there is no good training state yet that could be put back")
            return False
        session.resolve(symptom)  # an open change has lost, whatever it was
        before, rules = session.state.guard, session.config.recipe.guard
        repeat = guard.is_repeat(before, session.steps, total)
        slot = "last"
        if "best" in self._steps and guard.prefers_best(rules, before, repeat=repeat):
            slot = "best"
        knobs = [hand.actuator for hand in session.hands.values()]
        done = foreign_call(lambda: self._state.restore(slot, knobs))
        if done.error is not None:
            session.say(f"{symptom}: the training state could not be put back: {done.message}")
            session.caught.append(done.error)
            return False
        self._note(symptom, slot)
        if symptom is Reason.STATE_NOT_FINITE:
            self._batches.screen()
        if guard.gives_up(rules, session.state.guard):
            self._give_up()
        elif repeat and session.state.mode is Mode.ACTIVE:
            self._lower(self._fall(before, symptom, metric))
        return True

    def _fall(self, before: guard.GuardState, symptom: Reason, metric: float | None) -> float:
        """Say how far the objective lay below what was expected [metric units]."""
        if metric is None or symptom is Reason.STATE_NOT_FINITE:
            return math.inf
        return guard.dip_of(before, self._session.steps, self._session.config.sign * metric)[0]

    def _note(self, symptom: Reason, slot: str) -> None:
        session, to = self._session, self._steps[slot]
        after = guard.restored(session.state.guard, session.steps, session.config.total_steps)
        session.state = replace(session.state, guard=after)
        session.say(
            f"{symptom} at step {session.steps}: the training state of step {to} is back; "
            "`gptune log` tells more"
        )
        if session.log is not None:
            event = Restored(symptom=symptom.value, to_step=to, snapshot=slot)
            session.log.append(session.now(), event, durable=True)

    def _give_up(self) -> None:
        session = self._session
        said = f"the guard gives up after {session.state.guard.restores} restores"
        session.say(f"{said}: the training state is not put back any more")
        if session.log is not None:
            event = Blocked(reasons=(Reason.RESTORED,), message=said)
            session.log.append(session.now(), event)

    # lower rates ------------------------------------------------------------------------------

    def _lower(self, fall: float) -> None:
        """Try lower rates from the state that is in force; where that cannot be, just lower it.

        If the rate that is in force does well this time, it stays: then it was not the rate.
        """
        session, hand = self._session, rate_of(self._session.hands)
        total = session.config.total_steps
        if hand is None or hand.knob.family in session.state.safety.pinned:
            return
        steps = round(LOOK * total) if total else 0
        can_look = self._looking is not None and self._batches.used and steps >= SHORTEST
        if not can_look or total is None or session.steps + len(DOWN) * steps > LATEST * total:
            self._move(guard.LOWER)
            return
        home = float(session.state.point[hand.knob.family])
        arms = tuple(x for x in DOWN if _holds(hand.knob.space, home * 10**x))
        event = look_ahead.announced("guard", home, arms[-1], 0.0)
        written = session.log is not None and session.log.append(session.now(), event, durable=True)
        if written and self._looking is not None and len(arms) > 1:
            self._batches.record()
            self._looking.begin(_downward(arms, steps, fall), home, self._end)

    def _end(self, found: Found | None, why: str) -> None:
        session, hand = self._session, rate_of(self._session.hands)
        assert hand is not None
        home = float(session.state.point[hand.knob.family])
        event = look_ahead.told("guard", found, home, sign=session.config.sign, why=why)
        if session.log is not None:
            session.log.append(session.now(), event, durable=True)
        if found is not None and found.decades:
            self._move(found.decades)

    def _move(self, decades: float) -> None:
        session, hand = self._session, rate_of(self._session.hands)
        assert hand is not None
        family = hand.knob.family
        move = look_ahead.within(hand.knob, float(session.state.point[family]) * 10**decades)
        if move != session.state.point[family]:
            tag = f"guard-{session.state.guard.restores}"
            session.move({family: move}, source="guard", tag=tag, reason=Reason.MEASURED)


def _downward(arms: tuple[float, ...], steps: int, fall: float) -> Program:
    yield Save("origin")
    found: Found = yield from race(arms, steps, least=REGAINED * fall)
    return found


def _holds(space: object, move: float) -> bool:
    return isinstance(space, Float) and space.low <= move <= space.high


def _all_finite(losses: list[Any]) -> bool:
    """Say whether all losses are finite; waits for the device once. What is no number counts so."""
    numbers = [float(loss) for loss in losses if isinstance(loss, int | float)]
    sums = [loss.sum() for loss in losses if isinstance(loss, Tensor)]
    total = foreign_call(lambda: float(sum(sums))).value or 0.0
    return math.isfinite(total) and all(map(math.isfinite, numbers))
