"""Trials of a study on a Ray cluster: ``study.optimize(objective, executor=RayExecutor())``.

The study and its storage stay with the driver. A trial travels as plain data; what it suggests,
reports and asks goes to one actor beside the driver, which alone opens the storage. So workers
need gptune and the objective, and no common disk.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from gptune.errors import StudyError, WorkerLostError
from gptune.records import Scalar
from gptune.study.checks import check_count
from gptune.study.desk import Desk
from gptune.study.domains import Domain
from gptune.study.objective import Outcome, evaluate
from gptune.study.records import StudyRecord, TrialRecord
from gptune.study.storage import Storage
from gptune.study.ticket import Ticket
from gptune.study.trial import Trial

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ModuleNotFoundError as missing:
    if str(missing.name).partition(".")[0] != "ray":
        raise
    raise ImportError("gptune.adapters.ray needs Ray: pip install 'gptune-torch[ray]'") from missing


class RayExecutor:
    """Runs trials on a Ray cluster, or in processes of this machine if Ray is not connected yet.

    The study's storage must be a file: ``storage="sqlite:///study.db"``. A trial whose worker is
    lost is begun again, once. Call ``ray.init(address=...)`` before, for a cluster; else Ray is
    started here, and ended with ``optimize``.

    Args:
        workers: How many trials run at once; by default as many as the cluster has room for.
        cpus: Of each trial [CPUs].
        gpus: Of each trial [GPUs].
        synchronous: Whether a batch is waited for before the next begins; such studies repeat.

    Raises:
        StudyError: If a number is wrong.

    Example:
        study.optimize(objective, n_trials=100, executor=RayExecutor(gpus=1))
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        synchronous: bool = False,
    ) -> None:
        if workers is not None:
            check_count("workers", workers)
        for name, value in (("cpus", cpus), ("gpus", gpus)):
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise StudyError(f"{name}: must be a number >= 0, got {value!r}")
        self.workers, self.synchronous = workers or 1, synchronous
        self._fills = workers is None
        self._needs: dict[str, float] = {"CPU": cpus, "GPU": gpus}
        self._own = False  # whether Ray was started here
        self._running: set[Any] = set()  # references of tasks
        self._clerks: dict[tuple[str, int], Any] = {}  # of each study an actor

    def start(self) -> None:
        """Connect to Ray, and see how much room there is.

        Raises:
            StudyError: If the cluster has no room for a single trial.
        """
        self._own = not ray.is_initialized()
        if self._own:
            ray.init(include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        there = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if self._fills:
            rooms = [int(there.get(kind, 0.0) / need) for kind, need in self._needs.items() if need]
            self.workers = min(rooms, default=int(there.get("CPU", 1)))
        if self.workers < 1:
            raise StudyError(
                f"ray: the cluster has no room for a trial of {self._needs}, it has "
                f"{there}; ask for less with cpus= and gpus="
            )

    def submit(self, objective: Callable[..., Any], trial: Trial) -> "Future[Outcome]":
        """Run it on a worker.

        Raises:
            StudyError: If the storage is in memory.
        """
        ticket = Ticket.of(trial)
        order = Order(self._clerk(ticket), ticket.study, ticket.trial, ticket.proposed)
        task = ray.remote(run_order).options(
            num_cpus=self._needs["CPU"], num_gpus=self._needs["GPU"], max_retries=0
        )
        future: Future[Outcome] = Future()
        reference = task.remote(objective, order)
        self._running.add(reference)

        def end(done: "Future[Outcome]") -> None:
            self._running.discard(reference)
            _pass_on(done, future)

        reference.future().add_done_callback(end)
        return future

    def stop(self) -> None:
        """End what still runs, and give Ray back if it was started here."""
        for reference in list(self._running):
            ray.cancel(reference, force=True)
        for clerk in self._clerks.values():
            ray.kill(clerk)
        self._clerks.clear()
        if self._own:
            ray.shutdown()

    def _clerk(self, ticket: Ticket) -> Any:
        """Give the actor that writes for a study's trials, on this machine."""
        place = (ticket.url, ticket.study.id)
        if place not in self._clerks:
            here = ray.get_runtime_context().get_node_id()
            strategy = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
            made = ray.remote(Clerk).options(num_cpus=0, scheduling_strategy=strategy)
            self._clerks[place] = made.remote(ticket)
        return self._clerks[place]


class Clerk:
    """Writes down what trials elsewhere say, and answers whether they should end; an actor.

    Args:
        ticket: Any of the study's.
    """

    def __init__(self, ticket: Ticket) -> None:
        self._desk = Desk(Storage(ticket.url), ticket.study, ticket.pruner)

    def write(
        self,
        trial: int,
        params: Mapping[str, Scalar],
        space: Mapping[str, Domain],
        memory: Mapping[str, Any] | None,
    ) -> None:
        """Write down what was suggested."""
        self._desk.write(trial, params, space, memory)

    def report(self, trial: int, step: int, value: float) -> None:
        """Write an intermediate value down."""
        self._desk.report(trial, step, value)

    def prunes(self, trial: int) -> bool:
        """Ask the pruner."""
        return self._desk.prunes(trial)


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker gets: a trial, and whom to tell.

    Attributes:
        clerk: The actor.
        study: The study.
        trial: The trial as it was begun.
        proposed: What its sampler has proposed.
    """

    clerk: Any
    study: StudyRecord
    trial: TrialRecord
    proposed: dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Letters:
    """A trial's paper on a worker: each line goes to the clerk, and is waited for."""

    clerk: Any

    def write(
        self,
        trial: int,
        params: Mapping[str, Scalar],
        space: Mapping[str, Domain],
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what was suggested."""
        ray.get(self.clerk.write.remote(trial, dict(params), dict(space), memory))

    def report(self, trial: int, step: int, value: float) -> None:
        """Write an intermediate value down."""
        ray.get(self.clerk.report.remote(trial, step, value))

    def prunes(self, trial: int) -> bool:
        """Ask the pruner."""
        return bool(ray.get(self.clerk.prunes.remote(trial)))


def run_order(objective: Callable[..., Any], order: Order) -> Outcome:
    """Run an objective on a worker."""
    trial = Trial(Letters(order.clerk), order.trial, order.study, order.proposed)
    if order.study.space is not None:
        trial.load(order.study.space)
    return evaluate(objective, trial)


def _pass_on(done: "Future[Outcome]", future: "Future[Outcome]") -> None:
    """Hand on what came of a task; of a lost worker in the words that a study understands."""
    error = done.exception()
    if isinstance(error, RayError) and not isinstance(error, RayTaskError):
        lost = WorkerLostError(f"ray: the worker of a trial was lost ({type(error).__name__})")
        lost.__cause__ = error
        future.set_exception(lost)
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
