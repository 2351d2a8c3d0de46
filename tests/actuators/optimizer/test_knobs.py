"""An optimizer's knobs: which there are, what they accept, by group, together, and compensated."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Muon, NAdam, Optimizer, RAdam, RMSprop
from torch.optim import lr_scheduler as schedules

from gptune.actuators import Together, TupleActuator, optimizer_actuators
from gptune.errors import ActuatorError
from gptune.records import Float, Scalar, Tuple
from tests.actuators.schedules import (
    Groups,
    double,
    draws_nothing,
    equal,
    knobs_of,
    rates,
    set_gradients,
    unit,
    used,
)

MakeOptimizer = Callable[[Any], Optimizer]

untouched_chance = pytest.fixture(autouse=True)(draws_nothing)


def groups_of(*groups: dict[str, Any]) -> Groups:
    """Give each group a parameter of ones, shape ``(2, 2)``."""
    ones = torch.ones(2, 2, dtype=torch.float64)
    return [{"params": [nn.Parameter(ones.clone())], **group} for group in groups]


# Which knobs there are


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (lambda p: SGD(p, lr=0.1), ["lr"]),
        (lambda p: SGD(p, lr=0.1, momentum=0.9), ["lr", "momentum"]),
        (lambda p: SGD(p, lr=0.1, momentum=0.0), ["lr"]),
        (lambda p: SGD(p, lr=0.1, weight_decay=0.1), ["lr", "weight_decay"]),
        (lambda p: SGD(p, lr=0.0), ["lr"]),
        (lambda p: Adam(p), ["lr", "eps", "momentum", "beta2"]),
        (lambda p: AdamW(p), ["lr", "weight_decay", "eps", "momentum", "beta2"]),
        (lambda p: Adam(p, betas=(0.0, 0.99)), ["lr", "eps", "beta2"]),
        (lambda p: RMSprop(p, momentum=0.5), ["lr", "momentum", "eps"]),
        (lambda p: RMSprop(p), ["lr", "eps"]),
        (lambda p: RMSprop(p, eps=0.0), ["lr"]),
        (lambda p: Adafactor(p, weight_decay=0.1), ["lr", "weight_decay"]),
    ],
)
def test_an_optimizer_has_the_knobs_that_a_multiplier_can_move(
    optimizer: MakeOptimizer, names: list[str]
) -> None:
    knobs = knobs_of(optimizer([nn.Parameter(torch.zeros(1))]), attached=False, name="disc")
    assert [knob.name for knob in knobs.values()] == [f"disc.{name}" for name in names]
    for knob in knobs.values():
        space = knob.describe_space()
        assert isinstance(space, Float)
        assert space.low < 1 < space.high
        assert space.log
        assert knob.read() == knob.snapshot() == 1.0


def test_both_betas_are_one_knob_that_sets_them_together() -> None:
    optimizer = Adam(groups_of({}), betas=(0.5, 0.75))
    made = {knob.name: knob for knob in optimizer_actuators(optimizer)}
    assert list(made) == ["opt.lr", "opt.eps", "opt.betas"]
    betas = made["opt.betas"]
    assert isinstance(betas, Together)
    assert isinstance(betas, TupleActuator)
    assert [part.name for part in betas.parts()] == ["opt.momentum", "opt.beta2"]
    assert betas.describe_space() == Tuple({p.name: p.describe_space() for p in betas.parts()})
    betas.parts()[0].attach()
    betas.apply((1.5, 1.25))
    assert betas.read() == (1.5, 1.25)
    seen = []

    def closure() -> float:
        seen.append(optimizer.param_groups[0]["betas"])
        return 0.0

    optimizer.step(closure)
    assert seen == [(0.75, 0.9375)]
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.75)


def test_betas_of_which_one_would_reach_one_are_refused_together() -> None:
    (_, _, betas) = optimizer_actuators(Adam(groups_of({}), betas=(0.5, 0.75)))
    assert isinstance(betas, Together)
    betas.apply((1.5, 1.25))
    with pytest.raises(ActuatorError, match=r"opt\.beta2.*below 1"):
        betas.apply((1.25, 1.5))
    assert betas.read() == (1.5, 1.25)


def test_the_eps_of_a_step_is_scaled() -> None:
    optimizer = Adam(groups_of({}), lr=1.0, betas=(0.0, 0.0), eps=1.0)
    knob = knobs_of(optimizer)["eps"]
    knob.apply(3.0)
    set_gradients(optimizer)
    optimizer.step()  # from 1, by lr x gradient / (root of its square + eps)
    (parameter,) = optimizer.param_groups[0]["params"]
    assert torch.equal(parameter.detach(), torch.full_like(parameter, 0.75))
    assert optimizer.param_groups[0]["eps"] == 1.0
    assert knob.unit == "gradient units"


def test_a_rate_that_starts_at_zero_follows_its_schedule_up() -> None:
    optimizer, _ = unit(0.0)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    assert used(optimizer) == [0.0]
    optimizer.param_groups[0]["lr"] = 1.0
    assert used(optimizer) == [0.5]


@pytest.mark.parametrize("thing", [None, 1.0, "sgd", [], {}, object(), nn.Linear(1, 1)])
def test_what_is_no_torch_optimizer_is_refused(thing: Any) -> None:
    with pytest.raises(ActuatorError, match=rf"optimizer: .*got {type(thing).__name__}"):
        optimizer_actuators(thing)


def test_an_optimizer_without_parameters_is_refused() -> None:
    empty: Groups = [{"params": []}]
    with pytest.raises(ActuatorError, match="no parameters"):
        optimizer_actuators(SGD(empty, lr=0.1))


# Which multipliers


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 0.0, 0, -0.5, -1, True, False, "2", "", None, [1.0], 1j],
)
def test_what_is_no_positive_number_is_refused_and_changes_nothing(value: Any) -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    complaint = knob.validate(value)
    assert complaint is not None
    assert complaint.startswith("opt.lr")
    with pytest.raises(ActuatorError, match=r"opt\.lr"):
        knob.apply(value)
    assert knob.read() == 0.5
    assert used(optimizer) == [0.125]


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.booleans(), st.integers(), st.floats(), st.text(), st.just(10**400)))
def test_validate_never_raises_and_what_it_allows_is_read_back_exactly(value: Scalar) -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    if knob.validate(value) is None:
        assert not isinstance(value, bool | str)
        knob.apply(value)
        assert knob.read() == value
        assert math.isfinite(used(optimizer)[0])
    else:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        assert not (plain and 1e-300 < value < 1e300)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (lambda p: SGD(p, lr=0.1, momentum=0.9), "momentum"),
        (lambda p: Adam(p, betas=(0.9, 0.9)), "momentum"),
        (lambda p: Adam(p, betas=(0.9, 0.9)), "beta2"),
    ],
)
def test_a_momentum_that_would_reach_one_is_refused(optimizer: MakeOptimizer, name: str) -> None:
    made = optimizer([nn.Parameter(torch.zeros(1))])
    knob = knobs_of(made)[name]
    assert knob.validate(1.1) is None
    for value in (1 / 0.9, 1.2, 100.0):
        complaint = knob.validate(value)
        assert complaint is not None
        assert "below 1" in complaint
        with pytest.raises(ActuatorError, match=name):
            knob.apply(value)
    assert knob.read() == 1.0


def test_the_largest_momentum_of_all_groups_counts() -> None:
    groups = groups_of(*({"momentum": momentum} for momentum in (0.5, 0.95, 0.9)))
    knob = knobs_of(SGD(groups, lr=0.1))["momentum"]
    assert knob.validate(1.05) is None
    assert knob.validate(1.06) is not None


def test_of_a_group_of_its_own_only_that_groups_momentum_counts() -> None:
    groups = groups_of(*({"momentum": momentum} for momentum in (0.5, 0.95)))
    knobs = knobs_of(SGD(groups, lr=0.1), per_group=("momentum",))
    assert knobs["momentum[0]"].validate(1.9) is None
    assert knobs["momentum[1]"].validate(1.06) is not None


def test_restoring_is_exempt_from_all_limits() -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    before = knob.snapshot()
    knob.apply(0.5)
    knob.restore(1000.0)
    assert used(optimizer) == [250.0]
    knob.restore(before)
    assert used(optimizer) == [0.25]


# By group


@pytest.mark.parametrize("tensors", [False, True], ids=["float", "tensor"])
def test_each_groups_own_knob_moves_that_group_alone(tensors: bool) -> None:
    optimizer, _ = unit(*(double(rate) if tensors else rate for rate in (0.25, 0.5)))
    knobs = knobs_of(optimizer, per_group=("lr",))
    assert list(knobs) == ["lr[0]", "lr[1]"]
    assert [knob.group for knob in knobs.values()] == [0, 1]
    first, second = knobs.values()
    second.attach()
    first.apply(0.3)
    assert used(optimizer) == [0.25 * 0.3, 0.5]
    second.apply(1.7)
    assert used(optimizer) == [0.25 * 0.3, 0.5 * 1.7]
    assert (first.effective(), second.effective()) == (0.25 * 0.3, 0.5 * 1.7)
    assert (first.scheduled(), second.scheduled()) == (0.25, 0.5)
    first.apply(1.0)
    assert used(optimizer) == [0.25, 0.5 * 1.7]
    assert (first.read(), second.read()) == (1.0, 1.7)
    assert rates(optimizer) == [0.25, 0.5]
    assert second.multiplier_for(1.0) == 2.0


def test_a_group_added_late_is_moved_by_knobs_of_all_groups_only() -> None:
    optimizer = SGD(groups_of({"weight_decay": 0.5}), lr=0.25)
    knobs = knobs_of(optimizer, per_group=("lr",))
    assert list(knobs) == ["lr[0]", "weight_decay"]
    knobs["lr[0]"].apply(0.5)
    knobs["weight_decay"].apply(2.0)
    (late,) = groups_of({"lr": 0.125, "weight_decay": 0.25})
    optimizer.add_param_group(late)
    seen = []

    def closure() -> float:
        seen.extend([(group["lr"], group["weight_decay"]) for group in optimizer.param_groups])
        return 0.0

    optimizer.step(closure)
    assert seen == [(0.125, 1.0), (0.125, 0.5)]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.25]


def test_betas_are_split_by_group_and_stay_together_in_each() -> None:
    optimizer = Adam(groups_of({"betas": (0.5, 0.75)}, {"betas": (0.25, 0.5)}))
    made = optimizer_actuators(optimizer, per_group=["betas"])
    assert [knob.name for knob in made] == ["opt.lr", "opt.eps", "opt.betas[0]", "opt.betas[1]"]
    betas = [knob for knob in made if isinstance(knob, Together)]
    assert [[part.name for part in knob.parts()] for knob in betas] == [
        ["opt.momentum[0]", "opt.beta2[0]"],
        ["opt.momentum[1]", "opt.beta2[1]"],
    ]
    betas[0].parts()[0].attach()
    betas[0].apply((1.5, 1.25))
    seen = []

    def closure() -> float:
        seen.append([group["betas"] for group in optimizer.param_groups])
        return 0.0

    optimizer.step(closure)
    betas[1].apply((2.0, 1.5))
    optimizer.step(closure)
    assert seen == [[(0.75, 0.9375), (0.25, 0.5)], [(0.75, 0.9375), (0.5, 0.75)]]
    assert [group["betas"] for group in optimizer.param_groups] == [(0.5, 0.75), (0.25, 0.5)]


def test_a_beta_that_is_alone_is_split_by_group_too() -> None:
    optimizer = Adam(groups_of({}, {}), betas=(0.0, 0.99))
    made = optimizer_actuators(optimizer, per_group=("betas",))
    assert [knob.name for knob in made] == ["opt.lr", "opt.eps", "opt.beta2[0]", "opt.beta2[1]"]
    assert not any(isinstance(knob, Together) for knob in made)


@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_groups_that_share_one_tensor_cannot_be_split(name: str) -> None:
    shared: dict[str, Any] = {name: double(0.25)}
    optimizer = AdamW(groups_of({}, {}), **shared, foreach=False)
    with pytest.raises(ActuatorError, match=f"share one tensor as '{name}'"):
        optimizer_actuators(optimizer, per_group=(name,))
    assert name in knobs_of(optimizer), "all groups together can be moved"


@pytest.mark.parametrize(
    "per_group",
    ["lr", "", ["momentum"], ["lr", "beta2"], ["rate"], ["opt.lr"], ["lr[0]"], {"lr": 1, "x": 2}],
)
def test_a_bare_string_and_names_that_are_no_knobs_cannot_be_split(per_group: Any) -> None:
    optimizer = Adam(groups_of({}, {}))
    if per_group == "":
        assert len(optimizer_actuators(optimizer, per_group=())) == 3
    with pytest.raises(ActuatorError, match=r"per_group: .*\(lr, betas, eps\)"):
        optimizer_actuators(optimizer, per_group=per_group)


# A target in place of a multiplier


def test_the_multiplier_for_a_target_is_the_target_over_the_schedules_value_of_now() -> None:
    optimizer, _ = unit(0.25, 1.0)
    scheduler = schedules.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    knob = knobs_of(optimizer)["lr"]
    assert knob.multiplier_for(0.125) == 0.5
    assert knob.multiplier_for(1) == 4.0
    knob.apply(knob.multiplier_for(0.125))
    assert knob.multiplier_for(0.125) == 0.5, "what is in force does not count"
    assert used(optimizer) == [0.125, 0.5]
    scheduler.step()
    assert knob.multiplier_for(0.125) == 1.0
    assert knob.read() == 0.5, "it only says which"


@settings(deadline=None, max_examples=60)
@given(st.floats(1e-9, 1e3), st.floats(1e-9, 1e3))
def test_a_step_with_the_multiplier_for_a_target_uses_the_target(
    scheduled: float, target: float
) -> None:
    optimizer, _ = unit(scheduled)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(knob.multiplier_for(target))
    assert used(optimizer) == [pytest.approx(target, rel=1e-15)]


@pytest.mark.parametrize(
    "target",
    [
        *(math.nan, math.inf, -math.inf, 0.0, 0, -0.5, True, False, "1", None, [1.0], 1j),
        pytest.param(10**400, id="beyond every float"),
    ],
)
def test_a_target_that_is_no_positive_number_is_refused(target: Any) -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    with pytest.raises(ActuatorError, match=r"opt\.lr: "):
        knob.multiplier_for(target)


def test_no_multiplier_leads_away_from_a_schedule_that_stands_at_zero() -> None:
    optimizer, _ = unit(0.0)
    knob = knobs_of(optimizer)["lr"]
    with pytest.raises(ActuatorError, match=r"opt\.lr: the schedule's value is 0"):
        knob.multiplier_for(0.1)
    optimizer.param_groups[0]["lr"] = 0.25
    assert knob.multiplier_for(0.125) == 0.5


def test_a_target_that_a_value_must_stay_below_is_refused() -> None:
    knob = knobs_of(Adam(groups_of({}), betas=(0.5, 0.75)))["momentum"]
    assert knob.multiplier_for(0.75) == 1.5
    with pytest.raises(ActuatorError, match="below 1"):
        knob.multiplier_for(1.0)


def one_cycle(optimizer: Optimizer, **how: Any) -> schedules.OneCycleLR:
    return schedules.OneCycleLR(optimizer, 0.1, 20, **how)


def cyclic(optimizer: Optimizer, **how: Any) -> schedules.CyclicLR:
    return schedules.CyclicLR(optimizer, 0.01, 0.1, 4, **how)


def sequential(optimizer: Optimizer) -> schedules.SequentialLR:
    warm = schedules.LinearLR(optimizer, 0.1, total_iters=5)
    return schedules.SequentialLR(optimizer, [warm, one_cycle(optimizer)], [5])


def chained(optimizer: Optimizer) -> schedules.ChainedScheduler:
    constant = schedules.ConstantLR(optimizer, 0.5, 5)
    return schedules.ChainedScheduler([constant, cyclic(optimizer)])


def nested(optimizer: Optimizer) -> schedules.ChainedScheduler:
    decay = schedules.ExponentialLR(optimizer, 0.9)
    return schedules.ChainedScheduler([decay, sequential(optimizer)])


OWNERS: list[tuple[Callable[[Optimizer], Any], str | None]] = [
    (lambda optimizer: None, None),
    (one_cycle, "OneCycleLR"),
    (cyclic, "CyclicLR"),
    (sequential, "OneCycleLR"),
    (chained, "CyclicLR"),
    (nested, "OneCycleLR"),
    (lambda optimizer: one_cycle(optimizer, cycle_momentum=False), None),
    (lambda optimizer: cyclic(optimizer, cycle_momentum=False), None),
    (lambda optimizer: schedules.StepLR(optimizer, 5), None),
    (lambda optimizer: one_cycle(SGD(groups_of({}), lr=0.1, momentum=0.9)), None),
    (lambda optimizer: lambda step: 0.1, None),
]
WITH_MOMENTUM: dict[str, Callable[[], Optimizer]] = {
    "SGD": lambda: SGD(groups_of({}, {}), lr=0.1, momentum=0.85),
    "AdamW": lambda: AdamW(groups_of({}, {})),
}


@pytest.mark.parametrize(("scheduler", "owner"), OWNERS)
@pytest.mark.parametrize("optimizer", WITH_MOMENTUM)
@pytest.mark.parametrize("split", [False, True], ids=["all", "split"])
def test_a_scheduler_that_cycles_momentum_owns_it_and_nothing_else(
    scheduler: Callable[[Optimizer], Any], owner: str | None, optimizer: str, split: bool
) -> None:
    made = WITH_MOMENTUM[optimizer]()
    per_group = ("betas" if optimizer == "AdamW" else "momentum",) if split else ()
    knobs = knobs_of(made, scheduler=scheduler(made), per_group=per_group)
    for name, knob in knobs.items():
        assert knob.owner == (owner if name.startswith("momentum") else None)
    momentum = knobs["momentum[1]" if split else "momentum"]
    if owner is None:
        assert momentum.multiplier_for(momentum.scheduled()) == 1.0
    else:
        with pytest.raises(ActuatorError, match=f"{owner} cycles it"):
            momentum.multiplier_for(momentum.scheduled())
    assert momentum.validate(1.01) is None, "a multiplier goes on to be possible"
    assert knobs["lr"].multiplier_for(knobs["lr"].scheduled()) == 1.0


# Decay kept on the schedule


DECOUPLED: dict[str, MakeOptimizer] = {
    "AdamW": lambda groups: AdamW(groups, foreach=False),
    "AdamW foreach": lambda groups: AdamW(groups, foreach=True),
    "AdamW fused": lambda groups: AdamW(groups, fused=True),
    "Adam": lambda groups: Adam(groups, decoupled_weight_decay=True),
    "NAdam": lambda groups: NAdam(groups, decoupled_weight_decay=True),
    "RAdam": lambda groups: RAdam(groups, decoupled_weight_decay=True),
    "Adafactor": lambda groups: Adafactor(groups),
    "Muon": lambda groups: Muon(groups),
    "SGD": lambda groups: SGD(groups, lr=0.1),
}
TENSORS = [("float", "float"), ("tensor", "float"), ("float", "tensor"), ("tensor", "tensor")]
TRIED = [(name, *("float", "float")) for name in DECOUPLED]
TRIED += [(name, *kinds) for name in ("AdamW", "AdamW fused") for kinds in TENSORS[1:]]


class Decay:
    """A run of two groups whose rates and decays are powers of two, floats or tensors."""

    OWN = ({"lr": 0.25, "weight_decay": 0.125}, {"lr": 0.0625, "weight_decay": 0.5})

    def __init__(self, optimizer: str, rate: str, decay: str) -> None:
        self.kinds = {"lr": rate, "weight_decay": decay}
        groups = [{key: self.value(group, key) for key in group} for group in self.OWN]
        self.optimizer = DECOUPLED[optimizer](groups_of(*groups))

    def value(self, group: dict[str, float], key: str) -> float | Tensor:
        return double(group[key]) if self.kinds[key] == "tensor" else group[key]

    def write(self, rate: float, *decays: float) -> None:
        """Write multiplier x own value, as somebody would by hand."""
        for group, own in zip(self.optimizer.param_groups, self.OWN, strict=True):
            group["lr"] = self.value(own, "lr") * rate
            group["weight_decay"] = self.value(own, "weight_decay")
            for decay in decays:
                group["weight_decay"] = group["weight_decay"] * decay

    def steps(self, gradient: float, count: int = 5) -> list[Tensor]:
        for _ in range(count):
            set_gradients(self.optimizer, gradient)
            self.optimizer.step()
        return [group["params"][0].detach().clone() for group in self.optimizer.param_groups]


@pytest.mark.parametrize(("optimizer", "rate", "decay"), TRIED)
@pytest.mark.parametrize("gradient", [0.0, 1.0])
def test_a_compensated_rate_divides_the_decay_by_its_multiplier_bit_for_bit(
    optimizer: str, rate: str, decay: str, gradient: float
) -> None:
    tuned, by_hand = Decay(optimizer, rate, decay), Decay(optimizer, rate, decay)
    knobs = knobs_of(tuned.optimizer, compensate_weight_decay=True)
    knobs["lr"].apply(0.7)
    by_hand.write(0.7, 1 / 0.7)
    assert equal(tuned.steps(gradient), by_hand.steps(gradient))
    knobs["weight_decay"].apply(3.0)
    by_hand.write(0.7, 3.0, 1 / 0.7)
    assert equal(tuned.steps(gradient), by_hand.steps(gradient))
    for knob in knobs.values():
        knob.apply(1.0)
    by_hand.write(1.0)
    assert equal(tuned.steps(gradient), by_hand.steps(gradient))
    groups = zip(tuned.optimizer.param_groups, tuned.OWN, strict=True)
    for group, own in groups:
        assert equal([group[key] for key in own], [tuned.value(own, key) for key in own])


@pytest.mark.parametrize(("optimizer", "rate", "decay"), TRIED)
@pytest.mark.parametrize("per_group", [(), ("lr",)], ids=["all", "split"])
def test_a_compensated_rate_leaves_the_decay_in_force_on_the_schedule(
    optimizer: str, rate: str, decay: str, per_group: tuple[str, ...]
) -> None:
    tuned, plain, unaware = (Decay(optimizer, rate, decay) for _ in range(3))
    knobs = knobs_of(tuned.optimizer, compensate_weight_decay=True, per_group=per_group)
    for factor, name in zip((0.7, 1.9), (n for n in knobs if n.startswith("lr")), strict=False):
        knobs[name].apply(factor)
    knobs_of(unaware.optimizer)["lr"].apply(0.7)
    expected = plain.steps(0.0)
    for value, other in zip(tuned.steps(0.0), expected, strict=True):
        assert torch.allclose(value, other, rtol=1e-15, atol=0.0)
    assert not torch.allclose(unaware.steps(0.0)[0], expected[0])


def test_the_effective_decay_is_the_compensated_one() -> None:
    run = Decay("AdamW", "float", "float")
    knobs = knobs_of(run.optimizer, compensate_weight_decay=True)
    for knob in knobs.values():
        knob.attach()
    knobs["lr"].apply(0.5)
    run.steps(0.0, 1)
    assert knobs["weight_decay"].effective() == 0.25
    assert knobs["weight_decay"].read() == 1.0
    knobs["lr"].apply(1.0)
    run.steps(0.0, 1)
    assert knobs["weight_decay"].effective() == knobs["weight_decay"].scheduled() == 0.125


def test_one_tensor_decay_of_groups_whose_rates_are_split_cannot_be_compensated() -> None:
    shared: Any = double(0.5)
    optimizer = AdamW(groups_of({}, {}), weight_decay=shared, foreach=False)
    with pytest.raises(ActuatorError, match="share one tensor as 'weight_decay'"):
        optimizer_actuators(optimizer, compensate_weight_decay=True, per_group=("lr",))
    assert "lr[1]" in knobs_of(optimizer, per_group=("lr",)), "without it, they can be split"


def test_one_tensor_decay_of_all_groups_is_compensated_once() -> None:
    shared: Any = double(0.5)
    optimizer = AdamW(groups_of({}, {}), lr=0.25, weight_decay=shared, foreach=False)
    knobs_of(optimizer, compensate_weight_decay=True)["lr"].apply(2.0)
    set_gradients(optimizer, 0.0)
    optimizer.step()
    for group in optimizer.param_groups:
        (parameter,) = group["params"]
        assert torch.equal(parameter.detach(), torch.full_like(parameter, 1 - 0.25 * 0.5))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda groups: Adam(groups, weight_decay=0.1),
        lambda groups: NAdam(groups, weight_decay=0.1),
        lambda groups: RMSprop(groups, weight_decay=0.1),
        lambda groups: SGD(groups, lr=0.1, weight_decay=0.1, momentum=0.9),
        lambda groups: SGD([*groups, *groups_of({"momentum": 0.5})], lr=0.1, weight_decay=0.1),
    ],
)
def test_a_decay_that_is_no_product_of_rate_and_weight_decay_cannot_be_compensated(
    optimizer: MakeOptimizer,
) -> None:
    made = optimizer(groups_of({}))
    with pytest.raises(ActuatorError, match=f"compensate_weight_decay.*{type(made).__name__}"):
        optimizer_actuators(made, compensate_weight_decay=True)
    assert optimizer_actuators(made)
