"""Tune a run of Hugging Face's Trainer: ``Trainer(callbacks=[GptuneCallback()])``.

Where things happen: the Tuner is made in ``on_train_begin``, after optimizer and scheduler were
restored; a step is counted in ``on_step_end``; a decision is made in ``on_evaluate``, which comes
before ``on_save``, so that it is part of a checkpoint of the same step; the state is
``gptune.json`` beside the Trainer's own files. The Trainer shows its callbacks no loss, so the
model's is taken.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.hooks import RemovableHandle

from gptune.adapters.accelerate import unwrap
from gptune.adapters.life import Life, StopWhen, Training, logger
from gptune.adapters.normal import VALIDATION_LOSS, normalise
from gptune.adapters.pruning import find, go_on
from gptune.errors import StateError
from gptune.foreign import foreign_call
from gptune.online.collective import is_alone
from gptune.online.tuner import Tuner
from gptune.run_directory.file_system import Disk
from gptune.study.trial import Trial

try:
    from transformers.trainer_callback import TrainerCallback
except ModuleNotFoundError as missing:
    if str(missing.name).partition(".")[0] != "transformers":
        raise
    raise ImportError(
        "gptune.adapters.huggingface needs Transformers: pip install 'gptune-torch[huggingface]'"
    ) from missing

FILE = "gptune.json"
LONGEST = 2**28  # of that file [bytes]


class GptuneCallback(TrainerCallback):
    """Tunes a Trainer's run, guards it, and goes on with it from the Trainer's own checkpoints.

    Optimizer, scheduler, model, gradient scaler and the number of steps are the Trainer's. The
    objective is ``val/loss``, which is the Trainer's ``eval_loss``; where nothing is evaluated it
    is the training loss, each time that it is logged. The moves stand in ``state.log_history``
    beside the Trainer's own numbers, as ``gptune/...``.

    Args:
        stop_when: ``(decision) -> bool``: training ends when it says so.
        resume_from: The checkpoint that training resumes from, if it lies elsewhere than in
            ``output_dir`` and ``args.resume_from_checkpoint`` does not name it.
        **arguments: Of `gptune.Tuner`: ``recipe``, ``objective``, ``space``, ``mode``,
            ``run_dir``, ``seed`` and so on; they come before what the Trainer knows. With
            ``evaluate`` the learning rate is calibrated at the start of the run.
    """

    def __init__(
        self,
        *,
        stop_when: StopWhen | None = None,
        resume_from: str | Path | None = None,
        **arguments: Any,
    ) -> None:
        self._life, self._from = Life(arguments, stop_when), resume_from
        self._losses = Losses()
        self._logs: dict[str, Any] = {}  # the Trainer's own, since the last decision
        self._metrics: dict[str, Any] = {}  # of evaluations that were no decision yet
        self._evaluates, self._stepped = True, False

    @property
    def tuner(self) -> Tuner | None:
        """The Tuner; ``None`` before training has started."""
        return self._life.tuner

    def close(self) -> None:
        """Close the Tuner: call it if an exception ended training, for the Trainer does not say."""
        self._losses.forget()
        self._life.end()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the Tuner, over the optimizer as it was restored."""
        self.close()
        self._evaluates = args.eval_strategy != "no"
        self._logs, self._metrics, self._stepped = {}, {}, False
        if state.global_step > 0:
            self._read(args, state)
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        scheduler = unwrap(kwargs.get("lr_scheduler"))
        self._life.begin(
            Training(
                optimizers=[unwrap(optimizer)],
                model=model,
                schedulers=[] if scheduler is None else [scheduler],
                scaler=getattr(optimizer, "scaler", None),
                total_steps=state.max_steps if state.max_steps > 0 else None,
                done=state.global_step,
                validates=self._evaluates,
            )
        )
        if self._life.at_work is not None and not args.torch_compile and args.n_gpu <= 1:
            self._losses.watch(model)  # a compiled model may break its graph at the hook

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count an optimizer step."""
        if self._metrics:  # the objective was in none of the evaluations: the Tuner says so
            self._decide(state, control)
        self._stepped = True
        self._life.step(self._losses.take())
        self._before_save(args, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End a trial if the Trainer is about to save."""
        self._before_save(args, control)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep what was logged; without evaluations, a training loss is a decision."""
        logs: dict[str, Any] = kwargs.get("logs") or {}
        self._logs |= {name: value for name, value in logs.items() if not name.startswith("eval_")}
        if not self._evaluates and "loss" in logs:
            self._decide(state, control)
        elif state.log_history:
            state.log_history[-1].update(self._life.shown())

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decide, when the objective is there: of several evaluations it may be in one alone."""
        tuner = self._life.at_work
        if tuner is None or not self._stepped:  # before the first step there is nothing to judge
            return
        self._metrics |= kwargs.get("metrics") or {}
        if tuner.recipe.objective.primary in normalise({**self._logs, **self._metrics}):
            self._decide(state, control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the state beside the Trainer's own, whole or not at all."""
        place = _place(args, state)
        if not state.is_world_process_zero or self._life.at_work is None:
            return
        data = json.dumps(self._life.state()).encode()
        done = foreign_call(lambda: Disk().replace(place / FILE, data, durable=True))
        if done.error is not None:
            logger.warning("gptune: has no state in this checkpoint (%s)", done.message)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the Tuner: what is unjudged is put back."""
        self.close()

    def _before_save(self, args: Any, control: Any) -> None:
        """Let it save the run's own weights: it saves them before it calls ``on_save``."""
        if control.should_save or (control.should_evaluate and args.save_strategy == "best"):
            self._life.before_save()

    def _decide(self, state: Any, control: Any) -> None:
        decision = self._life.decide({**self._logs, **self._metrics})
        self._logs, self._metrics, self._stepped = {}, {}, False
        if state.log_history:
            state.log_history[-1].update(self._life.shown(decision))
        if self._life.stops(decision):
            control.should_training_stop = True

    def _read(self, args: Any, state: Any) -> None:
        """Read the state from the checkpoint that training resumes from.

        Raises:
            StateError: If it is there, but no state of gptune's.
        """
        named = self._from or args.resume_from_checkpoint
        place = Path(named) if isinstance(named, str | Path) else _place(args, state)
        if not (place / FILE).is_file():
            logger.warning(
                "gptune: no %s in %s, so tuning begins anew; name the checkpoint that training "
                "resumes from with GptuneCallback(resume_from=...)",
                FILE,
                place,
            )
            return
        try:
            read = json.loads(Disk().read(place / FILE, LONGEST))
        except (OSError, ValueError) as error:
            raise StateError(
                f"{str(place / FILE)!r}: cannot be read ({error}); resume from another checkpoint, "
                "or remove the file to begin tuning anew"
            ) from error
        self._life.load(read if isinstance(read, dict) else {"version": None})


class PruningCallback(TrainerCallback):
    """Reports a trial of a study at each evaluation, and ends it if it is not worth going on.

    In several processes rank 0 reports, and all end: `gptune.TrialPruned` leaves ``train()``.

    Args:
        trial: The trial; other ranks need none.
        monitor: Name of the metric; ``val/loss`` is the Trainer's ``eval_loss``.

    Example::

        def objective(trial):
            rate = trial.suggest_float("lr", 1e-5, 1e-3, log=True)
            trainer = Trainer(
                model, TrainingArguments("out", learning_rate=rate, eval_strategy="epoch"),
                train_dataset=rows, eval_dataset=held_out, callbacks=[PruningCallback(trial)],
            )
            trainer.train()
            return trainer.evaluate()["eval_loss"]
    """

    def __init__(self, trial: Trial | None, monitor: str = VALIDATION_LOSS) -> None:
        self._trial, self._monitor = trial, monitor

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report, while it trains: an evaluation after the end is no reason to end."""
        if state.global_step < state.max_steps:

            def measured() -> float:
                return find(normalise(kwargs.get("metrics") or {}), self._monitor)

            trial = self._trial if args.process_index == 0 else None
            go_on(trial, measured, state.global_step, partial(_on_any, args))


def _on_any(args: Any, mine: bool) -> bool:  # noqa: FBT001  a vote
    """Say whether something holds on any of the Trainer's processes."""
    if is_alone():
        return mine
    said = torch.tensor([float(mine)], device=args.device)
    distributed.all_reduce(said, op=distributed.ReduceOp.MAX)
    return bool(said.item())


class Losses:
    """The losses of the batches of a step, as the model gives them; no device waits for them."""

    def __init__(self) -> None:
        self._hook: RemovableHandle | None = None
        self._found: list[Tensor] = []
        self._shares = False  # whether each is a part of the step's mean already

    def watch(self, model: Any) -> None:
        """Watch a model's training passes."""
        self._hook = model.register_forward_hook(self._see, with_kwargs=True)

    def forget(self) -> None:
        """Watch no more."""
        if self._hook is not None:
            self._hook.remove()
        self._hook, self._found = None, []

    def take(self) -> Tensor | None:
        """Give the loss of the step that has ended; ``None`` if the model gave none."""
        found, self._found = self._found, []
        if len(found) < 2:
            return found[0] if found else None
        total = sum(found[1:], start=found[0])
        return total if self._shares else total / len(found)

    def _see(self, model: Any, _: Any, kwargs: dict[str, Any], output: Any) -> None:
        loss = output.get("loss") if isinstance(output, dict) else None
        if model.training and isinstance(loss, Tensor):
            self._shares = kwargs.get("num_items_in_batch") is not None
            self._found.append(loss.detach())


def _place(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
