"""Where a run stands, folded from its log: the content of ``summary.json``."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gptune.configs.knobs import NEUTRAL
from gptune.events import (
    Closed,
    Command,
    Event,
    Failed,
    KnobReading,
    Line,
    ModeChanged,
    Observed,
    Opened,
    Paused,
    RollbackFailed,
    Unpaused,
)
from gptune.records import Change, Reason, Scalar
from gptune.run_directory.changes import Course, Ending, advance
from gptune.run_directory.event_log import effective
from gptune.run_directory.file_system import FileSystem
from gptune.run_directory.names import SUMMARY
from gptune.run_directory.summary_file import VERSION


class Tally(Struct, frozen=True, kw_only=True):
    """What became of the trials of one knob in one phase.

    Attributes:
        judged: Trials that the gate judged.
        accepted: Those of them that it accepted.
        mean: Mean of the accepted moves; of their logarithms on a log scale.
        squares: Sum of their squared distances from the mean (Welford, 1962).
        last: The move that was accepted last.
        choices: Accepted choice, as text -> how often.
    """

    judged: int = 0
    accepted: int = 0
    mean: float = 0.0
    squares: float = 0.0
    last: float | None = None
    choices: dict[str, int] = {}


class Mark(Struct, frozen=True):
    """A value of the objective, as reported, and when."""

    metric: float
    decision: int
    step: int


class Times(Struct, frozen=True, kw_only=True):
    """Wall time, and the process that spends it.

    Attributes:
        first: When the first line was written [s since 1970].
        last: When the last one was [s since 1970].
        began: When the newest process wrote its first line [s since 1970].
        before: What the processes before it took [s].
        pid: Of the newest process.
        host: Where that runs.
    """

    first: float | None = None
    last: float | None = None
    began: float | None = None
    before: float = 0.0
    pid: int | None = None
    host: str | None = None


class Summary(Struct, frozen=True, kw_only=True):
    """Where a run stands. Bounded, however long the run is.

    Attributes:
        seq: Number of the last line.
        mode: What gptune may do now.
        objective: Name of the metric.
        direction: min | max.
        seed: Of all of gptune's own chance.
        versions: Of the libraries.
        total_steps: Of the whole run [steps], if known.
        decision: Number of the last decision.
        step: Optimizer steps counted at the last line [steps].
        phase: The phase then.
        metric: The objective as last reported; ``None`` when that was no finite number.
        best: Its best value, by the direction.
        counts: Kind of event -> lines.
        judged: Trials that the gate judged.
        accepted: Those of them that it accepted.
        tallies: Family -> phase in which it was moved -> what became of it.
        scales: Family -> log | linear | choice: how its moves are averaged.
        point: The move in force of every knob.
        knobs: Where every knob stood at the last decision.
        paused: Whether tuning is paused.
        paused_until: Number of the last decision of the pause; ``None`` = until resumed.
        rejects: Rejects in a row.
        quarantined: Families that failed and are left alone.
        pinned: Families that an operator keeps where they are.
        closed: Whether the last line says that the run was closed.
        course: What is being tried.
        times: Wall time.
    """

    seq: int = 0
    mode: str = ""
    objective: str = ""
    direction: str = "min"
    seed: int = 0
    versions: dict[str, str] = {}
    total_steps: int | None = None
    decision: int = 0
    step: int = 0
    phase: str = ""
    metric: float | None = None
    best: Mark | None = None
    counts: dict[str, int] = {}
    judged: int = 0
    accepted: int = 0
    tallies: dict[str, dict[str, Tally]] = {}
    scales: dict[str, str] = {}
    point: dict[str, Scalar] = {}
    knobs: dict[str, KnobReading] = {}
    paused: bool = False
    paused_until: int | None = None
    rejects: int = 0
    quarantined: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    closed: bool = False
    course: Course = Course()
    times: Times = Times()


def fold(summary: Summary, line: Line) -> Summary:
    """Take note of one more line. Pure, and as fast late in a run as early.

    A ``rewind`` takes lines back, which folding cannot: `summarize` the whole log after one.
    """
    return _pass_time(_read(summary, line), line)


def summarize(lines: Iterable[Line]) -> Summary:
    """Say where a run stands, given its whole log.

    What a ``rewind`` superseded counts for nothing but the time that it took.
    """
    lines, summary = list(lines), Summary()
    for line in effective(lines):
        summary = _read(summary, line)
    for line in lines:
        summary = _pass_time(summary, line)
    return summary


def write_summary(files: FileSystem, directory: Path, summary: Summary) -> None:
    """Write ``summary.json``, whole or not at all.

    Raises:
        OSError: If the disk fails.
    """
    files.replace(directory / SUMMARY, msgspec.json.encode(to_plain(summary)) + b"\n")


def to_plain(summary: Summary) -> dict[str, Any]:
    """Give a summary as JSON holds it: rates worked out, ``None`` for what is not finite."""
    plain: dict[str, Any] = {"version": VERSION}
    plain |= {n: getattr(summary, n) for n in summary.__struct_fields__ if n not in _WORKED_OUT}
    plain["accept_rate"] = _ratio(summary.accepted, summary.judged)
    plain["families"] = {
        family: {
            phase: _describe(tally, summary.scales.get(family, "choice"))
            for phase, tally in phases.items()
        }
        for family, phases in summary.tallies.items()
    }
    trial, times = summary.course.trial, summary.times
    plain["open"] = trial.id if trial else None
    plain |= {"first": times.first, "last": times.last, "seconds": seconds(times)}
    plain |= {"pid": times.pid, "host": times.host}
    checked: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(plain))
    return checked


def seconds(times: Times) -> float:
    """Give the time that the processes of a run have spent [s], each from first line to last."""
    if times.began is None or times.last is None:
        return times.before
    return times.before + max(0.0, times.last - times.began)


_WORKED_OUT = {"tallies", "course", "times"}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _describe(tally: Tally, scale: str) -> dict[str, Any]:
    counts = {"judged": tally.judged, "accepted": tally.accepted}
    plain = {**counts, "win_rate": _ratio(tally.accepted, tally.judged), "scale": scale}
    if scale == "choice":
        return {**plain, "choices": tally.choices}
    if not tally.accepted:
        return {**plain, "mean": None, "spread": None, "last": None}
    mean = math.exp(tally.mean) if scale == "log" else tally.mean
    spread = math.sqrt(tally.squares / tally.accepted)
    return {**plain, "mean": mean, "spread": spread, "last": tally.last}


def _pass_time(summary: Summary, line: Line) -> Summary:
    seq, times, wall = line.envelope.seq, summary.times, line.wall
    now = wall.get("time")
    if not isinstance(now, int | float):
        return replace(summary, seq=seq)
    if "pid" in wall or times.began is None:  # the first line of a process names it
        spent = seconds(times)
        times = replace(times, began=now, before=spent, pid=wall.get("pid"), host=wall.get("host"))
    first = now if times.first is None else times.first
    return replace(summary, seq=seq, times=replace(times, first=first, last=now))


def _read(summary: Summary, line: Line) -> Summary:
    """Take note of all but the time."""
    at, event = line.envelope, line.event
    course, moved, ending = advance(summary.course, line)
    kind = str(event.__struct_config__.tag)
    summary = replace(
        summary,
        decision=at.decision,
        step=at.step,
        phase=at.phase,
        counts={**summary.counts, kind: summary.counts.get(kind, 0) + 1},
        point={**summary.point, **{c.family: c.new for c in moved}} if moved else summary.point,
        closed=isinstance(event, Closed),
        course=course,
    )
    if ending is not None and ending.judged:
        summary = _judge(summary, ending)
    rule = _RULES.get(type(event))
    return rule(summary, event) if rule else summary


def _judge(summary: Summary, ending: Ending) -> Summary:
    won, trial = ending.verdict == "accepted", ending.trial
    tallies = dict(summary.tallies)
    for change in trial.changes:
        phases = tallies.get(change.family, {})
        scale = summary.scales.get(change.family, "choice")
        tally = _count(phases.get(trial.phase, Tally()), change if won else None, scale)
        tallies[change.family] = {**phases, trial.phase: tally}
    rejects = summary.rejects + (Reason.NOT_LIVE not in ending.reasons)
    return replace(
        summary,
        judged=summary.judged + 1,
        accepted=summary.accepted + won,
        tallies=tallies,
        rejects=0 if won else rejects,
    )


def _count(tally: Tally, accepted: Change | None, scale: str) -> Tally:
    tally = replace(tally, judged=tally.judged + 1)
    if accepted is None:
        return tally
    number, move = tally.accepted + 1, accepted.new
    if scale == "choice":
        choices = {**tally.choices, str(move): tally.choices.get(str(move), 0) + 1}
        return replace(tally, accepted=number, choices=choices)
    place = math.log(float(move)) if scale == "log" else float(move)
    mean = tally.mean + (place - tally.mean) / number
    squares = tally.squares + (place - tally.mean) * (place - mean)
    return replace(tally, accepted=number, mean=mean, squares=squares, last=float(move))


def _open(summary: Summary, event: Opened) -> Summary:
    """A process began, or a knob was added; the first one, or what it carried, sets the mode."""
    objective = event.recipe.get("objective", {})
    knobs = event.knobs.items()
    starts = {f: NEUTRAL.get(knob["mutation"]["mode"], knob["base"]) for f, knob in knobs}
    carried = event.carried
    if carried is not None:
        held = {n: getattr(carried, n) for n in carried.__struct_fields__ if n != "overrides"}
        summary = replace(summary, **held)
    return replace(
        summary,
        mode=summary.mode or str(event.recipe.get("mode", "")),
        objective=objective.get("primary", ""),
        direction=objective.get("mode", "min"),
        seed=event.seed,
        versions=event.versions,
        total_steps=event.total_steps,
        scales={**summary.scales, **{f: _scale(knob) for f, knob in knobs}},
        point={**starts, **summary.point},
    )


def _scale(knob: Mapping[str, Any]) -> str:
    if knob["space"]["type"] == "categorical":
        return "choice"
    return "log" if knob["mutation"]["mode"] == "mult" else "linear"


def _observe(summary: Summary, event: Observed) -> Summary:
    metric = event.metric
    moves = {family: reading.move for family, reading in event.knobs.items()}
    summary = replace(summary, knobs=event.knobs, point={**summary.point, **moves}, metric=None)
    if not isinstance(metric, float) or not math.isfinite(metric):
        return summary
    best, sign = summary.best, -1.0 if summary.direction == "min" else 1.0
    if best is None or sign * metric > sign * best.metric:
        best = Mark(metric, summary.decision, summary.step)
    return replace(summary, metric=metric, best=best)


def _pause(summary: Summary, event: Paused) -> Summary:
    """A longer pause is never shortened."""
    until, before = None, summary.paused_until
    if event.decisions is not None and (not summary.paused or before is not None):
        until = max(summary.decision + event.decisions, before or 0)
    return replace(summary, paused=True, paused_until=until)


def _unpause(summary: Summary, event: Unpaused) -> Summary:
    return replace(summary, paused=False, paused_until=None, rejects=0)


def _mode(summary: Summary, event: ModeChanged) -> Summary:
    return replace(summary, mode=event.new)


def _fail(summary: Summary, event: Failed | RollbackFailed) -> Summary:
    """Leave alone what broke: what could not be put back, and the knob that the message names."""
    broken = set(event.families)
    if isinstance(event, Failed):
        broken = {f for f in broken if event.message.startswith(f"{f}: ")}
        broken = broken if _BREAKING.intersection(event.reasons) else set()
    return replace(summary, quarantined=tuple(sorted(broken.union(summary.quarantined))))


_BREAKING = {Reason.ACTUATOR_FAILED, Reason.READ_BACK_DIFFERS}


def _command(summary: Summary, event: Command) -> Summary:
    family = event.arguments.get("family")
    if event.accepted and event.verb in ("accept", "reject", "resume"):
        return replace(summary, rejects=summary.rejects + 1 if event.verb == "reject" else 0)
    if not event.accepted or event.verb not in ("pin", "unpin") or not isinstance(family, str):
        return summary
    others = {pinned for pinned in summary.pinned if pinned != family}
    pinned = others | {family} if event.verb == "pin" else others
    return replace(summary, pinned=tuple(sorted(pinned)))


_RULES: dict[type[Event], Callable[[Summary, Any], Summary]] = {
    Opened: _open,
    Observed: _observe,
    Paused: _pause,
    Unpaused: _unpause,
    ModeChanged: _mode,
    Failed: _fail,
    RollbackFailed: _fail,
    Command: _command,
}
