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
    from gptune.adjustment.adjustment import AutomaticAdjustment
    from gptune.adjustment.tuning import Tuning
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
    from gptune.errors import GptuneError, TrialPruned
    from gptune.online.tuner import Tuner
    from gptune.recipe.evolve import evolve_recipe
    from gptune.records import Categorical, Decision, Float, Integer
    from gptune.study.executors import Processes, Threads
    from gptune.study.gaussian import GaussianProcessSampler
    from gptune.study.objective import Measured
    from gptune.study.pruners import (
        PatiencePruner,
        PercentilePruner,
        SuccessiveHalvingPruner,
        ThresholdPruner,
        median_pruner,
    )
    from gptune.study.samplers import GridSampler, RandomSampler, SobolSampler, Suggestion
    from gptune.study.study import Study
    from gptune.study.trial import Trial
    from gptune.version import VERSION as __version__

_HOMES = {
    "Acquisition": "core.criteria",
    "Actuator": "actuators",
    "AutomaticAdjustment": "adjustment.adjustment",
    "Categorical": "records",
    "Decision": "records",
    "ExpectedImprovement": "core.criteria",
    "Float": "records",
    "GaussianProcessSampler": "study.gaussian",
    "GptuneError": "errors",
    "GridSampler": "study.samplers",
    "Integer": "records",
    "LogExpectedImprovement": "core.criteria",
    "Measured": "study.objective",
    "NoisyExpectedImprovement": "core.criteria",
    "PatiencePruner": "study.pruners",
    "PercentilePruner": "study.pruners",
    "ProbabilityOfImprovement": "core.criteria",
    "Processes": "study.executors",
    "RandomSampler": "study.samplers",
    "Recipe": "configs",
    "SearchSpace": "core.space",
    "SobolSampler": "study.samplers",
    "Study": "study.study",
    "SuccessiveHalvingPruner": "study.pruners",
    "Suggestion": "study.samplers",
    "ThompsonSampling": "core.criteria",
    "Threads": "study.executors",
    "ThresholdPruner": "study.pruners",
    "Together": "actuators",
    "TrainingState": "actuators",
    "Trial": "study.trial",
    "TrialPruned": "errors",
    "Tuner": "online.tuner",
    "Tuning": "adjustment.tuning",
    "UpperConfidenceBound": "core.criteria",
    "dropout_actuator": "actuators",
    "evolve_recipe": "recipe.evolve",
    "fit": "adapters.loop",
    "median_pruner": "study.pruners",
    "optimizer_actuators": "actuators",
    "schedule": "actuators",
    "value_actuator": "actuators",
    "value_actuators": "actuators",
}

__all__ = [
    "Acquisition",
    "Actuator",
    "AutomaticAdjustment",
    "Categorical",
    "Decision",
    "ExpectedImprovement",
    "Float",
    "GaussianProcessSampler",
    "GptuneError",
    "GridSampler",
    "Integer",
    "LogExpectedImprovement",
    "Measured",
    "NoisyExpectedImprovement",
    "PatiencePruner",
    "PercentilePruner",
    "ProbabilityOfImprovement",
    "Processes",
    "RandomSampler",
    "Recipe",
    "SearchSpace",
    "SobolSampler",
    "Study",
    "SuccessiveHalvingPruner",
    "Suggestion",
    "ThompsonSampling",
    "Threads",
    "ThresholdPruner",
    "Together",
    "TrainingState",
    "Trial",
    "TrialPruned",
    "Tuner",
    "Tuning",
    "UpperConfidenceBound",
    "__version__",
    "dropout_actuator",
    "evolve_recipe",
    "fit",
    "median_pruner",
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
