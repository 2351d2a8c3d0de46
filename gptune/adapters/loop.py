"""A reference training loop: what a plain loop with gptune looks like, ready to be called."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from gptune.actuators import TrainingState
from gptune.adapters.checkpoint_file import read_checkpoint, write_checkpoint
from gptune.adapters.pairs import moved, pair, size
from gptune.adapters.processes import Crew, bare
from gptune.adapters.progress import progress_bar, show
from gptune.adapters.pruning import go_on
from gptune.adapters.sinks import Sink, check_sinks, numbers_of, write_all
from gptune.errors import UsageError
from gptune.online.gloo import find_ranks
from gptune.online.tuner import Tuner
from gptune.records import Decision
from gptune.study.trial import Trial

LossFn = Callable[[Any, Any], Tensor]
Precision = Literal["bf16", "fp16"]
PRECISIONS: dict[str | None, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
EVALUATIONS = 100  # of a run, by default; at least one an epoch
TRAIN, VALIDATION = "train/loss", "val/loss"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was known at one evaluation.

    Attributes:
        epoch: Counted from 1.
        step: Optimizer steps so far [steps].
        train_loss: Mean training loss since the evaluation before.
        val_loss: Mean loss on the validation data; ``None`` without any.
        seconds: Since the beginning, of this process [s].
    """

    epoch: int
    step: int
    train_loss: float
    val_loss: float | None
    seconds: float

    def __str__(self) -> str:
        value = "" if self.val_loss is None else f"  validation {self.val_loss:.4g}"
        return f"epoch {self.epoch}  training {self.train_loss:.4g}{value}"


@dataclass(frozen=True, slots=True)
class Fit:
    """What `fit` gives back.

    Attributes:
        history: Every evaluation, those before a resume included.
        tuner: The Tuner at work; ``None`` without one. One that `fit` made is closed.
    """

    history: tuple[Evaluation, ...]
    tuner: Tuner | None


@dataclass(slots=True)
class _Run:
    """What a run needs, and what it has done."""

    model: nn.Module
    optimizer: Optimizer
    loss_fn: LossFn
    scheduler: Any
    scaler: GradScaler
    device: torch.device
    precision: Precision | None
    clip_norm: float | None
    sinks: tuple[Sink, ...]
    crew: Crew
    trial: Trial | None
    is_trial: bool  # on any rank
    history: list[Evaluation] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    epoch: int = 0  # epochs that are over
    step: int = 0

    def loss(self, batch: Any, model: nn.Module | None = None) -> Tensor:
        """Compute the loss of one batch."""
        inputs, targets = (moved(one, self.device) for one in pair(batch))
        with self._autocast():
            return self.loss_fn((model or self.model)(inputs), targets)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.precision])

    def update(self) -> None:
        """Step the optimizer and the scheduler with the gradients that were accumulated."""
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.scheduler is not None:
            self.scheduler.step()
        self.step += 1

    def validate(self, loader: Iterable[Any]) -> float:
        """Give the mean loss over validation data, batches weighted by their size.

        However often it is called, training draws the same random numbers.
        """
        was_training, total, count = self.model.training, 0.0, 0
        alone = bare(self.model)  # other processes may have fewer batches
        self.model.eval()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            for batch in loader:
                rows = size(batch)
                total, count = total + float(self.loss(batch, alone)) * rows, count + rows
        self.model.train(was_training)
        return total / count if count else math.nan

    def state(self, tuner: Tuner | None) -> dict[str, Any]:
        """Give all that is needed to go on at the beginning of the next epoch."""
        if tuner is not None:
            tuner.before_save()  # else the first parts could be those of a trial
        return {
            "model": bare(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "chance": self.crew.gather_chance(),
            "history": [asdict(one) for one in self.history],
            "tuner": tuner.state_dict() if tuner is not None else None,
            "run_dir": str(tuner.run_dir) if tuner is not None and tuner.run_dir else None,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was made."""
        bare(self.model).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.history = [Evaluation(**one) for one in state["history"]]
        self.crew.set_chance(state["chance"])


def fit(  # noqa: PLR0917  model, optimizer, loss, data: the order everybody knows
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: LossFn,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any] | None = None,
    *,
    epochs: int,
    tuner: bool | Tuner | Mapping[str, Any] = True,
    scheduler: Any | None = None,
    evaluate_every: int | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    precision: Precision | None = None,
    device: torch.device | str | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
    sinks: Iterable[Sink] = (),
    trial: Trial | None = None,
) -> Fit:
    """Train a model, tuned while it trains.

    Call it in each of several processes with a model that is wrapped for DDP, and it is trained by
    all of them; `history` is each one's own (the past of a resumed run is rank 0's), sinks and
    progress are rank 0's.

    An ordinary loop: forward, backward, clip, step, schedule, evaluate. Copy it where you need
    more; with ``tuner=False`` it is the same loop without gptune.

    Args:
        model: The model.
        optimizer: A torch optimizer of its parameters.
        loss_fn: ``(outputs, targets) -> loss``, a mean over the batch.
        train_loader: Gives batches ``(inputs, targets)``, each of shape ``(n, ...)``, anew in each
            epoch; it must have a length.
        val_loader: The same of validation data; without any the training loss is the objective.
        epochs: Passes over the training data [epochs].
        tuner: ``True`` makes a `Tuner`; a mapping gives arguments for it, such as ``recipe``,
            ``mode`` or ``run_dir``; a `Tuner` of yours is used, and left open; ``False`` tunes
            nothing.
        scheduler: A learning-rate scheduler, stepped once an optimizer step.
        evaluate_every: Optimizer steps between two evaluations [steps]; by default about a hundred
            of them a run, and at least one an epoch.
        accumulate: Batches whose gradients make one optimizer step [batches].
        clip_norm: Norm to which gradients are clipped.
        precision: ``bf16`` or ``fp16`` (with a gradient scaler) under autocast; float32 by default.
        device: Where to train; by default where the model is.
        checkpoint: File that is written, whole or not at all, after every epoch; by rank 0 alone,
            where several processes train one model, each of which must see it to resume.
        resume: Go on from ``checkpoint`` if it is there. The result is that of an uninterrupted
            run, if the loader draws its order from a global generator: torch's, NumPy's, Python's.
        progress: Show a bar; by default if somebody watches.
        sinks: Where ``train/loss``, ``val/loss`` and gptune's moves are shown, such as
            ``[Csv("metrics.csv")]``; see `gptune.adapters.sinks`.
        trial: A trial of a study: it is reported after each evaluation, the loss on the validation
            data or else the training loss, and ended if it is not worth going on.

    Returns:
        The evaluations, and the Tuner.

    Raises:
        UsageError: Naming the argument that is wrong.
        TrialPruned: If the trial is to end.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> x = torch.randn(64, 3); data = TensorDataset(x, x.sum(1, keepdim=True))
        >>> model = nn.Linear(3, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> done = fit(model, optimizer, nn.functional.mse_loss, DataLoader(data, 16), epochs=3,
        ...            tuner=False)
        >>> done.history[-1].step
        12
    """
    per_epoch = _check(train_loader, epochs, accumulate, (evaluate_every, precision))
    total = per_epoch * epochs
    every = evaluate_every or max(1, min(per_epoch, total // EVALUATIONS))
    place = torch.device(device) if device is not None else next(model.parameters()).device
    model.to(place)
    scaler = GradScaler(place.type, enabled=precision == "fp16")
    crew, listed = Crew(find_ranks()), check_sinks(sinks)
    shown = listed if crew.is_first else ()
    is_trial = crew.holds_on_any(trial is not None)
    run = _Run(
        *(model, optimizer, loss_fn, scheduler, scaler, place, precision, clip_norm, shown),
        *(crew, trial, is_trial),
    )
    file = Path(checkpoint) if checkpoint is not None else None
    saved = crew.read_alike(lambda: read_checkpoint(file)) if resume else None
    with contextlib.ExitStack() as stack:
        made = _make_tuner(run, val_loader, given=tuner, total=total, saved=saved)
        if made is not None and made is not tuner:
            stack.enter_context(made)
        if saved is not None:
            run.load(saved)
            if made is not None and saved["tuner"] is not None:
                made.load_state_dict(saved["tuner"])
        shows = progress if crew.is_first else False
        bar = stack.enter_context(progress_bar(total, wanted=shows))
        _train(run, made, (train_loader, val_loader), (epochs, every, accumulate, file, bar))
    return Fit(tuple(run.history), made)


def _train(
    run: _Run,
    tuner: Tuner | None,
    loaders: tuple[Iterable[Any], Iterable[Any] | None],
    plan: tuple[int, int, int, Path | None, Progress],
) -> None:
    train_loader, val_loader = loaders
    epochs, every, accumulate, file, bar = plan
    begin = time.monotonic()
    run.model.train()
    for epoch in range(run.epoch + 1, epochs + 1):
        batches = train_loader if tuner is None else tuner.batches(train_loader)
        for loss in _steps(run, batches, accumulate):
            if tuner is not None:
                tuner.step(loss)
            run.losses.append(loss)
            if run.step % every == 0 or _is_last(run, train_loader, accumulate):
                value = None if val_loader is None else run.validate(val_loader)
                mean = float(torch.stack(run.losses).mean())
                run.losses.clear()
                seconds = time.monotonic() - begin
                run.history.append(Evaluation(epoch, run.step, mean, value, seconds))
                decision = _report(run, tuner, mean, value)
                verdict = "" if decision is None else f"  {decision.verdict.value}"
                show(bar, run.step, f"{run.history[-1]}{verdict}")
                _end_early(run, mean if value is None else value)
        run.epoch = epoch
        if file is not None:
            state = run.state(tuner)  # what is in it of the others, they give now
            if run.crew.is_first:
                write_checkpoint(file, state)


def _steps(run: _Run, batches: Iterable[Any], accumulate: int) -> Iterator[Tensor]:
    """Take an optimizer step every so many batches; yields the mean loss of each."""
    losses: list[Tensor] = []
    for batch in batches:
        loss = run.loss(batch)
        run.scaler.scale(loss / accumulate).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        if len(losses) == accumulate:
            run.update()
            yield torch.stack(losses).mean()
            losses = []
    if losses:  # what is left of an epoch makes a smaller step
        run.update()
        yield torch.stack(losses).mean()


def _is_last(run: _Run, loader: Iterable[Any], accumulate: int) -> bool:
    return run.step % _steps_of(loader, accumulate) == 0


def _report(
    run: _Run, tuner: Tuner | None, train: float, validation: float | None
) -> Decision | None:
    metrics = {TRAIN: train, **({} if validation is None else {VALIDATION: validation})}
    decision = None if tuner is None else tuner.report(metrics)
    if run.sinks:
        moves = {} if tuner is None else numbers_of(tuner, decision)
        write_all(run.sinks, run.step, {**metrics, **moves})
    return decision


def _end_early(run: _Run, value: float) -> None:
    """Report the trial, if this is one; on rank 0, and all end it.

    Raises:
        TrialPruned: If it is to end.
    """
    if run.is_trial:
        trial = run.trial if run.crew.is_first else None
        go_on(trial, lambda: value, run.step, run.crew.holds_on_any)


def _make_tuner(
    run: _Run,
    val_loader: Iterable[Any] | None,
    *,
    given: bool | Tuner | Mapping[str, Any],
    total: int,
    saved: Mapping[str, Any] | None,
) -> Tuner | None:
    """Make the Tuner that was asked for; on a resume, over the run directory that it had."""
    if isinstance(given, Tuner):
        return given
    if given is False:
        return None
    chosen: dict[str, Any] = {} if given is True else dict(given)
    if val_loader is not None:
        chosen.setdefault("evaluate", lambda: run.validate(val_loader))
    elif "recipe" not in chosen:
        chosen.setdefault("objective", TRAIN)
    if run.scaler.is_enabled():
        state = TrainingState(run.model, run.optimizer, scaler=run.scaler)
        chosen.setdefault("training_state", state)
    if saved is not None and saved["run_dir"] is not None:
        chosen = {"run_dir": saved["run_dir"], **chosen, "resume": True}
    defaults = {"model": run.model, "scheduler": run.scheduler, "total_steps": total}
    return Tuner(run.optimizer, **{**defaults, **chosen})


def _check(
    loader: Iterable[Any], epochs: int, accumulate: int, chosen: tuple[int | None, str | None]
) -> int:
    """Check what can be checked before anything is done; gives the steps of an epoch.

    Raises:
        UsageError: Naming the argument.
    """
    every, precision = chosen
    counts = {"epochs": epochs, "accumulate": accumulate, "evaluate_every": every or 1}
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UsageError(f"fit: {name} must be a whole number >= 1, got {count!r}")
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(f"fit: precision must be 'bf16', 'fp16' or None, got {precision!r}")
    if not isinstance(loader, Sized) or isinstance(loader, Iterator):
        raise UsageError(
            "fit: train_loader must have a length and begin anew in each epoch, got "
            f"{type(loader).__name__}; pass a DataLoader, or write a loop of your own around Tuner"
        )
    if len(loader) == 0:
        raise UsageError("fit: train_loader is empty; it must give at least one batch")
    return _steps_of(loader, accumulate)


def _steps_of(loader: Iterable[Any], accumulate: int) -> int:
    return math.ceil(len(loader) / accumulate)  # type: ignore[arg-type]
