"""Where an optimizer keeps what can be tuned."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Muon, Optimizer, RMSprop

from gptune.actuators.optimizer.places import (
    BETA1,
    BETA2,
    MOMENTUM,
    RATE,
    SCHEDULED,
    Place,
    decays_apart,
    number,
    own_entries,
    present,
    put_own_entries,
)
from tests.actuators.schedules import OPTIMIZERS, SCHEDULES, Groups, Run, double


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.ones(2, 2))


def groups_of(*groups: dict[str, Any]) -> Groups:
    """Give each group a parameter."""
    return [{"params": [parameter()], **group} for group in groups]


def kinds_of(optimizer: Optimizer) -> dict[str, Place]:
    return {kind.name: place for kind, place in present(optimizer)}


def test_a_place_is_a_key_or_one_element_of_a_tuple_there() -> None:
    group = {"lr": 0.1, "betas": (0.9, 0.99)}
    assert (RATE.get(group), BETA1.get(group), BETA2.get(group)) == (0.1, 0.9, 0.99)
    RATE.put(group, 0.2)
    BETA2.put(group, 0.5)
    assert group == {"lr": 0.2, "betas": (0.9, 0.5)}


@pytest.mark.parametrize("kind", [tuple, list])
def test_writing_one_element_keeps_the_others_and_the_type(kind: type) -> None:
    before = kind([0.9, 0.99])
    group: dict[str, Any] = {"betas": before}
    BETA1.put(group, 0.5)
    assert group["betas"] == kind([0.5, 0.99])
    assert type(group["betas"]) is kind
    assert before == kind([0.9, 0.99]), "what somebody else holds is not written into"


@pytest.mark.parametrize(
    ("group", "there"),
    [
        ({"eps": 1e-8}, True),
        ({"eps": 1}, True),
        ({"eps": torch.tensor(1e-8)}, True),
        ({"eps": torch.tensor([1e-8])}, True),
        ({}, False),
        ({"eps": None}, False),
        ({"eps": True}, False),
        ({"eps": "1e-8"}, False),
        ({"eps": (None, 1e-3)}, False),
        ({"eps": torch.ones(2)}, False),
    ],
)
def test_one_number_or_a_tensor_of_one_is_a_value(group: dict[str, Any], there: bool) -> None:
    assert Place("eps").is_in(group) is there


@pytest.mark.parametrize("betas", [None, 0.9, (), (0.9,), (0.9, None), (0.9, False), (0.9, "x")])
def test_of_a_pair_that_element_must_be_a_number(betas: Any) -> None:
    assert not BETA2.is_in({"betas": betas})
    assert BETA2.is_in({"betas": (None, 0.9)})


def test_the_first_beta_is_the_momentum_of_an_optimizer_that_has_no_momentum() -> None:
    assert kinds_of(Adam([parameter()]))["momentum"] == BETA1
    assert kinds_of(SGD([parameter()], lr=0.1, momentum=0.5))["momentum"] == MOMENTUM
    both = SGD(groups_of({"betas": (0.5, 0.5)}), lr=0.1, momentum=0.5)
    assert kinds_of(both)["momentum"] == MOMENTUM


def test_a_value_that_is_zero_in_every_group_is_left_out_except_the_rate() -> None:
    assert list(kinds_of(SGD([parameter()], lr=0.0))) == ["lr"]
    groups = groups_of({}, {"momentum": 0.5})
    assert list(kinds_of(SGD(groups, lr=0.1))) == ["lr", "momentum"]
    assert "momentum" not in kinds_of(Adam([parameter()], betas=(0.0, 0.99)))
    assert "beta2" not in kinds_of(Adam([parameter()], betas=(0.9, 0.0)))


def test_a_pair_is_no_eps() -> None:
    assert "eps" in kinds_of(Adam([parameter()]))
    assert "eps" in kinds_of(RMSprop([parameter()]))
    assert "eps" not in kinds_of(Adafactor([parameter()]))


def test_a_value_that_one_group_lacks_is_no_knob() -> None:
    groups = groups_of({"eps": 1e-8}, {})
    assert "eps" not in kinds_of(SGD(groups, lr=0.1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_has_a_rate_and_each_place_holds_a_number(name: str) -> None:
    optimizer = Run(name, "none").optimizer
    there = list(present(optimizer))
    assert there[0][0].name == "lr"
    for kind, place in there:
        assert place in kind.places
        assert all(number(place.get(group)) >= 0 for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("optimizer", "apart"),
    [
        (lambda p: AdamW(p), True),
        (lambda p: Adam(p), False),
        (lambda p: Adam(p, decoupled_weight_decay=True), True),
        (lambda p: SGD(p, lr=0.1), True),
        (lambda p: SGD(p, lr=0.1, momentum=0.9), False),
        (lambda p: Adafactor(p), True),
        (lambda p: Muon(p), True),
        (lambda p: RMSprop(p), False),
    ],
)
def test_a_decay_apart_from_the_gradient_is_known(optimizer: Any, apart: bool) -> None:
    assert decays_apart(optimizer([parameter()])) is apart


@given(st.floats(allow_nan=False))
def test_a_number_is_read_alike_from_a_float_and_from_a_tensor(value: float) -> None:
    read = number(value), number(double(value)), number(double(value).requires_grad_())
    assert read == (value, value, value)
    assert {type(one) for one in read} == {float}


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_a_schedule_moves_is_not_the_optimizers_own(name: str) -> None:
    run = Run("SGD", name)
    before = copy.deepcopy(own_entries(run.optimizer))
    for _ in range(6):
        run.step()
        run.schedule.go()
    assert own_entries(run.optimizer) == before
    assert not any(SCHEDULED & own.keys() for own in before)


def test_counters_in_the_groups_are_put_back_and_the_schedule_is_left_alone() -> None:
    optimizer = SGD(groups_of({"k": 3}, {}), lr=0.1)
    saved = copy.deepcopy(own_entries(optimizer))
    for group in optimizer.param_groups:
        group["lr"], group["k"] = 0.5, 9
    optimizer.add_param_group(*groups_of({"k": 9}))
    put_own_entries(optimizer, saved)
    assert [group["k"] for group in optimizer.param_groups] == [3, 9, 9]
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5, 0.1]
