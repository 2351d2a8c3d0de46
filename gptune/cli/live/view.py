"""What is remembered of a run that is watched: a fold of its log, bounded however long that is."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gptune.cli.live.series import Series, add, mark
from gptune.events import (
    Applied,
    Blocked,
    Command,
    Event,
    Failed,
    Line,
    LookAhead,
    ModeChanged,
    Observed,
    Opened,
    Paused,
    Restored,
    RollbackFailed,
    RolledBack,
    Suggested,
    Unpaused,
)
from gptune.records import Change, Evidence, Parameter, Reason, Scalar
from gptune.run_directory.changes import BY_HAND, Ending, advance
from gptune.run_directory.summary import Summary, fold

REMEMBERED = 32  # happenings
PACE = 20  # reports over which the pace is measured
MARKS = ("restored", "stuck", "kept", "found", "hand", "left", "undone")  # the weightiest first
PLAIN = {"apply", "accept", "reject", "rollback", "pause", "resume", "enable", "disable"}
TOLD = (Blocked, Command, Failed, ModeChanged, Paused, Restored, Suggested, Unpaused)


class Rail(Struct, frozen=True, kw_only=True):
    """How a knob may move.

    Attributes:
        mode: mult | set | delta.
        space: Where its moves lie.
        base: What they start from.
        cooldown: How long it rests after a move [decisions].
        risk: low | medium | high; high is never moved.
    """

    mode: str
    space: Parameter
    base: Scalar
    cooldown: int = 1
    risk: str = "low"


class Happening(Struct, frozen=True, kw_only=True):
    """Something worth telling, once or several times in a row.

    Attributes:
        decision: The decision, of the last time.
        step: The step then [steps].
        event: What was logged.
        ending: How a trial ended with it, if one did.
        evidence: What that trial had shown.
        source: Who proposed the change.
        times: How often in a row.
    """

    decision: int
    step: int
    event: Event
    ending: Ending | None = None
    evidence: Evidence | None = None
    source: str = ""
    times: int = 1


class View(Struct, frozen=True, kw_only=True):
    """A run that is watched.

    Attributes:
        summary: Where it stands.
        rails: Family -> how it may move.
        recipe: As it was opened, and as it was set since.
        series: The objective over steps.
        observed: What was reported last.
        blocked: Why nothing may be changed at this decision.
        looking: The look ahead that is under way.
        found: Families that a calibration has set.
        moved: Family -> the decision that moved it last.
        rejected: The decision of the last reject; all knobs rest after it.
        happenings: What happened, the newest last.
        pace: Step and time [s since 1970] of the last reports of this process.
    """

    summary: Summary = Summary()
    rails: dict[str, Rail] = {}
    recipe: dict[str, Any] = {}
    series: Series = Series()
    observed: Observed | None = None
    blocked: tuple[Reason, ...] = ()
    looking: LookAhead | None = None
    found: tuple[str, ...] = ()
    moved: dict[str, int] = {}
    rejected: int | None = None
    happenings: tuple[Happening, ...] = ()
    pace: tuple[tuple[int, float], ...] = ()


def take(view: View, line: Line) -> View:
    """Take note of one more line. Pure, and as fast late in a run as early."""
    before = view.summary.course
    course, changes, ending = advance(before, line)
    at_report, view = before.at_report, replace(view, summary=fold(view.summary, line))
    evidence = view.observed.evidence if view.observed and ending and at_report else None
    view = _note(view, line, ending, (course.source, evidence))
    view = _mark(view, line, changes, ending)
    rule = _RULES.get(type(line.event))
    return rule(view, line, line.event) if rule else view


def skip(view: View, line: Line) -> View:
    """Take note of a line that a rewind superseded: it counts for nothing but the time it took."""
    passed = fold(view.summary, line)
    return replace(view, summary=replace(view.summary, seq=passed.seq, times=passed.times))


def setting(view: View, section: str, name: str) -> Any:
    """Give what the recipe says now; ``None`` if it says nothing."""
    held = view.recipe.get(section)
    return held.get(name) if isinstance(held, dict) else None


def rests_until(view: View, family: str) -> int:
    """Give the last decision at which a knob rests; one that is past means that it does not."""
    moved, rail, wait = view.moved.get(family), view.rails[family], 0
    if moved is not None:
        wait = moved + rail.cooldown
    pause = setting(view, "safety", "global_cooldown")
    if view.rejected is not None and isinstance(pause, int) and pause > 0:
        wait = max(wait, view.rejected + pause)
    return wait


def _open(view: View, _: Line, event: Opened) -> View:
    """A process began, or a knob was added."""
    made = {family: _rail(knob) for family, knob in event.knobs.items()}
    known = {family: rail for family, rail in made.items() if rail is not None}
    carried = event.carried.overrides if event.carried is not None else {}
    recipe = _override(event.recipe, carried)
    return replace(view, rails={**view.rails, **known}, recipe=recipe, looking=None, pace=())


def _override(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give a recipe with some of its fields set anew."""
    made = dict(recipe)
    for path, value in changes.items():
        section, _, name = str(path).partition(".")
        held = made.get(section)
        made[section] = {**held, name: value} if isinstance(held, dict) else {name: value}
    return made


def _rail(knob: dict[str, Any]) -> Rail | None:
    """Read how a knob may move; ``None`` for one of a kind that this version does not know."""
    try:
        return msgspec.convert({**knob["mutation"], **knob}, Rail)
    except msgspec.ValidationError:
        return None


def _observe(view: View, line: Line, event: Observed) -> View:
    metric = event.metric if isinstance(event.metric, float) else math.nan
    time, pace = line.wall.get("time"), view.pace
    if isinstance(time, int | float):
        pace = (*pace, (line.envelope.step, float(time)))[-PACE:]
    series = add(view.series, line.envelope.step, metric)
    return replace(view, series=series, observed=event, blocked=(), pace=pace)


def _look(view: View, _: Line, event: LookAhead) -> View:
    """It is under way until a second line says what it chose, or why it was stopped."""
    begins = not event.chosen and not event.stopped
    return replace(view, looking=event if begins else None)


def _block(view: View, _: Line, event: Blocked) -> View:
    return replace(view, blocked=tuple(dict.fromkeys((*view.blocked, *event.reasons))))


def _obey(view: View, line: Line, event: Command) -> View:
    if not event.accepted:
        return view
    if event.verb == "reject":
        return replace(view, rejected=line.envelope.decision)
    changes = event.arguments.get("changes")
    if event.verb != "set" or not isinstance(changes, dict):
        return view
    return replace(view, recipe=_override(view.recipe, changes))


def _mark(view: View, line: Line, changes: tuple[Change, ...], ending: Ending | None) -> View:
    """Mark on the curve what came of changes, and remember when knobs moved."""
    at, name = line.envelope, _name(view, line.event, ending)
    if isinstance(line.event, Applied | Suggested):
        moved = dict.fromkeys((c.family for c in line.event.changes), at.decision)
        view = replace(view, moved={**view.moved, **moved})
    if (
        name in ("undone", "left", "stuck")
        and ending is not None
        and Reason.NOT_LIVE not in ending.reasons
    ):
        view = replace(view, rejected=at.decision)
    if name == "found" and ending is not None:
        found = {c.family for c in ending.trial.changes}.union(view.found)
        view = replace(view, found=tuple(sorted(found)))
    return replace(view, series=mark(view.series, at.step, name)) if name else view


def _name(view: View, event: Event, ending: Ending | None) -> str:
    """Name the mark of a line; empty if it has none."""
    if isinstance(event, Restored):
        return "restored"
    if ending is not None:
        is_stuck = isinstance(event, RollbackFailed) and ending.judged
        return "stuck" if is_stuck else _name_of_ending(ending)
    by_hand = isinstance(event, Applied) and view.summary.course.source in BY_HAND
    return "hand" if by_hand or isinstance(event, RolledBack) else ""


def _name_of_ending(ending: Ending) -> str:
    if ending.judged:
        return {"accepted": "kept", "rejected": "undone"}.get(ending.verdict, "left")
    if Reason.OPERATOR in ending.reasons:
        return "hand"
    return "found" if ending.verdict == "accepted" else ""


def _note(
    view: View, line: Line, ending: Ending | None, known: tuple[str, Evidence | None]
) -> View:
    """Remember what is worth telling.

    The guard may end a change between two reports; what the one before showed was not about it.
    """
    event, at, (source, evidence) = line.event, line.envelope, known
    resumed = isinstance(event, Opened) and event.resumed
    by_hand = isinstance(event, Applied) and source in BY_HAND
    back = isinstance(event, RolledBack)
    looked = isinstance(event, LookAhead) and bool(event.chosen or event.stopped)
    if isinstance(event, Command) and event.accepted and event.verb in PLAIN:
        return view  # what it brought is told on its own
    if not (ending or resumed or by_hand or back or looked or isinstance(event, TOLD)):
        return view
    new = Happening(
        decision=at.decision,
        step=at.step,
        event=event,
        ending=ending,
        evidence=evidence if ending is not None and ending.judged else None,
        source=source,
    )
    return replace(view, happenings=_listed(view.happenings, new))


def _listed(known: tuple[Happening, ...], new: Happening) -> tuple[Happening, ...]:
    """Add a happening; in place of the one before, where it says the same again, or says more."""
    last = known[-1] if known else None
    if last is None or not isinstance(last.event, Blocked):
        return (*known, new)[-REMEMBERED:]
    if last.event == new.event and new.decision - last.decision <= 1:
        return (*known[:-1], replace(new, times=last.times + 1))
    reasons = {reason.value for reason in last.event.reasons}
    explained = isinstance(new.event, Restored) and new.event.symptom in reasons
    kept = known[:-1] if explained and last.decision == new.decision else known
    return (*kept, new)[-REMEMBERED:]


_RULES: dict[type[Event], Callable[[View, Line, Any], View]] = {
    Opened: _open,
    Observed: _observe,
    LookAhead: _look,
    Blocked: _block,
    Command: _obey,
}
