"""The trust region grows on streaks of kept changes, shrinks on undone ones, within limits."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.configs import TrustRegion
from gptune.core.space import cube
from gptune.core.trust_region import TrustRegionState, bounds, inside, start, update


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
            assert state.length == max(config.minimum, length * config.shrink)


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
def test_enough_of_one_kind_reaches_the_limit(config: TrustRegion) -> None:
    for success, limit in ((True, config.maximum), (False, config.minimum)):
        state = start(config)
        for _ in range(3000):
            state = update(config, state, success=success)
        assert state.length == limit


@given(regions(), st.floats(0.01, 1.0), centers, st.booleans())
@settings(deadline=None, max_examples=100)
def test_the_box_lies_in_the_cube_and_contains_its_center(
    config: TrustRegion, length: float, center: Tensor, enabled: bool
) -> None:
    config = TrustRegion(enabled=enabled)
    low, high = bounds(config, TrustRegionState(length=length), center)
    assert low.shape == high.shape == center.shape
    assert bool(((low >= 0) & (low <= center) & (center <= high) & (high <= 1)).all())
    if enabled:
        assert bool((high - low <= length + 1e-12).all())
        reach = length / 2
        free = (center - reach >= 0) & (center + reach <= 1)
        assert torch.allclose((high - low)[free], cube([length]), rtol=0, atol=1e-12)
    else:
        assert low.tolist() == [0.0] * len(center)
        assert high.tolist() == [1.0] * len(center)


@given(centers, st.floats(0.05, 1.0), st.data())
@settings(deadline=None, max_examples=60)
def test_inside_says_which_places_lie_in_the_box(
    center: Tensor, length: float, data: st.DataObject
) -> None:
    low, high = bounds(TrustRegion(), TrustRegionState(length=length), center)
    rows = st.lists(st.floats(0, 1), min_size=len(center), max_size=len(center))
    x = cube(data.draw(st.lists(rows, min_size=1, max_size=4)))
    wanted = [
        all(a <= v <= b for a, v, b in zip(low.tolist(), row, high.tolist(), strict=True))
        for row in x.tolist()
    ]
    assert inside(low, high, x).tolist() == wanted
    assert bool(inside(low, high, torch.stack([low, center, high])).all())
