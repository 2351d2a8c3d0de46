"""What a training state is made of: each part checked, and refused by name.

Every function raises a `StateError` that names the part.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from gptune.actuators.protocol import Actuator
from gptune.errors import StateError

REFUSALS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@runtime_checkable
class Stateful(Protocol):
    """What can be saved and put back: an averaged model, a loss with memory, a scheduler."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state."""
        ...

    def load_state_dict(self, state_dict: Any) -> object:
        """Put a state back."""
        ...


@contextmanager
def named(part: str) -> Iterator[None]:
    """Name the part that refuses its state, whatever it itself says of it."""
    try:
        yield
    except REFUSALS as error:
        raise StateError(
            f"load_state_dict: {part} refuses its state, {type(error).__name__}: {error}; "
            "make this TrainingState as that one was made"
        ) from error


def checked_knobs(knobs: object) -> list[Actuator]:
    """Check that all are actuators."""
    several = list(knobs) if isinstance(knobs, Iterable) else [knobs]
    actuators = [knob for knob in several if isinstance(knob, Actuator)]
    if len(actuators) < len(several):
        raise StateError(f"knobs: must be actuators, as Tuner.actuators gives them, got {knobs!r}")
    return actuators


def checked_model(model: object) -> nn.Module:
    """Check that it is a module whose state can be copied."""
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        kind = type(model).__name__
        raise StateError(f"model: must be a torch.nn.Module, not scripted, got {kind}")
    return model


def checked_optimizers(given: object) -> list[Optimizer]:
    """List the optimizers: one, or several."""
    several = list(given) if isinstance(given, list | tuple) else [given]
    optimizers = [one for one in several if isinstance(one, Optimizer)]
    if not optimizers or len(optimizers) < len(several):
        raise StateError(f"optimizers: must be one torch optimizer, or a list, got {given!r}")
    return optimizers


def checked_schedulers(given: object) -> dict[str, Stateful]:
    """Name the schedulers: ``scheduler``, or ``scheduler.0`` and so on."""
    several = given if isinstance(given, list | tuple) else None
    named = {f"scheduler.{i}": one for i, one in enumerate(several or ())}
    named = named if several is not None or given is None else {"scheduler": given}
    for name, one in named.items():
        _check_stateful(name, one)
    return {name: one for name, one in named.items() if isinstance(one, Stateful)}


def checked_scaler(scaler: object) -> GradScaler | None:
    """Check the gradient scaler; one that is switched off has no state."""
    if scaler is not None and not isinstance(scaler, GradScaler):
        raise StateError(f"scaler: must be a GradScaler, got {type(scaler).__name__}")
    return scaler if scaler is not None and scaler.is_enabled() else None


def checked_extras(extras: object) -> dict[str, Stateful]:
    """Check that every extra has a name and a state."""
    if not isinstance(extras, Mapping | None):
        raise StateError(f"extras: must map names to objects, got {type(extras).__name__}")
    named = dict(extras or {})
    for name, extra in named.items():
        if not isinstance(name, str) or not name:
            raise StateError(f"extras: must be named by a string, got {name!r}")
        _check_stateful(f"extras.{name}", extra)
    return named


def _check_stateful(name: str, part: object) -> None:
    if not isinstance(part, Stateful):
        raise StateError(
            f"{name}: must have state_dict and load_state_dict, got {type(part).__name__}"
        )


def checked_budget(budget: object) -> float | None:
    """Check the budget."""
    is_number = isinstance(budget, int | float) and not isinstance(budget, bool)
    if budget is not None and not (is_number and 0 < budget < float("inf")):  # type: ignore[operator]
        raise StateError(f"budget_mb: must be positive [10^6 bytes], got {budget!r}")
    return budget  # type: ignore[return-value]
