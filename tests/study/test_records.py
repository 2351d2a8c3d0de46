"""What a study remembers: plain data that comes back, and words for where a trial is."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.study.records import FINISHED, StudyRecord, TrialRecord, TrialState
from tests.strategies import names
from tests.study.drawing import reports, spaces

texts = st.text(max_size=5)
moments = st.none() | st.floats(0, 2e9)
plain = st.one_of(st.integers(-9, 9), st.floats(-9, 9), st.text("ab", max_size=2), st.booleans())
trials = st.builds(
    TrialRecord,
    number=st.integers(0, 10**6),
    state=st.sampled_from(TrialState),
    params=st.dictionaries(names, plain, max_size=3),
    space=spaces(2),
    fixed=st.dictionaries(names, plain, max_size=3),
    value=st.none() | st.floats(-1e9, 1e9),
    noise=st.none() | st.floats(0, 9),
    reports=st.dictionaries(st.integers(0, 99), st.floats(-9, 9), max_size=4),
    error=texts,
    attempts=st.integers(0, 9),
    worker=texts,
    begun=moments,
    ended=moments,
    memory=st.dictionaries(names, st.lists(st.floats(-9, 9), max_size=3), max_size=2),
)


@given(trials)
@settings(deadline=None, max_examples=100)
def test_a_trial_comes_back_from_plain_data(trial: TrialRecord) -> None:
    back = msgspec.json.decode(msgspec.json.encode(trial), type=TrialRecord)
    assert repr(back) == repr(trial)


@given(st.none() | spaces(), st.sampled_from(["minimize", "maximize"]))
@settings(deadline=None, max_examples=50)
def test_a_study_comes_back_from_plain_data(space: object, direction: str) -> None:
    fields = {"id": 1, "name": "s", "direction": direction, "seed": 2**62, "created": 1.5}
    study = StudyRecord(**fields, space=space)  # type: ignore[arg-type]
    back = msgspec.json.decode(msgspec.json.encode(study), type=StudyRecord)
    assert repr(back) == repr(study)
    assert study.sign == (-1.0 if direction == "minimize" else 1.0)


def test_a_trial_is_finished_when_nothing_more_comes_of_it() -> None:
    finished = {state.value for state in TrialState if state.is_finished}
    assert finished == {"complete", "pruned", "failed"} == {str(state) for state in FINISHED}
    assert [state.value for state in TrialState if not state.is_finished] == ["waiting", "running"]


@given(reports)
@settings(deadline=None, max_examples=50)
def test_the_last_value_is_that_of_the_largest_step(told: dict[int, float]) -> None:
    trial = TrialRecord(number=0, state=TrialState.RUNNING, reports=told)
    last = trial.last
    wanted = told[sorted(told)[-1]]
    assert last is not None
    assert last == wanted or (math.isnan(last) and math.isnan(wanted))


def test_what_has_reported_nothing_has_no_last_value() -> None:
    assert TrialRecord(number=0, state=TrialState.RUNNING).last is None


@pytest.mark.parametrize(
    ("begun", "ended", "wanted"),
    [(None, None, None), (2.0, None, None), (None, 2.0, None), (2.0, 5.5, 3.5), (0.0, 0.0, 0.0)],
)
def test_a_trial_takes_the_time_from_its_beginning_to_its_end(
    begun: float | None, ended: float | None, wanted: float | None
) -> None:
    trial = TrialRecord(number=0, state=TrialState.COMPLETE, begun=begun, ended=ended)
    assert trial.seconds == wanted


def test_records_share_nothing_and_are_not_edited() -> None:
    one, other = (TrialRecord(number=n, state=TrialState.WAITING) for n in range(2))
    one.params["x"] = 1.0
    one.reports[0] = 1.0
    assert (other.params, other.reports) == ({}, {})
    with pytest.raises(AttributeError, match="immutable"):
        one.value = 3.0  # type: ignore[misc]


def test_a_state_is_its_word() -> None:
    assert [TrialState(state.value) for state in TrialState] == list(TrialState)
    with pytest.raises(ValueError, match="is not a valid TrialState"):
        TrialState("done")
