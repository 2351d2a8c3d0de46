"""Search spaces and conveniences for reinforcement learning, and for an autoscaling agent."""

from gptune.presets.spaces import AGENT, ALGORITHMS
from gptune.presets.tuning import tune_agent, tune_rl

__all__ = ["AGENT", "ALGORITHMS", "tune_agent", "tune_rl"]
