"""A Tuner over the life of a framework's run: made when training starts, saved, resumed, closed.

What the adapters share. Each of them says where in its framework these things happen.
"""

import contextlib
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from gptune.actuators import TrainingState
from gptune.adapters.normal import DEVICE_MEMORY, STEP_SECONDS, TRAIN_LOSS, normalise
from gptune.adapters.sinks import numbers_of
from gptune.errors import StateError
from gptune.foreign import foreign_call
from gptune.online.tuner import Tuner
from gptune.records import Decision
from gptune.run_directory.names import EVENTS, RANK

logger = logging.getLogger("gptune")
VERSION = 1  # of the form that `Life.state` has
StopWhen = Callable[[Decision], bool]

# Lives that have begun and not ended: some frameworks do not say that an exception ended training.
_OPEN: "weakref.WeakSet[Life]" = weakref.WeakSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a framework knows of a training when it starts.

    Attributes:
        optimizers: The torch optimizers themselves, without a framework's wrapper.
        model: The model.
        schedulers: The torch schedulers themselves.
        scaler: The gradient scaler, if there is one.
        total_steps: Optimizer steps of the whole run [steps], if known.
        done: Optimizer steps that were taken before [steps].
        validates: Whether there is validation data.
    """

    optimizers: Sequence[Optimizer]
    model: nn.Module | None = None
    schedulers: Sequence[Any] = ()
    scaler: GradScaler | None = None
    total_steps: int | None = None
    done: int = 0
    validates: bool = True


class Life:
    """The Tuner of a framework's run, from its start to its end.

    Args:
        arguments: Of `Tuner`; what the framework knows is added to them.
        stop_when: ``(decision) -> bool``: training ends when it says so.
    """

    def __init__(self, arguments: Mapping[str, Any], stop_when: StopWhen | None = None) -> None:
        self.tuner: Tuner | None = None
        self._arguments, self._stop_when = dict(arguments), stop_when
        self._loaded: Mapping[str, Any] | None = None
        self._last: dict[str, Any] | None = None  # the state when the Tuner was closed
        self._counted, self._since = 0, monotonic()

    @property
    def at_work(self) -> Tuner | None:
        """The Tuner, from the start of training to its end."""
        return self.tuner if self._last is None else None

    def load(self, state: Mapping[str, Any]) -> None:
        """Keep what `state` gave, until training starts.

        Raises:
            StateError: If it is something else.
        """
        if not state:
            return
        if state.get("version") != VERSION or not isinstance(state.get("tuner"), Mapping):
            raise StateError(
                f"checkpoint: holds no state of gptune of version {VERSION}; resume with the "
                "version that wrote it, or train without the callback"
            )
        self._loaded = state

    def state(self) -> dict[str, Any]:
        """Give all that is needed to go on, as plain data; nothing before training has started.

        Of a Tuner that was closed it is what it knew before, so that a checkpoint that is written
        on the way out goes on as the run would have.
        """
        tuner = self.at_work
        if tuner is None:
            return dict(self._last or self._loaded or {})
        made = foreign_call(tuner.state_dict)
        if made.value is None:
            logger.warning("gptune: has no state for this checkpoint (%s)", made.message)
            return {}
        place = str(_home(tuner.run_dir)) if tuner.run_dir is not None else None
        return {"version": VERSION, "tuner": made.value, "run_dir": place}

    def begin(self, training: Training) -> None:
        """Make the Tuner; one that has steps behind it goes on where `load` said.

        Raises:
            GptuneError: If an argument is wrong, or what was loaded does not fit.
        """
        self.end()
        saved = (self._loaded or self._last or None) if training.done else None
        if saved is not None:
            _end_abandoned(self._arguments.get("run_dir") or saved.get("run_dir"))
        self.tuner = make_tuner(self._arguments, training, saved)
        self._loaded = self._last = None
        _OPEN.add(self)
        self._counted, self._since = self.tuner.steps, monotonic()

    def step(self, loss: object) -> None:
        """Count one optimizer step."""
        if self.tuner is not None and self._last is None:
            self.tuner.step(loss)

    def decide(self, metrics: Mapping[str, Any]) -> Decision | None:
        """Report metrics, under their usual names too; ``None`` if no Tuner is at work."""
        tuner = self.at_work
        if tuner is None:
            return None
        return tuner.report({**self._measured(tuner), **normalise(metrics)})

    def stops(self, decision: Decision | None) -> bool:
        """Say whether the user wants training to end now."""
        return decision is not None and self._stop_when is not None and self._stop_when(decision)

    def shown(self, decision: Decision | None = None) -> dict[str, float]:
        """Give what a framework's loggers may show: the moves, what was used, what was decided."""
        tuner = self.at_work
        return {} if tuner is None else numbers_of(tuner, decision)

    def before_save(self) -> None:
        """Let the model hold the run's own state, for the framework is about to save it."""
        if self.at_work is not None:
            foreign_call(self.at_work.before_save)

    def end(self) -> None:
        """Close the Tuner: what is unjudged is put back. Never raises; training has priority."""
        tuner = self.at_work
        if tuner is None:
            return
        self._last = self.state()
        _OPEN.discard(self)
        done = foreign_call(tuner.close)
        if done.error is not None:
            logger.warning("gptune: the Tuner could not be closed (%s)", done.message)

    def _measured(self, tuner: Tuner) -> dict[str, float]:
        """Measure how long a step takes [s], and the most memory it took [10^6 bytes]."""
        steps, now = tuner.steps, monotonic()
        taken = (now - self._since) / max(steps - self._counted, 1)
        self._counted, self._since = steps, now
        found = {STEP_SECONDS: taken}
        if torch.cuda.is_available():
            found[DEVICE_MEMORY] = torch.cuda.max_memory_allocated() / 1e6
        return found


def _end_abandoned(run_dir: str | Path | None) -> None:
    """End what an exception has left open in the run directory that is to go on."""
    for life in list(_OPEN):
        place = life.tuner.run_dir if life.tuner is not None else None
        if run_dir is not None and place is not None and _home(place) == Path(run_dir).resolve():
            life.end()


def _home(run_dir: Path) -> Path:
    """Give the run's directory, which is rank 0's, of one process's."""
    place = run_dir.resolve()
    is_inside = place.name.startswith(RANK) and (place.parent / EVENTS).is_file()
    return place.parent if is_inside else place


def make_tuner(
    arguments: Mapping[str, Any], training: Training, saved: Mapping[str, Any] | None = None
) -> Tuner:
    """Make a Tuner of the user's arguments and of what the framework knows.

    Args:
        arguments: Of `Tuner`; they come first.
        training: What the framework knows.
        saved: What `Life.state` gave, to go on from.

    Raises:
        GptuneError: If an argument is wrong, or what was saved does not fit.
    """
    total = training.total_steps
    if total is not None and saved is None:
        total = max(total - training.done, 1)  # what was trained without gptune does not count
    chosen: dict[str, Any] = {
        "model": training.model,
        "scheduler": list(training.schedulers) or None,
        "total_steps": total,
        **arguments,
    }
    if not training.validates and not {"objective", "recipe"} & arguments.keys():
        chosen["objective"] = TRAIN_LOSS
    if training.scaler is not None and training.model is not None:
        chosen.setdefault("training_state", _with_scaler(training))
    if saved is not None:
        chosen = _resumed(chosen, arguments, saved)
    optimizers = list(training.optimizers)
    tuner = Tuner(optimizers[0] if len(optimizers) == 1 else optimizers, **chosen)
    with contextlib.ExitStack() as stack:
        stack.callback(tuner.close)
        if saved is not None:
            tuner.load_state_dict(saved["tuner"])
        stack.pop_all()
    return tuner


def _resumed(
    chosen: dict[str, Any], arguments: Mapping[str, Any], saved: Mapping[str, Any]
) -> dict[str, Any]:
    """Add where the run is that goes on, and how long it was to be when it began."""
    place = saved.get("run_dir")
    if "run_dir" not in arguments and place is not None and Path(place).is_dir():
        chosen["run_dir"] = place
    length = saved["tuner"].get("total_steps")
    if "total_steps" not in arguments and length != chosen["total_steps"]:
        logger.warning(
            "gptune: the run began with %s steps, now it is to have %s; its phases stay",
            length,
            chosen["total_steps"],
        )
        chosen["total_steps"] = length
    return {**chosen, "resume": True}


def _with_scaler(training: Training) -> TrainingState | None:
    assert training.model is not None
    try:
        return TrainingState(training.model, training.optimizers, scaler=training.scaler)
    except StateError:
        return None  # the Tuner says what is the matter with it
