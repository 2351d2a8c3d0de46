"""Entries of a mapping and attributes of an object as knobs."""

import math
from collections import OrderedDict, UserDict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from gptune.actuators import value_actuators
from gptune.actuators.usual import REACH, YES_NO
from gptune.actuators.values import ValueKnob, dropout_actuator, value_actuator
from gptune.errors import ActuatorError, GptuneError
from gptune.records import Categorical, Float, Integer, Parameter, Scalar

SPACE = Float(0.1, 10.0)
QUICK = settings(deadline=None, max_examples=80)
scalars = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400)
)


class Loss:
    def __init__(self) -> None:
        self.aux = 1.0
        self.negatives = 3
        self.kind = "mse"


class Slotted:
    __slots__ = ("aux",)

    def __init__(self) -> None:
        self.aux = 1.0


class Watched:
    """A getter and a setter behind one attribute."""

    def __init__(self) -> None:
        self.written: list[float] = []

    @property
    def aux(self) -> float:
        return self.written[-1] if self.written else 1.0

    @aux.setter
    def aux(self, value: float) -> None:
        self.written.append(value)


def targets() -> list[Any]:
    class Odd(float):
        pass

    return [
        {"aux": 1.0},
        OrderedDict(aux=1.0),
        UserDict({"aux": 1.0}),
        Loss(),
        Slotted(),
        Watched(),
        {"aux": Odd(1.0)},
    ]


@pytest.mark.parametrize("target", targets(), ids=lambda target: type(target).__name__)
def test_a_change_is_seen_in_the_target_and_undone_to_the_very_object(target: Any) -> None:
    (knob,) = value_actuators(target, {"aux": SPACE})
    assert knob.name == "loss.aux"
    assert knob.describe_space() == SPACE
    before = knob.snapshot()
    assert knob.read() is before
    knob.apply(2.5)
    assert knob.read() == 2.5
    seen = target["aux"] if hasattr(target, "__getitem__") else target.aux
    assert seen == 2.5
    knob.restore(before)
    assert knob.snapshot() is before or knob.read() == before
    assert type(knob.read()) is type(before)


@QUICK
@given(st.lists(st.floats(0.1, 10.0), max_size=8))
def test_any_history_of_changes_is_undone_by_the_first_snapshot(values: list[float]) -> None:
    start = 1.0 / 3
    target = {"aux": start, "other": 7.0}
    (knob,) = value_actuators(target, {"aux": SPACE})
    before = knob.snapshot()
    for value in values:
        knob.apply(value)
        assert knob.read() == value
    knob.restore(before)
    assert target["aux"] is start
    assert target == {"aux": start, "other": 7.0}


def test_the_target_itself_is_kept_so_that_user_code_sees_the_change() -> None:
    weights = {"aux": 0.5, "kl": 0.1}
    aux, kl = value_actuators(weights)
    alias = weights
    aux.apply(0.7)
    assert alias == {"aux": 0.7, "kl": 0.1}
    weights["kl"] = 0.2
    assert kl.read() == 0.2


@QUICK
@given(scalars)
def test_validate_accepts_exactly_the_numbers_in_the_range_and_never_raises(value: Scalar) -> None:
    (knob,) = value_actuators({"aux": 1.0}, {"aux": SPACE})
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    fine = plain and 0.1 <= value <= 10.0  # type: ignore[operator]
    assert (knob.validate(value) is None) == fine


@QUICK
@given(scalars)
def test_validate_of_a_whole_number_accepts_exactly_ints_in_the_range(value: Scalar) -> None:
    (knob,) = value_actuators(Loss(), {"negatives": Integer(1, 8)})
    fine = type(value) is int and 1 <= value <= 8
    assert (knob.validate(value) is None) == fine


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 0.0, 10.1, -1.0, True, "1", None, [1.0], 1j]
)
def test_a_refused_value_changes_nothing_and_says_which_knob(value: Any) -> None:
    target = {"aux": 1.0}
    (knob,) = value_actuators(target, {"aux": SPACE})
    complaint = knob.validate(value)
    assert complaint is not None
    assert complaint.startswith("loss.aux")
    with pytest.raises(ActuatorError, match=r"loss\.aux"):
        knob.apply(value)
    assert target == {"aux": 1.0}


def test_both_ends_of_the_range_are_allowed() -> None:
    (knob,) = value_actuators({"aux": 1.0}, {"aux": SPACE})
    assert knob.validate(0.1) is knob.validate(10.0) is None


@pytest.mark.parametrize(
    ("choices", "value", "fine"),
    [
        (("mse", "mae"), "mae", True),
        (("mse", "mae"), "huber", False),
        ((1, 2), 2, True),
        ((1, 2), 2.0, False),
        ((1, 2), True, False),
        ((True, False), True, True),
        ((True, False), 1, False),
    ],
)
def test_a_choice_must_be_one_of_the_choices_in_value_and_type(
    choices: tuple[Scalar, ...], value: Scalar, fine: bool
) -> None:
    (knob,) = value_actuators({"kind": choices[0]}, {"kind": Categorical(choices)})
    assert (knob.validate(value) is None) == fine
    if fine:
        knob.apply(value)
        assert knob.read() is value


def test_restoring_is_exempt_from_all_limits() -> None:
    target = {"aux": 1.0}
    (knob,) = value_actuators(target, {"aux": SPACE})
    knob.restore(50.0)
    assert target["aux"] == 50.0


@QUICK
@given(st.floats(1e-300, 1e300))
def test_a_positive_number_has_a_range_of_its_own_around_it(value: float) -> None:
    (knob,) = value_actuators({"aux": value})
    assert knob.describe_space() == Float(value / REACH, value * REACH, log=True)
    assert knob.validate(value) is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 3, "x", None])
def test_what_has_no_range_of_its_own_needs_one_and_the_message_shows_how(value: Any) -> None:
    with pytest.raises(ActuatorError, match=r"loss\.aux.*spaces=\{'aux': gptune\.Float"):
        value_actuators({"aux": value})


def test_an_object_needs_spaces() -> None:
    with pytest.raises(ActuatorError, match=r"loss: spaces must name the attributes of Loss"):
        value_actuators(Loss())


@pytest.mark.parametrize("target", [{"aux": 1.0}, Loss()])
def test_an_entry_that_is_not_there_is_refused_by_name(target: Any) -> None:
    with pytest.raises(ActuatorError, match=r"weights\.auxx: there is no 'auxx'"):
        value_actuators(target, {"auxx": SPACE}, name="weights")


@pytest.mark.parametrize(
    ("value", "space"),
    [
        (20.0, SPACE),
        ("x", SPACE),
        (True, SPACE),
        (None, SPACE),
        (2.5, Integer(1, 8)),
        ("huber", Categorical(("mse", "mae"))),
    ],
)
def test_a_value_in_force_outside_its_range_is_refused(value: Any, space: Parameter) -> None:
    with pytest.raises(ActuatorError, match=r"loss\.aux.*range that holds the value in force"):
        value_actuators({"aux": value}, {"aux": space})


@pytest.mark.parametrize("value", [5e-324, 1.7e308])
def test_a_number_too_extreme_for_a_range_of_its_own_is_refused_politely(value: float) -> None:
    with pytest.raises(GptuneError):
        value_actuators({"aux": value})


def test_the_name_is_the_first_part_of_the_family() -> None:
    knobs = value_actuators({"aux": 1.0, "kl": 2.0}, name="weights")
    assert [knob.name for knob in knobs] == ["weights.aux", "weights.kl"]
    assert value_actuators({}) == []
    assert all(isinstance(knob, ValueKnob) for knob in knobs)


# Kinds, usual names, and what is refused


def test_yes_or_no_is_a_choice() -> None:
    flags = {"flip": True}
    (knob,) = value_actuators(flags)
    assert knob.describe_space() == YES_NO
    knob.apply(False)
    assert flags == {"flip": False}
    for wrong in (0, 1, "yes", None):
        with pytest.raises(ActuatorError, match=r"loss\.flip: .* is none of \(False, True\)"):
            knob.apply(wrong)  # type: ignore[arg-type]


def test_entries_and_attributes_of_usual_names_have_their_usual_ranges_units_and_risks() -> None:
    class Agent:
        def __init__(self) -> None:
            self.temperature, self.entropy_coef, self.epsilon = 1.0, 0.01, 0.1
            self.clip_norm, self.batch_size, self.gamma = 1.0, 64, 0.99
            self.hidden_size, self.name, self.seed = 128, "agent", 3

    knobs = {knob.name: knob for knob in value_actuators(Agent(), name="agent")}
    assert list(knobs) == [
        f"agent.{key}"
        for key in ("temperature", "entropy_coef", "epsilon", "clip_norm", "batch_size", "gamma")
    ]
    assert knobs["agent.batch_size"].describe_space() == Integer(16, 256, log=True)
    assert knobs["agent.batch_size"].unit == "examples"
    assert knobs["agent.epsilon"].describe_space() == Float(0.0, 1.0)
    assert knobs["agent.gamma"].risk == "high"
    (dropout,) = value_actuators({"dropout": 0.2})
    assert (dropout.unit, dropout.risk) == ("probability", "medium")
    (mine,) = value_actuators({"dropout": 0.2}, unit="fraction", risk="low")
    assert (mine.unit, mine.risk) == ("fraction", "low")


@pytest.mark.parametrize(
    ("key", "value", "space"),
    [
        ("hidden_size", 64, Integer(16, 256)),
        ("num_layers", 3, Integer(1, 8)),
        ("depth", 3, Integer(1, 8)),
        ("width", 64, Float(16.0, 256.0)),
        ("activation", "relu", Categorical(("relu", "gelu"))),
        ("out_features", 4, Integer(1, 8)),
        ("n_heads", 4, Integer(1, 8)),
    ],
)
def test_the_architecture_is_refused_with_the_reason(
    key: str, value: Any, space: Parameter
) -> None:
    class Plain:
        pass

    holder, module = Plain(), nn.Linear(2, 2)
    for instance in (holder, module):
        setattr(instance, key, value)
    targets: list[Any] = [{key: value}, holder, module]
    for target in targets:
        with pytest.raises(ActuatorError, match=rf"net\.{key}: is part of the architecture"):
            value_actuators(target, {key: space}, name="net")
    with pytest.raises(ActuatorError, match=r"lose their shape or their meaning; .* in a study"):
        value_actuator(f"net.{key}", lambda: value, print, space)


def test_a_weight_may_be_called_as_it_likes() -> None:
    (knob,) = value_actuators({"depth": 0.5})
    knob.apply(0.7)


def test_a_batch_sampler_s_batch_size_is_a_knob_and_a_data_loader_s_is_not() -> None:
    sampler = BatchSampler(SequentialSampler(range(12)), batch_size=2, drop_last=False)
    (knob,) = value_actuators(sampler, {"batch_size": Integer(1, 6)}, name="data")
    knob.apply(6)
    assert [len(batch) for batch in sampler] == [6, 6]
    loader: DataLoader[int] = DataLoader([1, 2, 3], batch_size=2)  # type: ignore[arg-type]
    with pytest.raises(ActuatorError, match=r"data\.batch_size: a DataLoader cannot be changed"):
        value_actuators(loader, {"batch_size": Integer(1, 6)}, name="data")


def test_a_read_only_attribute_is_refused_when_the_knob_is_made() -> None:
    class ReadOnly:
        @property
        def aux(self) -> float:
            return 1.0

    with pytest.raises(ActuatorError, match=r"loss\.aux: cannot be written"):
        value_actuators(ReadOnly(), {"aux": SPACE})


# Getters and setters


class Cell:
    """A value behind two functions that can fail or lie."""

    def __init__(self) -> None:
        self.value, self.log = 1.0, [1.0]
        self.fails_at: float | None = None
        self.lies_at: float | None = None

    def get(self) -> float:
        return self.value

    def put(self, value: float) -> None:
        self.log.append(value)
        self.value = value + 1.0 if value == self.lies_at else value
        if value == self.fails_at:
            self.value = math.nan  # half-way
            raise ZeroDivisionError("the user's own")


def test_a_setter_that_raises_half_way_leaves_the_value_and_passes_its_own_exception() -> None:
    cell = Cell()
    knob = value_actuator("loss.cell", cell.get, cell.put, SPACE)
    cell.fails_at = 2.0
    with pytest.raises(ZeroDivisionError, match="the user's own"):
        knob.apply(2.0)
    assert cell.value == 1.0
    knob.apply(3.0)
    assert cell.value == 3.0


def test_a_setter_that_lies_is_put_back_and_named() -> None:
    cell = Cell()
    knob = value_actuator("loss.cell", cell.get, cell.put, SPACE)
    cell.lies_at = 2.0
    with pytest.raises(ActuatorError, match=r"loss\.cell: was set to 2\.0 but reads 3\.0"):
        knob.apply(2.0)
    assert cell.value == 1.0


def test_a_getter_setter_pair_is_checked_and_not_written_when_it_is_made() -> None:
    cell = Cell()
    value_actuator("loss.cell", cell.get, cell.put, SPACE)
    assert cell.log == [1.0]
    with pytest.raises(ActuatorError, match=r"loss\.cell: must lie in \[2\.0, 3\.0\], got 1\.0"):
        value_actuator("loss.cell", cell.get, cell.put, Float(2.0, 3.0))
    with pytest.raises(ActuatorError, match=r"loss\.cell: get and put must be functions"):
        value_actuator("loss.cell", 1.0, cell.put, SPACE)  # type: ignore[arg-type]


# Dropout


def layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 4),
        nn.Dropout(0.1),
        nn.Sequential(nn.Dropout2d(0.1), nn.Dropout(0.0)),
        nn.LSTM(4, 4, num_layers=2, dropout=0.1),
        nn.MultiheadAttention(4, 2, dropout=0.1),
    )


def probabilities(model: nn.Module) -> list[float]:
    found: list[tuple[nn.Module, str]]
    found = [(m, "p") for m in model.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
    found += [(m, "dropout") for m in model.modules() if isinstance(m, nn.LSTM)]
    found += [(m, "dropout") for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
    return [getattr(module, key) for module, key in found]


def test_dropout_moves_across_the_model_and_what_is_off_stays_off() -> None:
    model = layers()
    knob = dropout_actuator(nn.DataParallel(model))
    before = knob.snapshot()
    knob.apply(0.4)
    assert probabilities(model) == [0.4, 0.4, 0.0, 0.4, 0.4]
    model.train()
    share = float((model[1](torch.ones(20_000)) == 0).float().mean())
    assert abs(share - 0.4) < 0.02
    knob.apply(0.0)
    knob.restore(before)
    assert probabilities(model) == [0.1, 0.1, 0.0, 0.1, 0.1]
    with pytest.raises(ActuatorError, match=r"model\.dropout: must lie in \[0\.0, 0\.5\]"):
        knob.apply(0.9)


def test_a_model_without_dropout_or_with_two_probabilities_is_refused() -> None:
    with pytest.raises(ActuatorError, match=r"one probability above 0, found \[\]"):
        dropout_actuator(nn.Linear(2, 2))
    mixed = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.2))
    with pytest.raises(ActuatorError, match=r"found \[0\.1, 0\.2\]; give its layers one"):
        dropout_actuator(mixed)


def test_somebody_else_s_change_of_one_layer_does_not_pass_for_the_value_in_force() -> None:
    model = layers()
    knob = dropout_actuator(model)
    dropout = model[1]
    assert isinstance(dropout, nn.Dropout)
    dropout.p = 0.3
    assert math.isnan(float(knob.read()))
