"""The study of an adjustment: resumable, within a budget, begun where earlier ones have ended."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptune.adjustment.state import Order
from gptune.configs import nearest
from gptune.errors import StudyError, UsageError
from gptune.presets import AGENT, ALGORITHMS, thresholds_are_apart
from gptune.presets.tuning import METHODS
from gptune.records import Scalar
from gptune.study.checks import Constraint
from gptune.study.objective import takes_two
from gptune.study.storage import Storage
from gptune.study.study import Study
from gptune.study.trial import Trial

STUDIES = "studies.db"
DAY = 86400.0  # [s]
Retrain = Callable[[Mapping[str, Scalar]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What is tuned when it is time, and how much that may cost.

    Attributes:
        objective: ``(params) -> score``, or ``(params, trial)``; with ``retrain_each`` it gets what
            ``retrain`` made of the parameters instead of them.
        space: As of `Study`.
        direction: ``minimize`` or ``maximize`` the score.
        constraints: As of `Study`.
        n_trials: Trials of one adjustment [trials].
        timeout: Begin none after this time [s].
        method: ``bayesian``, ``random`` or ``grid``.
        agent_name: What studies are named after.
        warm_starts: Best points of earlier adjustments that are tried again first [trials].
        half_life: After this time an earlier adjustment counts half [s].
        retrain_each: Whether ``retrain`` is called once a trial; else once, for the best.
        catch: Exceptions that only make a failed trial.
        seed: Of all chance.
    """

    objective: Callable[..., Any]
    space: Mapping[str, Any]
    direction: str = "minimize"
    constraints: Iterable[Constraint] = ()
    n_trials: int = 50
    timeout: float | None = None
    method: str = "bayesian"
    agent_name: str = "agent"
    warm_starts: int = 3
    half_life: float = 7 * DAY
    retrain_each: bool = False
    catch: tuple[type[Exception], ...] = (Exception,)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(
                f"method: is unknown, got {self.method!r}; {nearest(self.method, METHODS)}"
            )
        if (
            isinstance(self.n_trials, bool)
            or not isinstance(self.n_trials, int)
            or self.n_trials < 1
        ):
            raise UsageError(f"n_trials: must be a whole number >= 1, got {self.n_trials!r}")
        if not self.half_life > 0:
            raise UsageError(f"half_life: must be positive [s], got {self.half_life!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a study has come to.

    Attributes:
        study: Its name.
        best: The best parameters; ``None`` if no trial gave a number.
        value: What they came to.
        before: What the parameters in force came to in it, if they were tried.
        trials: State -> how many.
    """

    study: str
    best: dict[str, Scalar] | None = None
    value: float | None = None
    before: float | None = None
    trials: dict[str, int] = field(default_factory=dict)


def with_order(tuning: Tuning, order: Order | None) -> Tuning:
    """Give what somebody wants by hand, where that says anything else.

    Raises:
        UsageError: If the algorithm or the method is unknown.
    """
    if order is None:
        return tuning
    known = {**ALGORITHMS, "agent": AGENT}
    space, constraints = tuning.space, tuning.constraints
    if order.agent_name is not None and not isinstance(order.agent_name, str):
        raise UsageError(f"agent_name: must be a word, got {order.agent_name!r}")
    if order.algorithm is not None:
        name = order.algorithm.lower().replace("-", "_").replace(" ", "_")
        if name not in known:
            raise UsageError(
                f"algorithm: is unknown, got {order.algorithm!r}; {nearest(name, known)}"
            )
        space = known[name]
        constraints = (thresholds_are_apart,) if name == "agent" else ()
    return Tuning(
        **{
            **{name: getattr(tuning, name) for name in Tuning.__slots__},
            "space": space,
            "constraints": constraints,
            "agent_name": order.agent_name or tuning.agent_name,
            "method": order.method or tuning.method,
            "n_trials": tuning.n_trials if order.n_trials is None else order.n_trials,
        }
    )


def tune(
    tuning: Tuning,
    storage: Storage,
    number: int,
    *,
    running: Mapping[str, Scalar] | None,
    retrain: Retrain,
    now: float,
    stopped: Callable[[], bool],
) -> Tuned:
    """Run the study of an adjustment, or go on with it.

    Args:
        tuning: What is tuned.
        storage: Where studies are kept.
        number: Of the adjustment.
        running: The parameters in force, which are tried first.
        retrain: Makes a candidate of parameters.
        now: The time [s since 1970].
        stopped: Whether it is to end before it is done; it goes on later.

    Raises:
        StudyError: If the study cannot be made.
        Exception: What the objective raises, unless it is to be caught.
    """
    name = f"{tuning.agent_name}/{number}"
    method = METHODS[tuning.method]
    study = Study(
        name,
        storage=storage,
        direction=tuning.direction,
        space=tuning.space,
        sampler=None if method is None else method(),
        seed=tuning.seed + number,
        resume=True,
        constraints=tuning.constraints,
    )
    if not study.trials:
        first = [] if running is None else [dict(running)]
        for params in [*first, *_best_of_old(tuning, storage, number, now)]:
            _enqueue(study, params)

    def objective(params: Mapping[str, Scalar], trial: Trial) -> Any:
        given = retrain(params) if tuning.retrain_each else params
        return _call(tuning.objective, given, trial)

    def look(*_: object) -> None:
        if stopped():
            study.stop()

    study.optimize(
        objective,
        total=tuning.n_trials,
        timeout=tuning.timeout,
        catch=tuning.catch,
        callbacks=[look],
        progress=False,
    )
    return _summary(study, running)


def _call(objective: Callable[..., Any], given: Any, trial: Trial) -> Any:
    return objective(given, trial) if takes_two(objective) else objective(given)


def _enqueue(study: Study, params: Mapping[str, Scalar]) -> None:
    """Let a point come first, if it lies in the space; of an earlier one it need not."""
    known = study.space
    try:
        study.enqueue({name: value for name, value in params.items() if name in known})
    except StudyError:
        return


def _best_of_old(
    tuning: Tuning, storage: Storage, number: int, now: float
) -> list[dict[str, Scalar]]:
    """Give the best points of earlier adjustments: how far above the others of theirs, by age."""
    scored: dict[str, tuple[float, dict[str, Scalar]]] = {}
    for earlier in range(1, number):
        record = storage.find(f"{tuning.agent_name}/{earlier}")
        if record is None:
            continue
        trials = [t for t in storage.changes(record.id, 0).trials if t.value is not None]
        values = [record.sign * (t.value or 0.0) for t in trials]
        spread = statistics.pstdev(values) if values else 0.0
        weight = 0.5 ** (max(now - record.created, 0.0) / tuning.half_life)
        for trial, value in zip(trials, values, strict=True):
            score = weight * (value - statistics.fmean(values)) / spread if spread > 0 else 0.0
            known = scored.get(repr(sorted(trial.params.items())), (-float("inf"), {}))
            if score > known[0]:
                scored[repr(sorted(trial.params.items()))] = (score, dict(trial.params))
    ordered = sorted(scored.values(), key=lambda one: -one[0])
    return [params for _, params in ordered[: tuning.warm_starts]]


def _summary(study: Study, running: Mapping[str, Scalar] | None) -> Tuned:
    trials, best = study.trials, study.best
    states = [trial.state.value for trial in trials]
    again = [t.value for t in trials if running is not None and t.params == dict(running)]
    return Tuned(
        study=study.name,
        best=None if best is None else dict(best.params),
        value=None if best is None else best.value,
        before=next((value for value in again if value is not None), None),
        trials={state: states.count(state) for state in sorted(set(states))},
    )


def open_storage(directory: Path, clock: Callable[[], float] = time.time) -> Storage:
    """Open the studies of an adjustment."""
    directory.mkdir(parents=True, exist_ok=True)
    return Storage(directory / STUDIES, clock=clock)


def summary_of(
    tuning: Tuning, storage: Storage, number: int, running: Mapping[str, Scalar] | None
) -> Tuned | None:
    """Say what the study of an adjustment has come to, if there is one."""
    name = f"{tuning.agent_name}/{number}"
    return None if storage.find(name) is None else _summary(Study.load(name, storage), running)
