"""Lock-step climbs reach the tops that SciPy reaches, inside the box, each as if alone."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from gptune.core.ascent import ascend, row_dot
from gptune.core.space import cube

Hill = Callable[[Tensor, Sequence[int]], tuple[Tensor, Tensor]]


def climb(hill: Hill, x: Tensor, box: tuple[Tensor, Tensor], **rest: Any) -> tuple[Tensor, Tensor]:
    chosen: dict[str, Any] = {
        "evaluations": 200,
        "tolerance": 1e-14,
        "expired": lambda: False,
        **rest,
    }
    return ascend(hill, x, box, torch.ones(x.shape[-1], dtype=torch.float64), **chosen)


def smooth(score: Callable[[Tensor], Tensor]) -> Hill:
    """Make a hill of a function (s, d) -> (s,), its slopes by torch."""

    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = score(x)
            (slopes,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), slopes

    return hill


def noted(score: Callable[[Tensor], Tensor], seen: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """Make a function that also writes down where it is called."""

    def watched(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return score(x)

    return watched


def unit_box(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(x), torch.ones_like(x)


def rosenbrock(x: Tensor) -> Tensor:
    """Rosenbrock's valley (1960), turned upside down: its top is at (1, 1)."""
    return -(100 * (x[:, 1] - x[:, 0] ** 2) ** 2 + (1 - x[:, 0]) ** 2)


@st.composite
def bowls(draw: st.DrawFn) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Draw a concave quadratic, whose top may lie outside the unit cube, and some starts."""
    d, seed = draw(st.integers(1, 4)), draw(st.integers(0, 9999))
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(d, d, generator=generator, dtype=torch.float64)
    bend = root @ root.T + 0.1 * torch.eye(d, dtype=torch.float64)
    top = 2 * torch.rand(d, generator=generator, dtype=torch.float64) - 0.5
    starts = torch.rand(draw(st.integers(1, 4)), d, generator=generator, dtype=torch.float64)

    def score(x: Tensor) -> Tensor:
        gap = x - top
        return -((gap @ bend) * gap).sum(-1)

    return score, starts


@given(bowls())
@settings(deadline=None, max_examples=60)
def test_every_climb_reaches_the_top_that_scipy_reaches(
    problem: tuple[Callable[[Tensor], Tensor], Tensor],
) -> None:
    score, starts = problem
    places, values = climb(smooth(score), starts, unit_box(starts))
    hill = smooth(score)

    def descent(x: Any) -> tuple[float, Any]:
        value, slope = hill(torch.from_numpy(x).unsqueeze(0), [0])
        return -float(value), -slope[0].numpy()

    for start, place, value in zip(starts, places, values.tolist(), strict=True):
        limits = [(0.0, 1.0)] * len(start)
        end = minimize(descent, start.numpy(), jac=True, method="L-BFGS-B", bounds=limits)
        assert value >= -end.fun - 1e-4 * (1 + abs(end.fun))
        assert value == pytest.approx(float(score(place.unsqueeze(0))), rel=1e-12)


@given(bowls())
@settings(deadline=None, max_examples=40)
def test_a_climb_in_lock_step_is_the_climb_alone(
    problem: tuple[Callable[[Tensor], Tensor], Tensor],
) -> None:
    score, starts = problem
    together, _ = climb(smooth(score), starts, unit_box(starts))
    for i in range(len(starts)):
        alone, _ = climb(smooth(score), starts[i : i + 1], unit_box(starts[i : i + 1]))
        assert torch.allclose(together[i], alone[0], atol=1e-6)


@given(bowls(), st.floats(0.0, 0.9), st.floats(0.05, 1.0))
@settings(deadline=None, max_examples=40)
def test_no_climb_leaves_the_box_or_ends_below_its_start(
    problem: tuple[Callable[[Tensor], Tensor], Tensor], corner: float, side: float
) -> None:
    score, starts = problem
    low = torch.full_like(starts, corner)
    high = (low + side).clamp_max(1.0)
    seen: list[Tensor] = []
    inside = torch.maximum(torch.minimum(starts, high), low)
    _, values = climb(smooth(noted(score, seen)), inside, (low, high))
    assert bool((values >= score(inside) - 1e-12).all())
    for x in seen:
        assert bool(((x >= low[: len(x)]) & (x <= high[: len(x)])).all())


@given(st.integers(1, 4), st.integers(0, 9999))
@settings(deadline=None, max_examples=40)
def test_between_valleys_each_climb_ends_on_a_hilltop(d: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    phase = 6 * torch.rand(d, generator=generator, dtype=torch.float64)
    mixing = torch.eye(d, dtype=torch.float64) + 0.2 * torch.rand(
        d, d, generator=generator, dtype=torch.float64
    )
    starts = torch.rand(3, d, generator=generator, dtype=torch.float64)

    def score(x: Tensor) -> Tensor:
        return torch.sin(9 * x @ mixing + phase).sum(-1)

    places, values = climb(smooth(score), starts, unit_box(starts))
    assert torch.allclose(values, score(places), rtol=1e-12, atol=0)
    assert bool((values >= score(starts)).all())
    slope = smooth(score)(places, range(3))[1]
    reachable = (places + slope).clamp(0, 1) - places
    assert bool((reachable.abs() < 1e-4).all())


@given(bowls())
@settings(deadline=None, max_examples=20)
def test_a_held_side_keeps_every_bit(
    problem: tuple[Callable[[Tensor], Tensor], Tensor],
) -> None:
    score, starts = problem
    low, high = unit_box(starts)
    low[:, 0] = high[:, 0] = starts[:, 0]
    places, _ = climb(smooth(score), starts, (low, high))
    assert torch.equal(places[:, 0], starts[:, 0])


def test_a_curved_ridge_is_followed_to_its_top() -> None:
    starts = cube([[0.1, 0.9], [0.9, 0.1], [0.0, 0.0]])
    box = (torch.zeros_like(starts), torch.full_like(starts, 2.0))
    places, values = climb(smooth(rosenbrock), starts, box)
    assert float(values.min()) > -1e-6
    assert torch.allclose(places, torch.ones_like(places), atol=1e-2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_climbed_to(bad: float) -> None:
    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        value = torch.where(x[:, 0] > 0.6, torch.full_like(x[:, 0], bad), x[:, 0])
        return value, torch.ones_like(x)

    starts = cube([[0.1], [0.5], [0.59]])
    places, values = climb(hill, starts, unit_box(starts))
    assert bool((places <= 0.6).all())
    assert bool((values > 0.55).all())


def test_a_start_that_is_not_finite_stays_at_the_bottom_or_climbs_out() -> None:
    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        return torch.full_like(x[:, 0], math.nan), torch.full_like(x, math.nan)

    starts = cube([[0.3, 0.4]])
    places, values = climb(hill, starts, unit_box(starts))
    assert torch.equal(places, starts)
    assert float(values) < -1e299


@given(st.integers(1, 30), bowls())
@settings(deadline=None, max_examples=30)
def test_no_more_calls_are_made_than_allowed(
    evaluations: int, problem: tuple[Callable[[Tensor], Tensor], Tensor]
) -> None:
    score, starts = problem
    calls: list[int] = []

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        return score(x)

    climb(smooth(counted), starts, unit_box(starts), evaluations=evaluations)
    assert 1 <= len(calls) <= evaluations
    assert calls == sorted(calls, reverse=True)  # what has ended is asked no more


def test_what_has_ended_is_asked_no_more() -> None:
    asked: list[list[int]] = []
    top = cube([[0.5, 0.5], [0.9, 0.1]])

    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        asked.append(list(rows))
        assert len(rows) == len(x)
        gap = x - top[list(rows)]
        return -gap.square().square().sum(-1), -4 * gap**3

    places, _ = climb(hill, cube([[0.5, 0.5], [0.0, 1.0]]), unit_box(top))
    assert asked[0] == [0, 1]
    assert asked[-1] == [1]
    assert sum(0 in rows for rows in asked) <= 3  # it started at its top
    assert len(asked) < 100  # and the other one ended before all calls were made
    assert torch.allclose(places, top, atol=0.01)


def test_a_climb_ends_where_a_step_gains_less_than_the_tolerance() -> None:
    start = cube([[0.0, 0.0]])
    box, calls, heights = (start, start + 2), [], []
    for tolerance in (1e-14, 1e-3, 1e9):
        seen: list[Tensor] = []
        hill = smooth(noted(rosenbrock, seen))
        heights.append(float(climb(hill, start, box, tolerance=tolerance)[1]))
        calls.append(len(seen))
    assert calls[0] > calls[1] > calls[2] > 1
    assert heights[0] > heights[1] > heights[2] > float(rosenbrock(start))


def test_a_slope_that_lies_is_given_up_soon() -> None:
    calls: list[int] = []

    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        calls.append(len(x))
        return -(x[:, 0] - 0.5).abs(), torch.ones_like(x)  # at the top it still points up

    start = cube([[0.5]])
    places, values = climb(hill, start, unit_box(start))
    assert torch.equal(places, start)
    assert float(values) == 0.0
    assert 3 < len(calls) < 40


def test_a_gain_that_was_too_small_for_its_step_is_not_the_value_of_the_start() -> None:
    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        return 1e-6 * x[:, 0], torch.ones_like(x)  # the slope promises a million times more

    start = cube([[0.25]])
    places, values = climb(hill, start, unit_box(start))
    assert torch.equal(values, 1e-6 * places[:, 0])


@given(bowls())
@settings(deadline=None, max_examples=20)
def test_the_starts_are_left_as_they_were(
    problem: tuple[Callable[[Tensor], Tensor], Tensor],
) -> None:
    score, starts = problem
    low, high = unit_box(starts)
    before, scale = starts.clone(), torch.ones(starts.shape[-1], dtype=torch.float64)
    kept = scale.clone()
    ascend(
        smooth(score),
        starts,
        (low, high),
        scale,
        evaluations=20,
        tolerance=1e-9,
        expired=lambda: False,
    )
    assert torch.equal(starts, before)
    assert torch.equal(scale, kept)
    assert torch.equal(low, torch.zeros_like(low))
    assert torch.equal(high, torch.ones_like(high))


@given(st.lists(st.booleans(), min_size=1, max_size=4), bowls())
@settings(deadline=None, max_examples=20)
def test_a_slope_to_a_corner_is_climbed_to_its_very_end(
    up: list[bool], problem: tuple[Callable[[Tensor], Tensor], Tensor]
) -> None:
    sign = cube([1.0 if flag else -1.0 for flag in up])
    starts = problem[1][:, :1].expand(-1, len(up)).contiguous()
    places, _ = climb(smooth(lambda x: (x * sign).sum(-1)), starts, unit_box(starts))
    assert torch.equal(places, (sign > 0).double().expand_as(places))


def test_the_first_step_is_half_a_lengthscale_at_most() -> None:
    seen: list[Tensor] = []

    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        seen.append(x.clone())
        return 1e3 * x.sum(-1), torch.full_like(x, 1e3)

    start = cube([[0.0, 0.0]])
    ascend(
        hill,
        start,
        unit_box(start),
        cube([0.1, 0.4]),
        evaluations=2,
        tolerance=0.0,
        expired=lambda: False,
    )
    assert len(seen) == 2
    assert bool((seen[1] > 0).all())
    assert bool((seen[1] <= cube([0.05, 0.2]) + 1e-12).all())
    assert seen[1].tolist()[0][1] == pytest.approx(0.2)


def test_a_climb_is_cut_short_when_its_time_is_up() -> None:
    seen: list[Tensor] = []
    hill, start = smooth(noted(rosenbrock, seen)), cube([[0.0, 0.0]])
    _, value = climb(hill, start, (start, start + 2), expired=lambda: len(seen) >= 4)
    assert len(seen) == 4
    assert float(rosenbrock(start)) < float(value) < -1e-6


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_steep_and_flat_hills_are_climbed_alike(scale: float) -> None:
    top = cube([0.3, 0.8])
    starts = cube([[0.0, 0.0], [1.0, 0.5]])
    hill = smooth(lambda x: -scale * ((x - top).square() * cube([1.0, 25.0])).sum(-1))
    places, _ = climb(hill, starts, unit_box(starts), tolerance=0.0)
    assert torch.allclose(places, top.expand_as(places), atol=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_place_whose_slope_is_not_finite_is_never_climbed_to(bad: float) -> None:
    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        slope = torch.where(x > 0.6, torch.full_like(x, bad), torch.ones_like(x))
        return x[:, 0], slope

    starts = cube([[0.1], [0.59]])
    places, values = climb(hill, starts, unit_box(starts))
    assert bool(((places <= 0.6) & (places > 0.55)).all())
    assert torch.equal(values, places[:, 0])


def test_a_row_without_a_finite_value_does_not_keep_the_others_from_climbing() -> None:
    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        broken = cube([float(row == 0) for row in rows]) > 0
        value = torch.where(broken, torch.nan, -(x[:, 0] - 0.7).square())
        return value, -2 * (x - 0.7)

    starts = cube([[0.1], [0.2]])
    places, values = climb(hill, starts, unit_box(starts))
    assert float(places[0]) == 0.1
    assert float(places[1]) == pytest.approx(0.7, abs=1e-6)
    assert float(values[1]) == pytest.approx(0.0, abs=1e-9)


def test_each_row_is_called_by_its_own_number() -> None:
    heard: set[tuple[int, float]] = set()

    def hill(x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        top = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)[list(rows)].unsqueeze(-1)
        heard.update((row, float(t)) for row, t in zip(rows, top, strict=True))
        return -(x - top).square().sum(-1), -2 * (x - top)

    starts = cube([[0.0], [0.5], [0.1]])
    places, _ = climb(hill, starts, unit_box(starts))
    assert torch.allclose(places.flatten(), cube([0.2, 0.5, 0.8]), atol=1e-6)
    assert heard == {(0, 0.2), (1, 0.5), (2, 0.8)}


def test_a_climb_whose_time_is_up_gives_its_start() -> None:
    starts = cube([[0.3]])
    hill = smooth(lambda x: -(x - 0.9).square().sum(-1))
    places, _ = climb(hill, starts, unit_box(starts), expired=lambda: True)
    assert torch.equal(places, starts)


def test_products_are_taken_row_by_row() -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    assert row_dot(a, b).tolist() == [3.0, 12.0]
