"""The figures of a run: the metric above, every knob below, on one axis of steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gptune.configs.knobs import Knob
from gptune.plots.style import note_of, shortened
from gptune.plots.style import thinned as evenly
from gptune.records import Categorical, Float, Integer, Scalar, show
from gptune.report.drawing import (
    MOST,
    Place,
    Point,
    Scale,
    band,
    dot,
    line,
    scale_of,
    thinned,
)
from gptune.report.moves import Move
from gptune.report.panel import Layer, Mark, Panel, Span, axis, spread
from gptune.report.run import Run, Sample, finite
from gptune.report.says import STATES, move_says

POINTS, SIGNS = 9000, 1000  # of all figures of a page
MARKS, LINES = 400, 160  # signs in a figure, and lines that cross it
FEWEST = 40  # points, or signs, of a figure among many
DECADES = 30.0  # times the smallest, or the largest, value used that a knob's axis goes beyond it
CHOICES = 8  # words on the axis of a choice


@dataclass(frozen=True, slots=True)
class Detail:
    """How much of a long run a figure shows: the more figures on a page, the less.

    Attributes:
        figures: How many figures the page has.
    """

    figures: int = 1

    @property
    def points(self) -> int:
        """Of a line."""
        return max(FEWEST, min(MOST, POINTS // self.figures))

    @property
    def signs(self) -> int:
        """Of all kinds together."""
        return max(FEWEST, min(MARKS, SIGNS // self.figures))

    @property
    def crossings(self) -> int:
        """Lines that cross a figure where something was done."""
        return min(LINES, self.signs)


def steps_of(runs: Iterable[Run]) -> Scale:
    """Make the axis of steps of one run, or of several: as far as they have come."""
    return Scale(0.0, max(1.0, *(float(run.summary.step) for run in runs)))


def metric_panel(run: Run, x: Scale, detail: Detail, twin: Run | None = None) -> Panel:
    """Draw the metric as reported, and what was done when.

    Args:
        run: The run.
        x: The axis of steps.
        detail: How much of a long run is drawn.
        twin: The same run without gptune, if there was one.
    """
    own = [sample for sample in run.samples if not sample.is_trial]
    tried = [sample for sample in run.samples if sample.is_trial]
    others = [] if twin is None else [(float(s.step), s.metric) for s in twin.samples]
    values = [value for _, value in [*_metrics(run.samples), *others] if value is not None]
    y = scale_of(values, cut=True)
    hidden = sum(not y.low <= value <= y.high for value in values)
    layers = [
        *_crossings(run, x, detail),
        Layer("twin", line(thinned(others, detail.points), x, y), name="its twin, untuned"),
        Layer("metric", line(thinned(_metrics(own), detail.points), x, y), name=run.objective),
        Layer("trial", _dots(_metrics(tried)[-MARKS:], x, y), name="while rates were tried"),
    ]
    better = "lower" if run.sign < 0 else "higher"
    done, signs = len(run.moves), len(_some(run.moves, detail))
    notes = [
        f"{better} is better",
        f"{hidden} values lie beyond the edge" if hidden else "",
        note_of(signs, done, "changes"),
    ]
    return Panel(
        title=run.objective,
        note="; ".join(filter(None, notes)),
        across=axis(x),
        up=axis(y),
        layers=tuple(layer for layer in layers if layer.path),
        marks=(*_not_finite(run, x, detail), *_moves(run, (x, y), detail)),
        spans=tuple(_spans(run, x)),
        height=240,
    )


def knob_panel(run: Run, family: str, x: Scale, detail: Detail) -> Panel:
    """Draw what a knob was, what its schedule said, and where it was allowed to be."""
    knob, samples = run.knobs[family], _with(run, family)
    planned = [(float(s.step), _planned(knob, s)) for s in samples]
    used = _held(knob, samples, detail)
    y = _knob_scale(knob, used, planned)
    layers = [
        Layer("envelope", band(_envelope(knob, samples, detail), x, y), name="allowed"),
        *_crossings(run, x, detail),
        Layer(
            "schedule", line(_on(y, thinned(planned, detail.points)), x, y), name="your schedule"
        ),
        Layer("used", line(_on(y, used), x, y), name="used"),
    ]
    own = [move for move in run.moves if any(c.family == family for c in move.changes)]
    return Panel(
        title=shortened(family),
        note=_range_says(knob),
        across=axis(x),
        up=spread(_labels(knob), CHOICES) if _choices(knob) else axis(y),
        label="step",
        layers=tuple(layer for layer in layers if layer.path),
        marks=tuple(_knob_marks(_some(own, detail), knob, samples, (x, y))),
        spans=tuple(_spans(run, x)),
        height=150,
    )


def overlay(runs: Sequence[Run]) -> Panel:
    """Draw the metrics of several runs together."""
    x = steps_of(runs)
    curves = [_metrics(s for s in run.samples if not s.is_trial) for run in runs]
    y = scale_of((v for curve in curves for _, v in curve if v is not None), cut=True)
    most = Detail(len(runs)).points
    layers = tuple(
        Layer(
            f"run run{index % 8}{' again' if index >= 8 else ''}",
            line(thinned(curve, most), x, y),
            name=run.name,
        )
        for index, (run, curve) in enumerate(zip(runs, curves, strict=True))
    )
    better = "lower" if runs[0].sign < 0 else "higher"
    return Panel(
        title=runs[0].objective,
        note=f"{better} is better",
        across=axis(x),
        up=axis(y),
        label="step",
        layers=layers,
        height=300,
    )


def _metrics(samples: Iterable[Sample]) -> list[Point]:
    return [(float(sample.step), sample.metric) for sample in samples]


def _with(run: Run, family: str) -> list[Sample]:
    """Give where a knob was seen; just after a look ahead its last step is still the trial's."""
    ends = {trying.steps[1] for trying in run.tryings}
    own = [s for s in run.samples if family in s.knobs and not s.is_trial]
    return [s for s in own if s.step not in ends]


def _dots(points: Iterable[Point], x: Scale, y: Scale) -> str:
    return "".join(dot((x.share(at), y.share(v))) for at, v in points if v is not None)


def _crossings(run: Run, x: Scale, detail: Detail) -> list[Layer]:
    """Draw a line through every figure where something was changed."""
    kinds: dict[str, list[str]] = {}
    for move in evenly(run.moves, detail.crossings):
        at = line([(move.step, 0.0), (move.step, 1.0)], x, Scale(0.0, 1.0))
        kinds.setdefault(move.state, []).append(at)
    for restored in evenly(run.restores, detail.crossings):
        at = line([(restored.envelope.step, v) for v in (0.0, 1.0)], x, Scale(0.0, 1.0))
        kinds.setdefault("restored", []).append(at)
    return [Layer(f"crossing {kind}", "".join(paths)) for kind, paths in kinds.items()]


def _spans(run: Run, x: Scale) -> list[Span]:
    said = "{}: rates were tried here, and the steps thrown away"
    spans = []
    for trying in run.tryings:
        start, end = (x.share(step) for step in trying.steps)
        spans.append(Span("trying", start, end, said.format(trying.first.purpose or "a look")))
    return spans


def _moves(run: Run, axes: tuple[Scale, Scale], detail: Detail) -> list[Mark]:
    """Sign what was done on the curve of the metric."""
    x, y = axes
    heights = {s.decision: s.metric for s in run.samples if s.metric is not None}
    marks = []
    for move in _some(run.moves, detail):
        height = heights.get(move.decision)
        at = (x.share(move.step), 0.0 if height is None else y.share(height))
        marks.append(Mark(move.state, at, move_says(run, move), link(move)))
    for restored in evenly(run.restores, detail.signs):
        says = f"put back at step {restored.envelope.step}: the training state of an earlier step"
        marks.append(Mark("restored", (x.share(restored.envelope.step), 0.97), says, "ledger"))
    return marks


def link(move: Move) -> str:
    """Name the card of a move: an id that is safe whatever the knob is called."""
    return f"move-{move.decision}-{sum(move.id.encode()) % 9973}"


def _some(moves: Sequence[Move], detail: Detail) -> list[Move]:
    """Leave out some of too many, evenly; first of those that came to nothing."""
    others = ("undone", "failed", "suggested")
    loud = evenly([n for n, move in enumerate(moves) if move.state not in others], detail.signs)
    quiet = [n for n, move in enumerate(moves) if move.state in others]
    chosen = sorted([*loud, *evenly(quiet, max(2, detail.signs - len(loud)))])
    return [moves[n] for n in chosen]


def _not_finite(run: Run, x: Scale, detail: Detail) -> list[Mark]:
    """Sign, at the upper edge, where the metric was no number."""
    missing = [sample for sample in run.samples if sample.metric is None]
    says = "decision {}, step {}: the metric was no finite number"
    return [
        Mark("nan", (x.share(s.step), 0.88), says.format(s.decision, s.step))
        for s in evenly(missing, detail.signs)
    ]


def _used(knob: Knob, sample: Sample) -> float | None:
    reading = sample.knobs[knob.family]
    choices = _choices(knob)
    if choices:
        return float(choices.index(reading.move)) if reading.move in choices else None
    value = reading.effective if reading.effective is not None else reading.move
    return finite(value)


def _on(y: Scale, points: Iterable[Point]) -> list[Point]:
    """Leave out what lies beyond an axis, as the end of a cosine does, which is zero."""
    return [(at, v if v is not None and y.low <= v <= y.high else None) for at, v in points]


def _held(knob: Knob, samples: Sequence[Sample], detail: Detail) -> list[Point]:
    """Give the corners of a line: a move holds from one decision to the next.

    Where a knob moved, its new value is in force from the earlier decision on; what that was then
    follows from the schedule, which has run on since.
    """
    every = -(-len(samples) // detail.points) or 1
    corners: list[Point] = []
    before: Sample | None = None
    for sample in samples[::every]:
        value = _used(knob, sample)
        if before is not None and value is not None and _moved(knob, before, sample):
            plans = _planned(knob, before), _planned(knob, sample)
            share = plans[0] / plans[1] if plans[0] and plans[1] else 1.0
            corners.append((float(before.step), value * share))
        corners.append((float(sample.step), value))
        before = sample
    return corners


def _moved(knob: Knob, before: Sample, sample: Sample) -> bool:
    return before.knobs[knob.family].move != sample.knobs[knob.family].move


def _planned(knob: Knob, sample: Sample) -> float | None:
    return None if _choices(knob) else finite(sample.knobs[knob.family].scheduled)


def _envelope(
    knob: Knob, samples: Sequence[Sample], detail: Detail
) -> list[tuple[float, float, float]]:
    """Give the lowest and the highest value that the recipe allows, over the steps."""
    if not isinstance(knob.space, Float | Integer):
        return []
    low, high = (finite(knob.native(bound)) for bound in (knob.space.low, knob.space.high))
    if low is None or high is None:
        return []
    rows = []
    for sample in samples:
        planned = _planned(knob, sample) if knob.on_schedule else 1.0
        if planned is not None:
            rows.append((float(sample.step), low * planned, high * planned))
    every = -(-len(rows) // min(300, detail.points)) or 1
    return [*rows[::every], *rows[-1:]]


def _knob_scale(knob: Knob, used: Sequence[Point], planned: Sequence[Point]) -> Scale:
    """Show what was used, and of what is allowed as much as leaves that readable."""
    choices = _choices(knob)
    if choices:
        return Scale(-0.5, len(choices) - 0.5)
    values = [value for _, value in used if value is not None]
    is_log = knob.mutation.mode == "mult" or getattr(knob.space, "log", False)
    drawn = [*values, *(value for _, value in planned if value is not None)]
    if is_log:
        drawn = _near(drawn, values)
    return scale_of(drawn, log=is_log or None)


def _near(drawn: Sequence[float], used: Sequence[float]) -> list[float]:
    """Leave out what lies decades away."""
    ordered = sorted(value for value in used if value > 0)
    if not ordered:
        return list(drawn)
    low, high = ordered[len(ordered) // 10] / DECADES, ordered[-1] * DECADES
    return [value for value in drawn if low <= value <= high]


def _knob_marks(
    moves: Sequence[Move], knob: Knob, samples: Sequence[Sample], axes: tuple[Scale, Scale]
) -> list[Mark]:
    x, y = axes
    marks = []
    for move in moves:
        after = next((s for s in samples if s.step > move.step), None)
        value = None if after is None else _used(knob, after)
        if value is not None:
            at: Place = (x.share(move.step), y.share(value))
            marks.append(Mark(move.state, at, f"#{move.decision} {STATES[move.state]}", link(move)))
    return marks


def _choices(knob: Knob) -> tuple[Scalar, ...]:
    return knob.space.choices if isinstance(knob.space, Categorical) else ()


def _labels(knob: Knob) -> list[tuple[float, str]]:
    choices = _choices(knob)
    scale = Scale(-0.5, len(choices) - 0.5)
    return [(scale.share(index), show(choice)) for index, choice in enumerate(choices)]


def _range_says(knob: Knob) -> str:
    """Say where a knob may be."""
    if not isinstance(knob.space, Float | Integer):
        return "a choice"
    ends = f"{show(knob.space.low)} to {show(knob.space.high)}"
    if knob.mutation.mode == "mult":
        return f"your schedule times {ends}" if knob.on_schedule else f"its value times {ends}"
    return f"its value plus {ends}" if knob.mutation.mode == "delta" else ends
