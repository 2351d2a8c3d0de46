"""Buffers go where they were, and whatever was not there goes."""

import pytest
import torch
from torch import nn

from gptune.actuators import copies
from gptune.actuators.module_state import check_initialised, module_state, put_module_state
from gptune.errors import StateError


class Cache(nn.Module):
    """Buffers of every sort: kept, not kept, empty."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.register_buffer("empty", None)
        self.inner = nn.BatchNorm1d(2)


def test_every_buffer_is_listed_by_its_owner_and_no_parameter() -> None:
    state = module_state(Cache())
    assert state["buffers"][""].keys() == {"kept", "passing", "empty"}
    assert state["buffers"]["inner"].keys() == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert state["extra"] == {}


def test_what_was_empty_is_empty_again_and_what_came_later_is_gone() -> None:
    module = Cache()
    saved = copies.take(module_state(module))
    module.empty = torch.ones(3)
    module.register_buffer("later", torch.ones(1))
    module.kept = torch.full((2,), 7.0)
    put_module_state(module, copies.put(saved, module_state(module), only_home=True))
    assert module.empty is None
    assert "later" not in dict(module.named_buffers())
    assert torch.equal(module.get_buffer("kept"), torch.zeros(2))


def test_a_module_without_shapes_is_refused_by_name() -> None:
    check_initialised(Cache())
    with pytest.raises(StateError, match=r"'weight'.*run the model once"):
        check_initialised(nn.LazyLinear(2))
