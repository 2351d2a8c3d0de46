"""What another process needs to go on with a trial: plain data, and where the study lies."""

from dataclasses import dataclass
from functools import cache
from typing import Self

from gptune.errors import StudyError
from gptune.records import Scalar
from gptune.study.database import MEMORY
from gptune.study.desk import Desk
from gptune.study.pruners import Pruner
from gptune.study.records import StudyRecord, TrialRecord
from gptune.study.storage import Storage
from gptune.study.trial import Trial


@dataclass(frozen=True, slots=True)
class Ticket:
    """A trial that travels.

    Attributes:
        url: Of the storage.
        study: The study.
        pruner: What says when to end it.
        trial: The trial as it was begun.
        proposed: What its sampler has proposed.
    """

    url: str
    study: StudyRecord
    pruner: Pruner
    trial: TrialRecord
    proposed: dict[str, Scalar]

    @classmethod
    def of(cls, trial: Trial) -> Self:
        """Make one.

        Raises:
            StudyError: If the storage is in memory, where no other process finds it.
        """
        desk = trial.desk
        assert isinstance(desk, Desk)
        url = desk.storage.url
        if url == MEMORY:
            raise StudyError(
                "executor: other processes cannot use a study in memory; pass "
                'storage="sqlite:///study.db" to Study, or use Threads'
            )
        return cls(url, desk.record, desk.pruner, trial.record, dict(trial.proposed))

    def redeem(self) -> Trial:
        """Go on with the trial, here."""
        desk = Desk(_storage(self.url), self.study, self.pruner)
        made = Trial(desk, self.trial, self.study, self.proposed)
        if self.study.space is not None:
            made.load(self.study.space)
        return made


@cache
def _storage(url: str) -> Storage:
    """Open a storage once in a process."""
    return Storage(url)
