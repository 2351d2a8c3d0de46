"""What is tried by chance, evenly or on a grid: always the same, always inside, and allowed."""

import itertools
import pickle
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.errors import StudyError
from gptune.records import Categorical, Float, Integer, Scalar
from gptune.study.domains import Domain, Fixed, Stepped, holds
from gptune.study.executors import Threads
from gptune.study.records import TrialRecord, TrialState
from gptune.study.samplers import (
    DRAWS,
    LARGEST_GRID,
    GridSampler,
    GridSpent,
    RandomSampler,
    Sampler,
    SobolSampler,
    chance_of,
    draw_allowed,
    every,
)
from gptune.study.study import Study
from tests.strategies import categoricals
from tests.study.drawing import complete, ended, seeds, spaces, steppeds, view_of

SPACE: dict[str, Domain] = {
    "lr": Float(1e-4, 1.0, log=True),
    "n": Integer(1, 9),
    "kind": Categorical(("a", "b", "c")),
    "share": Stepped(0.0, 0.5, 0.1),
    "fixed": Fixed("only"),
}
BY_CHANCE: list[Callable[[], Sampler]] = [RandomSampler, SobolSampler]
samplers = st.sampled_from(BY_CHANCE)
numbers = st.integers(0, 5000)


@given(samplers, spaces(), seeds, numbers)
@settings(deadline=None, max_examples=100)
def test_the_same_view_has_the_same_suggestion_which_lies_in_its_domains(
    make: Callable[[], Sampler], space: dict[str, Domain], seed: int, number: int
) -> None:
    view = view_of(space, number, seed=seed)
    made = make().suggest(view)
    assert dict(make().suggest(view).params) == dict(made.params)
    assert list(made.params) == list(space)
    assert all(holds(space[name], value) for name, value in made.params.items())
    assert made.memory == {}


@pytest.mark.parametrize("make", BY_CHANCE)
def test_each_trial_and_each_seed_has_its_own_point(make: Callable[[], Sampler]) -> None:
    space = {"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}
    points = {
        tuple(make().suggest(view_of(space, number, seed=seed)).params.values())
        for seed in range(3)
        for number in range(40)
    }
    assert len(points) == 120


@given(samplers, seeds, numbers)
@settings(deadline=None, max_examples=60)
def test_what_is_drawn_meets_the_constraints(
    make: Callable[[], Sampler], seed: int, number: int
) -> None:
    view = view_of(SPACE, number, seed=seed, allowed=lambda p: p["n"] % 3 == 0 and p["kind"] != "a")
    params = make().suggest(view).params
    assert params["n"] in {3, 6, 9}
    assert params["kind"] != "a"


@pytest.mark.parametrize("make", BY_CHANCE)
def test_a_constraint_that_nothing_meets_is_an_error_and_not_a_wait(
    make: Callable[[], Sampler],
) -> None:
    asked: list[object] = []

    def refuse(params: object) -> bool:
        asked.append(params)
        return False

    view = view_of({"x": Float(0.0, 1.0)}, allowed=refuse)
    with pytest.raises(StudyError, match=r"constraints: none of 10000 points .* loosen them"):
        make().suggest(view)
    assert DRAWS <= len(asked) <= DRAWS + 1


@given(seeds, numbers)
@settings(deadline=None, max_examples=30)
def test_all_constraints_are_asked_of_the_whole_point(seed: int, number: int) -> None:
    asked: list[set[str]] = []

    def allowed(params: Mapping[str, Scalar]) -> bool:
        asked.append(set(params))
        return True

    draw_allowed(view_of(SPACE, number, seed=seed, allowed=allowed))
    assert asked == [set(SPACE)]


@given(seeds, numbers, st.text("ab/", max_size=3))
@settings(deadline=None, max_examples=100)
def test_chance_is_that_of_a_seed_a_number_and_a_name(seed: int, number: int, name: str) -> None:
    mine = chance_of(seed, number, name).random()
    assert chance_of(seed, number, name).random() == mine
    assert view_of({}, number, seed=seed).chance(name).random() == mine
    others = [(seed + 1, number, name), (seed, number + 1, name), (seed, number, f"{name}c")]
    assert mine not in [chance_of(*other).random() for other in others]


def test_chance_is_the_same_in_every_version() -> None:
    assert chance_of(0, 0).random() == pytest.approx(0.9946169614857957, abs=0)
    assert chance_of(7, 3, "lr").random() == pytest.approx(0.8207905592726208, abs=0)


# --- Sobol ----------------------------------------------------------------------------------


@given(st.integers(0, 2**40), st.sampled_from([2, 4, 8]))
@settings(deadline=None, max_examples=25)
def test_the_first_points_of_a_sequence_fill_the_plane_evenly(seed: int, cells: int) -> None:
    space = {"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}
    hits: Counter[tuple[int, ...]] = Counter()
    for number in range(64):
        params = SobolSampler().suggest(view_of(space, number, seed=seed)).params
        hits[tuple(int(float(params[name]) * cells) for name in "xy")] += 1
    assert set(hits.values()) == {64 // cells**2}
    assert len(hits) == cells**2


@given(seeds, numbers)
@settings(deadline=None, max_examples=30)
def test_a_sequence_needs_no_order_and_no_dimension_for_what_is_fixed(
    seed: int, number: int
) -> None:
    view = view_of(SPACE, number, seed=seed)
    turned = view_of(dict(reversed(SPACE.items())), number, seed=seed)
    less = view_of({n: d for n, d in SPACE.items() if n != "fixed"}, number, seed=seed)
    mine = dict(SobolSampler().suggest(view).params)
    assert dict(SobolSampler().suggest(turned).params) == mine
    assert {**SobolSampler().suggest(less).params, "fixed": "only"} == mine


def test_a_sequence_over_nothing_to_search_is_what_is_fixed() -> None:
    assert dict(SobolSampler().suggest(view_of({"a": Fixed(3)})).params) == {"a": 3}


# --- grids ----------------------------------------------------------------------------------


@st.composite
def grids(draw: st.DrawFn) -> dict[str, Domain]:
    """Draw a space of at most some hundred points."""
    short = st.integers(-5, 5).flatmap(
        lambda low: st.integers(1, 3).map(lambda more: Integer(low, low + more))
    )
    kinds = st.one_of(short, categoricals(), steppeds(4), st.builds(Fixed, st.just(1)))
    return {f"p{i}": d for i, d in enumerate(draw(st.lists(kinds, min_size=1, max_size=3)))}


def key(params: Mapping[str, Scalar]) -> str:
    return repr(sorted(params.items()))


def spend(space: dict[str, Domain], trials: list[TrialRecord], **rest: Any) -> list[TrialRecord]:
    """Go on until the grid is spent; every third trial fails, every fifth is pruned."""
    trials = list(trials)
    while len(trials) < 2000:
        number = len(trials)
        view = view_of(space, number, finished=trials, **rest)
        try:
            params = dict(GridSampler().suggest(view).params)
        except GridSpent:
            return trials
        states = {0: "failed", 1: "pruned"}.get(number % 3)
        trials.append(ended(number, params, states) if states else complete(number, params, 1.0))
    raise AssertionError("it never ends")


@given(grids())
@settings(deadline=None, max_examples=40)
def test_each_point_of_a_grid_comes_once_and_then_it_is_spent(space: dict[str, Domain]) -> None:
    found = [key(trial.params) for trial in spend(space, [])]
    points = itertools.product(*(every(domain, 1) for domain in space.values()))
    assert found == [key(dict(zip(space, point, strict=True))) for point in points]
    assert len(set(found)) == len(found)


@given(grids(), st.data())
@settings(deadline=None, max_examples=40)
def test_a_grid_goes_on_where_it_was_left_whatever_is_running(
    space: dict[str, Domain], data: st.DataObject
) -> None:
    whole = spend(space, [])
    part = data.draw(st.lists(st.sampled_from(whole), unique_by=lambda t: t.number))
    cut = data.draw(st.integers(0, len(part)))
    finished = [replace(trial, number=number) for number, trial in enumerate(part[:cut])]
    running = [trial.params for trial in part[cut:]]
    after = spend(space, finished, running=running)
    given_ = [key(trial.params) for trial in after] + [key(params) for params in running]
    assert sorted(given_) == sorted(key(trial.params) for trial in whole)


@given(grids(), st.integers(2, 4))
@settings(deadline=None, max_examples=40)
def test_a_grid_leaves_out_what_is_not_allowed(space: dict[str, Domain], part: int) -> None:
    def allowed(params: Mapping[str, Scalar]) -> bool:
        return len(key(params)) % part != 0

    found = [key(trial.params) for trial in spend(space, [], allowed=allowed)]
    points = GridSampler().points(space, lambda params: True)
    assert found == [key(params) for params in points if allowed(params)]


def test_a_grid_is_counted_by_kind_and_not_by_worth() -> None:
    """One, true and one point nought are three choices."""
    found = spend({"c": Categorical((1, True, 1.0))}, [])
    assert [repr(trial.params["c"]) for trial in found] == ["1", "True", "1.0"]


@pytest.mark.parametrize("resolution", [1, 2, 3, 10])
def test_a_real_parameter_has_as_many_values_as_wanted(resolution: int) -> None:
    sampler = GridSampler(resolution=resolution)
    space: dict[str, Domain] = {"x": Float(0.0, 1.0), "lr": Float(1e-4, 1.0, log=True)}
    sides = sampler.sides(space)
    assert [len(side) for side in sides.values()] == [resolution] * 2
    if resolution == 1:
        assert sides["x"] == (0.5,)
        assert sides["lr"] == pytest.approx((0.01,))
    elif resolution == 3:
        assert sides["x"] == (0.0, 0.5, 1.0)
        assert sides["lr"] == pytest.approx((1e-4, 0.01, 1.0))
    assert all(holds(space[name], value) for name in space for value in sides[name])


def test_whole_numbers_on_a_log_scale_come_once_each() -> None:
    side = GridSampler(resolution=10).sides({"n": Integer(1, 4, log=True)})["n"]
    assert list(side) == [1, 2, 3, 4]
    wide = GridSampler(resolution=4).sides({"n": Integer(1, 1000, log=True)})["n"]
    assert list(wide) == [1, 11, 95, 1000] or (wide[0], wide[-1]) == (1, 1000)


def test_values_that_are_given_are_gone_through_in_their_order() -> None:
    space: dict[str, Domain] = {"x": Float(0.0, 1.0), "c": Categorical(("a", "b"))}
    sampler = GridSampler({"x": [0.7, 0.1]})
    points = list(sampler.points(space, lambda params: True))
    assert [(p["x"], p["c"]) for p in points] == [(0.7, "a"), (0.7, "b"), (0.1, "a"), (0.1, "b")]


HUGE: list[dict[str, Domain]] = [
    {"n": Integer(0, 10**12)},
    {"seed": Integer(0, 2**63 - 1)},
    {"n": Integer(-(2**62), 2**62)},
    {"x": Stepped(0, 10**12, 1)},
    {"x": Stepped(0.0, 1.0, 1e-12)},
    {f"n{i}": Integer(1, 100) for i in range(4)},
    {**{f"n{i}": Integer(1, 1000) for i in range(2)}, "c": Categorical(("a", "b"))},
    {f"x{i}": Float(0.0, 1.0) for i in range(7)},
]


@pytest.mark.parametrize("space", HUGE)
def test_a_grid_of_too_many_points_is_refused_without_being_built(
    space: dict[str, Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stepped, "values", lambda self: pytest.fail("built"))
    monkeypatch.setattr(GridSampler, "_side", lambda self, name, domain: pytest.fail("built"))
    with pytest.raises(StudyError, match=r"grid: has \d+ points, more than 1000000; give fewer"):
        GridSampler().suggest(view_of(space))


def test_a_grid_of_a_million_points_is_just_not_too_large() -> None:
    space: dict[str, Domain] = {"n": Integer(1, LARGEST_GRID)}
    assert dict(GridSampler().suggest(view_of(space)).params) == {"n": 1}
    assert len(GridSampler().sides({"x": Stepped(1, LARGEST_GRID, 1)})["x"]) == LARGEST_GRID
    with pytest.raises(StudyError, match="1000001 points"):
        GridSampler().sides({"n": Integer(0, LARGEST_GRID)})


def test_a_resolution_has_a_limit() -> None:
    with pytest.raises(StudyError, match=r"resolution: must be .* at most 1000000, got 1000001"):
        GridSampler(resolution=LARGEST_GRID + 1)
    with pytest.raises(StudyError, match="resolution: must be a whole number"):
        GridSampler(resolution=10**5000)
    assert len(GridSampler(resolution=LARGEST_GRID).sides({"n": Integer(1, 4, log=True)})) == 1


@pytest.mark.parametrize("resolution", [0, -1, 1.5, True, "10", None])
def test_a_resolution_is_a_count(resolution: Any) -> None:
    with pytest.raises(StudyError, match="resolution: must be a whole number >= 1"):
        GridSampler(resolution=resolution)


@pytest.mark.parametrize(
    ("name", "value"), [("x", 1.5), ("x", "a"), ("c", "z"), ("c", True), ("n", 0), ("n", 1.5)]
)
def test_a_value_outside_of_its_domain_is_refused_by_name(name: str, value: Scalar) -> None:
    space: dict[str, Domain] = {
        "x": Float(0.0, 1.0),
        "c": Categorical(("a", 1)),
        "n": Integer(1, 3),
    }
    with pytest.raises(StudyError, match=f"^grid: {name}: .* does not lie in"):
        GridSampler({name: [value]}).suggest(view_of(space))


def test_a_grid_of_a_parameter_that_the_space_does_not_have_is_refused_by_name() -> None:
    space: dict[str, Domain] = {"rate": Float(0.0, 1.0), "n": Integer(1, 3)}
    for name, advice in [("rte", "did you mean 'rate'"), ("zzz", "valid: n, rate")]:
        sampler = GridSampler({"n": [1], name: [0.5]})
        with pytest.raises(StudyError, match=f"^grid: {name}: is none of the space's.*{advice}"):
            sampler.suggest(view_of(space))
        with pytest.raises(StudyError, match=f"^grid: {name}: is none of the space's"):
            list(sampler.points(space, lambda params: True))


@pytest.mark.parametrize("values", [[], (), "ab", b"ab", "", 3, None, {"a", "b"}, {"a": 1}, 0.5])
def test_the_values_of_a_grid_are_lists_of_at_least_one(values: Any) -> None:
    with pytest.raises(StudyError, match=r"^grid: c: must be a list of at least one value, got"):
        GridSampler({"x": [0.5], "c": values})


@pytest.mark.parametrize("grid", [[("x", [1])], "x", 3, {1: [2]}, {"": [2]}])
def test_a_grid_is_a_mapping_of_names(grid: Any) -> None:
    with pytest.raises(StudyError, match=r"^grid: must be a mapping of names to lists, got"):
        GridSampler(grid)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9))
@settings(deadline=None, max_examples=30)
def test_a_grid_may_be_any_sequence(values: list[int]) -> None:
    space: dict[str, Domain] = {"n": Integer(1, 9)}
    for given_ in (values, tuple(values)):
        assert list(GridSampler({"n": given_}).sides(space)["n"]) == values
    side = range(2, 5)
    assert list(GridSampler({"n": side}).sides(space)["n"]) == [2, 3, 4]


def test_a_grid_of_numpys_scalars_has_plain_points() -> None:
    space: dict[str, Domain] = {"x": Float(0.0, 1.0), "n": Integer(1, 9)}
    values: dict[str, Any] = {"x": list(np.linspace(0.0, 1.0, 3)), "n": [np.int64(3)]}
    sides = GridSampler(values).sides(space)
    assert repr(sides) == "{'x': (0.0, 0.5, 1.0), 'n': (3,)}"


def test_a_grid_says_how_large_it_is_and_how_much_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    space: dict[str, Domain] = {"x": Float(0.0, 1.0), "n": Integer(1, 9)}
    sampler = GridSampler({"n": [1, 2, 2]}, resolution=3)
    assert sampler.size(space) == 6
    assert sampler.left(space, []) == 6
    tried = [
        complete(0, {"x": 0.5, "n": 2}, 1.0),
        ended(1, {"x": 0.5, "n": 2}, "failed"),
        complete(2, {"x": 0.25, "n": 2}, 1.0),  # beside the grid
        complete(3, {"n": 1}, 1.0),
        ended(4, {"x": 1.0, "n": 1}, "pruned"),
    ]
    assert sampler.left(space, tried) == 4
    with caplog.at_level("INFO", logger="gptune"):
        for number in range(5, 8):
            sampler.suggest(view_of(space, number, finished=tried))
    assert caplog.messages == ["gptune: a grid of 6 points, of which 4 are left"]
    with pytest.raises(StudyError, match="1000002 points"):
        sampler.size({"n": Integer(1, 9), "m": Integer(0, LARGEST_GRID // 2)})


def test_a_sampler_that_has_begun_may_be_used_by_another_study_and_travel() -> None:
    space: dict[str, Domain] = {"n": Integer(1, 3)}
    sampler = GridSampler()
    mine = [complete(0, {"n": 1}, 1.0)]
    assert dict(sampler.suggest(view_of(space, 1, finished=mine)).params) == {"n": 2}
    assert dict(sampler.suggest(view_of(space, 0, finished=[])).params) == {"n": 1}
    assert dict(sampler.suggest(view_of(space, 1, finished=mine)).params) == {"n": 2}
    wider: dict[str, Domain] = {"n": Integer(0, 3)}
    assert dict(sampler.suggest(view_of(wider, 1, finished=mine)).params) == {"n": 0}
    other = pickle.loads(pickle.dumps(sampler))  # its constraints may be no data
    assert dict(other.suggest(view_of(wider, 1, finished=mine)).params) == {"n": 0}


@pytest.mark.parametrize("workers", [1, 4])
def test_a_grid_of_a_study_is_tried_once_each_by_many_and_goes_on(
    workers: int, tmp_path: Path
) -> None:
    made: dict[str, Any] = {
        "space": {"n": Integer(0, 9), "m": Integer(0, 9)},
        "storage": tmp_path / "s.db",
        "constraints": [lambda p: p["n"] != 3],
        "resume": True,
    }
    for total in (20, 60, 500):
        with Study("one", sampler=GridSampler(), **made) as study:
            study.optimize(lambda p: float(p["n"]), total=total, executor=Threads(workers))
            points = [(trial.params["n"], trial.params["m"]) for trial in study.trials]
    assert len(points) == len(set(points)) == 90


def test_a_grid_needs_a_space() -> None:
    with pytest.raises(StudyError, match="grid: needs the space up front; pass space="):
        GridSampler().suggest(view_of({}))


@given(spaces(), seeds, numbers)
@settings(deadline=None, max_examples=40)
def test_a_grid_has_the_same_point_for_the_same_view(
    space: dict[str, Domain], seed: int, number: int
) -> None:
    sampler = GridSampler({n: [_first(d)] for n, d in space.items()})
    assume(space)
    view = view_of(space, number, seed=seed)
    one, other = (dict(sampler.suggest(view).params) for _ in range(2))
    assert one == other
    assert all(holds(space[name], value) for name, value in one.items())


def _first(domain: Domain) -> Scalar:
    return every(domain, 1)[0]


def test_a_trial_that_waits_is_not_taken_for_one_that_was_tried() -> None:
    space: dict[str, Domain] = {"n": Integer(1, 2)}
    begun = TrialRecord(number=0, state=TrialState.FAILED)  # it died before it had parameters
    assert dict(GridSampler().suggest(view_of(space, 1, finished=[begun])).params) == {"n": 1}
