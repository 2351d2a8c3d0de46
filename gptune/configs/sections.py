"""The recipe's sections but for the knobs: what proposes, what stays, what is forbidden."""

import math
from typing import Literal

from msgspec import Struct

from gptune.configs.reading import need


class Objective(Struct, frozen=True, kw_only=True):
    """The metric to improve, and the ones that must not suffer.

    Attributes:
        primary: The metric to improve.
        mode: Whether it shall fall or rise: min | max.
        backup_metrics: Metrics that must not suffer.
    """

    primary: str = "val/loss"
    mode: Literal["min", "max"] = "min"
    backup_metrics: tuple[str, ...] = ("grad/norm",)

    def __post_init__(self) -> None:
        need(
            bool(self.primary), "primary", "must name a metric", self.primary, do="e.g. 'val/loss'"
        )


class Phase(Struct, frozen=True, kw_only=True):
    """A part of the run, as fractions of its steps.

    Attributes:
        start_frac: Where it begins [fraction].
        end_frac: Where it ends [fraction].
    """

    start_frac: float
    end_frac: float

    def __post_init__(self) -> None:
        ordered = 0 <= self.start_frac < self.end_frac <= 1
        given = (self.start_frac, self.end_frac)
        need(ordered, "start_frac", "must be below end_frac, both in [0, 1]", given, do="swap them")


class Decay(Struct, frozen=True, kw_only=True):
    """How old observations fade.

    Attributes:
        kind: none | weights | kernel | window.
        half_life: Age at which an observation counts half [observations]; auto = fitted to the
            data with kernel (prior median 10), 10 with weights.
        window: How many of the newest observations count [observations].
        detrend: Whether a trend in time is taken out of the values first; auto = with kernel, and
            not of gains over a forecast, which have none left.
    """

    kind: Literal["none", "weights", "kernel", "window"] = "kernel"
    half_life: float | Literal["auto"] = "auto"
    window: int | None = None
    detrend: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.half_life != "auto":
            positive = math.isfinite(self.half_life) and self.half_life > 0
            what = "must be finite and > 0 [observations], or auto"
            need(positive, "half_life", what, self.half_life, do="e.g. 13")
        if self.kind == "window" or self.window is not None:
            what = "must be a count >= 2 [observations]"
            need(self.window is not None and self.window >= 2, "window", what, self.window, do="20")


class TrustRegion(Struct, frozen=True, kw_only=True):
    """The box in which a proposal may lie; lengths are fractions of a side of the unit cube.

    Attributes:
        enabled: false = proposals lie anywhere within the bounds.
        initial: Side at the start [fraction].
        minimum: Smallest side [fraction].
        maximum: Largest side [fraction].
        expand: Factor after successes, above 1.
        shrink: Factor after failures, below 1.
        successes: Successes in a row that expand it.
        failures: Failures in a row that shrink it.
    """

    enabled: bool = True
    initial: float = 0.4
    minimum: float = 0.05
    maximum: float = 1.0
    expand: float = 2.0
    shrink: float = 0.5
    successes: int = 2
    failures: int = 2

    def __post_init__(self) -> None:
        given = (self.minimum, self.initial, self.maximum)
        ordered = 0 < self.minimum <= self.initial <= self.maximum <= 1
        need(
            ordered, "initial", "needs 0 < minimum <= initial <= maximum <= 1", given, do="reorder"
        )
        grows = math.isfinite(self.expand) and self.expand > 1
        need(grows, "expand", "must be finite and above 1", self.expand, do="e.g. 2.0")
        need(0 < self.shrink < 1, "shrink", "must lie in (0, 1)", self.shrink, do="e.g. 0.5")
        need(self.successes >= 1, "successes", "must be >= 1", self.successes, do="e.g. 2")
        need(self.failures >= 1, "failures", "must be >= 1", self.failures, do="e.g. 2")


class Search(Struct, frozen=True, kw_only=True):
    """What proposes, and how often.

    Attributes:
        algorithm: gp | random | none.
        acquisition: auto | log_ei | log_nei | pi | ucb | thompson; auto = log_nei where the fit
            finds noise, else log_ei; a callable is given to the Tuner instead.
        kernel: matern52 | rbf: how smooth the objective is taken to be.
        warp: auto = choose between two families of warps of the objective by the likelihood,
            where no noise variances are given; none.
        startup_trials: Scrambled Sobol proposals before the Gaussian process takes over.
        joint: Move all free knobs at once instead of one at a time.
        every: Propose at every so-manieth decision [decisions].
        max_observations: How many observations are kept [observations].
        decay: How old observations fade.
        trust_region: The box in which a proposal lies.
        prior_runs: Run directories whose observations the surrogate starts with, the oldest first;
            each observation stands for one start-up trial.
    """

    algorithm: Literal["gp", "random", "none"] = "gp"
    acquisition: Literal["auto", "log_ei", "log_nei", "pi", "ucb", "thompson"] = "log_ei"
    kernel: Literal["matern52", "rbf"] = "matern52"
    warp: Literal["auto", "none"] = "none"
    startup_trials: int = 4
    joint: bool = False
    every: int = 1
    max_observations: int = 300
    decay: Decay = Decay()
    trust_region: TrustRegion = TrustRegion()
    prior_runs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        trials, kept = self.startup_trials, self.max_observations
        need(trials >= 0, "startup_trials", "must be >= 0", trials, do="e.g. 4")
        need(self.every >= 1, "every", "must be >= 1 [decisions]", self.every, do="e.g. 1")
        need(kept >= 4, "max_observations", "must be >= 4 [observations]", kept, do="e.g. 300")


STUDY = Search(
    acquisition="auto",
    startup_trials=8,
    joint=True,
    max_observations=1000,
    warp="auto",
    decay=Decay(kind="none"),
    trust_region=TrustRegion(enabled=False),
)
"""What an offline study searches with: nothing fades, the whole space is open."""


class Acceptance(Struct, frozen=True, kw_only=True):
    """When a change stays.

    Attributes:
        reference: forecast = against what the metric would have become; last = the older rule,
            gain - penalty > epsilon against the last value.
        epsilon: Least gain [metric units].
        probability: Least probability of such a gain, in [0.5, 1).
        horizon: Length of a segment [decisions]; next_val_epoch_end = 1.
        rollback_on_reject: Whether a rejected change is undone.
        lower_after_start: strict = lowering a learning rate after the first 5 % of training needs
            a probability of .995, for short looks prefer rates that are too low; free = as others.
    """

    reference: Literal["forecast", "last"] = "forecast"
    epsilon: float = 0.001
    probability: float = 0.95
    horizon: int | Literal["next_val_epoch_end"] = 1
    rollback_on_reject: bool = True
    lower_after_start: Literal["strict", "free"] = "strict"

    def __post_init__(self) -> None:
        at_least_zero = math.isfinite(self.epsilon) and self.epsilon >= 0
        what = "must be finite and >= 0 [metric units]"
        need(at_least_zero, "epsilon", what, self.epsilon, do="e.g. 0.001")
        inside = 0.5 <= self.probability < 1
        need(inside, "probability", "must lie in [0.5, 1)", self.probability, do="e.g. 0.95")
        need(self.decisions >= 1, "horizon", "must be >= 1 [decisions]", self.horizon, do="e.g. 1")

    @property
    def decisions(self) -> int:
        """The horizon as a count [decisions]."""
        return self.horizon if isinstance(self.horizon, int) else 1


class Safety(Struct, frozen=True, kw_only=True):
    """When nothing may be changed, and what happens after rejects.

    Attributes:
        block_on_nan: Also block when a backup metric is not finite (the objective always blocks).
        block_on_anomaly: Block when the reported ``anomaly`` is true.
        max_regression: How far below its forecast the objective may fall [MADs of residuals].
        patience: Consecutive regressions before proposals are blocked [decisions].
        warmup: Decisions to watch before the first proposal [decisions].
        start_below: Propose only once the raw objective was below this (above, for mode max).
        max_global_reject_streak: Consecutive rejects before tuning pauses.
        pause_decisions: Length of the pause [decisions].
        global_cooldown: Whole decisions without a proposal after a reject [decisions].
        on_error: log | raise | disable, when a failure of foreign code was contained.
    """

    block_on_nan: bool = True
    block_on_anomaly: bool = True
    max_regression: float = 4.0
    patience: int = 2
    warmup: int = 0
    start_below: float | None = None
    max_global_reject_streak: int = 4
    pause_decisions: int = 8
    global_cooldown: int = 1
    on_error: Literal["log", "raise", "disable"] = "log"

    def __post_init__(self) -> None:
        positive = math.isfinite(self.max_regression) and self.max_regression > 0
        what = "must be finite and > 0 [MADs]"
        need(positive, "max_regression", what, self.max_regression, do="e.g. 4.0")
        if self.start_below is not None:
            finite = math.isfinite(self.start_below)
            need(finite, "start_below", "must be finite", self.start_below, do="leave it out")
        least = {
            "patience": 1,
            "warmup": 0,
            "max_global_reject_streak": 1,
            "pause_decisions": 1,
            "global_cooldown": 0,
        }
        for name, low in least.items():
            given = getattr(self, name)
            need(given >= low, name, f"must be >= {low} [decisions]", given, do=f"at least {low}")


class Guard(Struct, frozen=True, kw_only=True):
    """Restoring the training state when a run goes wrong, in modes guard and active.

    Attributes:
        enabled: Whether it watches; it needs ``model``.
        spike: How far the objective may fall below its forecast [MADs of residuals].
        lost_progress: Fraction of the progress since the start that may be lost [fraction].
        snapshots: 1 = keep the newest good training state; 2 and more = the best one too.
        budget_mb: Most memory for snapshots [MB]; ``None`` = no limit.
        max_restores: Restores before the guard gives up.
    """

    enabled: bool = True
    spike: float = 6.0
    lost_progress: float = 0.5
    snapshots: int = 2
    budget_mb: float | None = None
    max_restores: int = 10

    def __post_init__(self) -> None:
        inside = 0 < self.lost_progress <= 1
        positive = math.isfinite(self.spike) and self.spike > 0
        need(positive, "spike", "must be finite and > 0 [MADs]", self.spike, do="e.g. 6.0")
        need(inside, "lost_progress", "must lie in (0, 1]", self.lost_progress, do="e.g. 0.5")
        need(self.snapshots >= 1, "snapshots", "must be >= 1", self.snapshots, do="e.g. 2")
        need(
            self.max_restores >= 0, "max_restores", "must be >= 0", self.max_restores, do="e.g. 10"
        )
        if self.budget_mb is not None:
            positive = math.isfinite(self.budget_mb) and self.budget_mb > 0
            what = "must be finite and > 0 [MB]"
            need(positive, "budget_mb", what, self.budget_mb, do="e.g. 2000")


class Calibration(Struct, frozen=True, kw_only=True):
    """Finding the learning rate at the start of the run, in mode active.

    Attributes:
        enabled: auto = on when model, evaluate and total_steps were given.
        budget: Most of the run that it may throw away [fraction].
        method: ramp = raise the rate until training gives way, then check what that tells; race =
            train with lower and higher rates from one start, and go on with the best.
        then: rest = the search leaves a rate alone that was found so; search = it moves it too.
    """

    enabled: bool | Literal["auto"] = "auto"
    budget: float = 0.1
    method: Literal["ramp", "race"] = "ramp"
    then: Literal["rest", "search"] = "rest"

    def __post_init__(self) -> None:
        need(0 < self.budget < 1, "budget", "must lie in (0, 1)", self.budget, do="e.g. 0.1")
