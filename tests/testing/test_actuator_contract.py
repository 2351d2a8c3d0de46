"""Every actuator of ours keeps the contract, and the contract catches those that do not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Muon, Optimizer, RMSprop

from gptune.actuators import LiveActuator, Together, optimizer_actuators, parts_of, value_actuators
from gptune.actuators.usual import YES_NO
from gptune.actuators.values import dropout_actuator, value_actuator
from gptune.records import Categorical, Float, Integer, Scalar
from gptune.testing import ACTUATOR_CHECKS, ContractError, check_actuator
from gptune.testing.actuator_contract import AnyActuator, acts_in_the_step_and_leaves_no_trace

RATE = 0.01


def tensor_rate() -> Tensor:
    return torch.tensor(RATE, dtype=torch.float64)


OPTIMIZERS: dict[str, Callable[[list[Any]], Optimizer]] = {
    "SGD": lambda p: SGD(p, lr=RATE, momentum=0.85, weight_decay=0.1),
    "SGD tensor rate": lambda p: SGD(p, lr=tensor_rate(), foreach=False),
    "Adam": lambda p: Adam(p, lr=RATE, weight_decay=0.1, betas=(0.85, 0.95)),
    "AdamW fused": lambda p: AdamW(p, lr=RATE, fused=True, betas=(0.85, 0.95)),
    "RMSprop": lambda p: RMSprop(p, lr=RATE, momentum=0.5),
    "Adafactor": lambda p: Adafactor(p, lr=RATE, weight_decay=0.1),
    "Muon": lambda p: Muon(p, lr=RATE, momentum=0.85),
}


def make_optimizer(name: str) -> Optimizer:
    parameters = [nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
    for parameter in parameters:
        parameter.grad = torch.full((2, 2), 0.1)
    return OPTIMIZERS[name]([{"params": [parameter]} for parameter in parameters])


def knobs_of(name: str, split: tuple[str, ...] = ()) -> tuple[Optimizer, dict[str, AnyActuator]]:
    optimizer = make_optimizer(name)
    made = optimizer_actuators(optimizer, per_group=split)
    return optimizer, {knob.name: knob for knob in (*made, *parts_of(made))}


CASES = [(name, knob) for name in OPTIMIZERS for knob in knobs_of(name)[1]]


@pytest.mark.parametrize(("name", "knob"), CASES)
def test_every_knob_of_an_optimizer_keeps_the_contract(name: str, knob: str) -> None:
    made: dict[int, Optimizer] = {}

    def make() -> AnyActuator:
        optimizer, knobs = knobs_of(name)
        made[id(knobs[knob])] = optimizer
        return knobs[knob]

    check_actuator(make, lambda actuator: made[id(actuator)].step())


@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("knob", ["lr", "weight_decay", "betas", "eps", "momentum", "beta2"])
def test_every_knob_of_one_group_keeps_the_contract(knob: str, group: int) -> None:
    split = ("lr", "weight_decay", "betas", "eps")
    optimizer, knobs = knobs_of("Adam", split)
    for check in ACTUATOR_CHECKS:
        check(knobs_of("Adam", split)[1][f"opt.{knob}[{group}]"])
    live = knobs[f"opt.{knob}[{group}]"]
    if isinstance(live, LiveActuator):
        acts_in_the_step_and_leaves_no_trace(live, optimizer.step)


class Sampler:
    batch_size = 32
    temperature = 1.0
    shuffle = True
    kind = "uniform"


VALUES: dict[str, Callable[[], AnyActuator]] = {
    "an entry": lambda: value_actuators({"aux": 0.5})[0],
    "a yes or no": lambda: value_actuators({"aux": True})[0],
    "a whole number": lambda: value_actuators(Sampler(), {"batch_size": Integer(8, 64)})[0],
    "a number on a log scale": lambda: value_actuators(
        Sampler(), {"temperature": Float(0.1, 10.0, log=True)}
    )[0],
    "an attribute": lambda: value_actuators(Sampler(), {"shuffle": YES_NO})[0],
    "a choice": lambda: value_actuators(Sampler(), {"kind": Categorical(("uniform", "hard"))})[0],
    "dropout": lambda: dropout_actuator(
        nn.Sequential(nn.Dropout(0.1), nn.LSTM(2, 2, 2, dropout=0.1))
    ),
    "two functions": lambda: cell(0.5),
    "several": lambda: Together("loss.both", value_actuators({"aux": 0.5, "kl": 0.1})),
    "several kinds": lambda: Together(
        "loss.all",
        value_actuators({"aux": 0.5, "on": True}, {"aux": Float(0.1, 1.0), "on": YES_NO}),
    ),
}


def cell(start: float) -> AnyActuator:
    cells = [start]
    return value_actuator(
        "loss.cell", lambda: cells[0], lambda v: cells.__setitem__(0, v), Float(0.0, 1.0)
    )


@pytest.mark.parametrize("check", ACTUATOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", VALUES)
def test_every_value_keeps_the_contract(name: str, check: Callable[[AnyActuator], None]) -> None:
    check(VALUES[name]())


# Those that break it


class Good:
    """Keeps the contract; each subclass below breaks one rule of it."""

    name = "loss.aux"

    def __init__(self) -> None:
        self.value: Any = 0.5

    def describe_space(self) -> Any:
        return Float(0.0, 1.0)

    def read(self) -> Any:
        return self.value

    def snapshot(self) -> Any:
        return self.value

    def validate(self, value: Scalar) -> str | None:
        fine = type(value) is float and 0.0 <= value <= 1.0
        return None if fine else f"{self.name}: got {value!r}"

    def apply(self, value: Scalar) -> None:
        if self.validate(value) is not None:
            raise ValueError(value)
        self.value = value

    def restore(self, snapshot: object) -> None:
        self.value = snapshot


class BadName(Good):
    name = "aux"


class OtherSpace(Good):
    def describe_space(self) -> Any:
        return (0.0, 1.0)


class RestlessSpace(Good):
    def describe_space(self) -> Any:
        self.value += 0.001
        return Float(0.0, self.value)


class ForbidsItsOwn(Good):
    def validate(self, value: Scalar) -> str | None:
        return "loss.aux: no" if value == 0.5 else super().validate(value)


class OneValue(Good):
    def validate(self, value: Scalar) -> str | None:
        return None if value == 0.5 else "loss.aux: no"


class Clamps(Good):
    def apply(self, value: Scalar) -> None:
        super().apply(min(float(value), 0.9))


class RoundsTypes(Good):
    def read(self) -> Any:
        return str(self.value) if self.value == 0.0 else self.value


class NeverRestores(Good):
    def restore(self, snapshot: object) -> None:
        pass


class RestoresOnce(Good):
    used = False

    def restore(self, snapshot: object) -> None:
        self.value = self.value if self.used else snapshot
        self.used = True


class RestoresTheFirst(Good):
    def snapshot(self) -> Any:
        return 0.5


class LiveSnapshot(Good):
    def __init__(self) -> None:
        self.cell = [0.5]

    def read(self) -> Any:
        return self.cell[0]

    def snapshot(self) -> Any:
        return self.cell

    def apply(self, value: Scalar) -> None:
        if self.validate(value) is not None:
            raise ValueError(value)
        self.cell[0] = float(value)

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, list)
        self.cell = snapshot


class ValidateApplies(Good):
    def validate(self, value: Scalar) -> str | None:
        complaint = super().validate(value)
        if complaint is None:
            self.value = value
        return complaint


class TakesNaN(Good):
    def validate(self, value: Scalar) -> str | None:
        return None if value != value else super().validate(value)


class TakesBool(Good):
    def validate(self, value: Scalar) -> str | None:
        return None if value is True else super().validate(value)


class TakesFarValues(Good):
    def validate(self, value: Scalar) -> str | None:
        return None if type(value) is float and value == value else super().validate(value)


class Nameless(Good):
    def validate(self, value: Scalar) -> str | None:
        return "wrong" if super().validate(value) else None


class ChangesThenRaises(Good):
    def apply(self, value: Scalar) -> None:
        self.value = value
        if self.validate(value) is not None:
            raise ValueError(value)


class RefusesSilently(Good):
    def apply(self, value: Scalar) -> None:
        if self.validate(value) is None:
            self.value = value


BROKEN = [
    (BadName, "called group.knob"),
    (OtherSpace, "describes a Float"),
    (RestlessSpace, "as it was before"),
    (ForbidsItsOwn, "which is in force"),
    (OneValue, "two values"),
    (Clamps, "reads 1.0 after"),
    (RoundsTypes, "reads 0.0 after"),
    (NeverRestores, "after a restore"),
    (RestoresOnce, "after a restore"),
    (RestoresTheFirst, "after a restore"),
    (LiveSnapshot, "after a restore"),
    (ValidateApplies, "still reads"),
    (TakesNaN, "refuses nan"),
    (TakesBool, "refuses True"),
    (TakesFarValues, "refuses"),
    (Nameless, "in words that name"),
    (ChangesThenRaises, "was refused"),
    (RefusesSilently, "raises when"),
]


def test_the_one_that_breaks_nothing_keeps_the_contract() -> None:
    check_actuator(Good)


@pytest.mark.parametrize(("broken", "rule"), BROKEN, ids=lambda x: getattr(x, "__name__", None))
def test_every_broken_rule_is_caught_and_named(broken: Callable[[], Good], rule: str) -> None:
    with pytest.raises(ContractError, match=rule) as caught:
        check_actuator(broken)
    assert str(caught.value).startswith(f"{broken().name}: breaks the contract")


class Half(Together[Any]):
    def apply(self, value: Any) -> None:
        for part, one in zip(self.parts(), value, strict=True):
            part.apply(one)


def test_what_is_no_actuator_at_all_is_named() -> None:
    with pytest.raises(ContractError, match=r"^dict: .* has every member of gptune.Actuator"):
        check_actuator(dict)  # type: ignore[arg-type]


def test_a_live_actuator_is_not_let_through_without_a_step() -> None:
    with pytest.raises(ContractError, match=r"opt\.lr: .* give step="):
        check_actuator(lambda: knobs_of("SGD")[1]["opt.lr"])


def test_a_tuple_that_is_set_half_way_is_caught() -> None:
    with pytest.raises(ContractError):
        check_actuator(lambda: Half("loss.both", value_actuators({"aux": 0.5, "kl": 0.1})))


@pytest.mark.parametrize(
    "breakage",
    [
        lambda knob: knob._hooks.put(knob._lever, 1.0),  # does nothing
        lambda knob: knob._hooks.optimizer._optimizer_step_pre_hooks.clear(),
        lambda knob: knob._hooks.optimizer._optimizer_step_post_hooks.clear(),
    ],
    ids=["no factor", "no hook before", "no hook after"],
)
def test_a_live_knob_that_does_not_act_or_leaves_a_trace_is_caught(
    breakage: Callable[[Any], None],
) -> None:
    optimizer = make_optimizer("SGD")
    (lr, *_) = optimizer_actuators(optimizer)
    assert isinstance(lr, LiveActuator)

    def step() -> None:
        breakage(lr)
        optimizer.step()

    with pytest.raises(ContractError):
        acts_in_the_step_and_leaves_no_trace(lr, step)


def test_a_step_makes_the_whole_contract_of_a_live_actuator() -> None:
    optimizers: dict[int, Optimizer] = {}

    def make() -> AnyActuator:
        optimizer, knobs = knobs_of("SGD")
        optimizers[id(knobs["opt.lr"])] = optimizer
        return knobs["opt.lr"]

    steps: list[AnyActuator] = []

    def step(actuator: AnyActuator) -> None:
        steps.append(actuator)
        optimizers[id(actuator)].step()

    check_actuator(make, step)
    assert len(steps) >= 3
