"""What is tuned: models of scikit-learn on its own data; a cross-validated loss, lower is better.

The objectives are written once, for Optuna's trials and for ours: both have the same methods.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

FOLDS, ROWS = 3, 400
Make = Callable[[Any, int], tuple[Any, str]]  # of a trial and a seed: a model, and its data


@cache
def _data(name: str) -> tuple[Any, Any]:
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(y))[:ROWS]
    x, y = x[chosen], y[chosen]
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
    return x, y


def loss(model: Any, name: str, seed: int) -> float:
    """Cross-validate a model on some of the rows of a dataset; lower is better."""
    x, y = _data(name)
    scoring = "neg_mean_squared_error" if name == "diabetes" else "neg_log_loss"
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations are meant to be few
        scores = cross_val_score(model, x, y, cv=folds, scoring=scoring)
    return float(-np.mean(scores))


def svr(trial: Any, seed: int) -> tuple[Any, str]:
    """Three numbers on logarithmic scales."""
    model = SVR(
        C=trial.suggest_float("C", 1e-3, 1e3, log=True),
        gamma=trial.suggest_float("gamma", 1e-5, 1e1, log=True),
        epsilon=trial.suggest_float("epsilon", 1e-3, 1.0, log=True),
    )
    return make_pipeline(StandardScaler(), model), "diabetes"


def boosting(trial: Any, seed: int) -> tuple[Any, str]:
    """Five numbers, of which three are whole."""
    model = GradientBoostingRegressor(
        learning_rate=trial.suggest_float("learning_rate", 1e-2, 1.0, log=True),
        n_estimators=trial.suggest_int("n_estimators", 5, 80),
        max_depth=trial.suggest_int("max_depth", 1, 6),
        subsample=trial.suggest_float("subsample", 0.3, 1.0),
        min_samples_leaf=trial.suggest_int("min_samples_leaf", 1, 40, log=True),
        random_state=seed,
    )
    return model, "diabetes"


def linear(trial: Any, seed: int) -> tuple[Any, str]:
    """Three numbers and a choice."""
    model = SGDClassifier(
        loss="log_loss",
        penalty="elasticnet",
        alpha=trial.suggest_float("alpha", 1e-6, 1.0, log=True),
        l1_ratio=trial.suggest_float("l1_ratio", 0.0, 1.0),
        eta0=trial.suggest_float("eta0", 1e-4, 1.0, log=True),
        learning_rate=trial.suggest_categorical("schedule", ["constant", "invscaling", "adaptive"]),
        max_iter=30,
        random_state=seed,
    )
    return make_pipeline(StandardScaler(), model), "breast_cancer"


def forest(trial: Any, seed: int) -> tuple[Any, str]:
    """Four numbers and a choice."""
    model = RandomForestClassifier(
        n_estimators=trial.suggest_int("n_estimators", 5, 40),
        max_depth=trial.suggest_int("max_depth", 1, 12),
        max_features=trial.suggest_float("max_features", 0.1, 1.0),
        min_samples_leaf=trial.suggest_int("min_samples_leaf", 1, 20),
        criterion=trial.suggest_categorical("criterion", ["gini", "entropy"]),
        random_state=seed,
    )
    return model, "wine"


def neighbours(trial: Any, seed: int) -> tuple[Any, str]:
    """A whole number, a real one, and a choice: many values are equal."""
    model = KNeighborsRegressor(
        n_neighbors=trial.suggest_int("n_neighbors", 1, 60),
        p=trial.suggest_float("p", 1.0, 4.0),
        weights=trial.suggest_categorical("weights", ["uniform", "distance"]),
    )
    return make_pipeline(StandardScaler(), model), "diabetes"


def kernels(trial: Any, seed: int) -> tuple[Any, str]:
    """A choice on which the others depend."""
    kernel = trial.suggest_categorical("kernel", ["rbf", "poly", "sigmoid"])
    more: dict[str, Any] = {"gamma": trial.suggest_float(f"gamma_{kernel}", 1e-4, 10.0, log=True)}
    if kernel == "poly":
        more["degree"] = trial.suggest_int("degree", 2, 4)
    if kernel != "rbf":
        more["coef0"] = trial.suggest_float(f"coef0_{kernel}", 0.0, 2.0)
    model = SVC(
        C=trial.suggest_float("C", 1e-2, 1e2, log=True),
        kernel=kernel,
        max_iter=2000,
        probability=True,
        random_state=seed,
        **more,
    )
    return make_pipeline(StandardScaler(), model), "wine"


def network(trial: Any, seed: int) -> tuple[Any, str]:
    """Four numbers and two choices."""
    model = MLPClassifier(
        hidden_layer_sizes=(trial.suggest_int("width", 4, 64, log=True),),
        alpha=trial.suggest_float("alpha", 1e-6, 1e1, log=True),
        learning_rate_init=trial.suggest_float("rate", 1e-4, 1e-1, log=True),
        beta_1=trial.suggest_float("beta_1", 0.5, 0.99),
        activation=trial.suggest_categorical("activation", ["relu", "tanh", "logistic"]),
        batch_size=trial.suggest_categorical("batch", [16, 64]),
        max_iter=8,
        random_state=seed,
    )
    return make_pipeline(StandardScaler(), model), "wine"


TASKS: dict[str, Make] = {
    "svr": svr,
    "boosting": boosting,
    "linear": linear,
    "forest": forest,
    "neighbours": neighbours,
    "kernels": kernels,
    "network": network,
}
