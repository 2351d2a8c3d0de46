"""Studies for figures, and what every figure must be."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from gptune import Float, RandomSampler, Study, Trial, TrialPruned, median_pruner
from gptune.study.records import TrialRecord, TrialState


def net(trial: Trial) -> float:
    """Have a logarithmic, a categorical, a stepped and a conditional parameter."""
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    kind = trial.suggest_categorical("kind", ["adam", "sgd", "lion"])
    width = trial.suggest_int("width", 8, 256, step=8)
    momentum = trial.suggest_float("momentum", 0.0, 0.99) if kind == "sgd" else 0.9
    loss = (math.log10(rate) + 3) ** 2 + (width - 128) ** 2 / 1e5 + 0.1 * momentum
    for epoch in range(6):
        trial.report(loss + 2 / (epoch + 1), epoch)
        if trial.should_prune():
            raise TrialPruned
    return math.nan if trial.number % 10 == 9 else loss


def nets(n_trials: int = 40, **given: Any) -> Study:
    """Run a study that defines its space as it runs, with pruned and with failed trials."""
    pruner = median_pruner(warmup_steps=2)
    study = Study("nets", sampler=RandomSampler(), pruner=pruner, **given)
    study.optimize(net, n_trials=n_trials)
    return study


def empty(**given: Any) -> Study:
    return Study("empty", space={"x": Float(0.0, 1.0)}, **given)


def line(
    values: Sequence[float | None], make: Callable[[int], dict[str, Any]] | None = None
) -> list[TrialRecord]:
    """Make trials of values; one without a value has failed."""
    return [
        TrialRecord(
            number=number,
            state=TrialState.FAILED if value is None else TrialState.COMPLETE,
            value=value,
            **(make(number) if make is not None else {}),
        )
        for number, value in enumerate(values)
    ]


def traces(figure: Any) -> dict[str, Any]:
    """Find the traces of a figure by name; of equal names, the first."""
    found: dict[str, Any] = {}
    for trace in figure.data:
        found.setdefault(trace.name, trace)
    return found


def check_figure(figure: Any) -> dict[str, Any]:
    """Check that a figure can be shown: strict JSON, and a page; gives it as plain data."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = figure.to_json()
    plain: dict[str, Any] = json.loads(text, parse_constant=refuse)
    assert "NaN" not in text
    page = figure.to_html(include_plotlyjs=False)
    assert "<html" in page
    assert plain["layout"]["title"]["text"]
    return plain
