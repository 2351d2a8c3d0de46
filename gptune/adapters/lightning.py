"""Tune a run of Lightning while it trains: ``Trainer(callbacks=[GptuneCallback()])``.

For ``lightning`` and for ``pytorch_lightning``: the callback is one of whichever is installed.

Where things happen: the Tuner is made in ``on_train_start``, after the optimizers were restored;
a step is counted in ``on_train_batch_end``; a decision is made in ``on_validation_end``, where all
metrics are there, so that it is part of a checkpoint of the same validation. A training step runs
inside ``optimizer.step(closure)`` in Lightning, so code in it sees the rate in force there.
"""

import importlib
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from gptune.adapters.life import Life, StopWhen, Training
from gptune.adapters.normal import VALIDATION_LOSS, normalise
from gptune.adapters.pruning import find, go_on
from gptune.foreign import foreign_call
from gptune.online.tuner import Tuner
from gptune.records import Decision
from gptune.study.trial import Trial

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
MISSING = "gptune.adapters.lightning needs Lightning: pip install 'gptune-torch[lightning]'"


def callback_class() -> type:
    """Make the class that is a callback of each package that is installed.

    Raises:
        ImportError: If none is.
    """
    found = []
    for name in PACKAGES:
        try:
            found.append(importlib.import_module(name).Callback)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    if not found:
        raise ImportError(MISSING)
    return type("Callback", tuple(found), {})


if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    Callback = callback_class()


class GptuneCallback(Callback):
    """Tunes a Lightning run, guards it, and goes on with it from Lightning's own checkpoints.

    Optimizers, schedulers, module, gradient scaler and the number of steps are the trainer's. The
    objective is ``val/loss``, which is also found under names such as ``val_loss``; without
    validation data it is ``train/loss``. Nothing else in a training changes.

    Args:
        stop_when: ``(decision) -> bool``: training ends when it says so.
        **arguments: Of `gptune.Tuner`: ``recipe``, ``objective``, ``space``, ``mode``,
            ``run_dir``, ``seed`` and so on; they come before what the trainer knows. With
            ``evaluate`` the learning rate is calibrated at the start of the run.
    """

    def __init__(self, *, stop_when: StopWhen | None = None, **arguments: Any) -> None:
        super().__init__()
        self._life = Life(arguments, stop_when)
        self._global_step = 0  # at the last batch
        self._loss: Any = None  # of the batches since the last step

    @property
    def tuner(self) -> Tuner | None:
        """The Tuner; ``None`` before training has started."""
        return self._life.tuner

    @property
    def state_key(self) -> str:
        """Where the state is kept in a checkpoint; the same for both packages."""
        return "gptune.GptuneCallback"

    def state_dict(self) -> dict[str, Any]:
        """Give the Tuner's state, and where its run directory is."""
        return self._life.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the optimizers are restored, too."""
        self._life.load(state_dict)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the Tuner, over the optimizers as they were restored."""
        self._global_step, self._loss = trainer.global_step, None
        self._life.begin(_training(trainer, pl_module))

    def on_train_batch_end(  # noqa: PLR0917  Lightning's signature
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step, if this batch ended in one, whatever the number of optimizers."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            before = self._loss if pl_module.automatic_optimization else None
            # Lightning has divided it by the number of batches that a step has.
            self._loss = loss.detach() if before is None else before + loss.detach()
        step = trainer.global_step
        if step == self._global_step:
            return
        self._global_step, loss, self._loss = step, self._loss, None
        self._life.step(loss)
        tuner = self._life.at_work
        every = trainer.log_every_n_steps  # 0: never
        if tuner is not None and every and tuner.steps % every == 0:
            self._show(trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Decide; not in the sanity check, which comes before the training."""
        if not trainer.sanity_checking:
            self._decide(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Decide, where nothing is validated."""
        if not trainer.enable_validation:
            self._decide(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the Tuner: what is unjudged is put back."""
        self._life.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the Tuner; the exception goes its way."""
        self._life.end()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Close the Tuner, should nothing have done so."""
        self._life.end()

    def _decide(self, trainer: Any) -> None:
        decision = self._life.decide(trainer.callback_metrics)
        self._show(trainer, decision)
        if self._life.stops(decision):
            trainer.should_stop = True

    def _show(self, trainer: Any, decision: Decision | None = None) -> None:
        """Give the moves to the trainer's loggers, if it has any."""
        tuner = self._life.at_work
        if tuner is None or not trainer.loggers:
            return
        shown, step = self._life.shown(decision), max(tuner.steps - 1, 0)  # Lightning's count
        for one in trainer.loggers:
            foreign_call(partial(one.log_metrics, shown, step=step))


class PruningCallback(Callback):
    """Reports a trial of a study after each validation, and ends it if it is not worth going on.

    In several processes rank 0 reports, and all end: `gptune.TrialPruned` leaves ``trainer.fit``.

    Args:
        trial: The trial; other ranks need none.
        monitor: Name of the metric; ``val/loss`` is also found under names such as ``val_loss``.

    Example:
        def objective(trial):
            trainer = pl.Trainer(callbacks=[PruningCallback(trial)])
            trainer.fit(Module(trial.suggest_float("lr", 1e-4, 1e-1, log=True)), loader, held_out)
            return trainer.callback_metrics["val_loss"].item()
    """

    def __init__(self, trial: Trial | None, monitor: str = VALIDATION_LOSS) -> None:
        super().__init__()
        self._trial, self._monitor = trial, monitor

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Report; not in the sanity check, nor in a validation outside of training."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._report(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Report, where nothing is validated."""
        if not trainer.enable_validation:
            self._report(trainer)

    def _report(self, trainer: Any) -> None:
        def measured() -> float:
            return find(normalise(trainer.callback_metrics), self._monitor)

        any_of = partial(trainer.strategy.reduce_boolean_decision, all=False)
        trial = self._trial if trainer.global_rank == 0 else None
        go_on(trial, measured, trainer.global_step, any_of)


def _training(trainer: Any, module: Any) -> Training:
    """Gather what a trainer knows."""
    configs = trainer.lr_scheduler_configs
    optimizers = [_torch_optimizer(one) for one in trainer.optimizers]
    automatic = bool(module.automatic_optimization)
    steps = trainer.estimated_stepping_batches
    # By hand a batch may take several steps or none, and Lightning counts each of them.
    known = 0 < steps < float("inf") and (automatic or trainer.max_steps < 0)
    done = trainer.global_step // (1 if automatic else max(len(optimizers), 1))
    return Training(
        optimizers=optimizers,
        model=module,
        schedulers=[config.scheduler for config in configs],
        scaler=getattr(trainer.precision_plugin, "scaler", None),
        total_steps=int(steps) if known else None,
        done=done,
        validates=bool(trainer.enable_validation),
    )


def _torch_optimizer(given: Any) -> Optimizer:
    """Take Lightning's wrapper off, if there is one."""
    inner: Optimizer = given if isinstance(given, Optimizer) else given.optimizer
    return inner
