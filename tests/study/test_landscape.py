"""The model of a study: values in the objective's own units, whatever its scale and direction."""

import math
from typing import Any

import pytest
import torch

from gptune.errors import StudyError
from gptune.records import Categorical, Float, Integer, Scalar
from gptune.study.domains import Fixed
from gptune.study.landscape import CHUNK, Landscape, landscape_of
from gptune.study.records import TrialRecord
from gptune.study.samplers import SobolSampler
from tests.study.drawing import complete, ended, play, view_of

SPACE: dict[str, Any] = {
    "x": Float(-1.0, 1.0),
    "kind": Categorical(("plain", "fancy")),
    "still": Fixed(7),
}


def bowl(params: dict[str, Scalar]) -> float:
    x = params["x"]
    assert isinstance(x, float)
    return 1000.0 + 50.0 * (x - 0.3) ** 2 + (20.0 if params["kind"] == "fancy" else 0.0)


def played(sign: float) -> list[TrialRecord]:
    return play(SobolSampler(), view_of(SPACE), 30, lambda params: -sign * bowl(params))


def made(sign: float = -1.0) -> Landscape:
    return landscape_of(view_of(SPACE, finished=played(sign), sign=sign), "test")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_values_have_the_units_and_the_sign_of_the_objective(sign: float) -> None:
    points: list[dict[str, Scalar]] = [
        {"x": x, "kind": kind, "still": 7} for x in (-0.9, 0.0, 0.7) for kind in ("plain", "fancy")
    ]
    found = made(sign).values(points)
    assert found == pytest.approx([-sign * bowl(point) for point in points], abs=2.0)


def test_many_places_are_asked_for_in_parts_and_come_to_the_same() -> None:
    land = made()
    x = torch.rand(CHUNK + 5, land.space.dimension, dtype=torch.float64)
    found = land.mean(x)
    assert found.shape == (CHUNK + 5,)
    assert torch.allclose(found[-5:], land.mean(x[-5:]))


def test_what_a_trial_did_not_have_is_where_it_was_proposed_or_in_the_middle() -> None:
    land = made()
    bare = complete(0, {"kind": "fancy"}, 1.0)
    assert land.point(bare) == {"x": 0.0, "kind": "fancy", "still": 7}
    proposed = complete(0, {"kind": "fancy"}, 1.0, memory={"proposed": {"x": 0.25}})
    assert land.point(proposed) == {"x": 0.25, "kind": "fancy", "still": 7}


def test_too_few_trials_and_nothing_to_search_are_told_by_who_asks() -> None:
    few = [complete(number, {"x": 0.1, "kind": "plain"}, 1.0) for number in range(3)]
    with pytest.raises(StudyError, match=r"me: needs 4 finished trials .* got 3 of 2; run more"):
        landscape_of(view_of(SPACE, finished=few), "me")
    with pytest.raises(StudyError, match="got 0 of 0"):
        landscape_of(view_of({"still": Fixed(7)}), "me")
    failed = [ended(number, {"x": 0.1, "kind": "plain"}, "failed") for number in range(9)]
    with pytest.raises(StudyError, match="got 0 of 2"):
        landscape_of(view_of(SPACE, finished=failed), "me")


def test_values_that_do_not_differ_are_given_back() -> None:
    same = [complete(n, {"n": n}, 5.0) for n in range(1, 6)]
    land = landscape_of(view_of({"n": Integer(1, 9)}, finished=same), "me")
    assert land.values([{"n": 9}]) == [5.0]
    assert math.isfinite(land.scale)
