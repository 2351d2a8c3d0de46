"""The recipe of hotcb's tuner, read as one of gptune's, with a list of all that changed.

There a mutation's bounds limit one change, and changes add up without an end. Here they limit the
knob, so they become ``max_step``, and the knob may go as far as three such changes.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, to_builtins

from gptune.configs import Recipe
from gptune.configs.knobs import NEUTRAL
from gptune.configs.reading import build, need
from gptune.configs.text import read_file
from gptune.errors import RecipeError

if TYPE_CHECKING:
    from _typeshed import StrPath

WAYS = ("mult", "set", "delta")  # how a knob moves; the last part of the name of a mutation
SHORT = {"wd": "weight_decay"}  # hotcb's word -> gptune's
WIDEST = 1e100  # of a bound; its cube is a number still
CHANGES = 3  # how many of the largest changes lead from no change to a bound


class _Mutation(Struct, frozen=True, kw_only=True):
    """One knob; the defaults here and below are hotcb's."""

    bounds: tuple[float, float] = (0.5, 2.0)
    prior_center: float | None = None
    cooldown: int = 1
    risk: Literal["low", "medium", "high"] = "low"
    max_step_mult: float | None = None
    mode: Literal["mult", "set", "delta"] | None = None

    def __post_init__(self) -> None:
        low, high = self.bounds
        ordered = -WIDEST <= low < high <= WIDEST
        what = f"must be finite, below {WIDEST:g}, and the lower one first"
        need(ordered, "bounds", what, self.bounds, do="give [low, high]")
        need(self.cooldown >= 0, "cooldown", "must be >= 0", self.cooldown, do="e.g. 1")
        if self.max_step_mult is not None:
            above = math.isfinite(self.max_step_mult) and self.max_step_mult > 1
            what = "must be finite and above 1"
            need(above, "max_step_mult", what, self.max_step_mult, do="leave it out")


class _Group(Struct, frozen=True, kw_only=True):
    enabled: bool = True
    mutations: dict[str, _Mutation] = {}
    keys: dict[str, _Mutation] = {}


class _Objective(Struct, frozen=True, kw_only=True):
    primary: str = "val/loss"
    mode: Literal["min", "max"] = "min"
    backup_metrics: tuple[str, ...] = ()


class _Phase(Struct, frozen=True, kw_only=True):
    start_frac: float = 0.0
    end_frac: float = 1.0


class _Search(Struct, frozen=True, kw_only=True):
    algorithm: str = "tpe"
    startup_trials: int = 8
    candidate_count: int | None = None
    phase_conditioned: bool | None = None


class _Acceptance(Struct, frozen=True, kw_only=True):
    epsilon: float = 0.001
    horizon: int | Literal["next_val_epoch_end"] = "next_val_epoch_end"
    rollback_on_reject: bool = True


class _Safety(Struct, frozen=True, kw_only=True):
    block_on_nan: bool = True
    block_on_anomaly: bool = True
    max_global_reject_streak: int = 4


class _Tune(Struct, frozen=True, kw_only=True):
    enabled: bool = True
    mode: Literal["off", "observe", "suggest", "active", "replay"] = "active"


class _Old(Struct, frozen=True, kw_only=True):
    version: Literal[1] = 1
    objective: _Objective = _Objective()
    phases: dict[str, _Phase] = {}
    actuators: dict[str, _Group] = {}
    search: _Search = _Search()
    acceptance: _Acceptance = _Acceptance()
    safety: _Safety = _Safety()
    tune: _Tune = _Tune()


def import_hotcb(data: Mapping[str, Any]) -> tuple[Recipe, tuple[str, ...]]:
    """Read a recipe of hotcb's tuner.

    Its ``tune: {enabled, mode}`` section says the mode; what else stands beside that section
    belongs to other parts of hotcb and is left out.

    Args:
        data: The file's plain data.

    Returns:
        The recipe, and a sentence for each thing that was changed or left out.

    Raises:
        RecipeError: On what hotcb has no word for either, naming the path in its file.

    Example:
        >>> opt = {"mutations": {"lr_mult": {"bounds": [0.5, 2.0]}}}
        >>> recipe, changes = import_hotcb({"actuators": {"opt": opt}, "search": {}})
        >>> recipe.mutations()["opt.lr"].bounds, recipe.mutations()["opt.lr"].max_step
        ((0.125, 8.0), 2.0)
        >>> changes[1]
        'actuators.opt.mutations.lr_mult: is called lr here'
    """
    changes: list[str] = []
    own = _own_sections(data, changes)
    old = build(_Old, own, "")
    made: dict[str, Any] = {
        "mode": _mode(own, old.tune, changes),
        "objective": to_builtins(old.objective),
        "actuators": {name: _group(name, old.actuators[name], changes) for name in old.actuators},
        "search": _search(old.search, changes),
        "acceptance": {"reference": "last", **to_builtins(old.acceptance)},
        "safety": to_builtins(old.safety),
    }
    changes.append("acceptance: reference is last, hotcb's rule; forecast judges better")
    if old.phases:
        made["phases"] = to_builtins(old.phases)
    if "actuators" not in own:
        del made["actuators"]
        changes.append("actuators: none are given, so the default holds: opt.lr moves")
    changes.append("guard, calibration and whatever else hotcb has no word for: is the default")
    return Recipe.from_dict(made), tuple(changes)


def load_hotcb(path: "StrPath") -> tuple[Recipe, tuple[str, ...]]:
    """Read a ``.yaml``, ``.yml`` or ``.json`` file as `import_hotcb` reads its data.

    Raises:
        RecipeError: Naming the file, the line or the path in it, and what to do.
    """
    data = read_file(path)
    try:
        return import_hotcb(data)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _own_sections(data: Mapping[str, Any], changes: list[str]) -> Mapping[str, Any]:
    """Leave out what belongs to other parts of hotcb, where the file is one for all of them."""
    if not isinstance(data, Mapping) or "tune" not in data:
        return data
    known = _Old.__struct_fields__
    others = [key for key in data if key not in known]
    changes += [f"{key}: belongs to another part of hotcb and is left out" for key in others]
    return {key: value for key, value in data.items() if key in known}


def _mode(own: Mapping[str, Any], tune: _Tune, changes: list[str]) -> str:
    if "tune" not in own:
        changes.append("mode: is active; hotcb waits to be enabled, as mode: observe would")
        return "active"
    mode = tune.mode if tune.enabled else "off"
    changes.append(f"tune: is mode: {mode} here")
    return mode


def _search(old: _Search, changes: list[str]) -> dict[str, Any]:
    algorithm = "random" if old.algorithm == "random" else "gp"
    if algorithm != old.algorithm:
        changes.append(f"search.algorithm: {old.algorithm} becomes {algorithm}")
    for name in ("candidate_count", "phase_conditioned"):
        if getattr(old, name) is not None:
            changes.append(f"search.{name}: has no counterpart and is left out")
    return {"algorithm": algorithm, "startup_trials": old.startup_trials}


def _group(group: str, old: _Group, changes: list[str]) -> dict[str, Any]:
    mutations: dict[str, Any] = {}
    for key, knob in old.mutations.items():
        path = f"actuators.{group}.mutations.{key}"
        if key == "betas_set":
            changes.append(f"{path}: sets two values at once and is left out; name momentum, beta2")
            continue
        name, way = _named(key, knob, path, changes)
        what = f"is called {name} here, as is another mutation"
        need(name not in mutations, path, what, list(old.mutations), do="keep one of the two")
        mutations[name] = _moves(knob, way, path, changes)
    keys = {
        key: _moves(knob, knob.mode or "mult", f"actuators.{group}.keys.{key}", changes)
        for key, knob in old.keys.items()
    }
    return {"enabled": old.enabled, "mutations": mutations, "keys": keys}


def _named(key: str, knob: _Mutation, path: str, changes: list[str]) -> tuple[str, str]:
    """Tell a knob's name from how it moves: ``lr_mult`` is ``lr``, by ``mult``."""
    stem, _, way = key.rpartition("_")
    if not stem or way not in WAYS:
        stem, way = key, knob.mode or "mult"
    name = SHORT.get(stem, stem)
    if name != key:
        changes.append(f"{path}: is called {name} here")
    if knob.mode not in (None, way):
        changes.append(f"{path}.mode: is {way}, as the name says, not {knob.mode}")
    return name, way


def _moves(knob: _Mutation, way: str, path: str, changes: list[str]) -> dict[str, Any]:
    bounds, step = _limits(knob, way, path)
    if step is None:
        changes.append(f"{path}.bounds: hold, and one change spans at most a quarter of them")
    else:
        changes.append(
            f"{path}.bounds: {_pair(knob.bounds)} limit one change there: here they are max_step "
            f"{step:g}, and bounds {_pair(bounds)}, {CHANGES} such changes, limit all together"
        )
    if knob.max_step_mult is not None:
        what = "is heeded by max_step" if way == "mult" else "is a ratio and is left out"
        changes.append(f"{path}.max_step_mult: {what}")
    center, what = _center(knob.prior_center, way, bounds)
    if what:
        changes.append(f"{path}.prior_center: {what}")
    return {
        "mode": way,
        "bounds": list(bounds),
        "max_step": step,
        "prior_center": center,
        "cooldown": knob.cooldown,
        "risk": knob.risk,
    }


def _limits(knob: _Mutation, way: str, path: str) -> tuple[tuple[float, float], float | None]:
    """Say how far a knob may go in all, and in one change."""
    low, high = knob.bounds
    if way == "set":
        return knob.bounds, None
    if way == "delta":
        bounds = (CHANGES * min(low, 0.0), CHANGES * max(high, 0.0))
        return bounds, max(-low, high)
    what = f"must be positive, from {1 / WIDEST:g}, for they multiply"
    need(low >= 1 / WIDEST, f"{path}.bounds", what, knob.bounds, do="e.g. [0.5, 2.0]")
    bounds = (min(low, 1.0) ** CHANGES, max(high, 1.0) ** CHANGES)
    return bounds, min(max(high, 1 / low), knob.max_step_mult or math.inf)


def _center(given: float | None, way: str, bounds: tuple[float, float]) -> tuple[float | None, str]:
    """Say where the first proposal lies, and what became of the center that was given."""
    if given is None or given == NEUTRAL.get(way):
        return None, ""
    if not bounds[0] <= given <= bounds[1]:
        return None, f"{given:g} lies outside of the bounds and is left out"
    return given, "is where the first proposal lies, not the middle of every change"


def _pair(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:g}, {bounds[1]:g}]"
