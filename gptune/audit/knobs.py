"""What a knob is by the recipe: the auditor's own reading of how the two are joined."""

import math
from collections.abc import Iterator
from typing import Any

from gptune.audit.account import NEUTRAL, Account
from gptune.audit.chain import Entry

REST = {"max_step": None, "prior_center": None, "cooldown": 1, "risk": "low", "phases": None}
FREE = {**REST, "mode": "set", "bounds": None}  # values of a group of which the recipe names none
RATE = {**REST, "mode": "mult", "bounds": [0.01, 100.0], "max_step": 2.0, "prior_center": 1.0}


def joined(before: Account, entry: Entry) -> Iterator[str]:
    """Say which knobs of ``opened`` move otherwise than the recipe lets them, or than before.

    What cannot be told from the log is not looked at: the bases, the bounds that are an
    actuator's own, and whether a value is one of a schedule.
    """
    body = entry.body
    if before.waits or (body["resumed"] and body.get("carried") is None):
        return  # a process that waits for a checkpoint: that says what its knobs are
    if before.recipe:
        yield from _changed(before, body)
    for family, knob in body["knobs"].items():
        if family not in before.knobs:
            yield from _misfits(body["recipe"], family, knob)


def _changed(before: Account, body: dict[str, Any]) -> Iterator[str]:
    """Say what is another than it was; the mode of a recipe is only the first one's."""
    if {**body["recipe"], "mode": ""} != {**before.recipe, "mode": ""}:
        yield "the recipe is another than it was"
    if body.get("total_steps") != before.total:
        yield f"the run has {body.get('total_steps')} steps, and had {before.total}"
    for family, knob in before.knobs.items():
        if body["knobs"].get(family) != knob:
            yield f"{family} is another knob than it was"


def _misfits(recipe: dict[str, Any], family: str, knob: dict[str, Any]) -> Iterator[str]:
    mutation, space = knob["mutation"], knob["space"]
    due = _entry(recipe, family, on_schedule=knob["on_schedule"])
    if due is None:
        yield f"{family} is a knob, and the recipe does not name it"
    elif mutation != due:
        yield f"{family} moves otherwise than the recipe says"
    if knob["is_rate"] != (_last(family)[0] == "lr"):
        yield f"{family} says of itself that it is {'a' if knob['is_rate'] else 'no'} learning rate"
    if space["type"] == "categorical":
        return
    low, high = mutation["bounds"] or (-math.inf, math.inf)
    if not low <= space["low"] <= space["high"] <= high:
        yield f"{family} moves in [{space['low']}, {space['high']}], the recipe says {[low, high]}"
    start = NEUTRAL.get(mutation["mode"], knob["base"])
    if not space["low"] <= start <= space["high"]:
        yield f"{family} stands at {start!r} at first, outside of its bounds"


def _entry(recipe: dict[str, Any], family: str, *, on_schedule: bool) -> dict[str, Any] | None:
    """Give what a recipe says of a knob, itself or by what it leaves unsaid."""
    groups = recipe["actuators"]
    entries: dict[str, dict[str, Any]] = {
        f"{name}.{knob}": mutation
        for name, group in groups.items()
        if group["enabled"]
        for knob, mutation in {**group["mutations"], **group["keys"]}.items()
    }
    names = _names(family) if on_schedule else (family,)
    said = next((entries[name] for name in names if name in entries), None)
    group = groups.get(family.partition(".")[0])
    if said is not None or (group and (not group["enabled"] or group["mutations"])):
        return said
    if on_schedule:  # a rate of another optimizer moves as the first one does by default
        default = group is None and _last(family)[0] == "lr" and entries.get("opt.lr") == RATE
        return RATE if default else None
    return None if group and group["keys"] else FREE


def _last(family: str) -> tuple[str, str]:
    """Split the last part of ``opt.lr[0]`` into ``lr`` and ``[0]``."""
    name, bracket, number = family.rpartition(".")[2].partition("[")
    return name, bracket + number


def _names(family: str) -> tuple[str, ...]:
    """Give what a recipe may call a knob of an optimizer, the closest first."""
    first, (name, group) = family.rpartition(".")[0], _last(family)
    known = (name, "betas") if name in ("momentum", "beta2") else (name,)
    return tuple(f"{first}.{one}{part}" for part in dict.fromkeys((group, "")) for one in known)
