"""Evolving a recipe: what earlier runs accepted moves the priors of the next one.

Of a knob of mode mult all of it happens on a log scale.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gptune.configs import Group, Mutation, Recipe
from gptune.configs.knobs import NEUTRAL
from gptune.errors import RecipeError
from gptune.records import show
from gptune.run_directory.event_log import read_run
from gptune.run_directory.names import EVENTS
from gptune.run_directory.summary import summarize, to_plain

HIGHEST = 700.0  # logarithm of a move; beyond lies infinity
REACH = 3.0  # spreads of the accepted moves that the bounds shall hold

Source = Mapping[str, Any] | str | Path


class Kept(Struct, frozen=True, kw_only=True):
    """What one run accepted of one knob in one phase, on the knob's scale.

    Attributes:
        phase: Its name.
        mean: Mean of the accepted moves.
        spread: Their standard deviation.
        goal: Where they led: the last of them; a knob climbs there in steps.
        count: How many there were.
    """

    phase: str
    mean: float
    spread: float
    goal: float
    count: int


def evolve_recipe(base: Recipe, summaries: Iterable[Source], alpha: float = 0.3) -> Recipe:
    """Move a recipe's prior centers and bounds towards what earlier runs accepted.

    Run by run, and for each knob of which the run accepted n moves in a phase: ``center <- w center
    + (1 - w) goal`` with ``w = (1 - alpha) ** n``, where goal is the move that was accepted last; a
    phase that accepted none borrows from the others. Each bound goes by ``alpha`` to where it holds
    all that was accepted, three spreads and one ``max_step`` more; it may widen again, never beyond
    the base's own. ``max_step`` widens, if need be, until one move reaches the centers, where the
    next run's first proposals lie, but at most to its square. What a run accepted of a knob on
    another scale, or in a phase that the base has not, is left out.

    Args:
        base: The recipe that the runs were made with, or one that is like it.
        summaries: Run directories, or contents of their ``summary.json``; the oldest first.
        alpha: How much one accepted move counts, in (0, 1].

    Raises:
        RecipeError: If ``alpha`` or a summary is wrong.

    Example:
        >>> early = {"early": {"accepted": 1, "mean": 4.0, "spread": 0.0, "last": 4.0}}
        >>> evolved = evolve_recipe(Recipe(), [{"families": {"opt.lr": early}}], alpha=0.5)
        >>> evolved.mutations()["opt.lr"].prior_center
        {'early': 2.0, 'mid': 2.0, 'late': 2.0}
    """
    return evolve(base, summaries, alpha)[0]


def evolve(
    base: Recipe, summaries: Iterable[Source], alpha: float = 0.3
) -> tuple[Recipe, tuple[str, ...]]:
    """Do as `evolve_recipe`, and say what was changed and why, a sentence a field."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= 1:
        raise RecipeError(f"alpha: must lie in (0, 1], got {alpha!r}; e.g. 0.3")
    runs = [_families(summary, number) for number, summary in enumerate(summaries)]
    said: list[str] = []
    groups = {}
    for group, knobs in base.actuators.items():
        evolved: dict[str, dict[str, Mutation]] = {"mutations": {}, "keys": {}}
        for kind, made in evolved.items():
            for name, mutation in getattr(knobs, kind).items():
                kept = [_kept(run, f"{group}.{name}", mutation, base.phases) for run in runs]
                path = f"actuators.{group}.{kind}.{name}"
                made[name] = _evolved(mutation, kept, tuple(base.phases), alpha)
                said.extend(_explain(path, mutation, made[name], kept))
        groups[group] = Group(enabled=knobs.enabled, **evolved)
    named = {
        f"{group}.{name}" for group, k in base.actuators.items() for name in (*k.mutations, *k.keys)
    }
    others = sorted({family for run in runs for family in run} - named)
    said.extend(
        f"{f}: left out, the base does not name it; gptune recipe export does" for f in others
    )
    return replace(base, actuators=groups), tuple(said)


class Accepted(Struct, frozen=True, kw_only=True):
    """What ``summary.json`` says of one knob in one phase, as far as it counts here."""

    accepted: int = 1
    mean: float | None = None
    spread: float | None = None
    last: float | None = None
    scale: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.accepted < 2**53:
            raise ValueError("accepted must be a count")
        for name, number in (("mean", self.mean), ("spread", self.spread), ("last", self.last)):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name} must be finite, got {number!r}")


Families = dict[str, dict[str, Accepted]]
T = TypeVar("T")


def _families(summary: Source, number: int) -> Families:
    """Read what a run accepted: family -> phase -> mean and spread.

    Raises:
        RecipeError: Naming the summary, and what is wrong in it.
    """
    name = f"summaries[{number}]"
    if isinstance(summary, str | Path):
        if not (Path(summary) / EVENTS).is_file():
            raise RecipeError(
                f"{name}: {str(summary)!r} holds no {EVENTS}; give the directory of a run"
            )
        summary = to_plain(summarize(read_run(Path(summary))))
    if not isinstance(summary, Mapping) or "families" not in summary:
        raise RecipeError(f"{name}: needs families, as in summary.json, got {summary!r}")
    path = f"{name}.families"
    return {
        family: {
            phase: _read(f"{path}.{family}.{phase}", told, Accepted)
            for phase, told in _read(f"{path}.{family}", phases, dict[str, Any]).items()
        }
        for family, phases in _read(path, summary["families"], dict[str, Any]).items()
    }


def _read(path: str, given: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(given, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise RecipeError(f"{path}: {error}; give what stands in summary.json") from error


def _kept(
    run: Families, family: str, mutation: Mutation, phases: Collection[str]
) -> tuple[Kept, ...]:
    """Say what a run accepted of one knob, where it is on the recipe's scale."""
    found = []
    for phase, told in run.get(family, {}).items():
        is_log = mutation.mode == "mult"
        fits = told.scale in (None, "log" if is_log else "linear") and phase in phases
        fits = fits and told.accepted > 0
        if fits and told.mean is not None and (told.mean > 0 or not is_log):
            mean, spread = _place(mutation, told.mean), max(0.0, told.spread or 0.0)
            usable = told.last is not None and (told.last > 0 or not is_log)
            goal = _place(mutation, told.last) if usable and told.last is not None else mean
            many = told.accepted
            found.append(Kept(phase=phase, mean=mean, spread=spread, goal=goal, count=many))
    return tuple(found)


def _place(mutation: Mutation, move: float) -> float:
    return math.log(move) if mutation.mode == "mult" else move


def _move(mutation: Mutation, place: float) -> float:
    """Give the move at a place; rounded, for a recipe is read by people."""
    move = math.exp(min(place, HIGHEST)) if mutation.mode == "mult" else place
    return float(f"{move:.6g}")


def _evolved(
    mutation: Mutation, runs: Sequence[tuple[Kept, ...]], phases: tuple[str, ...], alpha: float
) -> Mutation:
    if not any(runs):
        return mutation
    bounds = _bounds(mutation, runs, alpha)
    centers = {phase: _start(mutation, phase) for phase in phases}
    for run in (run for run in runs if run):
        own = {kept.phase: kept for kept in run}
        total = sum(kept.count for kept in run)
        whole = sum(kept.count * kept.goal for kept in run) / total
        for phase, before in centers.items():  # one that accepted nothing of its own borrows
            goal, count = (own[phase].goal, own[phase].count) if phase in own else (whole, total)
            left = (1 - alpha) ** count
            centers[phase] = goal if before is None else left * before + (1 - left) * goal
    moves = {p: _move(mutation, place) for p, place in centers.items() if place is not None}
    if bounds is not None:
        moves = {phase: min(bounds[1], max(bounds[0], move)) for phase, move in moves.items()}
    step = _step(mutation, bounds, moves.values())
    return replace(mutation, bounds=bounds, prior_center=moves, max_step=step)


def _step(
    mutation: Mutation, bounds: tuple[float, float] | None, centers: Collection[float]
) -> float | None:
    """Widen the largest step, if need be, so that one move reaches each center."""
    still, reach = NEUTRAL.get(mutation.mode), _reach(mutation, bounds)
    if still is None or reach is None:
        return mutation.max_step
    needed = max(abs(_place(mutation, c) - _place(mutation, still)) for c in centers)
    if needed <= reach:  # what is reached already is left as it is
        return mutation.max_step
    return _move(mutation, min(needed * (1 + 1e-5), 2 * reach))  # a little more, for rounding


def _reach(mutation: Mutation, bounds: tuple[float, float] | None) -> float | None:
    """Give the largest step on the knob's scale; ``None`` if it depends on the actuator."""
    if mutation.mode == "mult":
        return math.log(mutation.max_step or 2.0)
    quarter = (bounds[1] - bounds[0]) / 4 if bounds else None
    return mutation.max_step or quarter


def _start(mutation: Mutation, phase: str) -> float | None:
    """Where a center starts from: its own, else no change; of mode set nobody knows that here."""
    move = mutation.center_in(phase)
    move = NEUTRAL.get(mutation.mode) if move is None else move
    return None if move is None else _place(mutation, move)


def _bounds(
    mutation: Mutation, runs: Sequence[tuple[Kept, ...]], alpha: float
) -> tuple[float, float] | None:
    margin = _reach(mutation, mutation.bounds)
    if mutation.bounds is None or margin is None:
        return None
    outer = [_place(mutation, bound) for bound in mutation.bounds]
    low, high = outer
    still = NEUTRAL.get(mutation.mode)
    for run in (run for run in runs if run):
        lowest = min(kept.mean - REACH * kept.spread for kept in run) - margin
        highest = max(kept.mean + REACH * kept.spread for kept in run) + margin
        if still is not None:  # the move that changes nothing, and one step around it
            lowest = min(lowest, _place(mutation, still) - margin)
            highest = max(highest, _place(mutation, still) + margin)
        low += alpha * (max(lowest, outer[0]) - low)
        high += alpha * (min(highest, outer[1]) - high)
    if mutation.mode == "set":  # what is in force at attach must stay inside, and is not known
        return mutation.bounds
    inner = (_move(mutation, low), _move(mutation, high))
    made = max(inner[0], mutation.bounds[0]), min(inner[1], mutation.bounds[1])
    return made if made[0] < made[1] else mutation.bounds  # so narrow that rounding closes them


def _explain(
    path: str, old: Mutation, new: Mutation, runs: Sequence[tuple[Kept, ...]]
) -> list[str]:
    counted = f"{sum(bool(run) for run in runs)} of {len(runs)} runs accepted"
    if not any(runs):
        return [f"{path}: unchanged; {counted} a move of it"]
    phases = new.prior_center if isinstance(new.prior_center, dict) else {}
    said = [_explain_center(path, phase, (old, new), runs) for phase in phases]
    if old.bounds != new.bounds and old.bounds and new.bounds:
        was, now = (f"[{', '.join(map(show, pair))}]" for pair in (old.bounds, new.bounds))
        said.append(f"{path}.bounds: {was} -> {now}; towards what {counted}")
    if old.max_step != new.max_step and new.max_step:
        steps = f"{show(old.max_step) if old.max_step else 'none'} -> {show(new.max_step)}"
        said.append(f"{path}.max_step: {steps}; one move shall reach the prior centers")
    return said


def _explain_center(
    path: str, phase: str, pair: tuple[Mutation, Mutation], runs: Sequence[tuple[Kept, ...]]
) -> str:
    old, new = (mutation.center_in(phase) for mutation in pair)
    found = [kept.mean for run in runs for kept in run if kept.phase == phase]
    why = "no run accepted moves of it in this phase, so the other phases count"
    if found:
        mean = show(_move(pair[0], sum(found) / len(found)))
        why = f"{len(found)} of {len(runs)} runs accepted moves of it in this phase, around {mean}"
    was = "none" if old is None else show(old)
    return f"{path}.prior_center.{phase}: {was} -> {show(new or 0.0)}; {why}"
