"""Studies that are ready to run: of a reinforcement-learning algorithm, and of an agent."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, variance
from typing import Any

from gptune.configs import nearest
from gptune.errors import StudyError
from gptune.presets.spaces import AGENT, ALGORITHMS, thresholds_are_apart
from gptune.records import Scalar
from gptune.study.objective import Measured
from gptune.study.samplers import GridSampler, RandomSampler, Sampler
from gptune.study.study import Study
from gptune.study.trial import Trial, as_number

METHODS: dict[str, Callable[[], Sampler] | None] = {
    "bayesian": None,  # the default of a study
    "random": RandomSampler,
    "grid": partial(GridSampler, resolution=3),
}
Objective = Callable[..., Any]


def tune_rl(
    algorithm: str,
    objective: Objective,
    *,
    direction: str,
    method: str = "bayesian",
    n_trials: int = 100,
    agent_name: str | None = None,
    storage: str | Path = ":memory:",
    replicates: int = 1,
    seed: int = 0,
    **optimize: Any,
) -> Study:
    """Tune the parameters of a reinforcement-learning algorithm.

    Args:
        algorithm: ``q_learning``, ``ppo`` or ``dqn``; also as ``Q-learning``, ``PPO``, ``DQN``.
        objective: ``(params) -> score`` or ``(params, seed) -> score``.
        direction: ``minimize`` or ``maximize`` the score.
        method: ``bayesian``, ``random`` or ``grid`` (three values of each number).
        n_trials: Trials that the study shall have in all, earlier ones of that name included
            [trials].
        agent_name: What the study is found again by; the algorithm's name by default.
        storage: Where it is kept; see `Study`.
        replicates: How often each trial is scored, with seeds of its own; the value is their mean,
            and its noise their variance over their number. A score that is not finite ends the
            trial, which has failed.
        seed: Of all chance.
        **optimize: More for `Study.optimize`: ``timeout``, ``executor``, ``callbacks``.

    Returns:
        The study; see ``best_params``.

    Raises:
        StudyError: If an argument is wrong.

    Example:
        >>> made = tune_rl("PPO", lambda params: params["gamma"], direction="maximize", n_trials=3)
        >>> made.best_params.keys() == ALGORITHMS["ppo"].keys()
        True
    """
    name = algorithm.lower().replace("-", "_").replace(" ", "_")
    if name not in ALGORITHMS:
        raise StudyError(f"algorithm: is unknown, got {algorithm!r}; {nearest(name, ALGORITHMS)}")
    study = Study(
        agent_name or name,
        storage=storage,
        direction=direction,
        space=ALGORITHMS[name],
        sampler=_sampler(method),
        seed=seed,
        resume=True,
    )
    study.optimize(_scored(objective, replicates), total=n_trials, **optimize)
    return study


def tune_agent(
    objective: Objective,
    *,
    direction: str,
    method: str = "bayesian",
    n_trials: int = 100,
    agent_name: str | None = None,
    storage: str | Path = ":memory:",
    replicates: int = 1,
    seed: int = 0,
    **optimize: Any,
) -> Study:
    """Tune the weights, penalties and thresholds of an autoscaling agent; else as `tune_rl`.

    It scales down below where it scales up: a constraint.

    Raises:
        StudyError: If an argument is wrong.
    """
    study = Study(
        agent_name or "agent",
        storage=storage,
        direction=direction,
        space=AGENT,
        sampler=_sampler(method),
        seed=seed,
        resume=True,
        constraints=[thresholds_are_apart],
    )
    study.optimize(_scored(objective, replicates), total=n_trials, **optimize)
    return study


def _sampler(method: str) -> Sampler | None:
    if method not in METHODS:
        raise StudyError(f"method: is unknown, got {method!r}; {nearest(method, METHODS)}")
    make = METHODS[method]
    return None if make is None else make()


def _scored(objective: Objective, replicates: int) -> Callable[..., Any]:
    """Make an objective of a study of a score that may be noisy."""
    if isinstance(replicates, bool) or not isinstance(replicates, int) or replicates < 1:
        raise StudyError(f"replicates: must be a whole number >= 1, got {replicates!r}")
    return partial(_score, objective, replicates)


def _score(objective: Objective, replicates: int, params: dict[str, Scalar], trial: Trial) -> Any:
    seeded = _takes_a_seed(objective)
    scores = []
    for number in range(replicates):
        given = objective(dict(params), trial.seed + number) if seeded else objective(dict(params))
        score = as_number(given.value if isinstance(given, Measured) else given)
        if replicates == 1 or score is None or not math.isfinite(score):
            return given  # the study says what is wrong with it, if anything is
        scores.append(score)
    return Measured(mean(scores), noise=_noise(scores))


def _noise(scores: Sequence[float]) -> float | None:
    """Give the variance of the scores' mean; ``None`` if it is too large to be written."""
    try:
        return variance(scores) / len(scores)
    except OverflowError:
        return None


def _takes_a_seed(objective: Objective) -> bool:
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):
        return False
    return sum(p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD} for p in parameters) >= 2
