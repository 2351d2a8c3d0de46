"""Calling an objective, and what came of it."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gptune.configs.reading import shown
from gptune.errors import StudyError, TrialPruned
from gptune.foreign import foreign_call
from gptune.study.trial import Trial, as_number


@dataclass(frozen=True, slots=True)
class Measured:
    """What an objective may give instead of a number: a value, and how sure it is.

    Attributes:
        value: The objective.
        noise: Variance of the value [squared units of value].
    """

    value: float
    noise: float | None = None


def variance(given: object) -> float | None:
    """Read how uncertain a value is [squared units of value]; ``None`` where nobody says.

    Raises:
        StudyError: If it is no variance.
    """
    read = as_number(given)
    if given is not None and (read is None or not 0 <= read < math.inf):
        raise StudyError(f"noise: must be a variance, a number >= 0, got {shown(given)}")
    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an objective.

    Attributes:
        value: What it gave.
        pruned: Whether it ended early.
        error: What it raised instead, and the words for that.
    """

    value: Any = None
    pruned: bool = False
    error: Exception | None = None
    message: str = ""


def evaluate(objective: Callable[..., Any], trial: Trial) -> Outcome:
    """Call an objective with what it expects; what it raises is part of the outcome."""
    done = foreign_call(lambda: objective(*arguments(objective, trial)))
    if isinstance(done.error, TrialPruned):
        return Outcome(pruned=True, message=str(done.error))
    return Outcome(value=done.value, error=done.error, message=done.message)


def arguments(objective: Callable[..., Any], trial: Trial) -> tuple[Any, ...]:
    """Give the trial; with a space that was given up front its parameters, and it if wanted."""
    if not trial.is_given:
        return (trial,)
    return (trial.params, trial) if takes_two(objective) else (trial.params,)


def takes_two(objective: Callable[..., Any]) -> bool:
    """Say whether an objective needs two arguments."""
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    return len(needed) == 2
