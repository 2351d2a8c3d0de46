"""What gptune promises, each as a rule over the account of a run and one line of its log."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gptune.audit.account import Account, is_carried, is_finite, moves_of
from gptune.audit.chain import Entry, plain
from gptune.audit.knobs import joined
from gptune.audit.orders import SHOWN, authority, carried_out

ENDS = ("accepted", "rolled_back", "abandoned", "rollback_failed", "failed")
MODES = {  # in which a source other than the search may move a knob
    "human": ("observe", "suggest", "guard", "active", "replay"),
    "ranks": ("off", "observe", "suggest", "guard", "active", "replay"),
    "replay": ("replay",),
}
NEAR = 1e-9  # two computed numbers that are one, relatively

Rule = Callable[[Account, Entry], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise.

    Attributes:
        name: One word or two.
        says: The promise, as a sentence.
        kinds: The lines that it is about.
        rule: Gives what is wrong with one of them.
    """

    name: str
    says: str
    kinds: tuple[str, ...]
    rule: Rule


def _order(before: Account, entry: Entry) -> Iterator[str]:
    if not before.recipe and entry.kind != "opened":
        yield "comes before the run was opened"
    if before.closed and entry.kind != "opened":
        yield "comes after the run was closed"
    if before.waits and entry.kind not in ("opened", "mode"):
        yield "comes while a process waits for a checkpoint"
    if entry.kind == "opened" and entry.body.get("carried") is not None:
        if before.recipe or not entry.body["resumed"]:
            yield "brings along where another run stood, and does not begin this one"
        return
    # A process that waits counts from 0; a checkpoint will say where the run stands.
    if not (before.waits or (entry.kind == "opened" and entry.body["resumed"])):
        yield from _counted(before, entry)


def _counted(before: Account, entry: Entry) -> Iterator[str]:
    if entry.kind == "observed" and entry.decision != before.decision + 1:
        yield f"is decision {entry.decision} after decision {before.decision}"
    if entry.kind != "observed" and entry.decision != before.decision:
        yield f"is of decision {entry.decision}, the newest is {before.decision}"
    if entry.kind == "closed" and entry.body["decisions"] != before.decision:
        yield f"counts {entry.body['decisions']} decisions, and there were {before.decision}"
    if entry.step < before.step:
        yield f"goes back to step {entry.step} from {before.step}"


def _bounds(before: Account, entry: Entry) -> Iterator[str]:
    for family, _, new in moves_of(entry):
        space = before.knobs.get(family, {}).get("space")
        if space is None:
            yield f"{family} is no knob of this run"
        elif not _holds(space, new):
            yield f"{family} = {new!r} lies outside of {_range(space)}"


def _holds(space: dict[str, object], move: object) -> bool:
    if space["type"] == "categorical":
        choices: list[object] = space["choices"]  # type: ignore[assignment]
        return any(type(one) is type(move) and one == move for one in choices)
    if space["type"] == "integer" and not isinstance(move, int):
        return False
    return is_finite(move) and space["low"] <= move <= space["high"]  # type: ignore[operator]


def _range(space: dict[str, object]) -> str:
    if space["type"] == "categorical":
        return f"{space['choices']}"
    return f"[{space['low']}, {space['high']}]"


def _step(before: Account, entry: Entry) -> Iterator[str]:
    if not before.searches:
        return
    for family, old, new in moves_of(entry):
        if not (is_finite(old) and is_finite(new)):
            continue  # a choice has no distance
        mutation, space = before.mutation(family), before.knobs.get(family, {}).get("space", {})
        most = mutation.get("max_step")
        if mutation.get("mode", "mult") == "mult":
            ratio = max(new / old, old / new) if min(old, new) > 0 else math.inf
            most = 2.0 if most is None else most
            if ratio > most * (1 + NEAR):
                yield f"{family} went from {old!r} to {new!r}, more than {most:g} times"
            continue
        width = float(space.get("high", math.inf)) - float(space.get("low", 0.0))
        least = 1.0 if space.get("type") == "integer" else 0.0
        most = max(width / 4, least) if most is None else most
        if abs(new - old) > most * (1 + NEAR):
            yield f"{family} went from {old!r} to {new!r}, more than {most:g}"


def _intent(before: Account, entry: Entry) -> Iterator[str]:
    if entry.kind != "applied":
        for ident in before.intents:
            yield f"{ident} was intended, and neither made nor given up by now"
        return
    ident, moves = str(entry.body["id"]), moves_of(entry)
    if ident not in before.intents:
        yield f"{ident} was applied, and no intent stands before it"
    elif before.intents[ident] != moves:
        yield f"{ident} was applied otherwise than its intent says"


def _read_back(before: Account, entry: Entry) -> Iterator[str]:
    read = {family: plain(value) for family, value in entry.body["read_back"].items()}
    for family, _, new in moves_of(entry):
        due = _native(before.knobs.get(family, {}), new)
        if family not in read:
            yield f"{family} was not read back"
        elif not _is_near(read[family], due):
            yield f"{family} = {new!r} should read {due!r}, and reads {read[family]!r}"


def _native(knob: dict[str, object], move: object) -> object:
    mode, base = knob.get("mutation", {}).get("mode", "mult"), knob.get("base")  # type: ignore[attr-defined]
    if not (is_finite(move) and is_finite(base)):
        return move
    if knob.get("on_schedule"):
        target = base + move if mode == "delta" else move  # type: ignore[operator]
        return move if mode == "mult" else target / base  # type: ignore[operator]
    if mode == "set":
        return move
    return base * move if mode == "mult" else base + move  # type: ignore[operator]


def _is_near(one: object, other: object) -> bool:
    if is_finite(one) and is_finite(other):
        return math.isclose(one, other, rel_tol=NEAR, abs_tol=1e-300)  # type: ignore[arg-type]
    return one == other


def _once(before: Account, entry: Entry) -> Iterator[str]:
    ident = str(entry.body.get("id", ""))
    if entry.kind in ENDS and ident != before.open_id and ident not in before.intents:
        yield f"{ident} ends, and is not open"
    if entry.kind in ENDS or not before.open_id:
        return
    what = {"intent": "begins", "applied": "is applied", "closed": "the run is closed"}
    yield f"{ident} {what[entry.kind]}".strip() + f" while {before.open_id} is not judged yet"


def _unique(before: Account, entry: Entry) -> Iterator[str]:
    if entry.body["id"] in before.used:
        yield f"{entry.body['id']} is used twice"


def _continuity(before: Account, entry: Entry) -> Iterator[str]:
    if entry.kind == "observed":
        for family, reading in entry.body["knobs"].items():
            move, known = plain(reading["move"]), before.point.get(family)
            if before.looking is None and move != known:
                yield f"{family} stands at {move!r}, and by the lines before at {known!r}"
        return
    for family, old, new in moves_of(entry):
        known = before.point.get(family)
        if old != known:
            yield f"{family} moves from {old!r}, and stood at {known!r}"
        back = {name: was for name, was, _ in before.open_moves}.get(family)
        if entry.kind == "rolled_back" and new != back:
            yield f"{family} was put back to {new!r}, and had been at {back!r}"


def _cooldown(before: Account, entry: Entry) -> Iterator[str]:
    if not before.searches:
        return
    if entry.decision <= before.rests:
        yield f"a move at decision {entry.decision}; after a reject all rests to {before.rests}"
    for family, _, _ in moves_of(entry):
        last, wait = before.moved.get(family), before.mutation(family).get("cooldown", 1)
        if last is not None and entry.decision - last <= wait:
            yield f"{family} moved at decisions {last} and {entry.decision}, its cooldown is {wait}"


def _pause(before: Account, entry: Entry) -> Iterator[str]:
    if entry.kind == "unpaused":
        until, by = before.until, entry.body.get("by", "count")
        if by == "count" and (until is None or entry.decision <= until):
            yield f"the pause ended at decision {entry.decision}, and was to last to {until}"
        elif by != "count" and before.order != "resume":
            yield "the pause ended by an order that nobody gave"
        return
    if not before.searches:
        return
    most = before.rule("safety", "max_global_reject_streak", 10)
    if before.paused:
        yield "a change while tuning is paused"
    if before.rejects >= most:
        yield f"a change after {before.rejects} rejects in a row; {most} are to pause tuning"


def _blockers(before: Account, entry: Entry) -> Iterator[str]:
    if entry.kind == "observed":
        if before.open_id and before.sound is False:
            yield f"{before.open_id} is still open after a decision without a finite metric"
        return
    if not before.searches:
        return
    if before.sound is not True:
        yield "a change at a decision without a finite metric"
    if before.blocked:
        yield f"a change at a decision that was blocked ({', '.join(before.blocked)})"


def _verdict(before: Account, entry: Entry) -> Iterator[str]:
    if entry.body.get("reasons"):
        if before.searches and before.order != "accept":
            yield "a change of the search was kept, and neither the gate nor an order said so"
        return
    if before.last != "observed":
        yield "was accepted, and nothing had been observed"
    if before.sound is not True:
        yield "was accepted without a finite metric"
    chance = entry.body.get("probability")
    due = before.rule("acceptance", "probability", 0.95)
    by_forecast = before.rule("acceptance", "reference", "forecast") != "last"
    if by_forecast and (chance is None or not chance >= due):
        yield f"was accepted with probability {chance!r}, due is {due:g}"


def _mode(before: Account, entry: Entry) -> Iterator[str]:
    if entry.kind == "mode":
        if before.mode == "active" and before.open_id:
            yield f"mode active is left, and {before.open_id} is not put back"
        return
    if entry.kind == "suggested":
        allowed: tuple[str, ...] = ("suggest",)
    elif entry.kind == "restored":
        allowed = ("guard", "active")
    else:
        allowed = MODES.get(before.source, ("active",))
    if before.mode not in allowed and not is_carried(before, entry):
        yield f"a line of kind {entry.kind} in mode {before.mode}, allowed in {', '.join(allowed)}"


def _movable(before: Account, entry: Entry) -> Iterator[str]:
    ours = before.source not in ("human", "replay", "ranks")
    for family, _, _ in moves_of(entry):
        mutation = before.mutation(family)
        phases = mutation.get("phases")
        if mutation.get("risk") == "high":
            yield f"{family} is of high risk, and never to be moved"
        if (
            family in before.quarantined
            and before.source != "ranks"
            and not is_carried(before, entry)
        ):
            yield f"{family} had failed, and was to be left alone"
        if family in before.pinned and ours:
            yield f"{family} is pinned"
        if before.searches and phases is not None and entry.phase not in phases:
            yield f"{family} may move in {phases}, not in {entry.phase}"


def _looks(before: Account, entry: Entry) -> Iterator[str]:
    body, rates = entry.body, [k for k in before.knobs.values() if k.get("is_rate")]
    if not body["chosen"]:
        for space in [rate["space"] for rate in rates]:
            low, high = body["low"], body["high"]
            if low < space["low"] * (1 - NEAR) or high > space["high"] * (1 + NEAR):
                yield f"trials from {low} to {high}, outside of {_range(space)}"
        return
    if before.looking is None:
        yield "a look ahead ended that was not announced"
        return
    _, low, high = before.looking
    for name in [*body["arms"], body["chosen"]]:
        if not low * (1 - SHOWN) <= float(name) <= high * (1 + SHOWN):
            yield f"a trial at {name}, announced were {low} to {high}"
    yield from _spent(before, body)


def _spent(before: Account, body: dict[str, object]) -> Iterator[str]:
    purpose, total = body.get("purpose"), before.total
    wasted = before.looked.get(str(purpose), 0) + int(body["steps"])  # type: ignore[call-overload]
    share = before.rule("calibration", "budget", 0.1)
    if purpose == "calibration" and total is not None and wasted > share * total:
        yield f"{wasted} steps thrown away, allowed are {share:g} of {total}"


def _restores(before: Account, entry: Entry) -> Iterator[str]:
    most = before.rule("guard", "max_restores", 10)
    if before.restores >= most:
        yield f"restore {before.restores + 1}, allowed are {most}"
    if not 0 <= entry.body["to_step"] <= entry.step:
        yield f"the training state of step {entry.body['to_step']} at step {entry.step}"


MADE = ("intent", "applied", "suggested")
PROMISES = (
    Promise("order", "decisions and steps count up; nothing stands outside of an opened run",
            ("*",), _order),
    Promise("recipe", "knobs move as the recipe lets them, and are no others later", ("opened",),
            joined),
    Promise("bounds", "no value outside of the recipe's bounds", MADE, _bounds),
    Promise("step", "no search moves a knob by more than its largest step", MADE, _step),
    Promise("intent", "nothing is applied that was not written down, nothing written is left open",
            ("applied", "intent", "observed", "closed"), _intent),
    Promise("read back", "what is applied was read back from the knob", ("applied",), _read_back),
    Promise("once", "one change at a time, and each ends exactly once",
            ("intent", "applied", "closed", *ENDS), _once),
    Promise("unique", "no two changes have one name", ("intent",), _unique),
    Promise("continuity", "every knob stands where the lines before leave it, and goes back there",
            ("observed", "intent", "suggested", "rolled_back"), _continuity),
    Promise("cooldown", "a knob rests after it moved, and all after a reject",
            ("intent", "suggested"), _cooldown),
    Promise("pause", "after too many rejects, or by an order, tuning pauses as long as it shall",
            ("intent", "suggested", "unpaused"), _pause),
    Promise("blockers", "no change at a decision without a sound metric; an open one is undone",
            ("intent", "suggested", "observed"), _blockers),
    Promise("verdict", "a change stays only if a gain was probable enough, or an operator said so",
            ("accepted",), _verdict),
    Promise("mode", "changes in mode active alone, none left open; restores in guard and active",
            ("intent", "suggested", "restored", "mode"), _mode),
    Promise("authority", "no change without one who may make it",
            ("intent", "suggested"), authority),
    Promise("orders", "what is ordered and accepted is carried out at once, as it was ordered",
            ("paused", "observed", "intent", "suggested", "command", "closed"), carried_out),
    Promise("movable", "no knob moves that is pinned, has failed, or is too risky",
            ("intent", "suggested"), _movable),
    Promise("look ahead", "trial rates are announced, within bounds, and within their budget",
            ("look_ahead",), _looks),
    Promise("restores", "the training state goes back to a step before, and not too often",
            ("restored",), _restores),
)  # fmt: skip
