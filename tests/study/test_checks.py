"""What a study refuses says which argument is wrong; a trial ends as its value says."""

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.errors import StudyError
from gptune.records import Float, Integer
from gptune.study.checks import check_same, check_study, ending
from gptune.study.domains import Domain
from gptune.study.records import StudyRecord, TrialState
from tests.strategies import any_float, anything
from tests.study.drawing import seeds, spaces


class Mute:
    """What cannot even be shown."""

    def __repr__(self) -> str:
        raise ValueError("no words")


class Broken:
    """What raises when it is shown, whatever that is."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


@given(st.none() | st.sampled_from(["complete", TrialState.COMPLETE]), any_float)
@settings(deadline=None, max_examples=60)
def test_a_trial_is_complete_if_its_value_is_finite(state: Any, value: float) -> None:
    end, error = ending(state, value, value)
    assert end is (TrialState.COMPLETE if math.isfinite(value) else TrialState.FAILED)
    assert bool(error) == (not math.isfinite(value))


@given(anything)
@settings(deadline=None, max_examples=60)
def test_what_is_no_number_makes_a_failed_trial_that_says_what_it_was(value: object) -> None:
    end, error = ending(None, value, None)
    assert end is TrialState.FAILED
    assert error.startswith("the objective must give a finite number, and gave ")
    assert len(error) < 200


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        ("a" * 1000, r"'aaa.*\.\.\. \(str\)"),
        (list(range(1000)), r"\[0, 1.*\.\.\. \(list\)"),
        (10**5000, "number too long|int"),
        (Mute(), "Mute|number too long"),
    ],
    ids=range(5),
)
def test_a_value_is_shown_short(value: object, shown: str) -> None:
    _, error = ending(None, value, None)
    assert len(error) < 200
    assert re.search(shown, error)


@pytest.mark.parametrize(
    "error", [RuntimeError("no words"), KeyError("name"), RecursionError(), AttributeError("x")]
)
def test_a_value_that_cannot_be_shown_is_named_by_its_kind(error: Exception) -> None:
    end, said = ending(None, Broken(error), None)
    assert end is TrialState.FAILED
    assert said == "the objective must give a finite number, and gave an object of Broken"


@given(st.sampled_from(["pruned", "failed"]), anything, st.none() | any_float)
@settings(deadline=None, max_examples=40)
def test_a_trial_ends_as_it_is_told_to(state: str, value: object, read: float | None) -> None:
    assert ending(state, value, read) == (TrialState(state), "")
    assert ending(TrialState(state), value, read) == (TrialState(state), "")


@pytest.mark.parametrize(
    "state", ["running", "waiting", TrialState.RUNNING, "done", "", 1, True, ["failed"], {}]
)
def test_what_is_no_end_is_refused(state: Any) -> None:
    with pytest.raises(StudyError, match="tell: state must be complete, pruned or failed, got"):
        ending(state, 1.0, 1.0)


@given(
    st.text(min_size=1, max_size=200).filter(str.isprintable),
    st.sampled_from(["minimize", "maximize"]),
    seeds,
)
@settings(deadline=None, max_examples=60)
def test_a_study_has_a_name_a_direction_and_a_seed(name: str, direction: str, seed: int) -> None:
    check_study(name, direction, seed)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\0"}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"name": None}, "name"),
        ({"name": 3}, "name"),
        ({"direction": "max"}, "direction"),
        ({"direction": "Maximize"}, "direction"),
        ({"direction": None}, "direction"),
        ({"direction": ["minimize"]}, "direction"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"seed": None}, "seed"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused_by_argument(
    changed: dict[str, Any], field: str
) -> None:
    made: dict[str, Any] = {"name": "s", "direction": "minimize", "seed": 0, **changed}
    with pytest.raises(StudyError, match=f"^{field}: must be"):
        check_study(**made)


def record_of(space: dict[str, Domain] | None, direction: str = "minimize") -> StudyRecord:
    return StudyRecord(id=1, name="s", direction=direction, space=space, seed=0, created=0.0)


@given(st.none() | spaces(), st.sampled_from(["minimize", "maximize"]))
@settings(deadline=None, max_examples=50)
def test_a_study_goes_on_with_the_same_things(
    space: dict[str, Domain] | None, direction: str
) -> None:
    record = record_of(space, direction)
    turned = None if space is None else dict(reversed(space.items()))
    for again in (None, space, turned):
        check_same(record, direction, again, resume=True)
    with pytest.raises(StudyError, match="study 's': exists already; pass resume=True"):
        check_same(record, direction, space, resume=False)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"x": Float(0.0, 2.0), "n": Integer(1, 3)}, r"differs in x: .*1\.0.* there, .*2\.0"),
        ({"x": Float(0.0, 1.0)}, r"differs in n: .* there, None given"),
        (
            {"x": Float(0.0, 1.0), "n": Integer(1, 3), "m": Integer(1, 3)},
            "differs in m: None there",
        ),
        ({"x": Integer(0, 1), "n": Float(0.0, 3.0)}, "differs in n, x: "),
    ],
)
def test_a_study_does_not_go_on_in_another_space(space: dict[str, Domain], said: str) -> None:
    record = record_of({"x": Float(0.0, 1.0), "n": Integer(1, 3)})
    with pytest.raises(StudyError, match=f"^study 's': its space {said}"):
        check_same(record, "minimize", space, resume=True)


def test_a_study_does_not_go_on_in_the_other_direction_nor_with_a_space_it_never_had() -> None:
    with pytest.raises(StudyError, match="study 's': is to minimize, got direction 'maximize'"):
        check_same(record_of(None), "maximize", None, resume=True)
    with pytest.raises(StudyError, match="its space differs in x: None there"):
        check_same(record_of(None), "minimize", {"x": Float(0.0, 1.0)}, resume=True)
