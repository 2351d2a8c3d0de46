"""Why a decision came out as it did, from the log alone."""

from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gptune.cli.chart import chart
from gptune.cli.place import read_log, run_of, split_run
from gptune.errors import UsageError
from gptune.events import (
    Applied,
    Blocked,
    Failed,
    Line,
    Observed,
    Opened,
    Proposed,
    Suggested,
)
from gptune.printable import printable
from gptune.records import (
    Categorical,
    Change,
    Evidence,
    Parameter,
    Reason,
    Scalar,
    show,
    show_change,
)
from gptune.run_directory.changes import BY_HAND, Course, Ending, advance
from gptune.run_directory.event_log import effective
from gptune.run_directory.exports import observations
from gptune.run_directory.summary import Summary, fold
from gptune.run_directory.summary import to_plain as summary_to_plain
from gptune.run_directory.words import MEANINGS, line_of, number

GAINS = 10  # how many of the gains that the proposer was told are shown


class Explanation(Struct, frozen=True, kw_only=True):
    """All that the log says of one decision.

    Attributes:
        number: The decision.
        before: Where the run stood before it.
        observed: What was reported.
        judged: How an earlier change ended here.
        told: What the proposer was told up to here, the newest last.
        proposed: What it proposed.
        blocked: Why nothing was done.
        tried: What was made of the proposal: ``suggested``, ``applied`` or ``failed``.
        later: How the change that was made here ended.
        later_at: The decision at which it did.
        spaces: Where the moves of the knobs lie.
        lines: The lines of this decision, and those between it and the next.
    """

    number: int
    before: Summary
    observed: Observed
    judged: Ending | None
    told: list[dict[str, Any]]
    proposed: Proposed | None
    blocked: tuple[Blocked, ...]
    tried: Suggested | Applied | Failed | None
    later: Ending | None
    later_at: int | None
    spaces: dict[str, Parameter]
    lines: list[Line]


def explain(args: Namespace) -> int:
    """Say why a decision came out as it did."""
    named, words = split_run(args.words, 1)
    if len(words) != 1 or not words[0].isdecimal():
        given = " ".join(words)
        raise UsageError(f"N: must be the number of one decision, got {given!r}; e.g. 12")
    found = gather(read_log(run_of(args, named)), int(words[0]))
    text = msgspec.json.encode(to_plain(found)).decode() if args.json else tell(found)
    print(printable(text))
    return 0


def gather(lines: Iterable[Line], number: int) -> Explanation:
    """Find all that a log says of a decision.

    Raises:
        UsageError: If there is no such decision.
    """
    known = effective(lines)
    at = [n for n, line in enumerate(known) if isinstance(line.event, Observed)]
    numbers = [known[n].envelope.decision for n in at]
    if number not in numbers:
        there = f"from {numbers[0]} to {numbers[-1]}" if numbers else "none yet"
        raise UsageError(f"N: there is no decision {number}; the log holds {there}")
    first = at[numbers.index(number)]
    mine = [line for line in known[first:] if line.envelope.decision == number]
    before, judged, later, later_at = _endings(known, first, number)
    proposed = [
        line.event
        for line in mine
        if isinstance(line.event, Proposed) and line.event.source not in BY_HAND
    ]
    tried = [line.event for line in mine if isinstance(line.event, Suggested | Applied | Failed)]
    observed = known[first].event
    assert isinstance(observed, Observed)
    return Explanation(
        number=number,
        before=before,
        observed=observed,
        judged=judged,
        told=[row for row in observations(known) if row["decision"] <= number][-GAINS:],
        proposed=proposed[0] if proposed else None,
        blocked=tuple(line.event for line in mine if isinstance(line.event, Blocked)),
        tried=tried[0] if tried and proposed else None,
        later=later,
        later_at=later_at,
        spaces=_spaces(known[:first]),
        lines=mine,
    )


def to_plain(found: Explanation) -> dict[str, Any]:
    """Give an explanation as plain data; lines as they stand in the log, less the checksums."""
    plain: dict[str, Any] = msgspec.to_builtins(replace(found, lines=[]))
    events = [(line, msgspec.to_builtins(line.event)) for line in found.lines]
    lines = [{"seq": line.envelope.seq, **event, "wall": line.wall} for line, event in events]
    return {**plain, "before": summary_to_plain(found.before), "lines": lines}


def tell(found: Explanation) -> str:
    """Write an explanation for people."""
    at = found.lines[0].envelope
    sections = {
        "observed": _observed(found),
        "judged": _judged(found),
        f"told to the proposer so far (the last {GAINS}; gains over the forecast)": _told(found),
        "proposed": _proposed(found),
        "what came of it": _outcome(found),
        "written (line, time UTC, decision, step, kind)": [line_of(line) for line in found.lines],
    }
    text = [f"decision {found.number} at step {at.step}, phase {at.phase}"]
    for title, rows in sections.items():
        text += ["", title, *(f"  {row}".rstrip() for row in rows)] if rows else []
    return "\n".join(text)


def _endings(
    lines: Sequence[Line], first: int, number: int
) -> tuple[Summary, Ending | None, Ending | None, int | None]:
    """Give where the run stood, what ended at a decision, and how what it made ended, and when."""
    before, course = Summary(), Course()
    judged: Ending | None = None
    later: Ending | None = None
    later_at: int | None = None
    for place, line in enumerate(lines):
        before = fold(before, line) if place < first else before
        course, _, ending = advance(course, line)
        at = line.envelope.decision
        if ending is not None and ending.trial.decision == number:
            later, later_at = ending, at
        elif ending is not None and at == number and judged is None:
            judged = ending
    return before, judged, later, later_at


def _spaces(lines: Iterable[Line]) -> dict[str, Parameter]:
    """Read where the moves of the knobs lie, as it was last said."""
    spaces: dict[str, Parameter] = {}
    for line in lines:
        if isinstance(line.event, Opened):
            known = {f: knob.get("space") for f, knob in line.event.knobs.items()}
            spaces |= msgspec.convert(known, dict[str, Parameter])
    return spaces


def _observed(found: Explanation) -> list[str]:
    seen, run = found.observed, found.before
    rows = [f"{run.objective or 'metric'} {number(seen.metric)} ({run.direction})"]
    rows += [f"{name} {number(value)}" for name, value in seen.metrics.items()]
    if seen.forecast is not None:
        rows.append(f"forecast {number(seen.forecast)} +/- {number(seen.deviation)}")
    if seen.evidence is not None:
        rows.append(_weighed(seen.evidence))
    for family, reading in seen.knobs.items():
        values = f"(schedule {_shown(reading.scheduled)}, used {_shown(reading.effective)})"
        lost = f", but {MEANINGS[reading.lost]}" if reading.lost else ""
        rows.append(f"{family} {show(reading.move)} {values}{lost}")
    return rows


def _weighed(evidence: Evidence) -> str:
    said = f"gain {number(evidence.gain)} +/- {number(evidence.deviation)} (larger is better)"
    if evidence.penalty:
        said += f", less a penalty of {number(evidence.penalty)} for the backup metrics"
    if evidence.probability is not None:
        said += f", P(gain) {evidence.probability:.3f}"
    if evidence.regressions:
        said += f", {evidence.regressions} regressions in a row"
    return said


def _shown(value: Scalar | None) -> str:
    return "-" if value is None else show(value)


def _judged(found: Explanation) -> list[str]:
    ending = found.judged
    if ending is None:
        return []
    trial = ending.trial
    return [f"{_moves(trial.changes)}, made at decision {trial.decision}: {_verdict(ending)}"]


def _verdict(ending: Ending) -> str:
    reasons = ending.reasons
    if ending.verdict == "accepted":
        reasons = (Reason.GAIN,) if ending.judged else (Reason.OPERATOR,)
    why = "; ".join(MEANINGS[reason] for reason in reasons) or "it could not be put back"
    chance = "" if ending.probability is None else f" (P(gain) {ending.probability:.3f})"
    return f"{ending.verdict}{chance}: {why}"


def _told(found: Explanation) -> list[str]:
    return [
        f"decision {row['decision']:>4}  {number(row['gain']):>10} "
        f"+/- {number(row['deviation']):<9}  {_point(row['point'])}  "
        f"{row['verdict'] or 'no change'}"
        for row in found.told
    ]


def _point(point: dict[str, Scalar]) -> str:
    return ", ".join(f"{family} {show(move)}" for family, move in point.items())


def _proposed(found: Explanation) -> list[str]:
    made = found.proposed
    if made is None:
        return [f"nothing: {_why_not(found)}"]
    rows = [f"{_moves(made.changes)}, from {SOURCES.get(made.source, made.source)}"]
    if made.mean is not None:
        rows.append(
            f"believed, in units of the model: {number(made.mean)} +/- {number(made.deviation)}, "
            f"criterion {number(made.criterion)}"
        )
    for name, values in made.hyperparameters.items():
        rows.append(f"{name} {' '.join(number(value) for value in values)}")
    for change in made.changes:
        curve, space = made.slices.get(change.family), found.spaces.get(change.family)
        if curve is not None and space is not None and not isinstance(space, Categorical):
            rows += ["", *chart(curve, space, change)]
    return rows


def _why_not(found: Explanation) -> str:
    """Say why nothing was proposed; what waits is not logged, but follows from what is."""
    if found.blocked:
        reasons = dict.fromkeys(reason for event in found.blocked for reason in event.reasons)
        return "; ".join(MEANINGS[reason] for reason in reasons)
    run, trial = found.before, found.before.course.trial
    waits = trial is not None and found.judged is None
    held = {
        f"mode {run.mode} proposes nothing": run.mode not in ("active", "suggest"),
        f"{_moves(trial.changes) if trial else ''} was still being judged": waits,
        MEANINGS[Reason.PAUSED]: run.paused,
        MEANINGS[Reason.NO_FORECAST]: found.observed.forecast is None,
    }
    rest = "the knobs were resting, or the phase, the warm-up or search.every held them"
    return next((why for why, holds in held.items() if holds), rest)


def _outcome(found: Explanation) -> list[str]:
    rows = []
    match found.tried:
        case Applied():
            held = ", ".join(f"{f} = {show(v)}" for f, v in found.tried.read_back.items())
            rows.append(f"applied, and read back: {held}")
        case Suggested():
            rows.append("suggested: mode suggest applies nothing")
        case Failed():
            why = "; ".join(MEANINGS[reason] for reason in found.tried.reasons)
            rows.append(f"failed: {why} ({found.tried.message})")
    if found.tried is None and found.proposed is not None:
        rows.append(f"not applied: {_why_not(found) if found.blocked else 'see below'}")
    if isinstance(found.tried, Applied):
        ended = found.later and f"at decision {found.later_at} {_verdict(found.later)}"
        rows.append(ended or "not judged yet")
    return rows


def _moves(changes: Iterable[Change]) -> str:
    return ", ".join(show_change(change) for change in changes)


SOURCES = {
    "startup": "the first trials, which look around",
    "gp": "the Gaussian process",
    "random": "chance, as search.algorithm wants",
    "fallback": "chance, for the model could not be fitted",
    "deadline": "a search that was cut short by its deadline",
}
