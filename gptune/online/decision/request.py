"""When a proposal is asked for, of which knobs, and within which limits. Pure."""

from gptune.configs import Knob, Mode, neutral
from gptune.events import Moment
from gptune.online.decision.state import KernelConfig, KernelState, Seen
from gptune.online.segment import is_late
from gptune.records import Categorical, Reason, Request, Scalar
from gptune.safety import gate


def why_not(config: KernelConfig, state: KernelState, moment: Moment) -> tuple[Reason, ...]:
    """List why nothing is proposed at this decision, whatever the knobs are."""
    recipe = config.recipe
    needs_forecast = recipe.acceptance.reference == "forecast"
    unknown = needs_forecast and state.objective.forecast(moment.step + 1) is None
    searching = recipe.search.algorithm != "none" and state.mode in (Mode.ACTIVE, Mode.SUGGEST)
    held = {
        Reason.LOG_FAILED: state.log_failed,
        Reason.NOTHING_TO_TUNE: not config.knobs or not searching,
        Reason.SEGMENT_OPEN: state.pending is not None,
        Reason.NO_FORECAST: unknown,
        Reason.NOT_THIS_DECISION: moment.decision % recipe.search.every != 0,
    }
    mine = tuple(reason for reason, holds in held.items() if holds)
    return mine + gate.hindrances(recipe.safety, state.safety, moment.decision)


def free_knobs(
    config: KernelConfig, state: KernelState, seen: Seen, moment: Moment
) -> tuple[tuple[str, ...], tuple[Reason, ...]]:
    """List the knobs that may move now, and why the others may not."""
    free, reasons = gate.free_knobs(state.safety, config.knobs, moment.decision, moment.phase)
    lost = {f: reading.lost for f, reading in seen.knobs.items() if reading.lost}
    if config.recipe.calibration.then == "rest":
        lost |= dict.fromkeys(state.found, Reason.CALIBRATED)
    reasons = (*reasons, *(lost[family] for family in free if family in lost))
    return tuple(f for f in free if f not in lost), tuple(dict.fromkeys(reasons))


def request_for(
    config: KernelConfig, state: KernelState, moment: Moment, free: tuple[str, ...]
) -> Request:
    """Say what is asked for: which knobs, from where, and how far they may go."""
    numeric = [f for f in free if not isinstance(config.knobs[f].space, Categorical)]
    limits = {f: config.knobs[f].limits(float(state.point[f])) for f in numeric}
    centers = {f: _heading(config.knobs[f], state.point[f], moment.phase) for f in free}
    return Request(
        number=moment.decision,
        point=dict(state.point),
        limits=limits,
        free=free,
        joint=config.recipe.search.joint,
        centers={f: center for f, center in centers.items() if center is not None},
        upward=guarded_rates(config, moment.step),
    )


def _heading(knob: Knob, move: Scalar, phase: str) -> float | None:
    """Give the prior center while a knob is on its way there from where nothing is changed."""
    center = knob.mutation.center_in(phase)
    if center is None or isinstance(knob.space, Categorical):
        return None
    ends = sorted((float(neutral(knob.mutation, knob.base)), center))
    return center if ends[0] <= float(move) <= ends[1] else None


def guarded_rates(config: KernelConfig, step: int) -> tuple[str, ...]:
    """Name the learning rates whose lowering a short look cannot judge at this step."""
    strict = config.recipe.acceptance.lower_after_start == "strict"
    guarded = strict and is_late(step, config.total_steps)
    return tuple(f for f, knob in config.knobs.items() if guarded and knob.is_rate)
