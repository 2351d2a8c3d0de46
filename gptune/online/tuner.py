"""The Tuner: holds the state, talks to the world; the one place where the rooms meet."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from msgspec.structs import replace
from torch import nn

from gptune.actuators import Actuator, TupleActuator
from gptune.configs import Mode, Recipe
from gptune.core.criteria import Acquisition
from gptune.core.proposer import Proposer, Randomness, Seeded
from gptune.errors import GptuneError
from gptune.events import Closed, ModeChanged, Moment, Paused
from gptune.online import setup
from gptune.online.asking import consult
from gptune.online.checkpoint import Checkpoint, Mark, put_values, read_checkpoint, refusal, rewind
from gptune.online.clock import Clock, SystemClock
from gptune.online.collective import Broadcast, alone
from gptune.online.decision import (
    Hand,
    KernelConfig,
    KernelState,
    Outcome,
    Plan,
    Saved,
    carry_out,
    describe,
    leave,
    plan,
    settle,
    start_point,
)
from gptune.online.foreign import Answer, foreign_call
from gptune.online.metrics import Source
from gptune.online.notices import Notices
from gptune.online.opening import announce, open_log, opened
from gptune.online.sight import Sight, absence, look
from gptune.online.watch import KnobStatus, Watch
from gptune.records import Action, Decision, Proposal, Reason, Request, Told
from gptune.run_directory.event_log import EventLog
from gptune.run_directory.file_system import FileSystem

Batch = TypeVar("Batch")


class Tuner:
    """Tunes hyperparameters while a model trains, and undoes what does not help.

    Call `step` after each optimizer step and `report` at each evaluation; nothing else changes in
    a training loop. See the README for a quick start.

    Args:
        optimizer: A torch optimizer; several as a list or as name -> optimizer; or a list of
            actuators (lists add up with ``+``).
        objective: Name of the metric to improve; ``recipe.objective.primary`` by default.
        direction: ``minimize`` or ``maximize``.
        space: Name -> ``(low, high)`` multipliers on the schedule (``lr`` means ``opt.lr``), or
            `Float`, `Integer`, `Categorical` for values. Only what is named moves.
        acquisition: ``log_ei``, ``ucb``, ``thompson``, a built-in, or ``(model, best) ->`` BoTorch
            acquisition function.
        recipe: Plain data or a `Recipe`; an error beside the three shorthands above.
        model: Its train or eval mode is kept while ``evaluate`` runs.
        scheduler: The learning-rate scheduler, or several: one that cycles momentum owns that knob.
        evaluate: Gives the objective when `report` is called without metrics: one loss, or losses
            per example of shape ``(m,)``; lower is better.
        total_steps: Optimizer steps of the whole run [steps], if known.
        run_dir: Where ``events.jsonl`` goes; ``runs/<UTC time>-<4 hex>`` by default.
        mode: off | observe | suggest | active; overrides the recipe's.
        seed: Of all of gptune's own chance; torch's is left alone.
        resume: Open a used ``run_dir``; `load_state_dict` must come before the first step.
        clock: Tells the time for logs; no decision depends on it.
        file_system: The disk.
        randomness: Where the proposer's chance comes from, instead of ``seed``.
        broadcast: Hands rank 0's plan to all ranks.

    Raises:
        RecipeError: If the recipe or a shorthand is wrong.
        ActuatorError: If there is nothing that could be tuned, or a knob is wrong.
        RunDirectoryError: If the run directory cannot be written, is owned, or is used.
    """

    def __init__(
        self,
        optimizer: setup.Given,
        *,
        objective: str | None = None,
        direction: str | None = None,
        space: setup.Space | None = None,
        acquisition: str | Acquisition | None = None,
        recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
        model: nn.Module | None = None,
        scheduler: Any | None = None,
        evaluate: Callable[[], Any] | None = None,
        total_steps: int | None = None,
        run_dir: str | Path | None = None,
        mode: str | None = None,
        seed: int = 0,
        resume: bool = False,
        clock: Clock | None = None,
        file_system: FileSystem | None = None,
        randomness: Randomness | None = None,
        broadcast: Broadcast = alone,
    ) -> None:
        self._scheduler = scheduler
        shorthands = {"objective": objective, "direction": direction, "space": space}
        self.recipe = setup.name_acquisition(
            setup.make_recipe(recipe, shorthands, mode), acquisition
        )
        self._acquisition = setup.choose_acquisition(acquisition)
        self._sight = Sight(self.recipe.objective, evaluate, model)
        setup.check_counts(total_steps, seed)
        self._steps, self._seed = 0, seed
        self._randomness, self._broadcast = randomness, broadcast
        self._clock = clock or SystemClock()
        self._hands = setup.make_hands(
            self.recipe, setup.list_actuators(optimizer, scheduler), space or {}
        )
        knobs = {family: hand.knob for family, hand in self._hands.items()}
        self._config = KernelConfig(recipe=self.recipe, knobs=knobs, total_steps=total_steps)
        self._state = KernelState(mode=self.recipe.mode, point=start_point(self._config))
        self._proposer = self._make_proposer()
        self._saved: dict[str, Saved] = {}
        self._caught: list[Exception] = []
        self._say = Notices().say
        self._watch = Watch(self._say)
        self._closed = self._waits_for_state = False
        self._log: EventLog | None = None
        self._open = partial(open_log, run_dir, self._clock, file_system, resume=resume)
        if self.mode is not Mode.OFF:
            self._start()

    @property
    def mode(self) -> Mode:
        """What gptune may do now."""
        return self._state.mode

    @property
    def steps(self) -> int:
        """Optimizer steps counted so far [steps]."""
        return self._steps

    @property
    def run_dir(self) -> Path | None:
        """Where the run's log is; ``None`` while the mode is off."""
        return self._log.directory if self._log else None

    @property
    def log_ok(self) -> bool:
        """Whether the disk takes what is written; if not, tuning has stopped."""
        return not (self._log and self._log.failure)

    @property
    def values(self) -> dict[str, Any]:
        """The move in force of every knob: multipliers for an optimizer's."""
        return dict(self._state.point)

    @property
    def knobs(self) -> dict[str, KnobStatus]:
        """Where every knob stands: its move, its values, and whether it acts."""
        works = self._log is not None and not self._closed
        state = self._state if works else replace(self._state, mode=Mode.OFF)
        return self._watch.describe(self._hands, self._config, state, self._steps)

    @property
    def actuators(self) -> list[Actuator]:
        """The actuators at work."""
        return [hand.actuator for hand in self._hands.values()]

    def step(self, loss: object = None) -> None:
        """Count one optimizer step; call it right after ``optimizer.step()``.

        Costs well under a microsecond, does nothing to ``loss``, and never synchronises a device.

        Args:
            loss: The training loss; not looked at in this version.

        Raises:
            StateError: If the run is being resumed and `load_state_dict` was not called yet.
        """
        if self._waits_for_state:
            raise refusal("step", closed=self._closed)
        self._steps += 1

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield a loader's batches, as many as it has."""
        yield from loader

    def report(self, metrics: Source | None = None) -> Decision:
        """Report metrics: one decision.

        Args:
            metrics: A mapping, or a callable ``(name, default) -> value``. ``None`` calls
                ``evaluate``. An entry ``anomaly`` that is true blocks the decision.

        Returns:
            What was decided; ``str()`` of it is one line.

        Raises:
            StateError: If the Tuner is closed, waits for `load_state_dict`, or has no
                ``evaluate`` and no metrics were given.
        """
        if self._waits_for_state or self._closed:
            raise refusal("report", closed=self._closed)
        self._sight.check(metrics)
        if self.mode is Mode.OFF:
            return Decision(number=0, step=self._steps, verdict=Action.OBSERVED)
        begin, self._caught = self._clock.elapsed(), []
        readings = self._watch.read(self._hands, self._state.point, self._steps)
        seen = look(self._sight, readings, (metrics, self._steps))
        if seen.objective.fault is Reason.MISSING:
            self._say(absence(self.recipe.objective.primary, metrics))
        planned = foreign_call(lambda: plan(self._config, self._state, seen, self._propose))
        if planned.value is None:
            decision = self._stop(planned)
        else:
            self._state, made = planned.value
            made = self._broadcast(made)
            decision = describe(made, self._carry_out(made), seen.objective)
        self._answer_for(self._caught)
        return replace(decision, seconds={"total": self._clock.elapsed() - begin})

    def register(self, actuator: Actuator | TupleActuator) -> None:
        """Add a knob later; earlier observations count with the value that it has now.

        Raises:
            ActuatorError: If it is no actuator, or its name is taken.
        """
        known = [hand.actuator for hand in self._hands.values()]
        new = setup.list_actuators([*known, actuator], self._scheduler)[len(known) :]
        added = setup.join_hands(self.recipe, new)
        if not added:
            self._say(f"{actuator.name} is not tuned: the recipe names others of its group")
            return
        setup.attach(added, self.mode)
        self._hands.update(added)
        knobs = {name: hand.knob for name, hand in added.items()}
        self._config = replace(self._config, knobs={**self._config.knobs, **knobs})
        start = {name: start_point(self._config)[name] for name in added}
        self._state = replace(self._state, point={**self._state.point, **start})
        old, self._proposer = self._proposer, self._make_proposer()
        if old is not None and self._proposer is not None:
            self._proposer.inherit(old, start)
        if self._log is not None:
            self._log.append(self._now(), opened(self._config, self._seed, resumed=False))

    def set_mode(self, mode: str) -> None:
        """Change the mode; leaving active puts an unjudged change back first.

        Raises:
            RecipeError: If the mode is unknown or not available yet.
        """
        new, old = setup.make_recipe(self.recipe, {}, setup.parse_mode(mode)).mode, self.mode
        if self._closed or new is old:
            return
        if self._log is None:
            self._start()
        elif old is Mode.ACTIVE:
            self._resolve(Reason.LEFT_ACTIVE)
        self._state = replace(self._state, mode=new)
        self._watch.start(self._hands, self._steps)
        if self._log is not None:
            self._log.append(self._now(), ModeChanged(old=old, new=new))
        setup.attach(self._hands, self.mode)

    def close(self) -> None:
        """Put back what is unjudged, remove all hooks, give the run directory back."""
        if self._closed:
            return
        if self._log is not None and not self._waits_for_state:
            self._resolve(Reason.CLOSED)
            self._log.append(self._now(), Closed(decisions=self._state.decision), durable=True)
        self._closed = True
        foreign_call(lambda: setup.release(self._hands))
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """Give all that is needed to go on: JSON-able, versioned, without weights.

        Save it in the training checkpoint; it loads with ``torch.load(weights_only=True)``.
        """
        if self._waits_for_state:
            raise refusal("state_dict", closed=self._closed)
        log = self._log
        return Checkpoint(
            seed=self._seed,
            steps=self._steps,
            recipe=self.recipe.to_dict(),
            knobs=self._config.knobs,
            kernel=self._state,
            proposer=self._proposer.state if self._proposer else None,
            total_steps=self._config.total_steps,
            log=Mark(seq=log.seq, checksum=log.checksum) if log else None,
        ).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, the values of all knobs included.

        The mode goes on too, unless this Tuner's own is not active. Lines that the log holds
        beyond that point are superseded by a ``rewind``; without that log, an open change is
        put back.

        Raises:
            StateError: If the state does not fit this Tuner; nothing is changed then.
        """
        if self._closed:
            raise refusal("load_state_dict", closed=True)
        read, own, log = read_checkpoint(state, self._config), self.mode, self._log
        kernel, moment = read.kernel, self._config.moment(read.kernel.decision, read.steps)
        if log is None or not rewind(log, read.log, moment):
            # Not the log that the open change was written to: it may not come into force here.
            kernel, _ = leave(self._config, kernel, read.steps, Reason.LEFT_ACTIVE)
        self._hands = {f: Hand(h.actuator, read.knobs[f]) for f, h in self._hands.items()}
        self._config = replace(self._config, knobs=read.knobs)
        self._state = replace(kernel, mode=Mode.OFF if own is Mode.OFF else kernel.mode)
        self._steps, self._seed = read.steps, read.seed
        self._proposer = self._make_proposer()
        if self._proposer is not None and read.proposer is not None:
            self._proposer.resume(read.proposer)
        self._saved = put_values(kernel, self._hands)
        self._watch.start(self._hands, self._steps)
        self._waits_for_state = False
        if own is not Mode.ACTIVE:  # a mode that was asked for is never widened
            self.set_mode(own)

    def _start(self) -> None:
        """Take the run directory, say what will be tuned, and watch the optimizer."""
        log = self._open()
        try:
            announce(log, self._config, self._now(), seed=self._seed)
            setup.attach(self._hands, Mode.ACTIVE)
        except GptuneError:
            foreign_call(lambda: setup.attach(self._hands, Mode.OFF))
            log.close()
            raise
        self._log, self._waits_for_state = log, log.was_used
        if not self._hands:
            self._say("no knob is attached, so nothing will be tuned, only observed")

    def _propose(self, told: Told | None, request: Request | None) -> Answer[Proposal] | None:
        if self._proposer is None:
            return None
        answer = consult(self._proposer, told, request)
        self._caught.extend([] if answer.error is None else [answer.error])
        return answer if request is not None else None

    def _carry_out(self, made: Plan) -> Outcome:
        assert self._log is not None
        done, before = carry_out(made, self._log, self._hands, self._saved), self._state.safety
        self._saved = done.saved
        self._state = settle(self._config, self._state, made, done.outcome)
        if self._state.safety.paused and not before.paused:  # a knob was quarantined
            wait = self.recipe.safety.pause_decisions
            self._log.append(self._now(), Paused(decisions=wait, reasons=(Reason.QUARANTINED,)))
        self._caught.extend(done.errors)
        for message in (*done.outcome.messages, *([made.message] if made.message else [])):
            self._say(message)
        return done.outcome

    def _stop(self, failure: Answer[Any]) -> Decision:
        """Stop tuning on account of gptune's own failure; training goes on."""
        self._say(f"tuning stops for a failure of its own: {failure.message}")
        self._caught.extend([] if failure.error is None else [failure.error])
        self.set_mode(Mode.OBSERVE)
        at, why = self._now(), (Reason.KERNEL_FAILED,)
        return Decision(number=at.decision, step=at.step, verdict=Action.BLOCKED, reasons=why)

    def _answer_for(self, caught: list[Exception]) -> None:
        """Do what ``safety.on_error`` says of failures that were contained."""
        if not caught:
            return
        policy = self.recipe.safety.on_error
        if policy == "disable":
            self.set_mode(Mode.OBSERVE)
        elif policy == "raise":
            raise caught[0]

    def _resolve(self, reason: Reason) -> None:
        state, strays = self._state, self._watch.strays(self._hands, self._state.point)
        self._state, made = leave(self._config, state, self._steps, reason, strays=strays)
        self._carry_out(made)

    def _make_proposer(self) -> Proposer | None:
        chance = self._randomness or Seeded(self._seed)
        return setup.make_proposer(self._config, self._acquisition, chance)

    def _now(self) -> Moment:
        return self._config.moment(self._state.decision, self._steps)
