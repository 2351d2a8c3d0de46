"""Who may move a knob: a search, an operator's order, a measurement. And orders are carried out."""

import math
from collections.abc import Iterator
from typing import Any

from gptune.audit.account import BY_HAND, Account, Moves, is_finite, moves_of, start_of
from gptune.audit.chain import Entry

SHOWN = 2e-3  # two numbers that are one, relatively, where one is logged with four digits


def authority(before: Account, entry: Entry) -> Iterator[str]:
    """Say what is wrong with a change as one that somebody wanted."""
    moves = moves_of(entry)
    if before.last != "proposed" or before.proposed != moves:
        yield "a change that nobody proposed"
    source = before.source if before.source in BY_HAND else "search"
    if source == "human":
        yield from _by_hand(before, moves)
    elif source in ("calibration", "guard"):
        yield from _measured(before, source, moves)
    elif source == "ranks":
        yield from _given_back(before, moves)
    warmup = before.rule("safety", "warmup", 0)
    if source == "search" and entry.decision <= warmup:
        yield f"a change at decision {entry.decision}, within the warm-up of {warmup}"


def _by_hand(before: Account, moves: Moves) -> Iterator[str]:
    if before.order == "apply":
        asked = before.asked["moves"]
        if asked.keys() != {family for family, _, _ in moves}:
            yield f"a change by hand of other knobs than were ordered, {sorted(asked)}"
        for family, _, new in moves:
            if family in asked and not _equals(asked[family], new):
                yield f"{family} was moved to {new!r}, and ordered was {asked[family]!r}"
    elif before.order == "rollback":
        for family, _, new in moves:
            if new not in before.held.get(family, ()):
                yield f"{family} was put back to {new!r}, where it had never been"
    else:
        yield "a change by hand that nobody ordered"


def _given_back(before: Account, moves: Moves) -> Iterator[str]:
    """Processes that part go back to what the user gave, which all of them know."""
    for family, _, new in moves:
        given = start_of(before.knobs[family])
        if new != given:
            yield f"{family} was moved to {new!r} as ranks parted, and the user gave {given!r}"


def _equals(one: Any, other: Any) -> bool:
    """Compare a move with the order for it, which may have been text, or whole for a real one."""
    if is_finite(one) and is_finite(other):
        return float(one) == float(other)
    return bool(one == other)


def _measured(before: Account, source: str, moves: Moves) -> Iterator[str]:
    purpose, chosen = before.grant or ("", None)
    if purpose != source or len(moves) != 1:
        yield f"a change by the {source}, and nothing was found that calls for it"
        return
    family, old, new = moves[0]
    knob = before.knobs[family]
    low, high = knob["space"]["low"], knob["space"]["high"]
    if not knob["is_rate"]:
        yield f"{family} was moved by the {source}, and is no learning rate"
    elif chosen is None and not new < old:
        yield f"{family} was moved from {old!r} to {new!r} after a restore, and may only go down"
    elif chosen is not None and not is_shown_as(new, min(max(chosen, low), high)):
        yield f"{family} was moved to {new!r}, and {chosen!r} was found"


def is_shown_as(value: float, shown: float) -> bool:
    """Say whether a number can be the one that is logged with four digits."""
    return math.isclose(value, shown, rel_tol=SHOWN)


def carried_out(before: Account, entry: Entry) -> Iterator[str]:
    """Say whether something else happens while a line is owed, or the line is another one."""
    if entry.kind == "paused":
        ordered = before.asked.get("decisions")
        if before.owed == "paused" and entry.body["decisions"] != ordered:
            yield f"a pause of {entry.body['decisions']} decisions, and ordered were {ordered}"
    elif before.owed:
        yield f"an order to {before.order} was accepted, and no {before.owed} followed"
