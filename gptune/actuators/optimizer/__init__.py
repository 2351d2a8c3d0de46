"""The knobs of a torch optimizer. This room alone writes parameter groups.

What to know: ``group["lr"]`` outside of ``step()`` is the schedule's value; ask the knob for the
effective one. AdamW's decay is ``lr * weight_decay``, so scaling the rate scales it too.
"""

from gptune.actuators.optimizer.hooks import StepHooks
from gptune.actuators.optimizer.knobs import OptimizerActuator, OptimizerKnob, optimizer_actuators
from gptune.actuators.optimizer.probe import StepProbe
from gptune.actuators.optimizer.rehearsal import mean_rate

__all__ = [
    "OptimizerActuator",
    "OptimizerKnob",
    "StepHooks",
    "StepProbe",
    "mean_rate",
    "optimizer_actuators",
]
