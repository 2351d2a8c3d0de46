"""The search finds the best place of a box, stays inside it, and refuses what is no score."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.criteria import Traced
from gptune.core.search import Hunt, evaluate, is_free, shifted_sobol, sobol
from gptune.core.search import maximise as search_for
from gptune.core.space import SearchSpace, cube
from gptune.errors import CriterionError, GptuneError
from gptune.records import Categorical, Float, Integer

seeds = st.integers(0, 2**31 - 1)


def plane(d: int) -> SearchSpace:
    return SearchSpace({f"x{i}": Float(0.0, 1.0) for i in range(d)})


def maximise(
    criterion: Callable[[Tensor], Tensor],
    boxes: list[tuple[Tensor, Tensor]],
    space: SearchSpace,
    seed: int,
    **rest: Any,
) -> tuple[Tensor, float]:
    scale = torch.full((space.dimension,), 0.5, dtype=torch.float64)
    hunt = Hunt(space=space, boxes=boxes, scale=scale, seed=seed, **rest)
    return search_for(Traced(criterion), hunt)


def whole(d: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64))]


def bowl(peak: list[float]) -> Callable[[Tensor], Tensor]:
    def score(x: Tensor) -> Tensor:
        assert x.shape[-2] == 1
        assert x.dtype == torch.float64
        return -(x.squeeze(-2) - cube(peak)).square().sum(-1)

    return score


@given(st.lists(st.floats(0, 1), min_size=1, max_size=2), seeds)
@settings(deadline=None, max_examples=30)
def test_it_finds_the_peak_of_a_bowl(peak: list[float], seed: int) -> None:
    place, value = maximise(bowl(peak), whole(len(peak)), plane(len(peak)), seed)
    assert value > -1e-4
    assert torch.allclose(place, cube(peak), atol=0.01)


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_it_finds_the_highest_of_several_peaks(seed: int) -> None:
    def score(x: Tensor) -> Tensor:  # Forrester et al. (2008), turned upside down
        z = x.squeeze(-2).squeeze(-1)
        return -((6 * z - 2) ** 2) * torch.sin(12 * z - 4)

    place, value = maximise(score, whole(1), plane(1), seed)
    assert value == pytest.approx(6.02074, abs=1e-3)
    assert float(place) == pytest.approx(0.75725, abs=5e-3)


@given(st.lists(st.booleans(), min_size=1, max_size=3), seeds)
@settings(deadline=None, max_examples=30)
def test_it_reaches_the_corner_that_a_criterion_prefers(up: list[bool], seed: int) -> None:
    sign = cube([1.0 if flag else -1.0 for flag in up])
    place, _ = maximise(
        lambda x: (x.squeeze(-2) * sign).sum(-1), whole(len(up)), plane(len(up)), seed
    )
    assert torch.allclose(place, (sign > 0).double(), atol=0.2)


@st.composite
def boxes(draw: st.DrawFn, d: int = 3) -> tuple[Tensor, Tensor]:
    """Draw a box; some of its sides are held."""
    low = draw(st.lists(st.floats(0, 1), min_size=d, max_size=d))
    side = draw(st.lists(st.floats(0, 0.5) | st.just(0.0), min_size=d, max_size=d))
    high = [min(1.0, a + s) for a, s in zip(low, side, strict=True)]
    return cube(low), cube(high)


@given(st.lists(boxes(), min_size=1, max_size=3), st.lists(st.floats(0, 1), min_size=3), seeds)
@settings(deadline=None, max_examples=40)
def test_the_place_and_all_that_is_looked_at_lie_in_one_of_the_boxes(
    sides: list[tuple[Tensor, Tensor]], peak: list[float], seed: int
) -> None:
    looked: list[Tensor] = []
    score = bowl(peak[:3])

    def watched(x: Tensor) -> Tensor:
        looked.append(x.detach().squeeze(-2))
        return score(x)

    place, value = maximise(watched, sides, plane(3), seed)
    seen = torch.cat([*looked, place.unsqueeze(0)])
    tiny = 1e-12
    held = torch.stack([((seen >= lo - tiny) & (seen <= hi + tiny)).all(-1) for lo, hi in sides])
    assert bool(held.any(0).all())
    assert value == float(score(place.reshape(1, 1, -1)))
    assert value == pytest.approx(max(float(score(x.unsqueeze(-2)).max()) for x in looked))


@given(boxes(), seeds)
@settings(deadline=None, max_examples=30)
def test_a_held_coordinate_keeps_every_bit(box: tuple[Tensor, Tensor], seed: int) -> None:
    low, high = box[0], box[1].clone()
    high[0] = low[0]
    place, _ = maximise(bowl([1.0, 0.5, 0.0]), [(low, high)], plane(3), seed)
    assert place[0] == low[0]


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_the_best_of_several_boxes_wins(seed: int) -> None:
    far = (cube([0.0, 0.0]), cube([0.1, 0.1]))
    near = (cube([0.8, 0.8]), cube([1.0, 1.0]))
    for order in ([far, near], [near, far], [far, far, near]):
        place, _ = maximise(bowl([0.9, 0.9]), order, plane(2), seed)
        assert torch.allclose(place, cube([0.9, 0.9]), atol=0.01)


MIXED = SearchSpace({"n": Integer(1, 5), "c": Categorical(("a", "b", "c")), "x": Float(0.0, 1.0)})


@given(st.integers(1, 5), st.sampled_from("abc"), st.floats(0, 1), seeds)
@settings(deadline=None, max_examples=20)
def test_whole_numbers_and_choices_are_looked_at_only_where_points_are(
    n: int, c: str, x: float, seed: int
) -> None:
    peak = MIXED.encode({"n": n, "c": c, "x": x})
    weight = cube([1.0, 1.0, 1.0, 1.0, 0.01])  # what x gives never outweighs n or c

    def watched(places: Tensor) -> Tensor:
        flat = places.squeeze(-2)
        assert torch.allclose(MIXED.snap(flat), flat, rtol=0, atol=1e-15)
        return -((flat - peak).square() * weight).sum(-1)

    place, _ = maximise(watched, whole(MIXED.dimension), MIXED, seed)
    found = MIXED.decode(place)
    assert (found["n"], found["c"]) == (n, c)
    assert found["x"] == pytest.approx(x, abs=0.1)


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_the_same_seed_gives_the_same_place(seed: int) -> None:
    first = maximise(bowl([0.3, 0.6]), whole(2), plane(2), seed)
    second = maximise(bowl([0.3, 0.6]), whole(2), plane(2), seed)
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]


@given(st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0]), min_size=1))
@settings(deadline=None)
def test_nan_counts_as_the_worst(values: list[float]) -> None:
    x = torch.zeros(len(values), 2, dtype=torch.float64)
    if all(math.isnan(value) for value in values):
        with pytest.raises(CriterionError, match="are NaN"):
            evaluate(Traced(lambda _: cube(values)), x)
        return
    scores = evaluate(Traced(lambda _: cube(values)), x)
    wanted = [-math.inf if math.isnan(value) else value for value in values]
    assert scores.tolist() == wanted


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_where_half_is_nan_the_other_half_is_found(seed: int) -> None:
    def half(x: Tensor) -> Tensor:
        score = bowl([0.7, 0.2])(x)
        return torch.where(x.squeeze(-2)[:, 0] > 0.5, score, math.nan)

    place, value = maximise(half, whole(2), plane(2), seed)
    assert torch.allclose(place, cube([0.7, 0.2]), atol=0.01)
    assert math.isfinite(value)


def test_nothing_but_nan_is_refused() -> None:
    with pytest.raises(CriterionError, match=r"all \d+ values are NaN; check the criterion"):
        maximise(lambda x: x.sum((-1, -2)) * math.nan, whole(2), plane(2), 0)


@pytest.mark.parametrize(
    "criterion",
    [
        lambda x: x.sum(),
        lambda x: x.sum(-1),
        lambda x: x,
        lambda x: x.sum((-1, -2))[:-1],
        lambda x: 1.0,
    ],
)
def test_values_of_the_wrong_shape_are_refused(criterion: Callable[[Tensor], Tensor]) -> None:
    rule = r"must give shape \(\d+,\), got .*one value per point"
    with pytest.raises(CriterionError, match=rule):
        maximise(criterion, whole(2), plane(2), 0)


def test_a_criterion_error_is_gptunes_and_a_value_error() -> None:
    assert issubclass(CriterionError, GptuneError)
    assert issubclass(CriterionError, ValueError)


@given(st.integers(1, 64), boxes(), seeds)
@settings(deadline=None, max_examples=30)
def test_sobol_points_fill_the_box_and_nothing_else(
    count: int, box: tuple[Tensor, Tensor], seed: int
) -> None:
    points = sobol(count, *box, seed)
    assert points.shape == (count, 3)
    assert points.dtype == torch.float64
    assert bool(((points >= box[0] - 1e-12) & (points <= box[1] + 1e-12)).all())
    assert torch.equal(points, sobol(count, *box, seed))


def test_an_exception_of_the_criterion_passes_through() -> None:
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        maximise(broken, whole(1), plane(1), 0)


@given(boxes(), seeds)
@settings(deadline=None, max_examples=20)
def test_a_criterion_without_a_gradient_is_maximised_all_the_same(
    box: tuple[Tensor, Tensor], seed: int
) -> None:
    middle = (box[0] + box[1]) / 2
    score = bowl(middle.tolist())
    place, _ = maximise(lambda x: score(x).detach(), [box], plane(3), seed)
    assert float((place - middle).norm()) <= 0.1 * float((box[1] - box[0]).norm()) + 1e-12


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_with_a_gradient_a_peak_is_found_to_many_digits(seed: int) -> None:
    peak = [0.123, 0.456, 0.789, 0.5]
    place, _ = maximise(bowl(peak), whole(4), plane(4), seed)
    assert torch.allclose(place, cube(peak), atol=1e-4)


FINITE = SearchSpace({"n": Integer(0, 3), "c": Categorical(("a", "b", "c"))})


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_every_point_of_a_finite_space_comes_once_before_any_comes_again(seed: int) -> None:
    taken = torch.zeros(0, FINITE.dimension, dtype=torch.float64)
    score = bowl(FINITE.encode({"n": 2, "c": "b"}).tolist())
    values = []
    for _ in range(12):
        place, value = maximise(score, whole(4), FINITE, seed, taken=taken)
        assert bool(is_free(place.unsqueeze(0), taken))
        taken = torch.cat([taken, place.unsqueeze(0)])
        values.append(value)
    assert values == sorted(values, reverse=True)  # each time the best of those left
    again, _ = maximise(score, whole(4), FINITE, seed, taken=taken)
    assert not bool(is_free(again.unsqueeze(0), taken))


LARGE = SearchSpace(
    {
        "n": Integer(0, 7),
        "m": Integer(1, 8, log=True),
        "c": Categorical(("a", "b", "c", "d")),
        "d": Categorical((1, 2, 3)),
    }
)


@given(seeds, st.integers(0, 767))
@settings(deadline=None, max_examples=15)
def test_the_best_of_hundreds_of_points_is_found(seed: int, index: int) -> None:
    assert LARGE.size == 768
    best = LARGE.grid[index]
    place, _ = maximise(bowl(best.tolist()), whole(LARGE.dimension), LARGE, seed)
    assert torch.equal(place, best)


HUGE = SearchSpace(
    {
        "n": Integer(0, 400),
        "m": Integer(0, 400),
        "c": Categorical(("a", "b", "c", "d")),
        "x": Float(0.0, 1.0),
    }
)


@given(seeds, st.integers(0, 400), st.sampled_from("abcd"))
@settings(deadline=None, max_examples=15)
def test_whole_numbers_and_choices_are_climbed_one_by_one(seed: int, n: int, c: str) -> None:
    peak = HUGE.encode({"n": n, "m": 200, "c": c, "x": 0.25})
    place, value = maximise(bowl(peak.tolist()), whole(HUGE.dimension), HUGE, seed)
    assert HUGE.decode(place)["c"] == c
    assert value > -0.02


def test_places_that_are_taken_are_left_out_where_a_climb_ends_too() -> None:
    taken = cube([[1.0, 1.0]])
    place, _ = maximise(lambda x: x.sum((-1, -2)), whole(2), plane(2), 0, taken=taken)
    assert not torch.equal(place, taken[0])
    assert float(place.min()) > 0.8


@given(boxes(), seeds)
@settings(deadline=None, max_examples=20)
def test_a_hunt_whose_time_is_up_still_gives_a_place_inside(
    box: tuple[Tensor, Tensor], seed: int
) -> None:
    place, value = maximise(bowl([0.5] * 3), [box], plane(3), seed, expired=lambda: True)
    assert bool(((place >= box[0] - 1e-12) & (place <= box[1] + 1e-12)).all())
    assert math.isfinite(value)


@given(st.integers(1, 300), boxes(), seeds)
@settings(deadline=None, max_examples=30)
def test_shifted_points_lie_in_the_box_and_repeat(
    count: int, box: tuple[Tensor, Tensor], seed: int
) -> None:
    points = shifted_sobol(count, *box, seed)
    assert points.shape == (count, 3)
    assert bool(((points >= box[0] - 1e-12) & (points <= box[1] + 1e-12)).all())
    assert torch.equal(points, shifted_sobol(count, *box, seed))


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_shifted_points_are_as_even_as_a_lattice(seed: int) -> None:
    points = shifted_sobol(256, *whole(2)[0], seed)
    for side in (0, 1):
        in_each_eighth = torch.histc(points[:, side], 8, 0.0, 1.0)
        assert float((in_each_eighth - 32).abs().max()) <= 2


def test_the_places_near_the_best_one_known_are_looked_at() -> None:
    needle = cube([0.31415, 0.2718, 0.5772, 0.1])
    score = lambda x: -(x.squeeze(-2) - needle).abs().sum(-1).clamp_min(0.1)  # noqa: E731
    near = needle + 0.02
    place, value = maximise(score, whole(4), plane(4), 3, near=near)
    assert value == pytest.approx(-0.1, abs=1e-9)
    assert float((place - needle).abs().sum()) <= 0.1 + 1e-9
