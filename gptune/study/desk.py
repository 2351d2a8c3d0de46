"""Where trials write down what happens to them, and ask whether to go on."""

import threading
from collections.abc import Mapping
from typing import Any

from gptune.records import Scalar
from gptune.study.book import Book
from gptune.study.domains import Domain
from gptune.study.pruners import NoPruner, Pruner, Race
from gptune.study.records import StudyRecord
from gptune.study.storage import Storage


class Desk:
    """What the trials of a study share, in one process; it may be used from several threads.

    Attributes:
        book: All trials; hold ``lock`` while you read it.
    """

    def __init__(self, storage: Storage, record: StudyRecord, pruner: Pruner | None) -> None:
        self.storage, self.record, self.pruner = storage, record, pruner or NoPruner()
        self.book, self.lock = Book(storage, record), threading.RLock()

    def write(
        self,
        trial: int,
        params: Mapping[str, Scalar],
        space: Mapping[str, Domain],
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what was suggested to a trial."""
        self.storage.suggest((self.record.id, trial), params, space, memory)

    def report(self, trial: int, step: int, value: float) -> None:
        """Write an intermediate value of a trial down."""
        self.storage.report((self.record.id, trial), step, value)

    def prunes(self, trial: int) -> bool:
        """Ask the pruner."""
        if isinstance(self.pruner, NoPruner):
            return False
        with self.lock:
            self.book.refresh()
            others = [one for n, one in self.book.reported.items() if n != trial]
            race = Race(self.book[trial], others, self.record.sign)
        return self.pruner.prunes(race)
