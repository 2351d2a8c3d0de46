"""The search finds the best place of a box, stays inside it, and refuses what is no score."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.criteria import Traced
from gptune.core.search import (
    EVALUATIONS,
    Hunt,
    evaluate,
    is_free,
    is_open,
    shifted_sobol,
    sobol,
)
from gptune.core.search import maximise as search_for
from gptune.core.space import SearchSpace, cube
from gptune.errors import CriterionError, GptuneError
from gptune.records import Categorical, Float, Integer, Scalar
from tests.strategies import categoricals, points_of

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


@dataclass(frozen=True)
class Watched:
    """A score that writes down where it was asked, and how."""

    inner: Traced
    asked: list[Tensor] = field(default_factory=list)
    climbed: list[Tensor] = field(default_factory=list)

    def is_smooth(self, x: Tensor) -> bool:
        return self.inner.is_smooth(x)

    def unit(self, values: Tensor) -> float:
        return self.inner.unit(values)

    def values(self, x: Tensor) -> Tensor:
        self.asked.append(x.clone())
        return self.inner.values(x)

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.climbed.append(x.clone())
        return self.inner.slopes(x)


def watch(
    criterion: Callable[[Tensor], Tensor],
    space: SearchSpace,
    sides: list[tuple[Tensor, Tensor]] | None = None,
    **rest: Any,
) -> tuple[Watched, Tensor, float]:
    """Search with a score that writes down where it is asked."""
    score = Watched(Traced(criterion))
    scale = torch.full((space.dimension,), 0.5, dtype=torch.float64)
    boxes_ = whole(space.dimension) if sides is None else sides
    place, value = search_for(score, Hunt(space=space, boxes=boxes_, scale=scale, **rest))
    return score, place, value


@given(seeds, st.lists(st.floats(0, 1), min_size=2, max_size=2))
@settings(deadline=None, max_examples=20)
def test_a_criterion_of_numpy_is_looked_at_closer_and_closer(seed: int, peak: list[float]) -> None:
    def score(x: Tensor) -> Tensor:
        flat = np.asarray(x.detach().squeeze(-2))
        return torch.from_numpy(-np.abs(flat - np.array(peak)).sum(-1))

    watched, place, value = watch(score, plane(2), seed=seed)
    assert watched.climbed == []
    assert torch.allclose(place, cube(peak), atol=0.01)
    first = float(Traced(score).values(watched.asked[0]).max())
    assert value >= first


@given(seeds, st.integers(1, 5), st.sampled_from("abc"), st.floats(0, 1))
@settings(deadline=None, max_examples=20)
def test_a_mixed_space_needs_no_gradient(seed: int, n: int, c: str, x: float) -> None:
    peak = MIXED.encode({"n": n, "c": c, "x": x})
    score = lambda at: -(at.detach().squeeze(-2) - peak).abs().sum(-1)  # noqa: E731
    watched, place, _ = watch(score, MIXED, seed=seed)
    assert watched.climbed == []
    found = MIXED.decode(place)
    assert (found["n"], found["c"]) == (n, c)
    assert found["x"] == pytest.approx(x, abs=0.15)


@given(seeds, st.booleans())
@settings(deadline=None, max_examples=10)
def test_without_a_gradient_too_the_search_goes_on_from_the_best_place_known(
    seed: int, has_two: bool
) -> None:
    needle = cube([0.31415, 0.2718, 0.5772, 0.1])
    far = (cube([0.9] * 4), cube([1.0] * 4))
    score = lambda x: -(x.detach().squeeze(-2) - needle).abs().sum(-1)  # noqa: E731
    sides = [far, *whole(4)] if has_two else whole(4)
    watched, place, value = watch(score, plane(4), sides, seed=seed, near=needle + 0.01)
    assert float((place - needle).abs().sum()) == pytest.approx(-value)
    assert value > -0.05
    assert value > float(Traced(score).values(watched.asked[0]).max())  # a closer look helped


@given(st.lists(st.booleans(), min_size=1, max_size=3), seeds)
@settings(deadline=None, max_examples=20)
def test_without_a_gradient_the_very_corner_is_reached_and_not_left(
    up: list[bool], seed: int
) -> None:
    sign = cube([1.0 if flag else -1.0 for flag in up])
    all_equal = len(set(up)) == 1
    score = lambda x: (x.detach().squeeze(-2) * sign).sum(-1)  # noqa: E731
    watched, place, _ = watch(score, plane(len(up)), seed=seed)
    seen = torch.cat(watched.asked)
    assert bool(((seen >= 0) & (seen <= 1)).all())
    if all_equal:  # the lowest or the highest corner of the box
        assert torch.equal(place, (sign > 0).double())


@given(seeds)
@settings(deadline=None, max_examples=10)
def test_a_good_place_known_does_not_hide_a_better_one_far_away(seed: int) -> None:
    known, better = cube([0.2] * 4), cube([0.8] * 4)

    def score(x: Tensor) -> Tensor:
        flat = x.squeeze(-2)
        peak = 1 - 5 * ((flat - known).square().sum(-1) + 1e-12).sqrt()
        hill = 2 - 20 * (flat - better).square().sum(-1)
        return torch.maximum(peak, hill)

    place, value = maximise(score, whole(4), plane(4), seed, near=known)
    assert value == pytest.approx(2.0, abs=1e-3)
    assert torch.allclose(place, better, atol=0.01)


def test_when_the_time_is_up_no_second_step_is_tried() -> None:
    best = CHOICES.encode({f"c{i}": "c" for i in range(10)})
    near = CHOICES.encode({f"c{i}": "b" if i < 4 else "c" for i in range(10)})
    hasty, _, less = watch(bowl(best.tolist()), CHOICES, near=near, expired=lambda: True)
    patient, _, more = watch(bowl(best.tolist()), CHOICES, near=near)
    assert len(hasty.asked) <= 2 < len(patient.asked)
    assert less < more == 0.0


CHOICES = SearchSpace({f"c{i}": Categorical(tuple("abcdef")) for i in range(10)})


@given(
    seeds,
    st.lists(st.sampled_from("abcdef"), min_size=10, max_size=10),
    st.lists(st.integers(0, 9), max_size=4, unique=True),
)
@settings(deadline=None, max_examples=15)
def test_from_the_best_place_known_choices_are_changed_while_that_helps(
    seed: int, best: list[str], wrong: list[int]
) -> None:
    point: dict[str, Scalar] = {f"c{i}": choice for i, choice in enumerate(best)}
    near = {**point, **{f"c{i}": "b" if best[i] == "a" else "a" for i in wrong}}
    score = bowl(CHOICES.encode(point).tolist())
    place, value = maximise(
        score, whole(CHOICES.dimension), CHOICES, seed, near=CHOICES.encode(near)
    )
    assert CHOICES.decode(place) == point
    assert value == 0.0


@given(seeds, st.lists(st.integers(2, 9), min_size=2, max_size=4, unique=True), st.booleans())
@settings(deadline=None, max_examples=10)
def test_choices_are_changed_in_the_box_where_the_place_was_found(
    seed: int, wrong: list[int], last: bool
) -> None:
    best = CHOICES.encode({f"c{i}": "c" for i in range(10)})
    near = CHOICES.encode({f"c{i}": "b" if i in wrong else "c" for i in range(10)})
    first, others = (near.clone(), near.clone()), (near.clone(), near.clone())
    first[0][:6], first[1][:6] = 0.0, 1.0  # c0 alone
    others[0][6:], others[1][6:] = 0.0, 1.0  # all but c0
    sides = [first, others] if last else [others, first]
    weight = cube([30.0] * 6 + [1.0] * 54)  # to change c0 is worse than all else
    score = lambda x: -((x.squeeze(-2) - best).square() * weight).sum(-1)  # noqa: E731
    place, value = maximise(score, sides, CHOICES, seed, near=near, taken=near.unsqueeze(0))
    assert torch.equal(place, best)
    assert value == 0.0


GRAVEL = SearchSpace({"n": Integer(0, 4000), "x": Float(0.0, 1.0)})


@given(seeds, st.integers(0, 4000), st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=15)
def test_after_each_step_real_numbers_are_climbed_anew(seed: int, n: int, x: float) -> None:
    """Where the best x lies depends on n: steps of n alone gain less and less."""
    peak = GRAVEL.encode({"n": n, "x": x})

    def score(places: Tensor) -> Tensor:
        gap = places.squeeze(-2) - peak
        return -gap[:, 0].square() - 100 * (gap[:, 1] + gap[:, 0]).square()

    place, value = maximise(score, whole(2), GRAVEL, seed)
    steps = abs(float(GRAVEL.decode(place)["n"]) - n)
    assert steps <= 500
    assert float((place - peak).sum()) == pytest.approx(0.0, abs=2e-3)
    assert value > -0.02


@given(st.data(), seeds)
@settings(deadline=None, max_examples=40)
def test_each_box_of_a_mixed_space_moves_its_own_knobs_alone(
    data: st.DataObject, seed: int
) -> None:
    space = SearchSpace(
        {
            "x": Float(0.0, 1.0),
            "n": Integer(0, 9),
            "c": Categorical(("a", "b", "c")),
            "y": Float(0.0, 1.0),
        }
    )
    point, peak = data.draw(points_of(space)), space.encode(data.draw(points_of(space)))
    center, sides = space.encode(point), []
    for _, _, part in space.columns():
        low, high = center.clone(), center.clone()
        low[part], high[part] = 0.0, 1.0
        sides.append((low, high))
    sides = data.draw(st.permutations(sides))
    near = space.encode(data.draw(points_of(space)))
    watched, place, value = watch(
        bowl(peak.tolist()), space, sides, seed=seed, near=near, taken=center.unsqueeze(0)
    )
    seen = torch.cat([*watched.asked, *watched.climbed, place.unsqueeze(0)])
    changed = torch.stack(
        [(seen[:, part] != center[part]).any(-1) for _, _, part in space.columns()]
    )
    assert int(changed.sum(0).max()) <= 1
    assert torch.equal(space.snap(seen), seen)
    assert not torch.equal(place, center)
    best = max(float(bowl(peak.tolist())(row.reshape(1, 1, -1))) for row in watched.asked[0])
    assert value >= best


@st.composite
def finite_spaces(draw: st.DrawFn) -> SearchSpace:
    """Draw a space of at most some twenty points."""
    low = draw(st.integers(1, 50))
    short = Integer(low, low + draw(st.integers(1, 4)), log=draw(st.booleans()))
    chosen = st.lists(st.just(short) | categoricals(), min_size=1, max_size=2)
    return SearchSpace({f"p{i}": p for i, p in enumerate(draw(chosen))})


@given(finite_spaces(), seeds, st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_a_finite_space_is_used_up_from_the_best_to_the_worst(
    space: SearchSpace, seed: int, salt: int
) -> None:
    generator = torch.Generator().manual_seed(salt)
    weights = torch.rand(space.dimension, generator=generator, dtype=torch.float64)

    def score(x: Tensor) -> Tensor:
        return torch.sin(20 * x.squeeze(-2) @ weights)

    taken = torch.zeros(0, space.dimension, dtype=torch.float64)
    wanted = sorted(Traced(score).values(space.grid).tolist(), reverse=True)
    values = []
    for _ in wanted:
        place, value = maximise(score, whole(space.dimension), space, seed, taken=taken)
        assert torch.equal(space.snap(place.unsqueeze(0))[0], place)
        taken = torch.cat([taken, place.unsqueeze(0)])
        values.append(value)
    assert len(torch.unique(taken, dim=0)) == space.size
    assert values == pytest.approx(wanted, rel=0, abs=1e-12)
    place, value = maximise(score, whole(space.dimension), space, seed, taken=taken)
    assert value == pytest.approx(wanted[0], rel=0, abs=1e-12)  # then the best comes again


def test_only_the_places_of_a_box_are_free_there() -> None:
    """Of a finite space, one box holds all but two places; both are given, then no third."""
    low = FINITE.encode({"n": 1, "c": "a"})
    high = FINITE.encode({"n": 2, "c": "a"})
    score = bowl(FINITE.encode({"n": 3, "c": "b"}).tolist())
    taken = torch.zeros(0, 4, dtype=torch.float64)
    for n in (2, 1, 2):
        place, _ = maximise(score, [(low, high)], FINITE, 0, taken=taken)
        assert FINITE.decode(place) == {"n": n, "c": "a"}
        taken = torch.cat([taken, place.unsqueeze(0)])


GRAINS = SearchSpace({f"n{i}": Integer(0, 19) for i in range(3)})


@given(seeds, st.lists(st.integers(0, 19), min_size=3, max_size=3))
@settings(deadline=None, max_examples=10)
def test_taken_places_are_not_stepped_on(seed: int, best: list[int]) -> None:
    assert GRAINS.size == 8000
    peak = GRAINS.encode({f"n{i}": n for i, n in enumerate(best)})
    taken = peak.unsqueeze(0)
    for _ in range(6):
        place, value = maximise(bowl(peak.tolist()), whole(3), GRAINS, seed, taken=taken, near=peak)
        assert bool(is_free(place.unsqueeze(0), taken))
        assert value > -0.1
        taken = torch.cat([taken, place.unsqueeze(0)])


def test_a_place_is_taken_if_it_is_the_same_up_to_rounding_and_not_if_it_is_close() -> None:
    here = cube([[0.3, 0.7]])
    near = cube([[0.3, 0.7], [0.3 + 1e-12, 0.7], [0.3 + 1e-6, 0.7], [0.3, 0.69]])
    assert is_free(near, here).tolist() == [False, False, True, True]
    assert is_free(near, None).tolist() == [True] * 4
    assert is_free(near, here[:0]).tolist() == [True] * 4


def test_where_every_neighbour_is_nan_the_place_that_was_found_stays() -> None:
    space = SearchSpace({"c": Categorical(("a", "b")), "x": Float(0.0, 1.0)})

    def half(at: Tensor) -> Tensor:
        flat = at.squeeze(-2)
        return torch.where(flat[:, 1] > 0.5, torch.nan, flat[:, 2])

    place, value = maximise(half, whole(3), space, 0)
    assert space.decode(place) == {"c": "a", "x": 1.0}
    assert value == 1.0


def test_where_every_closer_look_is_nan_the_place_that_was_found_stays() -> None:
    def corner(at: Tensor) -> Tensor:
        return torch.where((at.detach().squeeze(-2) == 0).all(-1), 1.0, torch.nan)

    place, value = maximise(corner, whole(2), plane(2), 0)
    assert place.tolist() == [0.0, 0.0]
    assert value == 1.0


@given(st.integers(0, 6))
@settings(deadline=None, max_examples=7)
def test_when_the_time_is_up_nothing_more_is_asked(patience: int) -> None:
    asked: list[bool] = []

    def expired() -> bool:
        asked.append(True)
        return len(asked) > patience

    watched, place, _ = watch(
        lambda x: -(x.squeeze(-2) - 0.3).pow(4).sum(-1), plane(3), expired=expired
    )
    assert len(watched.asked) == 1
    # One question before the climb, one before each step but the first evaluation.
    assert len(watched.climbed) == min(patience, EVALUATIONS)
    assert bool(((place >= 0) & (place <= 1)).all())


def test_when_the_time_is_up_at_once_a_mixed_space_is_stepped_through_once_at_most() -> None:
    watched, place, _ = watch(bowl([0.9] * 5), MIXED, expired=lambda: True)
    assert watched.climbed == []
    assert len(watched.asked) <= 2
    assert torch.equal(MIXED.snap(place.unsqueeze(0))[0], place)


@given(seeds, seeds)
@settings(deadline=None, max_examples=20)
def test_another_seed_gives_other_points(one: int, other: int) -> None:
    assume(one != other)
    low, high = whole(3)[0]
    for draw in (sobol, shifted_sobol):
        assert not torch.equal(draw(8, low, high, one), draw(8, low, high, other))
    shift = shifted_sobol(8, low, high, one)[0] - shifted_sobol(8, low, high, other)[0]
    assert len(set((shift % 1.0).tolist())) == 3  # each coordinate is shifted by its own


@given(boxes(), seeds, st.integers(1, 100))
@settings(deadline=None, max_examples=30)
def test_shifted_points_keep_every_bit_of_a_held_side(
    box: tuple[Tensor, Tensor], seed: int, count: int
) -> None:
    low, high = box[0], box[1].clone()
    high[1] = low[1]
    points = shifted_sobol(count, low, high, seed)
    assert torch.equal(points[:, 1], low[1].expand(count))
    assert points.dtype == torch.float64
    assert bool((points >= low).all())


@pytest.mark.parametrize("height", [1.0, 0.01])
def test_a_low_hill_is_climbed_too(height: float) -> None:
    """One short first step gains little, and says nothing of how near the top is."""
    for seed in range(5):
        place, _ = maximise(lambda x: height * bowl([0.3] * 4)(x), whole(4), plane(4), seed)
        assert float((place - 0.3).norm()) < 0.05


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


@given(seeds, st.integers(0, 10**6))
@settings(deadline=None, max_examples=10)
def test_a_finite_space_is_looked_at_whole_however_rugged(seed: int, salt: int) -> None:
    generator = torch.Generator().manual_seed(salt)
    weights = 1000 * torch.rand(LARGE.dimension, generator=generator, dtype=torch.float64)
    score = lambda x: torch.sin((x.squeeze(-2) * weights).sum(-1))  # noqa: E731
    _, value = maximise(score, whole(LARGE.dimension), LARGE, seed)
    every = Traced(score).values(LARGE.grid)
    assert value == pytest.approx(float(every.max()), rel=0, abs=1e-9)


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


# --- constraints ----------------------------------------------------------------------------

FLAT = plane(2)


def half(x: Tensor) -> Tensor:
    """Allow what lies below a line."""
    return x.sum(-1) < 1.0


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), seeds)
@settings(deadline=None, max_examples=40)
def test_the_place_that_is_found_is_allowed_wherever_a_candidate_is(
    peak: list[float], seed: int
) -> None:
    place, value = maximise(bowl(peak), whole(2), FLAT, seed, allows=half)
    assert bool(half(place.unsqueeze(0)))
    assert value == float(bowl(peak)(place.reshape(1, 1, -1)))
    if sum(peak) < 0.9:
        assert torch.allclose(place, cube(peak), atol=0.02)


@given(seeds, st.integers(2, 9))
@settings(deadline=None, max_examples=30)
def test_whole_numbers_and_choices_are_stepped_to_only_where_that_is_allowed(
    seed: int, part: int
) -> None:
    peak = HUGE.encode({"n": 201, "m": 207, "c": "b", "x": 0.5})

    def allows(x: Tensor) -> Tensor:
        points = [HUGE.decode(row) for row in x]
        flags = [(int(p["n"]) + int(p["m"])) % part == 1 for p in points]
        return torch.tensor(flags, dtype=torch.bool)

    place, _ = maximise(bowl(peak.tolist()), whole(HUGE.dimension), HUGE, seed, allows=allows)
    assert bool(allows(place.unsqueeze(0)))


@given(finite_spaces(), seeds, st.integers(2, 4))
@settings(deadline=None, max_examples=30)
def test_the_best_of_those_allowed_is_found_in_a_finite_space(
    space: SearchSpace, seed: int, part: int
) -> None:
    def allows(x: Tensor) -> Tensor:
        odd = [sum(map(ord, repr(space.decode(row)))) % part == 0 for row in x]
        return torch.tensor(odd, dtype=torch.bool)

    score = lambda x: torch.sin(20 * x.squeeze(-2).cumsum(-1).sum(-1))  # noqa: E731
    open_ = space.grid[allows(space.grid)]
    place, value = maximise(score, whole(space.dimension), space, seed, allows=allows)
    every = Traced(score).values(open_ if len(open_) else space.grid)
    assert value == pytest.approx(float(every.max()), rel=0, abs=1e-12)
    assert not len(open_) or bool(allows(place.unsqueeze(0)))


@given(st.lists(boxes(), min_size=1, max_size=3), st.lists(st.floats(0, 1), min_size=3), seeds)
@settings(deadline=None, max_examples=30)
def test_a_constraint_that_all_places_meet_changes_no_bit(
    sides: list[tuple[Tensor, Tensor]], peak: list[float], seed: int
) -> None:
    def all_of(x: Tensor) -> Tensor:
        return torch.ones(len(x), dtype=torch.bool)

    near, taken = cube([0.5, 0.5, 0.5]), cube([peak[:3]])
    rest = {"near": near, "taken": taken}
    free = watch(bowl(peak[:3]), plane(3), sides, seed=seed, **rest)
    held = watch(bowl(peak[:3]), plane(3), sides, seed=seed, allows=all_of, **rest)
    assert torch.equal(held[1], free[1])
    assert held[2] == free[2]
    assert all(map(torch.equal, held[0].asked, free[0].asked))


@given(seeds)
@settings(deadline=None, max_examples=15)
def test_where_all_that_is_allowed_is_taken_it_is_given_again(seed: int) -> None:
    def few(x: Tensor) -> Tensor:
        return torch.tensor([FINITE.decode(row)["n"] == 1 for row in x], dtype=torch.bool)

    taken = FINITE.grid[few(FINITE.grid)]
    score = bowl(FINITE.encode({"n": 3, "c": "b"}).tolist())
    place, _ = maximise(score, whole(4), FINITE, seed, allows=few, taken=taken)
    assert FINITE.decode(place) == {"n": 1, "c": "b"}


def test_what_is_taken_is_not_asked_of_a_constraint_and_neither_is_open() -> None:
    asked: list[Tensor] = []

    def allows(x: Tensor) -> Tensor:
        asked.append(x)
        return half(x)

    places = cube([[0.1, 0.2], [0.3, 0.3], [0.9, 0.9]])
    hunt = Hunt(
        space=FLAT,
        boxes=whole(2),
        scale=cube([0.5, 0.5]),
        taken=places[:1],
        allows=allows,
    )
    assert is_open(places, hunt).tolist() == [False, True, False]
    assert [row.tolist() for row in asked] == [places[1:].tolist()]
    assert is_open(places[:1], hunt).tolist() == [False]
    assert len(asked) == 1
    assert is_free(places, hunt.taken).tolist() == [False, True, True]


def test_where_nothing_is_allowed_a_place_inside_is_given_all_the_same() -> None:
    def none(x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.bool)

    for space in (FLAT, HUGE, FINITE):
        peak = [0.5] * space.dimension
        place, value = maximise(bowl(peak), whole(space.dimension), space, 0, allows=none)
        assert bool(((place >= 0) & (place <= 1)).all())
        assert math.isfinite(value)
