"""Multipliers in step hooks: exact under every schedule, healed, and without a trace."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim import lr_scheduler as schedules

from gptune.actuators import Together, optimizer_actuators
from gptune.errors import ActuatorError
from tests.actuators.schedules import (
    CROSSED,
    MULTIPLIERS,
    OPTIMIZERS,
    REMOVED,
    SCHEDULES,
    SET,
    STEPS,
    Run,
    UserError,
    break_down,
    double,
    draws_nothing,
    equal,
    fail,
    hand_over,
    knobs_of,
    rates,
    saved_rates,
    set_gradients,
    unit,
    used,
)

RATES = pytest.mark.parametrize("rate", [0.25, double(0.25)], ids=["float", "tensor"])
WHICH = pytest.mark.parametrize("which", [["lr"], None], ids=["lr", "all"])

untouched_chance = pytest.fixture(autouse=True)(draws_nothing)


# Every schedule, every optimizer


def first_difference(optimizer: str, schedule: str, which: list[str] | None) -> int | None:
    """Compare a tuned run to one by hand and to an untuned one, step by step.

    Gives the first step whose parameters are not the untuned run's [steps].
    """
    tuned, plain, by_hand = (Run(optimizer, schedule) for _ in range(3))
    knobs = knobs_of(tuned.optimizer)
    factors = {name: MULTIPLIERS[name] for name in which or knobs}
    first = None
    for step in range(STEPS):
        if step in (SET, REMOVED):
            for name, factor in factors.items():
                knobs[name].apply(factor if step == SET else 1.0)
        hand_over(plain.optimizer, by_hand.optimizer, factors if SET <= step < REMOVED else {})
        for run in (tuned, plain, by_hand):
            run.step()
        tuned.schedule.go()
        plain.schedule.go()
        assert equal(tuned.values(), by_hand.values()), f"step {step}"
        groups, states = tuned.optimizer.state_dict(), by_hand.optimizer.state_dict()
        assert equal(groups["param_groups"], plain.optimizer.state_dict()["param_groups"])
        assert equal(groups["state"], states["state"])
        assert equal(tuned.schedule.state(), plain.schedule.state())
        if first is None and not equal(tuned.values(), plain.values()):
            first = step
    return first


@pytest.mark.parametrize("optimizer", CROSSED)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_multiplier_set_and_removed_is_multiplier_times_schedule_bit_for_bit(
    optimizer: str, schedule: str
) -> None:
    assert first_difference(optimizer, schedule, None) == SET


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_so_it_is_for_the_rate_alone(optimizer: str, schedule: str) -> None:
    assert first_difference(optimizer, schedule, ["lr"]) == SET


# When a multiplier of the rate is first felt, where that is not the step that it is set at.
FELT: dict[tuple[str, bool], int | None] = {
    ("ASGD", True): SET + 1,  # a step moves by the rate that the step before has computed
    ("Rprop", True): None,  # the rate only starts its step sizes
    ("Rprop", False): None,  # and it has no other knob
}


@WHICH
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_so_it_is_for_every_optimizer_of_torch(optimizer: str, which: list[str] | None) -> None:
    felt = FELT.get((optimizer, which is not None), SET)
    assert first_difference(optimizer, "SequentialLR", which) == felt


def test_every_scheduler_of_torch_is_tried() -> None:
    public = {getattr(schedules, name) for name in schedules.__all__} - {schedules.LRScheduler}
    public |= {
        kind
        for name, kind in vars(schedules).items()
        if not name.startswith("_") and isinstance(kind, type)
        if issubclass(kind, schedules.LRScheduler) and kind is not schedules.LRScheduler
    }
    made = {type(make(Run("SGD", "none").optimizer)) for make in SCHEDULES.values()}
    assert public - made == set()
    assert len(SCHEDULES) >= 21


def test_every_optimizer_of_torch_is_tried() -> None:
    public = {
        kind
        for name, kind in vars(torch.optim).items()
        if not name.startswith("_") and isinstance(kind, type)
        if issubclass(kind, Optimizer) and kind is not Optimizer
    }
    assert {type(Run(name, "none").optimizer) for name in OPTIMIZERS} == public


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "none"])
def test_every_schedule_under_test_moves_while_a_multiplier_is_in_force(schedule: str) -> None:
    run = Run("SGD", schedule)
    moved: list[tuple[float, float]] = []
    for step in range(STEPS):
        if SET <= step < REMOVED:
            (group, _) = run.optimizer.param_groups
            moved.append((group["lr"], group["momentum"]))
        run.step()
        run.schedule.go()
    scheduled, momenta = (set(values) for values in zip(*moved, strict=True))
    assert len(scheduled) > 1
    assert min(scheduled) > 0
    assert (len(momenta) > 1) == (schedule in ("CyclicLR", "OneCycleLR"))


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


@pytest.mark.parametrize("optimizer", CROSSED)
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
        before = rates(run.optimizer)
        if attached and ends:
            knobs_of(run.optimizer)["lr"].apply(0.5)
        if not attached:
            for group in run.optimizer.param_groups:
                group["lr"] *= 0.5
        run.step()
        if attached:
            assert before == rates(run.optimizer)
        ends.append(run.values())
    assert equal(ends[0], ends[1])
    assert equal(ends[0], ends[2])


# Rates as tensors, several groups, late groups


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
    assert rates(optimizer) == [0.25, 0.5, 0.125]


@RATES
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


@RATES
def test_what_the_user_writes_after_a_failed_step_is_not_overwritten(rate: float | Tensor) -> None:
    for failing in (fail, break_down):
        optimizer, _ = unit(rate.clone() if isinstance(rate, Tensor) else rate)
        knobs_of(optimizer)["lr"].apply(0.5)
        failing(optimizer)
        (group,) = optimizer.param_groups
        if isinstance(rate, Tensor):
            group["lr"].fill_(1.0)
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
    given_rates: list[float], factor: float, tensors: bool
) -> None:
    optimizer, _ = unit(*(double(r) if tensors else r for r in given_rates))
    knobs_of(optimizer)["lr"].apply(factor)
    assert used(optimizer) == [rate * factor for rate in given_rates]
    assert rates(optimizer) == given_rates


@settings(deadline=None)
@given(
    st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=3),
    st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6),
    st.booleans(),
)
def test_after_any_multipliers_every_group_holds_what_was_there_bit_for_bit(
    given_rates: list[float], factors: list[float], tensors: bool
) -> None:
    wanted = [double(rate) if tensors else rate for rate in given_rates]
    optimizer, _ = unit(*wanted)
    knob = knobs_of(optimizer)["lr"]
    before = knob.snapshot()
    for factor in factors:
        knob.apply(factor)
        used(optimizer)
    knob.restore(before)
    assert used(optimizer) == given_rates
    for group, rate in zip(optimizer.param_groups, wanted, strict=True):
        assert group["lr"] is rate or (not tensors and group["lr"] == rate)
    assert rates(optimizer) == given_rates


def test_a_group_added_late_is_scaled_too() -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    used(optimizer)
    late = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer.add_param_group({"params": [late], "lr": 0.75})
    assert used(optimizer) == [0.125, 0.375]
    assert rates(optimizer) == [0.25, 0.75]


def test_load_state_dict_in_between_replaces_the_groups_and_the_multiplier_goes_on() -> None:
    optimizer, _ = unit(0.25, 0.5)
    knobs_of(optimizer)["lr"].apply(0.5)
    used(optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    assert [group["lr"] for group in saved["param_groups"]] == [0.25, 0.5]
    saved["param_groups"][0]["lr"] = 1.0
    optimizer.load_state_dict(saved)
    assert used(optimizer) == [0.5, 0.25]
    assert rates(optimizer) == [1.0, 0.5]


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


@pytest.mark.parametrize("save", [Optimizer.state_dict, copy.deepcopy], ids=["save", "copy"])
def test_what_a_closure_saves_does_not_take_the_multiplier_from_its_step(
    save: Callable[[Any], Any],
) -> None:
    optimizer, (parameter,) = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)

    def closure() -> float:
        parameter.grad = torch.ones_like(parameter)
        save(optimizer if save is Optimizer.state_dict else (knob, optimizer))
        return 0.0

    optimizer.step(closure)
    assert knob.effective() == -float(parameter.detach()) == 0.125
    assert optimizer.param_groups[0]["lr"] == 0.25


@RATES
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_a_multiplier_changed_and_then_saved_in_a_closure_holds_from_the_next_step_on(
    rate: float | Tensor, factor: float
) -> None:
    optimizer, (parameter,) = unit(rate.clone() if isinstance(rate, Tensor) else rate)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    saved: list[float] = []

    def closure() -> float:
        parameter.grad = torch.ones_like(parameter)
        knob.apply(factor)
        saved.extend(saved_rates(optimizer))
        return 0.0

    optimizer.step(closure)
    assert saved == [0.25]
    assert knob.effective() == -float(parameter.detach()) == 0.125
    assert rates(optimizer) == [0.25]
    assert used(optimizer) == [0.25 * factor]


def test_a_step_captured_before_the_knob_was_made_is_scaled_too() -> None:
    optimizer, (parameter,) = unit(0.25)
    step = optimizer.step
    knobs_of(optimizer)["lr"].apply(0.5)
    parameter.grad = torch.ones_like(parameter)
    step()
    assert float(parameter.detach()) == -0.125


# Steps that raise


@RATES
@pytest.mark.parametrize("how", ["next step", "heal", "detach", "save"])
@pytest.mark.parametrize("failing", [fail, break_down], ids=["closure", "step"])
def test_what_a_step_that_raised_left_scaled_is_healed(
    rate: float | Tensor, how: str, failing: Callable[[Optimizer], list[float]]
) -> None:
    optimizer, _ = unit(rate.clone() if isinstance(rate, Tensor) else rate, 0.5)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    assert failing(optimizer) == [0.125, 0.25]
    if how == "heal":
        knob.heal()
    elif how == "detach":
        knob.detach()
    elif how == "save":
        assert saved_rates(optimizer) == [0.25, 0.5]
    else:
        assert used(optimizer) == [0.125, 0.25]
    assert rates(optimizer) == [0.25, 0.5]
    assert used(optimizer) == ([0.25, 0.5] if how == "detach" else [0.125, 0.25])


@pytest.mark.parametrize("failing", [fail, break_down], ids=["closure", "step"])
def test_failures_in_a_row_do_not_compound(failing: Callable[[Optimizer], list[float]]) -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    assert [failing(optimizer) for _ in range(3)] == [[0.125]] * 3
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


def test_a_closure_that_raises_leaves_the_schedules_own_value_at_once() -> None:
    optimizer, _ = unit(0.1)
    knobs_of(optimizer)["lr"].apply(2.0)
    seen: list[float] = []

    def closure() -> float:
        seen.append(optimizer.param_groups[0]["lr"])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert saved_rates(optimizer) == [0.1]
    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure=closure)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert saved_rates(optimizer) == [0.1]
    assert seen == [0.2, 0.2]


def test_a_checkpoint_made_right_after_a_broken_gradient_holds_the_schedules_own_values() -> None:
    parameter = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = AdamW([parameter], lr=0.25, betas=(0.5, 0.75), weight_decay=0.5)
    before = copy.deepcopy(optimizer.state_dict()["param_groups"])
    for knob in knobs_of(optimizer).values():
        knob.apply(1.25)
    parameter.grad = torch.ones(2, dtype=torch.float64).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    assert equal(optimizer.state_dict()["param_groups"], before)
    assert equal(optimizer.param_groups[0]["betas"], (0.5, 0.75))


# Leaving no trace


def hooks_in(optimizer: Optimizer) -> list[int]:
    """Count the hooks: before the step and after it, before saving and after it, and on loading."""
    kinds: tuple[dict[int, Any], ...] = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        optimizer._optimizer_state_dict_pre_hooks,
        optimizer._optimizer_state_dict_post_hooks,
        optimizer._optimizer_load_state_dict_pre_hooks,
        optimizer._optimizer_load_state_dict_post_hooks,
    )
    return [len(kind) for kind in kinds]


NONE, ALL = [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("name", CROSSED)
def test_detach_leaves_no_trace(name: str) -> None:
    run, plain = Run(name, "OneCycleLR"), Run(name, "OneCycleLR")
    before = set(vars(run.optimizer))
    knobs = knobs_of(run.optimizer)
    for knob in knobs.values():
        knob.attach()
    assert hooks_in(run.optimizer) == ALL, "attaching twice is attaching once"
    knobs["lr"].apply(0.5)
    for knob in knobs.values():
        knob.detach()
    assert hooks_in(run.optimizer) == NONE
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
    knob = knobs_of(optimizer, attached=False)["lr"]
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


# Whose knobs act


def test_two_optimizers_with_knobs_of_both_move_on_their_own() -> None:
    (one, _), (other, _) = unit(0.25), unit(0.5, 1.0)
    mine, theirs = knobs_of(one, name="gen")["lr"], knobs_of(other, name="disc")["lr"]
    mine.apply(0.5)
    theirs.apply(4.0)
    assert (mine.name, theirs.name) == ("gen.lr", "disc.lr")
    assert (used(one), used(other)) == ([0.125], [2.0, 4.0])
    assert (mine.effective(), theirs.effective()) == (0.125, 2.0)
    mine.detach()
    assert (used(one), used(other)) == ([0.25], [2.0, 4.0])
    assert (mine.fired(), theirs.fired()) == (1, 2)


def test_a_second_list_of_knobs_is_refused_while_the_first_is_attached() -> None:
    optimizer, _ = unit(0.25)
    first, second = knobs_of(optimizer)["lr"], knobs_of(optimizer, attached=False)["lr"]
    first.apply(0.5)
    second.apply(0.5)
    with pytest.raises(ActuatorError, match="another Tuner"):
        second.attach()
    assert used(optimizer) == [0.125]
    assert second.fired() == 0
    first.detach()
    second.attach()
    assert used(optimizer) == [0.125]
    with pytest.raises(ActuatorError, match="another Tuner"):
        first.attach()


def test_a_list_that_was_forgotten_unattached_is_in_nobodys_way() -> None:
    optimizer, _ = unit(0.25)
    forgotten = knobs_of(optimizer)["lr"]
    forgotten.detach()
    del forgotten
    knobs_of(optimizer)["lr"].apply(0.5)
    assert used(optimizer) == [0.125]


# Copies


def through_pickle(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


COPIES = pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])


@RATES
@COPIES
def test_copied_knobs_belong_to_the_copied_optimizer_and_act_once_they_are_attached(
    rate: float | Tensor, copied: Callable[[Any], Any]
) -> None:
    optimizer, _ = unit(rate, 0.5)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    used(optimizer)
    twin, twins_knob = copied((optimizer, knob))
    assert hooks_in(twin) == NONE
    assert twins_knob.read() == 0.5
    assert rates(twin) == [0.25, 0.5]
    assert used(twin) == [0.25, 0.5], "not attached yet"
    twins_knob.attach()
    assert used(twin) == [0.125, 0.25]
    twins_knob.apply(4.0)
    assert used(twin) == [1.0, 2.0]
    assert twins_knob.effective() == 1.0
    assert (knob.read(), knob.effective(), knob.fired()) == (0.5, 0.125, 1)
    assert used(optimizer) == [0.125, 0.25]
    assert (twins_knob.fired(), knob.fired()) == (3, 2), "each goes on from where it was copied"
    twins_knob.detach()
    assert hooks_in(optimizer) == ALL


@COPIES
def test_a_copied_list_of_knobs_shares_the_hooks_of_the_copy(copied: Callable[[Any], Any]) -> None:
    optimizer = Adam([nn.Parameter(torch.zeros(1))], lr=0.25, betas=(0.5, 0.75))
    twin, (rate, eps, betas) = copied((optimizer, optimizer_actuators(optimizer)))
    assert isinstance(betas, Together)
    assert [knob.name for knob in (rate, eps, *betas.parts())] == [
        "opt.lr",
        "opt.eps",
        "opt.momentum",
        "opt.beta2",
    ]
    betas.apply((1.5, 1.25))
    eps.apply(2.0)
    rate.attach()
    for part in betas.parts():
        part.attach()
    assert hooks_in(twin) == ALL
    set_gradients(twin)
    twin.step()
    assert [part.effective() for part in betas.parts()] == [0.75, 0.9375]
    assert twin.param_groups[0]["betas"] == (0.5, 0.75)


@RATES
@COPIES
def test_a_copy_of_the_optimizer_alone_is_clean(
    rate: float | Tensor, copied: Callable[[Any], Any]
) -> None:
    optimizer, _ = unit(rate, 0.5)
    knobs_of(optimizer)["lr"].apply(0.5)
    used(optimizer)
    twin = copied(optimizer)
    assert hooks_in(twin) == NONE
    assert used(twin) == rates(twin) == [0.25, 0.5]
    assert knobs_of(twin)["lr"].read() == 1.0
    assert used(optimizer) == [0.125, 0.25]


@RATES
@COPIES
@pytest.mark.parametrize("first", ["optimizer", "knob"])
def test_a_copy_made_right_after_a_step_that_raised_stands_on_the_schedule(
    rate: float | Tensor, copied: Callable[[Any], Any], first: str
) -> None:
    optimizer, _ = unit(rate.clone() if isinstance(rate, Tensor) else rate, 0.5)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    break_down(optimizer)
    if first == "optimizer":
        twin, twins_knob = copied((optimizer, knob))
    else:
        twins_knob, twin = copied((knob, optimizer))
    assert rates(twin) == [0.25, 0.5]
    twins_knob.attach()
    assert used(twin) == [0.125, 0.25]


# Steps seen


def test_the_steps_that_were_seen_are_counted() -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer, attached=False)["lr"]
    used(optimizer)
    assert knob.fired() == 0
    knob.attach()
    for count in range(1, 4):
        used(optimizer)
        assert knob.fired() == count
    fail(optimizer)
    assert knob.fired() == 4, "a step that raises was seen as well"
    knob.detach()
    used(optimizer)
    assert knob.fired() == 4


def test_when_somebody_removes_the_hooks_the_count_stops() -> None:
    optimizer, _ = unit(0.25)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    assert used(optimizer) == [0.125]
    assert knob.fired() == 1
    optimizer._optimizer_step_pre_hooks.clear()
    assert used(optimizer) == [0.25]
    assert knob.fired() == 1
    knob.detach()
    knob.attach()
    assert used(optimizer) == [0.125]
    assert knob.fired() == 2


@pytest.mark.parametrize("fused", [False, True], ids=["single", "fused"])
def test_a_step_that_the_gradient_scaler_skips_changes_nothing(fused: bool) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = SGD([parameter], lr=0.25, fused=fused)
    knob = knobs_of(optimizer)["lr"]
    knob.apply(0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    seen = []
    for slope in (1.0, math.inf, 1.0, math.inf):
        optimizer.zero_grad()
        scaler.scale((parameter * slope).sum()).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        seen.append((float(parameter.detach()), knob.fired()))
        assert rates(optimizer) == saved_rates(optimizer) == [0.25]
    values, counts = zip(*seen, strict=True)
    assert values == (-0.125, -0.125, -0.25, -0.25)
    assert counts == ((1, 2, 3, 4) if fused else (1, 1, 2, 2)), "fused steps skip inside"
    assert knob.effective() == 0.125


# Compiled steps


def compiled_run(tensor: bool, how: str) -> tuple[int, list[Tensor]]:
    """Make 30 compiled steps, each with a rate of its own; gives the graphs and the parameters."""
    parameters = [nn.Parameter(torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)) for _ in "ab"]
    optimizer = AdamW(parameters, lr=double(0.1) if tensor else 0.1, foreach=False)
    knobs = knobs_of(optimizer, attached=how == "hooks")
    scheduler = schedules.LambdaLR(optimizer, lambda t: 1 / (1 + 0.3 * t))
    (group,) = optimizer.param_groups
    graphs: list[Any] = []

    def count(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    step = torch.compile(optimizer.step, backend=count)
    for number in range(30):
        factor, own = 0.5 + 0.03 * number, group["lr"]
        set_gradients(optimizer, 1.0 + number)
        knobs["lr"].apply(factor)
        if how == "by hand":
            group["lr"] = own * factor
        step()
        if how == "by hand":
            group["lr"] = own
        assert group["lr"] is own
        scheduler.step()
    torch._dynamo.reset()
    return len(graphs), [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("tensor", [False, True], ids=["float", "tensor"])
def test_a_compiled_step_needs_no_more_graphs_and_is_exact(tensor: bool) -> None:
    (graphs, tuned), (by_hand_graphs, by_hand), (plain_graphs, plain) = (
        compiled_run(tensor, how) for how in ("hooks", "by hand", "without")
    )
    assert graphs == plain_graphs == by_hand_graphs
    assert equal(tuned, by_hand)
    assert not equal(tuned, plain)


# Any history


class Steps(RuleBasedStateMachine):
    """Against a model that knows three things: the schedule's rates, the multiplier, attached."""

    shared: bool = False  # one tensor rate for all groups

    @initialize(given_rates=st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=1, max_size=3))
    def begin(self, given_rates: list[float]) -> None:
        self.rate = double(given_rates[0])
        self.rates = [given_rates[0]] * len(given_rates) if self.shared else given_rates
        given = [self.rate] * len(given_rates) if self.shared else given_rates
        self.optimizer, _ = unit(*given)
        self.knob = knobs_of(self.optimizer, attached=False)["lr"]
        self.factor, self.attached, self.count = 1.0, False, 0
        self.used: float | None = None
        self.stuck = False  # a step raised by itself, and nothing healed since

    def scaled(self) -> list[float]:
        return [rate * (self.factor if self.attached else 1.0) for rate in self.rates]

    def was_seen(self) -> None:
        if self.attached:
            self.used = self.scaled()[0]
            self.count += 1

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
        self.was_seen()
        self.stuck = False

    @rule()
    def step_whose_closure_raises(self) -> None:
        assert fail(self.optimizer) == self.scaled()
        self.was_seen()
        self.stuck = False

    @rule()
    def step_that_raises(self) -> None:
        assert break_down(self.optimizer) == self.scaled()
        self.was_seen()
        self.stuck = self.attached

    @rule()
    def heal(self) -> None:
        self.knob.heal()
        self.stuck = False

    @rule()
    def save(self) -> None:
        assert saved_rates(self.optimizer) == self.rates
        self.stuck = False

    # No product of another rate and a multiplier: in a tensor, the two could not be told apart.
    @rule(rate=st.sampled_from([0.11, 0.77, 3.3]))
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

    @precondition(lambda self: not self.shared)
    @rule()
    def reload(self) -> None:
        self.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        self.stuck = False

    @invariant()
    def what_the_user_sees_is_the_schedule(self) -> None:
        if not self.stuck:
            assert rates(self.optimizer) == self.rates
            assert self.knob.scheduled() == self.rates[0]

    @invariant()
    def the_knob_says_what_is_in_force_and_what_was_used(self) -> None:
        assert self.knob.read() == self.factor
        assert self.knob.effective() == self.used
        assert self.knob.fired() == self.count

    def teardown(self) -> None:
        if vars(self).get("knob") is not None:
            self.knob.detach()
            assert hooks_in(self.optimizer) == NONE
            assert rates(self.optimizer) == self.rates


class SharedTensorSteps(Steps):
    """The same, with one tensor as the rate of all groups."""

    shared = True


TestSteps = Steps.TestCase
TestSteps.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestSharedTensorSteps = SharedTensorSteps.TestCase
TestSharedTensorSteps.settings = TestSteps.settings


# Values that a schedule raises


@pytest.mark.parametrize("momentum", [0.85, double(0.85)], ids=["float", "tensor"])
def test_a_momentum_that_a_schedule_raises_never_reaches_one(momentum: Any) -> None:
    parameter = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = SGD([parameter], lr=0.1, momentum=momentum)
    knob = knobs_of(optimizer, attached=False)["momentum"]
    knob.attach()
    knob.apply(1.1)
    seen = []
    for scheduled in (0.85, 0.95):
        kept = double(scheduled) if isinstance(momentum, Tensor) else scheduled
        optimizer.param_groups[0]["momentum"] = kept
        set_gradients(optimizer, 0.0)
        optimizer.step()
        seen.append(knob.effective())
        assert optimizer.param_groups[0]["momentum"] is kept
        assert float(kept) == scheduled
    assert seen == [0.85 * 1.1, 0.95]
    knob.detach()
