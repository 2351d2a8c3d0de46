"""What a snapshot of the training state costs, beside a plain copy of as many bytes."""

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import AdamW

from examples.benchmarks.overhead.clock import Effort, paired_ratio, take_turns
from gptune.actuators.training_state import MB, TrainingState

LARGE, SMALL = 512, 32  # widths of the transformers whose states are copied: 19 and 0.08 million
LAYERS = 6  # parameters, in 72 tensors


@dataclass(frozen=True, slots=True)
class Copying:
    """Times of a snapshot, as ratios to a plain copy of its bytes."""

    save: float
    restore: float
    first: float
    small: float  # a snapshot of the small one
    megabytes: float


def measure_snapshot(effort: Effort, seed: int) -> Copying:
    """Time saving and restoring model and optimizer of a transformer after a step.

    Model and AdamW's state are copied into a snapshot that is there already, as the ring does
    after its first turn, beside one copy of a single tensor of as many bytes, also into room that
    is there. The first snapshot makes its room, as a clone does; it is measured beside a clone.
    """
    state, often = make_state(seed, LARGE), replace(effort, repeats=effort.copies, calls=1)
    source = torch.ones(state.nbytes, dtype=torch.uint8)
    target = torch.zeros_like(source)

    def first() -> None:
        state.forget()
        state.save("last")

    anew = paired_ratio(*take_turns(source.clone, first, often))
    restore = paired_ratio(*take_turns(lambda: target.copy_(source), state.restore, often))
    return Copying(
        save=_saving_over_copying(state, often),
        restore=restore,
        first=anew,
        small=_saving_over_copying(make_state(seed, SMALL), often),
        megabytes=state.nbytes / MB,
    )


def _saving_over_copying(state: TrainingState, often: Effort) -> float:
    source = torch.ones(state.nbytes, dtype=torch.uint8)
    target = torch.zeros_like(source)
    return paired_ratio(*take_turns(lambda: target.copy_(source), state.save, often))


def make_state(seed: int, width: int) -> TrainingState:
    """Give the training state of a transformer that has made a step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.TransformerEncoderLayer(width, 8, 4 * width, batch_first=True)
        model = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        optimizer = AdamW(model.parameters(), lr=1e-4)
        loss: torch.Tensor = model(torch.randn(2, 4, width)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return TrainingState(model, optimizer)
