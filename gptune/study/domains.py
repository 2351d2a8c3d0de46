"""What the parameters of a trial may be: the kinds of `records`, steps, and fixed values. Pure.

A sampler searches an *inner* parameter, a `Float`, `Integer` or `Categorical`; a stepped number is
a whole number of steps there, and a fixed value is not searched.
"""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, TypeGuard

import msgspec

from gptune.configs import nearest
from gptune.configs.reading import BIGGEST, shown
from gptune.errors import SpaceError
from gptune.records import Categorical, Float, Integer, Parameter, Scalar, check_range

MOST_STEPS = 2**53  # beyond, floats skip some
EXACT = {bool: bool, str: str.__str__, int: int.__int__, float: float.__float__}
FEW = 2**40  # up to here floats tell whole numbers apart also after some sums


class Stepped(msgspec.Struct, frozen=True, tag="stepped"):
    """The numbers ``low, low + step, ...`` up to ``high``; whole numbers if all three are.

    Raises:
        SpaceError: If the bounds are wrong, or ``step`` is not positive or wider than they are.

    Example:
        >>> Stepped(0.1, 0.35, 0.1).values()
        (0.1, 0.2, 0.3)
    """

    low: int | float
    high: int | float
    step: int | float

    def __post_init__(self) -> None:
        check_range(self.low, self.high, log=False)
        given = f"got {shown(self.step)} for [{self.low!r}, {self.high!r}]"
        if not _is_number(self.step) or not 0 < _exact(self.step) <= self._width:
            raise SpaceError(f"step must be positive and at most high - low, {given}")
        largest = max(abs(_exact(self.low)), abs(_exact(self.high)), self._width)
        if largest / _exact(self.step) > MOST_STEPS:
            raise SpaceError(f"step is too small to be told from rounding errors, {given}")

    @property
    def _width(self) -> Decimal:
        return _exact(self.high) - _exact(self.low)

    @property
    def steps(self) -> int:
        """How many steps there are above ``low``."""
        return int(self._width // _exact(self.step))

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.step, int)

    def at(self, number: int) -> Scalar:
        """Give the value after so many steps, without the rounding errors of a sum."""
        value = _exact(self.low) + number * _exact(self.step)
        return int(value) if self.is_whole else float(value)

    def values(self) -> tuple[Scalar, ...]:
        """List all values, the lowest first."""
        return tuple(self.at(number) for number in range(self.steps + 1))


class Fixed(msgspec.Struct, frozen=True, tag="fixed"):
    """The only value there is: a range of one number, or a single choice."""

    value: Scalar


Domain = Float | Integer | Categorical | Stepped | Fixed
Domains = Mapping[str, Domain]
KINDS = {
    "float": ("low", "high", "log", "step"),
    "int": ("low", "high", "log", "step"),
    "categorical": ("choices",),
}


def number_domain(
    low: float, high: float, *, log: bool = False, step: float | None = None, whole: bool = False
) -> Domain:
    """Make the domain of a number, as ``suggest_float`` and ``suggest_int`` describe it.

    Raises:
        SpaceError: If the bounds are wrong, or ``log`` and ``step`` are both given.
    """
    low, high, log, step = plain(low), plain(high), plain(log), plain(step)
    if not isinstance(log, bool):
        raise SpaceError(
            f"log must be true or false, got {shown(log)}; give True to search on a log scale"
        )
    if step is not None and log:
        raise SpaceError("log and step exclude each other; leave one of them out")
    if low == high and all(_is_number(one, whole=whole) for one in (low, high)):
        return Fixed(low if whole else float(low))
    if step is not None and not (whole and step == 1):
        return _stepped(Stepped(low, high, step), whole=whole)
    if whole:
        return Integer(low, high, log)  # type: ignore[arg-type]  # it says itself what is wrong
    return Float(low, high, log)


def _stepped(made: Stepped, *, whole: bool) -> Stepped:
    """Make all three numbers whole, or real."""
    for field in ("low", "high", "step") if whole else ():
        if not isinstance(getattr(made, field), int):
            raise SpaceError(f"{field} must be a whole number, got {getattr(made, field)!r}")
    return made if whole else Stepped(float(made.low), float(made.high), float(made.step))


def choice_domain(choices: Any) -> Domain:
    """Make the domain of a choice.

    Raises:
        SpaceError: If there is none, or one that is no plain value.
    """
    if isinstance(choices, str) or not isinstance(choices, list | tuple):
        raise SpaceError(f"choices must be a list, got {shown(choices)}")
    choices = tuple(plain(choice) for choice in choices)
    for choice in choices:
        if not isinstance(choice, bool | int | float | str):
            raise SpaceError(
                f"choices must be plain values (bool, int, float, str), got {shown(choice)}; "
                "give names, and look the objects up by them"
            )
        if isinstance(choice, float) and not math.isfinite(choice):
            raise SpaceError(f"choices must be finite, got {choice!r}; leave it out")
        if isinstance(choice, int) and abs(choice) >= BIGGEST:
            raise SpaceError(
                "choices must be at most 2**63 - 1 in size, got a whole number of "
                f"{choice.bit_length()} bits; give it as text"
            )
    return Fixed(choices[0]) if len(choices) == 1 else Categorical(choices)


def plain(value: Any) -> Any:
    """Give the plain value that a scalar of NumPy's, or a member of an enum, stands for.

    Whatever else it is comes back as it is.

    Example:
        >>> import numpy as np
        >>> plain(np.float64(0.5)), plain(np.int64(3)), plain(None)
        (0.5, 3, None)
    """
    if type(value) in EXACT:
        return value
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        value = item()
    kind = next((one for one in EXACT if isinstance(value, one)), None)
    return value if kind is None else EXACT[kind](value)  # type: ignore[operator]


def is_scalar(value: object) -> bool:
    """Say whether something is a plain value that can be written down: finite, and not too large.

    Example:
        >>> is_scalar(0.5), is_scalar("a"), is_scalar(float("nan")), is_scalar([1])
        (True, True, False, False)
    """
    if isinstance(value, str):
        return value.encode(errors="ignore").decode() == value  # no half of a surrogate pair
    return isinstance(value, bool) or _is_number(value)


def read_domain(name: str, given: object) -> Domain:
    """Read one parameter of a space that is given up front; records are checked as plain data is.

    Args:
        name: The parameter's, for messages.
        given: A kind of `records`, or ``{"type": "float" | "int" | "categorical", ...}``.

    Raises:
        SpaceError: Naming the parameter and the field.
    """
    if isinstance(given, Mapping):
        make = _reading(name, given)
    elif isinstance(given, Float | Integer | Categorical | Stepped | Fixed):
        make = partial(_again, given)
    else:
        raise SpaceError(
            f"parameter {name!r}: must be Float, Integer, Categorical or a mapping with a type, "
            f"got {shown(given)}"
        )
    try:
        return make()
    except (SpaceError, TypeError, OverflowError) as error:
        raise SpaceError(f"parameter {name!r}: {error}") from None


def _again(given: Domain) -> Domain:
    """Make a record once more: it may hold what plain data may not, such as a choice of NaN."""
    match given:
        case Stepped(low=low, high=high, step=step):
            return Stepped(plain(low), plain(high), plain(step))
        case Fixed(value=value):
            return choice_domain([value])
        case Categorical(choices=choices):
            return choice_domain(choices)
        case _:
            whole = isinstance(given, Integer)
            return number_domain(given.low, given.high, log=given.log, whole=whole)


def _reading(name: str, given: Mapping[str, Any]) -> Callable[[], Domain]:
    """Read the kind, and the names of its fields; gives what reads the fields."""
    fields = dict(given)
    kind = fields.pop("type", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise SpaceError(
            f"parameter {name!r}: type must be one of {', '.join(KINDS)}, got {shown(kind)}"
        )
    _check_fields(name, kind, fields)
    if kind == "categorical":
        return partial(choice_domain, fields["choices"])
    return partial(number_domain, **fields, whole=kind == "int")


def _check_fields(name: str, kind: str, fields: Mapping[str, object]) -> None:
    """Raise if a field is unknown, or one that is needed is missing."""
    known = KINDS[kind]
    for field in fields:
        if field not in known:
            raise SpaceError(f"parameter {name!r}: {field}: unknown key; {nearest(field, known)}")
    for field in known[:2]:
        if field not in fields:
            raise SpaceError(f"parameter {name!r}: {field} is missing")


def read_domains(given: object) -> dict[str, Domain]:
    """Read a whole space: a mapping, or an object with ``parameters``.

    Raises:
        SpaceError: Naming the parameter that is wrong.
    """
    plain = getattr(given, "parameters", given)
    if not isinstance(plain, Mapping) or not plain:
        raise SpaceError(f"space: must be a mapping of at least one parameter, got {shown(given)}")
    for name in plain:
        if not isinstance(name, str) or not name:
            raise SpaceError(f"space: names must be words, got {shown(name)}")
    return {name: read_domain(name, one) for name, one in plain.items()}


def holds(domain: Domain, value: object) -> bool:
    """Say whether a value lies in a domain: where that is of whole numbers, only an ``int`` does.

    Example:
        >>> holds(Integer(1, 3), 2), holds(Integer(1, 3), 2.0), holds(Float(0.0, 1.0), 1)
        (True, False, True)
    """
    value = plain(value)
    if isinstance(domain, Fixed | Categorical):
        choices = (domain.value,) if isinstance(domain, Fixed) else domain.choices
        return any(type(one) is type(value) and one == value for one in choices)
    if not _is_number(value, whole=_is_whole(domain)):
        return False
    if isinstance(domain, Stepped):
        return _step_of(domain, value) is not None
    return domain.low <= value <= domain.high


def _is_whole(domain: Domain) -> bool:
    return isinstance(domain, Integer) or (isinstance(domain, Stepped) and domain.is_whole)


def inner(domain: Domain) -> Parameter | None:
    """Give what a sampler searches; ``None`` if there is nothing to search."""
    if isinstance(domain, Fixed):
        return None
    if isinstance(domain, Stepped):
        return Integer(0, domain.steps) if domain.steps else None
    return domain


def to_inner(domain: Domain, value: Scalar) -> Scalar | None:
    """Give where a value lies in the inner parameter; ``None`` if it is none of a domain's."""
    value = plain(value)
    if not holds(domain, value):
        return None
    return _step_of(domain, value) if isinstance(domain, Stepped) else value


def _step_of(domain: Stepped, value: Any) -> int | None:
    """Give the number of the step at which a value lies; ``None`` if it lies at none."""
    number = round((_exact(value) - _exact(domain.low)) / _exact(domain.step))
    there = 0 <= number <= domain.steps and domain.at(number) == value
    return number if there else None


def from_inner(domain: Domain, value: Scalar) -> Scalar:
    """Give the value that a place in the inner parameter stands for."""
    return domain.at(int(value)) if isinstance(domain, Stepped) else value


def draw(domain: Domain, chance: Random) -> Scalar:
    """Draw a value by chance, evenly on the scale that is searched."""
    return at_share(domain, chance.random())


def at_share(domain: Domain, share: float) -> Scalar:
    """Give the value a share of the way through a domain, on the scale that is searched.

    Example:
        >>> at_share(Float(0.0, 4.0), 0.25), at_share(Integer(1, 4), 0.99)
        (1.0, 4)
    """
    if isinstance(domain, Fixed):
        return domain.value
    if isinstance(domain, Categorical):
        return domain.choices[min(len(domain.choices) - 1, int(share * len(domain.choices)))]
    if isinstance(domain, Stepped):
        return domain.at(min(domain.steps, int(share * (domain.steps + 1))))
    return _number_at(domain, share)


def _number_at(domain: Float | Integer, share: float) -> Scalar:
    """Do so for a number; whole ones have half a unit more at each end, so all are as likely."""
    if isinstance(domain, Integer) and max(-domain.low, domain.high) > FEW:
        from gptune.core.space import whole_at

        return whole_at(domain, share)
    margin = 0.5 if isinstance(domain, Integer) else 0.0
    low, high = domain.low - margin, domain.high + margin
    if domain.log:
        low, high = math.log(low), math.log(high)
    value = low * (1 - share) + high * share
    value = math.exp(value) if domain.log else value
    if isinstance(domain, Integer):
        return min(domain.high, max(domain.low, round(value)))
    return min(float(domain.high), max(float(domain.low), value))


def _is_number(value: object, *, whole: bool = False) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < BIGGEST


def _exact(value: float) -> Decimal:
    """Give the number that a person would write."""
    return Decimal(str(value))


def show_point(params: Mapping[str, Scalar]) -> str:
    """Write a trial's parameters for people, in one line."""
    parts = (f"{n}={v:.6g}" if isinstance(v, float) else f"{n}={v}" for n, v in params.items())
    return ", ".join(parts) or "no parameter"
