"""The auditor's own account of a run: what is known before each line, worked out from the lines.

It restates what gptune remembers while it tunes, and shares no code with it.
"""

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gptune.audit.chain import Entry, plain

BY_HAND = ("human", "replay", "calibration", "guard", "ranks")  # sources that are no search
NEUTRAL = {"mult": 1.0, "delta": 0.0}
BROKEN = {"actuator_failed", "read_back_differs"}
SYMPTOMS = {"spike", "divergence", "state_not_finite", "not_finite"}  # the guard's
FREE = {"closed", "left_active", "operator", "not_live"}  # ends that count as no reject
BRAKES = {"block_on_nan", "block_on_anomaly", "on_error"}  # what nobody takes off from outside
FREELY = {"search.every", "search.joint"}  # what may be set beside acceptance and safety
CARRYING = ("proposed", "intent", "applied", "accepted")  # lines that put carried values in force

Moves = tuple[tuple[str, Any, Any], ...]  # family, old, new


@dataclass(frozen=True, slots=True)
class Account:
    """What is known before a line.

    Attributes:
        recipe: As the run was opened with, and as it was set since.
        knobs: Family -> the knob, as it was opened.
        point: Family -> the move in force.
        mode: What gptune may do.
        source: Of the newest proposal.
        proposed: Its moves.
        intents: Id -> the moves that are about to be made.
        open_id: Of the change that is tried.
        open_moves: Its moves.
        used: Ids so far.
        decision: Newest decision at which something was observed.
        step: Steps at the newest line [steps].
        sound: Whether the objective was a finite number at the newest decision, if there was one.
        blocked: Why nothing may be changed at this decision.
        last: Kind of the line before.
        order: The command that was accepted last, until it is carried out.
        asked: Its arguments.
        owed: Kind of the line by which it is carried out, if one must follow.
        grant: Purpose of the look ahead or restore that lets the rate be moved, and to where.
        rejects: Rejects in a row.
        paused: Whether tuning is paused.
        until: Last decision of the pause; ``None`` = until resumed.
        moved: Family -> newest decision at which it moved, or was to move.
        rests: Last decision at which, after a reject, everything rests.
        quarantined: Families that failed.
        pinned: Families that an operator keeps.
        looking: Purpose of the look ahead that runs, and its lowest and highest multiplier.
        looked: Purpose -> steps that its looks ahead threw away [steps].
        restores: Times that the training state was put back.
        counts: Kind -> lines.
        closed: Whether the run was closed.
        total: Of the whole run [steps], if known.
        held: Family -> all moves that were ever in force.
        carried: Whether the values of another directory's run are put in force now.
        waits: Whether a process has come that waits for a checkpoint; then nothing happens.
    """

    recipe: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    point: dict[str, Any] = field(default_factory=dict)
    mode: str = ""
    source: str = ""
    proposed: Moves = ()
    intents: dict[str, Moves] = field(default_factory=dict)
    open_id: str = ""
    open_moves: Moves = ()
    used: frozenset[str] = frozenset()
    decision: int = 0
    step: int = 0
    sound: bool | None = None
    blocked: tuple[str, ...] = ()
    last: str = ""
    order: str = ""
    asked: dict[str, Any] = field(default_factory=dict)
    owed: str = ""
    grant: tuple[str, float | None] | None = None
    rejects: int = 0
    paused: bool = False
    until: int | None = None
    moved: dict[str, int] = field(default_factory=dict)
    rests: int = 0
    quarantined: frozenset[str] = frozenset()
    pinned: frozenset[str] = frozenset()
    looking: tuple[str, float, float] | None = None
    looked: dict[str, int] = field(default_factory=dict)
    restores: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    closed: bool = False
    total: int | None = None
    held: dict[str, frozenset[Any]] = field(default_factory=dict)
    carried: bool = False
    waits: bool = False

    def rule(self, section: str, name: str, default: Any) -> Any:
        """Give a field of the recipe."""
        return self.recipe.get(section, {}).get(name, default)

    def mutation(self, family: str) -> dict[str, Any]:
        """Give how the recipe lets a knob move."""
        found: dict[str, Any] = self.knobs.get(family, {}).get("mutation", {})
        return found

    @property
    def searches(self) -> bool:
        """Say whether the newest proposal is one of a search."""
        return self.source not in BY_HAND


def moves_of(entry: Entry) -> Moves:
    """Read the changes of a line."""
    changes = entry.body.get("changes", ())
    return tuple((str(c["family"]), plain(c["old"]), plain(c["new"])) for c in changes)


def start_of(knob: dict[str, Any]) -> Any:
    """Give the move with which a knob has the user's own value."""
    return NEUTRAL.get(knob["mutation"].get("mode", "mult"), knob["base"])


def is_finite(value: object) -> bool:
    """Say whether a value is one finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # a whole number may be larger than any real one


def is_carried(account: Account, entry: Entry) -> bool:
    """Say whether a line puts a value in force that came with another log's checkpoint."""
    return account.carried and "@resumed" in str(entry.body.get("id", ""))


def advance(account: Account, entry: Entry) -> Account:
    """Take one line into account."""
    rule = _RULES.get(entry.kind)
    after = rule(account, entry) if rule else account
    return replace(
        after,
        step=account.step if after.waits else entry.step,
        last=entry.kind,
        counts={**account.counts, entry.kind: account.counts.get(entry.kind, 0) + 1},
        closed=entry.kind == "closed",
        carried=after.carried and (entry.kind in CARRYING or not account.carried),
        owed="" if entry.kind == account.owed else after.owed,
    )


def _opened(account: Account, entry: Entry) -> Account:
    """A process came, or a knob; what one that waits says of knobs may be guessed."""
    body, carried = entry.body, entry.body.get("carried")
    waits = account.waits or (body["resumed"] and carried is None)
    if waits and account.recipe:
        return replace(account, waits=True)
    fresh = {f: k for f, k in body["knobs"].items() if f not in account.knobs}
    starts = {f: start_of(knob) for f, knob in fresh.items()}
    begins = not account.recipe
    after = replace(
        _stand(account, starts),
        recipe=body["recipe"] if begins else account.recipe,
        knobs={**account.knobs, **fresh},
        mode=account.mode or body["recipe"]["mode"],
        total=body.get("total_steps") if begins else account.total,
        waits=bool(waits),
    )
    return after if carried is None or not begins else _carry(after, entry, carried)


def _carry(account: Account, entry: Entry, carried: dict[str, Any]) -> Account:
    """Begin where a checkpoint of another log stood; when its knobs have moved nobody says."""
    return replace(
        account,
        mode=str(carried["mode"]),
        recipe=_set(account.recipe, carried["overrides"]),
        rejects=carried["rejects"],
        paused=bool(carried["paused"]),
        until=carried["paused_until"],
        quarantined=frozenset(carried["quarantined"]),
        pinned=frozenset(carried["pinned"]),
        decision=entry.decision,
        carried=True,
    )


def _stand(account: Account, moves: Mapping[str, Any]) -> Account:
    """Put moves in force."""
    held = {f: account.held.get(f, frozenset()) | {move} for f, move in moves.items()}
    point = {**account.point, **moves}
    return replace(account, point=point, held={**account.held, **held})


def _observed(account: Account, entry: Entry) -> Account:
    """A new decision: what was ordered or measured before it lets nobody move a knob any more."""
    return replace(
        account,
        decision=entry.decision,
        sound=is_finite(plain(entry.body["metric"])),
        blocked=(),
        order="",
        grant=None,
    )


def _blocked(account: Account, entry: Entry) -> Account:
    return replace(account, blocked=(*account.blocked, *entry.body["reasons"]))


def _proposed(account: Account, entry: Entry) -> Account:
    return replace(account, source=str(entry.body["source"]), proposed=moves_of(entry))


def _suggested(account: Account, entry: Entry) -> Account:
    return _rest(account, [family for family, _, _ in moves_of(entry)], entry.decision)


def _intent(account: Account, entry: Entry) -> Account:
    ident = str(entry.body["id"])
    intents = {**account.intents, ident: moves_of(entry)}
    return replace(account, intents=intents, used=account.used | {ident})


def _applied(account: Account, entry: Entry) -> Account:
    ident, moves = str(entry.body["id"]), moves_of(entry)
    if not is_carried(account, entry):  # those moves were made before, and rest no more
        account = _rest(account, [family for family, _, _ in moves], entry.decision)
    account = _stand(_made(account, ident), {family: new for family, _, new in moves})
    return replace(account, open_id=ident, open_moves=moves)


def _made(account: Account, ident: str) -> Account:
    """A change was made, or has failed: it needs a new order, or a new measurement, from now on."""
    by_hand = account.source == "human"
    return replace(
        account,
        intents={i: m for i, m in account.intents.items() if i != ident},
        order="" if by_hand else account.order,
        grant=None,
    )


def _failed(account: Account, entry: Entry) -> Account:
    families, reasons = entry.body["families"], entry.body["reasons"]
    message, broke = entry.body["message"], BROKEN.intersection(reasons)
    broken = {f for f in families if broke and message.startswith(f"{f}: ")}
    if reasons != ["operator"]:  # else somebody has interrupted it, which says nothing of the knob
        account = _rest(account, families, entry.decision)
    account = _made(account, str(entry.body["id"]))
    return replace(account, quarantined=account.quarantined | broken)


def _accepted(account: Account, entry: Entry) -> Account:
    by_gate = account.last == "observed" or account.order == "accept"
    return replace(_end(account), rejects=0 if by_gate else account.rejects)


def _undone(account: Account, entry: Entry) -> Account:
    """Take a rejected change into account: rolled back, abandoned, or stuck."""
    reasons = entry.body.get("reasons", [])
    kept = entry.kind == "abandoned" and "kept_on_reject" in reasons
    point, ident = dict(account.point), str(entry.body["id"])
    if ident == account.open_id and not kept:
        point.update({family: old for family, old, _ in account.open_moves})
    if entry.kind == "rollback_failed":
        broken = account.quarantined | set(entry.body["families"])
        account = replace(account, quarantined=broken)
    judged = account.last == "observed" or SYMPTOMS.intersection(reasons)
    counts = account.order == "reject" or (judged and not FREE.intersection(reasons))
    account = _reject(account, entry.decision) if counts else account
    intents = {i: m for i, m in account.intents.items() if i != ident}
    return replace(_end(account), point=point, intents=intents)


def _end(account: Account) -> Account:
    order = "" if account.order in ("accept", "reject") else account.order
    return replace(account, open_id="", open_moves=(), order=order)


def _reject(account: Account, decision: int) -> Account:
    wait = account.rule("safety", "global_cooldown", 1)
    rests = max(account.rests, decision + wait) if wait else account.rests
    return replace(account, rejects=account.rejects + 1, rests=rests)


def _rest(account: Account, families: list[str], decision: int) -> Account:
    return replace(account, moved={**account.moved, **dict.fromkeys(families, decision)})


def _paused(account: Account, entry: Entry) -> Account:
    count, until = entry.body["decisions"], None
    if count is not None and (not account.paused or account.until is not None):
        until = max(entry.decision + count, account.until or 0)
    return replace(account, paused=True, until=until)


def _unpaused(account: Account, _: Entry) -> Account:
    return replace(account, paused=False, until=None, rejects=0)


def _restored(account: Account, _: Entry) -> Account:
    return replace(account, restores=account.restores + 1, grant=("guard", None))


def _look_ahead(account: Account, entry: Entry) -> Account:
    body = entry.body
    purpose = body.get("purpose", "")
    if not body["chosen"]:
        return replace(account, looking=(purpose, body["low"], body["high"]))
    looked = {**account.looked, purpose: account.looked.get(purpose, 0) + body["steps"]}
    found = None if body.get("stopped") else (str(purpose), float(body["chosen"]))
    return replace(account, looking=None, looked=looked, grant=found)


def _mode(account: Account, entry: Entry) -> Account:
    return replace(account, mode=str(entry.body["new"]))


def _command(account: Account, entry: Entry) -> Account:
    if not entry.body["accepted"]:
        return replace(account, order="", asked={})
    verb, arguments = str(entry.body["verb"]), entry.body["arguments"]
    family = {arguments.get("family")}
    pins = {"pin": account.pinned | family, "unpin": account.pinned - family}
    owed = {"pause": "paused", "resume": "unpaused" if account.paused else ""}
    return replace(
        account,
        order=verb,
        asked=arguments,
        owed=owed.get(verb, ""),
        recipe=_set(account.recipe, arguments["changes"]) if verb == "set" else account.recipe,
        pinned=pins.get(verb, account.pinned),
        rejects=0 if verb == "resume" else account.rejects,  # also of a run that was not paused
    )


def _set(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(dict(recipe))
    for path, value in changes.items():
        section, _, name = path.partition(".")
        brake = section not in ("acceptance", "safety") or name in BRAKES
        if brake and path not in FREELY:
            raise ValueError(f"{path} may not be set")
        made.setdefault(section, {})[name] = value
    return made


_RULES: dict[str, Callable[[Account, Entry], Account]] = {
    "opened": _opened,
    "observed": _observed,
    "blocked": _blocked,
    "proposed": _proposed,
    "suggested": _suggested,
    "intent": _intent,
    "applied": _applied,
    "failed": _failed,
    "accepted": _accepted,
    "rolled_back": _undone,
    "abandoned": _undone,
    "rollback_failed": _undone,
    "paused": _paused,
    "unpaused": _unpaused,
    "restored": _restored,
    "look_ahead": _look_ahead,
    "mode": _mode,
    "command": _command,
}
