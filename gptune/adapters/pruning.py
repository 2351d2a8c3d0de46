"""Ending a trial of a study early, in any training: what the adapters share."""

from collections.abc import Callable, Mapping
from typing import Any

from gptune.errors import StudyError, TrialPruned
from gptune.foreign import Answer, foreign_call
from gptune.study.trial import Trial, as_number

Together = Callable[[bool], bool]  # whether something holds on any process


def go_on(trial: Trial | None, measured: Callable[[], float], step: int, any_of: Together) -> None:
    """Report how good a trial is by now, and end it on all processes if it is not worth going on.

    Args:
        trial: The trial, where it is reported: on one process alone.
        measured: Gives the value.
        step: How far training has come [steps].
        any_of: Tells the others, who wait for it.

    Raises:
        TrialPruned: If it is to end.
        StudyError: If there is no value to report, or it cannot be written down.
    """

    def ask() -> bool:
        assert trial is not None
        trial.report(measured(), step)
        return trial.should_prune()

    asked: Answer[bool] = Answer(value=False) if trial is None else foreign_call(ask)
    ends = any_of(asked.error is not None or bool(asked.value))
    if asked.error is not None:
        raise asked.error
    if ends:
        raise TrialPruned(f"at step {step}")


def find(metrics: Mapping[str, Any], monitor: str) -> float:
    """Give the number that is watched.

    Raises:
        StudyError: If it is not there, or is none.
    """
    value = as_number(metrics.get(monitor))
    if value is None:
        raise StudyError(
            f"PruningCallback: {monitor!r} is no number that was logged; there are "
            f"{', '.join(sorted(map(str, metrics))) or 'none'}; name one of them with monitor="
        )
    return value
