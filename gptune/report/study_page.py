"""The page of a study."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gptune.plots.axes import Axis, axis_of
from gptune.plots.style import note_of, shortened, thinned
from gptune.plots.subject import Subject, is_complete
from gptune.records import show
from gptune.report.drawing import Point, Scale, dot, line, scale_of
from gptune.report.page import render
from gptune.report.panel import Layer, Panel, axis, spread
from gptune.study.domains import Fixed
from gptune.study.records import StudyRecord, TrialRecord, TrialState

ROWS, CELLS = 1000, 8000  # trials that are shown, and all that their table says of them
LINES, CURVES = 300, 120  # that a figure shows: more hide each other
DOTS = 2500  # of all slices
REPORTS = 60  # of one trial, that its curve shows
PARAMETERS = 16  # that have a figure, the most important or the first
TICKS = 8  # words on the axis of a choice
LONGEST = 120  # letters of an error
NAMED, FEW = 40, 5  # letters of a value, names in a sentence
STATES = ("complete", "pruned", "failed", "running", "waiting")

Importance = Mapping[str, Mapping[str, float]]  # parameter -> first, total: Sobol indices


def study_report(
    record: StudyRecord,
    trials: Sequence[TrialRecord],
    importance: Importance | None = None,
    why_not: str = "",
) -> str:
    """Write the page of a study.

    Args:
        record: The study.
        trials: All of its trials.
        importance: Parameter -> ``first`` and ``total``, as `Study.importance` gives them.
        why_not: Why there is no importance.

    Returns:
        One HTML document that needs nothing else.
    """
    ordered = sorted(trials, key=lambda trial: trial.number)
    whole = _subject(record, ordered)
    best = whole.best(ordered)
    subject = replace(whole, trials=_chosen(whole, best))
    names = _names(subject, importance or {})
    return render(
        "study.html",
        name=shortened(record.name),
        subtitle=_subtitle(record, ordered),
        headlines=_headlines(whole, best),
        facts=_facts(ordered, best),
        best=[] if best is None else [(_cut(n), _cut(show(v))) for n, v in best.params.items()],
        history=_history(subject, best, _so_far(whole)),
        slices=[_slice(subject, name, best, len(names)) for name in names],
        importance=[(_cut(n), o["total"], o["first"]) for n, o in (importance or {}).items()],
        why_not=why_not,
        coordinates=_coordinates(subject, names, best),
        curves=_curves(subject, best),
        rows=[_row(subject, trial, is_best=trial is best) for trial in subject.trials],
        there=len(ordered),
        columns=[_cut(name) for name in subject.space],
        recipe=_recipe(record, subject),
    )


def _subject(record: StudyRecord, trials: Sequence[TrialRecord]) -> Subject:
    space = {name: domain for trial in trials for name, domain in trial.space.items()}
    return Subject(
        "report", record.name, record.direction, {**(record.space or {}), **space}, trials
    )


def _names(subject: Subject, importance: Importance) -> list[str]:
    """Choose the parameters that have figures: several values, the most important first."""
    several = [n for n, one in subject.space.items() if not isinstance(one, Fixed)]
    ranks = {name: rank for rank, name in enumerate(importance)}
    return sorted(several, key=lambda name: ranks.get(name, len(ranks)))[:PARAMETERS]


def _subtitle(record: StudyRecord, trials: Sequence[TrialRecord]) -> str:
    counts = Counter(trial.state.value for trial in trials)
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"to {record.direction}", told or "no trials yet", when]
    return " \N{MIDDLE DOT} ".join(parts)


def _headlines(subject: Subject, best: TrialRecord | None) -> list[str]:
    complete = [trial for trial in subject.trials if is_complete(trial)]
    if best is None or best.value is None:
        return ["No trial is complete yet: there is nothing to choose from."]
    of = "one complete trial" if len(complete) == 1 else f"{len(complete)} complete trials"
    said = [f"The best of {of} is number {best.number}: {show(best.value)}."]
    others = sorted((trial.value or 0.0 for trial in complete), key=lambda v: -subject.sign * v)
    if len(others) > 1:
        said.append(
            f"The second best came to {show(others[1])}, the median to "
            f"{show(others[len(others) // 2])}."
        )
    edges = [name for name, value in best.params.items() if _is_at_edge(subject, name, value)]
    if edges:
        named = ", ".join(map(shortened, edges[:FEW]))
        more = f" and {len(edges) - FEW} more" if len(edges) > FEW else ""
        said.append(
            f"It lies at an end of the range of {named}{more}: a wider range may hold better."
        )
    said.append(
        "The best of many values looks better than it is where the objective is noisy: "
        "gptune study validate runs it again."
    )
    return said


def _is_at_edge(subject: Subject, name: str, value: object) -> bool:
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        return False
    known = axis_of(name, subject.space[name], [value])
    if known.choices or known.low == known.high or isinstance(subject.space[name], Fixed):
        return False
    here, (low, high) = known.coordinates([value])[0], known.ends
    return min(here - low, high - here) < 0.005 * (high - low) and not isinstance(value, int)


def _facts(trials: Sequence[TrialRecord], best: TrialRecord | None) -> list[tuple[str, str]]:
    spent = [trial.seconds for trial in trials if trial.seconds is not None]
    median = sorted(spent)[len(spent) // 2] if spent else math.nan
    return [
        ("best", "-" if best is None or best.value is None else show(best.value)),
        ("of trial", "-" if best is None else str(best.number)),
        ("trials", str(len(trials))),
        ("time of all trials", f"{sum(spent):.4g} s"),
        ("median trial", f"{median:.3g} s" if spent else "-"),
    ]


def _height(trial: TrialRecord) -> float | None:
    """Give where a trial stands: its value, or what it reported last before it was pruned."""
    value = trial.last if trial.state is TrialState.PRUNED else trial.value
    return value if value is not None and math.isfinite(value) else None


def _chosen(whole: Subject, best: TrialRecord | None) -> list[TrialRecord]:
    """Choose the trials that the page shows: all, or of too many some evenly, and the best."""
    most = max(100, min(ROWS, CELLS // (len(whole.space) + 5)))
    trials = list(whole.trials)
    if len(trials) <= most:
        return trials
    complete = [n for n, trial in enumerate(trials) if is_complete(trial)]
    complete.sort(key=lambda n: -whole.sign * (trials[n].value or 0.0))
    return thinned(trials, most * 2 // 3, complete[: most // 3])


def _history(subject: Subject, best: TrialRecord | None, so_far: Sequence[Point]) -> Panel:
    drawn = [t for t in subject.trials if t.state.is_finished or t.reports]
    last = max((trial.number for trial in subject.trials), default=1)
    x = Scale(-0.5, last + 0.5)
    y = scale_of((h for trial in drawn if (h := _height(trial)) is not None), cut=True)
    layers = [_point(trial, x, y, best) for trial in drawn]
    return Panel(
        title=subject.objective,
        across=axis(x),
        up=axis(y),
        label="trial",
        layers=(*layers, Layer("so-far", line(thinned(so_far, 200), x, y), name="best so far")),
        height=280,
    )


def _so_far(subject: Subject) -> list[Point]:
    best: TrialRecord | None = None
    corners: list[Point] = []
    for trial in subject.trials:
        if is_complete(trial) and subject.better(trial, best):
            if best is not None:
                corners.append((trial.number, best.value))
            corners.append((trial.number, trial.value))
            best = trial
    return [*corners, (subject.trials[-1].number, best.value)] if best is not None else []


def _point(trial: TrialRecord, x: Scale, y: Scale, best: TrialRecord | None) -> Layer:
    height = _height(trial)
    at = (x.share(trial.number), 0.0 if height is None else y.share(height))
    kind = f"point {trial.state.value}{' top' if trial is best else ''}"
    name = "best" if trial is best else trial.state.value
    return Layer(kind, dot(at), key=trial.number, name=name)


def _slice(subject: Subject, name: str, best: TrialRecord | None, count: int) -> Panel:
    """Draw the values over one of some parameters."""
    complete = [t for t in subject.trials if is_complete(t) and name in t.params]
    keep = [complete.index(best)] if best in complete and best is not None else []
    drawn = thinned(complete, max(100, DOTS // count), keep)
    known = _axis(subject, name)
    low, high = _ends(known)
    y = scale_of((trial.value or 0.0 for trial in drawn), cut=True)
    layers = []
    for trial in sorted(drawn, key=lambda one: one is best):
        at = (known.coordinates([trial.params[name]])[0] - low) / (high - low)
        kind = f"point complete{' top' if trial is best else ''}"
        layers.append(Layer(kind, dot((at, y.share(trial.value or 0.0))), key=trial.number))
    return Panel(
        title=_cut(name),
        note=note_of(len(drawn), len(complete)),
        across=_ticks(known),
        up=axis(y),
        layers=tuple(layers),
        height=190,
    )


def _axis(subject: Subject, name: str) -> Axis:
    values = [trial.params[name] for trial in subject.trials if name in trial.params]
    return axis_of(name, subject.space[name], values)


def _ends(known: Axis) -> tuple[float, float]:
    low, high = known.ends
    room = 0.5 if known.choices else 0.04 * (high - low) or 0.5
    return low - room, high + room


def _ticks(known: Axis) -> tuple[tuple[float, str], ...]:
    (low, high), (at, texts) = _ends(known), known.ticks()
    shares = [(place - low) / (high - low) for place in at]
    inside = [(s, t) for s, t in zip(shares, texts, strict=True) if 0 <= s <= 1]
    return spread(inside, TICKS)


def _coordinates(
    subject: Subject, names: Sequence[str], best: TrialRecord | None
) -> dict[str, Any] | None:
    """Draw every complete trial as a line through the axes of its parameters, to its value."""
    complete = [trial for trial in subject.trials if is_complete(trial)]
    if not complete or not names:
        return None
    ranked = sorted(complete, key=lambda trial: subject.sign * (trial.value or 0.0))
    drawn = thinned(ranked, LINES, [ranked.index(best)] if best is not None else [])
    known = [_axis(subject, name) for name in names]
    y = scale_of(trial.value or 0.0 for trial in drawn)
    unit, last = Scale(0.0, 1.0), len(names)
    lines = []
    for rank, trial in enumerate(drawn):
        at = [_share(one, trial) for one in known] + [y.share(trial.value or 0.0)]
        path = line([(n / last, share) for n, share in enumerate(at)], unit, unit)
        # the better, the stronger: a tenth of them stand out
        strength = 1.0 if trial is best else 0.12 + 0.5 * (rank / len(drawn)) ** 6
        kind = f"coordinate{' top' if trial is best else ''}"
        shares = "[" + ",".join(str(round(share * 1000)) for share in at) + "]"
        layer = Layer(kind, path, key=trial.number)
        lines.append({"layer": layer, "at": shares, "strength": strength})
    lacks = [any(name not in trial.params for trial in drawn) for name in names]
    axes = [
        (_cut(one.name), n / last, (*([(0.0, "absent")] if gap else []), *_ticks(one)))
        for n, (one, gap) in enumerate(zip(known, lacks, strict=True))
    ]
    return {
        "lines": lines,
        "axes": [*axes, ("objective", 1.0, axis(y))],
        "note": note_of(len(drawn), len(complete)),
    }


def _share(known: Axis, trial: TrialRecord) -> float:
    """Give a trial's place on an axis; without the parameter it lies at the lower edge."""
    if known.name not in trial.params:
        return 0.0
    low, high = _ends(known)
    return (known.coordinates([trial.params[known.name]])[0] - low) / (high - low)


def _curves(subject: Subject, best: TrialRecord | None) -> Panel | None:
    """Draw what trials reported over their steps."""
    trials = [t for t in subject.trials if len(_points(t)) > 1]
    if not trials:
        return None
    drawn = thinned(trials, CURVES, [trials.index(best)] if best in trials and best else [])
    curves = {trial.number: thinned(_points(trial), REPORTS) for trial in drawn}
    steps = [step for curve in curves.values() for step, _ in curve]
    x = Scale(min(steps), max(*steps, min(steps) + 1))
    y = scale_of((v for curve in curves.values() for _, v in curve if v is not None), cut=True)
    drawn.sort(key=lambda trial: (trial is best, trial.state is TrialState.COMPLETE))
    return Panel(
        title="Learning curves",
        note=note_of(len(drawn), len(trials), "trials that reported"),
        across=axis(x),
        up=axis(y),
        label="step",
        layers=tuple(
            Layer(
                f"curve {trial.state.value}{' top' if trial is best else ''}",
                line(curves[trial.number], x, y),
                key=trial.number,
                name="best" if trial is best else trial.state.value,
            )
            for trial in drawn
        ),
        height=280,
    )


def _points(trial: TrialRecord) -> list[Point]:
    return [(float(s), v) for s, v in sorted(trial.reports.items()) if math.isfinite(v)]


def _row(subject: Subject, trial: TrialRecord, *, is_best: bool) -> dict[str, Any]:
    """Make a row of the table, which also says what a trial is where the mouse points at it."""
    return {
        "number": trial.number,
        "is_best": is_best,
        "state": trial.state.value,
        "value": "" if trial.value is None else show(trial.value),
        "params": [_cut(show(trial.params[n])) if n in trial.params else "" for n in subject.space],
        "seconds": "" if trial.seconds is None else f"{trial.seconds:.3g}",
        "error": _cut(trial.error.splitlines()[0], LONGEST) if trial.error else "",
    }


def _cut(text: str, most: int = NAMED) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _recipe(record: StudyRecord, subject: Subject) -> list[tuple[str, str]]:
    rows = [("seed", str(record.seed)), ("direction", record.direction)]
    return rows + [(_cut(name), _domain(domain)) for name, domain in subject.space.items()]


def _domain(domain: Any) -> str:
    fields = {name: getattr(domain, name) for name in domain.__struct_fields__}
    told = ", ".join(f"{name} {value}" for name, value in fields.items() if value is not False)
    return _cut(f"{type(domain).__name__.lower()}: {told}", LONGEST)
