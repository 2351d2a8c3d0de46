"""Pruners end what is not worth going on with, whatever was reported, and never the best."""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.errors import UsageError
from gptune.study.pruners import (
    NoPruner,
    PatiencePruner,
    PercentilePruner,
    Pruner,
    Race,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    median_pruner,
)
from gptune.study.records import TrialRecord, TrialState
from tests.study.drawing import reported

small = st.integers(0, 4)
percentiles = st.builds(
    PercentilePruner,
    percentile=st.floats(0, 100),
    startup_trials=small,
    warmup_steps=small,
    interval=st.integers(1, 3),
    least=st.integers(1, 3),
)
halvings = st.builds(SuccessiveHalvingPruner, least=st.integers(1, 3), factor=st.integers(2, 4))
patiences = st.builds(
    PatiencePruner, patience=st.integers(1, 5), least_gain=st.sampled_from([0.0, 0.5, 3.0])
)
comparing: st.SearchStrategy[Pruner] = st.one_of(percentiles, halvings, patiences)


@st.composite
def races(draw: st.DrawFn) -> Race:
    others = [draw(reported(number)) for number in range(1, 1 + draw(st.integers(0, 8)))]
    trial = replace(draw(reported()), state=TrialState.RUNNING, value=None)
    return Race(trial, others, draw(st.sampled_from([1.0, -1.0])))


def race_of(mine: dict[int, float], *others: dict[int, float], sign: float = 1.0) -> Race:
    made = [
        TrialRecord(number=number, state=TrialState.COMPLETE, value=0.0, reports=reports)
        for number, reports in enumerate(others, 1)
    ]
    trial = TrialRecord(number=0, state=TrialState.RUNNING, reports=mine)
    return Race(trial, made, sign)


def bests(race: Race, step: int) -> list[float]:
    """Say again: the best finite report up to a step, of each that has come there."""
    found = []
    for one in race.others:
        if any(at >= step for at in one.reports):
            upto = [race.sign * v for s, v in one.reports.items() if s <= step]
            found.append(max((v for v in upto if math.isfinite(v)), default=-math.inf))
    return found


def my_best(race: Race) -> float:
    mine = [race.sign * v for v in race.trial.reports.values() if math.isfinite(v)]
    return max(mine, default=-math.inf)


def is_due(pruner: PercentilePruner, race: Race) -> bool:
    """Say again when a percentile is looked at."""
    step = max(race.trial.reports)
    finished = [one for one in race.others if one.state is TrialState.COMPLETE]
    return (
        len(finished) >= pruner.startup_trials
        and step >= pruner.warmup_steps
        and (step - pruner.warmup_steps) % pruner.interval == 0
        and len(bests(race, step)) >= pruner.least
    )


# --- all of them ----------------------------------------------------------------------------


def mirrored(trial: TrialRecord) -> TrialRecord:
    return replace(trial, reports={step: -value for step, value in trial.reports.items()})


@given(comparing, races())
@settings(deadline=None, max_examples=150)
def test_to_maximise_is_to_minimise_the_negative(pruner: Pruner, race: Race) -> None:
    other = Race(mirrored(race.trial), [mirrored(one) for one in race.others], -race.sign)
    assert pruner.prunes(other) == pruner.prunes(race)


@given(percentiles | halvings, races())
@settings(deadline=None, max_examples=150)
def test_the_best_so_far_is_never_ended(pruner: Pruner, race: Race) -> None:
    reports = [v for one in race.others for v in one.reports.values()]
    rivals = max((race.sign * v for v in reports if math.isfinite(v)), default=-math.inf)
    assume(my_best(race) >= rivals)
    assert not pruner.prunes(race)


@given(comparing, races())
@settings(deadline=None, max_examples=120)
def test_the_same_reports_have_the_same_answer_and_nothing_is_changed(
    pruner: Pruner, race: Race
) -> None:
    before = repr(race)
    turned = Race(race.trial, list(reversed(race.others)), race.sign)
    assert pruner.prunes(race) == pruner.prunes(race) == pruner.prunes(turned)
    assert repr(race) == before


@given(comparing, races())
@settings(deadline=None, max_examples=120)
def test_a_report_that_is_not_finite_counts_as_none(pruner: Pruner, race: Race) -> None:
    worst = -race.sign * math.inf

    def worse(trial: TrialRecord) -> TrialRecord:
        kept = {s: v if math.isfinite(v) else worst for s, v in trial.reports.items()}
        return replace(trial, reports=kept)

    other = Race(worse(race.trial), [worse(one) for one in race.others], race.sign)
    assert pruner.prunes(other) == pruner.prunes(race)


@given(races())
@settings(deadline=None, max_examples=30)
def test_no_pruner_ends_nothing(race: Race) -> None:
    assert not NoPruner().prunes(race)


# --- percentiles ----------------------------------------------------------------------------


@given(percentiles, races())
@settings(deadline=None, max_examples=150)
def test_the_percentile_is_numpys(pruner: PercentilePruner, race: Race) -> None:
    rivals = bests(race, max(race.trial.reports))
    if not is_due(pruner, race):
        assert not pruner.prunes(race)
        return
    assume(all(math.isfinite(value) and abs(value) < 1e100 for value in rivals))
    bound = float(np.percentile(rivals, 100 - pruner.percentile))
    assume(abs(my_best(race) - bound) > 1e-9 * abs(bound))
    assert pruner.prunes(race) == (my_best(race) < bound and pruner.percentile < 100)


@given(races(), small, st.integers(1, 3))
@settings(deadline=None, max_examples=100)
def test_of_all_trials_the_best_hundred_percent_go_on(race: Race, startup: int, least: int) -> None:
    pruner = PercentilePruner(percentile=100.0, startup_trials=startup, least=least)
    assert not pruner.prunes(race)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9), st.integers(-10, 10))
@settings(deadline=None, max_examples=100)
def test_the_median_pruner_ends_what_is_below_the_median(others: list[int], mine: int) -> None:
    """Also of an even number of trials, where it lies halfway between the two in the middle."""
    race = race_of({0: float(mine)}, *({0: float(other)} for other in others))
    assert median_pruner(startup_trials=0, least=1).prunes(race) == (mine < median(others))


@given(races(), small, small, st.integers(1, 3))
@settings(deadline=None, max_examples=150)
def test_the_median_is_the_half(race: Race, startup: int, warmup: int, interval: int) -> None:
    rest: dict[str, Any] = {
        "startup_trials": startup,
        "warmup_steps": warmup,
        "interval": interval,
        "least": 1,
    }
    half = PercentilePruner(percentile=50.0, **rest)
    assert median_pruner(**rest) == half
    assert median_pruner() == PercentilePruner(percentile=50.0)
    if is_due(half, race) and len(bests(race, race.step)) % 2:
        middle = sorted(bests(race, race.step))[len(bests(race, race.step)) // 2]
        assert half.prunes(race) == (my_best(race) < middle)


def replace_in(**fields: Any) -> PercentilePruner:
    return PercentilePruner(**{"percentile": 50.0, "startup_trials": 0, "least": 1, **fields})


EAGER = PercentilePruner(percentile=50.0, startup_trials=0, least=1)


@pytest.mark.parametrize(
    ("race", "wanted"),
    [
        (race_of({3: 0.0}, {3: 1.0}, {3: 2.0}, {3: -1.0}), True),
        (race_of({3: 1.0}, {3: 1.0}, {3: 2.0}, {3: -1.0}), False),
        (race_of({3: 0.0}, {3: 1.0}, {3: 2.0}, {3: -1.0}, sign=-1.0), False),
        (race_of({3: 0.0}, {2: 1.0}), False),  # it has not come as far
        (race_of({3: 0.0}, {2: 1.0, 4: -9.0}), True),  # its best by then
        (race_of({1: 5.0, 3: 0.0}, {3: 1.0}), False),  # one's own best counts, not the last
        (race_of({3: math.nan}, {3: 1.0}), True),
        (race_of({3: math.inf}, {3: 1.0}), True),
        (race_of({3: -9.0}, {3: math.nan}), False),
        (race_of({3: math.nan}, {3: math.nan}), False),
        (race_of({3: 1e308}, {3: -1e308}, {3: 1e308}), False),
        (race_of({3: -1e308}, {3: -1e308}, {3: 1e308}), True),
        (race_of({3: 0.0}), False),
    ],
)
def test_what_is_worse_than_the_middle_at_the_same_step_ends(race: Race, wanted: bool) -> None:
    assert EAGER.prunes(race) is wanted


@pytest.mark.parametrize(
    ("pruner", "ended"),
    [
        (replace_in(warmup_steps=4), [4, 5, 6, 7, 8, 9]),
        (replace_in(interval=3), [0, 3, 6, 9]),
        (replace_in(warmup_steps=2, interval=3), [2, 5, 8]),
        (replace_in(least=2), list(range(10))),
        (replace_in(least=3), []),
        (replace_in(startup_trials=2), list(range(10))),
        (replace_in(startup_trials=3), []),
    ],
)
def test_a_percentile_is_looked_at_when_it_is_due(
    pruner: PercentilePruner, ended: list[int]
) -> None:
    rivals = [dict.fromkeys(range(10), 1.0)] * 2
    mine = [dict.fromkeys(range(step + 1), 0.0) for step in range(10)]
    assert [at for at in range(10) if pruner.prunes(race_of(mine[at], *rivals))] == ended


# --- successive halving ---------------------------------------------------------------------


def says_halving(pruner: SuccessiveHalvingPruner, race: Race) -> bool:
    """Say again: at a rung's first report, all but the best 1/factor of those there end."""
    steps = sorted(race.trial.reports)
    rungs = [pruner.least * pruner.factor**k for k in range(12)]
    passed = [at for at in rungs if at <= steps[-1]]
    if not passed or any(step >= passed[-1] for step in steps[:-1]):
        return False
    there = []
    for one in race.others:
        late = [step for step in one.reports if step >= passed[-1]]
        if late:
            seen = [race.sign * v for s, v in one.reports.items() if s <= min(late)]
            there.append(max((v for v in seen if math.isfinite(v)), default=-math.inf))
    better = sum(value > my_best(race) for value in there)
    return better >= max(1, (len(there) + 1) // pruner.factor)


@given(halvings, races())
@settings(deadline=None, max_examples=150)
def test_halving_is_done_at_each_rung_once(pruner: SuccessiveHalvingPruner, race: Race) -> None:
    assert pruner.prunes(race) == says_halving(pruner, race)


@given(st.permutations(range(16)))
@settings(deadline=None, max_examples=40)
def test_of_many_at_a_rung_the_best_part_goes_on(order: Sequence[int]) -> None:
    pruner = SuccessiveHalvingPruner(least=1, factor=4)
    for place, value in enumerate(order):
        rivals = [{1: float(other)} for other in order if other != value]
        ended = pruner.prunes(race_of({1: float(value)}, *rivals))
        assert ended == (value < 12), place


def test_below_the_first_rung_and_between_rungs_nothing_ends() -> None:
    pruner = SuccessiveHalvingPruner(least=4, factor=2)
    rivals = [dict.fromkeys(range(20), 1.0)] * 3
    ended = [
        step
        for step in range(20)
        if pruner.prunes(race_of(dict.fromkeys(range(step + 1), 0.0), *rivals))
    ]
    assert ended == [4, 8, 16]


# --- patience, and bounds -------------------------------------------------------------------


@given(patiences, races())
@settings(deadline=None, max_examples=150)
def test_patience_ends_what_has_not_become_better(pruner: PatiencePruner, race: Race) -> None:
    values = [race.sign * race.trial.reports[step] for step in sorted(race.trial.reports)]
    values = [value if math.isfinite(value) else -math.inf for value in values]
    if len(values) <= pruner.patience:
        assert not pruner.prunes(race)
        return
    before, all_of = max(values[: -pruner.patience]), max(values)
    assert pruner.prunes(race) == (not all_of > before + pruner.least_gain)


def test_patience_counts_reports_since_the_last_gain() -> None:
    pruner = PatiencePruner(patience=3, least_gain=0.1)
    told = [1.0, 0.5, 0.45, 0.44, 0.42, 0.3, 0.3, 0.3, 0.3]  # to minimise
    ended = [
        count
        for count in range(1, len(told) + 1)
        if pruner.prunes(race_of(dict(enumerate(told[:count])), sign=-1.0))
    ]
    assert ended == [5, 9]


@given(races(), st.floats(-5, 0), st.floats(0.5, 5), small)
@settings(deadline=None, max_examples=120)
def test_a_threshold_ends_what_leaves_its_bounds(
    race: Race, lower: float, upper: float, warmup: int
) -> None:
    step = max(race.trial.reports)
    value = race.trial.reports[step]
    wrong = math.isnan(value) or value < lower or value > upper
    pruner = ThresholdPruner(lower=lower, upper=upper, warmup_steps=warmup)
    assert pruner.prunes(race) == (wrong and step >= warmup)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_threshold_without_bounds_ends_what_is_not_finite(value: float) -> None:
    assert ThresholdPruner().prunes(race_of({0: 1.0, 1: value}))
    assert not ThresholdPruner().prunes(race_of({0: value, 1: 1.0}))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: PercentilePruner(percentile=-1), "percentile"),
        (lambda: PercentilePruner(percentile=100.5), "percentile"),
        (lambda: PercentilePruner(percentile=math.nan), "percentile"),
        (lambda: PercentilePruner(startup_trials=-1), "startup_trials"),
        (lambda: PercentilePruner(warmup_steps=-1), "warmup_steps"),
        (lambda: PercentilePruner(interval=0), "interval"),
        (lambda: PercentilePruner(least=0), "least"),
        (lambda: PercentilePruner(least=True), "least"),
        (lambda: PercentilePruner(interval=1.5), "interval"),  # type: ignore[arg-type]
        (lambda: median_pruner(warmup_steps=-1), "warmup_steps"),
        (lambda: SuccessiveHalvingPruner(least=0), "least"),
        (lambda: SuccessiveHalvingPruner(factor=1), "factor"),
        (lambda: SuccessiveHalvingPruner(factor="2"), "factor"),  # type: ignore[arg-type]
        (lambda: PatiencePruner(patience=0), "patience"),
        (lambda: PatiencePruner(least_gain=-0.1), "least_gain"),
        (lambda: PatiencePruner(least_gain=math.nan), "least_gain"),
        (lambda: ThresholdPruner(lower=1.0, upper=1.0), "lower"),
        (lambda: ThresholdPruner(lower=math.nan), "lower"),
        (lambda: ThresholdPruner(warmup_steps=-1), "warmup_steps"),
    ],
    ids=range(19),
)
def test_a_pruner_that_makes_no_sense_is_refused_by_field(
    make: Callable[[], Pruner], field: str
) -> None:
    with pytest.raises(UsageError, match=f"^{field}: must "):
        make()
