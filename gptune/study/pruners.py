"""When a trial is not worth going on with: pure functions of what trials have reported."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gptune.errors import UsageError
from gptune.study.records import TrialRecord, TrialState


@dataclass(frozen=True, slots=True)
class Race:
    """What a pruner sees when a trial has reported.

    Attributes:
        trial: The trial, with all its reports.
        others: Every other trial of the study that has reported something.
        sign: What turns a report into larger-is-better.
    """

    trial: TrialRecord
    others: Sequence[TrialRecord]
    sign: float

    @property
    def step(self) -> int:
        """The step that was reported last."""
        return max(self.trial.reports)

    def best(self, trial: TrialRecord, step: int) -> float:
        """Give a trial's best report up to a step, larger is better; -inf without a finite one."""
        found = [self.sign * v for s, v in trial.reports.items() if s <= step and math.isfinite(v)]
        return max(found, default=-math.inf)


class Pruner(Protocol):
    """Says whether a trial should end now; any object of yours with this method is one."""

    def prunes(self, race: Race) -> bool:
        """Say so; called after a report, and the same each time for the same reports."""
        ...


@dataclass(frozen=True, slots=True)
class NoPruner:
    """Ends nothing."""

    def prunes(self, race: Race) -> bool:
        """Say no."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentilePruner:
    """Ends a trial whose best report lies in the worse part of all trials at the same step.

    With 50 it ends what is worse than the median, with 0 what is worse than the best; with 100 all
    trials go on, also one that is worse than all others.

    Args:
        percentile: How much of the trials, the best, go on [percent].
        startup_trials: Trials that must be complete before [trials].
        warmup_steps: Steps before which no trial ends [steps].
        interval: Steps between two looks [steps].
        least: Trials that must have reported at a step [trials].

    Raises:
        UsageError: Naming the field.
    """

    percentile: float = 25.0
    startup_trials: int = 5
    warmup_steps: int = 0
    interval: int = 1
    least: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 100:
            raise UsageError(f"percentile: must lie in [0, 100], got {self.percentile!r}")
        _check_counts(
            startup_trials=(self.startup_trials, 0),
            warmup_steps=(self.warmup_steps, 0),
            interval=(self.interval, 1),
            least=(self.least, 1),
        )

    def prunes(self, race: Race) -> bool:
        """Compare with those that have come as far."""
        if self.percentile == 100:
            return False
        step = race.step
        complete = sum(one.state is TrialState.COMPLETE for one in race.others)
        early = step < self.warmup_steps or complete < self.startup_trials
        if early or (step - self.warmup_steps) % self.interval:
            return False
        there = [race.best(one, step) for one in race.others if max(one.reports) >= step]
        if len(there) < self.least:
            return False
        return race.best(race.trial, step) < _percentile(there, 100.0 - self.percentile)


def median_pruner(
    *, startup_trials: int = 5, warmup_steps: int = 0, interval: int = 1, least: int = 2
) -> PercentilePruner:
    """Make the pruner that ends what is worse than the median, the usual choice."""
    return PercentilePruner(
        percentile=50.0,
        startup_trials=startup_trials,
        warmup_steps=warmup_steps,
        interval=interval,
        least=least,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessiveHalvingPruner:
    """Asynchronous successive halving: of those that reach a rung, the best 1/factor go on.

    A rung is reached at the first report at or after ``least * factor ** k`` steps.

    Args:
        least: Steps of the first rung [steps].
        factor: How much rarer each next rung is.

    Raises:
        UsageError: Naming the field.

    Source:
        Li et al. (2020), A System for Massively Parallel Hyperparameter Tuning, MLSys.
    """

    least: int = 1
    factor: int = 4

    def __post_init__(self) -> None:
        _check_counts(least=(self.least, 1), factor=(self.factor, 2))

    def prunes(self, race: Race) -> bool:
        """Compare at the rung that was reached with the last report."""
        steps = sorted(race.trial.reports)
        rung = self._rung(steps[-1])
        if rung < 0 or (len(steps) > 1 and self._rung(steps[-2]) == rung):
            return False  # none yet, or it was passed at an earlier report
        at = self.least * self.factor**rung
        rivals = [self._reached(race, one, at) for one in race.others]
        there = sorted((value for value in rivals if value is not None), reverse=True)
        mine = race.best(race.trial, steps[-1])
        stay = max(1, (len(there) + 1) // self.factor)
        ahead = sum(value > mine for value in there)
        return ahead >= stay

    def _rung(self, step: int) -> int:
        """Give the highest rung that a step has reached; -1 below the first."""
        rung = -1
        while self.least * self.factor ** (rung + 1) <= step:
            rung += 1
        return rung

    def _reached(self, race: Race, trial: TrialRecord, at: int) -> float | None:
        """Give how good a trial was when it reached a rung; ``None`` if it did not."""
        first = min((step for step in trial.reports if step >= at), default=None)
        return None if first is None else race.best(trial, first)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatiencePruner:
    """Ends a trial that has not become better for some reports.

    Args:
        patience: Reports without a gain [reports].
        least_gain: What counts as a gain [units of the objective].

    Raises:
        UsageError: Naming the field.
    """

    patience: int = 10
    least_gain: float = 0.0

    def __post_init__(self) -> None:
        _check_counts(patience=(self.patience, 1))
        if not self.least_gain >= 0:
            raise UsageError(f"least_gain: must be >= 0, got {self.least_gain!r}")

    def prunes(self, race: Race) -> bool:
        """Compare the newest reports with those before them."""
        steps = sorted(race.trial.reports)
        if len(steps) <= self.patience:
            return False
        before = race.best(race.trial, steps[-self.patience - 1])
        return race.best(race.trial, steps[-1]) <= before + self.least_gain


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdPruner:
    """Ends a trial that reports a value outside of bounds, or none that is finite.

    Args:
        lower: Least value that may be reported.
        upper: Largest one.
        warmup_steps: Steps before which no trial ends [steps].

    Raises:
        UsageError: Naming the field.
    """

    lower: float = -math.inf
    upper: float = math.inf
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise UsageError(f"lower: must be below upper, got {self.lower!r} and {self.upper!r}")
        _check_counts(warmup_steps=(self.warmup_steps, 0))

    def prunes(self, race: Race) -> bool:
        """Look at the last report."""
        value = race.trial.reports[race.step]
        is_fine = math.isfinite(value) and self.lower <= value <= self.upper
        return race.step >= self.warmup_steps and not is_fine


def _percentile(values: Sequence[float], percent: float) -> float:
    """Give a percentile of values of which some may be -inf, by linear interpolation."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100.0
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    share = place % 1.0
    if low == high or math.isinf(low):
        return low
    return min(high, low * (1.0 - share) + high * share)  # no overflow, and never above the best


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"{name}: must be a whole number >= {least}, got {value!r}")
