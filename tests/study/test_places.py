"""Where trials lie, and what each counts as; more of it is in `test_gaussian`."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.records import Categorical, Float
from gptune.study.domains import Domain, Fixed, Stepped
from gptune.study.places import PROPOSED, Places, observations_of, searched
from gptune.study.records import TrialRecord, TrialState
from gptune.study.samplers import View
from tests.strategies import anything

SPACE: dict[str, Domain] = {
    "x": Float(0.0, 1.0),
    "n": Stepped(2, 10, 2),
    "k": Categorical(("a", "b")),
    "one": Fixed(7),
}
PLACES = Places(SPACE, searched(SPACE))


def trial(number: int, state: TrialState = TrialState.COMPLETE, **chosen: Any) -> TrialRecord:
    return TrialRecord(number=number, state=state, params={"x": 0.5}, **chosen)


def values(*trials: TrialRecord, sign: float = 1.0) -> list[float]:
    view = View(number=9, seed=0, sign=sign, space=SPACE, finished=trials)
    return [one.value for one in observations_of(view, PLACES, 100)]


def test_what_has_one_value_is_not_searched_and_comes_back() -> None:
    assert searched(SPACE).keys() == {"x", "n", "k"}
    inner = PLACES.inner({"x": 0.25, "n": 6, "k": "b", "one": 7})
    assert inner == {"x": 0.25, "n": 2, "k": "b"}
    assert PLACES.outer(inner) == {"x": 0.25, "n": 6, "k": "b", "one": 7}


def test_what_a_trial_did_not_have_lies_where_it_was_proposed_or_in_the_middle() -> None:
    assert PLACES.inner({"x": 0.25}, {"x": 0.9, "n": 10, "k": "b"})["n"] == 4
    assert PLACES.inner({"x": 0.25}, {"n": 11})["n"] == 2
    assert PLACES.inner({"x": 0.25}, "nonsense")["x"] == 0.25
    made = trial(0, value=1.0, memory={PROPOSED: {"n": 10}})
    view = View(number=1, seed=0, sign=1.0, space=SPACE, finished=[made])
    assert observations_of(view, PLACES, 9)[0].point["n"] == 4


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_failed_trials_count_as_the_worst_and_pruned_ones_as_no_better_than_the_middle(
    sign: float,
) -> None:
    done = [trial(i, value=sign * value) for i, value in enumerate([1.0, 2.0, 6.0])]
    failed = trial(3, TrialState.FAILED)
    good = trial(4, TrialState.PRUNED, reports={0: 0.0, 5: sign * 9.0})
    bad = trial(5, TrialState.PRUNED, reports={0: sign * -4.0})
    silent = trial(6, TrialState.PRUNED)
    odd = trial(7, TrialState.PRUNED, reports={0: math.nan})
    found = values(*done, failed, good, bad, silent, odd, sign=sign)
    assert found == [1.0, 2.0, 6.0, 1.0, 2.0, -4.0, 1.0, 1.0]


def test_before_anything_is_complete_nothing_is_said() -> None:
    assert values(trial(0, TrialState.FAILED), trial(1, TrialState.PRUNED, reports={0: 1.0})) == []


@given(anything | st.sampled_from([-1.0, 10**400]))
def test_a_noise_that_is_none_is_not_believed(noise: Any) -> None:
    made = trial(0, value=1.0, noise=noise)
    view = View(number=9, seed=0, sign=1.0, space=SPACE, finished=[made])
    (observation,) = observations_of(view, PLACES, 9)
    plain = isinstance(noise, int | float) and not isinstance(noise, bool)
    if plain and 0 <= noise < 1e308:
        assert observation.noise == noise
    else:
        assert observation.noise is None
