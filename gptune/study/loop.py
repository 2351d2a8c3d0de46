"""The loop of a study: begins trials as long as it may, and finishes them as they come."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from gptune.errors import StudyError
from gptune.foreign import foreign_call
from gptune.study.executors import LOST, Executor
from gptune.study.objective import Measured, Outcome, variance
from gptune.study.records import TrialRecord, TrialState
from gptune.study.samplers import GridSpent
from gptune.study.trial import Trial
from gptune.study.workers import this_worker

RETRIES = 1  # of a trial whose worker died


class Owner(Protocol):
    """What the loop needs of a study."""

    @property
    def is_stopped(self) -> bool:
        """Whether somebody wants it to end."""
        ...

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial, if there is one."""
        ...

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials."""
        ...

    def begin(self, worker: str, total: int | None = None) -> Trial | None:
        """Begin a trial, if there are not enough already."""
        ...

    def tell(
        self,
        trial: Trial,
        value: object = None,
        *,
        state: TrialState | None = None,
        noise: float | None = None,
        error: str = "",
    ) -> TrialRecord:
        """Finish a trial."""
        ...

    def withdraw(self, trial: Trial) -> None:
        """Take a trial back that was begun."""
        ...

    def restart(self, trial: Trial) -> Trial:
        """Begin a trial again whose worker died."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a study has run enough.

    Raises:
        StudyError: Naming what is wrong.
    """

    n_trials: int | None = None
    total: int | None = None
    timeout: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("n_trials", 0), ("total", 0), ("patience", 1)):
            value = getattr(self, name)
            is_count = isinstance(value, int) and not isinstance(value, bool) and value >= least
            if value is not None and not is_count:
                raise StudyError(f"{name}: must be a whole number >= {least}, got {value!r}")
        if self.timeout is not None and not self.timeout > 0:
            raise StudyError(f"timeout: must be positive [s], got {self.timeout!r}")


class Loop:
    """Runs trials of a study until a limit is met.

    Args:
        study: The study.
        objective: What is measured.
        limits: When it is enough.
        catch: Exceptions of the objective that only make a failed trial.
        executor: Where trials run.
    """

    def __init__(
        self,
        study: Owner,
        objective: Callable[..., Any],
        limits: Limits,
        *,
        catch: tuple[type[Exception], ...],
        executor: Executor,
    ) -> None:
        self._study, self._objective, self._limits = study, objective, limits
        self._catch, self._executor = catch, executor
        self._running: dict[Future[Outcome], Trial] = {}
        self._lost: dict[int, int] = {}  # number -> how often its worker died
        self._begun = self._idle = 0  # trials begun; and finished since the best
        self._end = None if limits.timeout is None else monotonic() + limits.timeout
        self._error: Exception | None = None
        self._spent = False

    def run(self, tell: Callable[[TrialRecord], None], *, progress: bool | None) -> None:
        """Run; what the objective raises, and what is not to be caught, passes at the end."""
        done = sum(trial.state.is_finished for trial in self._study.trials)
        with _bar(self._limits, done=done, wanted=progress) as advance, self._ready():
            while True:
                self._fill()
                if not self._running:
                    break
                for record in self._collect():
                    best = self._study.best
                    advance(record, None if best is None else best.value)
                    tell(record)
        if self._error is not None:
            raise self._error

    def _fill(self) -> None:
        """Begin as many trials as may run now."""
        if self._executor.synchronous and self._running:
            return
        while len(self._running) < self._executor.workers and self._may_begin():
            try:
                trial = self._study.begin(this_worker(), self._limits.total)
            except GridSpent:
                trial = None
            if trial is None:
                self._spent = True
                return
            self._begun += 1
            self._submit(trial)

    def _submit(self, trial: Trial) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._study.withdraw, trial)
            self._running[self._executor.submit(self._objective, trial)] = trial
            stack.pop_all()

    def _may_begin(self) -> bool:
        limits = self._limits
        return not (
            self._spent
            or self._error is not None
            or self._study.is_stopped
            or (limits.n_trials is not None and self._begun >= limits.n_trials)
            or (self._end is not None and monotonic() >= self._end)
            or (limits.patience is not None and self._idle >= limits.patience)
        )

    def _collect(self) -> Iterator[TrialRecord]:
        """Wait for what ends next, and write it down, in the order of the numbers."""
        until = ALL_COMPLETED if self._executor.synchronous else FIRST_COMPLETED
        done, _ = wait(self._running, return_when=until)
        for future in sorted(done, key=lambda one: self._running[one].number):
            record = self._finish(self._running[future], future)
            del self._running[future]  # only now: an interrupt in between takes the trial back
            if record is not None:
                best = self._study.best
                is_best = best is not None and best.number == record.number
                self._idle = 0 if is_best else self._idle + 1
                yield record

    def _finish(self, trial: Trial, future: Future[Outcome]) -> TrialRecord | None:
        ended = foreign_call(future.result)
        if isinstance(ended.error, LOST):
            return self._lose(trial)
        outcome = ended.value or Outcome(error=ended.error, message=ended.message)
        if outcome.pruned or outcome.error is not None:
            caught = outcome.pruned or isinstance(outcome.error, self._catch)
            self._error = self._error or (None if caught else outcome.error)
            state = TrialState.PRUNED if outcome.pruned else TrialState.FAILED
            return self._study.tell(trial, state=state, error=outcome.message)
        given = outcome.value
        value = given if isinstance(given, Measured) else Measured(given)
        noise = foreign_call(lambda: variance(value.noise))
        if noise.error is not None:
            return self._study.tell(trial, state=TrialState.FAILED, error=str(noise.error))
        return self._study.tell(trial, value.value, noise=noise.value)

    def _lose(self, trial: Trial) -> TrialRecord | None:
        """Begin a trial again whose worker died; once."""
        self._lost[trial.number] = self._lost.get(trial.number, 0) + 1
        if self._lost[trial.number] <= RETRIES:
            self._submit(self._study.restart(trial))
            return None
        died = (
            f"its worker died {self._lost[trial.number]} times; if all do, guard what your script "
            'starts with: if __name__ == "__main__":'
        )
        return self._study.tell(trial, state=TrialState.FAILED, error=died)

    @contextlib.contextmanager
    def _ready(self) -> Iterator[None]:
        """Hold the executor; what still runs when somebody ends all this is to be begun again."""
        self._executor.start()
        with contextlib.ExitStack() as stack:
            stack.callback(self._withdraw_all)
            stack.callback(self._executor.stop)  # first: nothing runs any more
            yield

    def _withdraw_all(self) -> None:
        for trial in self._running.values():
            foreign_call(lambda trial=trial: self._study.withdraw(trial))  # type: ignore[misc]


@contextlib.contextmanager
def _bar(
    limits: Limits, *, done: int, wanted: bool | None
) -> Iterator[Callable[[TrialRecord, float | None], None]]:
    """Show how far a study has come, if somebody watches."""
    shown = sys.stderr.isatty() if wanted is None else wanted
    columns = (
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        total, begun = (limits.n_trials, 0) if limits.n_trials else (limits.total, done)
        task = bar.add_task("trials", total=total, completed=begun, said="")

        def advance(record: TrialRecord, best: float | None) -> None:
            said = "" if best is None else f"best {best:.6g}"
            bar.update(task, advance=1, said=said)

        yield advance
