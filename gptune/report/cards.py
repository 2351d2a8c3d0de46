"""A card for each change: before, after, what came of it and why."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from gptune.records import show
from gptune.report.drawing import Scale, dot, line, scale_of
from gptune.report.moves import Move
from gptune.report.panel import Layer
from gptune.report.panels import link
from gptune.report.run import Run, Sample
from gptune.report.says import (
    SOURCES,
    STATES,
    change_says,
    count_says,
    effect_of,
    reasons_say,
)

MOST = 150  # cards; of more the page says so
BEFORE, AFTER = 12, 6  # decisions around a change that its small figure shows
LONGEST = 300  # letters of a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A change.

    Attributes:
        id: What links lead to.
        kind: Its state: the class of the style sheet.
        state: The same in words.
        title: What was moved.
        when: Decision, step and phase.
        facts: Label and text, in the order in which they are shown.
        effect: What it did to the metric; empty if nothing is known.
        sign: better | worse | none.
        layers: Its small figure: before, after, the forecast, where it was made.
        says: The small figure in words.
    """

    id: str
    kind: str
    state: str
    title: str
    when: str
    facts: tuple[tuple[str, str], ...]
    effect: str
    sign: str
    layers: tuple[Layer, ...]
    says: str


def cards_of(run: Run) -> list[Card]:
    """Make the cards of the changes, in their order."""
    samples = [sample for sample in run.samples if not sample.is_trial]
    numbers = [sample.decision for sample in samples]
    return [_card(run, move, samples, numbers) for move in _chosen(run.moves)]


def _chosen(moves: Sequence[Move]) -> list[Move]:
    """Choose from too many: what stayed or broke first, then the newest of the others."""
    quiet = ("undone", "suggested")
    loud = [n for n, move in enumerate(moves) if move.state not in quiet][-MOST:]
    rest = [n for n, move in enumerate(moves) if move.state in quiet]
    chosen = {*loud, *rest[-(MOST - len(loud)) :]} if len(loud) < MOST else set(loud)
    return [moves[n] for n in sorted(chosen)]


def _card(run: Run, move: Move, samples: Sequence[Sample], numbers: Sequence[int]) -> Card:
    effect, sign = effect_of(run, move)
    layers, says = _figure(move, samples, numbers)
    return Card(
        id=link(move),
        kind=move.state,
        state=STATES[move.state],
        title=change_says(run, move.changes) or move.id,
        when=f"decision {move.decision}, step {move.step}, {move.phase}",
        facts=tuple((label, text) for label, text in _facts(move) if text),
        effect=effect,
        sign=sign,
        layers=layers,
        says=says,
    )


def _facts(move: Move) -> list[tuple[str, str]]:
    chance = "" if move.probability is None else f"{move.probability:.3f}"
    ended = ""
    if move.ended is not None and move.ended[1] > move.step:
        steps = count_says(move.ended[1] - move.step, "step")
        ended = f"{steps}, to decision {move.ended[0]} at step {move.ended[1]}"
    penalty = move.evidence.penalty if move.evidence else 0.0
    return [
        ("P(gain)", chance),
        ("why", reasons_say(move) or _cut(move.message)),
        ("proposed by", SOURCES.get(move.source, move.source)),
        ("tested for", ended),
        ("penalty", f"{show(float(penalty))}, for the backup metrics" if penalty else ""),
    ]


def _figure(
    move: Move, samples: Sequence[Sample], numbers: Sequence[int]
) -> tuple[tuple[Layer, ...], str]:
    """Draw the metric around a change, and the forecast that it was judged against."""
    at = bisect_left(numbers, move.decision)
    end = bisect_left(numbers, move.ended[0]) if move.ended else at
    shown = samples[max(0, at - BEFORE) : end + AFTER + 1]
    known = [(float(s.step), s.metric) for s in shown]
    if sum(value is not None for _, value in known) < 2:
        return (), ""
    forecasts = [s for s in samples[at + 1 : end + 1] if s.forecast is not None]
    heights = [value for _, value in known if value is not None]
    heights += [s.forecast for s in forecasts if s.forecast is not None]
    x, y = Scale(known[0][0], max(known[-1][0], known[0][0] + 1.0)), scale_of(heights, cut=True)
    before = [point for point in known if point[0] <= move.step]
    after = [point for point in known if point[0] >= move.step]
    expected = [(float(s.step), s.forecast) for s in forecasts]
    ends = "".join(dot((x.share(s), y.share(v))) for s, v in expected if v is not None)
    layers = [
        Layer("now", line([(move.step, y.low), (move.step, y.high)], x, y)),
        Layer("metric before", line(before, x, y)),
        Layer("metric", line(after, x, y)),
        Layer("forecast", line([*before[-1:], *expected], x, y) if expected else ""),
        Layer("trial", ends),
    ]
    return tuple(layer for layer in layers if layer.path), _says(move, before, forecasts, samples)


def _says(
    move: Move,
    before: Sequence[tuple[float, float | None]],
    forecasts: Sequence[Sample],
    samples: Sequence[Sample],
) -> str:
    """Write before, after and forecast as numbers."""
    earlier = [value for _, value in before if value is not None]
    parts = [f"before {show(earlier[-1])}"] if earlier else []
    if forecasts:
        last = forecasts[-1]
        if last.metric is not None:
            parts.append(f"after {show(last.metric)}")
        if last.forecast is not None:
            parts.append(f"forecast {show(last.forecast)}")
    elif move.state not in ("suggested", "failed"):
        later = [s.metric for s in samples if s.step > move.step and s.metric is not None]
        parts += [f"next {show(later[0])}"] if later else []
    return ", ".join(parts)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
