"""Tune a loop of Accelerate's: ``tuner = attach(accelerator, optimizer, model=model)``.

The loop stays as it is. Call ``tuner.step(loss)`` after each optimizer step, which with
accumulation means: where ``accelerator.sync_gradients`` is true; and ``tuner.report`` where you
evaluate. ``accelerator.save_state`` saves the Tuner too, and ``load_state`` loads it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from gptune.actuators import TrainingState
from gptune.online.tuner import Tuner

try:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from accelerate.scheduler import AcceleratedScheduler
except ModuleNotFoundError as missing:
    if str(missing.name).partition(".")[0] != "accelerate":
        raise
    raise ImportError(
        "gptune.adapters.accelerate needs Accelerate: pip install 'gptune-torch[huggingface]'"
    ) from missing


def attach(
    accelerator: Accelerator,
    optimizer: Optimizer | Iterable[Any] | Mapping[str, Optimizer],
    **arguments: Any,
) -> Tuner:
    """Make a Tuner for what ``accelerator.prepare`` gave, and let checkpoints hold its state.

    Call it after ``prepare``. To go on after a crash, make it with the same ``run_dir`` and
    ``resume=True``, and call ``accelerator.load_state`` before the first step.

    Args:
        accelerator: The accelerator of the loop.
        optimizer: What ``prepare`` gave, a torch optimizer, or several, as for `gptune.Tuner`.
        **arguments: Of `gptune.Tuner`; a scheduler and a model may be those that ``prepare`` gave.

    Returns:
        The Tuner; close it when training is over.

    Raises:
        GptuneError: If an argument is wrong.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1)
        >>> accelerator = Accelerator(cpu=True)
        >>> optimizer = accelerator.prepare(torch.optim.SGD(model.parameters(), lr=0.1))
        >>> tuner = attach(accelerator, optimizer, model=model, mode="off")
        >>> tuner.actuators[0].optimizer is optimizer.optimizer
        True
    """
    given = {name: unwrap(value) for name, value in arguments.items()}
    inner: Any = unwrap(optimizer)
    if isinstance(inner, Mapping):
        inner = {name: unwrap(one) for name, one in inner.items()}
    scaler, model = accelerator.scaler, given.get("model")
    if model is not None:
        given["model"] = model = accelerator.unwrap_model(model)
    optimizers = [one for one in _listed(inner) if isinstance(one, Optimizer)]
    if isinstance(scaler, GradScaler) and model is not None and optimizers:
        state = TrainingState(model, optimizers, scaler=scaler)
        given.setdefault("training_state", state)
    tuner = Tuner(inner, **given)
    accelerator.register_for_checkpointing(tuner)
    accelerator.register_save_state_pre_hook(lambda *_: tuner.before_save())
    return tuner


def unwrap(given: Any) -> Any:
    """Take Accelerate's wrappers off optimizers and schedulers, also of several; others stay."""
    match given:
        case AcceleratedOptimizer():
            return given.optimizer
        case AcceleratedScheduler():
            return given.scheduler
        case list() | tuple():
            return [unwrap(one) for one in given]
    return given


def _listed(given: Any) -> list[Any]:
    if isinstance(given, Mapping):
        return list(given.values())
    return list(given) if isinstance(given, list) else [given]
