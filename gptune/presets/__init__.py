"""Search spaces and conveniences for reinforcement learning, and for an autoscaling agent."""

from gptune.presets.spaces import AGENT, ALGORITHMS, thresholds_are_apart
from gptune.presets.tuning import tune_agent, tune_rl

__all__ = ["AGENT", "ALGORITHMS", "thresholds_are_apart", "tune_agent", "tune_rl"]
