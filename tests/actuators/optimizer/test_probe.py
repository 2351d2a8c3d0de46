"""The cosine between a gradient and the update before it, seen from inside of a step."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from gptune.actuators import OptimizerKnob, optimizer_actuators
from gptune.actuators.optimizer.probe import StepProbe


def watched(optimizer: Any) -> StepProbe:
    probe = StepProbe(optimizer, lambda: None, lambda: probe.compare())
    probe.attach()
    return probe


def bowl(rate: float, steps: int) -> list[float | None]:
    """Cosines of plain descent into a round bowl, whose gradient is the place itself."""
    place = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = SGD([place], lr=rate)
    probe, seen = watched(optimizer), list[float | None]()
    for _ in range(steps):
        optimizer.zero_grad()
        (place.square().sum() / 2).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen.append(probe.alignment)
    return seen


@given(st.floats(0.01, 0.9))
def test_below_the_width_of_the_valley_a_gradient_points_against_the_update(rate: float) -> None:
    first, *others = bowl(rate, 4)
    assert first is None
    assert all(one == pytest.approx(-1.0, abs=1e-5) for one in others)


@given(st.floats(1.1, 1.9))
def test_beyond_it_points_along(rate: float) -> None:
    assert bowl(rate, 3)[-1] == pytest.approx(1.0, abs=1e-5)


@given(st.floats(1e-3, 1e3))
def test_no_scale_of_the_gradient_changes_it(scale: float) -> None:
    def cosines(factor: float) -> list[float]:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
        probe, seen = watched(optimizer), list[float]()
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.randn(8, 4)).square().mean().backward()
            gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.grad.mul_(factor)
            optimizer.register_step_pre_hook(_unscale(model, gradients))
            optimizer.step()
            if probe.alignment is not None:
                seen.append(probe.alignment)
        return seen

    assert cosines(scale) == pytest.approx(cosines(1.0), abs=1e-4)


def _unscale(model: nn.Module, gradients: list[Tensor]) -> Any:
    """Give a hook, behind the probe's, that lets training go on as if nothing was scaled."""

    def hook(*_: Any) -> None:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(gradient)

    return hook


def test_it_sees_a_step_before_any_multiplier_and_leaves_training_bit_for_bit() -> None:
    def trained(*, probed: bool) -> list[Tensor]:
        torch.manual_seed(1)
        model = nn.Linear(3, 2)
        optimizer = AdamW(model.parameters(), lr=0.1)
        rate = optimizer_actuators(optimizer)[0]
        assert isinstance(rate, OptimizerKnob)
        rate.attach()
        rate.apply(0.5)
        seen: list[float] = []
        probe = StepProbe(
            optimizer, lambda: seen.append(optimizer.param_groups[0]["lr"]), lambda: None
        )
        if probed:
            probe.attach()
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).square().mean().backward()
            optimizer.step()
        probe.detach()
        assert seen == ([0.1] * 5 if probed else [])
        return [p.detach().clone() for p in model.parameters()]

    pairs = zip(trained(probed=True), trained(probed=False), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_frozen_sparse_and_changing_parameters_do_no_harm() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    frozen, free = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = SGD([*table.parameters(), frozen, free], lr=0.1)
    probe = watched(optimizer)
    for number in range(4):
        optimizer.zero_grad()
        loss = table(torch.tensor([number])).sum() + free.square().sum()
        (loss + (frozen.sum() if number == 2 else 0.0)).backward()
        optimizer.step()
    assert probe.alignment is None  # the parameters with a gradient were others than before
    probe.detach()
    assert not probe.is_attached


def test_gradients_of_a_closure_are_seen_when_it_has_ended() -> None:
    told: list[str] = []
    place = nn.Parameter(torch.ones(1))
    optimizer = SGD([place], lr=0.1, momentum=0.8)
    probe = StepProbe(optimizer, lambda: told.append("step"), lambda: told.append("seen"))
    probe.attach()
    place.grad = torch.ones(1)

    def closure() -> float:
        told.append("closure")
        return 3.0

    optimizer.step()
    assert optimizer.step(closure) == 3.0
    assert optimizer.step(closure=closure) == 3.0
    assert told == ["step", "seen", *["step", "closure", "seen"] * 2]


def test_inertia_is_the_momentum_or_the_first_beta() -> None:
    def inertia(optimizer: Optimizer) -> float:
        return StepProbe(optimizer, lambda: None, lambda: None).inertia()

    place = nn.Parameter(torch.ones(1))
    assert inertia(SGD([place], lr=0.1, momentum=0.8)) == 0.8
    assert inertia(AdamW([place], betas=(0.7, 0.9))) == 0.7
    assert inertia(torch.optim.RMSprop([place])) == 0.0
