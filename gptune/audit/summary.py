"""What ``summary.json`` must say of a log: every field of it, worked out anew from the lines.

All that a summary holds is compared but ``seq``, which says of how many lines it knows, and
fields that other versions may add.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gptune.audit.account import NEUTRAL, SYMPTOMS, Account, Moves, advance, is_finite, moves_of
from gptune.audit.chain import FAULTS, Entry, counting, plain

SAME = 1e-9  # two numbers that were worked out alike, relatively
UNJUDGED = {"closed", "left_active", "operator"}  # reasons of ends that are no verdict
AS_WANTED = ("human", "replay")  # sources whose changes nobody judges


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the trials of one knob in one phase; moves averaged as Welford (1962) does."""

    judged: int = 0
    accepted: int = 0
    mean: float = 0.0
    squares: float = 0.0
    last: float | None = None
    choices: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """A change that a search has made: its moves, and the phase in which it made them."""

    ident: str
    moves: Moves
    phase: str


@dataclass(frozen=True, slots=True)
class Tale:
    """What a summary tells of the lines so far, beyond the account.

    Attributes:
        opened: The newest line of that kind.
        source: Of the newest proposal.
        trial: The change that is tried.
        reported: Whether the line before is a report, so that a verdict may follow.
        tallies: Family -> phase -> what became of its trials.
        scales: Family -> log | linear | choice.
        point: Family -> the move that was in force when last heard of, a trial's included.
        readings: Where knobs stood at the newest report.
        metric: The objective then, if it was a finite number.
        best: The best one.
        judged: Trials that ended by a verdict.
        accepted: Those that stayed.
    """

    opened: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    trial: Trial | None = None
    reported: bool = False
    tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)
    scales: dict[str, str] = field(default_factory=dict)
    point: dict[str, Any] = field(default_factory=dict)
    readings: dict[str, Any] = field(default_factory=dict)
    metric: float | None = None
    best: dict[str, Any] | None = None
    judged: int = 0
    accepted: int = 0


def differences(data: bytes, entries: Sequence[Entry]) -> list[str]:
    """Say what a summary says otherwise than the lines that it knew.

    Args:
        data: The bytes of ``summary.json``.
        entries: The lines of the log, superseded ones included.
    """
    try:
        told = json.loads(data)
        known = told["seq"]
        if isinstance(known, bool) or not 1 <= known <= len(entries):
            return [f"knows of {known!r} lines, and there are {len(entries)}"]
        due = _due(entries[:known])
        return [
            f"{name} is {_short(told.get(name))}, and by the log {_short(value)}"
            for name, value in due.items()
            if name not in told or not is_same(told[name], value)
        ]
    except FAULTS as error:
        return [f"is no summary ({error!r})"]


def is_same(said: Any, due: Any) -> bool:
    """Compare plain data; numbers but for the last digits, which another machine may round."""
    if isinstance(said, dict) and isinstance(due, dict):
        return said.keys() == due.keys() and all(is_same(said[name], due[name]) for name in due)
    if isinstance(said, list) and isinstance(due, list):
        return len(said) == len(due) and all(map(is_same, said, due))
    if is_finite(said) and is_finite(due):
        return math.isclose(said, due, rel_tol=SAME)
    return type(said) is type(due) and bool(said == due)


def _short(value: Any) -> str:
    return repr(value)[:200]


def _due(entries: Sequence[Entry]) -> dict[str, Any]:
    """Give all that a summary of some lines must say."""
    account, tale, kept = Account(), Tale(), counting(entries)
    for entry in kept:
        try:
            account, tale = advance(account, entry), tell(tale, entry)
        except FAULTS:  # a line that lacks something is a broken promise of its own
            account = replace(account, last=entry.kind)
    due = {**_of_account(account), **_of_tale(tale), **_times(entries), "version": 1}
    # Of the newest line as it stands, be it one of a process that waits for a checkpoint.
    last = kept[-1] if kept else Entry(0, "", 0, 0, "", {})
    made: dict[str, Any] = _as_json(
        {**due, "decision": last.decision, "step": last.step, "phase": last.phase}
    )
    return made


def _of_account(account: Account) -> dict[str, Any]:
    return {
        "mode": account.mode,
        "paused": account.paused,
        "paused_until": account.until,
        "rejects": account.rejects,
        "closed": account.closed,
        "counts": account.counts,
        "pinned": sorted(account.pinned),
        "quarantined": sorted(account.quarantined),
    }


def _of_tale(tale: Tale) -> dict[str, Any]:
    opened = tale.opened
    objective = opened.get("recipe", {}).get("objective", {})
    families = {
        family: {
            phase: _describe(tally, tale.scales.get(family, "choice"))
            for phase, tally in phases.items()
        }
        for family, phases in tale.tallies.items()
    }
    return {
        "objective": objective.get("primary", ""),
        "direction": objective.get("mode", "min"),
        "seed": opened.get("seed", 0),
        "versions": opened.get("versions", {}),
        "total_steps": opened.get("total_steps"),
        "metric": tale.metric,
        "best": tale.best,
        "judged": tale.judged,
        "accepted": tale.accepted,
        "accept_rate": _ratio(tale.accepted, tale.judged),
        "families": families,
        "scales": tale.scales,
        "point": tale.point,
        "knobs": tale.readings,
        "open": tale.trial.ident if tale.trial else None,
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _describe(tally: Tally, scale: str) -> dict[str, Any]:
    said: dict[str, Any] = {"judged": tally.judged, "accepted": tally.accepted, "scale": scale}
    said["win_rate"] = _ratio(tally.accepted, tally.judged)
    if scale == "choice":
        return {**said, "choices": tally.choices}
    if not tally.accepted:
        return {**said, "mean": None, "spread": None, "last": None}
    mean = math.exp(tally.mean) if scale == "log" else tally.mean
    spread = math.sqrt(tally.squares / tally.accepted)
    return {**said, "mean": mean, "spread": spread, "last": tally.last}


def _times(entries: Iterable[Entry]) -> dict[str, Any]:
    """Say when the run began and was heard of last, and how long its processes have worked.

    Lines that were taken back have taken their time all the same. What a process says of itself
    stands in its first line.
    """
    walls = [entry.body.get("wall", {}) for entry in entries]
    walls = [wall for wall in walls if is_finite(wall.get("time"))]
    spells: list[tuple[float, float]] = []  # of each process: its first line, and its newest
    named: dict[str, Any] = {}
    for wall in walls:
        if "pid" in wall or not spells:
            spells, named = [*spells, (wall["time"], wall["time"])], wall
        spells[-1] = (spells[-1][0], wall["time"])
    return {
        "first": walls[0]["time"] if walls else None,
        "last": walls[-1]["time"] if walls else None,
        "seconds": math.fsum(max(0.0, end - begin) for begin, end in spells),
        "pid": named.get("pid"),
        "host": named.get("host"),
    }


def _as_json(value: Any) -> Any:
    """Give ``None`` for a number that JSON has none for, as a summary does."""
    value = plain(value)
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# line by line -----------------------------------------------------------------------------------


def tell(tale: Tale, entry: Entry) -> Tale:
    """Take one line more into a tale."""
    rule = _RULES.get(entry.kind)
    after = rule(tale, entry) if rule else tale
    return replace(after, reported=entry.kind == "observed")


def _opened(tale: Tale, entry: Entry) -> Tale:
    knobs = entry.body["knobs"].items()
    starts = {f: NEUTRAL.get(knob["mutation"]["mode"], knob["base"]) for f, knob in knobs}
    return replace(
        tale,
        opened=entry.body,
        scales={**tale.scales, **{family: _scale(knob) for family, knob in knobs}},
        point={**starts, **tale.point},
    )


def _scale(knob: dict[str, Any]) -> str:
    if knob["space"]["type"] == "categorical":
        return "choice"
    return "log" if knob["mutation"]["mode"] == "mult" else "linear"


def _observed(tale: Tale, entry: Entry) -> Tale:
    metric, knobs = plain(entry.body["metric"]), entry.body["knobs"]
    moves = {family: reading["move"] for family, reading in knobs.items()}
    tale = replace(tale, readings=knobs, point={**tale.point, **moves}, metric=None)
    if not is_finite(metric):
        return tale
    recipe, best = tale.opened.get("recipe", {}), tale.best
    sign = 1.0 if recipe.get("objective", {}).get("mode", "min") == "max" else -1.0
    if best is None or sign * metric > sign * best["metric"]:
        best = {"metric": metric, "decision": entry.decision, "step": entry.step}
    return replace(tale, metric=metric, best=best)


def _proposed(tale: Tale, entry: Entry) -> Tale:
    return replace(tale, source=str(entry.body["source"]))


def _applied(tale: Tale, entry: Entry) -> Tale:
    moves, trial = moves_of(entry), tale.trial
    if tale.source not in AS_WANTED:
        trial = Trial(str(entry.body["id"]), moves, entry.phase)
    point = {**tale.point, **{family: new for family, _, new in moves}}
    return replace(tale, trial=trial, point=point)


def _ended(tale: Tale, entry: Entry) -> Tale:
    trial, reasons = tale.trial, set(entry.body.get("reasons", ()))
    if trial is None or trial.ident != entry.body["id"]:
        back = moves_of(entry) if entry.kind == "rolled_back" else ()
        return replace(tale, point={**tale.point, **{family: new for family, _, new in back}})
    won = entry.kind == "accepted"
    stays = won or (entry.kind == "abandoned" and "kept_on_reject" in reasons)
    olds = {} if stays else {family: old for family, old, _ in trial.moves}
    after = replace(tale, trial=None, point={**tale.point, **olds})
    judged = (tale.reported or SYMPTOMS.intersection(reasons)) and not UNJUDGED & reasons
    return _judged(after, trial, won=won) if judged else after


def _judged(tale: Tale, trial: Trial, *, won: bool) -> Tale:
    tallies = dict(tale.tallies)
    for family, _, new in trial.moves:
        phases = tallies.get(family, {})
        before, scale = phases.get(trial.phase, Tally()), tale.scales.get(family, "choice")
        tally = replace(before, judged=before.judged + 1)
        tally = _won(tally, new, scale) if won else tally
        tallies[family] = {**phases, trial.phase: tally}
    return replace(tale, tallies=tallies, judged=tale.judged + 1, accepted=tale.accepted + won)


def _won(tally: Tally, move: Any, scale: str) -> Tally:
    number = tally.accepted + 1
    if scale == "choice":
        often = tally.choices.get(str(move), 0) + 1
        return replace(tally, accepted=number, choices={**tally.choices, str(move): often})
    place = math.log(move) if scale == "log" else float(move)
    mean = tally.mean + (place - tally.mean) / number
    squares = tally.squares + (place - tally.mean) * (place - mean)
    return replace(tally, accepted=number, mean=mean, squares=squares, last=float(move))


_RULES: dict[str, Callable[[Tale, Entry], Tale]] = {
    "opened": _opened,
    "observed": _observed,
    "proposed": _proposed,
    "applied": _applied,
    "accepted": _ended,
    "rolled_back": _ended,
    "abandoned": _ended,
    "rollback_failed": _ended,
}
