"""A study as a search algorithm of Ray Tune: ``TuneConfig(search_alg=GptuneSearcher())``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptune.errors import SpaceError, StudyError
from gptune.study.database import MEMORY
from gptune.study.domains import Domain, read_domains
from gptune.study.records import FINISHED, TrialState
from gptune.study.samplers import GridSpent, Sampler
from gptune.study.study import Study

try:
    from ray.tune.search import sample
    from ray.tune.search.searcher import Searcher
    from ray.tune.search.variant_generator import parse_spec_vars
    from ray.tune.utils.util import unflatten_dict  # type: ignore[attr-defined]
except ModuleNotFoundError as missing:
    if str(missing.name).partition(".")[0] not in {"ray", "pandas", "pyarrow", "fsspec"}:
        raise
    raise ImportError(
        "gptune.adapters.ray_tune needs Ray Tune: pip install 'gptune-torch[ray]'"
    ) from missing

DIRECTIONS = {"min": "minimize", "max": "maximize"}
STEP = "training_iteration"


class GptuneSearcher(Searcher):
    """Lets a study say what Ray Tune tries next.

    The space is Tune's own ``param_space`` (``tune.uniform``, ``loguniform``, ``quniform``,
    ``randint``, ``lograndint``, ``qrandint``, ``choice``; nested ones too; constants stay), or
    ``space``; metric and mode are those of ``TuneConfig``. Every result is reported to the study.
    To end trials early, give Tune a scheduler.

    Args:
        space: As of `Study`, instead of Tune's.
        metric: Name of the result's entry that counts, instead of Tune's.
        mode: ``min`` or ``max``, instead of Tune's.
        name: Of the study.
        storage: Of the study; a file lets you look at it, and is read again by ``Tuner.restore``.
        sampler: Of the study; the Gaussian process by default.
        seed: Of the study.
        resume: Whether to go on with a study of that name, in a new run of Tune.

    Raises:
        SpaceError: If the space is wrong.

    Example::

        tune.Tuner(
            train,
            param_space={"lr": tune.loguniform(1e-5, 1e-1)},
            tune_config=tune.TuneConfig(
                search_alg=GptuneSearcher(), metric="loss", mode="min", num_samples=50
            ),
        ).fit()
    """

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        *,
        metric: str | None = None,
        mode: str | None = None,
        name: str = "ray-tune",
        storage: str | Path = MEMORY,
        sampler: Sampler | None = None,
        seed: int = 0,
        resume: bool = False,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._space = None if space is None else read_domains(space)
        self._chosen: dict[str, Any] = {"name": name, "storage": str(storage), "seed": seed}
        self._chosen |= {"sampler": sampler, "resume": resume}
        self._study: Study | None = None
        self._live: dict[str, int] = {}  # Tune's name of a trial -> the study's number
        self._past: list[dict[str, Any]] | None = None  # what a restore brings back

    @property
    def study(self) -> Study:
        """The study, once space, metric and mode are known.

        Raises:
            StudyError: If they are not, or the study cannot be made.
        """
        if self._study is None:
            self._study = self._make_study()
        return self._study

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take what Tune was told, unless the searcher was told already; for Tune."""
        if config and self._space is not None:
            return False
        if config:
            self._space = read_space(config)
        self._metric, self._mode = self._metric or metric, self._mode or mode
        return True

    def suggest(self, trial_id: str) -> Any:
        """Begin a trial: its parameters, or that there are no more; for Tune."""
        study = self.study
        try:
            trial = study.ask()
        except GridSpent:
            return str(Searcher.FINISHED)
        self._live[trial_id] = trial.number
        nested: dict[str, Any] = unflatten_dict(trial.params)
        return nested

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Report an intermediate result; for Tune."""
        number, value = self._live.get(trial_id), result.get(str(self._metric))
        if number is not None and value is not None:
            place = (self.study.record.id, number)
            self.study.storage.report(place, int(result.get(STEP, 0)), float(value))

    def on_trial_complete(  # Tune's signature
        self,
        trial_id: str,
        result: Mapping[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Finish a trial; for Tune."""
        number = self._live.pop(trial_id, None)
        if number is None:
            return
        value = (result or {}).get(str(self._metric))
        if error or value is None:
            why = "it raised in Ray" if error else f"it gave no {self._metric}"
            self.study.tell(number, state=TrialState.FAILED, error=why)
        else:
            self.study.tell(number, value)

    def save(self, checkpoint_path: str) -> None:
        """Write down what a restored run needs: plain data; for Tune."""
        trials = [] if self._study is None else self._study.trials
        past = [
            {"params": one.params, "state": one.state, "value": one.value, "error": one.error}
            for one in trials
            if self._chosen["storage"] == MEMORY  # else they are in their file
        ]
        Path(checkpoint_path).write_text(json.dumps({"live": self._live, "past": past}))

    def restore(self, checkpoint_path: str) -> None:
        """Go on where `save` was called; for Tune."""
        data = json.loads(Path(checkpoint_path).read_text())
        self._study, self._live, self._past = None, data["live"], data["past"]

    def __getstate__(self) -> dict[str, Any]:
        """Give what Tune keeps of it beside its own state: a study stays where it is."""
        return {**self.__dict__, "_study": None}

    def _make_study(self) -> Study:
        known = {"param_space": self._space, "metric": self._metric, "mode": self._mode}
        missing = [name for name, value in known.items() if not value]
        if missing:
            raise StudyError(
                f"GptuneSearcher: has no {', '.join(missing)}; pass them to tune.Tuner and "
                "TuneConfig, or to GptuneSearcher"
            )
        direction = DIRECTIONS[str(self._mode)]
        resumes = self._past is not None
        chosen = {**self._chosen, "resume": resumes or self._chosen["resume"]}
        study = Study(**chosen, space=self._space, direction=direction)
        for row in self._past or ():
            study.enqueue(row["params"])
            trial = study.ask()
            if row["state"] in FINISHED:
                study.tell(trial, row["value"], state=row["state"], error=row["error"])
        if resumes:  # what was begun since the state was saved, Tune begins anew
            self._end_lost(study)
        return study

    def _end_lost(self, study: Study) -> None:
        for trial in study.trials:
            if trial.state is TrialState.RUNNING and trial.number not in self._live.values():
                study.tell(trial.number, state=TrialState.FAILED, error="Tune was restored")


def read_space(config: Mapping[str, Any]) -> dict[str, Domain]:
    """Read a ``param_space`` of Tune's; constants are left to Tune, nested names are joined by /.

    Raises:
        SpaceError: Naming what a study cannot search.
    """
    _, domains, grids = parse_spec_vars(dict(config))
    if grids:
        raise SpaceError(
            f"param_space: {'/'.join(grids[0][0])} is a grid_search; use tune.choice, or pass "
            "sampler=GridSampler() to GptuneSearcher"
        )
    return read_domains({"/".join(path): _described(path, one) for path, one in domains})


def _described(path: tuple[str, ...], given: Any) -> dict[str, Any]:
    """Describe one of Tune's domains as a study's are described."""
    drawn: Any = given.get_sampler()
    step = None
    if isinstance(drawn, sample.Quantized):
        drawn, step = drawn.sampler, drawn.q
    log = isinstance(drawn, sample.LogUniform)
    if isinstance(given, sample.Categorical):
        return {"type": "categorical", "choices": list(given.categories)}
    if isinstance(given, sample.Float | sample.Integer) and isinstance(
        drawn, sample.Uniform | sample.LogUniform
    ):
        whole = isinstance(given, sample.Integer)
        high = given.upper - 1 if whole and step in (None, 1) else given.upper
        kind = "int" if whole else "float"
        more = {} if step in (None, 1) and whole else {"step": step}
        return {"type": kind, "low": given.lower, "high": high, "log": log, **more}
    raise SpaceError(
        f"param_space: {'/'.join(path)} is {given!r}, which a study cannot search; use uniform, "
        "loguniform, randint, lograndint or choice"
    )
