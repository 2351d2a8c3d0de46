"""What a module holds beside its parameters: buffers, persistent or not, and extra state."""

from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from gptune.errors import StateError


def module_state(module: nn.Module) -> dict[str, Any]:
    """Give a module's buffers by owner, persistent or not, and extra state."""
    owners = dict(module.named_modules())
    return {
        "buffers": {name: dict(owner._buffers) for name, owner in owners.items()},
        "extra": {
            name: owner.get_extra_state()
            for name, owner in owners.items()
            if type(owner).get_extra_state is not nn.Module.get_extra_state
        },
    }


def put_module_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Put back what did not go back in place: buffers that were replaced, and extra state."""
    owners = dict(module.named_modules())
    for name, buffers in state["buffers"].items():
        live = owners[name]._buffers
        for key in [key for key in live if key not in buffers]:
            del live[key]
        live.update(buffers)
    for name, extra in state["extra"].items():
        owners[name].set_extra_state(extra)


def check_initialised(module: nn.Module) -> None:
    """Check that a module's tensors are there: lazy ones get their shape when it is first run.

    Raises:
        StateError: Naming those that are not.
    """
    tensors = (*module.named_parameters(), *module.named_buffers())
    lazy = [name for name, tensor in tensors if is_lazy(tensor)]
    if lazy:
        raise StateError(f"save: {lazy[:5]} have no shape yet; run the model once before")
