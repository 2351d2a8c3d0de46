"""What a study remembers of itself and of its trials: frozen, plain data."""

from enum import StrEnum

import msgspec

from gptune.records import Scalar
from gptune.study.domains import Domain


class TrialState(StrEnum):
    """Where a trial is in its life."""

    WAITING = "waiting"  # enqueued, and not begun
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"  # ended early, for it did not look good
    FAILED = "failed"  # no number came of it

    @property
    def is_finished(self) -> bool:
        """Whether nothing more comes of it."""
        return self in FINISHED


FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a study was made with.

    Attributes:
        id: Its number in the file.
        name: Its name.
        direction: ``minimize`` or ``maximize``.
        space: What was given up front; ``None`` where trials define it as they run.
        seed: Of all chance.
        created: When [s since 1970].
    """

    id: int
    name: str
    direction: str
    space: dict[str, Domain] | None
    seed: int
    created: float

    @property
    def sign(self) -> float:
        """What turns the objective into larger-is-better."""
        return -1.0 if self.direction == "minimize" else 1.0


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One trial, as far as it has come.

    Attributes:
        number: 0, 1, 2 ... in the order in which they were begun or enqueued.
        state: Where it is in its life.
        params: Name -> value of what was suggested so far.
        space: Name -> what it was suggested from.
        fixed: What was enqueued: values that are suggested whatever a sampler says.
        value: The objective; ``None`` unless it is complete.
        noise: Variance of the value, where it is known [squared units of value].
        reports: Step -> value that was reported there.
        error: Why it failed, or was pruned.
        attempts: How often it was begun: more than once if a process died.
        worker: Who runs it: ``host:pid:start``; empty where nobody does.
        begun: When it was last begun [s since 1970].
        ended: When it was finished [s since 1970].
        memory: What its sampler wants to know again: fitted hyperparameters.
    """

    number: int
    state: TrialState
    params: dict[str, Scalar] = {}
    space: dict[str, Domain] = {}
    fixed: dict[str, Scalar] = {}
    value: float | None = None
    noise: float | None = None
    reports: dict[int, float] = {}
    error: str = ""
    attempts: int = 0
    worker: str = ""
    begun: float | None = None
    ended: float | None = None
    memory: dict[str, object] = {}

    @property
    def last(self) -> float | None:
        """The value reported last, at the largest step."""
        return self.reports[max(self.reports)] if self.reports else None

    def to_row(self) -> dict[str, object]:
        """Give a flat row: what a table is made of."""
        return {
            "number": self.number,
            "state": self.state.value,
            "value": self.value,
            **{f"params.{name}": value for name, value in self.params.items()},
            "seconds": self.seconds,
            "error": self.error,
        }

    @property
    def seconds(self) -> float | None:
        """How long it ran, once it is finished [s]."""
        if self.begun is None or self.ended is None:
            return None
        return self.ended - self.begun
