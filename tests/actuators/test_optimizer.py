"""Multipliers in step hooks: exact under every schedule, healed, and without a trace."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim import lr_scheduler as schedules

from gptune.actuators import optimizer_actuators
from gptune.actuators.optimizer import OptimizerKnob
from gptune.errors import ActuatorError
from gptune.records import Float, Scalar

STEPS, SET, REMOVED = 24, 7, 17  # the protocol of research/reliability.md, section 5
GROUPS = ({"lr": 0.1}, {"lr": 0.02, "weight_decay": 0.05})
MULTIPLIERS = {"lr": 0.7, "weight_decay": 3.0, "momentum": 1.05, "beta2": 1.0005}

Groups = list[dict[str, Any]]


class UserError(Exception):
    """Raised by the user's closure."""


# Optimizers and schedules under test

OPTIMIZERS: dict[str, Callable[[Groups], Optimizer]] = {
    "SGD": lambda groups: SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda groups: Adam(groups, lr=0.1, weight_decay=0.01),
    "AdamW": lambda groups: AdamW(groups, lr=0.1),
    "RMSprop": lambda groups: RMSprop(groups, lr=0.1, momentum=0.5),
    "SGD foreach": lambda groups: SGD(groups, lr=0.1, momentum=0.9, foreach=True),
    "AdamW fused": lambda groups: AdamW(groups, lr=0.1, fused=True),
}


class Schedule:
    """A torch scheduler, or a hand-written one; both are asked to go one step on."""

    def __init__(self, optimizer: Optimizer, made: Any) -> None:
        self.optimizer, self.made, self.count = optimizer, made, 0

    def go(self) -> None:
        self.count += 1
        if callable(self.made):
            for group, start in zip(self.optimizer.param_groups, GROUPS, strict=True):
                group["lr"] = start["lr"] * self.made(self.count)
        elif isinstance(self.made, schedules.ReduceLROnPlateau):
            self.made.step([1.0, 0.9, 0.9, 0.9, 0.9][self.count % 5])
        elif self.made is not None:
            self.made.step()

    def state(self) -> Any:
        return None if self.made is None or callable(self.made) else self.made.state_dict()


def sequential(optimizer: Optimizer) -> schedules.SequentialLR:
    warm = schedules.LinearLR(optimizer, 0.1, total_iters=10)
    cosine = schedules.CosineAnnealingLR(optimizer, 20)
    return schedules.SequentialLR(optimizer, [warm, cosine], [10])


SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "none": lambda optimizer: None,
    "StepLR": lambda optimizer: schedules.StepLR(optimizer, 5, 0.5),
    "CosineAnnealingLR": lambda optimizer: schedules.CosineAnnealingLR(optimizer, 24, 0.005),
    "OneCycleLR": lambda optimizer: schedules.OneCycleLR(optimizer, [0.2, 0.05], 40),
    "LambdaLR": lambda optimizer: schedules.LambdaLR(
        optimizer, lambda t: min(1.0, (t + 1) / 8) / math.sqrt(1 + t)
    ),
    "SequentialLR": sequential,
    "CosineAnnealingWarmRestarts": lambda optimizer: schedules.CosineAnnealingWarmRestarts(
        optimizer, 6, 2
    ),
    "CyclicLR": lambda optimizer: schedules.CyclicLR(
        optimizer, 0.01, 0.1, 4, cycle_momentum=True, max_momentum=0.93
    ),
    "ReduceLROnPlateau": lambda optimizer: schedules.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, min_lr=0.03
    ),
    "hand-written": lambda optimizer: lambda t: 1 / (1 + 0.3 * t),
    "MultiplicativeLR": lambda optimizer: schedules.MultiplicativeLR(optimizer, lambda t: 0.97),
}


class Run:
    """A training run on a deterministic quadratic: optimizer, schedule, parameters."""

    def __init__(self, optimizer: str, schedule: str) -> None:
        self.parameters = [
            nn.Parameter(torch.linspace(-1.0, 1.0, 3 + i, dtype=torch.float64))
            for i in range(len(GROUPS))
        ]
        pairs = zip(self.parameters, GROUPS, strict=True)
        groups = [{"params": [p], **own} for p, own in pairs]
        self.optimizer = OPTIMIZERS[optimizer](groups)
        self.schedule = Schedule(self.optimizer, SCHEDULES[schedule](self.optimizer))

    def step(self) -> None:
        for parameter in self.parameters:
            slope = torch.arange(1.0, 1.0 + len(parameter), dtype=parameter.dtype)
            parameter.grad = slope * (parameter.detach() - 0.3)
        self.optimizer.step()

    def values(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]


def knobs_of(optimizer: Optimizer) -> dict[str, OptimizerKnob]:
    knobs = {knob.name.partition(".")[2]: knob for knob in optimizer_actuators(optimizer)}
    next(iter(knobs.values())).attach()
    return knobs


def hand_over(source: Optimizer, target: Optimizer, factors: dict[str, float]) -> None:
    """Write multiplier x schedule into an optimizer that has no schedule of its own."""
    for mine, theirs in zip(source.param_groups, target.param_groups, strict=True):
        for key in ("lr", "weight_decay", "momentum"):
            if key in mine:
                theirs[key] = mine[key] * factors.get(key, 1.0)
        if "betas" in mine:
            scale = (factors.get("momentum", 1.0), factors.get("beta2", 1.0))
            theirs["betas"] = tuple(b * s for b, s in zip(mine["betas"], scale, strict=True))


def equal(one: object, other: object) -> bool:
    """Say whether two state_dicts are equal to the bit, types included."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        same = type(one) is type(other) and len(one) == len(other)
        return same and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_multiplier_set_and_removed_is_multiplier_times_schedule_bit_for_bit(
    optimizer: str, schedule: str
) -> None:
    tuned, plain, by_hand = (Run(optimizer, schedule) for _ in range(3))
    knobs = knobs_of(tuned.optimizer)
    factors = {name: MULTIPLIERS[name] for name in knobs}
    moved = False
    for step in range(STEPS):
        if step in (SET, REMOVED):
            for name, knob in knobs.items():
                knob.apply(factors[name] if step == SET else 1.0)
        in_force = factors if SET <= step < REMOVED else {}
        hand_over(plain.optimizer, by_hand.optimizer, in_force)
        for run in (tuned, plain, by_hand):
            run.step()
        tuned.schedule.go()
        plain.schedule.go()
        assert equal(tuned.values(), by_hand.values()), f"step {step}"
        groups, states = tuned.optimizer.state_dict(), by_hand.optimizer.state_dict()
        assert equal(groups["param_groups"], plain.optimizer.state_dict()["param_groups"])
        assert equal(groups["state"], states["state"])
        assert equal(tuned.schedule.state(), plain.schedule.state())
        moved = moved or not equal(tuned.values(), plain.values())
        assert moved == (step >= SET)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_with_all_multipliers_at_one_the_run_is_bit_identical_to_one_without_gptune(
    optimizer: str, schedule: str
) -> None:
    watched, plain = Run(optimizer, schedule), Run(optimizer, schedule)
    knobs = knobs_of(watched.optimizer)
    for step in range(STEPS):
        if step == SET:
            for knob in knobs.values():
                knob.apply(1.0)
        for run in (watched, plain):
            run.step()
            run.schedule.go()
        assert equal(watched.values(), plain.values())
    assert equal(watched.optimizer.state_dict(), plain.optimizer.state_dict())
    assert equal(watched.schedule.state(), plain.schedule.state())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_of_a_tuned_run_loads_without_gptune_and_with_it(optimizer: str) -> None:
    tuned = Run(optimizer, "StepLR")
    knobs = knobs_of(tuned.optimizer)
    knobs["lr"].apply(0.5)
    for _ in range(5):
        tuned.step()
        tuned.schedule.go()
    saved = copy.deepcopy(tuned.optimizer.state_dict())
    values = tuned.values()
    ends: list[list[Tensor]] = []
    for attached in (True, True, False):
        run = tuned if not ends else Run(optimizer, "StepLR")
        with torch.no_grad():
            for parameter, value in zip(run.parameters, values, strict=True):
                parameter.copy_(value)
        run.optimizer.load_state_dict(copy.deepcopy(saved))
        rates = [group["lr"] for group in run.optimizer.param_groups]
        if attached and ends:
            knobs_of(run.optimizer)["lr"].apply(0.5)
        if not attached:
            for group in run.optimizer.param_groups:
                group["lr"] *= 0.5
        run.step()
        if attached:
            assert rates == [group["lr"] for group in run.optimizer.param_groups]
        ends.append(run.values())
    assert equal(ends[0], ends[1])
    assert equal(ends[0], ends[2])


# Rates as tensors, several groups, late groups


def unit(rate: float | Tensor, *more: float | Tensor) -> tuple[SGD, list[nn.Parameter]]:
    """SGD on gradients of 1 from 0: after a step, minus the parameter is the rate, exactly."""
    parameters = [nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in (rate, *more)]
    groups: Groups = [{"params": [parameters[0]]}]
    groups += [{"params": [p], "lr": r} for p, r in zip(parameters[1:], more, strict=True)]
    return SGD(groups, lr=rate), parameters


def used(optimizer: Optimizer) -> list[float]:
    """Make a step and say which rate each group really used."""
    parameters = [group["params"][0] for group in optimizer.param_groups]
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return [-float(parameter.detach()) for parameter in parameters]


def double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_one_tensor_rate_shared_by_two_groups_is_scaled_once() -> None:
    rate = double(0.25)
    optimizer, _ = unit(rate, rate)
    knobs_of(optimizer)["lr"].apply(0.5)
    assert used(optimizer) == [0.125, 0.125]
    assert used(optimizer) == [0.125, 0.125]
    assert rate.item() == 0.25
    assert all(group["lr"] is rate for group in optimizer.param_groups), "the tensor itself stays"
    assert optimizer.defaults["lr"] is rate


def test_tensor_and_float_rates_may_stand_beside_each_other() -> None:
    optimizer, _ = unit(double(0.25), 0.5, double(0.125))
    knobs_of(optimizer)["lr"].apply(3.0)
    assert used(optimizer) == [0.75, 1.5, 0.375]
    assert [float(group["lr"]) for group in optimizer.param_groups] == [0.25, 0.5, 0.125]


@pytest.mark.parametrize("rate", [0.25, double(0.25)], ids=["float", "tensor"])
def test_the_effective_rate_is_what_the_step_used_and_the_scheduled_one_what_it_stands_at(
    rate: float | Tensor,
) -> None:
    optimizer, _ = unit(rate, 0.5)
    knob = knobs_of(optimizer)["lr"]
    assert knob.effective() is None
    assert knob.scheduled() == 0.25
    used(optimizer)
    assert knob.effective() == 0.25
    knob.apply(0.5)
    assert knob.effective() == 0.25, "the new multiplier has not been used yet"
    assert used(optimizer)[0] == 0.125
    assert knob.effective() == 0.125
    assert knob.scheduled() == 0.25
    knob.apply(1.0)
    used(optimizer)
    assert knob.effective() == knob.scheduled() == 0.25
    assert type(knob.effective()) is type(knob.scheduled()) is float


@pytest.mark.parametrize("rate", [0.25, double(0.25)], ids=["float", "tensor"])
def test_what_the_user_writes_after_a_failed_step_is_not_overwritten(rate: float | Tensor) -> None:
    optimizer, _ = unit(rate)
    knobs_of(optimizer)["lr"].apply(0.5)
    fail(optimizer)
    group = optimizer.param_groups[0]
    if isinstance(rate, Tensor):
        rate.fill_(1.0)
    else:
        group["lr"] = 1.0
    assert used(optimizer) == [0.5]
    assert float(group["lr"]) == 1.0


def test_a_rate_that_wants_a_gradient_does_not_break_the_step() -> None:
    rate = double(0.25).requires_grad_()
    optimizer, _ = unit(rate)
    knobs_of(optimizer)["lr"].apply(0.5)
    assert used(optimizer) == [0.125]
    assert rate.item() == 0.25
    assert rate.requires_grad


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=4),
    st.floats(0.01, 100.0),
    st.booleans(),
)
def test_the_ratios_between_the_groups_stay(
    rates: list[float], factor: float, tensors: bool
) -> None:
    optimizer, _ = unit(*(double(r) if tensors else r for r in rates))
    knobs_of(optimizer)["lr"].apply(factor)
    assert used(optimizer) == [rate * factor for rate in rates]
    assert [float(group["lr"]) for group in optimizer.param_groups] == rates


def test_a_group_added_late_is_scaled_too() -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    used(optimizer)
    late = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer.add_param_group({"params": [late], "lr": 0.75})
    assert used(optimizer) == [0.125, 0.375]
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.75]


def test_load_state_dict_in_between_replaces_the_groups_and_the_multiplier_goes_on() -> None:
    optimizer, _ = unit(0.25, 0.5)
    knobs_of(optimizer)["lr"].apply(0.5)
    used(optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    assert [group["lr"] for group in saved["param_groups"]] == [0.25, 0.5]
    saved["param_groups"][0]["lr"] = 1.0
    optimizer.load_state_dict(saved)
    assert used(optimizer) == [0.5, 0.25]
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]


def test_inside_the_step_the_closure_sees_the_scaled_rate() -> None:
    optimizer, (parameter,) = unit(0.25)
    knobs_of(optimizer)["lr"].apply(0.5)
    seen = []

    def closure() -> float:
        parameter.grad = torch.ones_like(parameter)
        seen.append(optimizer.param_groups[0]["lr"])
        return 0.0

    optimizer.step(closure)
    assert seen == [0.125]
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_multiplier_changed_inside_a_step_holds_from_the_next_one_on() -> None:
    optimizer, (parameter,) = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)

    def closure() -> float:
        parameter.grad = torch.ones_like(parameter)
        knob.apply(4.0)
        return 0.0

    optimizer.step(closure)
    assert float(parameter.detach()) == -0.125
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert used(optimizer) == [1.0]
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_step_captured_before_the_knob_was_made_is_scaled_too() -> None:
    optimizer, (parameter,) = unit(0.25)
    step = optimizer.step
    knobs_of(optimizer)["lr"].apply(0.5)
    parameter.grad = torch.ones_like(parameter)
    step()
    assert float(parameter.detach()) == -0.125


# Closures that raise


def fail(optimizer: Optimizer) -> list[float]:
    """Make a step whose closure raises; gives the rates that it saw."""
    seen: list[float] = []

    def closure() -> float:
        seen.extend(float(group["lr"]) for group in optimizer.param_groups)
        raise UserError

    with pytest.raises(UserError):
        optimizer.step(closure)
    return seen


@pytest.mark.parametrize("rate", [0.25, double(0.25)], ids=["float", "tensor"])
@pytest.mark.parametrize("how", ["next step", "heal", "detach"])
def test_what_a_raising_closure_left_scaled_is_healed(rate: float | Tensor, how: str) -> None:
    optimizer, _ = unit(rate, 0.5)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    assert fail(optimizer) == [0.125, 0.25]
    if how == "heal":
        knob.heal()
    elif how == "detach":
        knob.detach()
    else:
        assert used(optimizer) == [0.125, 0.25]
    assert [float(group["lr"]) for group in optimizer.param_groups] == [0.25, 0.5]
    assert used(optimizer) == ([0.25, 0.5] if how == "detach" else [0.125, 0.25])


def test_failures_in_a_row_do_not_compound() -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    assert [fail(optimizer) for _ in range(3)] == [[0.125]] * 3
    knob.heal()
    knob.heal()
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_both_betas_are_healed_together() -> None:
    optimizer = Adam([nn.Parameter(torch.zeros(1))], betas=(0.9, 0.99))
    knobs = knobs_of(optimizer)
    knobs["momentum"].apply(1.05)
    knobs["beta2"].apply(0.95)

    def closure() -> float:
        assert optimizer.param_groups[0]["betas"] == (0.9 * 1.05, 0.99 * 0.95)
        raise UserError

    with pytest.raises(UserError):
        optimizer.step(closure)
    knobs["beta2"].heal()
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)


def test_the_users_exception_passes_unchanged() -> None:
    optimizer, _ = unit(0.25)
    knobs_of(optimizer)["lr"].apply(0.5)
    error = UserError("mine")

    def closure() -> float:
        raise error

    with pytest.raises(UserError) as caught:
        optimizer.step(closure)
    assert caught.value is error


# Leaving no trace


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_detach_leaves_no_trace(name: str) -> None:
    run, plain = Run(name, "OneCycleLR"), Run(name, "OneCycleLR")
    before = set(vars(run.optimizer))
    knobs = knobs_of(run.optimizer)
    for knob in knobs.values():
        knob.attach()
    hooks: list[dict[int, Any]] = [
        run.optimizer._optimizer_step_pre_hooks,
        run.optimizer._optimizer_step_post_hooks,
    ]
    assert [len(hook) for hook in hooks] == [1, 1], "attaching twice is attaching once"
    knobs["lr"].apply(0.5)
    for knob in knobs.values():
        knob.detach()
    assert [len(hook) for hook in hooks] == [0, 0]
    assert set(vars(run.optimizer)) == before
    for each in (run, plain):
        each.step()
        each.schedule.go()
    assert equal(run.values(), plain.values())
    assert equal(run.optimizer.state_dict(), plain.optimizer.state_dict())


def test_betas_given_as_a_list_stay_what_torch_makes_of_them() -> None:
    betas: Any = [0.9, 0.99]
    optimizer = Adam([nn.Parameter(torch.ones(1))], betas=betas)
    before = copy.deepcopy(optimizer.state_dict()["param_groups"])
    knob = knobs_of(optimizer)["momentum"]
    knob.apply(1.05)
    used(optimizer)
    knob.detach()
    assert equal(optimizer.state_dict()["param_groups"], before)


def test_before_attach_nothing_is_installed_and_after_detach_one_may_attach_again() -> None:
    optimizer, _ = unit(0.25)
    (knob,) = optimizer_actuators(optimizer)
    assert not optimizer._optimizer_step_pre_hooks
    knob.apply(0.5)
    assert used(optimizer) == [0.25]
    assert knob.effective() is None
    knob.attach()
    assert used(optimizer) == [0.125]
    knob.detach()
    assert used(optimizer) == [0.25]
    knob.attach()
    assert used(optimizer) == [0.125]


def test_the_users_own_hooks_stay() -> None:
    optimizer, _ = unit(0.25)
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    knob = knobs_of(optimizer)["lr"]
    used(optimizer)
    knob.detach()
    used(optimizer)
    assert calls == ["before", "after"] * 2


# What is a knob, and which multipliers


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (lambda p: SGD(p, lr=0.1), ["lr"]),
        (lambda p: SGD(p, lr=0.1, momentum=0.9), ["lr", "momentum"]),
        (lambda p: SGD(p, lr=0.1, weight_decay=0.1), ["lr", "weight_decay"]),
        (lambda p: SGD(p, lr=0.0), ["lr"]),
        (lambda p: Adam(p), ["lr", "momentum", "beta2"]),
        (lambda p: AdamW(p), ["lr", "weight_decay", "momentum", "beta2"]),
        (lambda p: Adam(p, betas=(0.0, 0.99)), ["lr", "beta2"]),
        (lambda p: RMSprop(p, momentum=0.5), ["lr", "momentum"]),
        (lambda p: RMSprop(p), ["lr"]),
    ],
)
def test_an_optimizer_has_the_knobs_that_a_multiplier_can_move(
    optimizer: Callable[[list[nn.Parameter]], Optimizer], names: list[str]
) -> None:
    knobs = optimizer_actuators(optimizer([nn.Parameter(torch.zeros(1))]), "disc")
    assert [knob.name for knob in knobs] == [f"disc.{name}" for name in names]
    for knob in knobs:
        space = knob.describe_space()
        assert isinstance(space, Float)
        assert space.low < 1 < space.high
        assert space.log
        assert knob.read() == knob.snapshot() == 1.0


def test_a_rate_that_starts_at_zero_follows_its_schedule_up() -> None:
    optimizer, _ = unit(0.0)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    assert used(optimizer) == [0.0]
    optimizer.param_groups[0]["lr"] = 1.0
    assert used(optimizer) == [0.5]


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
def test_a_momentum_that_would_reach_one_is_refused(
    optimizer: Callable[[list[nn.Parameter]], Optimizer], name: str
) -> None:
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
    groups: Groups = [
        {"params": [nn.Parameter(torch.zeros(1))], "momentum": momentum}
        for momentum in (0.5, 0.95, 0.9)
    ]
    knob = knobs_of(SGD(groups, lr=0.1))["momentum"]
    assert knob.validate(1.05) is None
    assert knob.validate(1.06) is not None


def test_restoring_is_exempt_from_all_limits() -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    before = knob.snapshot()
    knob.apply(0.5)
    knob.restore(1000.0)
    assert used(optimizer) == [250.0]
    knob.restore(before)
    assert used(optimizer) == [0.25]


@pytest.mark.parametrize("thing", [None, 1.0, "sgd", [], {}, object(), nn.Linear(1, 1)])
def test_what_is_no_torch_optimizer_is_refused(thing: Any) -> None:
    with pytest.raises(ActuatorError, match=rf"optimizer: .*got {type(thing).__name__}"):
        optimizer_actuators(thing)


def test_an_optimizer_without_parameters_is_refused() -> None:
    empty: Groups = [{"params": []}]
    with pytest.raises(ActuatorError, match="no parameters"):
        optimizer_actuators(SGD(empty, lr=0.1))


# Any history


class Steps(RuleBasedStateMachine):
    """Against a model that knows three things: the schedule's rates, the multiplier, attached."""

    shared: bool = False  # one tensor rate for all groups

    @initialize(rates=st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=1, max_size=3))
    def begin(self, rates: list[float]) -> None:
        self.rate = double(rates[0])
        self.rates = [rates[0]] * len(rates) if self.shared else rates
        given = [self.rate] * len(rates) if self.shared else rates
        self.optimizer, _ = unit(*given)
        (self.knob,) = optimizer_actuators(self.optimizer)
        self.factor, self.attached = 1.0, False
        self.used: float | None = None
        self.stuck = False  # a closure raised, and nothing healed since

    def scaled(self) -> list[float]:
        return [rate * (self.factor if self.attached else 1.0) for rate in self.rates]

    @rule(factor=st.sampled_from([0.3, 0.5, 1.0, 1.7, 2.0]))
    def put_in_force(self, factor: float) -> None:
        self.knob.apply(factor)
        self.factor = factor

    @rule()
    def attach(self) -> None:
        self.knob.attach()
        self.attached = True

    @rule()
    def detach(self) -> None:
        self.knob.detach()
        self.attached = self.stuck = False

    @rule()
    def step(self) -> None:
        assert used(self.optimizer) == self.scaled()
        if self.attached:
            self.used = self.scaled()[0]
        self.stuck = False

    @rule()
    def step_that_raises(self) -> None:
        assert fail(self.optimizer) == self.scaled()
        if self.attached:
            self.used = self.scaled()[0]
        self.stuck = self.attached

    @rule()
    def heal(self) -> None:
        self.knob.heal()
        self.stuck = False

    @rule(rate=st.sampled_from([0.125, 0.75, 3.0]))
    def schedule(self, rate: float) -> None:
        """A closed form writes, as LambdaLR and hand-written loops do."""
        for group in self.optimizer.param_groups:
            if self.shared:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self.rates = [rate] * len(self.rates)

    @precondition(lambda self: len(self.rates) < 5)
    @rule()
    def add_group(self) -> None:
        parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        rate = self.rate if self.shared else 0.5
        self.optimizer.add_param_group({"params": [parameter], "lr": rate})
        self.rates = [*self.rates, self.rates[0] if self.shared else 0.5]

    @precondition(lambda self: not self.stuck and not self.shared)
    @rule()
    def reload(self) -> None:
        self.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))

    @invariant()
    def what_the_user_sees_is_the_schedule(self) -> None:
        if not self.stuck:
            assert [float(group["lr"]) for group in self.optimizer.param_groups] == self.rates
            assert self.knob.scheduled() == self.rates[0]

    @invariant()
    def the_knob_says_what_is_in_force_and_what_was_used(self) -> None:
        assert self.knob.read() == self.factor
        assert self.knob.effective() == self.used

    def teardown(self) -> None:
        if hasattr(self, "knob"):
            self.knob.detach()
            assert not self.optimizer._optimizer_step_pre_hooks
            assert [float(group["lr"]) for group in self.optimizer.param_groups] == self.rates


class SharedTensorSteps(Steps):
    """The same, with one tensor as the rate of all groups."""

    shared = True


TestSteps = Steps.TestCase
TestSteps.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestSharedTensorSteps = SharedTensorSteps.TestCase
TestSharedTensorSteps.settings = TestSteps.settings


@pytest.fixture(autouse=True)
def untouched_chance() -> Iterator[None]:
    """Nothing here may draw from torch's own chance."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_closure_that_raises_leaves_the_schedules_own_value_at_once() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    (rate, *_) = optimizer_actuators(optimizer)
    rate.attach()
    rate.apply(2.0)
    seen: list[float] = []

    def closure() -> float:
        seen.append(optimizer.param_groups[0]["lr"])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1
    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure=closure)
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1
    assert seen == [0.2, 0.2]
    rate.detach()


def test_a_momentum_that_a_schedule_raises_never_reaches_one() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.85)
    momentum = next(k for k in optimizer_actuators(optimizer) if k.name == "opt.momentum")
    momentum.attach()
    momentum.apply(1.1)
    used = []
    for scheduled in (0.85, 0.95):
        optimizer.param_groups[0]["momentum"] = scheduled
        parameter.grad = torch.zeros(1)
        optimizer.step()
        used.append(momentum.effective())
        assert optimizer.param_groups[0]["momentum"] == scheduled
    assert used == [0.85 * 1.1, 0.95]
    momentum.detach()
