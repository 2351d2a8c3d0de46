"""The page of a study."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune import Study
from gptune.records import Categorical, Float, Integer, Scalar
from gptune.report import study_report
from gptune.report.study_page import ROWS
from gptune.study.domains import Domain, Fixed
from gptune.study.records import StudyRecord, TrialRecord, TrialState
from tests.plots.studies import net
from tests.report.pages import Reader, check
from tests.strategies import any_float

KINDS: tuple[Scalar, ...] = ("a", 1, True, "</script>")
DOMAINS: dict[str, Domain] = {
    "rate": Float(1e-5, 1e-1, log=True),
    "width": Integer(1, 100),
    "kind": Categorical(KINDS),
    "fixed": Fixed(3),
}
RECORD = StudyRecord(id=1, name="s", direction="minimize", space=None, seed=0, created=0.0)


@st.composite
def trials(draw: st.DrawFn, number: int) -> TrialRecord:
    """Draw a trial as a file of studies may hold it."""
    state = draw(st.sampled_from(TrialState))
    is_complete = state is TrialState.COMPLETE
    known: dict[str, Scalar] = {
        "rate": draw(st.floats(1e-5, 1e-1)),
        "width": draw(st.integers(1, 100)),
        "kind": draw(st.sampled_from(KINDS)),
        "fixed": 3,
    }
    params: dict[str, Scalar] = {
        name: known[name] for name in draw(st.sets(st.sampled_from(sorted(known))))
    }
    return TrialRecord(
        number=number,
        state=state,
        params=params,
        space={name: DOMAINS[name] for name in params},
        value=draw(any_float) if is_complete else None,
        reports=draw(st.dictionaries(st.integers(0, 10**6), any_float, max_size=5)),
        error=draw(st.sampled_from(["", "ValueError: <b>no</b>\nline", "\x00\u202e"])),
        begun=1.0 if state.is_finished else None,
        ended=2.0 if state.is_finished else None,
    )


def page(found: list[TrialRecord], **given: object) -> Reader:
    return check(study_report(RECORD, found, **given))  # type: ignore[arg-type]


@settings(max_examples=60)
@given(st.data(), st.integers(0, 12), st.sampled_from(["minimize", "maximize"]))
def test_every_study_makes_a_sound_page(data: st.DataObject, count: int, direction: str) -> None:
    found = [data.draw(trials(number)) for number in range(count)]
    record = StudyRecord(id=1, name="<s>", direction=direction, space=DOMAINS, seed=0, created=0.0)
    check(study_report(record, found))


def test_a_real_study_says_all_that_it_should(tmp_path: Path) -> None:
    with Study("nets", storage=tmp_path / "s.db") as study:
        study.optimize(net, n_trials=30)
        trials_of, record = study.trials, study.record
        best = study.best_trial
    importance = {"width": {"first": 0.5, "total": 0.6}, "rate": {"first": 0.1, "total": 0.1}}
    reader = check(study_report(record, trials_of, importance))
    assert f"is number {best.number}" in reader.text
    for said in (
        "History",
        "Importance",
        "60.0 %",
        "Slices",
        "Parallel coordinates",
        "best so far",
    ):
        assert said in reader.text, said
    rows = [given for tag, given in reader.tags if tag == "tr" and "data-key" in given]
    assert len(rows) == 30
    keys = {given["data-key"] for given in rows}
    assert all(given["data-key"] in keys for _, given in reader.tags if "data-key" in given)
    dots = [given for tag, given in reader.tags if tag == "path" and "data-key" in given]
    assert {given["data-key"] for given in dots} >= {str(t.number) for t in trials_of if t.value}
    later = reader.texts[reader.texts.index("Slices") :]
    titles = [text.strip() for text in later if text.strip() in ("width", "rate")]
    assert titles[0] == "width"  # the most important comes first


def test_the_best_is_the_smallest_or_the_largest_as_the_study_wants() -> None:
    found = [
        TrialRecord(number=n, state=TrialState.COMPLETE, value=v) for n, v in enumerate((2.0, 1.0))
    ]
    assert "is number 1: 1." in page(found).text
    largest = StudyRecord(id=1, name="s", direction="maximize", space=None, seed=0, created=0.0)
    assert "is number 0: 2." in check(study_report(largest, found)).text


def test_a_best_at_the_end_of_a_range_is_told() -> None:
    found = [
        TrialRecord(
            number=n,
            state=TrialState.COMPLETE,
            value=v,
            params={"rate": rate},
            space={"rate": DOMAINS["rate"]},
        )
        for n, (v, rate) in enumerate([(1.0, 1e-1), (2.0, 1e-3)])
    ]
    assert "end of the range of rate" in page(found).text
    assert "end of the range" not in page(found[1:]).text


def test_without_importance_the_reason_is_given() -> None:
    assert "too few trials" in page([], why_not="too few trials").text
    assert "Not asked for" in page([]).text


def test_ten_thousand_trials_fit_and_the_table_says_what_it_leaves_out() -> None:
    long = tuple(f"{letter * 60}" for letter in "abcdefg")
    names = [f"parameter number {n} of thirty" for n in range(30)]
    space: dict[str, Domain] = {
        name: Categorical(long) if n % 3 else Float(0.0, 1.0) for n, name in enumerate(names)
    }
    found = [
        TrialRecord(
            number=n,
            state=TrialState.FAILED if n % 3 == 0 else TrialState.COMPLETE,
            value=None if n % 3 == 0 else math.sin(n),
            error="no " * 500 if n % 3 == 0 else "",
            params={
                name: long[n % 7] if k % 3 else (n * (k + 1) % 997) / 997
                for k, name in enumerate(names)
            },
            space=space,
            reports={step: math.sin(n + step) for step in range(30)},
        )
        for n in range(10_000)
    ]
    reader = page(found)
    rows = [given for tag, given in reader.tags if tag == "tr" and "data-key" in given]
    assert 100 <= len(rows) <= ROWS
    assert f"shows {len(rows)} of 10000 trials" in reader.text


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.RUNNING, TrialState.WAITING])
def test_a_study_that_has_come_to_nothing_has_a_page(state: TrialState) -> None:
    assert "nothing to choose from" in page([TrialRecord(number=0, state=state)]).text
