"""What travels between the rooms: frozen records, no behaviour beyond reading themselves.

Inside gptune larger is better; the raw metric, as the user reported it, is what events and
reports hold. A *move* is the value of a knob in the recipe's own units: the multiplier m for
``mode: mult``, the value itself for ``set``, the difference for ``delta``.
"""

import math
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from gptune.errors import SpaceError

Scalar = bool | int | float | str
Point = Mapping[str, Scalar]  # one setting of the hyperparameters: name -> move


class Float(msgspec.Struct, frozen=True, tag="float"):
    """A real parameter in ``[low, high]``.

    Args:
        low: Smallest value allowed.
        high: Largest value allowed, above ``low``.
        log: Search on a logarithmic scale; ``low`` must then be positive.

    Raises:
        SpaceError: If bounds are not finite, too large or reversed, or ``log`` meets ``low <= 0``.

    Example:
        >>> Float(1e-4, 1e-1, log=True)
        Float(low=0.0001, high=0.1, log=True)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        check_range(self.low, self.high, log=self.log)


class Integer(msgspec.Struct, frozen=True, tag="integer"):
    """A whole-number parameter in ``[low, high]``, both ends included.

    Raises:
        SpaceError: As for `Float`, or if a bound is not a whole number.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        check_range(self.low, self.high, log=self.log, whole=True)


class Categorical(msgspec.Struct, frozen=True, tag="categorical"):
    """An unordered choice among at least two different values.

    Raises:
        SpaceError: If there are fewer than two choices, or one of them stands twice.
    """

    choices: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        choices = tuple(self.choices)
        msgspec.structs.force_setattr(self, "choices", choices)
        if len(choices) < 2:
            raise SpaceError(f"choices needs at least two values, got {choices!r}")
        if len({(type(c), c) for c in choices}) < len(choices):
            raise SpaceError(f"choices must differ, got {choices!r}; leave out the repeated value")


Parameter = Float | Integer | Categorical


class Tuple(msgspec.Struct, frozen=True, tag="tuple"):
    """Several parameters that are set as one value, all or nothing: Adam's betas.

    Args:
        parts: Name of each part -> its range, in the order of the value's elements.

    Raises:
        SpaceError: If there are no parts.

    Example:
        >>> Tuple({"beta1": Float(0.8, 0.99), "beta2": Float(0.9, 0.9999)}).parts["beta1"].high
        0.99
    """

    parts: dict[str, Parameter]

    def __post_init__(self) -> None:
        if not self.parts:
            raise SpaceError("parts must name at least one parameter, got none")


def check_range(low: float, high: float, *, log: bool, whole: bool = False) -> None:
    """Check the bounds of a numeric parameter; ``whole`` if it is one of whole numbers.

    Raises:
        SpaceError: Naming the field, the rule, what was given and what to do.
    """
    for name, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise SpaceError(f"{name} must be a number, got {bound!r}")
        if isinstance(bound, int) and abs(bound) >= 2**63:  # its digits may be too many to write
            raise SpaceError(
                f"{name} must be at most 2**63 - 1 in size, as SQLite and msgpack keep it, got a "
                f"whole number of {bound.bit_length()} bits; write a real one as 1e20, not 10**20"
            )
        if not math.isfinite(bound):
            raise SpaceError(f"{name} must be finite, got {bound!r}; give the widest useful value")
        if whole and not isinstance(bound, int):
            raise SpaceError(f"{name} must be a whole number, got {bound!r}; use Float for others")
    if not low < high:
        raise SpaceError(
            f"low must be below high, got low={low!r}, high={high!r}; "
            "swap them, or leave the parameter out of the space to hold it fixed"
        )
    if log and low <= 0:
        raise SpaceError(
            f"low must be positive on a log scale, got low={low!r}; raise it, or use log=False"
        )


class Action(StrEnum):
    """What the safety gate, or a decision as a whole, came to."""

    ACCEPTED = "accepted"  # the open segment is a gain: the change stays
    REJECTED = "rejected"  # the open segment is not: the change is undone
    APPLIED = "applied"  # a change was made; a segment opens
    SUGGESTED = "suggested"  # mode suggest: what active would have applied
    FAILED = "failed"  # an actuator failed; what it had done is undone
    BLOCKED = "blocked"  # nothing may be changed at this decision
    PAUSED = "paused"  # the reject streak is at its limit
    WAITING = "waiting"  # nothing to do: cooling down, an open segment, too little seen
    OBSERVED = "observed"  # mode observe, or nothing to tune


class Reason(StrEnum):
    """Why; counted in logs, searched for by operators."""

    NOT_FINITE = "not_finite"
    MISSING = "missing"
    NOT_A_NUMBER = "not_a_number"
    METRIC_RAISED = "metric_raised"
    BACKUP_NOT_FINITE = "backup_not_finite"
    ANOMALY = "anomaly"
    REGRESSION = "regression"
    NO_GAIN = "no_gain"
    LOWER_RATE = "lower_rate"
    NO_FORECAST = "no_forecast"
    GAIN = "gain"
    WARMUP = "warmup"
    START_BELOW = "start_below"
    PAUSED = "paused"
    COOLDOWN = "cooldown"
    SEGMENT_OPEN = "segment_open"
    NOT_THIS_DECISION = "not_this_decision"
    QUARANTINED = "quarantined"
    NOTHING_TO_TUNE = "nothing_to_tune"
    UNKNOWN_KNOB = "unknown_knob"
    RISK = "risk"
    PHASE = "phase"
    BOUNDS = "bounds"
    STEP = "step"
    BAD_VALUE = "bad_value"
    NO_CHANGE = "no_change"
    PROPOSER_FAILED = "proposer_failed"
    KERNEL_FAILED = "kernel_failed"
    LOG_FAILED = "log_failed"
    VALIDATE_REFUSED = "validate_refused"
    ACTUATOR_FAILED = "actuator_failed"
    READ_BACK_DIFFERS = "read_back_differs"
    NOT_LIVE = "not_live"
    OVERWRITTEN = "overwritten"
    LEFT_ACTIVE = "left_active"
    CLOSED = "closed"
    KEPT_ON_REJECT = "kept_on_reject"
    PINNED = "pinned"
    OPERATOR = "operator"
    LEFT_REPLAY = "left_replay"
    RESUMED = "resumed"
    RANKS_DIFFER = "ranks_differ"
    LOOK_AHEAD = "look_ahead"
    SPIKE = "spike"
    DIVERGENCE = "divergence"
    STATE_NOT_FINITE = "state_not_finite"
    RESTORED = "restored"
    MEASURED = "measured"
    CALIBRATED = "calibrated"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One reported metric, read once: a finite number, or what is wrong with it."""

    value: float = math.nan
    fault: Reason | None = None
    raw: str = ""  # as far as it can be shown, when it is not a number


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A point, what was measured there, how surely, and when.

    Attributes:
        point: The setting that was in force.
        value: What was measured; larger is better.
        noise: Variance of ``value`` [squared units of value]; ``None`` when unknown.
        number: When, as the count of observations told so far [observations].
        is_gain: Whether ``value`` is a gain over a forecast, so that no trend is left in it.
    """

    point: dict[str, Scalar]
    value: float
    noise: float | None = None
    number: int = 0
    is_gain: bool = False


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The posterior along one knob through the point in force, for the report."""

    at: tuple[float, ...]  # position in the unit cube
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What the proposer would try next, and what it believed when it said so.

    Attributes:
        point: The moved names and their new moves; names left out stay as they are.
        source: startup | gp | random | fallback | deadline | replay | human.
        mean: Posterior mean at the point; larger is better. ``None`` without a model.
        deviation: Posterior standard deviation at the point.
        criterion: Value of the acquisition there.
        hyperparameters: The fitted hyperparameters, enough to repeat the proposal.
        slices: One posterior slice a name.
    """

    point: dict[str, Scalar]
    source: str
    mean: float | None = None
    deviation: float | None = None
    criterion: float | None = None
    hyperparameters: dict[str, list[float]] = {}
    slices: dict[str, Slice] = {}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel asks of a proposer.

    Attributes:
        number: The decision's number; with the seed it fixes all randomness.
        point: The moves in force, all knobs.
        limits: Name -> smallest and largest next move, of the numeric knobs that are free.
        free: The knobs that may move.
        joint: Move all of them at once instead of one.
        centers: Name -> where its first proposal should lie.
        upward: Knobs whose start-up trials only go up: learning rates after the start, for a
            short look at a lower one proves little.
        pending: Points that were proposed and are not measured yet.
        slices: Whether the proposal shall carry posterior slices.
    """

    number: int
    point: dict[str, Scalar]
    limits: dict[str, tuple[float, float]]
    free: tuple[str, ...]
    joint: bool = False
    centers: dict[str, float] = {}
    upward: tuple[str, ...] = ()
    pending: tuple[dict[str, Scalar], ...] = ()
    slices: bool = True


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a proposer is told: a measured point, and whether a change was kept or undone."""

    observation: Observation
    success: bool | None = None  # None: nothing was being tried


class Change(msgspec.Struct, frozen=True):
    """One knob from an old move to a new one."""

    family: str
    old: Scalar
    new: Scalar


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment showed; larger is better.

    Attributes:
        gain: Metric minus its reference [metric units].
        deviation: Standard deviation of the forecast [metric units]; ``None`` without one.
        penalty: How far the backup metrics left their forecasts [metric units].
        probability: Probability that gain - penalty is above epsilon; ``None`` without forecast.
        regressions: Consecutive decisions, this one included, that regressed [decisions].
        lowers_guarded_rate: Whether it ran at a lower learning rate, where that needs more proof.
    """

    gain: float
    deviation: float | None = None
    penalty: float = 0.0
    probability: float | None = None
    regressions: int = 0
    lowers_guarded_rate: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """The safety gate's answer."""

    action: Action
    reasons: tuple[Reason, ...] = ()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One pass of the kernel, as ``Tuner.report`` returns it; ``str()`` is one line for people.

    Attributes:
        number: 1, 2, 3 ...; 0 in mode off.
        step: Optimizer steps counted so far [steps].
        verdict: What came of it.
        reasons: Why.
        changes: The change that the verdict speaks of: the one judged (accepted, rejected), or
            the one made (applied, suggested, failed).
        opened: A change made at the same decision after another one was judged.
        probability: Probability of a gain, when a segment was judged against a forecast.
        metric: The objective as reported; ``None`` when it was not one finite number.
        restored: Whether something was put back.
        source: Where the proposal came from, when one was made.
        seconds: Wall time of the parts of this decision [s].
    """

    number: int
    step: int
    verdict: Action
    reasons: tuple[Reason, ...] = ()
    changes: tuple[Change, ...] = ()
    opened: tuple[Change, ...] = ()
    probability: float | None = None
    metric: float | None = None
    restored: bool = False
    source: str | None = None
    seconds: dict[str, float] = {}

    @property
    def family(self) -> str | None:
        """The knob that was moved, several joined by ``+``, or ``None``."""
        return "+".join(c.family for c in self.changes) or None

    @property
    def old(self) -> Scalar | None:
        """The move before, of the first knob."""
        return self.changes[0].old if self.changes else None

    @property
    def new(self) -> Scalar | None:
        """The move after, of the first knob."""
        return self.changes[0].new if self.changes else None

    def __str__(self) -> str:
        metric = "-" if self.metric is None else f"{self.metric:.4g}"
        parts = [f"decision {self.number:>3}  step {self.step:>6}  {metric:>8}"]
        parts += [f"{self.verdict.value:<9}", *map(show_change, self.changes)]
        if self.probability is not None:
            parts.append(f"P(gain) {self.probability:.2f}")
        if self.reasons:
            parts.append("(" + ", ".join(r.value.replace("_", " ") for r in self.reasons) + ")")
        parts.extend(f"then {show_change(change)}" for change in self.opened)
        parts += [f"[{self.source}]"] if self.source is not None else []
        parts += ["put back"] if self.restored else []
        return "  ".join(parts)


def show_change(change: Change) -> str:
    """Write a change for people.

    Example:
        >>> show_change(Change("opt.lr", 1.0, 1.87654))
        'opt.lr 1 -> 1.877'
    """
    return f"{change.family} {show(change.old)} -> {show(change.new)}"


def show(value: Scalar) -> str:
    """Write a value for people: four significant digits.

    Example:
        >>> show(0.123456), show("relu")
        ('0.1235', 'relu')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)
