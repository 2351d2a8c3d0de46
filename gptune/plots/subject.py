"""What a figure is about: a study, or trials of one; what is missing there is said by name."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gptune.configs import nearest
from gptune.configs.reading import shown
from gptune.errors import StudyError
from gptune.study.domains import Domains, Fixed
from gptune.study.records import TrialRecord, TrialState
from gptune.study.study import Study

DIRECTIONS = {"minimize": -1.0, "maximize": 1.0}  # -> what turns it into larger-is-better
RUN = "run some: study.optimize(objective, n_trials=20)"
REPORT = "call trial.report(value, step) in the objective"
Given = Study | Sequence[TrialRecord]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a figure is about.

    Attributes:
        plot: Which figure, for messages.
        name: The study's; empty for trials alone.
        direction: ``minimize`` or ``maximize``.
        space: Every parameter.
        trials: In the order of their numbers.
    """

    plot: str
    name: str
    direction: str
    space: Domains
    trials: Sequence[TrialRecord]

    @property
    def sign(self) -> float:
        """What turns the objective into larger-is-better."""
        return DIRECTIONS[self.direction]

    @property
    def objective(self) -> str:
        """How the axis of the objective is called."""
        return f"objective ({'lower' if self.sign < 0 else 'higher'} is better)"

    def finished(self) -> list[TrialRecord]:
        """Give the trials of which nothing more comes.

        Raises:
            StudyError: If there is none.
        """
        return self._some([t for t in self.trials if t.state.is_finished], "is finished", RUN)

    def complete(self) -> list[TrialRecord]:
        """Give the trials that have a value.

        Raises:
            StudyError: If there is none.
        """
        return self._some([t for t in self.trials if is_complete(t)], "is complete", RUN)

    def reporting(self) -> list[TrialRecord]:
        """Give the trials that have reported a number.

        Raises:
            StudyError: If there is none.
        """
        found = [t for t in self.trials if any(map(math.isfinite, t.reports.values()))]
        return self._some(found, "has reported a number", REPORT)

    def best(self, trials: Iterable[TrialRecord]) -> TrialRecord | None:
        """Give the best complete one of some trials; of equals, the first."""
        complete = [trial for trial in trials if is_complete(trial)]
        return max(complete, key=self._gain, default=None)

    def better(self, trial: TrialRecord, than: TrialRecord | None) -> bool:
        """Say whether a complete trial is better than another one."""
        return than is None or self._gain(trial) > self._gain(than)

    def parameters(self, chosen: str | Iterable[str] | None = None) -> list[str]:
        """Give the names of parameters: those that are chosen, or all that have several values.

        Raises:
            StudyError: If one is unknown, or there is none.
        """
        if chosen is None:
            several = [name for name, one in self.space.items() if not isinstance(one, Fixed)]
            names = several or list(self.space)
        else:
            names = list(dict.fromkeys([chosen] if isinstance(chosen, str) else chosen))
        for name in names:
            if name not in self.space:
                raise StudyError(
                    f"{self.plot}: {self._who} has no parameter {name!r}; "
                    f"{nearest(name, self.space)}"
                )
        if not names:
            raise StudyError(f"{self.plot}: there is no parameter to draw; name at least one")
        return names

    @property
    def _who(self) -> str:
        return f"study {self.name!r}" if self.name else "what was given"

    def _gain(self, trial: TrialRecord) -> float:
        assert trial.value is not None
        return self.sign * trial.value

    def _some(self, found: list[TrialRecord], state: str, hint: str) -> list[TrialRecord]:
        if not found:
            count = len(self.trials)
            raise StudyError(f"{self.plot}: of {count} trials of {self._who} none {state}; {hint}")
        return found


def is_complete(trial: TrialRecord) -> bool:
    """Say whether a trial has a value that can be drawn."""
    has_value = trial.value is not None and math.isfinite(trial.value)
    return trial.state is TrialState.COMPLETE and has_value


def subject_of(plot: str, given: Given, direction: str | None) -> Subject:
    """Read what a figure shall be about.

    Args:
        plot: Which figure, for messages.
        given: A study, or trials.
        direction: ``minimize`` or ``maximize``, for trials alone.

    Raises:
        StudyError: If it is neither, or the direction is missing or not the study's.
    """
    if isinstance(given, Study):
        if direction not in (None, given.direction):
            raise StudyError(f"{plot}: the study's direction is {given.direction!r}; leave it out")
        trials = given.trials  # before the space, which then knows all that they have
        return Subject(plot, given.name, given.direction, given.space, trials)
    if not isinstance(given, Sequence) or not all(isinstance(t, TrialRecord) for t in given):
        raise StudyError(f"{plot}: needs a Study, or a list of trials, got {shown(given)}")
    if direction not in DIRECTIONS:
        raise StudyError(
            f"{plot}: trials alone do not say what is better; "
            f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}"
        )
    ordered = sorted(given, key=lambda trial: trial.number)
    space = {name: domain for trial in ordered for name, domain in trial.space.items()}
    return Subject(plot, "", direction, space, ordered)
