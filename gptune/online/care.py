"""What looks after the training state: the calibration at the start, the guard all the time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gptune.actuators import Actuator, OptimizerKnob
from gptune.actuators.training_state import TrainingState
from gptune.configs import Mode
from gptune.errors import RecipeError, StateError
from gptune.events import Blocked
from gptune.online.batches import Batches
from gptune.online.calibrating import Calibrator, obstacle, rate_of
from gptune.online.decision import Seen
from gptune.online.evaluation import evaluate_mean
from gptune.online.experience import best_rate
from gptune.online.look_ahead import LOADED, SAVED, Bench, Looking
from gptune.online.metrics import read_metric
from gptune.online.rescue import EVERY, Rescue
from gptune.online.session import Session
from gptune.recipe.prior import prior_rates
from gptune.records import Decision, Reason

NEVER = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user gave, as far as the training state is concerned."""

    actuators: tuple[Actuator, ...]
    model: nn.Module | None = None
    evaluate: Callable[[], Any] | None = None
    scheduler: Any = None
    training_state: TrainingState | None = None
    prior_runs: tuple[str, ...] = ()
    alone: bool = True


class Care:
    """Calibrates, guards and restores, as far as what was given allows.

    Args:
        session: The run.
        given: What the user gave.
        batches: Where batches are recorded, replayed and skipped.

    Raises:
        RecipeError: If the recipe demands what cannot be done with it.
        StateError: If the training state is none that can be kept.
    """

    def __init__(self, session: Session, given: Given, batches: Batches) -> None:
        self._session, self._given = session, given
        state = self._training_state()
        self._why = self._obstacle(state)
        self._looking = None if state is None else self._make_looking(state, batches)
        self._calibrator = self._make_calibrator()
        self._rescue: Rescue | None = None
        if state is not None:
            self._rescue = Rescue(session, state, batches, self._looking, alone=given.alone)
        session.interrupt = self.interrupt
        if self._looking is not None:
            session.trial = self._looking.trial

    @property
    def losses(self) -> list[Any] | None:
        """Where the newest losses are kept, if anybody looks at them."""
        rescue = self._rescue
        return rescue.losses if rescue is not None and rescue.watches else None

    def start(self) -> None:
        """Begin to watch, once the run directory is there."""
        session, recipe = self._session, self._session.config.recipe
        if self._rescue is not None:
            self._rescue.resume()
        self.watch()
        if self._calibrator is None and self._is_odd(recipe.calibration.enabled):
            said = f"the learning rate is not calibrated: {self._why}"
            session.say(said)
            if session.log is not None:
                event = Blocked(reasons=(Reason.LOOK_AHEAD,), message=said)
                session.log.append(session.now(), event)

    def watch(self) -> None:
        """Watch the optimizer if a calibration is to come."""
        if self._calibrator is not None and self._looking is not None and self._calibrator.waits:
            self._looking.watch()

    def after_step(self, loss: object) -> None:
        """Do what is due after a step."""
        looking, calibrator = self._looking, self._calibrator
        if looking is not None and looking.is_running:
            looking.after_step(loss)
        elif looking is not None and looking.is_watching:
            looking.forward(stays=calibrator is not None and calibrator.waits)
        if self._rescue is not None and self._session.steps % EVERY == 0:
            self._rescue.look()
        self._collect()

    def before_report(self) -> None:
        """Restore what is beyond repair before it is evaluated."""
        if self._rescue is not None:
            self._rescue.look(waits=True)

    def sees(self, seen: Seen) -> Seen:
        """Add what the guard needs to what a decision sees."""
        return seen if self._rescue is None else self._rescue.sees(seen)

    def after(self, decision: Decision) -> Decision:
        """Restore, or keep the state, as the decision demands."""
        return decision if self._rescue is None else self._rescue.after(decision)

    def next_look(self, steps: int) -> int:
        """Say after which step there is something to do [steps]."""
        looking = self._looking
        if looking is not None and (looking.is_running or looking.is_watching):
            return steps + 1
        return (steps // EVERY + 1) * EVERY if self.losses is not None else NEVER

    def stop(self) -> None:
        """Watch nothing any more."""
        if self._looking is not None:
            self._looking.rest()

    def interrupt(self, why: str) -> None:
        """End a look ahead, and put back what it started from, but not over a loaded state."""
        if self._looking is not None:
            self._looking.abort(why, puts_back=why != LOADED)
            if why == SAVED:
                self.watch()
            self._collect()
        if self._rescue is not None and why == LOADED:
            self._rescue.forget()

    # inside -----------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Hand on what went wrong in a look ahead."""
        if self._looking is not None and self._looking.errors:
            self._session.caught.extend(self._looking.errors)
            self._looking.errors = []

    def _training_state(self) -> TrainingState | None:
        given, recipe = self._given, self._session.config.recipe
        needed = recipe.mode is Mode.GUARD
        if given.training_state is not None:
            return given.training_state
        optimizers = _optimizers(given.actuators)
        if needed and not (given.model is not None and optimizers and recipe.guard.enabled):
            raise RecipeError(
                "mode: 'guard' restores the training state, so it needs model=, an optimizer, and "
                "guard.enabled; pass them, or use mode observe"
            )
        if given.model is None or not optimizers:
            return None
        try:
            budget = recipe.guard.budget_mb
            return TrainingState(given.model, optimizers, budget_mb=budget)
        except StateError as error:
            if needed:
                raise
            self._session.say(f"the training state is not guarded: {error}")
            return None

    def _obstacle(self, state: TrainingState | None) -> str:
        given = self._given
        why = obstacle(
            self._session.config,
            self._session.hands,
            {"model": state, "evaluate": given.evaluate},
        )
        return why or ("" if given.alone else "several processes train one model")

    def _is_odd(self, enabled: object) -> bool:
        """Say whether a user would wonder why there is no calibration."""
        given = self._given
        there = given.model is not None and given.evaluate is not None
        has_length = self._session.config.total_steps is not None
        has_rate = any(hand.knob.is_rate for hand in self._session.hands.values())
        expected = enabled == "auto" and there and has_length and has_rate
        return expected and self._session.state.mode is Mode.ACTIVE and bool(self._why)

    def _make_looking(self, state: TrainingState, batches: Batches) -> Looking | None:
        session, evaluate = self._session, self._given.evaluate
        rate = rate_of(session.hands)
        if rate is None or evaluate is None or not self._given.alone:
            return None
        model, sign = self._given.model, session.config.sign

        def measure() -> float:
            return sign * read_metric(evaluate_mean(evaluate, model)).value

        bench = Bench(
            rate=rate,
            state=state,
            batches=batches,
            measure=measure,
            knobs=lambda: [hand.actuator for hand in session.hands.values()],
        )
        return Looking(bench, self._before_step)

    def _make_calibrator(self) -> Calibrator | None:
        session = self._session
        recipe, rate = session.config.recipe, rate_of(session.hands)
        wanted = recipe.calibration.enabled
        if wanted is True and self._why and recipe.mode is Mode.ACTIVE:
            raise RecipeError(f"calibration.enabled: is true, but {self._why}")
        if wanted is False or self._why or rate is None or self._looking is None:
            return None
        past = prior_rates(self._given.prior_runs, rate.knob.family)
        return Calibrator(
            session,
            self._looking,
            rate,
            scheduler=self._given.scheduler,
            known=best_rate(past),
        )

    def _before_step(self) -> None:
        if self._calibrator is not None:
            self._calibrator.before_step()


def _optimizers(actuators: Iterable[Actuator]) -> list[Optimizer]:
    """List the optimizers that knobs belong to, each once."""
    found = [knob.optimizer for knob in actuators if isinstance(knob, OptimizerKnob)]
    return list({id(one): one for one in found}.values())
