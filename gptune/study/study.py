"""The study: it begins trials, writes down what they come to, and remembers the best."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gptune.configs import nearest
from gptune.errors import StudyError
from gptune.records import Scalar
from gptune.study import checks
from gptune.study.book import Book
from gptune.study.database import MEMORY
from gptune.study.desk import Desk
from gptune.study.domains import Domain, read_domains, show_point
from gptune.study.executors import Executor, Here
from gptune.study.loop import Limits, Loop
from gptune.study.objective import variance
from gptune.study.pruners import Pruner
from gptune.study.records import TrialRecord, TrialState
from gptune.study.samplers import RandomSampler, Sampler, Suggestion, View, chance_of
from gptune.study.storage import Storage
from gptune.study.trial import Trial, as_number
from gptune.study.validation import SUFFIX, Validated, best_points, missing, validated
from gptune.study.workers import this_worker

if TYPE_CHECKING:
    from gptune.study.importance import Importance

logger = logging.getLogger("gptune")


class Study:
    """Searches for the best parameters of an objective, trial by trial.

    Args:
        name: What it is found again by, in its storage.
        storage: ``sqlite:///path``, a path, or ``:memory:``; or a `Storage`.
        direction: ``minimize`` or ``maximize``.
        space: Name -> `Float`, `Integer`, `Categorical` or ``{"type": "float", "low": ...}``, or a
            `SearchSpace`; then the objective gets the parameters as a dict. Without, it gets a
            `Trial` and suggests as it runs.
        sampler: What says what to try; the Gaussian process by default.
        pruner: What says when to end a trial; none by default.
        seed: Of all chance; a study that goes on keeps its own.
        resume: Whether to go on with a study of that name, if there is one.
        constraints: ``(params) -> bool``, true where a point may be tried. Those that need a
            parameter which is not there (a ``KeyError``) are taken to be met.

    Raises:
        StudyError: If it exists and is not to go on, was made with other things, or an argument
            is wrong.
        StorageError: If the storage cannot be used.
        SpaceError: If the space is wrong.

    Example:
        >>> from gptune.records import Float
        >>> study = Study("bowl", space={"x": Float(-1.0, 1.0)})
        >>> study.optimize(lambda params: (params["x"] - 0.3) ** 2, n_trials=20)
        >>> abs(study.best_params["x"] - 0.3) < 0.05
        True
    """

    def __init__(
        self,
        name: str,
        *,
        storage: str | Path | Storage = MEMORY,
        direction: str = "minimize",
        space: Mapping[str, Any] | Any | None = None,
        sampler: Sampler | None = None,
        pruner: Pruner | None = None,
        seed: int = 0,
        resume: bool = False,
        constraints: Iterable[checks.Constraint] = (),
    ) -> None:
        checks.check_study(name, direction, seed)
        domains = None if space is None else read_domains(space)
        self.storage = storage if isinstance(storage, Storage) else Storage(storage)
        found, is_new = self.storage.find(name), False
        if found is None:
            found, is_new = self.storage.create(name, direction, domains, seed)
        if not is_new:
            checks.check_same(found, direction, domains, resume=resume)
        self.record = found
        self._sampler = sampler
        self._constraints = tuple(constraints)
        self._desk = Desk(self.storage, self.record, pruner)
        self._stopped = threading.Event()

    @classmethod
    def load(cls, name: str, storage: str | Path | Storage) -> "Study":
        """Open a study that is there, by its name, to look at it: nothing is written.

        Raises:
            StudyError: If there is none of that name; the others are named.
            StorageError: If the storage cannot be read.
        """
        held = storage if isinstance(storage, Storage) else Storage(storage, writes=False)
        record = held.find(name)
        if record is None:
            names = [one.name for one in held.studies()]
            hint = nearest(name, names) if names else "there are none"
            raise StudyError(f"study {name!r}: is not in {held.url!r}; {hint}")
        return cls(name, storage=held, direction=record.direction, seed=record.seed, resume=True)

    @property
    def name(self) -> str:
        """What it is found again by."""
        return self.record.name

    @property
    def direction(self) -> str:
        """``minimize`` or ``maximize``."""
        return self.record.direction

    @property
    def sampler(self) -> Sampler:
        """What says what to try; the default one is made, and torch loaded, when it is asked."""
        if self._sampler is None:
            from gptune.study.gaussian import GaussianProcessSampler

            self._sampler = GaussianProcessSampler()
        return self._sampler

    @property
    def space(self) -> dict[str, Domain]:
        """Every parameter: given up front, or met so far."""
        return dict(self._seen().space)

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials, in the order of their numbers."""
        return self._seen().trials

    @property
    def best_trial(self) -> TrialRecord:
        """The best complete trial; of equals, the first.

        Raises:
            StudyError: If none is complete.
        """
        if (best := self.best) is None:
            raise StudyError(f"study {self.name!r}: no trial is complete yet; see study.trials")
        return best

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial; ``None`` as long as there is none."""
        return self._seen().best

    @property
    def best_params(self) -> dict[str, Scalar]:
        """The parameters of the best trial."""
        return dict(self.best_trial.params)

    @property
    def best_value(self) -> float:
        """The objective of the best trial."""
        return float(self.best_trial.value or 0.0)

    def to_rows(self) -> list[dict[str, Any]]:
        """Give a flat row for each trial: what a table, or ``pandas.DataFrame``, is made of."""
        return [trial.to_row() for trial in self.trials]

    def importance(self) -> dict[str, "Importance"]:
        """Say how much each parameter matters, the most important first: Sobol indices.

        Raises:
            StudyError: If there are too few trials.
        """
        from gptune.study.importance import importance_of

        book = self._seen()
        return importance_of(self._view_at(book, number=len(book.trials)))

    def ask(self, *, owned: bool = False) -> Trial:
        """Begin a trial; give its value to `tell`.

        Args:
            owned: Whether it is begun again by others if this process dies.
        """
        return cast(
            Trial, self.begin(this_worker() if owned else "")
        )  # without a limit there is one

    def begin(self, worker: str, total: int | None = None) -> Trial | None:
        """Begin a trial, if there are not enough already.

        Args:
            worker: Who runs it.
            total: Trials that the study shall have in all [trials].
        """
        with self._desk.lock:
            record = self.storage.begin(self.record.id, worker, total)
            if record is None:
                return None
            self._desk.book.refresh()
            with contextlib.ExitStack() as stack:  # as if never begun, should the sampler raise
                stack.callback(self.storage.withdraw, (self.record.id, record.number))
                trial = self._make_trial(record)
                stack.pop_all()
            return trial

    def withdraw(self, trial: Trial) -> None:
        """Take a trial back that was begun: the next one to begin is this one, as it was."""
        self.storage.withdraw((self.record.id, trial.number))

    def restart(self, trial: Trial) -> Trial:
        """Begin a trial again whose worker died: with its values, without its reports."""
        record = self.storage.restart((self.record.id, trial.number))
        made = Trial(self._desk, record, self.record, trial.proposed, allows=self._allows)
        made.load(self.record.space or {})
        return made

    def tell(
        self,
        trial: Trial | int,
        value: object = None,
        *,
        state: TrialState | str | None = None,
        noise: float | None = None,
        error: str = "",
    ) -> TrialRecord:
        """Finish a trial.

        Args:
            trial: What `ask` gave, or its number.
            value: The objective. One that is no finite number makes it a failed trial.
            state: ``complete``, ``pruned`` or ``failed``; by default as the value says.
            noise: Variance of the value, if it is known [squared units of value].
            error: Why it failed.

        Raises:
            StorageError: If it is not running.
            StudyError: If the state is no end.
        """
        number = trial.number if isinstance(trial, Trial) else int(trial)
        read, spread = as_number(value), variance(noise)
        ended, why = checks.ending(state, value, read)
        is_complete = ended is TrialState.COMPLETE
        with self._desk.lock:
            made = self.storage.finish(
                (self.record.id, number),
                ended,
                value=read if is_complete else None,
                noise=spread if is_complete else None,
                error=error or why,
            )
        if ended is TrialState.FAILED:
            logger.warning(
                "gptune: trial %d failed with %s: %s", number, show_point(made.params), made.error
            )
        return made

    def enqueue(self, params: Mapping[str, Scalar]) -> int:
        """Let a trial with given values come next; what is left out is suggested. Gives its number.

        Raises:
            StudyError: If a value does not lie in the space, or against a constraint.
        """
        checks.check_point(self.record.space, params, self._allows)
        return self.storage.enqueue(self.record.id, params).number

    def optimize(
        self,
        objective: Callable[..., Any],
        n_trials: int | None = None,
        *,
        total: int | None = None,
        timeout: float | None = None,
        patience: int | None = None,
        callbacks: checks.Callback | Iterable[checks.Callback] = (),
        catch: type[Exception] | Iterable[type[Exception]] = (),
        executor: Executor | None = None,
        progress: bool | None = None,
    ) -> None:
        """Run trials until there were enough.

        Args:
            objective: Gets the parameters as a dict where the space was given up front (and the
                `Trial` too, if it takes two arguments), else a `Trial`; gives a number, or
                `Measured`. `TrialPruned` ends a trial early. None, NaN or what is no number makes
                it a failed trial.
            n_trials: Trials to run now [trials].
            total: Trials that the study shall have in all, those of other processes and of earlier
                runs included [trials].
            timeout: Begin none after this time [s].
            patience: Stop when so many trials in a row brought nothing better [trials].
            callbacks: Called after each trial, with the study and the trial's record.
            catch: Exceptions of the objective that make a failed trial, and do not end the study.
            executor: Where trials run; here, one after another, by default.
            progress: Show a bar; by default if somebody watches.

        Raises:
            StudyError: If an argument is wrong.
            Exception: What the objective raises, unless it is to be caught; the trial has failed
                then, and is written down.
        """
        limits = Limits(n_trials=n_trials, total=total, timeout=timeout, patience=patience)
        self._stopped.clear()
        caught, heard = checks.exceptions(catch), checks.functions("callbacks", callbacks)

        def tell(trial: TrialRecord) -> None:
            for callback in heard:
                callback(self, trial)

        loop = Loop(self, objective, limits, catch=caught, executor=executor or Here())
        loop.run(tell, progress=progress)

    def validate(
        self, objective: Callable[..., Any], *, top: int = 3, repeats: int = 5, **optimize: Any
    ) -> list[Validated]:
        """Measure the best trials again, on fresh seeds: the best of many is so by luck, too.

        The repeats are a study of their own in the same storage, ``<name>/validation``; called
        again, only what is missing is run. ``trial.seed`` is another one in each repeat. What was
        best on average comes first.

        Args:
            objective: As for `optimize`, and so are ``executor``, ``catch`` and others.
            top: How many of the best [trials].
            repeats: How often each of them [trials].
            **optimize: More for `optimize`.

        Raises:
            StudyError: If a number is wrong, or no trial is complete.
        """
        checks.check_count("top", top)
        checks.check_count("repeats", repeats)
        best = best_points(self.trials, self.record.sign, top) or [self.best_trial]  # which raises
        again = Study(
            self.name + SUFFIX,
            storage=self.storage,
            direction=self.direction,
            space=self.record.space,
            sampler=RandomSampler(),  # never asked: all values are given
            seed=chance_of(self.record.seed, 0, SUFFIX).getrandbits(62),
            resume=True,
        )
        for params in missing(best, again.trials, repeats):
            again.enqueue(params)
        again.optimize(objective, total=len(again.trials), **optimize)
        return validated(best, again.trials, self.record.sign)

    def stop(self) -> None:
        """Begin no more trials; call it in a callback, or in the objective."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def close(self) -> None:
        """Give the storage back."""
        self.storage.close()

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _seen(self) -> Book:
        with self._desk.lock:
            self._desk.book.refresh()
            return self._desk.book

    def _make_trial(self, record: TrialRecord) -> Trial:
        """Ask the sampler, unless all is known; write down what it says, and remembers."""
        given = self.record.space
        known = record.fixed.keys() | record.params.keys()
        suggestion = Suggestion({})
        if given is None or not known >= given.keys():
            view = self._view_at(self._desk.book, record.number)
            suggestion = self.sampler.suggest(view)
        trial = Trial(self._desk, record, self.record, suggestion.params, allows=self._allows)
        trial.load(given or {})
        if given is not None or suggestion.memory:
            self._desk.write(trial.number, trial.params, trial.space, suggestion.memory or None)
        return trial

    def _view_at(self, book: Book, number: int) -> View:
        return View(
            number=number,
            seed=self.record.seed,
            sign=self.record.sign,
            space=dict(book.space),
            finished=book.finished,
            running=book.values_of_running(number),
            allowed=self._allows,
            memory=book.memory(number),
        )

    def _allows(self, params: Mapping[str, Scalar]) -> bool:
        known = self.record.space or ()
        return all(checks.is_met(constraint, params, known) for constraint in self._constraints)
