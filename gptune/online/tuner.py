"""The Tuner: holds the state, talks to the world; the one place where the rooms meet."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from msgspec.structs import replace
from torch import Tensor, nn

from gptune.actuators import Actuator, TupleActuator
from gptune.actuators.training_state import TrainingState
from gptune.configs import Mode, Recipe
from gptune.core.criteria import Acquisition
from gptune.core.proposer import Proposer, Randomness, Seeded
from gptune.errors import StateError
from gptune.online import choices, setup
from gptune.online.batches import Batches
from gptune.online.care import NEVER, Care, Given
from gptune.online.checkpoint import read_checkpoint, refusal
from gptune.online.clock import Clock, SystemClock
from gptune.online.collective import Ranks, Start, Vote, begin, is_alone
from gptune.online.decision import KernelConfig, start_point
from gptune.online.gloo import find_ranks
from gptune.online.look_ahead import SAVED
from gptune.online.metrics import Source
from gptune.online.opening import default_run_dir, find_recipe, is_used, open_log
from gptune.online.playing import next_look, play
from gptune.online.replay import Score, check_replay, read_replay
from gptune.online.service import Service
from gptune.online.session import Session
from gptune.online.sight import NO_STEPS, Sight, absence, look
from gptune.online.watch import KnobStatus
from gptune.recipe.prior import prior_observations
from gptune.records import Action, Decision, Reason
from gptune.run_directory.file_system import Disk, FileSystem

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
        recipe: A file, plain data or a `Recipe`; an error beside the shorthands above, the
            criterion excepted. By default ``recipe.yaml`` in the run directory, if it is there.
        model: What the guard restores, and what a calibration starts from anew. Its train or eval
            mode is kept while ``evaluate`` runs.
        scheduler: The learning-rate scheduler, or several: one that cycles momentum owns that knob,
            and a calibration asks it how high the rate will be later.
        evaluate: Gives the objective when `report` is called without metrics: one loss, or losses
            per example of shape ``(m,)``; lower is better.
        total_steps: Optimizer steps of the whole run [steps], if known.
        training_state: What is restored, instead of the model and its optimizers alone: name a
            gradient scaler or an averaged model there.
        run_dir: Where ``events.jsonl`` goes; ``runs/<UTC time>-<4 hex>`` by default.
        mode: off | observe | suggest | guard | active | replay; overrides the recipe's.
        replay: For mode replay: the run directory whose changes are made again at their steps, or
            a file that ``gptune export --mutations`` wrote.
        seed: Of all of gptune's own chance; torch's is left alone.
        resume: Open a used ``run_dir``; `load_state_dict` must come before the first step.
        clock: Tells the time for logs; no decision depends on it.
        file_system: The disk.
        randomness: Where the proposer's chance comes from, instead of ``seed``.
        ranks: The processes that train one model, by default those of torch.distributed: rank 0
            decides, and all do the same. Make the Tuner on all of them, with the same arguments;
            rank 0's ``run_dir`` and ``seed`` count.

    Raises:
        StateError: If the other processes are not there, or differ.
        RecipeError: If the recipe or a shorthand is wrong.
        ActuatorError: If there is nothing that could be tuned, or a knob is wrong.
        RunDirectoryError: If the run directory cannot be written, is owned, or is used.
    """

    _losses: list[Any] | None = None  # of the newest steps, where the guard looks at them

    def __init__(
        self,
        optimizer: setup.Given,
        *,
        objective: str | None = None,
        direction: str | None = None,
        space: choices.Space | None = None,
        acquisition: str | Acquisition | None = None,
        recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
        model: nn.Module | None = None,
        scheduler: Any | None = None,
        evaluate: Callable[[], Any] | None = None,
        total_steps: int | None = None,
        training_state: TrainingState | None = None,
        run_dir: str | Path | None = None,
        mode: str | None = None,
        replay: str | Path | None = None,
        seed: int = 0,
        resume: bool = False,
        clock: Clock | None = None,
        file_system: FileSystem | None = None,
        randomness: Randomness | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        files, self._clock = file_system or Disk(), clock or SystemClock()
        shorthands = {"objective": objective, "direction": direction, "space": space}
        silent = recipe is None and all(given is None for given in shorthands.values())
        # A resumed run's recipe is compared with that of its checkpoint, which says more.
        found = find_recipe(run_dir, files) if silent or not resume else None
        made = choices.make_recipe(recipe, shorthands, mode, found)
        made = choices.name_acquisition(made, acquisition)
        criterion = choices.choose_acquisition(acquisition)
        choices.check_counts(total_steps, seed)
        self._sight, self._scheduler = Sight(made.objective, evaluate, model), scheduler
        actuators = setup.list_actuators(optimizer, scheduler)
        hands = setup.make_hands(made, actuators, space or {})
        knobs = {family: hand.knob for family, hand in hands.items()}
        config = KernelConfig(recipe=made, knobs=knobs, total_steps=total_steps)
        ranks = ranks if ranks is not None else find_ranks()
        mine = Start.of(config, run_dir, seed)
        place, seed = begin(ranks, mine, partial(default_run_dir, self._clock))
        movements = check_replay(read_replay(made.mode, replay), knobs, start_point(config))

        runs = () if resume and is_used(place, files) else made.search.prior_runs
        prior = prior_observations(runs, knobs, start_point(config))  # else in the checkpoint

        def make_proposer(config: KernelConfig, seed: int) -> Proposer | None:
            return setup.make_proposer(config, criterion, randomness or Seeded(seed), prior)

        self._session = Session(config, hands, seed=seed, make_proposer=make_proposer, files=files)
        self._session.score, self._session.together.ranks = Score(movements), ranks
        self._service = Service(self._session)
        self._batches = Batches()
        given = Given(
            actuators=tuple(actuators),
            model=model,
            evaluate=evaluate,
            scheduler=scheduler,
            training_state=training_state,
            prior_runs=runs,
            alone=ranks.count == 1 and is_alone(),
        )
        self._care = Care(self._session, given, self._batches)
        self._open = partial(open_log, place, self._clock, files, resume=resume)
        # The steps after which orders may be there, and after which anything may be due [steps].
        self._serve_at = self._look_at = NEVER
        if self.mode is not Mode.OFF:
            self._start()

    @property
    def recipe(self) -> Recipe:
        """What the user chose, and what an operator has set since."""
        return self._session.config.recipe

    @property
    def mode(self) -> Mode:
        """What gptune may do now."""
        return self._session.state.mode

    @property
    def steps(self) -> int:
        """Optimizer steps counted so far [steps]."""
        return self._session.steps

    @property
    def run_dir(self) -> Path | None:
        """Where the run's log is; ``None`` while the mode is off."""
        return self._session.log.directory if self._session.log else None

    @property
    def log_ok(self) -> bool:
        """Whether the disk takes what is written; if not, tuning has stopped."""
        return not (self._session.log and self._session.log.failure)

    @property
    def values(self) -> dict[str, Any]:
        """The move in force of every knob: multipliers for an optimizer's."""
        return dict(self._session.state.point)

    @property
    def knobs(self) -> dict[str, KnobStatus]:
        """Where every knob stands: its move, its values, and whether it acts."""
        return self._session.describe_knobs()

    @property
    def actuators(self) -> list[Actuator]:
        """The actuators at work."""
        return [hand.actuator for hand in self._session.hands.values()]

    def step(self, loss: object = None) -> None:
        """Count one optimizer step; call it right after ``optimizer.step()``.

        Costs about a microsecond, and does nothing to ``loss``.

        Args:
            loss: The training loss: what a calibration reads, and where the guard sees first
                that training is beyond repair. Looked at every 16th step; no GPU is waited for.

        Raises:
            StateError: If the run is being resumed and `load_state_dict` was not called yet.
        """
        session = self._session
        if session.waits_for_state:
            raise refusal("step", closed=session.closed)
        session.steps += 1
        if self._losses is not None:
            self._losses.append(loss.detach() if isinstance(loss, Tensor) else loss)
        if session.steps >= self._look_at:
            self._look(loss)

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield as many batches as a loader has; wrap the loader of the training loop in it.

        Transparent as long as nothing goes wrong. A calibration trains its arms on the same
        batches, and the guard skips batches that are not finite; each of those takes the place of
        one of the loader's, so that the run has as many steps as it would have had.
        """
        return self._batches.over(loader)

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
        session = self._session
        if session.waits_for_state or session.closed:
            raise refusal("report", closed=session.closed)
        self._sight.check(metrics)
        if self.mode is Mode.OFF:
            session.together.decline()
            return Decision(number=0, step=self.steps, verdict=Action.OBSERVED)
        begin = self._clock.elapsed()
        self._service.serve_together()
        if session.state.mode is Mode.OFF:  # since now, in all processes
            return Decision(number=0, step=self.steps, verdict=Action.OBSERVED)
        self._care.before_report()
        seen = self._care.sees(look(self._sight, session.read_knobs(), (metrics, session.steps)))
        if seen.objective.fault is Reason.MISSING:
            session.say(absence(self._sight.objective.primary, metrics))
        elif session.steps == 0 and session.state.decision:
            session.say(NO_STEPS)
        decision = self._care.after(session.decide(seen))
        session.publish()
        self._plan_look()
        session.answer_for_failures()
        return replace(decision, seconds={"total": self._clock.elapsed() - begin})

    def register(self, actuator: Actuator | TupleActuator) -> None:
        """Add a knob later; earlier observations count with the value that it has now.

        Raises:
            ActuatorError: If it is no actuator, or its name is taken.
        """
        known = self.actuators
        new = setup.list_actuators([*known, actuator], self._scheduler)[len(known) :]
        added = setup.join_hands(self._session.base.recipe, new)
        if added:
            self._session.join(added)
        else:
            name = actuator.name
            self._session.say(f"{name} is not tuned: the recipe names others of its group")

    def set_mode(self, mode: str) -> None:
        """Change the mode; leaving active puts an unjudged change back first.

        Of several processes that train one model all change at the next decision, to the mode that
        may do least of those that they are to have.

        Raises:
            RecipeError: If the mode is unknown or not available yet.
        """
        new = choices.make_recipe(self.recipe, {}, mode).mode
        if new is Mode.REPLAY and self._session.base.recipe.mode is not new:
            read_replay(new, None)
        if not self._session.closed and new is not self.mode and self._session.log is None:
            self._start()
        self._session.want_mode(new)
        self._care.watch()
        self._plan_look()

    def close(self) -> None:
        """Put back what is unjudged, remove all hooks, give the run directory back."""
        self._session.close(self._service.serve)
        self._care.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def before_save(self) -> None:
        """Let model and optimizer hold the run's own state, not that of a trial.

        Call it before you save them, unless you call `state_dict` first, which does it too. A
        calibration that is at work begins anew.
        """
        self._care.interrupt(SAVED)

    def state_dict(self) -> dict[str, Any]:
        """Give all that is needed to go on: JSON-able, versioned, without weights.

        Save it in the training checkpoint; it loads with ``torch.load(weights_only=True)``.
        """
        if self._session.waits_for_state:
            raise refusal("state_dict", closed=self._session.closed)
        self.before_save()
        return self._session.checkpoint().to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, the values of all knobs included.

        The mode goes on too, unless this Tuner's own is not active. Lines that the log holds
        beyond that point are superseded by a ``rewind``; without that log, an open change is
        put back.

        Raises:
            StateError: If the state does not fit this Tuner; nothing is changed then.
        """
        session = self._session
        if session.closed:
            raise refusal("load_state_dict", closed=True)
        try:
            read = read_checkpoint(state, session.base)
        except StateError as error:  # the others wait for what this one says
            session.together.vote(Vote(goes_on=False, refusal=str(error)))
            raise
        session.resume(read)
        self._care.start()
        self._plan_look()

    def _start(self) -> None:
        """Take the run directory, and make what a replay does before the first step."""
        self._session.start(self._open())
        if not self._session.waits_for_state:
            self._care.start()
            self._look()

    def _look(self, loss: object = None) -> None:
        """Do what is due: what the step calls for, recorded changes, orders from outside."""
        session = self._session
        if session.steps:
            self._care.after_step(loss)
        if session.steps >= self._serve_at:
            play(session)
            self._service.serve()
        self._plan_look()
        session.answer_for_failures()

    def _plan_look(self) -> None:
        session = self._session
        open_now = session.log is not None and not session.closed
        self._serve_at = next_look(session) if open_now else NEVER
        care = self._care.next_look(session.steps) if open_now else NEVER
        self._look_at = min(self._serve_at, care)
        self._losses = self._care.losses if open_now else None
