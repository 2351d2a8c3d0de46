"""An objective gets what it expects, and what comes of it is told apart."""

import functools
from typing import Any

import pytest

from gptune.errors import TrialPruned
from gptune.study.objective import Measured, Outcome, evaluate
from gptune.study.samplers import RandomSampler
from gptune.study.study import Study
from tests.study.objectives import SPACE


def trial(space: Any = SPACE) -> Any:
    return Study("one", space=space, sampler=RandomSampler()).ask()


class Callable_:
    def __call__(self, params: dict[str, Any]) -> int:
        return len(params)


def test_with_a_space_an_objective_gets_the_parameters_and_if_it_wants_the_trial() -> None:
    made = trial()
    assert evaluate(lambda params: params, made).value == made.params
    assert evaluate(lambda params, it: it, made).value is made
    assert evaluate(lambda params, scale=2: scale, made).value == 2
    assert evaluate(lambda *given: len(given), made).value == 1
    assert evaluate(Callable_(), made).value == 2
    assert evaluate(functools.partial(lambda a, params: a, 5), made).value == 5
    assert evaluate(dict, made).value == made.params


def test_without_one_it_gets_the_trial() -> None:
    made = trial(None)
    assert evaluate(lambda it: it, made).value is made


def test_what_it_raises_is_part_of_the_outcome() -> None:
    def pruned(params: object) -> float:
        raise TrialPruned("why")

    def broken(params: object) -> float:
        raise KeyError("x")

    assert evaluate(pruned, trial()) == Outcome(pruned=True, message="why")
    made = evaluate(broken, trial())
    assert isinstance(made.error, KeyError)
    assert made.message == "KeyError: 'x'"
    assert not made.pruned


def test_a_wish_to_stop_passes() -> None:
    def stopped(params: object) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(stopped, trial())


def test_a_measured_value_has_no_noise_unless_it_is_said() -> None:
    assert Measured(1.0).noise is None
