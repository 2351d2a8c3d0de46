"""How far a grid was gone through: its points in their order, each that no trial has or had.

It learns from each trial once, and looks at each point about once, however long a study is.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gptune.records import Scalar
from gptune.study.records import TrialRecord

Params = Mapping[str, Scalar]
Sides = Mapping[str, Sequence[Scalar]]


class Walk:
    """Goes through a grid beside the trials of one study.

    Args:
        sides: Name -> values, at least one each.
        history: Trials that are finished; it may grow between two looks, anywhere in it.
        allowed: Whether a point may be tried.

    Attributes:
        history: The same.
    """

    def __init__(
        self, sides: Sides, history: Sequence[TrialRecord], allowed: Callable[[Params], bool]
    ) -> None:
        self.history, self._sides, self._allowed = history, dict(sides), allowed
        self._size = math.prod(len(side) for side in self._sides.values())
        self._next = 0  # place of the first point that was not looked at
        self._open: dict[int, dict[str, Scalar]] = {}  # place -> point that is not finished yet
        self._known: set[int] = set()  # numbers of the trials that were learned from
        self._had: set[Any] = set()

    def goes_on(self, history: Sequence[TrialRecord], allowed: Callable[[Params], bool]) -> bool:
        """Say whether these are the trials and the constraints that it goes beside."""
        is_same = history is self.history and allowed == self._allowed
        return is_same and len(history) >= len(self._known)

    def step(self, running: Iterable[Params]) -> dict[str, Scalar] | None:
        """Give the first point that no trial has or had; ``None`` if there is none.

        Asked again, it gives the same one, until a trial runs it.
        """
        self._learn()
        taken = {key_of(params) for params in running}
        for place, point in list(self._open.items()):
            key = key_of(point)
            if key in self._had:
                del self._open[place]
            elif key not in taken:  # it was withdrawn, or never begun
                return dict(point)
        while self._next < self._size:
            point = self._at(self._next)
            key = key_of(point)
            is_open = key not in self._had and self._allowed(point)
            if is_open:
                self._open[self._next] = point
            self._next += 1
            if is_open and key not in taken:
                return dict(point)
        return None

    def _learn(self) -> None:
        """Learn from the trials that are new: most of them are the last ones."""
        new = len(self.history) - len(self._known)
        for trial in reversed(self.history):
            if not new:
                break
            if trial.number not in self._known:
                self._known.add(trial.number)
                self._had.add(key_of(trial.params))
                new -= 1

    def _at(self, place: int) -> dict[str, Scalar]:
        """Give the point at a place; the last parameter changes first."""
        found: dict[str, Scalar] = {}
        for name in reversed(self._sides):
            place, here = divmod(place, len(self._sides[name]))
            found[name] = self._sides[name][here]
        return {name: found[name] for name in self._sides}


def key_of(params: Params) -> Any:
    """Give what tells points apart: one, true and one point nought are three values."""
    return tuple(sorted((name, type(v).__name__, v) for name, v in params.items()))


def count_tried(sides: Sides, tried: Iterable[Params]) -> int:
    """Count the points of a grid that are among those which were tried [points]."""
    among = {name: _among(side) for name, side in sides.items()}
    points = (one for one in tried if one.keys() == among.keys())
    return len({key_of(one) for one in points if all(among[n](v) for n, v in one.items())})


def _among(side: Sequence[Scalar]) -> Callable[[Scalar], bool]:
    if isinstance(side, range):
        return lambda value: type(value) is int and value in side
    known = {(type(one), one) for one in side}
    return lambda value: (type(value), value) in known
