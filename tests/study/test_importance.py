"""Sobol indices of the posterior mean, against those that are known."""

import math
from typing import Any

import pytest

from gptune.errors import StudyError
from gptune.records import Categorical, Float, Integer
from gptune.study.importance import Importance
from gptune.study.samplers import RandomSampler, SobolSampler
from gptune.study.study import Study

A, B = 7.0, 0.1
ISHIGAMI = {name: Float(-math.pi, math.pi) for name in ("x", "y", "z")}


def ishigami(params: dict[str, Any]) -> float:
    x, y, z = params["x"], params["y"], params["z"]
    return float(math.sin(x) + A * math.sin(y) ** 2 + B * z**4 * math.sin(x))


def known() -> dict[str, Importance]:
    """Work the indices out: Ishigami and Homma (1990)."""
    alone = 0.5 * (1 + B * math.pi**4 / 5) ** 2
    of_y = A**2 / 8
    with_z = B**2 * math.pi**8 * (1 / 18 - 1 / 50)
    whole = alone + of_y + with_z
    return {
        "x": Importance(alone / whole, (alone + with_z) / whole),
        "y": Importance(of_y / whole, of_y / whole),
        "z": Importance(0.0, with_z / whole),
    }


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_finds_the_indices_of_ishigami(direction: str) -> None:
    study = Study("one", space=ISHIGAMI, sampler=SobolSampler(), direction=direction)
    study.optimize(ishigami, n_trials=250)
    found = study.importance()
    for name, due in known().items():
        assert found[name].first == pytest.approx(due.first, abs=0.05), name
        assert found[name].total == pytest.approx(due.total, abs=0.05), name
    assert list(found) == ["x", "y", "z"]


def test_what_does_not_matter_has_no_importance() -> None:
    space = {
        "n": Integer(1, 9),
        "k": Categorical(("a", "b", "c")),
        "idle": Float(1e-3, 1.0, log=True),
    }
    study = Study("one", space=space, sampler=RandomSampler())
    study.optimize(lambda p: p["n"] + (9.0 if p["k"] == "b" else 0.0), n_trials=80)
    found = study.importance()
    assert found["idle"].total < 0.02
    assert found["k"].first > found["n"].first > 0.1
    assert list(found)[-1] == "idle"


def test_a_constant_objective_depends_on_nothing() -> None:
    study = Study("one", space=ISHIGAMI, sampler=RandomSampler())
    study.optimize(lambda params: 1.0, n_trials=10)
    assert all(one == Importance(0.0, 0.0) for one in study.importance().values())


def test_too_few_trials_are_told() -> None:
    study = Study("one", space=ISHIGAMI, sampler=RandomSampler())
    study.optimize(ishigami, n_trials=3)
    with pytest.raises(StudyError, match="needs 4 finished trials"):
        study.importance()
