"""What a snapshot of the training state costs, beside a plain copy of as many bytes."""

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import AdamW

from examples.benchmarks.overhead.clock import Effort, paired_ratio, take_turns
from gptune.actuators.training_state import MB, TrainingState

WIDTH, LAYERS = 256, 6  # of the transformer whose state is copied


@dataclass(frozen=True, slots=True)
class Copying:
    """Times of a snapshot, as ratios to a plain copy of its bytes."""

    save: float
    restore: float
    first: float
    megabytes: float


def measure_snapshot(effort: Effort, seed: int) -> Copying:
    """Time saving and restoring model and optimizer of a small transformer after a step.

    Model and AdamW's state are copied into a snapshot that is there already, as the ring does
    after its first turn, beside one copy of a single tensor of as many bytes, also into room that
    is there. The first snapshot makes its room, as a clone does; it is measured beside a clone.
    """
    state = make_state(seed)
    state.save("last")
    source = torch.ones(state.nbytes, dtype=torch.uint8)
    target = torch.zeros_like(source)
    often = replace(effort, repeats=effort.copies, calls=1)
    save = paired_ratio(*take_turns(lambda: target.copy_(source), state.save, often))
    restore = paired_ratio(*take_turns(lambda: target.copy_(source), state.restore, often))

    def first() -> None:
        state.forget()
        state.save("last")

    return Copying(
        save=save,
        restore=restore,
        first=paired_ratio(*take_turns(source.clone, first, often)),
        megabytes=state.nbytes / MB,
    )


def make_state(seed: int) -> TrainingState:
    """Give the training state of a transformer that has made a step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, batch_first=True)
        model = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        optimizer = AdamW(model.parameters(), lr=1e-4)
        loss: torch.Tensor = model(torch.randn(2, 4, WIDTH)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return TrainingState(model, optimizer)
