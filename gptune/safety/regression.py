"""Is this value of the metric a regression, given the metric's own spread?"""

import math


def is_regression(value: float, expected: float, spread: float, limit: float) -> bool:
    """Say whether a value fell further below its forecast than its own noise explains.

    Computes ``expected - value > limit * spread``. Affine-equivariant: adding a constant to the
    metric, or scaling it, changes no answer. What is not a number is a regression.

    Args:
        value: The metric, larger is better [metric units].
        expected: What was forecast [metric units].
        spread: Median absolute deviation of the forecast's residuals [metric units], >= 0.
        limit: How many spreads are tolerated [spreads], > 0.

    Example:
        >>> is_regression(0.5, 1.0, 0.1, 4.0), is_regression(0.7, 1.0, 0.1, 4.0)
        (True, False)
    """
    if not (math.isfinite(value) and math.isfinite(expected) and spread >= 0):
        return True
    return expected - value > limit * spread
