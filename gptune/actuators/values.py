"""Entries of a dict, attributes of objects, and getter/setter pairs as knobs."""

import math
import re
from collections.abc import Callable, Mapping, MutableMapping
from functools import reduce
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from gptune.actuators.usual import Usual, guess, usual
from gptune.errors import ActuatorError
from gptune.records import Categorical, Float, Integer, Parameter, Scalar

# What fixes the shapes of the weights, or what they mean: never changed while training.
ARCHITECTURE = re.compile(
    r"(^|_)(in|out|hidden|num|n|embed(ding)?|kernel|input|output|proj|inner|intermediate|ffn|head|mlp"
    r"|latent|patch|vocab)_?"
    r"(features|channels|size|dim|units|layers?|heads?|blocks?|embeddings?|embd|ffn?|classes|act)($|_)"
    r"|^(width|depth|hidden|unit|channel|filter|layer|block|head|rank|d_model|d_ff|nhead|kdim|vdim|"
    r"dim_feedforward|normalized_shape|stride|padding|dilation|group|bidirectional|norm_layer|"
    r"activation(_fn|_function)?|act(_fn)?|nonlinearity)s?$"
)
RISKS = ("low", "medium", "high")
DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
INNER_DROPOUTS = (nn.MultiheadAttention, nn.RNNBase)


class ValueKnob:
    """One value that can be read and written: an entry, an attribute, or a pair of functions.

    Args:
        name: Its family, e.g. ``loss.aux``.
        get: Gives the value in force.
        put: Puts a value in force.
        space: The values that are allowed.
        saving: How to save the state and to put it back, if the value does not tell all of it.
        unit: Unit of the value, for people.
        risk: How dangerous a change is: low | medium | high.

    Raises:
        ActuatorError: If the name is no string, the space no range, or the risk unknown.

    Example:
        >>> temperature = [1.0]
        >>> knob = ValueKnob(
        ...     "loss.temperature",
        ...     lambda: temperature[0],
        ...     lambda value: temperature.__setitem__(0, value),
        ...     Float(0.1, 10.0, log=True),
        ... )
        >>> knob.apply(2.0)
        >>> temperature
        [2.0]
    """

    def __init__(
        self,
        name: str,
        get: Callable[[], Any],
        put: Callable[[Any], object],
        space: Parameter,
        *,
        saving: tuple[Callable[[], Any], Callable[[Any], object]] | None = None,
        unit: str = "",
        risk: str = "low",
    ) -> None:
        self._save, self._bring_back = saving or (get, put)
        self._name, self._get, self._put, self._space = name, get, put, space
        self._unit, self._risk = unit, risk
        if not isinstance(name, str):
            raise ActuatorError(f"{name!r}: must be named by a string such as 'loss.aux'")
        if not isinstance(space, Float | Integer | Categorical):
            raise ActuatorError(
                f"{name}: its range must be gptune.Float, Integer or Categorical, got {space!r}"
            )
        if risk not in RISKS:
            raise ActuatorError(f"{name}: risk must be one of {', '.join(RISKS)}, got {risk!r}")

    @property
    def name(self) -> str:
        """Its family, e.g. ``loss.aux``."""
        return self._name

    @property
    def unit(self) -> str:
        """Unit of the value; empty if there is none."""
        return self._unit

    @property
    def risk(self) -> str:
        """How dangerous a change is: low | medium | high."""
        return self._risk

    @property
    def owner(self) -> str | None:
        """What else moves the value: nothing that is known."""
        return None

    def describe_space(self) -> Parameter:
        """Give the range of the value."""
        return self._space

    def read(self) -> Scalar:
        """Give the value in force; NumPy's numbers as plain ones."""
        value: Any = self._get()
        plain: Scalar = value.item() if isinstance(value, np.generic) else value
        return plain

    def snapshot(self) -> Any:
        """Give the very object that is in force."""
        return self._save()

    def validate(self, value: Scalar) -> str | None:
        """Complain about a value of another kind, or outside the range."""
        if isinstance(self._space, Categorical):
            known = any(type(c) is type(value) and c == value for c in self._space.choices)
            return None if known else f"{self._name}: {value!r} is none of {self._space.choices}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{self._name}: must be a number, got {value!r}"
        if isinstance(self._space, Integer) and not isinstance(value, int):
            return f"{self._name}: must be a whole number, got {value!r}"
        low, high = self._space.low, self._space.high
        inside = low <= value <= high
        return None if inside else f"{self._name}: must lie in [{low}, {high}], got {value!r}"

    def apply(self, value: Scalar) -> None:
        """Put a value in force, and read it back.

        Raises:
            ActuatorError: If `validate` complains, or the value that is read back is another;
                what the setter raises passes. What was in force before is then put back.
        """
        complaint = self.validate(value)
        if complaint:
            raise ActuatorError(complaint)
        before, done = self.snapshot(), False
        try:
            self._put(value)
            read = self.read()
            if type(read) is not type(value) or read != value:
                raise ActuatorError(f"{self._name}: was set to {value!r} but reads {read!r}")
            done = True
        finally:
            if not done:
                self.restore(before)

    def restore(self, snapshot: object) -> None:
        """Put back what `snapshot` saw."""
        self._bring_back(snapshot)


def value_actuators(
    target: Any,
    spaces: Mapping[str, Parameter] | None = None,
    *,
    name: str = "loss",
    unit: str | None = None,
    risk: str | None = None,
) -> list[ValueKnob]:
    """Make knobs of the entries of a mapping, or of attributes of an object.

    Loss weights in a dict, a temperature, an entropy coefficient, a clip norm, an exploration
    rate, a batch sampler's ``batch_size``: anything that the training code reads anew each time.

    Args:
        target: A mutable mapping such as ``{"aux": 0.5}``, or any object. It is kept, not copied.
        spaces: Entry or attribute -> its range. ``None`` takes every entry of a mapping, and the
            attributes of an object that go by a usual name (``dropout``, ``temperature``,
            ``batch_size``, ...), each in its usual range; a positive real entry of another name
            goes from a tenth to ten times its value.
        name: The first part of the families: ``loss.aux`` and so on.
        unit: Unit of the values, for people; by default that of the usual name.
        risk: How dangerous a change is: low | medium | high; high is moved only by a recipe that
            says otherwise. By default that of the usual name, or low.

    Raises:
        ActuatorError: If an entry does not exist, cannot be written, is no plain value, lies
            outside its range, or belongs to the model's architecture.

    Example:
        >>> weights = {"aux": 0.5, "kl": 0.1}
        >>> [knob.name for knob in value_actuators(weights)]
        ['loss.aux', 'loss.kl']
        >>> value_actuators({"dropout": 0.1})[0].describe_space()
        Float(low=0.0, high=0.5, log=False)
    """
    spaces = _guess(target, name) if spaces is None else spaces
    if not isinstance(spaces, Mapping):
        raise ActuatorError(f"{name}: spaces must map names to ranges, got {spaces!r}")
    made = []
    for key, space in spaces.items():
        family = f"{name}.{key}"
        if not isinstance(key, str):
            raise ActuatorError(f"{family}: must be named by a string, got {key!r}")
        try:
            get, put = _access(target, key)
        except AttributeError as error:
            raise ActuatorError(f"{family}: there is no {key!r} in {target!r}") from error
        known = _known(target, key) or Usual(space)
        unit_of, risk_of = unit or known.unit, risk or known.risk
        knob = ValueKnob(family, get, put, space, unit=unit_of, risk=risk_of)
        _check_start(knob, target, key)
        made.append(knob)
    return made


def value_actuator(
    name: str,
    get: Callable[[], Any],
    put: Callable[[Any], object],
    space: Parameter,
    *,
    unit: str = "",
    risk: str = "low",
) -> ValueKnob:
    """Make a knob of two functions, one that reads a value and one that writes it.

    Args:
        name: Its family, e.g. ``sampler.temperature``.
        get: Gives the value in force.
        put: Puts a value in force.
        space: The values that are allowed.
        unit: Unit of the value, for people.
        risk: How dangerous a change is: low | medium | high.

    Raises:
        ActuatorError: If one of them is no function, or the value in force is not allowed.
    """
    if not callable(get) or not callable(put):
        raise ActuatorError(f"{name}: get and put must be functions, got {get!r} and {put!r}")
    knob = ValueKnob(name, get, put, space, unit=unit, risk=risk)
    _check_value(knob, name.rpartition(".")[2], in_module=False)
    return knob


def dropout_actuator(model: nn.Module, name: str = "model.dropout") -> ValueKnob:
    """Make one knob of the dropout probability across a model.

    It moves every dropout layer, and the dropout inside attention and recurrent layers, that is
    on now. Dropout shows its effect late, so a short look at it proves little: its risk is medium.
    A compiled model is compiled anew for each probability.

    Args:
        model: The model, wrapped or not.
        name: Its family.

    Raises:
        ActuatorError: If nothing there drops out, or not everything with one probability.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1), nn.Dropout(0.1))
        >>> dropout_actuator(model).apply(0.3)
        >>> [layer.p for layer in model if isinstance(layer, nn.Dropout)]
        [0.3, 0.3]
    """
    places, probability = _dropouts(model, name)

    def put(value: float) -> None:
        for module, key in places:
            setattr(module, key, value)

    def get() -> float:
        found = save()
        return found[0] if found.count(found[0]) == len(found) else math.nan

    def save() -> list[float]:
        return [getattr(module, key) for module, key in places]

    def bring_back(saved: list[float]) -> None:
        for (module, key), value in zip(places, saved, strict=True):
            setattr(module, key, value)

    put(probability)
    space, saving = Float(0.0, max(0.5, probability)), (save, bring_back)
    return ValueKnob(name, get, put, space, saving=saving, unit="probability", risk="medium")


def _dropouts(model: object, name: str) -> tuple[list[tuple[nn.Module, str]], float]:
    """Find what drops out: modules and attributes, and their one probability."""
    if not isinstance(model, nn.Module):
        raise ActuatorError(f"{name}: needs a torch.nn.Module, got {type(model).__name__}")
    layers: list[tuple[nn.Module, str]]
    layers = [(m, "p") for m in model.modules() if isinstance(m, DROPOUTS)]
    layers += [(m, "dropout") for m in model.modules() if isinstance(m, INNER_DROPOUTS)]
    places = [(module, key) for module, key in layers if getattr(module, key) > 0]
    values = sorted({float(getattr(module, key)) for module, key in places})
    if len(values) != 1:
        raise ActuatorError(
            f"{name}: the model must drop out with one probability above 0, found {values}; "
            "give its layers one, or make knobs of single layers with value_actuators"
        )
    return places, values[0]


def _known(target: Any, key: str) -> Usual | None:
    entries = target if isinstance(target, MutableMapping) else getattr(target, "__dict__", {})
    return usual(key, entries.get(key))


def _access(target: Any, key: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    if isinstance(target, MutableMapping):
        return lambda: target[key], lambda value: target.__setitem__(key, value)
    *owners, last = key.split(".")
    owner = reduce(getattr, owners, target)  # "1.p" of a model is p of its layer 1
    return lambda: getattr(owner, last), lambda value: setattr(owner, last, value)


def _check_start(knob: ValueKnob, target: Any, key: str) -> None:
    """Check that a value is there, is allowed, and can be written."""
    try:
        knob.read()
    except (KeyError, AttributeError) as error:
        raise ActuatorError(f"{knob.name}: there is no {key!r} in {target!r}") from error
    last = key.rpartition(".")[2]
    _check_value(knob, last, in_module=isinstance(target, nn.Module))
    if isinstance(target, DataLoader):
        raise ActuatorError(
            f"{knob.name}: a DataLoader cannot be changed once it is made; "
            "pass its batch_sampler, whose batch_size can"
        )
    try:  # with the same value: a read-only attribute shows here, not at step 1000
        knob.restore(knob.snapshot())
    except (AttributeError, TypeError, ValueError) as error:
        raise ActuatorError(f"{knob.name}: cannot be written: {error}") from error


def _check_value(knob: ValueKnob, key: str, *, in_module: bool) -> None:
    """Check that the value in force is allowed, and no part of the architecture.

    A real number is a weight, whatever its name; widths, depths and activations are not real.
    """
    value = knob.read()
    is_weight = isinstance(value, float) and isinstance(knob.describe_space(), Float)
    if ARCHITECTURE.search(key) and (in_module or not is_weight):
        raise ActuatorError(
            f"{knob.name}: is part of the architecture, which is not tuned while training: the "
            "weights would lose their shape or their meaning; compare architectures in a study, "
            "before training"
        )
    complaint = knob.validate(value)
    if complaint:
        raise ActuatorError(f"{complaint}; give a range that holds the value in force")


def _guess(target: Any, name: str) -> dict[str, Parameter]:
    """Find what can be tuned, and its range, when the user did not say."""
    if isinstance(target, MutableMapping):
        return {key: _range_of(f"{name}.{key}", key, value) for key, value in target.items()}
    found = {key: usual(key, value) for key, value in getattr(target, "__dict__", {}).items()}
    spaces = {key: known.space for key, known in found.items() if known is not None}
    if not spaces:
        raise ActuatorError(
            f"{name}: spaces must name the attributes of {type(target).__name__} to tune, got "
            "None, and it has none of a usual name such as temperature or dropout"
        )
    return spaces


def _range_of(family: str, key: object, value: object) -> Parameter:
    known = (usual(key, value) if isinstance(key, str) else None) or guess(value)
    if known is None:
        raise ActuatorError(
            f"{family}: only a positive real number has a range of its own, got "
            f"{value!r}; give spaces={{{key!r}: gptune.Float(low, high)}}"
        )
    return known.space
