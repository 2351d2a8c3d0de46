"""What a trial tries: by chance, evenly, on a grid, or by the Gaussian process.

A proposal is a function of the study's seed, the trial's number, and what the trials before have
come to, so that sequential studies and synchronous batches repeat exactly.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from gptune.configs import nearest
from gptune.configs.reading import shown
from gptune.errors import StudyError
from gptune.records import Categorical, Integer, Scalar
from gptune.study.domains import (
    Domain,
    Domains,
    Fixed,
    Stepped,
    at_share,
    draw,
    inner,
    plain,
    to_inner,
)
from gptune.study.records import TrialRecord
from gptune.study.walk import Walk, count_tried

logger = logging.getLogger("gptune")
LARGEST_GRID = 10**6  # points; a larger one is a mistake
DRAWS = 10_000  # by chance, until a constraint is met
RESOLUTION = 10  # values of a real parameter on a grid

Allowed = Callable[[Mapping[str, Scalar]], bool]


def chance_of(seed: int, number: int, name: str = "") -> Random:
    """Give the chance of one trial, and within it of one name: the same each time."""
    return Random(f"{seed}/{number}/{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a sampler sees of a study.

    Attributes:
        number: Of the trial to come.
        seed: Of the study.
        sign: What turns the objective into larger-is-better.
        space: Every parameter that is known: given up front, or met in earlier trials.
        finished: Trials that are complete, pruned or failed, in the order of their numbers.
        running: Values that are being tried now.
        allowed: Whether all constraints are met.
        memory: What this sampler wanted to know again, at the last trial that has such.
    """

    number: int
    seed: int
    sign: float
    space: Domains
    finished: Sequence[TrialRecord]
    running: Sequence[Mapping[str, Scalar]] = ()
    allowed: Allowed = field(default=lambda params: True)
    memory: Mapping[str, Any] = field(default_factory=dict)

    def chance(self, name: str = "") -> Random:
        """Give the chance of this trial, the same each time it is asked."""
        return chance_of(self.seed, self.number, name)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a sampler would try: values for all that it knows, and what it wants to know again."""

    params: Mapping[str, Scalar]
    memory: Mapping[str, Any] = field(default_factory=dict)


class Sampler(Protocol):
    """Says what to try next; any object of yours with this method is one."""

    def suggest(self, view: View) -> Suggestion:
        """Give values for every parameter of ``view.space`` that it knows how to choose.

        A parameter that it leaves out, or gives a value that does not lie in its domain, is drawn
        by chance.
        """
        ...


class RandomSampler:
    """Draws evenly, on the scale that is searched."""

    def suggest(self, view: View) -> Suggestion:
        """Draw until the constraints are met."""
        return Suggestion(draw_allowed(view))


class SobolSampler:
    """Spreads trials more evenly than chance: a scrambled Sobol sequence of the study's seed."""

    def suggest(self, view: View) -> Suggestion:
        """Give the point of the sequence that has the trial's number."""
        from torch.quasirandom import SobolEngine

        names = [name for name in sorted(view.space) if inner(view.space[name]) is not None]
        engine = SobolEngine(max(1, len(names)), scramble=True, seed=view.seed % 2**31)  # type: ignore[no-untyped-call]
        unit = engine.fast_forward(view.number).draw(1)[0].tolist()  # type: ignore[no-untyped-call]
        shares = dict(zip(names, unit, strict=False))
        params = {n: at_share(d, shares.get(n, 0.5)) for n, d in view.space.items()}
        return Suggestion(params if view.allowed(params) else draw_allowed(view))


class GridSampler:
    """Tries every point of a grid once, in a fixed order; then the study ends.

    How many points there are is `size`, and how many are left `left`; both are logged when a study
    begins to go through them, or goes on.

    Args:
        grid: Name -> values; by default every choice, every whole number or step, and ten values
            of a real parameter, evenly on its scale.
        resolution: Values of a real parameter, at most a million [values].

    Raises:
        StudyError: If the grid is no mapping of names to lists of values, or the resolution no
            such number.
    """

    def __init__(
        self,
        grid: Mapping[str, Sequence[Scalar]] | None = None,
        *,
        resolution: int = RESOLUTION,
    ) -> None:
        whole = isinstance(resolution, int) and not isinstance(resolution, bool)
        if not whole or not 1 <= resolution <= LARGEST_GRID:
            raise StudyError(
                f"resolution: must be a whole number >= 1 and at most {LARGEST_GRID}, got "
                f"{shown(resolution)}"
            )
        self._grid = {} if grid is None else _read_grid(grid)
        self._resolution = resolution
        self._space: dict[str, Domain] = {}
        self._walk: Walk | None = None

    def points(self, space: Domains, allowed: Allowed) -> Iterator[dict[str, Scalar]]:
        """Go through the points that meet the constraints.

        Raises:
            StudyError: If there are too many, the space has no parameter of a name that the grid
                has, or a value lies outside of its domain.
        """
        sides = self.sides(space)
        for values in itertools.product(*sides.values()):
            params = dict(zip(sides, values, strict=True))
            if allowed(params):
                yield params

    def sides(self, space: Domains) -> dict[str, Sequence[Scalar]]:
        """Give the values of each parameter.

        Raises:
            StudyError: As `points` does.
        """
        self.size(space)
        return {name: self._side(name, domain) for name, domain in space.items()}

    def size(self, space: Domains) -> int:
        """Count the points, those that are against a constraint included [points].

        Raises:
            StudyError: As `points` does, but for a value outside of its domain.

        Example:
            >>> from gptune.records import Float
            >>> GridSampler(resolution=3).size({"x": Float(0.0, 1.0), "n": Integer(1, 4)})
            12
        """
        for name in self._grid:
            if name not in space:
                raise StudyError(
                    f"grid: {name}: is none of the space's parameters; {nearest(name, space)}"
                )
        size = math.prod(self._count(name, domain) for name, domain in space.items())
        if size > LARGEST_GRID:
            raise StudyError(
                f"grid: has {size} points, more than {LARGEST_GRID}; give fewer values with "
                "GridSampler({...}), or use another sampler"
            )
        return size

    def left(self, space: Domains, trials: Iterable[TrialRecord]) -> int:
        """Count the points that no trial has or had, those against a constraint included [points].

        Raises:
            StudyError: As `points` does.
        """
        tried = count_tried(self.sides(space), (trial.params for trial in trials))
        return self.size(space) - tried

    def suggest(self, view: View) -> Suggestion:
        """Give the first point that no trial has or had.

        Raises:
            StudyError: If the grid is spent, or as `points` does.
        """
        if not view.space:
            raise StudyError("grid: needs the space up front; pass space= to Study")
        walk = self._walk
        if (
            walk is None
            or self._space != view.space
            or not walk.goes_on(view.finished, view.allowed)
        ):
            walk = self._begin(view)
        point = walk.step(view.running)
        if point is None:
            raise GridSpent
        return Suggestion(point)

    def _begin(self, view: View) -> Walk:
        """Begin to go through the grid, beside the trials of a study."""
        sides = self.sides(view.space)
        self._space, self._walk = dict(view.space), Walk(sides, view.finished, view.allowed)
        logger.info(
            "gptune: a grid of %d points, of which %d are left",
            self.size(view.space),
            self.left(view.space, view.finished),
        )
        return self._walk

    def __getstate__(self) -> dict[str, object]:
        """Leave out how far it has come: the trials say so wherever it is read again."""
        return {**self.__dict__, "_walk": None}

    def _side(self, name: str, domain: Domain) -> Sequence[Scalar]:
        if name in self._grid:
            for value in self._grid[name]:
                if to_inner(domain, value) is None:
                    raise StudyError(f"grid: {name}: {shown(value)} does not lie in {domain!r}")
            return self._grid[name]
        return every(domain, self._resolution)

    def _count(self, name: str, domain: Domain) -> int:
        """Count the values of a parameter, without listing what may be endless."""
        if name in self._grid:
            return len({(type(one), one) for one in self._grid[name]})
        match domain:
            case Stepped():
                return domain.steps + 1
            case Integer(low=low, high=high, log=False):
                return high - low + 1
            case _:
                return len(every(domain, self._resolution))


def _read_grid(grid: object) -> dict[str, tuple[Scalar, ...]]:
    """Read the values that a grid is given: a string is a sequence too, and never meant as one."""
    if not isinstance(grid, Mapping) or not all(isinstance(n, str) and n for n in grid):
        raise StudyError(f"grid: must be a mapping of names to lists, got {shown(grid)}")
    for name, values in grid.items():
        if not isinstance(values, list | tuple | range) or not values:
            raise StudyError(
                f"grid: {name}: must be a list of at least one value, got {shown(values)}"
            )
    return {name: tuple(plain(one) for one in values) for name, values in grid.items()}


class GridSpent(StudyError):
    """Every point of the grid was tried."""

    def __init__(self) -> None:
        super().__init__("grid: every point was tried")


def every(domain: Domain, resolution: int) -> Sequence[Scalar]:
    """List a domain's values; of one on a continuous scale, some that lie evenly on it."""
    found: Sequence[Scalar]
    match domain:
        case Fixed(value=value):
            found = (value,)
        case Categorical(choices=choices):
            found = choices
        case Stepped():
            found = domain.values()
        case Integer(low=low, high=high, log=False):
            found = range(low, high + 1)
        case _ if resolution == 1:
            found = (at_share(domain, 0.5),)
        case _:
            shares = [number / (resolution - 1) for number in range(resolution)]
            found = tuple(dict.fromkeys(at_share(domain, share) for share in shares))
    return found


def draw_allowed(view: View) -> dict[str, Scalar]:
    """Draw values by chance until the constraints are met, each as if it were the only one.

    Raises:
        StudyError: If that does not come about.
    """
    chances = {name: view.chance(name) for name in view.space}
    for _ in range(DRAWS):
        params = {name: draw(domain, chances[name]) for name, domain in view.space.items()}
        if view.allowed(params):
            return params
    raise StudyError(
        f"constraints: none of {DRAWS} points drawn by chance meets them; widen the space, or "
        "loosen them"
    )
