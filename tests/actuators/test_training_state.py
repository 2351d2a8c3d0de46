"""Two ways back: in a run, where time only moves forward; and in a new process, with everything."""

import copy
import gc
import io
import random
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import AveragedModel

from gptune.actuators import optimizer_actuators, parts_of
from gptune.actuators.chance import get_chance, set_chance
from gptune.actuators.training_state import TrainingState
from gptune.actuators.values import ValueKnob, value_actuator
from gptune.errors import ActuatorError, StateError
from gptune.records import Float
from tests.actuators.comparing import bits, tensors_in
from tests.actuators.schedules import OPTIMIZERS, SCHEDULES, STEPS, Run, UserError, break_down

NAN = float("nan")


@pytest.fixture(autouse=True)
def _keep_chance() -> Iterator[None]:
    before = get_chance()
    torch.manual_seed(5)
    yield
    set_chance(before)


# What is compared


def buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """List all buffers, those that are not saved and those that are None included."""
    owners = module.named_modules()
    return {f"{n}.{k}": b for n, owner in owners for k, b in owner._buffers.items()}


def learnt(state: TrainingState) -> Any:
    """Give, to the bit, all that goes back in a run."""
    modules = [state.model, *(e for e in state.extras.values() if isinstance(e, nn.Module))]
    extras = {n: e.state_dict() for n, e in state.extras.items() if not isinstance(e, nn.Module)}
    scaler = None if state.scaler is None else state.scaler.state_dict()
    return bits(
        {
            "parameters": [dict(module.named_parameters()) for module in modules],
            "buffers": [buffers_of(module) for module in modules],
            "optimizers": [optimizer.state_dict()["state"] for optimizer in state.optimizers],
            "scaler": scaler,
            "extras": extras,
        }
    )


def everything(state: TrainingState) -> Any:
    """Give, to the bit, all that goes back when a run is resumed."""
    return bits(state.state_dict())


def moved_by_schedules(optimizer: Optimizer) -> Any:
    return bits(
        [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    )


def poison(state: TrainingState, with_what: float = NAN) -> None:
    """Write NaN wherever a step can write."""
    modules = [state.model, *(e for e in state.extras.values() if isinstance(e, nn.Module))]
    kept = [list(optimizer.state.values()) for optimizer in state.optimizers]
    places = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    with torch.no_grad():
        for tensor in (*places, *tensors_in(kept)):
            tensor.fill_(with_what if tensor.is_floating_point() else 7)
    if state.scaler is not None:
        state.scaler.update(float("inf"))


# A run with all that is random or keeps a state


class Net(nn.Module):
    """Batch norm and dropout between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        made: Tensor = self.body(inputs)
        return made


class Training:
    """AdamW, a gradient scaler, an averaged model, and all kinds of chance in the data."""

    def __init__(self, schedule: str = "none", seed: int = 0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = Net()
        groups = [
            {"params": [p for p in self.net.parameters() if p.dim() > 1], "lr": 0.01},
            {"params": [p for p in self.net.parameters() if p.dim() < 2], "lr": 0.003},
        ]
        self.optimizer = AdamW(groups, lr=0.01)
        self.scheduler = SCHEDULES[schedule](self.optimizer)
        self.scaler = GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
        self.average = AveragedModel(self.net)
        self.drawn = 0.0
        self.state = TrainingState(
            self.net,
            self.optimizer,
            scheduler=self.scheduler,
            scaler=self.scaler,
            extras={"average": self.average},
        )

    def step(self, *, overflows: bool = False) -> None:
        inputs = torch.randn(8, 4) + random.random()
        self.drawn = float(np.random.rand())  # noqa: NPY002
        self.optimizer.zero_grad()
        loss = (self.net(inputs) - inputs.sum(1, keepdim=True) * self.drawn).square().mean()
        self.scaler.scale(loss).backward()
        if overflows:
            for parameter in self.net.parameters():
                assert parameter.grad is not None
                parameter.grad.fill_(float("inf"))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update_parameters(self.net)
        if isinstance(self.scheduler, schedules.ReduceLROnPlateau):
            self.scheduler.step(self.drawn)
        elif self.scheduler is not None:
            self.scheduler.step()

    def go(self, steps: int) -> list[Any]:
        """Make some steps, every fourth of which overflows; gives what each of them left."""
        walk = []
        for number in range(steps):
            self.step(overflows=number % 4 == 2)
            walk.append((learnt(self.state), moved_by_schedules(self.optimizer), self.drawn))
        return walk


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


def state_of(model: nn.Module, **rest: Any) -> TrainingState:
    return TrainingState(model, SGD(model.parameters(), lr=0.1, momentum=0.9), **rest)


def descend(state: TrainingState, steps: int = 1) -> None:
    """Make steps on gradients that depend on the weights."""
    for _ in range(steps):
        for parameter in state.model.parameters():
            parameter.grad = torch.sin(parameter.detach() * 3) + 0.1
        for optimizer in state.optimizers:
            optimizer.step()


# In a run: bit for bit, again and again


def test_every_restore_from_one_snapshot_is_bit_exact_and_goes_on_the_same_way() -> None:
    training = Training()
    training.go(5)
    training.state.save()
    then, scale = learnt(training.state), training.scaler.get_scale()
    walks = []
    for number in range(3):
        seed_all(11)
        walks.append(training.go(6))
        assert training.scaler.get_scale() != scale
        if number:
            poison(training.state)
        training.state.restore()
        assert learnt(training.state) == then
        assert training.scaler.get_scale() == scale
    assert walks[0] == walks[1] == walks[2]


@pytest.mark.parametrize("with_what", [NAN, float("inf"), -float("inf")], ids=str)
def test_nothing_that_is_not_finite_survives_a_restore(with_what: float) -> None:
    training = Training()
    training.go(3)
    training.state.save()
    then = learnt(training.state)
    poison(training.state, with_what)
    assert learnt(training.state) != then
    training.state.restore()
    assert learnt(training.state) == then
    seed_all(1)
    training.step()
    assert all(parameter.isfinite().all() for parameter in training.net.parameters())


def full_history(groups: list[dict[str, Any]]) -> LBFGS:
    parameters = [p for group in groups for p in group["params"]]
    return LBFGS(parameters, lr=0.5, max_iter=2, history_size=2, line_search_fn="strong_wolfe")


ALL_OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], Optimizer]] = {
    **OPTIMIZERS,
    "LBFGS with a full history": full_history,
}


@pytest.mark.parametrize("steps_before", [0, 4])
@pytest.mark.parametrize("name", ALL_OPTIMIZERS)
def test_each_optimizer_goes_back_bit_exactly_and_goes_on_the_same_way(
    name: str, steps_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPTIMIZERS, name, ALL_OPTIMIZERS[name])
    run = Run(name, "none")
    state = TrainingState(nn.ParameterList(run.parameters), run.optimizer)
    for _ in range(steps_before):
        run.step()
    state.save()
    then, kept = learnt(state), len(run.optimizer.state)
    walks: list[list[Any]] = [[], [], []]
    for walk in walks:
        for _ in range(3):
            run.step()
            walk.append(learnt(state))
        poison(state)
        state.restore()
        assert learnt(state) == then
        assert len(run.optimizer.state) == kept  # before the first step there was none
    assert walks[0] == walks[1] == walks[2]


def test_several_optimizers_go_back_together() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    pair = [Adam(model[0].parameters()), SGD(model[1].parameters(), lr=0.1, momentum=0.9)]
    state = TrainingState(model, pair)
    descend(state, 2)
    state.save()
    then = learnt(state)
    descend(state)
    pair[0].state.clear()
    assert learnt(state) != then
    state.restore()
    assert learnt(state) == then


def test_parameters_that_were_frozen_or_thawed_since_go_back_and_stay_so() -> None:
    model = nn.Linear(2, 2)
    state = state_of(model)
    model.bias.requires_grad_(False)
    descend(state)
    state.save()
    then = learnt(state)
    descend(state)
    model.weight.requires_grad_(False)
    model.bias.requires_grad_(True)
    state.restore()
    assert learnt(state) == then
    assert (model.weight.requires_grad, model.bias.requires_grad) == (False, True)


class Counting(SGD):
    """It keeps in its groups what others keep by parameter, as Prodigy and schedule-free do."""

    def __init__(self, parameters: Any, **how: Any) -> None:
        super().__init__(parameters, **how)
        for group in self.param_groups:
            group.update(k=0, d=1e-6, seen=[], estimate=torch.zeros(2))

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        for group in self.param_groups:
            group["k"] += 1
            group["d"] *= 1.5
            group["seen"].append(group["k"])
            group["estimate"].add_(group["d"])


def counters(optimizer: Optimizer) -> Any:
    return bits([{k: g[k] for k in ("k", "d", "seen", "estimate")} for g in optimizer.param_groups])


def test_what_an_optimizer_counts_in_its_groups_goes_back_but_not_what_schedules_move() -> None:
    model = nn.Linear(2, 2)
    optimizer = Counting(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    state = TrainingState(model, optimizer)
    descend(state, 2)
    state.save()
    then, parts = learnt(state), counters(optimizer)
    place = optimizer.param_groups[0]["estimate"].data_ptr()
    for number in range(3):
        descend(state, 2)
        moved = {"lr": 0.05 / (number + 1), "momentum": 0.8, "weight_decay": 0.01}
        optimizer.param_groups[0].update(moved)
        assert counters(optimizer) != parts
        state.restore()
        assert (learnt(state), counters(optimizer)) == (then, parts)
        assert {key: optimizer.param_groups[0][key] for key in moved} == moved
        assert optimizer.param_groups[0]["estimate"].data_ptr() == place


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_what_an_optimizer_gave_of_itself_before_a_restore_goes_back_with_it(kind: Any) -> None:
    model = nn.Linear(2, 2)
    options = {"momentum": 0.9} if kind is SGD else {}
    optimizer = kind(model.parameters(), lr=0.1, **options)
    state = TrainingState(model, optimizer)
    state.save()
    descend(state, 3)
    given = optimizer.state_dict()
    state.restore()
    assert not any(given["state"].values())
    fresh = nn.Linear(2, 2)
    fresh.load_state_dict(model.state_dict())
    other = kind(fresh.parameters(), lr=0.1, **options)
    other.load_state_dict(given)
    descend(state, 3)
    descend(TrainingState(fresh, other), 3)
    assert torch.equal(fresh.weight, model.weight)


def test_a_group_that_was_added_since_is_left_alone_and_forgets_its_state() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = Counting(model[0].parameters(), lr=0.1, momentum=0.9)
    state = TrainingState(model, optimizer)
    descend(state)
    state.save()
    then, parts = learnt(state), counters(optimizer)
    optimizer.add_param_group({"params": list(model[1].parameters()), "lr": 0.7})
    optimizer.param_groups[1].update(k=10, d=1.0, seen=[], estimate=torch.ones(2))
    for _ in range(3):
        descend(state)
        added = optimizer.param_groups[1]
        optimizer.param_groups[1]["lr"] = 0.7
        optimizer.param_groups[0]["seen"].clear()
        state.restore()
        assert learnt(state) == then
        assert bits([counters(optimizer)[1][0]]) == bits([parts[1][0]])
        assert optimizer.param_groups[1] is added
        assert added["lr"] == 0.7


# In a run: time only moves forward

TIMED: dict[str, Callable[[Optimizer], Any]] = {
    "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 20, eta_min=1e-4),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, 0.1, total_steps=21),
    "LinearLR": lambda o: schedules.LinearLR(o, 1.0, 0.01, total_iters=20),
    "SequentialLR": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=5), schedules.CosineAnnealingLR(o, 15)], [5]
    ),
}
ENDS = {"CosineAnnealingLR": 1e-4, "OneCycleLR": 4e-7, "LinearLR": 1e-4, "SequentialLR": 0.0}


@pytest.mark.parametrize("name", TIMED)
def test_a_schedule_ends_at_its_minimum_however_often_the_run_goes_back(name: str) -> None:
    paths = []
    for restores in ((), (7, 8, 15)):
        model = nn.Linear(2, 1)
        optimizer = AdamW(model.parameters(), lr=0.01)
        scheduler = TIMED[name](optimizer)
        state = TrainingState(model, optimizer, scheduler=scheduler)
        path = []
        for step in range(20):
            if step == 4:
                state.save()
            descend(state)
            scheduler.step()
            if step in restores:
                before = (bits(scheduler.state_dict()), moved_by_schedules(optimizer))
                state.restore()
                after = (bits(scheduler.state_dict()), moved_by_schedules(optimizer))
                assert after == before
            path.append(moved_by_schedules(optimizer))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(ENDS[name], rel=1e-9, abs=1e-12)
        paths.append(path)
    assert paths[0] == paths[1]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "AdamW fused tensor"])
def test_no_schedule_notices_a_restore(optimizer: str, schedule: str) -> None:
    run = Run(optimizer, schedule)
    made = None if callable(run.schedule.made) else run.schedule.made
    state = TrainingState(nn.ParameterList(run.parameters), run.optimizer, scheduler=made)
    for step in range(STEPS):
        run.step()
        run.schedule.go()
        if step == 6:
            state.save()
            then = learnt(state)
        if step in (7, 13):
            before = (moved_by_schedules(run.optimizer), bits(run.schedule.state()))
            state.restore()
            assert learnt(state) == then
            assert (moved_by_schedules(run.optimizer), bits(run.schedule.state())) == before


def test_chance_goes_on_over_a_restore() -> None:
    training = Training()
    training.state.save()
    training.go(2)
    before = bits(get_chance())
    training.state.restore()
    assert bits(get_chance()) == before


# In a run: in place


def places(state: TrainingState) -> list[int]:
    modules = [state.model, *(e for e in state.extras.values() if isinstance(e, nn.Module))]
    kept = [list(optimizer.state.values()) for optimizer in state.optimizers]
    held = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    return [tensor.data_ptr() for tensor in (*held, *tensors_in(kept))]


def test_every_tensor_stays_where_it_is() -> None:
    training = Training()
    training.go(4)
    before = places(training.state)
    training.state.save()
    for _ in range(2):
        training.go(2)
        training.state.restore()
        assert places(training.state) == before


@pytest.mark.parametrize("outer", [False, True], ids=["model given", "compiled model given"])
def test_compiled_code_and_closures_see_the_restored_values(outer: bool) -> None:
    torch.compiler.reset()
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
    compiled: Any = torch.compile(model, backend="eager")
    state = state_of(compiled if outer else model)
    inputs = torch.ones(4, 2)
    first, weight = compiled(inputs).detach().clone(), next(model.parameters())

    def total() -> float:
        return float(weight.detach().sum())

    state.save()
    then = total()
    descend(state, 3)
    assert not torch.equal(compiled(inputs), first)
    state.restore()
    assert torch.equal(compiled(inputs), first)
    assert total() == then


# In a run: buffers, tied weights, extra state, extras


class Buffered(nn.Module):
    """Buffers of all kinds, in a module inside."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.inner = nn.Module()
        self.inner.register_buffer("count", torch.arange(3.0))
        self.inner.register_buffer("other", torch.ones(3))
        self.inner.register_buffer("window", torch.ones(2), persistent=False)
        self.inner.register_buffer("later", None)
        self.inner.register_buffer("tokens", torch.arange(4))

    def set(self, name: str, value: Tensor | None) -> None:
        setattr(self.inner, name, value)

    def get(self, name: str) -> Tensor:
        value = getattr(self.inner, name)
        assert isinstance(value, Tensor)
        return value


CHANGES: dict[str, Callable[[Buffered], Any]] = {
    "written in place": lambda model: model.get("count").add_(1.0),
    "whole numbers": lambda model: model.get("tokens").mul_(2),
    "made NaN": lambda model: model.get("count").fill_(NAN),
    "not saved by torch": lambda model: model.get("window").zero_(),
    "replaced": lambda model: model.set("count", torch.full((3,), 5.0)),
    "given another shape": lambda model: model.set("count", torch.ones(7)),
    "resized": lambda model: model.get("count").resize_(5).fill_(2.0),
    "given another dtype": lambda model: model.set("count", torch.ones(3, dtype=torch.float64)),
    "set to None": lambda model: model.set("count", None),
    "no longer None": lambda model: model.set("later", torch.ones(2)),
    "registered later": lambda model: model.inner.register_buffer("fresh", torch.ones(1)),
    "deleted": lambda model: delattr(model.inner, "count"),
    "made one with another": lambda model: model.set("count", model.get("other")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_buffer_goes_back_however_it_was_changed(change: str) -> None:
    model = Buffered()
    state = state_of(model)
    state.save()
    then = learnt(state)
    for _ in range(3):
        CHANGES[change](model)
        assert learnt(state) != then
        state.restore()
        assert learnt(state) == then


def test_a_snapshot_serves_again_even_where_nothing_fitted_in_place() -> None:
    model = Buffered()
    state = state_of(model)
    descend(state)
    state.save()
    then = learnt(state)
    for _ in range(3):
        model.set("count", None)
        state.optimizers[0].state.clear()
        state.restore()
        assert learnt(state) == then
        model.get("count").add_(1.0)
        descend(state)
        for tensor in tensors_in(list(state.optimizers[0].state.values())):
            tensor.fill_(NAN)


def test_a_users_tensor_that_was_made_a_buffer_is_not_written_over() -> None:
    model, batch = Buffered(), torch.full((3,), 5.0)
    state = state_of(model)
    state.save()
    model.set("count", batch)
    state.restore()
    assert model.get("count").tolist() == [0.0, 1.0, 2.0]
    assert batch.tolist() == [5.0] * 3


def test_a_buffer_that_repeats_its_memory_goes_back() -> None:
    model = Buffered()
    model.set("count", torch.ones(1).expand(3))
    state = state_of(model)
    descend(state)
    state.save()
    then = learnt(state)
    descend(state)
    state.restore()
    assert learnt(state) == then


def test_tied_weights_stay_tied_and_are_copied_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    assert isinstance(model[0], nn.Linear)
    assert isinstance(model[1], nn.Linear)
    model[1].weight = model[0].weight
    state = state_of(model)
    assert state.nbytes == 9 * 4
    state.save()
    then = learnt(state)
    descend(state)
    state.restore()
    assert learnt(state) == then
    assert model[0].weight is model[1].weight


def test_a_buffer_that_two_layers_share_stays_shared() -> None:
    model, table = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), torch.arange(3.0)
    for layer in model:
        layer.register_buffer("table", table)
    state = state_of(model)
    state.save()
    for _ in range(2):
        table.fill_(NAN)
        state.restore()
        assert table.tolist() == [0.0, 1.0, 2.0]
        assert all(layer.table is table for layer in model)


@pytest.mark.parametrize("names", [("whole", "part"), ("part", "whole")], ids=str)
def test_what_looks_into_a_parameters_memory_goes_on_to_do_so(names: tuple[str, str]) -> None:
    memory = torch.arange(6.0)
    parts = {"whole": nn.Parameter(memory), "part": nn.Parameter(memory[:2])}
    model = nn.ParameterDict({name: parts[name] for name in names})
    model.register_buffer("flat", memory.view(2, 3))
    state = TrainingState(model, SGD([parts["whole"]], lr=0.1))
    state.save()
    for _ in range(2):
        memory.fill_(NAN)
        state.restore()
        assert memory.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        memory[1] = 7.0
        assert parts["part"].tolist() == [0.0, 7.0]
        assert model.get_buffer("flat")[0].tolist() == [0.0, 7.0, 2.0]


def test_parameters_that_came_to_share_their_memory_are_refused() -> None:
    model = nn.ParameterDict({"a": nn.Parameter(torch.zeros(2)), "b": nn.Parameter(torch.ones(2))})
    state = state_of(model)
    state.save()
    model["b"].data = model["a"].data
    with pytest.raises(StateError, match=r"differs in \[.*b"):
        state.restore()


class Remembering(nn.Linear):
    """A layer that keeps more than torch knows of."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.log: list[dict[str, Any]] = [{"loss": torch.ones(1)}]
        self.count = 0

    def get_extra_state(self) -> dict[str, Any]:
        return {"log": self.log, "count": self.count}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.log, self.count = state["log"], state["count"]


def test_extra_state_of_a_module_goes_back_each_time() -> None:
    layer = Remembering()
    state = state_of(nn.Sequential(layer))
    state.save()
    then = bits(layer.get_extra_state())
    for _ in range(3):
        layer.count += 1
        layer.log[0]["loss"].fill_(NAN)
        layer.log.append({"loss": torch.zeros(1)})
        state.restore()
        assert bits(layer.get_extra_state()) == then


def test_an_averaged_model_and_a_criterion_with_weights_go_back() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average, criterion = AveragedModel(model, use_buffers=True), nn.Linear(2, 1)
    optimizer = Adam([*model.parameters(), *criterion.parameters()], lr=0.1)
    state = TrainingState(model, optimizer, extras={"average": average, "criterion": criterion})
    for name in ("last", "best"):
        descend(state)
        average.update_parameters(model)
        state.save(name)
    then, seen = learnt(state), int(average.n_averaged)
    for _ in range(2):
        descend(state)
        average.update_parameters(model)
        poison(state)
        state.restore("best")
        assert learnt(state) == then
        assert int(average.n_averaged) == seen == 2
    state.restore("last")
    assert int(average.n_averaged) == 1


class Meter:
    """A user's own object; what it gives and what it gets is what it works on."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {
            "mean": torch.zeros(2),
            "log": [{"at": 1, "value": torch.ones(1)}],
            "seen": Counter({"cat": 1}),
        }

    def state_dict(self) -> dict[str, Any]:
        return self.kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state

    def update(self) -> None:
        self.kept["mean"].add_(1.0)
        self.kept["log"][0]["value"].fill_(NAN)
        self.kept["log"].append({"at": 2, "value": torch.ones(1)})
        self.kept["seen"]["dog"] += 1


def test_a_plain_object_goes_back_each_time_and_in_kind() -> None:
    meter = Meter()
    state = state_of(nn.Linear(1, 1), extras={"meter": meter})
    state.save()
    then = learnt(state)
    for _ in range(3):
        meter.update()
        state.restore()
        assert learnt(state) == then


def test_a_scaler_that_is_switched_off_is_no_part_of_it() -> None:
    state = state_of(nn.Linear(1, 1), scaler=GradScaler("cpu", enabled=False))
    state.save()
    state.restore()
    assert set(state.state_dict()) == {"version", "model", "optimizers", "chance"}


@pytest.mark.parametrize("saves", [False, True], ids=["restored in it", "saved in it"])
def test_inference_mode_makes_no_difference(saves: bool) -> None:
    state = state_of(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    descend(state)
    with torch.inference_mode(saves):
        state.save()
    then = learnt(state)
    for _ in range(2):
        state.optimizers[0].state.clear()
        with torch.inference_mode(not saves):
            state.restore()
        assert learnt(state) == then
        descend(state)
        state.restore()
        state.save()


# In a run: the knobs keep what is in force


def knob_of(model: Buffered, name: str, put: Callable[[float], object] | None = None) -> ValueKnob:
    """Make a knob of the first number in a buffer."""
    model.inner.register_buffer(name, torch.ones(1))
    write = put or (lambda value: model.get(name).fill_(value))
    return value_actuator(f"model.{name}", lambda: model.get(name).item(), write, Float(0.1, 9.0))


def test_a_knob_in_a_buffer_keeps_the_value_in_force_though_the_buffer_goes_back() -> None:
    model = Buffered()
    knob, still = knob_of(model, "heat"), knob_of(model, "cold")
    state = state_of(model)
    state.save()
    knob.apply(3.0)
    poison(state)
    knob.apply(3.0)
    still.apply(1.0)
    state.restore(knobs=[knob, still])
    assert (knob.read(), still.read()) == (3.0, 1.0)
    assert model.get("count").tolist() == [0.0, 1.0, 2.0]
    state.restore()
    assert knob.read() == 1.0


def raise_error(value: float) -> None:
    raise UserError(value)


@pytest.mark.parametrize("fails", ["does nothing", "raises"])
def test_a_knob_that_cannot_be_put_back_is_told_and_the_rest_is_put_back_all_the_same(
    fails: str,
) -> None:
    broken = raise_error if fails == "raises" else lambda value: None
    expected = UserError if fails == "raises" else ActuatorError  # the user's own passes
    model = Buffered()
    knobs = [knob_of(model, "first"), knob_of(model, "lost", broken), knob_of(model, "after")]
    state = state_of(model)
    descend(state)
    state.save()
    then = bits(model.weight)
    poison(state)
    for name in ("first", "lost", "after"):
        model.get(name).fill_(4.0)
    with pytest.raises(expected, match=r"^(restore: model\.lost did not keep.*|4\.0)$"):
        state.restore(knobs=knobs)
    assert bits(model.weight) == then
    assert [knob.read() for knob in knobs] == [4.0, 1.0, 4.0]


@pytest.mark.parametrize("name", ["SGD", "AdamW", "AdamW fused", "AdamW tensor"])
def test_multipliers_in_force_stay_and_the_next_step_uses_them(name: str) -> None:
    walks = []
    for restores in (False, True):
        run = Run(name, "CosineAnnealingLR")
        knobs = {knob.name: knob for knob in parts_of(optimizer_actuators(run.optimizer))}
        rate: Any = knobs["opt.lr"]
        state = TrainingState(nn.ParameterList(run.parameters), run.optimizer)
        rate.attach()
        for _ in range(3):
            run.step()
            run.schedule.go()
        state.save()
        rate.apply(0.5)
        if restores:
            poison(state)
            state.restore(knobs=list(knobs.values()))
        assert rate.read() == 0.5
        run.step()
        assert rate.effective() == 0.5 * rate.scheduled()
        walks.append((learnt(state), moved_by_schedules(run.optimizer)))
    assert walks[0] == walks[1]


def test_what_a_step_that_raised_left_scaled_is_in_no_snapshot() -> None:
    model = nn.Linear(1, 1)
    optimizer = Adam(model.parameters(), eps=1e-8)
    state = TrainingState(model, optimizer)
    descend(state)
    knobs: Any = [knob for knob in optimizer_actuators(optimizer) if knob.name == "opt.eps"]
    knobs[0].attach()
    knobs[0].apply(2.0)
    break_down(optimizer)
    state.save()
    descend(state)
    state.restore(knobs=knobs)
    assert optimizer.param_groups[0]["eps"] == 1e-8


# The ring


def copied_in(state: TrainingState, slot: str = "last") -> list[Tensor]:
    return [tensor for part in state._snapshots[slot].parts() for tensor in part.tensors]


def test_the_two_slots_are_apart() -> None:
    state = state_of(nn.Linear(2, 2))
    pictures = {}
    for slot in ("best", "last"):
        descend(state)
        state.save(slot)
        pictures[slot] = learnt(state)
    assert set(state.saved) == {"last", "best"}
    assert pictures["last"] != pictures["best"]
    for slot in ("best", "last", "best"):
        descend(state)
        state.restore(slot)
        assert learnt(state) == pictures[slot]
    state.save()
    descend(state)
    state.restore("last")
    assert learnt(state) == pictures["best"]


def test_a_second_save_takes_no_new_memory() -> None:
    training = Training()
    training.go(2)
    training.state.save()
    before = [tensor.data_ptr() for tensor in copied_in(training.state)]
    for _ in range(2):
        training.go(2)
        training.state.save()
        assert [tensor.data_ptr() for tensor in copied_in(training.state)] == before
    then = learnt(training.state)
    training.go(2)
    training.state.restore()
    assert learnt(training.state) == then


def test_a_save_of_more_state_than_before_takes_new_memory_and_is_exact() -> None:
    state = state_of(nn.Linear(2, 2))
    state.save()
    descend(state)
    state.save()
    then = learnt(state)
    descend(state)
    state.restore()
    assert learnt(state) == then


def test_its_size_is_that_of_all_tensors() -> None:
    training = Training()
    training.go(2)
    moments = list(training.optimizer.state.values())
    modules = (training.net, training.average)
    held = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    total = sum(t.numel() * t.element_size() for t in (*held, *tensors_in(moments)))
    assert training.state.nbytes == total
    training.state.save()
    assert training.state._snapshots["last"].nbytes == total


def test_what_is_forgotten_is_gone() -> None:
    state = state_of(nn.Linear(2, 2))
    state.save()
    gone = [weakref.ref(tensor) for tensor in copied_in(state)]
    assert gone
    state.forget()
    gc.collect()
    assert state.saved == ()
    assert [one() for one in gone] == [None] * len(gone)
    with pytest.raises(StateError, match="there is no snapshot 'last'"):
        state.restore()
    state.save()
    state.restore()


@pytest.mark.parametrize("slot", ["newest", "", "Last", 0, None, ["last"]], ids=repr)
def test_an_unknown_slot_is_named(slot: Any) -> None:
    state = state_of(nn.Linear(2, 2))
    for ask in (state.save, state.restore):
        with pytest.raises(StateError, match=r"must be one of .*last.*best.*got") as caught:
            ask(slot)
        assert repr(slot) in str(caught.value)
    assert state.saved == ()


def test_without_a_snapshot_nothing_is_restored() -> None:
    state = state_of(nn.Linear(2, 2))
    state.save("last")
    descend(state)
    then = learnt(state)
    with pytest.raises(StateError, match=r"no snapshot 'best'.*save\('best'\)"):
        state.restore("best")
    assert learnt(state) == then


OTHER_MODELS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a parameter more": (
        lambda model: model.register_parameter("extra", nn.Parameter(torch.ones(1))),
        "extra",
    ),
    "a parameter less": (lambda model: delattr(model[0], "bias"), r"0\.bias"),
    "another shape": (
        lambda model: setattr(model[0], "weight", nn.Parameter(torch.ones(5, 2))),
        r"0\.weight",
    ),
    "another dtype": (lambda model: model[0].double(), r"0\.(weight|bias)"),
    "a layer less": (lambda model: delattr(model, "1"), r"1"),
    "no memory any more": (lambda model: model[0].to_empty(device="meta"), r"0\.(weight|bias)"),
}


@pytest.mark.parametrize("change", OTHER_MODELS)
def test_another_model_is_refused_by_name_and_nothing_is_changed(change: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    state = state_of(model)
    descend(state)
    state.save()
    descend(state)
    alter, name = OTHER_MODELS[change]
    alter(model)
    last: Any = model[-1]
    then = (bits(last.weight), bits(list(state.optimizers[0].state.values())))
    with pytest.raises(StateError, match=name):
        state.restore()
    assert (bits(last.weight), bits(list(state.optimizers[0].state.values()))) == then


@pytest.mark.parametrize(
    "layer", [nn.LazyLinear(2), nn.LazyBatchNorm1d(), nn.LazyBatchNorm1d(affine=False)], ids=str
)
def test_a_model_that_was_never_run_is_refused_by_name(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(2, 2), layer)
    state = TrainingState(model, SGD(model[0].parameters(), lr=0.1))
    with pytest.raises(StateError, match=r"1\.\w+.*run the model once"):
        state.save()
    assert state.saved == ()
    model(torch.ones(3, 2))
    state.save()


def test_a_snapshot_over_the_budget_is_refused_with_its_sizes_and_the_old_one_kept() -> None:
    model = nn.Linear(1000, 100, bias=False)  # 0.4 MB, and as much again for the momentum
    state = state_of(model, budget_mb=1.0)
    state.save("best")
    then = learnt(state)
    state.save("best")
    state.save("last")
    descend(state)
    with pytest.raises(StateError, match=r"'best': needs 0\.8 MB beside 0\.4 MB.*budget_mb is 1"):
        state.save("best")
    with pytest.raises(StateError, match=r"'last': needs 0\.8 MB beside 0\.4 MB"):
        state.save("last")
    state.restore("best")
    assert learnt(state) == then
    state.forget()
    descend(state)
    state.save("best")


class Locked(Meter):
    """A user's object that comes to hold what cannot be copied."""

    def update(self) -> None:
        super().update()
        self.kept["lock"] = threading.Lock()


def test_a_save_that_fails_keeps_what_the_slot_held() -> None:
    meter = Locked()
    state = state_of(nn.Linear(2, 2), extras={"meter": meter})
    descend(state)
    state.save()
    then = learnt(state)
    descend(state)
    meter.update()
    with pytest.raises(TypeError, match="lock"):
        state.save()
    state.restore()
    assert learnt(state) == then


def test_a_lazy_layer_that_was_added_since_is_refused_by_name_and_the_slot_kept() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    state = state_of(model)
    state.save()
    then = bits(model[0].weight)
    descend(state)
    model.append(nn.LazyBatchNorm1d(affine=False))
    with pytest.raises(StateError, match=r"1\.running_mean.*run the model once"):
        state.save()
    model.pop(1)
    state.restore()
    assert bits(model[0].weight) == then


@pytest.mark.parametrize("budget", [0, -1.0, NAN, float("inf"), "1", [1], True], ids=repr)
def test_a_budget_that_is_no_positive_number_is_refused(budget: Any) -> None:
    with pytest.raises(StateError, match=r"^budget_mb: must be positive"):
        state_of(nn.Linear(1, 1), budget_mb=budget)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("model", {"model": torch.ones(1)}),
    ("model", {"model": [nn.Linear(1, 1)]}),
    ("optimizers", {"optimizers": []}),
    ("optimizers", {"optimizers": ["sgd"]}),
    ("optimizers", {"optimizers": "sgd"}),
    ("optimizers", {"optimizers": None}),
    ("optimizers", {"optimizers": 5}),
    ("scheduler", {"scheduler": lambda step: 0.1}),
    ("scaler", {"scaler": "on"}),
    (r"extras\.ema", {"extras": {"ema": {}}}),
    (r"extras\.ema", {"extras": {"ema": None}}),
    ("extras", {"extras": [nn.Linear(1, 1)]}),
    ("extras", {"extras": {"": nn.Linear(1, 1)}}),
]


@pytest.mark.parametrize(("name", "parts"), WRONG, ids=lambda value: str(value)[:40])
def test_a_part_of_another_kind_is_refused_by_name(name: str, parts: dict[str, Any]) -> None:
    model = nn.Linear(1, 1)
    right: dict[str, Any] = {"model": model, "optimizers": SGD(model.parameters(), lr=0.1)}
    with pytest.raises(StateError, match=f"^{name}: "):
        TrainingState(**{**right, **parts})


class Twins(RuleBasedStateMachine):
    """A run that saves and restores, beside one that keeps deep copies."""

    @initialize()
    def begin(self) -> None:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.state = TrainingState(model, optimizer)
        self.twin = copy.deepcopy((model, optimizer))
        self.kept: dict[str, tuple[nn.Sequential, SGD]] = {}

    def pair(self) -> list[tuple[nn.Module, Optimizer]]:
        return [(self.state.model, self.state.optimizers[0]), self.twin]

    @rule(seed=st.integers(0, 99))
    def train(self, seed: int) -> None:
        for model, optimizer in self.pair():
            inputs = torch.randn(5, 2, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            model(inputs).pow(2).mean().backward()
            optimizer.step()

    @rule(rate=st.floats(0.01, 1.0))
    def schedule(self, rate: float) -> None:
        for _, optimizer in self.pair():
            optimizer.param_groups[0]["lr"] = rate

    @rule()
    def poison(self) -> None:
        for model, optimizer in self.pair():
            poison(TrainingState(model, optimizer))

    @rule(name=st.sampled_from(["running_mean", "running_var", "fresh"]), size=st.integers(1, 2))
    def assign(self, name: str, size: int) -> None:
        for model, _ in self.pair():
            module = model.get_submodule("1")
            if name in module._buffers:
                setattr(module, name, torch.full((2,), float(size)))
            else:
                module.register_buffer(name, torch.zeros(size))

    @rule()
    def clear(self) -> None:
        for _, optimizer in self.pair():
            optimizer.state.clear()

    @rule(slot=st.sampled_from(["last", "best"]))
    def save(self, slot: str) -> None:
        self.state.save(slot)
        self.kept[slot] = copy.deepcopy(self.twin)

    @rule(slot=st.sampled_from(["last", "best"]))
    def restore(self, slot: str) -> None:
        if slot not in self.kept:
            with pytest.raises(StateError):
                self.state.restore(slot)
            return
        rate = self.twin[1].param_groups[0]["lr"]
        self.state.restore(slot)
        self.twin = copy.deepcopy(self.kept[slot])
        self.twin[1].param_groups[0]["lr"] = rate

    @invariant()
    def they_agree(self) -> None:
        one, other = (
            bits(
                [
                    dict(model.named_parameters()),
                    buffers_of(model),
                    optimizer.state_dict()["state"],
                    optimizer.param_groups[0]["lr"],
                ]
            )
            for model, optimizer in self.pair()
        )
        assert one == other


TestTwins = Twins.TestCase
TestTwins.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)


# To resume from


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


RESUMABLE = [name for name in SCHEDULES if name != "hand-written"]


@pytest.mark.parametrize("schedule", RESUMABLE)
def test_a_resumed_run_is_bit_identical_to_one_that_was_never_cut(schedule: str) -> None:
    seed_all(2)
    first = Training(schedule)
    first.go(6)
    saved = through_a_file(first.state.state_dict())
    expected = first.go(14)
    seed_all(99)
    second = Training(schedule, seed=1)
    second.state.load_state_dict(saved)
    assert second.go(14) == expected
    assert everything(second.state) == everything(first.state)


@pytest.mark.parametrize("name", [name for name in ALL_OPTIMIZERS if "LBFGS" not in name])
def test_each_optimizer_resumes_bit_exactly(name: str) -> None:
    runs = [Run(name, "CosineAnnealingLR") for _ in range(2)]
    states = [
        TrainingState(nn.ParameterList(r.parameters), r.optimizer, scheduler=r.schedule.made)
        for r in runs
    ]
    for _ in range(4):
        runs[0].step()
        runs[0].schedule.go()
    states[1].load_state_dict(through_a_file(states[0].state_dict()))
    for _ in range(4):
        for run in runs:
            run.step()
            run.schedule.go()
        assert everything(states[0]) == everything(states[1])


def test_a_run_can_be_loaded_into_itself_in_midstream() -> None:
    seed_all(2)
    training = Training("OneCycleLR")
    training.go(3)
    saved = through_a_file(training.state.state_dict())
    walks = [training.go(5)]
    for _ in range(2):
        training.state.load_state_dict(saved)
        walks.append(training.go(5))
    assert walks[0] == walks[1] == walks[2]


def test_snapshots_of_before_are_still_good_after_loading() -> None:
    training = Training()
    training.go(3)
    training.state.save()
    then = learnt(training.state)
    saved = through_a_file(training.state.state_dict())
    training.go(3)
    training.state.load_state_dict(saved)
    training.go(3)
    training.state.restore()
    assert learnt(training.state) == then


def test_what_was_loaded_is_unchanged_by_the_run_that_goes_on() -> None:
    training = Training("MultiStepLR")
    training.go(3)
    saved = copy.deepcopy(training.state.state_dict())
    before = bits(saved)
    training.state.load_state_dict(saved)
    training.go(3)
    poison(training.state)
    assert bits(saved) == before


def test_a_plain_object_is_resumed_without_sharing_what_was_loaded() -> None:
    meter = Meter()
    state = state_of(nn.Linear(1, 1), extras={"meter": meter})
    saved = copy.deepcopy(state.state_dict())
    before = bits(saved)
    state.load_state_dict(saved)
    meter.update()
    assert bits(saved) == before


@pytest.mark.parametrize("name", ["SGD", "AdamW", "AdamW fused tensor"])
def test_a_multiplier_in_force_is_not_saved_and_acts_on_after_loading(name: str) -> None:
    plain, tuned = Run(name, "StepLR"), Run(name, "StepLR")
    states = [
        TrainingState(nn.ParameterList(r.parameters), r.optimizer, scheduler=r.schedule.made)
        for r in (plain, tuned)
    ]
    rate: Any = {k.name: k for k in parts_of(optimizer_actuators(tuned.optimizer))}["opt.lr"]
    rate.attach()
    plain.step()
    tuned.step()
    rate.apply(0.25)
    assert everything(states[1]) == everything(states[0])
    saved = through_a_file(states[1].state_dict())
    tuned.step()
    expected, fired = learnt(states[1]), rate.fired()
    states[1].load_state_dict(saved)
    assert rate.read() == 0.25
    tuned.step()
    assert learnt(states[1]) == expected
    assert rate.fired() == fired + 1
    assert rate.effective() == 0.25 * rate.scheduled()


class Shaped(schedules.LRScheduler):
    """A user's scheduler that keeps a function."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.shape: Callable[[int], float] = lambda step: 1.0 / (1 + step)
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        return [rate * self.shape(self.last_epoch) for rate in self.base_lrs]


def test_a_part_that_would_not_load_again_is_named_when_it_is_saved() -> None:
    model = nn.Linear(1, 1)
    optimizer = SGD(model.parameters(), lr=0.1)
    state = TrainingState(model, optimizer, scheduler=Shaped(optimizer))
    with pytest.raises(StateError, match=r"scheduler\.shape: function is no plain data"):
        state.state_dict()
    state.save()  # in a run it does not matter
    state.restore()


def without(state: dict[str, Any], part: str) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != part}


def renamed(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "model": {f"other.{key}": value for key, value in state["model"].items()}}


def reshaped(state: dict[str, Any]) -> dict[str, Any]:
    last = list(state["model"])[-1]
    return {**state, "model": {**state["model"], last: torch.ones(9, 9)}}


DAMAGED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another version": (lambda s: {**s, "version": 2}, "version 1"),
    "no version": (lambda s: without(s, "version"), "version"),
    "no model": (lambda s: without(s, "model"), "model"),
    "no scheduler": (lambda s: without(s, "scheduler"), "scheduler"),
    "no scaler": (lambda s: without(s, "scaler"), "scaler"),
    "no extra": (lambda s: without(s, "extras.average"), r"extras\.average"),
    "no chance": (lambda s: without(s, "chance"), "chance"),
    "an extra too many": (lambda s: {**s, "extras.ema": {}}, r"extras\.ema"),
    "an odd key": (lambda s: {**s, 3: {}}, "3"),
    "no mapping": (lambda s: list(s), "must be what"),
    "nothing": (lambda s: None, "must be what"),
    "an optimizer too many": (lambda s: {**s, "optimizers": s["optimizers"] * 2}, "2 optimizers"),
    "no optimizer": (lambda s: {**s, "optimizers": []}, "0 optimizers"),
    "another model": (renamed, "model refuses its state, RuntimeError: .*other"),
    "a parameter of another shape": (reshaped, "model refuses its state, .*size mismatch"),
    "a model that is none": (lambda s: {**s, "model": 3}, "model refuses its state, TypeError"),
    "an optimizer of other groups": (
        lambda s: {**s, "optimizers": [SGD(nn.Linear(1, 1).parameters(), lr=1.0).state_dict()]},
        r"optimizers\[0\] refuses its state, ValueError",
    ),
    "a scheduler that is none": (lambda s: {**s, "scheduler": 3}, "scheduler refuses its state"),
    "a scaler that is empty": (lambda s: {**s, "scaler": {}}, "scaler refuses its state"),
    "an averaged model of another kind": (
        lambda s: {**s, "extras.average": {}},
        r"extras\.average refuses its state",
    ),
    "half of chance": (
        lambda s: {**s, "chance": without(s["chance"], "numpy")},
        "chance refuses its state, KeyError: 'numpy'",
    ),
    "broken chance": (
        lambda s: {**s, "chance": {**s["chance"], "torch": torch.ones(3)}},
        "chance refuses its state, TypeError",
    ),
}


@pytest.mark.parametrize("schedule", ["CosineAnnealingLR", "SequentialLR", "MultiStepLR"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_state_that_does_not_fit_is_refused_and_all_is_as_before(
    damage: str, schedule: str
) -> None:
    training = Training(schedule)
    training.go(3)
    saved = through_a_file(training.state.state_dict())
    training.go(3)
    spoil, names = DAMAGED[damage]
    damaged = spoil(saved)
    before = everything(training.state)
    with pytest.raises(StateError, match=rf"(?s)^load_state_dict: .*{names}"):
        training.state.load_state_dict(damaged)
    assert everything(training.state) == before


class Migrating(nn.Linear):
    """A layer that converts what older versions of itself have saved."""

    _version = 2

    def _load_from_state_dict(self, state: dict[str, Any], *rest: Any) -> None:
        prefix, noted = rest[0], rest[1]
        if noted.get("version", 1) < 2:
            state[f"{prefix}weight"] = state[f"{prefix}weight"] * 2
        super()._load_from_state_dict(state, *rest)


def test_a_refused_state_leaves_a_layer_with_versions_as_it_was() -> None:
    state = state_of(Migrating(2, 2))
    saved = copy.deepcopy(state.state_dict())
    before = everything(state)
    with pytest.raises(StateError, match="chance refuses its state"):
        state.load_state_dict({**saved, "chance": {}})
    assert everything(state) == before
    state.load_state_dict(through_a_file(saved))
    assert everything(state) == before
