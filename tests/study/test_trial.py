"""A trial as an objective sees it; the rest of it is in `test_study`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptune.errors import SpaceError, StudyError
from gptune.records import Categorical, Float, Integer, Scalar
from gptune.study.domains import Domain
from gptune.study.records import StudyRecord, TrialRecord, TrialState
from gptune.study.samplers import RandomSampler, Suggestion, View
from gptune.study.study import Study
from gptune.study.trial import REDRAWS, Trial, as_number

NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12)


def suggest(trial: Any, name: str) -> Any:
    """Suggest a parameter of a kind that goes with its name."""
    kinds = {
        "a": lambda: trial.suggest_float("a", 0.0, 1.0),
        "b": lambda: trial.suggest_float("b", 1e-6, 1.0, log=True),
        "c": lambda: trial.suggest_float("c", 0.0, 1.0, step=0.1),
        "d": lambda: trial.suggest_int("d", 1, 64, log=True),
        "e": lambda: trial.suggest_int("e", 0, 100, step=10),
        "f": lambda: trial.suggest_categorical("f", ["x", 1, 2.5, True]),
    }
    return kinds[name]()


@given(NAMES, st.integers(0, 1000))
def test_what_is_suggested_depends_on_no_order(names: list[str], seed: int) -> None:
    forth = Study("one", seed=seed, sampler=RandomSampler()).ask()
    back = Study("one", seed=seed, sampler=RandomSampler()).ask()
    found = {name: suggest(forth, name) for name in names}
    assert {name: suggest(back, name) for name in reversed(names)} == found
    assert forth.params == found
    assert forth.space.keys() == found.keys()


def test_kinds_are_kept() -> None:
    trial = Study("one", sampler=RandomSampler()).ask()
    assert type(suggest(trial, "a")) is float
    assert type(suggest(trial, "d")) is int
    assert suggest(trial, "e") % 10 == 0
    assert round(suggest(trial, "c") * 10) == suggest(trial, "c") * 10


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda t: t.suggest_float("x", 1.0, 0.0), "'x'.*low must be below high"),
        (lambda t: t.suggest_float("x", 0.0, 1.0, log=True), "'x'.*low must be positive"),
        (lambda t: t.suggest_float("x", 0.1, 1.0, log=True, step=0.1), "'x'.*log and step"),
        (lambda t: t.suggest_float("x", 0.0, 1.0, step=2.0), "'x'.*step"),
        (lambda t: t.suggest_float("x", "0", 1.0), "'x'.*low must be a number"),
        (lambda t: t.suggest_float("x", 0.0, float("inf")), "'x'.*high must be finite"),
        (lambda t: t.suggest_int("x", 0.5, 3), "'x'.*whole number"),
        (lambda t: t.suggest_int("x", 1, 9, step=0), "'x'.*step"),
        (lambda t: t.suggest_int("x", 0, 10**400), r"'x': high must be at most 2\*\*63 - 1"),
        (lambda t: t.suggest_int("x", -(10**400), 0), r"'x': low must be at most 2\*\*63 - 1"),
        (lambda t: t.suggest_int("x", 10**400, 10**400), "'x': low must be at most"),
        (lambda t: t.suggest_int("x", 1, 2**63, log=True), "'x': high must be at most"),
        (lambda t: t.suggest_int("x", 0, 2**63, step=2**61), "'x': high must be at most"),
        (lambda t: t.suggest_int("x", 0, 9, step=10**400), "'x': step must be positive and at"),
        (lambda t: t.suggest_int("x", 0, 9, step=10**5000), "'x': step must be positive and at"),
        (lambda t: t.suggest_float("x", 0, 10**400), "'x': high must be at most.*1e20"),
        (lambda t: t.suggest_float("x", 10**400, 10**400), "'x': low must be at most"),
        (lambda t: t.suggest_categorical("x", [1, 10**400]), "'x': choices must be at most"),
        (lambda t: t.suggest_categorical("x", "abc"), "'x'.*choices must be a list"),
        (lambda t: t.suggest_categorical("x", []), "'x'.*choices"),
        (lambda t: t.suggest_categorical("x", [None, 1]), "'x'.*plain values"),
        (lambda t: t.suggest_categorical("x", [1, 1]), "'x'.*differ"),
    ],
)
def test_a_range_that_makes_no_sense_names_the_parameter(ask: Any, named: str) -> None:
    trial = Study("one", sampler=RandomSampler()).ask()
    with pytest.raises(SpaceError, match=named):
        ask(trial)
    assert trial.params == {}


@given(st.sampled_from([(0, 2**63 - 1), (-(2**63) + 1, 2**63 - 1), (2**60, 2**60 + 7)]), st.data())
def test_the_largest_whole_numbers_are_suggested_as_they_are(
    ends: tuple[int, int], data: st.DataObject
) -> None:
    seed, log = data.draw(st.integers(0, 999)), ends[0] > 0 and data.draw(st.booleans())
    study = Study("one", seed=seed, sampler=RandomSampler())
    value = study.ask().suggest_int("n", *ends, log=log)
    assert type(value) is int
    assert ends[0] <= value <= ends[1]
    assert study.trials[0].params == {"n": value}


def test_a_trial_says_what_it_is() -> None:
    trial = Study("one", sampler=RandomSampler()).ask()
    assert str(trial) == "trial 0: no parameter"
    trial.suggest_int("k", 3, 3)
    assert str(trial) == "trial 0: k=3"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (2, 2.0),
        (10**400, float("inf")),
        (np.float64(0.5), 0.5),
        (np.int8(3), 3.0),
        (np.array([1.5]), 1.5),
        (torch.tensor(2.5, requires_grad=True), 2.5),
        (True, None),
        (np.bool_(True), None),
        (b"1", None),
        (1j, None),
        (np.ones((1, 1)), None),
        (object(), None),
    ],
)
def test_numbers_are_read_from_whatever_holds_one(value: object, number: float | None) -> None:
    assert as_number(value) == number


# --- scalars of NumPy's -------------------------------------------------------------------------


def test_ranges_of_numpys_scalars_give_plain_values_that_are_kept(tmp_path: Path) -> None:
    with Study("one", storage=tmp_path / "s.db", sampler=RandomSampler()) as study:
        trial: Any = study.ask()
        found = [
            trial.suggest_float("x", np.float64(0.1), np.float32(1.0)),
            trial.suggest_float("s", np.float64(0.0), np.float64(1.0), step=np.float64(0.25)),
            trial.suggest_int("n", np.int64(1), np.int64(9)),
            trial.suggest_categorical("c", [np.float64(0.5), np.float64(0.75)]),
        ]
        assert [type(one) for one in found] == [float, float, int, float]
        assert trial.suggest_float("x", 0.1, 1.0) == found[0]
        (kept,) = study.trials
        assert kept.params == dict(zip("xsnc", found, strict=True))


class Numpys:
    """A sampler of somebody's own, that draws with NumPy."""

    def suggest(self, view: View) -> Suggestion:
        drawn: dict[str, Any] = {"x": np.float64(0.5), "n": np.int64(3), "c": np.str_("b")}
        return Suggestion(drawn, {"loss": np.float32(0.5), "rows": [np.int64(3)]})


@pytest.mark.parametrize("given_", [True, False])
def test_what_a_sampler_draws_with_numpy_is_used_as_plain_values(given_: bool) -> None:
    space = {"x": Float(0.0, 1.0), "n": Integer(1, 9), "c": Categorical(("a", "b"))}
    study = Study("one", space=space if given_ else None, sampler=Numpys())
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    trial.suggest_int("n", 1, 9)
    trial.suggest_categorical("c", ["a", "b"])
    assert [type(value) for value in trial.params.values()] == [float, int, str]
    assert study.trials[0].params == {"x": 0.5, "n": 3, "c": "b"}
    assert study.trials[0].memory == {"loss": 0.5, "rows": [3]}


@pytest.mark.parametrize("space", [None, {"x": Float(0.0, 1.0), "n": Integer(1, 9)}])
def test_numpys_values_are_enqueued_as_plain_ones(space: Any) -> None:
    study = Study("one", space=space, sampler=RandomSampler())
    study.enqueue({"x": np.float64(0.5), "n": np.int64(3)})  # type: ignore[dict-item]
    trial = study.ask()
    values = trial.suggest_float("x", 0.0, 1.0), trial.suggest_int("n", 1, 9)
    assert values == (0.5, 3)
    assert study.trials[0].fixed == {"x": 0.5, "n": 3}
    assert [type(value) for value in trial.params.values()] == [float, int]


@pytest.mark.parametrize("step", [3, np.int64(3), np.uint8(3), torch.tensor(3), 2**63 - 1])
def test_a_step_is_whatever_counts(step: Any) -> None:
    study = Study("one", sampler=RandomSampler())
    trial: Any = study.ask()
    trial.report(np.float32(0.5), step)
    assert trial.reports == {int(step): 0.5}
    assert [type(one) for one in trial.reports] == [int]
    assert study.trials[0].reports == {int(step): 0.5}


@pytest.mark.parametrize(
    "step",
    [-1, True, np.bool_(True), torch.tensor(True), 1.0, np.float64(1), "1", None, 2**63, [1]],
)
def test_what_does_not_count_is_no_step(step: Any) -> None:
    study = Study("one", sampler=RandomSampler())
    with pytest.raises(StudyError, match=r"^report: step must be a whole number >= 0 and below"):
        study.ask().report(0.5, step)
    assert study.trials[0].reports == {}


# --- constraints --------------------------------------------------------------------------------


class Notes:
    """Where a trial of these tests writes down what happens to it: nowhere."""

    def write(self, *_: Any) -> None: ...

    def report(self, trial: int, step: int, value: float) -> None: ...

    def prunes(self, trial: int) -> bool:
        return False


def trial_of(
    allows: Callable[[Mapping[str, Scalar]], bool],
    proposed: Mapping[str, Scalar] | None = None,
    *,
    number: int = 0,
    **known: Any,
) -> Trial:
    record = TrialRecord(number=number, state=TrialState.RUNNING, **known)
    study = StudyRecord(id=1, name="one", direction="minimize", space=None, seed=3, created=0.0)
    return Trial(Notes(), record, study, proposed or {}, allows=allows)


def is_below(params: Mapping[str, Any]) -> bool:
    return "a" not in params or "b" not in params or params["a"] < params["b"]


@given(st.integers(0, 10**6), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_what_is_suggested_as_it_runs_meets_the_constraints(
    number: int, a: float, b: float
) -> None:
    proposed = {"a": min(a, 0.9), "b": b}
    trial, again = (trial_of(is_below, proposed, number=number) for _ in range(2))
    found = trial.suggest_float("a", 0.0, 1.0), trial.suggest_float("b", 0.0, 1.0)
    assert found[0] == proposed["a"] < found[1]
    assert found[1] == b or not proposed["a"] < b
    assert (again.suggest_float("a", 0.0, 1.0), again.suggest_float("b", 0.0, 1.0)) == found
    assert trial.suggest_float("b", 0.0, 1.0) == found[1]


@given(st.integers(0, 10**6))
def test_what_meets_them_at_once_is_what_would_be_drawn_without(number: int) -> None:
    free = trial_of(lambda params: True, number=number)
    bound = trial_of(is_below, number=number)
    first = free.suggest_float("a", 0.0, 0.5), free.suggest_float("b", 0.0, 1.0)
    second = bound.suggest_float("a", 0.0, 0.5), bound.suggest_float("b", 0.0, 1.0)
    assert first[0] == second[0]
    assert first == second or first[0] >= first[1]


def test_what_is_fixed_is_not_drawn_again() -> None:
    point = {"a": 0.9, "b": 0.1}
    kinds: list[dict[str, Any]] = [{"fixed": point}, {"params": point}]
    for known in kinds:
        trial = trial_of(is_below, {"a": 0.2, "b": 0.5}, **known)
        assert trial.suggest_float("a", 0.0, 1.0) == 0.9
        assert trial.suggest_float("b", 0.0, 1.0) == 0.1


def test_a_constraint_that_no_value_meets_names_the_parameter_and_is_no_wait() -> None:
    asked: list[Mapping[str, Scalar]] = []

    def refuse(params: Mapping[str, Scalar]) -> bool:
        asked.append(params)
        return "b" not in params

    trial = trial_of(refuse, {"b": 0.5})
    trial.suggest_int("a", 3, 3)
    with pytest.raises(
        StudyError,
        match=rf"^parameter 'b': none of {REDRAWS} values drawn from Float.* meets the constraints "
        r"beside a=3; ",
    ):
        trial.suggest_float("b", 0.0, 1.0)
    assert len(asked) == REDRAWS + 2
    assert trial.params == {"a": 3}


SPACE: dict[str, Domain] = {"b": Float(0.0, 1.0), "a": Float(0.0, 1.0)}


def is_whole_and_below(params: Mapping[str, Any]) -> bool:
    """Meets no point that is not whole."""
    return params.keys() == SPACE.keys() and bool(params["a"] < params["b"])


@given(st.integers(0, 10**6), st.floats(0.0, 0.9))
def test_a_space_that_is_given_up_front_is_drawn_again_as_a_whole(number: int, a: float) -> None:
    trial = trial_of(is_whole_and_below, {"a": 0.7, "b": 0.2}, number=number)
    assert is_whole_and_below(trial.load(SPACE))
    assert list(trial.params) == list(trial.space) == list(SPACE)
    assert trial.proposed == trial.params  # what travels to other processes
    other = trial_of(is_whole_and_below, {"a": 0.2, "b": 0.7}, number=number)
    assert other.load(SPACE) == {"a": 0.2, "b": 0.7}
    part = trial_of(is_whole_and_below, {"b": 0.0}, number=number, fixed={"a": a})
    assert part.load(SPACE)["a"] == a
    assert is_whole_and_below(part.params)


def test_a_space_of_which_no_point_meets_them_is_an_error_unless_something_is_fixed() -> None:
    with pytest.raises(StudyError, match=f"^constraints: none of {REDRAWS} points drawn by chance"):
        trial_of(lambda params: False).load(SPACE)
    proposed = {"a": 0.5, "b": 0.7}
    trial = trial_of(lambda params: False, proposed, fixed={"a": 0.9})
    assert trial.load(SPACE) == {"a": 0.9, "b": 0.7}  # who enqueued it wants it
    assert trial_of(lambda params: False, fixed=proposed).load(SPACE) == proposed


def test_what_was_enqueued_is_not_replaced_by_what_was_proposed() -> None:
    trial = trial_of(is_below, {"a": 0.5}, fixed={"a": 3.0})
    with pytest.raises(StudyError, match=r"'a': 3\.0 was enqueued and does not lie in"):
        trial.suggest_float("a", 0.0, 1.0)
    stale = trial_of(is_below, {"a": 0.5}, params={"a": 3.0})  # of another range
    assert stale.suggest_float("a", 0.0, 1.0) == 0.5
