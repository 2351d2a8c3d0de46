"""All trials of a study, read from its storage as far as they have changed."""

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import Any

from gptune.records import Scalar
from gptune.study.domains import Domain
from gptune.study.records import StudyRecord, TrialRecord, TrialState
from gptune.study.storage import Storage


class Book:
    """What is known of a study's trials; `refresh` reads what is new, and costs no more than that.

    Attributes:
        finished: Complete, pruned and failed trials, in the order of their numbers.
        running: Number -> trial that is being run.
        reported: Number -> trial that has reported something.
        space: Every parameter that a finished trial had, from the newest of its domains; in the
            order of the first trials that had them, and in a trial as it suggested them, so that
            it does not matter which trial ends first.
        best: The best complete trial.
    """

    def __init__(self, storage: Storage, study: StudyRecord) -> None:
        self._storage, self._study = storage, study
        self._revision = 0
        self._trials: dict[int, TrialRecord] = {}
        self.finished: list[TrialRecord] = []
        self.running: dict[int, TrialRecord] = {}
        self.reported: dict[int, TrialRecord] = {}
        self.space: dict[str, Domain] = dict(study.space or {})
        self.best: TrialRecord | None = None
        self._newest = -1  # number that was given away
        self._known: dict[str, int] = {}  # parameter -> the trial that its domain is of
        self._first: dict[str, tuple[int, int]] = {}  # -> the first trial with it, place therein
        self._memory: tuple[int, Mapping[str, Any]] = (-1, {})

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials, in the order of their numbers."""
        return [self._trials[number] for number in sorted(self._trials)]

    def __getitem__(self, number: int) -> TrialRecord:
        return self._trials[number]

    def refresh(self) -> None:
        """Read what has changed."""
        new = self._storage.changes(self._study.id, self._revision)
        self._revision = new.revision
        for trial in new.trials:
            self._take(trial)
        for number in range(new.begun, self._newest + 1):
            self._forget(number)
        self._newest = new.begun - 1

    def memory(self, before: int) -> Mapping[str, Any]:
        """Give what a sampler wanted to know again, at the newest trial before a number."""
        number, found = self._memory
        if number < before:
            return found
        older = (self._trials[n] for n in range(before - 1, -1, -1) if n in self._trials)
        return next((trial.memory for trial in older if trial.memory), {})

    def values_of_running(self, without: int) -> list[dict[str, Scalar]]:
        """Give what is being tried now, by others than one trial."""
        return [t.params for n, t in sorted(self.running.items()) if n != without and t.params]

    def _take(self, trial: TrialRecord) -> None:
        number = trial.number
        self._trials[number] = trial
        self.running.pop(number, None)
        self.reported.pop(number, None)
        if trial.reports:
            self.reported[number] = trial
        if trial.state is TrialState.RUNNING:
            self.running[number] = trial
        elif trial.state.is_finished:
            self._finish(trial)
        if trial.memory and number >= self._memory[0]:
            self._memory = (number, trial.memory)
        elif number == self._memory[0]:  # it was withdrawn, and begun again
            self._memory = (number - 1, self.memory(number))

    def _forget(self, number: int) -> None:
        """Forget a trial that was withdrawn before anything came of it."""
        for known in (self._trials, self.running, self.reported):
            known.pop(number, None)
        if number == self._memory[0]:
            self._memory = (number - 1, self.memory(number))

    def _finish(self, trial: TrialRecord) -> None:
        place = bisect_left(self.finished, trial.number, key=_number)
        if place < len(self.finished) and self.finished[place].number == trial.number:
            self.finished[place] = trial
        else:
            insort(self.finished, trial, key=_number)
        if trial.state is TrialState.COMPLETE and self._is_better(trial):
            self.best = trial
        if self._study.space is None:
            self._learn(trial)

    def _learn(self, trial: TrialRecord) -> None:
        """Keep the domains of a trial, and their order."""
        before = dict(self._first)
        for place, (name, domain) in enumerate(trial.space.items()):
            here = (trial.number, place)
            self._first[name] = min(here, self._first.get(name, here))
            if trial.number >= self._known.get(name, -1):
                self._known[name], self.space[name] = trial.number, domain
        if self._first != before:
            self.space = {name: self.space[name] for name in sorted(self.space, key=self._place)}

    def _place(self, name: str) -> tuple[int, int]:
        return self._first[name]

    def _is_better(self, trial: TrialRecord) -> bool:
        assert trial.value is not None
        if self.best is None or self.best.value is None:
            return True
        sign = self._study.sign
        gain = sign * trial.value - sign * self.best.value
        return gain > 0 or (gain == 0 and trial.number < self.best.number)


def _number(trial: TrialRecord) -> int:
    return trial.number
