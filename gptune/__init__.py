"""gptune tunes a model's hyperparameters while it trains, inside one PyTorch run, safely.

The public names are loaded when first used: ``import gptune`` imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptune.actuators import (
        Actuator,
        Together,
        TrainingState,
        dropout_actuator,
        optimizer_actuators,
        schedule,
        value_actuator,
        value_actuators,
    )
    from gptune.adapters.loop import fit
    from gptune.configs import Recipe
    from gptune.core.criteria import (
        Acquisition,
        ExpectedImprovement,
        LogExpectedImprovement,
        NoisyExpectedImprovement,
        ProbabilityOfImprovement,
        ThompsonSampling,
        UpperConfidenceBound,
    )
    from gptune.core.space import SearchSpace
    from gptune.errors import GptuneError
    from gptune.online.tuner import Tuner
    from gptune.recipe.evolve import evolve_recipe
    from gptune.records import Categorical, Decision, Float, Integer
    from gptune.version import VERSION as __version__

_HOMES = {
    "Acquisition": "core.criteria",
    "Actuator": "actuators",
    "Categorical": "records",
    "Decision": "records",
    "ExpectedImprovement": "core.criteria",
    "Float": "records",
    "GptuneError": "errors",
    "Integer": "records",
    "LogExpectedImprovement": "core.criteria",
    "NoisyExpectedImprovement": "core.criteria",
    "ProbabilityOfImprovement": "core.criteria",
    "Recipe": "configs",
    "SearchSpace": "core.space",
    "ThompsonSampling": "core.criteria",
    "Together": "actuators",
    "TrainingState": "actuators",
    "Tuner": "online.tuner",
    "UpperConfidenceBound": "core.criteria",
    "dropout_actuator": "actuators",
    "evolve_recipe": "recipe.evolve",
    "fit": "adapters.loop",
    "optimizer_actuators": "actuators",
    "schedule": "actuators",
    "value_actuator": "actuators",
    "value_actuators": "actuators",
}

__all__ = [
    "Acquisition",
    "Actuator",
    "Categorical",
    "Decision",
    "ExpectedImprovement",
    "Float",
    "GptuneError",
    "Integer",
    "LogExpectedImprovement",
    "NoisyExpectedImprovement",
    "ProbabilityOfImprovement",
    "Recipe",
    "SearchSpace",
    "ThompsonSampling",
    "Together",
    "TrainingState",
    "Tuner",
    "UpperConfidenceBound",
    "__version__",
    "dropout_actuator",
    "evolve_recipe",
    "fit",
    "optimizer_actuators",
    "schedule",
    "value_actuator",
    "value_actuators",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("gptune.version").VERSION
    if name not in _HOMES:
        raise AttributeError(f"module 'gptune' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gptune.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
