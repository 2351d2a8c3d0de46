"""How knobs may move: one mutation a knob, one group an optimizer, loss or object."""

import math
from typing import Literal

from msgspec import Struct

from gptune.configs.reading import need
from gptune.records import Categorical, Float, Integer, Parameter, Scalar

EXACT = 2**53  # whole numbers below are real ones without loss
NEUTRAL = {"mult": 1.0, "delta": 0.0}  # the move that changes nothing, by how a knob moves


class Mutation(Struct, frozen=True, kw_only=True):
    """How one knob may move.

    ``mult``: value = base x m, bounds on m, must contain 1. ``set``: bounds on the value itself.
    ``delta``: value = base + d, bounds contain 0. The base is the schedule's value (optimizer) or
    the value at attach.

    Attributes:
        mode: How the knob moves.
        bounds: Smallest and largest move; ``None`` takes the actuator's own space.
        max_step: Largest ratio (mult, > 1) or absolute difference (set, delta) between
            consecutive moves; ``None`` = 2 for mult, a quarter of the bounds otherwise.
        prior_center: Where the first proposals head for, or phase -> where they head for in it;
            ``None`` = no change.
        cooldown: Whole decisions between two moves of this knob [decisions].
        risk: low | medium | high; high is never moved.
        phases: Names of the phases in which it may move; ``None`` = all.
    """

    mode: Literal["mult", "set", "delta"] = "mult"
    bounds: tuple[float, float] | None = None
    max_step: float | None = None
    prior_center: float | dict[str, float] | None = None
    cooldown: int = 1
    risk: Literal["low", "medium", "high"] = "low"
    phases: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        need(self.cooldown >= 0, "cooldown", "must be >= 0 [decisions]", self.cooldown, do="e.g. 1")
        if self.max_step is not None:
            least = 1.0 if self.mode == "mult" else 0.0
            what = f"must be finite and above {least:g} for mode {self.mode}"
            finite = math.isfinite(self.max_step) and self.max_step > least
            need(finite, "max_step", what, self.max_step, do="e.g. 2.0")
        for path, center in self._centers().items():
            what = "must be finite and lie inside bounds"
            need(math.isfinite(center), path, what, center, do="leave it out")
        if self.bounds is not None:
            self._check_bounds(*self.bounds)

    def _check_bounds(self, low: float, high: float) -> None:
        given, hint = (low, high), "give [low, high]"
        need(math.isfinite(low) and math.isfinite(high), "bounds", "must be finite", given, do=hint)
        need(low < high, "bounds", "low must be below high", given, do="swap them")
        if self.mode == "mult":
            what = "must be positive (a multiplier is searched on a log scale)"
            need(low > 0, "bounds", what, given, do="e.g. [0.1, 10]")
        if self.mode in NEUTRAL:
            neutral = NEUTRAL[self.mode]
            what = f"must contain {neutral:g}, the move that changes nothing"
            need(low <= neutral <= high, "bounds", what, given, do="widen them")
        for path, center in self._centers().items():
            what = f"must lie inside bounds {given}"
            need(low <= center <= high, path, what, center, do="move it inside")

    def _centers(self) -> dict[str, float]:
        center = self.prior_center
        if isinstance(center, dict):
            return {f"prior_center.{phase}": value for phase, value in center.items()}
        return {} if center is None else {"prior_center": center}

    def center_in(self, phase: str) -> float | None:
        """Give the prior center in a phase; ``None`` if there is none."""
        center = self.prior_center
        return center.get(phase) if isinstance(center, dict) else center


class Group(Struct, frozen=True, kw_only=True):
    """The knobs of one optimizer, loss or object; ``keys`` and ``mutations`` add up.

    Attributes:
        enabled: Whether anything in it moves.
        mutations: Name of a knob -> how it may move.
        keys: The same; by custom the entries of a dict, such as loss weights.
    """

    enabled: bool = True
    mutations: dict[str, Mutation] = {}
    keys: dict[str, Mutation] = {}

    def __post_init__(self) -> None:
        twice = sorted(self.mutations.keys() & self.keys.keys())
        what = "must not name a knob that stands under mutations too"
        need(not twice, "keys", what, twice, do="keep one")


LEARNING_RATE = Mutation(bounds=(0.01, 100.0), max_step=2.0, prior_center=1.0)


def neutral(mutation: Mutation, base: Scalar) -> Scalar:
    """Name the move that changes nothing: 1 for mult, 0 for delta, the base itself for set."""
    return NEUTRAL.get(mutation.mode, base)


class Knob(Struct, frozen=True, kw_only=True):
    """One attached knob, as the kernel knows it: plain data, the same on every rank.

    Attributes:
        family: Its name, e.g. ``opt.lr``.
        mutation: How the recipe lets it move.
        space: Where its move lies.
        base: The actuator's own value that the move starts from.
        is_rate: Whether it is a learning rate; short looks prefer rates that are too low.
        on_schedule: Whether the actuator's own value is a multiplier on a schedule. ``base`` is
            then the schedule's highest known value, and ``set`` and ``delta`` name what it shall be
            scaled to: its shape stays.
    """

    family: str
    mutation: Mutation
    space: Parameter
    base: Scalar
    is_rate: bool = False
    on_schedule: bool = False

    def limits(self, move: float) -> tuple[float, float]:
        """Give the range of the next move: the bounds, and at most one step from ``move``."""
        low, high = float(self.space.low), float(self.space.high)  # type: ignore[union-attr]
        step = self.mutation.max_step
        if self.mutation.mode == "mult":
            ratio = 2.0 if step is None else step
            return max(low, move / ratio), min(high, move * ratio)
        whole = isinstance(self.space, Integer)
        reach = max((high - low) / 4, 1.0 if whole else 0.0) if step is None else step
        return max(low, move - reach), min(high, move + reach)

    def native(self, move: Scalar) -> Scalar:
        """Turn a move into the actuator's own value."""
        if self.on_schedule:
            return self._multiplier(float(move))
        if self.mutation.mode == "set" or isinstance(self.space, Categorical):
            return move
        base, move = float(self.base), float(move)
        return base * move if self.mutation.mode == "mult" else base + move

    def _multiplier(self, move: float) -> float:
        """Turn a move into a multiplier on the schedule; one that hits the target exactly, if any.

        The quotient of target and base, times the base, may miss the target by one rounding. Where
        a neighbour of the quotient hits it, it is the one above, and the target a power of two:
        numbers below it lie closer.
        """
        if self.mutation.mode == "mult":
            return move
        base = float(self.base)
        target = move if self.mutation.mode == "set" else base + move
        near = target / base
        tries = (near, math.nextafter(near, math.inf))
        return next((factor for factor in tries if base * factor == target), near)


def typed(space: Parameter, move: Scalar) -> Scalar:
    """Read a move that came as text: a whole number is a real one where real ones are meant.

    Example:
        >>> typed(Float(0.0, 8.0), 2), typed(Integer(1, 8), 2)
        (2.0, 2)
    """
    if not isinstance(space, Float) or not isinstance(move, int) or isinstance(move, bool):
        return move
    return float(move) if -EXACT < move < EXACT else move


def make_knob(
    family: str,
    mutation: Mutation,
    space: Parameter,
    base: Scalar,
    *,
    on_schedule: bool = False,
) -> Knob:
    """Join what the recipe says of a knob with what its actuator says of itself.

    Args:
        family: Its name.
        mutation: The recipe's entry.
        space: The actuator's own space, in the actuator's own values; of an optimizer's knob, for
            any mode but mult, in the schedule's units.
        base: The value at attach; of an optimizer's knob the schedule's highest, or 1 for mult.
        on_schedule: Whether the actuator's own value is a multiplier on a schedule.

    Raises:
        RecipeError: If the two do not fit.
    """
    last = family.rpartition(".")[2].partition("[")[0]
    made = Knob(
        family=family,
        mutation=mutation,
        space=_move_space(mutation, space, base, family),
        base=base,
        is_rate=last == "lr",
        on_schedule=on_schedule,
    )
    start = neutral(mutation, base)
    if not isinstance(made.space, Categorical):
        inside = made.space.low <= start <= made.space.high  # type: ignore[operator]
        what = f"must contain the value in force, {start!r}"
        given = (made.space.low, made.space.high)
        need(inside, f"{family}: bounds", what, given, do="widen them, or change the value")
    return made


def _move_space(mutation: Mutation, space: Parameter, base: Scalar, family: str) -> Parameter:
    if isinstance(space, Categorical):
        chosen = mutation.mode == "set" and mutation.bounds is None
        need(chosen, family, "is a choice: needs mode set and no bounds", mutation, do="change it")
        return space
    if isinstance(space, Integer):
        need(mutation.mode == "set", family, "whole numbers need mode set", mutation, do="use set")
        low, high = mutation.bounds or (space.low, space.high)
        return Integer(math.ceil(low), math.floor(high), log=space.log)
    what = "is 0: a multiplier cannot move it"
    need(mutation.mode != "mult" or base != 0, family, what, base, do="use mode set")
    low, high = mutation.bounds or _own_moves(mutation, space, float(base), family)
    is_log = mutation.mode == "mult" or (mutation.mode == "set" and space.log and low > 0)
    return Float(low, high, log=is_log)


def _own_moves(mutation: Mutation, space: Float, base: float, family: str) -> tuple[float, float]:
    """Turn an actuator's own range into moves, for a recipe that gives no bounds."""
    if mutation.mode == "set":
        return space.low, space.high
    if mutation.mode == "delta":
        return space.low - base, space.high - base
    positive = base != 0 and space.low / base > 0 and space.high / base > 0
    what = f"is {base!r}: a multiplier cannot move it over ({space.low}, {space.high})"
    need(positive, family, what, mutation.mode, do="use mode set")
    low, high = sorted((space.low / base, space.high / base))
    return low, high
