"""Finds the right learning rate at the start of a run: what to train, what to compare. Pure.

A program is a generator: it yields one command after another, each is answered, and it returns
what it found. It does not touch the training; `gptune.online.look_ahead` carries commands out.
All rates are decades above the user's own: 0 is the user's rate, 1 is ten times it.

The ramp raises the rate by a tenth of a decade a step, from far below to where the training loss
blows up, and reads two signals. One is the blow-up. The other comes free: below the right rate a
gradient still points against the update before it, for the same slope is left; the cosine between
the two rises to nothing where the steps are as long as the valley is wide. The right rate lies a
fixed way below. A race then compares that rate with a lower one, from the same start, on the same
batches, by the validation metric: at the start of a run such a short look is not biased.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptune.online.signals import TURN, Cosines, Losses

FIRST, PACE = -2.0, 0.1  # the ramp's first rate [decades], and its rise [decades a step]
BACK = 2.0  # a ramp that began too high begins so much lower [decades]
SOON = 14  # what happens within so many steps says that it began too high [steps]
REACH = 2.2  # a ramp ends so far above the turn at the latest [decades]
HIGHEST = 5.5  # or so far above its beginning [decades]
WEIGHT, BELOW = 0.65, 0.4  # of the turn against the blow-up; the right rate below both [decades]
LAG = 0.7  # and lower with momentum: decades per decade of its memory, 1 / (1 - momentum)
GAP = 0.3  # from the turn to a blow-up that was not seen [decades]
# How far the turn still is, by what is left of the deepest cosine: much the same for all tasks.
LEFT = (TURN, 0.35, 0.51, 0.63, 0.74, 0.81, 0.88)
FAR = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 2.0)
USUAL = 0.5  # mean of a cosine schedule, for which BELOW was measured
STAND = 0.15  # a rate found this close to the user's own is the user's own [decades]
CHECK = 0.5  # the check arm lies so far below [decades]
HALF_BACK = 0.4  # of the way that a race has moved
LOOK = 0.04  # length of an arm, as a fraction of the run
SHORTEST = 20  # an arm that is shorter shows nothing [steps]
LEAST = 40  # steps that a calibration needs [steps]


@dataclass(frozen=True, slots=True)
class Train:
    """Take one optimizer step at a rate; answered by `Taken`."""

    decades: float


@dataclass(frozen=True, slots=True)
class Save:
    """Copy the training state; answered by nothing."""

    slot: str


@dataclass(frozen=True, slots=True)
class Restore:
    """Put a copy back; the batches since then come again if they are recorded."""

    slot: str


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measure the objective; answered by a number, larger is better."""


Command = Train | Save | Restore | Evaluate


@dataclass(frozen=True, slots=True)
class Taken:
    """What one step showed.

    Attributes:
        loss: The training loss.
        alignment: Cosine between the gradient and the update before it, if there is one.
        decades: The rate that was in force: bounds may have kept it below what was wanted.
    """

    loss: float
    alignment: float | None
    decades: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a calibration has to keep to.

    Attributes:
        total: Steps of the whole run [steps].
        budget: How many may be thrown away [steps].
        low: Lowest rate that may be tried [decades].
        high: Highest one [decades].
        inertia: The optimizer's momentum, or its first beta.
        level: Mean of the schedule over the run, in units of the user's rate.
        room: Most steps that can be taken again on the same batches, if that is limited [steps].
    """

    total: int
    budget: int
    low: float
    high: float
    inertia: float = 0.9
    level: float = USUAL
    room: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a calibration found.

    Attributes:
        decades: The rate to go on with [decades above the user's own].
        arms: Rate -> what the objective was at the end of its arm, larger is better.
        wasted: Steps that were thrown away [steps].
        turn: Where the cosine was spent [decades].
        blow_up: Where the training loss blew up [decades].
        aim: What those two say, before any arm is run [decades].
    """

    decades: float
    arms: dict[float, float] = field(default_factory=dict)
    wasted: int = 0
    turn: float | None = None
    blow_up: float | None = None
    aim: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """What one ramp showed: where it began and ended, and the two signals."""

    begin: float
    end: float
    steps: int
    turn: float | None = None
    blew_up: bool = False
    left: float | None = None  # of the deepest cosine, at the end
    is_sudden: bool = False  # no blow-up: the loss was no number though all had been well

    @property
    def began_too_high(self) -> bool:
        """Say whether it had too few steps to read anything."""
        return self.blew_up and self.steps < SOON


Program = Generator[Command, Any, Found]


def ramp(terms: Terms) -> Program:
    """Find the rate by a ramp, then check it against a lower one."""
    yield Save("origin")
    climb, wasted = yield from _climbs(terms)
    yield Restore("origin")
    aim = 0.0 if climb.is_sudden else place(terms, estimate(terms, climb))
    left = terms.budget - wasted
    # Where the ramp agrees with the user, a check costs more than it finds.
    arms = (aim, aim - CHECK) if aim and aim - CHECK >= terms.low else (aim,)
    found = yield from race(arms, length(terms, left), most=left)
    has_lost = bool(found.arms) and not math.isfinite(max(found.arms.values()))
    return Found(
        decades=0.0 if has_lost else found.decades,
        arms=found.arms,
        wasted=wasted + found.wasted,
        turn=climb.turn,
        blow_up=climb.end if climb.blew_up else None,
        aim=aim,
    )


def successive_halving(terms: Terms) -> Program:
    """Find the rate by racing the user's own against a decade less and a decade more, then again.

    The winner's weights are kept, and it is the control of the next race, against a rate further
    in its direction and one a little back; that goes on while the control loses and the budget
    lasts.
    """
    yield Save("origin")
    control, wasted = 0.0, 0
    others = _within(terms, (-1.0, 1.0))
    arms: dict[float, float] = {}
    steps = min(length(terms, terms.budget), terms.budget // 2)
    room = math.inf if terms.room is None else terms.room
    while others:
        left = terms.budget - wasted
        found = yield from race((control, *others), steps, halfway=False, most=left)
        wasted, room = wasted + found.wasted, room - steps
        arms.update(found.arms)
        moved, control = found.decades - control, found.decades
        others = ()
        if moved and wasted + 2 * steps <= terms.budget and steps <= room:
            onward = (control + moved, control - HALF_BACK * moved)
            others = _within(terms, onward)
            yield Save("origin")
    return Found(decades=control, arms=arms, wasted=wasted)


def _within(terms: Terms, rates: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(rate for rate in rates if terms.low <= rate <= terms.high)


def race(
    arms: Sequence[float],
    steps: int,
    *,
    halfway: bool = True,
    least: float = 0.0,
    most: float = math.inf,
) -> Program:
    """Train each arm from the start on, on the same batches; the best by the objective wins.

    The start is the state in slot ``origin``, which is in force. The winner's weights stay.

    Args:
        arms: Rates; the first one wins a tie [decades].
        steps: Length of an arm; too short a one is not run, and the first arm wins [steps].
        halfway: Whether a lower rate ends half-way if it is behind, for it looks the better the
            shorter the look. Where the first arm may be far too high, that has yet to show.
        least: By how much an arm must beat the first one [metric units].
        most: May be thrown away; where all arms lose, those that do not fit are not run [steps].
    """
    if len(arms) < 2 or steps < SHORTEST:
        return Found(decades=arms[0])
    measured: dict[float, float] = {}
    halves: dict[float, float] = {}
    winner, live, taken, kept = arms[0], arms[0], 0, 0
    for arm in arms:
        best = measured.get(winner, -math.inf)
        size = steps if math.isfinite(best) else int(min(steps, most - taken))  # nothing is kept
        if size < SHORTEST:
            break
        if measured:
            yield Restore("origin")
        hopeless = min(halves[winner], best) if halfway and arm < winner else -math.inf
        live, (halves[arm], measured[arm], took) = arm, (yield from _run(arm, size, hopeless))
        taken += took
        if len(measured) == 1 or _beats(measured, arm, winner, least):
            winner, kept = arm, took
            if arm != arms[-1]:
                yield Save("ahead")
    has_lost = not math.isfinite(measured.get(winner, -math.inf))  # all have: it is not the rate
    if has_lost or live != winner:
        yield Restore("origin" if has_lost else "ahead")
    return Found(
        decades=arms[0] if has_lost else winner,
        arms=measured,
        wasted=taken - (0 if has_lost else kept),
    )


def _beats(measured: dict[float, float], arm: float, winner: float, by: float) -> bool:
    has_lost = not math.isfinite(measured[winner])
    return measured[arm] > measured[winner] + (
        0.0 if has_lost or winner != next(iter(measured)) else by
    )


def _run(
    arm: float, steps: int, hopeless: float
) -> Generator[Command, Any, tuple[float, float, int]]:
    """Train at one rate; gives the objective half-way and at the end, and the steps taken.

    An arm whose loss is not finite has lost, and so has one that half-way is below what is
    hopeless.
    """
    half = -math.inf
    for step in range(1, steps + 1):
        taken = yield Train(arm)
        if not math.isfinite(taken.loss):
            return -math.inf, -math.inf, step
        if step == steps // 2:
            half = yield from _measured()
            if half < hopeless:
                return half, half, step
    return half, (yield from _measured()), steps


def _measured() -> Generator[Command, Any, float]:
    value: float = yield Evaluate()
    return value if math.isfinite(value) else -math.inf


def length(terms: Terms, left: int) -> int:
    """Give the length of an arm: what a short look needs, or what is left [steps].

    No arm is longer than its batches can be given again: arms on different batches tell little.
    """
    room = left if terms.room is None else terms.room
    return min(left, room, max(2 * SHORTEST, round(LOOK * terms.total)))


def estimate(terms: Terms, climb: Climb) -> float:
    """Give the right rate, from what a ramp showed.

    ``w * turn + (1 - w) * blow-up - below - lag - log10(level / usual)``. What was not seen lies
    beyond the end: a turn as far as the cosine tells, a blow-up a little behind it. With nothing
    seen at all the user's own rate stands.
    """
    turn, blow_up = climb.turn, climb.end
    if not climb.blew_up:
        if turn is None:
            turn = None if climb.left is None else climb.end + _distance(climb.left)
        if turn is None:
            return 0.0
        blow_up = max(climb.end, turn + GAP)
    turn = blow_up if turn is None else min(turn, blow_up)
    lag = LAG * math.log10(1 / max(1 - terms.inertia, 1e-3))
    shift = math.log10(max(terms.level, 1e-3) / USUAL)
    return WEIGHT * turn + (1 - WEIGHT) * blow_up - BELOW - lag - shift


def _distance(left: float) -> float:
    """Say how far the turn still is, by what is left of the deepest cosine [decades]."""
    if left >= LEFT[-1]:
        return FAR[-1]
    above = next(i for i, one in enumerate(LEFT) if left < one)
    if above == 0:
        return 0.0
    part = (left - LEFT[above - 1]) / (LEFT[above] - LEFT[above - 1])
    return FAR[above - 1] + part * (FAR[above] - FAR[above - 1])


def place(terms: Terms, decades: float) -> float:
    """Keep a rate within the bounds; close to the user's own, it is the user's own."""
    if abs(decades) <= STAND:
        return 0.0
    return min(max(decades, terms.low), terms.high)


def _climbs(terms: Terms) -> Generator[Command, Any, tuple[Climb, int]]:
    """Ramp, from lower again while it began too high; gives the last, and all steps taken."""
    begin, taken = max(FIRST, terms.low), 0
    while True:
        climb = yield from _climb(terms, begin, terms.budget - taken)
        taken += climb.steps
        can_go_lower = begin > terms.low and taken + SOON < terms.budget and not climb.is_sudden
        if not (climb.began_too_high and can_go_lower):
            return climb, taken
        yield Restore("origin")
        begin = max(begin - BACK, terms.low)


def _climb(terms: Terms, begin: float, most: int) -> Generator[Command, Any, Climb]:
    """Raise the rate step by step until the loss blows up, or the turn lies far behind."""
    losses, cosines = Losses(), Cosines()
    turn: float | None = None
    steps, at, blew_up = 0, begin, False
    while steps < most:
        wanted = begin + PACE * steps
        taken = yield Train(wanted)
        at, steps = taken.decades, steps + 1
        blew_up = losses.blows_up(taken.loss)
        if turn is None and cosines.has_turned(taken.alignment):
            turn = at
        far = begin + HIGHEST if turn is None else turn + REACH
        is_held = at < wanted - PACE / 2 and cosines.seen > 0
        if blew_up or is_held or at + PACE > min(far, terms.high):
            break
    return Climb(
        begin=begin,
        end=at,
        steps=steps,
        turn=turn,
        blew_up=blew_up,
        left=cosines.left,
        is_sudden=losses.is_sudden,
    )


PROGRAMS = {"ramp": ramp, "race": successive_halving}
