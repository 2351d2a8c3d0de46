"""The trust region grows on streaks of kept changes, shrinks on undone ones, within limits."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.configs import TrustRegion
from gptune.core.space import cube
from gptune.core.trust_region import LEAST, MOST, TrustRegionState, bounds, sides, start, update


@st.composite
def regions(draw: st.DrawFn) -> TrustRegion:
    low, first, high = sorted(draw(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)))
    return TrustRegion(
        minimum=low,
        initial=first,
        maximum=high,
        expand=draw(st.floats(1.01, 5.0)),
        shrink=draw(st.floats(0.05, 0.99)),
        successes=draw(st.integers(1, 4)),
        failures=draw(st.integers(1, 4)),
    )


histories = st.lists(st.booleans(), max_size=60)
centers = st.lists(st.floats(0, 1), min_size=1, max_size=5).map(cube)


@given(regions(), histories)
@settings(deadline=None, max_examples=200)
def test_the_length_stays_within_its_limits_for_every_history(
    config: TrustRegion, history: list[bool]
) -> None:
    state = start(config)
    assert state == TrustRegionState(length=config.initial)
    for success in history:
        state = update(config, state, success=success)
        assert config.minimum <= state.length <= config.maximum
        assert 0 <= state.successes < config.successes
        assert 0 <= state.failures < config.failures
        assert state.successes == 0 or state.failures == 0


@given(regions(), histories)
@settings(deadline=None, max_examples=200)
def test_the_length_moves_exactly_when_a_streak_is_full(
    config: TrustRegion, history: list[bool]
) -> None:
    state, streak, before = start(config), 0, None
    for success in history:
        streak = streak + 1 if success == before else 1
        before, length = success, state.length
        state = update(config, state, success=success)
        full = config.successes if success else config.failures
        if streak < full:
            assert state.length == length
            continue
        streak, before = 0, None  # a full streak is spent
        if success:
            assert state.length == min(config.maximum, length * config.expand)
        else:
            shrunk = length * config.shrink
            collapsed = shrunk < config.minimum * (1 - 1e-9)
            assert state.length == (config.initial if collapsed else max(config.minimum, shrunk))


@given(regions())
@settings(deadline=None, max_examples=50)
def test_a_streak_is_broken_by_its_opposite(config: TrustRegion) -> None:
    assume(config.successes > 1 and config.failures > 1)
    state = start(config)
    for _ in range(10):
        for success, full in ((True, config.successes), (False, config.failures)):
            for _ in range(full - 1):
                state = update(config, state, success=success)
    assert state.length == config.initial


@given(regions())
@settings(deadline=None, max_examples=50)
def test_enough_gains_reach_the_maximum(config: TrustRegion) -> None:
    state = start(config)
    for _ in range(3000):
        state = update(config, state, success=True)
    assert state.length == config.maximum
    assert state.restarts == 0


@given(regions())
@settings(deadline=None, max_examples=50)
def test_a_region_that_collapses_starts_anew_and_counts_it(config: TrustRegion) -> None:
    state, restarts = start(config), 0
    for _ in range(400):
        before, state = state, update(config, state, success=False)
        if state.restarts > restarts:
            restarts += 1
            assert state.restarts == restarts
            assert state.length == config.initial
            assert before.length * config.shrink < config.minimum
        else:
            assert state.length <= before.length
    if config.shrink < 0.9:
        assert restarts > 0


def test_the_defaults_halve_three_times_and_then_start_anew() -> None:
    config, lengths = TrustRegion(), []
    state = start(config)
    for _ in range(5 * config.failures):
        state = update(config, state, success=False)
        lengths.append(state.length)
    assert lengths[1::2] == [0.2, 0.1, 0.05, 0.4, 0.2]


@given(regions(), histories)
@settings(deadline=None, max_examples=100)
def test_restarts_count_the_collapses_and_survive_all_else(
    config: TrustRegion, history: list[bool]
) -> None:
    state, collapses = start(config), 0
    for success in history + [False] * 40 + [True] * 4:
        full = not success and state.failures + 1 == config.failures
        collapses += full and state.length * config.shrink < config.minimum * (1 - 1e-9)
        state = update(config, state, success=success)
        assert state.restarts == collapses


def test_a_length_that_misses_the_minimum_by_rounding_alone_has_not_collapsed() -> None:
    config = TrustRegion(minimum=0.07, initial=0.7, maximum=1.0, shrink=0.1, failures=1)
    assert config.initial * config.shrink < config.minimum  # 0.7 * 0.1 == 0.06999999999999999
    state = update(config, start(config), success=False)
    assert (state.length, state.restarts) == (0.07, 0)
    state = update(config, state, success=False)
    assert (state.length, state.restarts) == (0.7, 1)


lengthscales = st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=5).map(cube)


@given(st.floats(0.01, 1.0), lengthscales)
@settings(deadline=None, max_examples=100)
def test_a_side_is_the_length_times_the_lengthscale_over_the_geometric_mean(
    length: float, lengthscale: Tensor
) -> None:
    found = sides(TrustRegionState(length=length), lengthscale).tolist()
    usable = [min(1.0, max(1e-3, scale)) for scale in lengthscale.tolist()]
    mean = math.prod(usable) ** (1 / len(usable))
    wanted = [length * min(2.0, max(0.5, scale / mean)) for scale in usable]
    assert found == pytest.approx(wanted, rel=1e-9)


def test_a_side_is_twice_the_length_at_most_and_half_of_it_at_least() -> None:
    state = TrustRegionState(length=0.2)
    assert sides(state, cube([0.1, 0.225])).tolist() == pytest.approx([0.2 / 1.5, 0.2 * 1.5])
    assert sides(state, cube([0.002, 0.0045])).tolist() == pytest.approx([0.2 / 1.5, 0.2 * 1.5])
    assert sides(state, cube([0.001, 1.0])).tolist() == pytest.approx([0.1, 0.4])
    assert sides(state, cube([1.0, 1000.0])).tolist() == pytest.approx([0.2, 0.2])  # both flat


@given(st.floats(0.01, 1.0), lengthscales)
@settings(deadline=None, max_examples=100)
def test_a_side_is_longer_where_the_objective_changes_more_slowly(
    length: float, lengthscale: Tensor
) -> None:
    found = sides(TrustRegionState(length=length), lengthscale)
    assert found.shape == lengthscale.shape
    tiny = 1e-12
    assert bool((found >= LEAST * length - tiny).all())
    assert bool((found <= MOST * length + tiny).all())
    order = lengthscale.argsort()
    assert bool((found[order].diff() >= -tiny).all())
    if float(lengthscale.max() / lengthscale.min()) < 2 and float(lengthscale.max()) <= 1:
        assert torch.isclose(found.log().mean().exp(), cube(length))  # the volume is a cube's


@given(st.floats(0.01, 1.0), st.floats(1e-4, 1e3), st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_equal_lengthscales_give_a_cube(length: float, scale: float, d: int) -> None:
    found = sides(TrustRegionState(length=length), torch.full((d,), scale, dtype=torch.float64))
    assert torch.allclose(found, torch.full_like(found, length))


@given(st.floats(0.01, 1.0), centers, st.booleans(), st.data())
@settings(deadline=None, max_examples=100)
def test_the_box_lies_in_the_cube_and_contains_its_center(
    length: float, center: Tensor, enabled: bool, data: st.DataObject
) -> None:
    scale = data.draw(st.lists(st.floats(1e-3, 10), min_size=len(center), max_size=len(center)))
    state, shape = TrustRegionState(length=length), cube(scale)
    low, high = bounds(TrustRegion(enabled=enabled), state, center, shape)
    assert low.shape == high.shape == center.shape
    assert bool(((low >= 0) & (low <= center) & (center <= high) & (high <= 1)).all())
    if enabled:
        reach = sides(state, shape) / 2
        assert bool((high - low <= 2 * reach + 1e-12).all())
        free = (center - reach >= 0) & (center + reach <= 1)
        assert torch.allclose((high - low)[free], 2 * reach[free], rtol=0, atol=1e-12)
    else:
        assert low.tolist() == [0.0] * len(center)
        assert high.tolist() == [1.0] * len(center)
