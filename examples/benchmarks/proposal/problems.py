"""What is minimised: synthetic functions, a mixed one, a noisy one, three real ones."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from gptune import Categorical, Float, Integer, SearchSpace
from gptune.records import Point

Loss = Callable[[Point], float]


@dataclass(frozen=True, slots=True)
class Problem:
    """A function to minimise over a search space.

    Attributes:
        name: Of the row in the tables.
        space: Where it is defined.
        truth: The loss without noise.
        optimum: Least loss, where it is known.
        noise: Standard deviation of what is told [units of the loss].
    """

    name: str
    space: SearchSpace
    truth: Loss
    optimum: float | None = None
    noise: float = 0.0

    def told(self, point: Point, chance: random.Random) -> float:
        """Give what a method is told: the truth, with noise."""
        return self.truth(point) + (self.noise * chance.gauss(0, 1) if self.noise else 0.0)


def over(low: float, high: float, count: int) -> SearchSpace:
    """Give a space of equal sides."""
    return SearchSpace({f"x{i}": Float(low, high) for i in range(count)})


def vector(point: Point) -> list[float]:
    return [float(value) for value in point.values()]


def branin(point: Point) -> float:
    x, y = vector(point)
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


HARTMANN_A = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
HARTMANN_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann6(point: Point) -> float:
    x = vector(point)
    total = 0.0
    for weight, a, p in zip((1.0, 1.2, 3.0, 3.2), HARTMANN_A, HARTMANN_P, strict=True):
        distance = sum(aj * (xj - pj) ** 2 for aj, xj, pj in zip(a, x, p, strict=True))
        total += weight * math.exp(-distance)
    return -total


def ackley(point: Point) -> float:
    x = vector(point)
    root = math.sqrt(sum(xi * xi for xi in x) / len(x))
    waves = sum(math.cos(2 * math.pi * xi) for xi in x) / len(x)
    return -20 * math.exp(-0.2 * root) - math.exp(waves) + 20 + math.e


def rosenbrock(point: Point) -> float:
    x = vector(point)
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


def levy(point: Point) -> float:
    w = [1 + (x - 1) / 4 for x in vector(point)]
    inner = sum((v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2) for v in w[:-1])
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return math.sin(math.pi * w[0]) ** 2 + inner + last


def styblinski(point: Point) -> float:
    return 0.5 * sum(x**4 - 16 * x**2 + 5 * x for x in vector(point))


MIXED = SearchSpace(
    {
        "rate": Float(1e-4, 1.0, log=True),
        "decay": Float(0.0, 1.0),
        "layers": Integer(1, 8),
        "width": Integer(8, 512, log=True),
        "activation": Categorical(("relu", "tanh", "gelu")),
        "norm": Categorical(("none", "layer", "batch", "rms")),
    }
)


def mixed(point: Point) -> float:
    """A made-up loss of a network: the best rate depends on depth, width and normalisation."""
    rate = math.log10(float(point["rate"]))
    layers, width = float(point["layers"]), math.log2(float(point["width"]))
    shift = {"none": -1.0, "layer": 0.0, "batch": 0.4, "rms": 0.1}[str(point["norm"])]
    gain = {"relu": 0.15, "tanh": 0.3, "gelu": 0.0}[str(point["activation"])]
    good = -1.6 - 0.12 * (layers - 4) - 0.15 * (width - 6) + shift
    depth = 0.04 * (layers - (5 if point["norm"] != "none" else 3)) ** 2
    size = 0.03 * (width - 7.5) ** 2
    reach = {"none": 0.35, "layer": 0.05, "batch": 0.1, "rms": 0.0}[str(point["norm"])]
    drop = 0.6 * (float(point["decay"]) - 0.1 - 0.02 * width) ** 2
    return 1 - math.exp(-0.5 * (rate - good) ** 2) + depth + size + reach + gain + drop


# --- three real ones, on data that scikit-learn ships -----------------------------------------


@cache
def _data(name: str, rows: int) -> tuple[Any, Any]:
    import numpy as np
    from sklearn import datasets
    from sklearn.preprocessing import StandardScaler

    loaded = getattr(datasets, f"load_{name}")()
    order = np.random.default_rng(0).permutation(len(loaded.target))[:rows]
    return StandardScaler().fit_transform(loaded.data[order]), loaded.target[order]


def _cross_validated(estimator: Any, name: str, rows: int, scoring: str) -> float:
    from sklearn.model_selection import cross_val_score

    x, y = _data(name, rows)
    return -float(cross_val_score(estimator, x, y, cv=3, scoring=scoring).mean())


def svm_digits(point: Point) -> float:
    """Cross-validated log loss of a support-vector classifier on handwritten digits."""
    import numpy as np
    from sklearn.metrics import log_loss
    from sklearn.model_selection import cross_val_predict
    from sklearn.svm import SVC

    x, y = _data("digits", 500)
    model = SVC(C=point["C"], gamma=point["gamma"])
    scores = cross_val_predict(model, x, y, cv=3, method="decision_function")
    chances = np.exp(scores - scores.max(1, keepdims=True))
    return float(log_loss(y, chances / chances.sum(1, keepdims=True)))


def boosting_diabetes(point: Point) -> float:
    """Cross-validated squared error, in hundreds, of boosted trees on the diabetes data."""
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(**point, random_state=0)
    return _cross_validated(model, "diabetes", 442, "neg_mean_squared_error") / 100


def network_wine(point: Point) -> float:
    """Cross-validated log loss of a small network on the wine data."""
    from sklearn.neural_network import MLPClassifier

    named = dict(point)
    model = MLPClassifier(
        hidden_layer_sizes=(named.pop("width"),),
        momentum=named.pop("momentum"),
        solver="sgd",
        max_iter=20,
        random_state=0,
        **named,
    )
    return _cross_validated(model, "wine", 178, "neg_log_loss")


REAL = {
    "svm_digits": SearchSpace(
        {"C": Float(1e-3, 1e3, log=True), "gamma": Float(1e-5, 1.0, log=True)}
    ),
    "boosting_diabetes": SearchSpace(
        {
            "learning_rate": Float(0.005, 0.5, log=True),
            "n_estimators": Integer(5, 60),
            "max_depth": Integer(1, 6),
            "subsample": Float(0.3, 1.0),
            "min_samples_leaf": Integer(1, 40, log=True),
        }
    ),
    "network_wine": SearchSpace(
        {
            "width": Integer(2, 64, log=True),
            "learning_rate_init": Float(1e-4, 1.0, log=True),
            "alpha": Float(1e-6, 1.0, log=True),
            "momentum": Float(0.0, 0.99),
            "batch_size": Integer(8, 128, log=True),
            "activation": Categorical(("relu", "tanh", "logistic")),
        }
    ),
}

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "branin",
            SearchSpace({"x0": Float(-5.0, 10.0), "x1": Float(0.0, 15.0)}),
            branin,
            0.397887357729738,
        ),
        Problem("hartmann6", over(0.0, 1.0, 6), hartmann6, -3.322368011391339),
        Problem("ackley5", over(-32.768, 32.768, 5), ackley, 0.0),
        Problem("rosenbrock4", over(-5.0, 10.0, 4), rosenbrock, 0.0),
        Problem("levy8", over(-10.0, 10.0, 8), levy, 0.0),
        Problem("styblinski6", over(-5.0, 5.0, 6), styblinski, -39.16616570377142 * 6),
        Problem("noisy_hartmann6", over(0.0, 1.0, 6), hartmann6, -3.322368011391339, 0.2),
        Problem("mixed6", MIXED, mixed),
        Problem("svm_digits", REAL["svm_digits"], svm_digits),
        Problem("boosting_diabetes", REAL["boosting_diabetes"], boosting_diabetes),
        Problem("network_wine", REAL["network_wine"], network_wine),
    )
}
