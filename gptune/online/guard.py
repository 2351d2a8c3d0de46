"""Sees when a run has gone wrong, and says what to put back. Pure, and affine-equivariant."""

import math
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from gptune.configs import Guard
from gptune.online.forecast import forecast
from gptune.records import Reason

KEPT = 12  # newest healthy values that a spike is judged against
LEAST = 5  # fewer say too little of their own spread
EXCESS = 3.5  # a spike is so many times larger than any dip that the run has recovered from
SOON = 0.15  # a restore so soon after another one means that restoring alone does not help
LOWER = -0.5  # then the rate falls, where nothing better is known [decades]
LATEST = 0.8  # part of the run after which no look ahead may end
LOOKS = 0.2  # part of the run that looks ahead may throw away


class GuardState(Struct, frozen=True, kw_only=True):
    """What the guard remembers; values are larger-is-better [metric units].

    Attributes:
        steps: When the newest healthy values were measured [steps].
        values: What they were.
        start: The first one.
        best: The best one.
        deepest: How far a healthy value fell below what was expected at most.
        restores: Times that the training state was put back.
        restored_at: When that was last [steps].
        repeats: Restores of late that each followed another one soon.
        mark: The best value when it was put back last.
        looked: Steps that looks ahead threw away [steps].
        unread: Decisions in a row at which the objective was not finite.
        rung: Restores of late that did not help and that the rate may be to blame for.
        screens: Whether batches are looked at, for the run was poisoned once.
    """

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    start: float | None = None
    best: float | None = None
    deepest: float = 0.0
    restores: int = 0
    restored_at: int | None = None
    repeats: int = 0
    mark: float | None = None
    looked: int = 0
    unread: int = 0
    rung: int = 0
    screens: bool = False


def examine(rules: Guard, state: GuardState, step: int, value: float) -> Reason | None:
    """Say what is wrong with a finite value, if anything is.

    *Spike*: it lies below all newest healthy values, and further below what was expected than
    ``spike`` MADs of their residuals and than three and a half times any dip so far. *Divergence*:
    more than ``lost_progress`` of the progress from the first value to the best one is gone, half
    of that was gone before, and that progress stands out from the dips so far.

    Args:
        rules: The recipe's section.
        state: What the guard remembers.
        step: Now [steps].
        value: The objective, larger is better [metric units].
    """
    if len(state.values) < LEAST or value >= min(state.values):
        return None
    dip, spread = dip_of(state, step, value)
    if dip > rules.spike * spread and dip > EXCESS * state.deepest:
        return Reason.SPIKE
    assert state.best is not None
    assert state.start is not None
    progress = state.best - state.start
    lost, before = state.best - value, state.best - state.values[-1]
    is_gone = min(lost, 2 * before) > rules.lost_progress * progress > 0
    is_clear = progress > rules.spike * max(state.deepest, spread)
    return Reason.DIVERGENCE if is_gone and is_clear else None


def healthy(state: GuardState, step: int, value: float) -> GuardState:
    """Take note of a healthy value."""
    deepest = state.deepest
    if len(state.values) >= LEAST:
        deepest = max(deepest, dip_of(state, step, value)[0])
    return replace(
        state,
        steps=(*state.steps, step)[-KEPT:],
        values=(*state.values, value)[-KEPT:],
        start=value if state.start is None else state.start,
        best=value if state.best is None else max(state.best, value),
        deepest=deepest,
        unread=0,
    )


def take_note(state: GuardState, *, finite: bool) -> GuardState:
    """Take note of a value that is not healthy: whether it was a finite number at least."""
    return replace(state, unread=0 if finite else state.unread + 1)


def climbed(state: GuardState) -> GuardState:
    """Take note of a restore that did not help, for which the rate may be to blame."""
    return replace(state, rung=state.rung + 1)


def is_lost(state: GuardState) -> bool:
    """Say whether one more value that is not finite means that training is lost.

    It does at the second one, though every weight be finite: weights can be too large to compute
    with. Where nothing was healthy since a restore, it is not training that is to blame.
    """
    was_well = bool(state.steps) and state.steps[-1] > (state.restored_at or 0)
    return was_well and state.unread > 0


def restored(state: GuardState, step: int, total: int | None) -> GuardState:
    """Take note that the training state was put back."""
    again = is_repeat(state, step, total)
    return replace(
        state,
        restores=state.restores + 1,
        restored_at=step,
        repeats=state.repeats + 1 if again else 0,
        mark=state.best,
        unread=0,
        rung=state.rung if again else 0,
    )


def looked(state: GuardState, step: int, wasted: int) -> GuardState:
    """Take note of a look ahead: what comes soon after it comes soon after a restore."""
    return replace(state, restored_at=step, looked=state.looked + wasted)


def may_look(state: GuardState, step: int, steps: int, total: int) -> bool:
    """Say whether there is still room for a look ahead.

    Args:
        state: What the guard remembers.
        step: Now [steps].
        steps: That it would take [steps].
        total: Of the whole run [steps].
    """
    return step + steps <= LATEST * total and state.looked + steps <= LOOKS * total


def has_improved(state: GuardState) -> bool:
    """Say whether there was a new best value since the training state was put back last."""
    return state.best is not None and (state.mark is None or state.best > state.mark)


def is_repeat(state: GuardState, step: int, total: int | None) -> bool:
    """Say whether the last restore was so recent that it did not help.

    Without a known length of the run, recent means within that part of what it has come so far.
    """
    if state.restored_at is None:
        return False
    span = SOON * total if total is not None else SOON * step
    return step - state.restored_at <= span


def prefers_best(rules: Guard, state: GuardState, *, repeat: bool) -> bool:
    """Say whether the best state serves better than the newest healthy one.

    It does when the newest itself lies far below the best, or when the newest was put back
    already and it did not help.
    """
    if repeat or state.best is None or len(state.values) < LEAST:
        return repeat
    center = median(state.values)
    spread = median(abs(value - center) for value in state.values)
    return state.best - state.values[-1] > rules.spike * max(spread, math.ulp(state.best))


def gives_up(rules: Guard, state: GuardState) -> bool:
    """Say whether no restore is left."""
    return state.restores >= rules.max_restores


def dip_of(state: GuardState, step: int, value: float) -> tuple[float, float]:
    """Give how far a value lies below what was expected, and the spread of the values before.

    Args:
        state: What the guard remembers, at least four values.
        step: When it was measured [steps].
        value: The objective, larger is better [metric units].
    """
    outlook = forecast(state.steps, state.values, step)
    assert outlook is not None  # there are enough of them
    return min(outlook.value, max(state.values)) - value, outlook.spread
