"""The course of an adjustment: triggered, tuned, compared, kept or put back. Pure.

At most one is under way. The gate of `gptune.safety` holds here, too: after each adjustment there
is a cooldown, after several in a row that came to nothing a pause; its decisions are periods of one
cooldown by the clock, which never run backwards.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from gptune.adjustment import detection
from gptune.adjustment.detection import Alarm
from gptune.adjustment.duel import Duel, Terms
from gptune.adjustment.state import Order, Phase, State, Trigger
from gptune.configs import Safety
from gptune.errors import UsageError
from gptune.records import Scalar
from gptune.safety import gate

HOUR, DAY = 3600.0, 86400.0


class Rules(Struct, frozen=True, kw_only=True):
    """When to adjust, and how sure to be.

    Attributes:
        success_threshold: Success rate below which it is time.
        adjustment_interval: Time after which it is time anyway [s]; ``None`` = never.
        false_alarm_every: Mean number of records up to a false alarm, at least [records].
        reference: Records after an adjustment that say what is usual [records].
        direction: ``minimize`` or ``maximize`` the metric that is watched.
        cooldown: Rest after an adjustment [s].
        terms: Of the comparison with what runs.
        safety: Of the gate, in cooldowns: after how many failures in a row how long a pause.

    Raises:
        UsageError: Naming the field.
    """

    success_threshold: float | None = 0.8
    adjustment_interval: float | None = DAY
    false_alarm_every: float = 10_000.0
    reference: int = 200
    direction: Literal["minimize", "maximize"] = "maximize"
    cooldown: float = HOUR
    terms: Terms = Terms()
    safety: Safety = Safety()

    def __post_init__(self) -> None:
        threshold = self.success_threshold
        if threshold is not None and not 0 < threshold < 1:
            raise UsageError(f"success_threshold: must lie between 0 and 1, got {threshold!r}")
        positive = {
            "adjustment_interval": self.adjustment_interval or 1.0,
            "cooldown": self.cooldown,
            "false_alarm_every": self.false_alarm_every - 1.0,
            "reference": self.reference - 9,
        }
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                least = {"false_alarm_every": 1, "reference": 9}.get(name, 0)
                given = getattr(self, name)
                raise UsageError(f"{name}: must be a number above {least}, got {given!r}")
        if self.direction not in ("minimize", "maximize"):
            raise UsageError(f"direction: must be minimize or maximize, got {self.direction!r}")

    @property
    def sign(self) -> float:
        """What turns the metric into larger-is-better."""
        return -1.0 if self.direction == "minimize" else 1.0


def rules_of(given: Rules | None, fields: Mapping[str, Any]) -> Rules:
    """Give rules, some of whose fields are given on their own.

    Raises:
        UsageError: If there is no such field, or its value is wrong.
    """
    unknown = sorted(fields.keys() - set(Rules.__struct_fields__))
    if unknown:
        names = ", ".join(Rules.__struct_fields__)
        raise UsageError(f"{unknown[0]}: is no argument; there are {names}")
    return replace(given or Rules(), **fields)


def start(rules: Rules, now: float, running: Mapping[str, Scalar] | None) -> State:
    """Begin to watch what runs."""
    params = None if running is None else dict(running)
    return replace(State(success=_alarm(rules)), ended=now, running=params, tick=_tick(rules, now))


def observe(
    rules: Rules, state: State, successes: Iterable[float], metrics: Iterable[float]
) -> State:
    """Take records into account; while an adjustment is under way, they say nothing of it.

    Args:
        rules: When to adjust.
        state: What is known.
        successes: Whether cases succeeded, 1 or 0; a NaN counts as a failure.
        metrics: How good they were; a NaN counts as worse than usual.
    """
    if state.phase is not Phase.WATCHING:
        return state
    success = state.success
    for value in successes:
        kept = value if math.isfinite(value) else 0.0
        success = detection.watch(success, min(max(kept, 0.0), 1.0))
    state = replace(state, success=success)
    for value in metrics:
        state = _see(rules, state, rules.sign * value)
    return state


def _see(rules: Rules, state: State, value: float) -> State:
    """Take one metric into account, larger is better."""
    if state.drift is not None:
        seen = 1.0 if value >= state.usual else 0.0  # a NaN is not
        return replace(state, drift=detection.watch(state.drift, seen))
    if not math.isfinite(value):
        return state
    reference = (*state.reference, value)
    if len(reference) < rules.reference:
        return replace(state, reference=reference)
    border, share = detection.median_of(reference)
    drift = Alarm(level=share, every=rules.false_alarm_every)
    return replace(state, reference=(), usual=border, drift=drift)


def due(rules: Rules, state: State, now: float) -> Trigger | None:
    """Say why an adjustment is to begin now; ``None`` if none is, or may."""
    state = at(rules, state, now)
    if state.phase is not Phase.WATCHING or hindrances(rules, state):
        return None
    interval = rules.adjustment_interval
    reasons = {
        Trigger.BY_HAND: state.order is not None,
        Trigger.LOW_SUCCESS: rules.success_threshold is not None and state.success.is_raised,
        Trigger.DEGRADED: state.drift is not None and state.drift.is_raised,
        Trigger.PERIOD: interval is not None and now - state.ended >= interval,
    }
    return next((trigger for trigger, holds in reasons.items() if holds), None)


def at(rules: Rules, state: State, now: float) -> State:
    """Let time pass; a pause that is over ends."""
    tick = max(state.tick, _tick(rules, now))
    safety = state.safety
    if gate.is_over(safety, tick):
        safety = gate.resume(safety)
    return replace(state, tick=tick, safety=safety)


def hindrances(rules: Rules, state: State) -> tuple[str, ...]:
    """List why none may begin now: a cooldown, a pause."""
    return tuple(reason.value for reason in gate.hindrances(rules.safety, state.safety, state.tick))


def order(state: State, wanted: Order) -> State:
    """Note what somebody wants by hand."""
    return replace(state, order=wanted)


def begin(rules: Rules, state: State, trigger: Trigger, now: float) -> State:
    """Begin an adjustment."""
    state = at(rules, state, now)
    return replace(
        state, number=state.number + 1, phase=Phase.TUNING, trigger=trigger, begun=now, duel=Duel()
    )


def tuned(rules: Rules, state: State, best: Mapping[str, Scalar] | None, now: float) -> State:
    """Go on with what the study has found; without anything better, it is over."""
    if best is None or best == state.running:
        return put_back(rules, state, now)
    return replace(state, phase=Phase.COMPARING, candidate=dict(best), duel=Duel())


def applying(state: State) -> State:
    """Be about to apply the candidate: written down before it is done."""
    return replace(state, phase=Phase.APPLYING, applied=state.applied + 1)


def kept(rules: Rules, state: State, now: float) -> State:
    """The candidate runs: what is usual is to be learnt anew."""
    safety = gate.accepted(state.safety)
    return _over(rules, replace(state, safety=safety, running=state.candidate), now)


def put_back(rules: Rules, state: State, now: float) -> State:
    """What ran before goes on running."""
    state = at(rules, state, now)
    safety = gate.rejected(rules.safety, state.safety, state.tick)
    return _over(rules, replace(state, safety=safety), now)


def _over(rules: Rules, state: State, now: float) -> State:
    state = at(rules, state, now)
    rests = max(state.safety.ready_all, state.tick + 2)  # a whole period, whenever this one began
    return replace(
        state,
        phase=Phase.WATCHING,
        trigger=None,
        order=None,
        candidate=None,
        ended=now,
        success=_alarm(rules),
        drift=None,
        reference=(),
        duel=Duel(),
        safety=replace(state.safety, ready_all=rests),
    )


def _alarm(rules: Rules) -> Alarm:
    level = 0.5 if rules.success_threshold is None else rules.success_threshold
    return Alarm(level=level, every=rules.false_alarm_every)


def _tick(rules: Rules, now: float) -> int:
    return int(now // rules.cooldown)
