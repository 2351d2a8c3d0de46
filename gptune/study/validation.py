"""The best trials again, on fresh seeds: was it the parameters, or luck? Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptune.records import Scalar
from gptune.study.domains import show_point
from gptune.study.records import TrialRecord, TrialState

SUFFIX = "/validation"  # of the name of the study that the repeats are kept in


@dataclass(frozen=True, slots=True)
class Validated:
    """A trial's parameters, measured again.

    Attributes:
        number: Of the trial that was repeated.
        params: Its parameters.
        value: What it came to in the study; the best of many is too good on average.
        values: What the repeats came to.
        failed: How many repeats gave no number [trials].
    """

    number: int
    params: Mapping[str, Scalar]
    value: float
    values: tuple[float, ...]
    failed: int = 0

    @property
    def mean(self) -> float:
        """The mean of the repeats; NaN if all have failed."""
        return statistics.fmean(self.values) if self.values else float("nan")

    @property
    def deviation(self) -> float:
        """The standard deviation of a single repeat; NaN of fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else float("nan")

    def __str__(self) -> str:
        lost = f", {self.failed} failed" if self.failed else ""
        return (
            f"trial {self.number}: {self.mean:.4g} +/- {self.deviation:.2g} of {len(self.values)} "
            f"repeats{lost}, was {self.value:.4g}: {show_point(self.params)}"
        )


def best_points(trials: Sequence[TrialRecord], sign: float, top: int) -> list[TrialRecord]:
    """Give the best complete trials, each point once.

    Args:
        trials: All trials.
        sign: What turns the objective into larger-is-better.
        top: How many [trials].
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    found: dict[str, TrialRecord] = {}
    for trial in sorted(complete, key=lambda one: -sign * (one.value or 0.0)):
        found.setdefault(_name(trial.params), trial)
    return list(found.values())[:top]


def missing(
    best: Sequence[TrialRecord], repeated: Sequence[TrialRecord], repeats: int
) -> list[Mapping[str, Scalar]]:
    """List the points that are still to be measured, each as often as it is."""
    return [trial.params for trial in best for _ in range(repeats - len(_repeats(trial, repeated)))]


def validated(
    best: Sequence[TrialRecord], repeated: Sequence[TrialRecord], sign: float
) -> list[Validated]:
    """Put together what the repeats came to, the best on average first."""
    made = []
    for trial in best:
        own = _repeats(trial, repeated)
        values = tuple(one.value for one in own if one.value is not None)
        failed = sum(one.state is TrialState.FAILED for one in own)
        assert trial.value is not None
        made.append(Validated(trial.number, trial.params, trial.value, values, failed))
    return sorted(made, key=lambda one: -sign * one.mean if one.values else math.inf)


def _repeats(trial: TrialRecord, repeated: Sequence[TrialRecord]) -> list[TrialRecord]:
    name = _name(trial.params)
    return [one for one in repeated if _name({**one.fixed, **one.params}) == name]


def _name(params: Mapping[str, Scalar]) -> str:
    """Name a point: equal ones have equal names, whatever the order of their parameters."""
    return repr(sorted(params.items()))
