"""What the hooks cost where the optimizer's step is compiled, and what they add to its graphs."""

import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from examples.benchmarks.overhead.clock import US, Effort, paired_difference, take_turns
from examples.benchmarks.overhead.measures import make_optimizer, open_segment
from gptune import optimizer_actuators
from gptune.actuators import LiveActuator

MULTIPLIERS = 120


@contextmanager
def fresh_compiler() -> Iterator[None]:
    """Forget all that was compiled, before and after; torch warns of its own tracing."""
    torch._dynamo.reset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch._dynamo.reset()


def measure_compiled(directory: Path, effort: Effort, seed: int) -> tuple[float, float]:
    """Time what three knobs in force add to a compiled step, and that step alone [us].

    The one without gptune uses the same values, written by hand, so that both run the same graph.
    """
    with fresh_compiler():
        bare = make_optimizer(seed)
        tuner, tuned = open_segment(directory / "compiled", seed)
        with tuner:
            for knob, move in tuner.values.items():
                for group in bare.param_groups:
                    group[knob.partition(".")[2]] *= move
            one, other = (torch.compile(o.step, backend=effort.backend) for o in (bare, tuned))
            without, with_it = take_turns(one, other, effort)
    return paired_difference(without, with_it) * US, statistics.median(without) * US


def count_extra_graphs() -> float:
    """Count what 120 steps of 120 multipliers add to the graphs of a compiled step.

    The worse of a rate that is a number and one that is a tensor, under a schedule.
    """
    extra = []
    for rate in (1e-3, torch.tensor(1e-3)):
        plain, tuned = (_count_graphs(rate, tuned=tuned) for tuned in (False, True))
        extra.append(tuned - plain)
    return float(max(extra))


def _count_graphs(rate: float | Tensor, *, tuned: bool) -> int:
    graphs: list[GraphModule] = []

    def backend(graph: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    start = rate.clone() if isinstance(rate, Tensor) else rate
    optimizer = AdamW([_parameter() for _ in range(4)], lr=start)
    (knob, *_) = optimizer_actuators(optimizer)
    assert isinstance(knob, LiveActuator)
    with fresh_compiler():
        schedule = LambdaLR(optimizer, lambda step: 1.0 / (1.0 + 0.01 * step))
        step = torch.compile(optimizer.step, backend=backend)
        if tuned:
            knob.attach()
        for number in range(MULTIPLIERS):
            if tuned:
                knob.apply(1.0 + 0.001 * (1 + number))
            step()
            schedule.step()
        if tuned and knob.fired() != MULTIPLIERS:
            raise RuntimeError(f"the hooks saw {knob.fired()} of {MULTIPLIERS} compiled steps")
        knob.detach()
    return len(graphs)


def _parameter() -> nn.Parameter:
    parameter = nn.Parameter(torch.ones(8, 8))
    parameter.grad = torch.full((8, 8), 0.1)
    return parameter
