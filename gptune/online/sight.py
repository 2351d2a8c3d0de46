"""What one decision sees of the world: every part of it is read once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from gptune.configs import Objective, nearest
from gptune.errors import RecipeError, StateError
from gptune.events import KnobReading
from gptune.foreign import foreign_call
from gptune.online.decision import Seen
from gptune.online.evaluation import evaluate_mean
from gptune.online.metrics import Source, collect, is_set

NO_STEPS = (
    "no step is counted from one report to the next, so nothing is tuned; "
    "call tuner.step(loss) after each optimizer step"
)


@dataclass(frozen=True, slots=True)
class Sight:
    """Which metrics count, and how to get the objective when none are reported."""

    objective: Objective
    evaluate: Callable[[], Any] | None = None
    model: nn.Module | None = None

    def __post_init__(self) -> None:
        if self.evaluate is not None and not callable(self.evaluate):
            raise RecipeError(
                f"evaluate: must be a function without arguments, got {self.evaluate!r}; "
                "e.g. evaluate=lambda: validation_loss()"
            )

    def check(self, reported: Source | None) -> None:
        """Check that there is something to look at.

        Raises:
            StateError: If nothing was reported and there is no ``evaluate``.
        """
        if reported is None and self.evaluate is None:
            raise StateError(
                "report: needs metrics, for the Tuner has no evaluate; pass e.g. "
                f"report({{{self.objective.primary!r}: value}}), or evaluate= to the Tuner"
            )


def look(
    sight: Sight, knobs: Mapping[str, KnobReading], reported: tuple[Source | None, int]
) -> Seen:
    """Read the reported metrics, each once.

    Args:
        sight: Which metrics count.
        knobs: Where every knob stands.
        reported: The metrics, or ``None`` to call ``evaluate``; and the step.
    """
    source, step = reported
    objective = sight.objective
    found = _evaluation(sight) if source is None else source
    return Seen(
        step=step,
        objective=collect(found, objective.primary),
        backups={name: collect(found, name) for name in objective.backup_metrics},
        anomaly=is_set(found, "anomaly"),
        knobs=dict(knobs),
    )


def absence(objective: str, reported: Source | None) -> str:
    """Say that the objective was not reported, what was, and what was probably meant."""
    found = foreign_call(lambda: [str(name) for name in _names(reported)])
    names = found.value or []
    hint = nearest(objective, names) if names else "pass it to report()"
    listed = ", ".join(names) or "nothing"
    return (
        f"the objective {objective!r} was not reported, so nothing is tuned; "
        f"reported: {listed}; {hint}"
    )


def _names(reported: Source | None) -> list[Any]:
    return list(reported) if isinstance(reported, Mapping) else []


def _evaluation(sight: Sight) -> Source:
    def source(name: str, default: Any) -> Any:
        if name != sight.objective.primary or sight.evaluate is None:
            return default
        return evaluate_mean(sight.evaluate, sight.model)

    return source
