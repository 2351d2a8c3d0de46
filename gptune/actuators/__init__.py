"""The hands: what reads, validates, applies and restores one knob of the live training state."""

from gptune.actuators import schedule
from gptune.actuators.optimizer import OptimizerActuator, OptimizerKnob, optimizer_actuators
from gptune.actuators.protocol import (
    Actuator,
    Described,
    Life,
    LiveActuator,
    TupleActuator,
    live_stage,
)
from gptune.actuators.together import Together, parts_of
from gptune.actuators.training_state import TrainingState
from gptune.actuators.values import (
    ValueKnob,
    dropout_actuator,
    value_actuator,
    value_actuators,
)

__all__ = [
    "Actuator",
    "Described",
    "Life",
    "LiveActuator",
    "OptimizerActuator",
    "OptimizerKnob",
    "Together",
    "TrainingState",
    "TupleActuator",
    "ValueKnob",
    "dropout_actuator",
    "live_stage",
    "optimizer_actuators",
    "parts_of",
    "schedule",
    "value_actuator",
    "value_actuators",
]
