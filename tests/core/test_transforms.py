"""Outcome transforms tame what would swamp a fit, and change nothing else."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.space import cube
from gptune.core.transforms import FAR, WARPS, YeoJohnson, detrend, standardise, winsorise

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20).map(cube)
wide = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20).map(cube)


@given(wide)
@settings(deadline=None)
def test_standardised_values_have_mean_zero_and_deviation_one_or_are_zero(y: Tensor) -> None:
    z, mean, deviation = standardise(y)
    assert z.shape == y.shape
    assert bool(torch.isfinite(z).all())
    assert math.isfinite(mean)
    assert float(deviation) > 0
    if float(z.abs().max()) > 0:
        assert float(z.mean()) == pytest.approx(0.0, abs=1e-2)
        assert float(z.std(correction=0)) == pytest.approx(1.0, abs=1e-2)


@given(values)
@settings(deadline=None)
def test_standardising_can_be_undone(y: Tensor) -> None:
    z, mean, deviation = standardise(y)
    scale = float(y.abs().max())
    assert torch.allclose(z * deviation + mean, y, rtol=1e-9, atol=1e-9 * scale)


@given(st.floats(-1e300, 1e300), st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_values_that_do_not_differ_become_zeros(value: float, count: int) -> None:
    z, mean, deviation = standardise(cube([value] * count))
    assert torch.equal(z, torch.zeros_like(z))
    assert float(mean) == pytest.approx(value, rel=1e-12)
    assert float(deviation) == 1.0


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=9), st.integers(-250, 250))
@settings(deadline=None)
def test_the_scale_of_the_values_does_not_count(numbers: list[float], power: int) -> None:
    y = cube(numbers)
    if float(y.std(correction=0)) < 1e-3:
        return
    plain, *_ = standardise(y)
    scaled, *_ = standardise(y * 10.0**power)
    assert torch.allclose(plain, scaled, rtol=1e-8, atol=1e-8)


@given(values)
@settings(deadline=None)
def test_only_values_far_below_the_others_are_pulled_in(y: Tensor) -> None:
    pulled = winsorise(y)
    ordered = y.sort().values
    median = ordered[len(y) // 2]
    floor = median - FAR * (median - ordered[min(len(y) - 1, max(1, len(y) // 10))])
    assert pulled.shape == y.shape
    if len(y) < 3:
        assert torch.equal(pulled, y)
        return
    kept = y >= floor
    assert torch.equal(pulled[kept], y[kept])
    assert bool((pulled >= y).all())
    assert bool((pulled[y >= median] == y[y >= median]).all())
    if float(floor) < float(median):
        assert bool((pulled >= floor).all())


@given(values)
@settings(deadline=None)
def test_pulling_in_keeps_the_order(y: Tensor) -> None:
    pulled = winsorise(y)
    order = y.argsort()
    assert bool((pulled[order].diff() >= 0).all())


@given(values, st.floats(0.01, 100), st.floats(-1000, 1000))
@settings(deadline=None)
def test_pulling_in_does_not_depend_on_units(y: Tensor, scale: float, shift: float) -> None:
    spread = float(y.max() - y.min())
    ordered = y.sort().values
    if len(y) < 3 or float(ordered[len(y) // 2] - ordered[max(1, len(y) // 10)]) < 1e-3:
        return
    one, other = winsorise(y) * scale + shift, winsorise(y * scale + shift)
    assert torch.allclose(one, other, rtol=1e-6, atol=1e-6 * scale * spread)


def test_a_disaster_does_not_hide_the_others_and_a_wonder_is_news() -> None:
    y = cube([1.0, 1.1, 0.9, 1.05, -1e6, 1e6])
    pulled = winsorise(y)
    assert float(pulled[4]) > -10.0
    assert float(pulled[:4].min()) == 0.9
    assert float(pulled[5]) == 1e6


def test_values_that_mostly_agree_stay_as_they_are() -> None:
    y = cube([1.0, 1.0, 1.0, 1.0, -3.0])
    assert torch.equal(winsorise(y), y)


def test_what_more_than_a_tenth_share_is_no_disaster() -> None:
    y = torch.cat([torch.linspace(0.0, 1.0, 16, dtype=torch.float64), cube([-100.0] * 4)])
    assert torch.equal(winsorise(y), y)


# --- the trend ------------------------------------------------------------------------------

coefficients = st.floats(-100, 100)


@given(st.integers(8, 60), coefficients, coefficients, coefficients)
@settings(deadline=None, max_examples=60)
def test_most_of_a_trend_is_taken_out(n: int, a: float, b: float, c: float) -> None:
    t = torch.arange(n, dtype=torch.float64)
    y = a + b * t + c * torch.log1p(t)
    assume(b * c >= 0)  # where the two pull against each other little is left to take
    left = detrend(y, n - t)
    assert left.shape == y.shape
    spread = float(y.std(correction=0))
    assert float(left.std(correction=0)) <= 0.3 * spread + 1e-9


@given(st.integers(1, 30), st.floats(-1e3, 1e3), st.integers(-300, 300), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_the_unit_of_the_values_changes_no_trend(
    n: int, shift: float, power: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(n, generator=generator, dtype=torch.float64)
    age = torch.arange(n, 0, -1, dtype=torch.float64)
    left = detrend(y, age)
    assert torch.allclose(detrend(y + shift, age), left + shift, atol=1e-9)
    assert torch.allclose(detrend(y * 10.0**power, age) / 10.0**power, left, atol=1e-9)
    assert float(left.mean()) == pytest.approx(float(y.mean()), abs=1e-9)


@given(st.integers(4, 40), st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_what_time_does_not_explain_is_left_alone(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(n, generator=generator, dtype=torch.float64)
    t = torch.arange(n, dtype=torch.float64)
    columns = torch.stack([torch.ones_like(t), t, torch.log1p(t)], dim=-1)
    trend = columns @ torch.linalg.lstsq(columns, y.unsqueeze(-1)).solution.squeeze(-1)
    left = detrend(y, n - t)
    assert torch.allclose(detrend(y - trend, n - t), y - trend, atol=1e-8)
    assert torch.allclose(detrend(trend, n - t), left - (y - trend), atol=1e-8)
    shrunk, full = detrend(trend, n - t), trend - trend.mean()
    assert float(shrunk.std()) <= float(full.std()) + 1e-12


@pytest.mark.parametrize("n", [4, 8, 16, 64, 256])
def test_of_many_values_a_trend_is_taken_out_as_of_few(n: int) -> None:
    t = torch.arange(n, dtype=torch.float64)
    for trend in (t, torch.log1p(t)):
        share = float(detrend(trend, n - t).std() / trend.std())
        assert 0.1 < share < 0.25


def test_three_values_have_no_trend() -> None:
    y = cube([1.0, 2.0, 3.0])
    assert torch.equal(detrend(y, cube([3.0, 2.0, 1.0])), y)


def test_values_of_one_moment_have_no_trend() -> None:
    y = cube([1.0, 2.0, 4.0, 3.0])
    assert torch.allclose(detrend(y, cube([1.0] * 4)), y)


# --- warps ----------------------------------------------------------------------------------

# Apart from each other, and from zero, where Yeo and Johnson's two sides meet.
some = st.lists(st.integers(-800, 799), min_size=2, max_size=12, unique=True).map(
    lambda whole: np.sort(np.array(whole) / 100 + 0.005)
)
warps = st.sampled_from(sorted(WARPS))
parameters = st.floats(-1.5, 3.5)


@given(warps, some, parameters)
@settings(deadline=None, max_examples=100)
def test_a_warp_rises_and_can_be_undone(name: str, z: Any, p: float) -> None:
    bent, parameter = WARPS[name].bind(z), np.array([[p]])
    made = bent(parameter)
    assert made.value.shape == (1, len(z))
    assert bool((np.diff(made.value[0]) > 0).all())
    assert np.allclose(bent.unwarp(made.value, parameter)[0], z, rtol=1e-6, atol=1e-6)


@given(warps, some, parameters)
@settings(deadline=None, max_examples=60)
def test_the_slopes_of_a_warp_are_those_of_finite_differences(name: str, z: Any, p: float) -> None:
    assume(min(abs(p), abs(2 - p)) > 1e-3)
    bent, step = WARPS[name].bind(z), 1e-6
    made = bent(np.array([[p]]))
    up, down = bent(np.array([[p + step]])), bent(np.array([[p - step]]))
    for slope, high, low in (
        (made.by_parameter, up.value, down.value),
        (made.log_slope_by_parameter, up.log_slope, down.log_slope),
    ):
        scale = 1 + np.abs(high).max()  # what a difference of such values can resolve
        assert np.allclose(slope, (high - low) / (2 * step), rtol=1e-4, atol=1e-8 * scale + 1e-4)


@given(some, parameters)
@settings(deadline=None, max_examples=60)
def test_the_jacobian_is_the_slope_by_the_value(z: Any, p: float) -> None:
    step, parameter = 1e-6, np.array([[p]])
    made = YeoJohnson(z)(parameter)
    high, low = (YeoJohnson(z + side)(parameter).value for side in (step, -step))
    assert np.allclose(np.exp(made.log_slope), (high - low) / (2 * step), rtol=1e-4)


@given(some, parameters)
@settings(deadline=None, max_examples=60)
def test_the_jacobian_of_the_gaps_logarithm_too(z: Any, p: float) -> None:
    bent, parameter, step = WARPS["log_gap"].bind(z), np.array([[p]]), 1e-6
    made = bent(parameter)
    # Its inverse knows the scale that it was bound to, so the slope is the inverse's, upside down.
    run = bent.unwarp(made.value + step, parameter) - bent.unwarp(made.value - step, parameter)
    assert np.allclose(np.exp(-made.log_slope), run / (2 * step), rtol=1e-4)


@given(some)
@settings(deadline=None, max_examples=30)
def test_a_power_of_one_changes_nothing(z: Any) -> None:
    made = YeoJohnson(z)(np.array([[1.0]]))
    assert np.allclose(made.value[0], z, atol=1e-12)
    assert np.allclose(made.log_slope, 0.0)


@given(some, st.floats(1e-9, 1e-3), st.sampled_from([0.0, 2.0]))
@settings(deadline=None, max_examples=30)
def test_the_logarithm_is_met_smoothly(z: Any, near: float, p: float) -> None:
    at, beside = (YeoJohnson(z)(np.array([[q]])).value for q in (p, p + near))
    assert np.allclose(at, beside, rtol=10 * near + 1e-6, atol=1e-6)


def test_rows_are_warped_each_by_its_own_parameter() -> None:
    z = np.array([-1.0, 0.5, 2.0])
    for warp in WARPS.values():
        both = warp.bind(z)(np.array([[0.5], [1.5]]))
        for row, p in enumerate((0.5, 1.5)):
            alone = warp.bind(z)(np.array([[p]]))
            assert np.array_equal(both.value[row], alone.value[0])
            assert np.array_equal(both.log_slope[row], alone.log_slope[0])
