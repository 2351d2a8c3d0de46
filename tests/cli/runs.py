"""A real run for the tests of the verbs that look."""

import random
from pathlib import Path

from gptune import Tuner
from tests.training import Training, run_decisions

RECIPE = {
    "search": {"startup_trials": 2},
    "acceptance": {"probability": 0.6},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 3, "pause_decisions": 3},
}


def make_run(directory: Path, decisions: int = 40, *, close: bool = True) -> Tuner:
    """Tune a tiny training run; changes are accepted, rejected and proposed by the GP in it."""
    training, chance = Training(), random.Random(4)
    tuner = Tuner(
        training.optimizer, recipe=RECIPE, run_dir=directory, total_steps=3 * decisions, seed=1
    )
    run_decisions(training, tuner, [1 / (n + 3) + 0.01 * chance.random() for n in range(decisions)])
    if close:
        tuner.close()
    return tuner
