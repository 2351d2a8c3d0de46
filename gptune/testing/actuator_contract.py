"""The contract that every actuator keeps: read back exactly, undo bit for bit, refuse by name.

With any test runner::

    def test_my_knob_keeps_the_contract():
        check_actuator(lambda: MyKnob(...))

or one test a rule::

    @pytest.mark.parametrize("check", ACTUATOR_CHECKS, ids=lambda check: check.__name__)
    def test_my_knob(check):
        check(MyKnob(...))
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from gptune.actuators import Actuator, LiveActuator, TupleActuator
from gptune.actuators.protocol import FAMILY
from gptune.errors import ContractError
from gptune.foreign import foreign_call
from gptune.records import Categorical, Float, Integer, Parameter, Tuple

AnyActuator = Actuator | TupleActuator
NO_VALUES: tuple[Any, ...] = (None, math.nan, math.inf, -math.inf, "1", "", [], {}, 1j, object())


def check_actuator(
    make: Callable[[], AnyActuator], step: Callable[[AnyActuator], object] | None = None
) -> None:
    """Check that an actuator keeps the whole contract.

    Args:
        make: Makes a new actuator, in a state from which its values can be changed.
        step: Makes one optimizer step of the training that an actuator belongs to; needed to see
            a `LiveActuator` act.

    Raises:
        ContractError: At the first rule that is broken.

    Example:
        >>> from gptune import value_actuators
        >>> check_actuator(lambda: value_actuators({"aux": 0.5})[0])
    """
    for check in ACTUATOR_CHECKS:
        check(make())
    actuator = make()
    if isinstance(actuator, LiveActuator):
        if step is None:
            raise ContractError(f"{actuator.name}: acts inside the optimizer's step; give step=")
        acts_in_the_step_and_leaves_no_trace(actuator, lambda: step(actuator))


def is_named_and_described(actuator: AnyActuator) -> None:
    """It is an actuator, its name is ``group.knob``, and its space is always the same."""
    kind = type(actuator).__name__
    _need(isinstance(actuator, Actuator), kind, "has every member of gptune.Actuator", actuator)
    name, space = actuator.name, actuator.describe_space()
    _need(bool(FAMILY.fullmatch(name)), name, "is called group.knob", name)
    kinds = Float | Integer | Categorical | Tuple
    _need(isinstance(space, kinds), name, "describes a Float, Integer, Categorical or Tuple", space)
    again = (actuator.name, actuator.describe_space())
    _need(again == (name, space), name, "is described as it was before", again)


def allows_the_value_in_force(actuator: AnyActuator) -> None:
    """`validate` has no complaint about the value that `read` gives."""
    value: Any = actuator.read()
    complaint = actuator.validate(value)
    _need(complaint is None, actuator.name, f"allows {value!r}, which is in force", complaint)


def reads_back_what_was_applied(actuator: AnyActuator) -> None:
    """Every value of its space that it allows is read back: equal, and of the same type."""
    allowed = list(_allowed(actuator))
    least = 2
    _need(len(allowed) >= least, actuator.name, "allows two values of its space or more", allowed)
    for value in allowed:
        actuator.apply(value)
        read = actuator.read()
        _need(_is_same(read, value), actuator.name, f"reads {value!r} after that was applied", read)


def undoes_bit_for_bit(actuator: AnyActuator) -> None:
    """One snapshot undoes any number of changes, and again."""
    before, snapshot = actuator.read(), actuator.snapshot()
    for _ in range(3):
        for value in _allowed(actuator):
            actuator.apply(value)
        actuator.restore(snapshot)
        read = actuator.read()
        _need(_is_same(read, before), actuator.name, f"reads {before!r} after a restore", read)
    for value in _allowed(actuator):  # also what was not there from the beginning
        actuator.apply(value)
        later = actuator.snapshot()
        actuator.restore(snapshot)
        actuator.restore(later)
        read = actuator.read()
        _need(_is_same(read, value), actuator.name, f"reads {value!r} after a restore", read)


def validates_without_a_change(actuator: AnyActuator) -> None:
    """`validate` changes nothing, whatever it is asked."""
    before = actuator.read()
    for value in (*_samples(actuator.describe_space()), *_refused(actuator)):
        actuator.validate(value)
        read = actuator.read()
        _need(_is_same(read, before), actuator.name, f"still reads {before!r}", read)


def refuses_by_name(actuator: AnyActuator) -> None:
    """What is no value of its kind is refused in words that name it, and changes nothing."""
    before, name = actuator.read(), actuator.name
    for value in _refused(actuator):
        complaint = actuator.validate(value)
        named = isinstance(complaint, str) and name.partition("[")[0] in complaint
        _need(named, name, f"refuses {value!r} in words that name {name}", complaint)
        raised = _raises(partial(actuator.apply, value))
        _need(raised, name, f"raises when {value!r} is applied", "no exception")
        read = actuator.read()
        _need(_is_same(read, before), name, f"reads {before!r} after {value!r} was refused", read)


def is_all_or_nothing(actuator: AnyActuator) -> None:
    """A tuple of the wrong length, or with one bad element, changes no part."""
    if not isinstance(actuator, TupleActuator):
        return
    before = actuator.read()
    good = next(_allowed(actuator))
    wrong = (good[:-1], (*good, good[-1]), (*good[:-1], math.nan), (math.nan, *good[1:]), good[0])
    for value in wrong:
        _need(bool(actuator.validate(value)), actuator.name, f"refuses {value!r}", None)
        _need(_raises(partial(actuator.apply, value)), actuator.name, f"raises at {value!r}", "")
        read = actuator.read()
        _need(_is_same(read, before), actuator.name, f"still reads {before!r}", read)


def acts_in_the_step_and_leaves_no_trace(
    actuator: LiveActuator, step: Callable[[], object]
) -> None:
    """Attached, every step uses the multiplier; detached, none does.

    Args:
        actuator: The actuator.
        step: Makes one optimizer step.
    """
    name = actuator.name
    actuator.attach()
    actuator.attach()
    for factor in (value for value in _allowed(actuator) if value != 1.0):
        actuator.apply(factor)
        scheduled, fired = actuator.scheduled(), actuator.fired()
        step()
        used, seen = actuator.effective(), actuator.fired() - fired
        _need(seen == 1, name, "sees each step once", seen)
        _need(used == scheduled * factor, name, f"uses {scheduled!r} x {factor!r}", used)
        _need(actuator.scheduled() == scheduled, name, "leaves the schedule", actuator.scheduled())
    actuator.restore(1.0)
    scheduled = actuator.scheduled()
    step()
    _need(actuator.effective() == scheduled, name, "uses the schedule again", actuator.effective())
    actuator.heal()
    actuator.detach()
    actuator.detach()
    fired = actuator.fired()
    step()
    _need(actuator.fired() == fired, name, "is still once it is detached", actuator.fired())


ACTUATOR_CHECKS: tuple[Callable[[AnyActuator], None], ...] = (
    is_named_and_described,
    allows_the_value_in_force,
    reads_back_what_was_applied,
    undoes_bit_for_bit,
    validates_without_a_change,
    refuses_by_name,
    is_all_or_nothing,
)


def _samples(space: Parameter | Tuple) -> Iterator[Any]:
    """Give values at both ends of a space and between."""
    if isinstance(space, Tuple):
        yield from zip(*(_three(part) for part in space.parts.values()), strict=True)
    else:
        yield from dict.fromkeys(_three(space))


def _three(space: Parameter) -> tuple[Any, Any, Any]:
    if isinstance(space, Categorical):
        return space.choices[0], space.choices[len(space.choices) // 2], space.choices[-1]
    middle = math.sqrt(space.low * space.high) if space.log else (space.low + space.high) / 2
    if isinstance(space, Integer):
        return space.low, round(middle), space.high
    return float(space.low), middle, float(space.high)


def _allowed(actuator: AnyActuator) -> Iterator[Any]:
    for value in _samples(actuator.describe_space()):
        if actuator.validate(value) is None:
            yield value


def _refused(actuator: AnyActuator) -> Iterator[Any]:
    space = actuator.describe_space()
    yield from NO_VALUES
    if isinstance(space, Tuple):
        return
    if isinstance(space, Categorical):
        yield "no choice of yours"
        return
    yield from (True, False)
    if isinstance(space, Integer):
        yield space.low + 0.5
    if not isinstance(actuator, LiveActuator):  # a recipe may give a multiplier other bounds
        reach = space.high - space.low
        yield from (space.low - reach, space.high + reach)


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return type(one) is type(other) and one == other


def _raises(call: Callable[[], object]) -> bool:
    return foreign_call(call).error is not None


def _need(holds: object, name: str, rule: str, found: object) -> None:
    if not holds:
        raise ContractError(f"{name}: breaks the contract of an actuator: {rule}; got {found!r}")
