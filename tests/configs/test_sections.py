"""Each section keeps its own rules, whoever makes it."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.configs import (
    Acceptance,
    Calibration,
    Decay,
    Guard,
    Objective,
    Phase,
    Safety,
    Search,
    TrustRegion,
)
from gptune.errors import RecipeError
from tests.strategies import any_float

SECTIONS = [Acceptance, Calibration, Decay, Guard, Objective, Safety, Search, TrustRegion]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_defaults_of_a_section_keep_its_own_rules(section: type[msgspec.Struct]) -> None:
    assert section() == section()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_cannot_be_edited(section: type[msgspec.Struct]) -> None:
    made = section()
    with pytest.raises(AttributeError):
        setattr(made, made.__struct_fields__[0], None)


def refused(section: Any, **fields: Any) -> bool:
    """Say whether a section refuses these fields, naming one of them."""
    try:
        section(**fields)
    except RecipeError as error:
        named = str(error).partition(":")[0]
    else:
        return False
    assert named in section.__struct_fields__
    return True


# Section, field, and the rule as the design writes it.
RULES: list[tuple[Any, str, Any]] = [
    (Acceptance, "epsilon", lambda x: math.isfinite(x) and x >= 0),
    (Acceptance, "probability", lambda x: 0.5 <= x < 1),
    (Safety, "max_regression", lambda x: math.isfinite(x) and x > 0),
    (Safety, "start_below", math.isfinite),
    (Guard, "spike", lambda x: math.isfinite(x) and x > 0),
    (Guard, "lost_progress", lambda x: 0 < x <= 1),
    (Guard, "budget_mb", lambda x: math.isfinite(x) and x > 0),
    (Calibration, "budget", lambda x: 0 < x < 1),
    (Decay, "half_life", lambda x: math.isfinite(x) and x > 0),
    (TrustRegion, "expand", lambda x: 1 < x < math.inf),
    (TrustRegion, "shrink", lambda x: 0 < x < 1),
]
COUNTS: list[tuple[Any, str, int]] = [
    (Safety, "patience", 1),
    (Safety, "warmup", 0),
    (Safety, "max_global_reject_streak", 1),
    (Safety, "pause_decisions", 1),
    (Safety, "global_cooldown", 0),
    (Guard, "snapshots", 1),
    (Guard, "max_restores", 0),
    (Search, "startup_trials", 0),
    (Search, "every", 1),
    (Search, "max_observations", 4),
    (TrustRegion, "successes", 1),
    (TrustRegion, "failures", 1),
    (Acceptance, "horizon", 1),
]


@pytest.mark.parametrize(("section", "name", "rule"), RULES)
def test_a_number_is_taken_exactly_when_its_rule_holds(section: Any, name: str, rule: Any) -> None:
    @given(any_float | st.floats(-2, 2))
    @settings(deadline=None, max_examples=60)
    def holds(value: float) -> None:
        assert refused(section, **{name: value}) == (not rule(value))

    holds()


@pytest.mark.parametrize(("section", "name", "least"), COUNTS)
def test_a_count_is_taken_from_its_least_value_on(section: Any, name: str, least: int) -> None:
    @given(st.integers(-20, 20))
    @settings(deadline=None, max_examples=30)
    def holds(value: int) -> None:
        assert refused(section, **{name: value}) == (value < least)

    holds()


@given(any_float | st.floats(-1, 2), any_float | st.floats(-1, 2))
@settings(deadline=None)
def test_a_phase_runs_forward_inside_the_run(start: float, end: float) -> None:
    fields = {"start_frac": start, "end_frac": end}
    assert refused(Phase, **fields) == (not 0 <= start < end <= 1)


unit = st.floats(-0.5, 1.5)


@given(unit, unit, unit)
@settings(deadline=None)
def test_the_lengths_of_a_trust_region_stand_in_order(low: float, first: float, top: float) -> None:
    ordered = 0 < low <= first <= top <= 1
    assert refused(TrustRegion, minimum=low, initial=first, maximum=top) == (not ordered)


@given(st.sampled_from(["none", "weights", "kernel", "window"]), st.none() | st.integers(-1, 9))
@settings(deadline=None)
def test_a_window_is_a_count_and_the_kind_window_needs_one(kind: str, window: int | None) -> None:
    sound = (window is None and kind != "window") or (window is not None and window >= 2)
    assert refused(Decay, kind=kind, window=window) == (not sound)


@given(st.text(max_size=3))
@settings(deadline=None, max_examples=20)
def test_an_objective_has_a_name(name: str) -> None:
    assert refused(Objective, primary=name) == (not name)


@given(st.integers(1, 100))
@settings(deadline=None, max_examples=20)
def test_a_horizon_is_a_count_of_decisions_and_the_next_epoch_is_one(horizon: int) -> None:
    assert Acceptance(horizon=horizon).decisions == horizon
    assert Acceptance(horizon="next_val_epoch_end").decisions == 1
