"""The loop of a study: what it begins, and what it leaves behind; the rest is in `test_study`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.study.executors import Here, Threads
from gptune.study.loop import Limits, Loop
from gptune.study.samplers import RandomSampler
from gptune.study.study import Study
from tests.study.objectives import SPACE, bowl


@given(
    counts=st.tuples(st.integers(0, 12) | st.none(), st.integers(0, 12)),
    workers=st.integers(0, 3),
    synchronous=st.booleans(),
)
def test_it_begins_no_more_than_the_limits_say(
    counts: tuple[int | None, int], workers: int, synchronous: bool
) -> None:
    n_trials, total = counts
    study = Study("one", space=SPACE, sampler=RandomSampler())
    executor: Any = Threads(workers, synchronous) if workers else Here()
    limits = Limits(n_trials=n_trials, total=total)
    told: list[int] = []
    loop = Loop(study, bowl, limits, catch=(), executor=executor)
    loop.run(lambda trial: told.append(trial.number), progress=False)
    due = total if n_trials is None else min(n_trials, total)
    assert sorted(told) == list(range(due)) == [trial.number for trial in study.trials]


def test_a_callback_that_raises_ends_the_study_and_nothing_stays_open() -> None:
    def callback(trial: Any) -> None:
        raise ValueError("mine")

    study = Study("one", space=SPACE, sampler=RandomSampler())
    loop = Loop(study, bowl, Limits(n_trials=9), catch=(), executor=Threads(3))
    with pytest.raises(ValueError, match="mine"):
        loop.run(callback, progress=False)
    assert "running" not in [trial.state for trial in study.trials]
