"""The search space: points <-> the unit cube.

A numeric parameter takes one coordinate, a categorical one takes one a choice (one-hot).
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

from gptune.errors import SpaceError
from gptune.records import Categorical, Float, Integer, Parameter, Point, Scalar

__all__ = ["Categorical", "Float", "Integer", "SearchSpace", "cube", "whole_at"]

LARGE = 2**40  # of whole numbers beyond, floats lose the last digits on the way to the cube


def cube(values: object) -> Tensor:
    """Make a float64 tensor on the CPU, whatever torch's defaults are."""
    return torch.as_tensor(values, dtype=torch.float64, device="cpu")


@dataclass(frozen=True)
class SearchSpace:
    """Named parameters, in the order given.

    Args:
        parameters: Name -> `Float`, `Integer` or `Categorical`; at least one.

    Raises:
        SpaceError: If there are none, or one of them is of another kind.

    Example:
        >>> space = SearchSpace({"lr": Float(1e-4, 1.0, log=True)})
        >>> space.encode({"lr": 1e-2})
        tensor([0.5000], dtype=torch.float64)
        >>> round(space.decode(cube([0.5]))["lr"], 6)
        0.01
    """

    parameters: Mapping[str, Parameter]

    def __post_init__(self) -> None:
        if not self.parameters:
            raise SpaceError("SearchSpace: needs at least one parameter, got none; add one")
        for name, parameter in self.parameters.items():
            if not isinstance(parameter, Float | Integer | Categorical):
                raise SpaceError(
                    f"parameter {name!r}: must be Float, Integer or Categorical, got {parameter!r}"
                )

    @cached_property
    def dimension(self) -> int:
        """Coordinates of the unit cube, d."""
        return sum(_width(parameter) for parameter in self.parameters.values())

    def columns(self) -> Iterator[tuple[str, Parameter, slice]]:
        """List each parameter with the coordinates that it takes."""
        start = 0
        for name, parameter in self.parameters.items():
            stop = start + _width(parameter)
            yield name, parameter, slice(start, stop)
            start = stop

    def encode(self, point: Point) -> Tensor:
        """Give a point's place in the unit cube, shape ``(d,)``.

        Raises:
            SpaceError: If a name is missing or unknown, or a value lies outside its parameter.
        """
        if point.keys() != self.parameters.keys():
            odd = sorted(point.keys() ^ self.parameters.keys())
            raise SpaceError(f"a point must name exactly {list(self.parameters)}; check {odd}")
        parts = [_encode(name, p, point[name]) for name, p in self.parameters.items()]
        return cube([coordinate for part in parts for coordinate in part])

    def place(self, name: str, value: float) -> float:
        """Give the coordinate of one numeric parameter's value; outside values go to the edge."""
        parameter = self.parameters[name]
        if isinstance(parameter, Categorical):
            raise SpaceError(f"parameter {name!r}: a choice has no single coordinate")
        inside = min(parameter.high, max(parameter.low, value))
        return _encode(name, parameter, inside)[0]

    def decode(self, x: Tensor) -> dict[str, Scalar]:
        """Give the point at a place, shape ``(d,)``; places outside the cube are moved inside."""
        flat = x.detach().clamp(0.0, 1.0).tolist()
        return {name: _decode(parameter, flat[part]) for name, parameter, part in self.columns()}

    def snap(self, x: Tensor) -> Tensor:
        """Move places to where points are: whole numbers and single choices, shape ``(m, d)``."""
        if self.all_floats:
            return x
        snapped = x.clone()
        for name, parameter, part in self.columns():
            if isinstance(parameter, Integer):
                whole, which = _whole(parameter, x[:, part.start])
                places = [_encode(name, parameter, value)[0] for value in whole]
                snapped[:, part.start] = cube(places)[which]
            elif isinstance(parameter, Categorical):
                chosen = x[:, part].argmax(-1)
                snapped[:, part] = torch.nn.functional.one_hot(chosen, _width(parameter)).to(x)
        return snapped

    @cached_property
    def floats(self) -> Tensor:
        """Which coordinates are real numbers' own, bool, shape ``(d,)``."""
        flags = [isinstance(p, Float) for _, p, c in self.columns() for _ in range(c.start, c.stop)]
        return torch.tensor(flags, dtype=torch.bool, device="cpu")

    @cached_property
    def all_floats(self) -> bool:
        """Whether all parameters are real numbers."""
        return all(isinstance(parameter, Float) for parameter in self.parameters.values())

    def neighbours(self, x: Tensor) -> Tensor:
        """List the places that differ in one choice, or by a step of one whole number.

        Args:
            x: Where a point is, shape ``(d,)``.

        Returns:
            Shape ``(k, d)``; a whole number steps by one and by an eighth of its range.
        """
        rows = []
        for name, parameter, part in self.columns():
            if isinstance(parameter, Float):
                continue
            for value in _others(parameter, _decode(parameter, x[part].tolist())):
                row = x.clone()
                row[part] = cube(_encode(name, parameter, value))
                rows.append(row)
        return torch.stack(rows) if rows else x.new_zeros(0, len(x))

    @cached_property
    def size(self) -> float:
        """How many points there are; infinite with a real parameter."""
        counts = [_count(p) for p in self.parameters.values() if not isinstance(p, Float)]
        return math.prod(counts) if len(counts) == len(self.parameters) else math.inf

    @cached_property
    def grid(self) -> Tensor:
        """All places where points are, shape ``(size, d)``; for small finite spaces."""
        sides = [
            [_encode(name, parameter, value) for value in _all(parameter)]
            for name, parameter in self.parameters.items()
        ]
        rows = [[c for part in parts for c in part] for parts in itertools.product(*sides)]
        return cube(rows)


def _count(parameter: Integer | Categorical) -> int:
    """How many values there are; whole numbers may be more than any float can count."""
    if isinstance(parameter, Categorical):
        return len(parameter.choices)
    return parameter.high - parameter.low + 1


def _all(parameter: Parameter) -> Sequence[Scalar]:
    if isinstance(parameter, Categorical):
        return parameter.choices
    return range(int(parameter.low), int(parameter.high) + 1)


def _others(parameter: Integer | Categorical, value: Scalar) -> list[Scalar]:
    if isinstance(parameter, Categorical):
        return [c for c in parameter.choices if type(c) is not type(value) or c != value]
    here, eighth = int(value), max(1, (parameter.high - parameter.low) // 8)
    near = {here - 1, here + 1, here - eighth, here + eighth}
    return [n for n in sorted(near) if parameter.low <= n <= parameter.high]


def _whole(parameter: Integer, x: Tensor) -> tuple[list[int], Tensor]:
    """The whole numbers as `decode` has them, and which one each coordinate has, shape ``(m,)``."""
    if _is_large(parameter):
        each, which = torch.unique(x.clamp(0.0, 1.0), return_inverse=True)
        return [whole_at(parameter, share) for share in each.tolist()], which
    low, high = _ends(parameter)
    value = low * (1.0 - x) + high * x
    value = (value.exp() if parameter.log else value).round().clamp(parameter.low, parameter.high)
    each, which = torch.unique(value, return_inverse=True)
    return [int(one) for one in each.tolist()], which


def whole_at(parameter: Integer, share: float) -> int:
    """Give the whole number a share of the way through a range, exactly: for those beyond floats.

    Args:
        parameter: The range; all of its numbers have the same room, also those at its ends.
        share: How far, on the scale that is searched, in ``[0, 1]``.

    Example:
        >>> whole_at(Integer(2**60, 2**60 + 7), 1.0) - 2**60
        7
    """
    if share >= _share_of(parameter, parameter.high):
        return parameter.high  # on a log scale rounding errors are many whole numbers wide
    begin, width = Fraction(2 * parameter.low - 1, 2), _count(parameter)
    if parameter.log:
        ahead = Fraction(float(begin) * math.expm1(share * math.log1p(width / begin)))
    else:
        ahead = width * Fraction(share)
    return min(parameter.high, max(parameter.low, round(begin + ahead)))


def _share_of(parameter: Integer, value: float) -> float:
    """Give how far through a range a number lies, exactly: what `whole_at` turns back."""
    begin, width = Fraction(2 * parameter.low - 1, 2), _count(parameter)
    ahead = Fraction(value) - begin
    if parameter.log:
        return min(1.0, math.log1p(ahead / begin) / math.log1p(width / begin))
    return float(ahead / width)


def _is_large(parameter: Float | Integer) -> bool:
    return isinstance(parameter, Integer) and max(-parameter.low, parameter.high) > LARGE


def _width(parameter: Parameter) -> int:
    return len(parameter.choices) if isinstance(parameter, Categorical) else 1


def _ends(parameter: Float | Integer) -> tuple[float, float]:
    """Bounds on the scale that is searched; half a unit wider for whole numbers."""
    margin = 0.5 if isinstance(parameter, Integer) else 0.0
    low, high = parameter.low - margin, parameter.high + margin
    return (math.log(low), math.log(high)) if parameter.log else (low, high)


def _encode(name: str, parameter: Parameter, value: Scalar) -> list[float]:
    if isinstance(parameter, Categorical):
        matches = [type(c) is type(value) and c == value for c in parameter.choices]
        if not any(matches):
            raise SpaceError(f"parameter {name!r}: {value!r} is none of {parameter.choices}")
        return [float(match) for match in matches]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not parameter.low <= value <= parameter.high:  # type: ignore[operator]
        raise SpaceError(
            f"parameter {name!r}: must be a number in [{parameter.low}, {parameter.high}], "
            f"got {value!r}"
        )
    if isinstance(parameter, Integer) and _is_large(parameter):
        return [_share_of(parameter, value)]  # type: ignore[arg-type]
    low, high = _ends(parameter)
    here = math.log(float(value)) if parameter.log else float(value)
    # The width of a range such as (-1e308, 1e308) is no finite number, but that of its half is.
    scale = 0.5 if math.isinf(high - low) else 1.0
    width = high * scale - low * scale
    return [min(1.0, max(0.0, (here * scale - low * scale) / width))] if width > 0 else [0.5]


def _decode(parameter: Parameter, x: list[float]) -> Scalar:
    if isinstance(parameter, Categorical):
        return parameter.choices[max(range(len(x)), key=x.__getitem__)]
    if isinstance(parameter, Integer) and _is_large(parameter):
        return whole_at(parameter, x[0])
    low, high = _ends(parameter)
    value = low * (1.0 - x[0]) + high * x[0]
    value = math.exp(value) if parameter.log else value
    if isinstance(parameter, Integer):
        return min(parameter.high, max(parameter.low, round(value)))
    return min(float(parameter.high), max(float(parameter.low), value))
