"""A trial that travels to another process is the same trial there."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from gptune.errors import StudyError
from gptune.study.pruners import median_pruner
from gptune.study.samplers import RandomSampler
from gptune.study.study import Study
from gptune.study.ticket import Ticket
from tests.study.objectives import SPACE


@pytest.mark.parametrize("space", [SPACE, None])
def test_a_ticket_gives_the_same_values_and_writes_to_the_same_file(
    space: Any, tmp_path: Path
) -> None:
    made: dict[str, Any] = {"sampler": RandomSampler(), "pruner": median_pruner(), "space": space}
    with Study("one", storage=tmp_path / "study.db", **made) as study:
        trial = study.ask()
        there = pickle.loads(pickle.dumps(Ticket.of(trial))).redeem()
        if space is None:
            assert there.suggest_float("x", 0.0, 1.0) == trial.suggest_float("x", 0.0, 1.0)
        assert there.params == trial.params
        assert there.seed == trial.seed
        there.report(1.5, 2)
        assert study.trials[0].reports == {2: 1.5}
        assert not there.should_prune()


def test_a_study_in_memory_does_not_travel() -> None:
    with pytest.raises(StudyError, match="in memory"):
        Ticket.of(Study("one", space=SPACE, sampler=RandomSampler()).ask())
