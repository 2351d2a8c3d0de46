"""Keeps good training states, and puts one back when the guard says that a run went wrong."""

import math
from typing import Any

from msgspec.structs import replace
from torch import Tensor

from gptune.actuators.training_state import TrainingState
from gptune.configs import Mode
from gptune.errors import StateError
from gptune.events import Blocked, Restored
from gptune.foreign import foreign_call
from gptune.online import guard
from gptune.online.batches import Batches
from gptune.online.decision import Seen
from gptune.online.escalation import Escalation
from gptune.online.finite import Finite, is_elsewhere
from gptune.online.look_ahead import Looking
from gptune.online.session import Session
from gptune.records import Decision, Reason

NOT_FINITE = (Reason.STATE_NOT_FINITE, Reason.NOT_FINITE)  # symptoms that data can bring about
EVERY = 16  # steps between two looks at the losses [steps]


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
        self._lost: int | None = None  # losses since one was finite; None where none was yet
        self._restored = False  # since the last decision
        self._finite = Finite()
        self._escalation = Escalation(session, batches, looking)

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

    def resume(self) -> None:
        """Look at batches if the run was poisoned, be it before it was resumed."""
        if self._session.state.guard.screens:
            self._batches.screen()

    def forget(self) -> None:
        """Forget what belongs to a run that another state was loaded over."""
        self._state.forget(tuple(self._steps))
        self._steps.clear()
        self.losses.clear()
        self._finite.forget()
        self._lost = None

    def look(self, *, waits: bool = False) -> None:
        """Look at the losses since the last look; restores if training is beyond repair.

        Args:
            waits: Whether losses on a GPU shall be known now, not at the next look.
        """
        losses = list(self.losses)
        self.losses.clear()
        if not self.watches or self.is_busy:
            self._finite.forget()
            return
        finite, known = self._finite.count(losses, waits=waits)
        self._count(finite, known)
        if finite < known:
            symptom = self._symptom()
            if symptom is not None and self._may_restore():
                self._restore(symptom)
        elif self._may_keep_early(losses) and not self._is_poisoned():
            self._save("last")  # nothing was measured yet, but it is better than nothing

    def _may_keep_early(self, losses: list[Any]) -> bool:
        """Say whether to keep a state that nobody has measured: not where a step would wait."""
        waits = any(isinstance(loss, Tensor) and is_elsewhere(loss) for loss in losses)
        return bool(losses) and not waits and self._alone and "last" not in self._steps

    def _count(self, finite: int, known: int) -> None:
        """Count the losses since one was finite, if ever one was since the last restore."""
        if finite:
            self._lost = 0
        elif self._lost is not None:
            self._lost += known

    def _symptom(self) -> Reason | None:
        """Say what losses that are not finite mean: weights can be sound, and yet too large."""
        if self._is_poisoned():
            return Reason.STATE_NOT_FINITE
        return Reason.NOT_FINITE if (self._lost or 0) >= EVERY else None

    def sees(self, seen: Seen) -> Seen:
        """Add what the guard needs to what a decision sees."""
        if not self.watches:
            return seen
        odd = seen.objective.fault is Reason.NOT_FINITE
        poisoned = odd and not self.is_busy and self._is_poisoned()
        return replace(
            seen,
            guarded=bool(self._steps),
            looking=self.is_busy,
            poisoned=poisoned,
            trains=self._lost == 0,
            blames_data=self._escalation.blames_data,
        )

    def after(self, decision: Decision) -> Decision:
        """Restore if the decision has found a symptom; else keep the state if it is a good one.

        What was restored since the last decision is part of this one.
        """
        if self.watches and not self.is_busy:
            self._act(decision)
        done, self._restored = self._restored, False
        if not done:
            return decision
        self._session.together.agree(self._session.stand)  # also in what followed from the restore
        return replace(decision, reasons=(*decision.reasons, Reason.RESTORED), restored=True)

    def _act(self, decision: Decision) -> None:
        session, state = self._session, self._session.state
        if session.symptom is not None:
            self._restore(session.symptom, decision.metric)
            return
        is_measured = state.guard.steps[-1:] == (session.steps,)
        is_judged = state.pending is None or state.pending.step == session.steps
        if is_measured and is_judged:
            self._keep_or_restore()

    def _keep_or_restore(self) -> None:
        """Keep the state if it is sound; if not, restore.

        A metric such as accuracy is a number even where every weight is none.
        """
        if not self._is_poisoned():
            self._keep()
        elif self._may_restore():
            self._restore(Reason.STATE_NOT_FINITE)

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

    def _restore(self, symptom: Reason, metric: float | None = None) -> None:
        """Put a good state back, say so, and do what is due where that does not help."""
        session, total = self._session, self._session.config.total_steps
        if not self._steps:
            session.say(f"{symptom}: there is no good training state yet that could be put back")
            return
        session.resolve(symptom)  # an open change has lost, whatever it was
        before, rules = session.state.guard, session.config.recipe.guard
        repeat = guard.is_repeat(before, session.steps, total)
        slot = "last"
        may = "best" in self._steps and symptom is not Reason.NOT_FINITE  # that is no measure
        if may and guard.prefers_best(rules, before, repeat=repeat):
            slot = "best"
        if not session.together.agree(lambda: f"{slot} of step {self._steps[slot]}"):
            return
        knobs = [hand.actuator for hand in session.hands.values()]
        done = foreign_call(lambda: self._state.restore(slot, knobs))
        if done.error is not None:
            session.say(f"{symptom}: the training state could not be put back: {done.message}")
            session.caught.append(done.error)
        if not session.together.agree(lambda: str(done.error is None)) or done.error is not None:
            return
        self._note(symptom, slot)
        if guard.gives_up(rules, session.state.guard):
            self._give_up()
        elif session.state.mode is Mode.ACTIVE:
            fall, here = self._fall(before, metric), self._escalation.blames_data
            blames = here if self._alone else session.blames_data
            self._escalation.go(before, symptom, fall, blames_data=blames)

    def _fall(self, before: guard.GuardState, metric: float | None) -> float:
        """Say how far the objective lay below what was expected [metric units]."""
        if metric is None or not math.isfinite(metric):
            return math.inf
        return guard.dip_of(before, self._session.steps, self._session.config.sign * metric)[0]

    def _note(self, symptom: Reason, slot: str) -> None:
        session, to = self._session, self._steps[slot]
        self._restored, self._lost = True, None
        self._finite.forget()
        after = guard.restored(session.state.guard, session.steps, session.config.total_steps)
        after = replace(after, screens=after.screens or symptom in NOT_FINITE)
        session.state = replace(session.state, guard=after)
        self.resume()
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
