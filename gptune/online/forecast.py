"""What the metric would have become without the change. Pure, and affine-equivariant."""

import math
from collections.abc import Sequence
from statistics import fmean, median

from msgspec import Struct

LEAST_POINTS = 4  # fewer say nothing about their own spread
NORMAL = 1.4826  # median absolute deviation -> standard deviation of a normal


class Forecast(Struct, frozen=True, kw_only=True):
    """A forecast of one value; larger is better.

    Attributes:
        value: What is expected [metric units].
        deviation: Standard deviation of the forecast [metric units].
        spread: Median absolute deviation of the residuals [metric units].
        freedom: Degrees of freedom of the spread.
    """

    value: float
    deviation: float
    spread: float
    freedom: int


def forecast(steps: Sequence[int], values: Sequence[float], at: int) -> Forecast | None:
    """Continue a metric to a later step: Theil-Sen on log(step), never worse than flat.

    The slope is the median of the slopes of all pairs, clipped at 0 (training does not get worse
    by itself), the level the median of what is left. The deviation is that of a regression
    line's prediction, with 1.4826 times the median absolute deviation of the residuals for the
    noise, inflated for the two fitted numbers.

    Args:
        steps: When [steps], at least `LEAST_POINTS` of them, rising.
        values: What was measured then, larger is better [metric units].
        at: When to forecast [steps].

    Returns:
        The forecast, or ``None`` with too few points.

    Example:
        >>> round(forecast([1, 10, 100, 1000], [0.0, 1.0, 2.0, 3.0], 10_000).value, 6)
        4.0

    Source:
        Sen (1968), Journal of the American Statistical Association 63, 1379-1389.
    """
    if len(values) < LEAST_POINTS:
        return None
    x = [math.log(max(1, step)) for step in steps]
    n = len(x)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if x[j] > x[i]]
    slopes = [(values[j] - values[i]) / (x[j] - x[i]) for i, j in pairs]
    slope = max(0.0, median(slopes)) if slopes else 0.0
    level = median(y - slope * t for t, y in zip(x, values, strict=True))
    residuals = [y - level - slope * t for t, y in zip(x, values, strict=True)]
    rounding = 8 * math.ulp(max(abs(y) for y in values))
    spread = max(median(abs(r) for r in residuals), rounding)
    center, freedom = fmean(x), n - 2
    spanned = sum((t - center) ** 2 for t in x) or 1.0
    here = math.log(max(1, at))
    inflation = math.sqrt(n / freedom * (1 + 1 / n + (here - center) ** 2 / spanned))
    deviation = NORMAL * spread * inflation
    expected = level + slope * here
    return Forecast(value=expected, deviation=deviation, spread=spread, freedom=freedom)


def probability_above(value: float, deviation: float, freedom: int) -> float:
    """Probability that a quantity measured as ``value`` with Student-t noise is above 0.

    Args:
        value: Measured [metric units].
        deviation: Its standard deviation [metric units], >= 0.
        freedom: Degrees of freedom, >= 1.

    Returns:
        The Student-t distribution function at ``value / deviation``; 0 for what is not a number.

    Example:
        >>> probability_above(0.0, 1.0, 2), round(probability_above(2.92, 1.0, 2), 3)
        (0.5, 0.95)

    Source:
        Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.
    """
    if math.isnan(value) or math.isnan(deviation) or math.isinf(deviation):
        return 0.0
    if deviation == 0 or math.isinf(value):
        return 1.0 if value > 0 else 0.0
    t = value / deviation
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(freedom // 2):
        total += term
        term *= cosine**2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    area = math.sin(angle) * total
    inside = 2 / math.pi * (angle + area) if odd else area
    return min(1.0, max(0.0, 0.5 + inside / 2))
