"""All that a user can choose, as frozen structs with their defaults, written once: the recipe.

`Recipe.from_dict` reads plain data and refuses what it does not understand, naming the path and
the nearest valid key; `Recipe.to_dict` gives it back without loss. The units of every quantity
stand in brackets. Schema version 1.
"""

from gptune.configs.knobs import Group, Knob, Mutation, make_knob, neutral, typed
from gptune.configs.reading import nearest
from gptune.configs.recipe import Mode, Recipe
from gptune.configs.sections import (
    STUDY,
    Acceptance,
    Calibration,
    Decay,
    Guard,
    Objective,
    Phase,
    Safety,
    Search,
    TrustRegion,
)

__all__ = [
    "STUDY",
    "Acceptance",
    "Calibration",
    "Decay",
    "Group",
    "Guard",
    "Knob",
    "Mode",
    "Mutation",
    "Objective",
    "Phase",
    "Recipe",
    "Safety",
    "Search",
    "TrustRegion",
    "make_knob",
    "nearest",
    "neutral",
    "typed",
]
