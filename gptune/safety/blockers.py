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


def move_faults(knob: Knob, old: Scalar, new: object) -> tuple[Reason, ...]:
    """List why a knob may not go from one move to another; empty when it may.

    Args:
        knob: The knob, with its bounds and largest step.
        old: The move in force.
        new: The move proposed: anything at all.
    """
    if isinstance(knob.space, Categorical):
        known = any(type(c) is type(new) and c == new for c in knob.space.choices)
        faults = [] if known else [Reason.BAD_VALUE]
    else:
        faults = _number_faults(knob, old, new)
    same = new == old and (not isinstance(knob.space, Categorical) or type(new) is type(old))
    return tuple(faults) or ((Reason.NO_CHANGE,) if same else ())


def standing_faults(knob: Knob, phase: str | None) -> tuple[Reason, ...]:
    """List why a knob may not move at all in this phase (``None``: in any), wherever to."""
    faults = [Reason.RISK] if knob.mutation.risk == "high" else []
    chosen = knob.mutation.phases
    if chosen is not None and phase is not None and phase not in chosen:
        faults.append(Reason.PHASE)
    return tuple(faults)


def _number_faults(knob: Knob, old: Scalar, new: object) -> list[Reason]:
    is_number = isinstance(new, int | float) and not isinstance(new, bool)
    if not is_number or (isinstance(new, float) and not math.isfinite(new)):
        return [Reason.BAD_VALUE]
    if isinstance(knob.space, Integer) and not isinstance(new, int):
        return [Reason.BAD_VALUE]
    assert not isinstance(knob.space, Categorical)
    faults = []
    if not knob.space.low <= new <= knob.space.high:  # type: ignore[operator]
        faults.append(Reason.BOUNDS)
    low, high = knob.limits(float(old))
    if not low <= new <= high and not faults:  # type: ignore[operator]
        faults.append(Reason.STEP)
    return faults
