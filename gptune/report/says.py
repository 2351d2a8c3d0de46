"""A run in words: what was done, what came of it, and against what that is measured."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from gptune.configs.knobs import Knob
from gptune.events import LookAhead
from gptune.plots.style import shortened
from gptune.printable import printable
from gptune.records import Change, Reason, Scalar, show
from gptune.report.moves import STANDING, Move
from gptune.report.run import Run
from gptune.run_directory.changes import BY_HAND
from gptune.run_directory.effects import effect_of as weigh
from gptune.run_directory.words import MEANINGS

SOURCES = {
    "startup": "the first trials, which look around",
    "gp": "the Gaussian process",
    "random": "chance, as search.algorithm wants",
    "fallback": "chance, for the model could not be fitted",
    "deadline": "a search that was cut short by its deadline",
    "calibration": "the calibration, which tried rates",
    "guard": "the guard, which tried rates after the run had gone wrong",
    "human": "an operator, by hand",
    "replay": "another run that is replayed",
    "ranks": "the processes, which differed",
}
STATES = {
    "open": "being judged",
    "kept": "kept",
    "undone": "undone",
    "left": "left as it was",
    "withdrawn": "taken back by hand",
    "stuck": "could not be undone",
    "suggested": "suggested only",
    "hand": "by hand",
    "failed": "failed",
}


def value_says(knob: Knob | None, value: Scalar) -> str:
    """Write a move so that one sees what it is: a multiplier, a difference, or a value.

    Example:
        >>> value_says(None, 0.123456)
        '0.1235'
    """
    mode = knob.mutation.mode if knob is not None else "set"
    if isinstance(value, str | bool):
        return shortened(show(value))
    return {"mult": f"x{show(value)}", "delta": f"{value:+.4g}"}.get(mode, show(value))


def change_says(run: Run, changes: Iterable[Change]) -> str:
    """Write changes: what from, what to."""
    said = ", ".join(
        f"{shortened(c.family)} {value_says(run.knobs.get(c.family), c.old)} \N{RIGHTWARDS ARROW} "
        f"{value_says(run.knobs.get(c.family), c.new)}"
        for c in changes
    )
    return printable(said)


def move_says(run: Run, move: Move) -> str:
    """Write what is shown where the mouse points at a move."""
    said = [f"#{move.decision} {change_says(run, move.changes)}", STATES[move.state]]
    if move.probability is not None:
        said.append(f"P(gain) {move.probability:.2f}")
    return ", ".join(said)


def effect_of(run: Run, move: Move) -> tuple[str, str]:
    """Say what a change did to the metric, and whether that can be told: better | worse | none.

    The effect is the gain over the forecast, larger is better, with the interval in which it lies
    in 95 of 100 cases if the forecast's errors are normal. It is that of this one change: what was
    kept because it looked good looks better than it is.
    """
    found = weigh(move.evidence, acceptance_of(run).get("reference"))
    if found is None:
        return "", "none"
    if found.wide is None:
        known = "how surely is not known"
        why = known if has_forecasts(run) else "over the value before, which moves by itself"
        return f"{_size(found.size)}, {why}", "none"
    text = f"{_size(found.size)} \N{PLUS-MINUS SIGN} {show(float(found.wide))}"
    return (f"no measurable effect ({text})" if found.sign == "none" else text), found.sign


def has_forecasts(run: Run) -> bool:
    """Say whether changes were judged against what would have been without them."""
    return acceptance_of(run).get("reference") != "last"


def acceptance_of(run: Run) -> dict[str, Any]:
    """Give the recipe's rules of acceptance."""
    rules: dict[str, Any] = run.opened.recipe.get("acceptance", {})
    return rules


def is_by_hand(move: Move) -> bool:
    """Say whether somebody, or another run, wanted a move: gptune did not propose it."""
    return move.source in BY_HAND


def tried(run: Run) -> list[Move]:
    """Give what gptune itself proposed and did, or failed to do."""
    return [m for m in run.moves if m.state != "suggested" and not is_by_hand(m)]


def reasons_say(move: Move) -> str:
    """Say why a move ended as it did."""
    reasons = move.reasons
    if move.state == "kept" and move.is_judged and not reasons:
        reasons = (Reason.GAIN,)
    return "; ".join(MEANINGS[reason] for reason in reasons)


def headlines(run: Run) -> list[str]:
    """Say in a few sentences what gptune did, and how the run ended."""
    said = [_what_was_tried(run)]
    for line in run.tryings:
        if line.last is not None:
            said.append(_tried(line.last))
    if run.restores:
        said.append(_put_back(run))
    said.append(_ended(run))
    return [sentence for sentence in said if sentence]


def counterfactual(run: Run, twin: Run | None) -> str:
    """Say what the run is compared with: never a gain without that.

    Without a twin no gain is named. What the changes that were kept gained, added up, would be
    one: but they were chosen because they looked good, so they look good where nothing is to be
    gained, too. What can be estimated is how many of them chance alone would have kept.
    """
    if twin is not None:
        return _beside(run, twin)
    spent = sum(trying.last.steps for trying in run.tryings if trying.last is not None)
    in_force = run.in_state(*STANDING, "withdrawn", "open", "undone", "stuck")
    if not in_force and not run.restores:
        if not spent:
            return "Nothing was changed: this run is what it would have been without gptune."
        cost = count_says(spent, "step")
        return f"No hyperparameter was changed, but {cost} went into trying rates."
    return " ".join(("No twin run: estimate.", *_chances(run), NO_TWIN))


NO_TWIN = (
    "What the run would have come to without gptune is not known; the same run in mode observe, "
    "given as --twin, would tell."
)


def _chances(run: Run) -> Iterator[str]:
    """Say how many changes chance alone would have kept."""
    judged = [move for move in run.moves if move.is_judged and move.probability is not None]
    kept = sum(move.state in ("kept", "withdrawn") for move in judged)
    least = acceptance_of(run).get("probability")
    if not kept or not isinstance(least, float):
        return
    if not has_forecasts(run):
        yield (
            f"{kept} of {len(judged)} changes were kept for a gain over the value before, and that "
            "moves by itself."
        )
        return
    lucky = (1 - least) * len(judged)
    chance = "could have kept as many" if lucky >= kept else f"would have kept about {lucky:.2g}"
    yield (
        f"Of {count_says(len(judged), 'change')} judged against a forecast {kept} did well enough "
        f"to be kept; at P(gain) {show(least)} chance alone {chance}."
    )


def _what_was_tried(run: Run) -> str:
    own, told = tried(run), []
    if own:
        counts = Counter(move.state for move in own)
        ends = ", ".join(
            f"{counts[state]} {said}" for state, said in STATES.items() if counts[state]
        )
        told.append(f"{count_says(len(own), 'change')} tried: {ends}.")
    suggested = len(run.in_state("suggested"))
    if suggested:
        told.append(
            f"{count_says(suggested, 'change')} suggested, which mode suggest does not apply."
        )
    for source, how in (("human", "by hand"), ("replay", "replayed from another run")):
        count = sum(move.source == source for move in run.moves)
        told += [f"{count_says(count, 'move')} {how}."] if count else []
    return " ".join(told) or "gptune changed no hyperparameter."


def _tried(end: LookAhead) -> str:
    what = end.purpose.capitalize() or "A look ahead"
    cost = f"{count_says(end.steps, 'step')} thrown away"
    if end.stopped:
        return f"{what} was stopped, {cost}: {end.stopped}."
    chosen = f"x{end.chosen}" if _is_number(end.chosen) else end.chosen
    return f"{what} tried learning rates and went on with {chosen} of yours; {cost}."


def _put_back(run: Run) -> str:
    symptoms = [str(getattr(line.event, "symptom", "")) for line in run.restores]
    kinds = ", ".join(
        f"{symptom.replace('_', ' ')} {symptoms.count(symptom)} times"
        if symptoms.count(symptom) > 1
        else symptom.replace("_", " ")
        for symptom in dict.fromkeys(symptoms)
    )
    times = "once" if len(symptoms) == 1 else f"{len(symptoms)} times"
    return f"The guard put the training state back {times} ({kinds})."


def _ended(run: Run) -> str:
    summary, last = run.summary, run.last
    if last is None:
        seen = "was never a finite number" if run.samples else "has not been reported yet"
        return f"{run.objective} {seen}."
    verb = "ended at" if summary.closed else "stands at"
    best = summary.best
    said = f"{run.objective} {verb} {show(last)}"
    if best is not None and best.metric != last:
        said += f"; its best was {show(best.metric)} at step {best.step}"
    return said + "."


def _beside(run: Run, twin: Run) -> str:
    """Compare two runs where both have come to."""
    step = min(run.summary.step, twin.summary.step)
    where = "ended" if run.summary.step == twin.summary.step else f"stood, at step {step},"
    mine, other = run.metric_at(step), twin.metric_at(step)
    seeds = f"seed {run.summary.seed}"
    if run.summary.seed != twin.summary.seed:
        seeds = f"another seed, {twin.summary.seed} and not {run.summary.seed}"
    if mine is None or other is None:
        return f"Beside its twin ({seeds}): one of the two had no finite metric by step {step}."
    gain = run.sign * (mine - other)
    word = "better" if gain > 0 else "worse" if gain < 0 else "no different"
    by = f"{show(abs(gain))} {word}" if gain else word
    return (
        f"Its twin without gptune ({seeds}) {where} at {show(other)}, this run at {show(mine)}: "
        f"with gptune {run.objective} is {by}. That is one pair of runs, and says nothing of the "
        "spread between pairs."
    )


def count_says(number: int, what: str) -> str:
    """Write how many of something there are.

    Example:
        >>> count_says(1, "step"), count_says(2, "step")
        ('1 step', '2 steps')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _size(gain: float) -> str:
    return f"{show(abs(float(gain)))} {'better' if gain > 0 else 'worse'}" if gain else "0"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
