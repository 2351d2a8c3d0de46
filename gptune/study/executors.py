"""Where trials run: here, in threads, or in processes of this machine."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor as Pool
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

from gptune.errors import StudyError, WorkerLostError
from gptune.foreign import foreign_call
from gptune.study.checks import check_count
from gptune.study.objective import Outcome, evaluate
from gptune.study.ticket import Ticket
from gptune.study.trial import Trial

LOST = (BrokenProcessPool, WorkerLostError)  # what a future raises whose worker died


class Executor(Protocol):
    """Runs objectives; the study itself stays where it is.

    Attributes:
        workers: How many trials run at once.
        synchronous: Whether all of a batch are waited for before the next begins: slower, but such
            studies repeat exactly.
    """

    workers: int
    synchronous: bool

    def start(self) -> None:
        """Get ready; called when a study begins to optimize."""
        ...

    def submit(self, objective: Callable[..., Any], trial: Trial) -> "Future[Outcome]":
        """Run an objective; the future raises one of ``LOST`` if its worker died."""
        ...

    def stop(self) -> None:
        """Wait for what runs, and give everything back."""
        ...


class Here:
    """Runs one trial after another, where the study is."""

    workers, synchronous = 1, True

    def start(self) -> None:
        """Do nothing."""

    def submit(self, objective: Callable[..., Any], trial: Trial) -> "Future[Outcome]":
        """Run it now."""
        future: Future[Outcome] = Future()
        future.set_result(evaluate(objective, trial))
        return future

    def stop(self) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Threads:
    """Runs trials in threads: for objectives that wait, or compute outside of Python.

    Args:
        workers: How many run at once.
        synchronous: Whether a batch is waited for before the next begins; such studies repeat.

    Raises:
        StudyError: If there is no worker.
    """

    workers: int
    synchronous: bool = False
    _pool: Pool | None = None

    def __post_init__(self) -> None:
        check_count("workers", self.workers)

    def start(self) -> None:
        """Make the threads."""
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="gptune-trial")

    def submit(self, objective: Callable[..., Any], trial: Trial) -> "Future[Outcome]":
        """Run it in a thread."""
        assert self._pool is not None
        return self._pool.submit(evaluate, objective, trial)

    def stop(self) -> None:
        """Wait for the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


@dataclass(slots=True)
class Processes:
    """Runs trials in fresh processes of this machine; the objective must be importable.

    The storage must be a file, for each process opens it. A trial whose process dies is begun
    again, in a new one.

    Args:
        workers: How many run at once.
        synchronous: Whether a batch is waited for before the next begins; such studies repeat.

    Raises:
        StudyError: If there is no worker.
    """

    workers: int
    synchronous: bool = False
    _idle: list[Pool] = field(default_factory=list)  # one process each: a death breaks no other

    def __post_init__(self) -> None:
        check_count("workers", self.workers)

    def start(self) -> None:
        """Do nothing: processes are made when they are needed."""

    def submit(self, objective: Callable[..., Any], trial: Trial) -> "Future[Outcome]":
        """Run it in a process.

        Raises:
            StudyError: If the storage is in memory, or the objective cannot be imported.
        """
        ticket = Ticket.of(trial)
        sent = foreign_call(lambda: ForkingPickler.dumps(objective))
        if sent.error is not None:
            raise StudyError(
                f"executor: other processes cannot import the objective ({sent.message}); define "
                "it in a module, at its top, or use Threads"
            )
        pool = self._idle.pop() if self._idle else _one_process()
        future = pool.submit(run_ticket, objective, ticket)
        future.add_done_callback(lambda done: self._take_back(pool, done))
        return future

    def stop(self) -> None:
        """Wait for the processes."""
        while self._idle:
            self._idle.pop().shutdown(wait=True, cancel_futures=True)

    def _take_back(self, pool: Pool, done: "Future[Outcome]") -> None:
        """Keep a process for the next trial, unless it died."""
        if not done.cancelled() and isinstance(done.exception(), LOST):
            pool.shutdown(wait=False)
        else:
            self._idle.append(pool)


def _one_process() -> Pool:
    spawn = multiprocessing.get_context("spawn")  # a fork would share torch's threads and locks
    return ProcessPoolExecutor(1, mp_context=spawn)


def run_ticket(objective: Callable[..., Any], ticket: Ticket) -> Outcome:
    """Run an objective in a process that was started for it."""
    return evaluate(objective, ticket.redeem())
