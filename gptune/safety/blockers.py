"""What forbids a change: a metric that is not a number, an anomaly, risk, bounds, step."""

import math
from collections.abc import Mapping

from gptune.configs import Knob, Safety
from gptune.records import Categorical, Integer, Reading, Reason, Scalar


def metric_faults(
    config: Safety, objective: Reading, backups: Mapping[str, Reading], *, anomaly: bool
) -> tuple[Reason, ...]:
    """List what is wrong with what was reported; empty when a decision may go on.

    The objective must be one finite number whatever the recipe says. A backup metric that was
    not reported is no fault.
    """
    faults = [objective.fault] if objective.fault else []
    unsound = [r for r in backups.values() if r.fault not in (None, Reason.MISSING)]
    if config.block_on_nan and unsound:
        faults.append(Reason.BACKUP_NOT_FINITE)
    if config.block_on_anomaly and anomaly:
        faults.append(Reason.ANOMALY)
    return tuple(faults)


def place_faults(knob: Knob, move: object) -> tuple[Reason, ...]:
    """List why a knob may not stand at a move, wherever it comes from; empty when it may."""
    if isinstance(knob.space, Categorical):
        known = any(type(c) is type(move) and c == move for c in knob.space.choices)
        return () if known else (Reason.BAD_VALUE,)
    is_number = isinstance(move, int | float) and not isinstance(move, bool)
    is_whole = isinstance(move, int) or not isinstance(knob.space, Integer)
    is_finite = not isinstance(move, float) or math.isfinite(move)
    if not (is_number and is_whole and is_finite):
        return (Reason.BAD_VALUE,)
    inside = knob.space.low <= move <= knob.space.high  # type: ignore[operator]
    return () if inside else (Reason.BOUNDS,)


def move_faults(knob: Knob, old: Scalar, new: object) -> tuple[Reason, ...]:
    """List why a knob may not go from one move to another; empty when it may.

    Args:
        knob: The knob, with its bounds and largest step.
        old: The move in force.
        new: The move proposed: anything at all.
    """
    faults = place_faults(knob, new)
    if faults:
        return faults
    if isinstance(knob.space, Categorical):
        return (Reason.NO_CHANGE,) if new == old and type(new) is type(old) else ()
    low, high = knob.limits(float(old))
    if not low <= new <= high:  # type: ignore[operator]
        return (Reason.STEP,)
    return (Reason.NO_CHANGE,) if new == old else ()


def standing_faults(knob: Knob, phase: str | None) -> tuple[Reason, ...]:
    """List why a knob may not move at all in this phase (``None``: in any), wherever to."""
    faults = [Reason.RISK] if knob.mutation.risk == "high" else []
    chosen = knob.mutation.phases
    if chosen is not None and phase is not None and phase not in chosen:
        faults.append(Reason.PHASE)
    return tuple(faults)
