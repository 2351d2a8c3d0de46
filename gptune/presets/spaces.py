"""The spaces, as data."""

from collections.abc import Mapping

from gptune.records import Float, Integer, Scalar
from gptune.study.domains import Domain

ALGORITHMS: dict[str, dict[str, Domain]] = {
    "q_learning": {
        "learning_rate": Float(0.001, 0.1, log=True),
        "discount_factor": Float(0.8, 0.99),
        "epsilon": Float(0.01, 1.0),
        "epsilon_decay": Float(0.9, 0.999),
    },
    "ppo": {
        "learning_rate": Float(1e-5, 1e-2, log=True),
        "gamma": Float(0.9, 0.999),
        "gae_lambda": Float(0.8, 0.99),
        "clip_epsilon": Float(0.1, 0.3),
        "value_coef": Float(0.1, 1.0),
        "entropy_coef": Float(0.001, 0.1, log=True),
    },
    "dqn": {
        "learning_rate": Float(1e-5, 1e-2, log=True),
        "gamma": Float(0.9, 0.99),
        "epsilon": Float(0.01, 1.0),
        "epsilon_decay": Float(0.9, 0.999),
        "target_update_frequency": Integer(10, 1000),
    },
}
AGENT: dict[str, Domain] = {
    "cpu_weight": Float(0.5, 2.0),
    "memory_weight": Float(0.5, 2.0),
    "response_time_weight": Float(0.1, 1.0),
    "over_provision_penalty": Float(1.0, 3.0),
    "under_provision_penalty": Float(2.0, 5.0),
    "scale_up_cpu_threshold": Float(0.6, 0.9),
    "scale_down_cpu_threshold": Float(0.2, 0.4),
}


def thresholds_are_apart(params: Mapping[str, Scalar]) -> bool:
    """Say whether an agent scales down below where it scales up."""
    return params["scale_down_cpu_threshold"] < params["scale_up_cpu_threshold"]  # type: ignore[operator]
