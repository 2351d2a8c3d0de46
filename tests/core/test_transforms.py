"""Outcome transforms tame what would swamp a fit, and change nothing else."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.space import cube
from gptune.core.transforms import FAR, standardise, winsorise

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
    median = y.median()
    floor = median - FAR * (1.4826 * (y - median).abs().median())
    assert pulled.shape == y.shape
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
    median = y.median()
    spread = float((y - median).abs().median())
    if spread < 1e-3:
        return
    one, other = winsorise(y) * scale + shift, winsorise(y * scale + shift)
    assert torch.allclose(one, other, rtol=1e-6, atol=1e-6 * scale * spread)


def test_a_disaster_does_not_hide_the_others_and_a_wonder_is_news() -> None:
    y = cube([1.0, 1.1, 0.9, 1.05, -1e6, 1e6])
    pulled = winsorise(y)
    assert float(pulled[4]) > -10.0
    assert float(pulled[5]) == 1e6


def test_values_that_mostly_agree_stay_as_they_are() -> None:
    y = cube([1.0, 1.0, 1.0, 1.0, -3.0])
    assert torch.equal(winsorise(y), y)
