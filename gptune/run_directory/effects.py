"""What a change did to the metric, and whether that can be told: one rule for all who say it."""

import math

from msgspec import Struct

from gptune.records import Evidence

SURE = 1.96  # deviations to each side: 95 of 100 cases, if the forecast's errors are normal


class Effect(Struct, frozen=True):
    """What a change did.

    Attributes:
        size: Gain less the penalty for backup metrics, larger is better [metric units].
        wide: Half of the interval in which it lies in 95 of 100 cases [metric units]; ``None``
            where there was no forecast, so that nobody knows what the metric had done by itself.
        sign: better | worse | none, where it cannot be told from nothing.
    """

    size: float
    wide: float | None
    sign: str


def effect_of(evidence: Evidence | None, reference: object = "forecast") -> Effect | None:
    """Weigh what a segment showed.

    Args:
        evidence: What it showed, if it was judged.
        reference: ``acceptance.reference``: what it was judged against.

    Returns:
        The effect; ``None`` if there is no number.

    Example:
        >>> effect_of(Evidence(gain=0.5, deviation=0.1)).sign
        'better'
        >>> effect_of(Evidence(gain=0.5, deviation=0.1), "last").sign
        'none'
    """
    if evidence is None:
        return None
    size, deviation = evidence.gain - evidence.penalty, evidence.deviation
    if not math.isfinite(size):
        return None
    if deviation is None or not 0 <= deviation < math.inf or reference == "last":
        return Effect(size, None, "none")
    wide = SURE * deviation
    sign = "none" if abs(size) <= wide else "better" if size > 0 else "worse"
    return Effect(size, wide, sign)
