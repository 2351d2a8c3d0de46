"""The spaces, number by number."""

from typing import Any

import pytest

from gptune.presets.spaces import AGENT, ALGORITHMS, thresholds_are_apart
from gptune.records import Float, Integer

DUE: dict[str, dict[str, Any]] = {
    "q_learning": {
        "learning_rate": (0.001, 0.1, "log"),
        "discount_factor": (0.8, 0.99),
        "epsilon": (0.01, 1),
        "epsilon_decay": (0.9, 0.999),
    },
    "ppo": {
        "learning_rate": (1e-5, 1e-2, "log"),
        "gamma": (0.9, 0.999),
        "gae_lambda": (0.8, 0.99),
        "clip_epsilon": (0.1, 0.3),
        "value_coef": (0.1, 1),
        "entropy_coef": (0.001, 0.1, "log"),
    },
    "dqn": {
        "learning_rate": (1e-5, 1e-2, "log"),
        "gamma": (0.9, 0.99),
        "epsilon": (0.01, 1),
        "epsilon_decay": (0.9, 0.999),
        "target_update_frequency": (10, 1000, "whole"),
    },
    "agent": {
        "cpu_weight": (0.5, 2),
        "memory_weight": (0.5, 2),
        "response_time_weight": (0.1, 1),
        "over_provision_penalty": (1, 3),
        "under_provision_penalty": (2, 5),
        "scale_up_cpu_threshold": (0.6, 0.9),
        "scale_down_cpu_threshold": (0.2, 0.4),
    },
}


@pytest.mark.parametrize("name", DUE)
def test_a_space_is_exactly_what_it_is_to_be(name: str) -> None:
    space = {**ALGORITHMS, "agent": AGENT}[name]
    found = {}
    for parameter, domain in space.items():
        assert isinstance(domain, Float | Integer)
        kind = "whole" if isinstance(domain, Integer) else "log" if domain.log else ""
        found[parameter] = (domain.low, domain.high, *([kind] if kind else []))
    assert found == DUE[name]


def test_an_agent_scales_down_below_where_it_scales_up() -> None:
    low, high = "scale_down_cpu_threshold", "scale_up_cpu_threshold"
    assert thresholds_are_apart({low: 0.3, high: 0.6})
    assert not thresholds_are_apart({low: 0.6, high: 0.6})
