"""The hands: what reads, validates, applies and restores one knob of the live training state."""

from gptune.actuators.optimizer import optimizer_actuators
from gptune.actuators.protocol import Actuator, LiveActuator
from gptune.actuators.values import value_actuators

__all__ = ["Actuator", "LiveActuator", "optimizer_actuators", "value_actuators"]
