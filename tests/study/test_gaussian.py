"""The default sampler: it repeats, stays inside what is allowed, and finds the best."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.configs import STUDY
from gptune.core.proposer import Proposer
from gptune.records import Categorical, Float, Integer, Observation, Scalar
from gptune.study.domains import Domain, Fixed, Stepped, holds
from gptune.study.gaussian import GaussianProcessSampler
from gptune.study.places import Places, observations_of, searched
from gptune.study.records import TrialRecord
from gptune.study.samplers import View
from tests.study.drawing import complete, ended, play, points_of, spaces, view_of

Params = dict[str, Scalar]
SPACE: dict[str, Domain] = {
    "x": Float(-1.0, 1.0),
    "lr": Float(1e-4, 1.0, log=True),
    "n": Integer(1, 512, log=True),
    "share": Stepped(0.0, 0.5, 0.1),
    "kind": Categorical(("a", "b", 1, True)),
    "fixed": Fixed("only"),
}
EAGER = replace(STUDY, startup_trials=3)
PLANE: dict[str, Domain] = {"x": Float(-1.0, 1.0), "y": Float(0.0, 2.0)}
slow = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])


def number(params: Mapping[str, Scalar], name: str) -> float:
    return float(params[name])


def bowl(params: Mapping[str, Scalar]) -> float:
    return (number(params, "x") - 0.3) ** 2 + (number(params, "y") - 1.2) ** 2


def rough(params: Mapping[str, Scalar]) -> float:
    return float(len(repr(sorted(params.items()))) % 7)


def suggest(view: View, **rest: Any) -> Params:
    return dict(GaussianProcessSampler(EAGER, **rest).suggest(view).params)


def seen(view: View, monkeypatch: pytest.MonkeyPatch) -> list[Observation]:
    """Give what the Gaussian process is told of a study."""
    told: list[Observation] = []
    resume = Proposer.resume

    def watched(self: Any, state: Any) -> None:
        told.extend(state.observations)
        resume(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Proposer, "resume", watched)
        suggest(view)
    return told


# --- repeats ------------------------------------------------------------------------------


@given(spaces(3), st.integers(0, 99), st.integers(0, 7), st.data())
@slow
def test_the_same_view_has_the_same_suggestion_which_lies_in_its_domains(
    space: dict[str, Domain], seed: int, count: int, data: st.DataObject
) -> None:
    points = data.draw(st.lists(points_of(space), min_size=count, max_size=count))
    trials = [complete(i, point, rough(point)) for i, point in enumerate(points)]
    view = view_of(space, count, seed=seed, finished=trials)
    made = suggest(view)
    assert list(made) == list(space)
    assert all(holds(space[name], value) for name, value in made.items())
    assert suggest(view) == made


def history(count: int = 8, **rest: Any) -> list[TrialRecord]:
    return play(GaussianProcessSampler(EAGER), view_of(PLANE, **rest), count, bowl)


def test_what_is_remembered_travels_as_plain_text_to_the_last_bit() -> None:
    sampler, trials = GaussianProcessSampler(EAGER), history()
    view = view_of(PLANE, 8, finished=trials)
    memory = sampler.suggest(view).memory
    assert set(memory) == {"fitted", "dimension", "proposed"}
    later = [*trials, complete(8, {"x": 0.2, "y": 1.1}, 0.02)]
    mine = sampler.suggest(view_of(PLANE, 9, finished=later, memory=memory))
    text = json.loads(json.dumps(memory))
    other = GaussianProcessSampler(EAGER).suggest(view_of(PLANE, 9, finished=later, memory=text))
    assert other.params == mine.params
    assert json.dumps(other.memory) == json.dumps(mine.memory)


def test_a_fit_starts_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = history()
    memory = GaussianProcessSampler(EAGER).suggest(view_of(PLANE, 8, finished=trials)).memory
    begun: list[Any] = []
    monkeypatch.setattr(
        "gptune.core.proposer.fit", lambda data, form, fitted, **rest: begun.append(fitted)
    )
    suggest(view_of(PLANE, 8, finished=trials, memory=memory))
    suggest(view_of(PLANE, 8, finished=trials))
    assert [one and list(one.theta) for one in begun] == [list(memory["fitted"]["theta"]), None]


def test_a_study_repeats_from_its_seed_and_another_seed_does_not() -> None:
    one, same, other = history(7), history(7), history(7, seed=1)
    assert one == same
    assert [t.params for t in one] != [t.params for t in other]


GOOD = {"warp": "none", "theta": [0.0, 0.0, -3.0], "count": 3}


@pytest.mark.parametrize(
    "memory",
    [
        {"fitted": None, "dimension": 2},
        {"fitted": 3, "dimension": 2},
        {"fitted": [], "dimension": 2},
        {"fitted": {}, "dimension": 2},
        {"fitted": {**GOOD, "theta": None}, "dimension": 2},
        {"fitted": {**GOOD, "theta": ["a"]}, "dimension": 2},
        {"fitted": {**GOOD, "theta": [None, None, None]}, "dimension": 2},
        {"fitted": {**GOOD, "theta": []}, "dimension": 2},
        {"fitted": {**GOOD, "theta": [0.0]}, "dimension": 2},
        {"fitted": {**GOOD, "theta": [0.0] * 40}, "dimension": 2},
        {"fitted": {**GOOD, "theta": [math.nan] * 3}, "dimension": 2},
        {"fitted": {**GOOD, "theta": [math.inf] * 3}, "dimension": 2},
        {"fitted": {**GOOD, "theta": [1e300] * 3}, "dimension": 2},
        {"fitted": {**GOOD, "warp": "odd"}, "dimension": 2},
        {"fitted": {**GOOD, "count": -5}, "dimension": 2},
        {"fitted": {**GOOD, "count": "3"}, "dimension": 2},
        {"fitted": GOOD, "dimension": 3},
        {"fitted": GOOD},
        {"dimension": 2},
        {"odd": 1},
    ],
    ids=range(20),
)
def test_a_memory_that_makes_no_sense_is_no_harm(memory: dict[str, Any]) -> None:
    view = view_of(PLANE, 8, finished=history(), memory=memory)
    made = suggest(view)
    assert all(holds(PLANE[name], value) for name, value in made.items())


@pytest.mark.parametrize(
    "memory", [{"fitted": {}, "dimension": 2}, {"fitted": GOOD, "dimension": 3}, {"odd": 1}]
)
def test_a_memory_of_something_else_is_as_none(memory: dict[str, Any]) -> None:
    trials = history()
    without = suggest(view_of(PLANE, 8, finished=trials))
    assert suggest(view_of(PLANE, 8, finished=trials, memory=memory)) == without


@pytest.mark.parametrize("changed", [{"kernel": "rbf"}, {"warp": "none"}, {"acquisition": "ucb"}])
def test_a_study_goes_on_with_another_config(changed: dict[str, Any]) -> None:
    trials = history()
    memory = GaussianProcessSampler(EAGER).suggest(view_of(PLANE, 8, finished=trials)).memory
    sampler = GaussianProcessSampler(replace(EAGER, **changed))
    made = sampler.suggest(view_of(PLANE, 8, finished=trials, memory=memory)).params
    assert all(holds(PLANE[name], value) for name, value in made.items())


@pytest.mark.parametrize("count", [0, 8])
def test_torchs_own_chance_is_left_alone(count: int) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    suggest(view_of(PLANE, count, finished=history(count)))
    assert torch.equal(torch.random.get_rng_state(), before)


# --- inside what is allowed ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_every_kind_of_parameter_is_proposed_inside_its_domain(seed: int) -> None:
    trials = play(GaussianProcessSampler(EAGER), view_of(SPACE, seed=seed), 14, rough)
    for trial in trials:
        assert list(trial.params) == list(SPACE)
        assert all(holds(SPACE[name], value) for name, value in trial.params.items())
        kinds = [type(trial.params[name]) for name in ("x", "lr", "n", "share")]
        assert kinds == [float, float, int, float]


HEADS: dict[str, Domain] = {
    "d_model": Integer(16, 256),
    "heads": Categorical((1, 2, 3, 4, 6, 8, 12)),
    "lr": Float(1e-5, 1e-1, log=True),
}


def divides(params: Mapping[str, Scalar]) -> bool:
    return int(params["d_model"]) % int(params["heads"]) == 0


def error_of_heads(params: Mapping[str, Scalar]) -> float:
    size, heads = number(params, "d_model"), number(params, "heads")
    return (
        abs(math.log(size / 100))
        + (heads - 8) ** 2 / 9
        + (math.log10(number(params, "lr")) + 3) ** 2
    )


@pytest.mark.parametrize("seed", range(2))
def test_every_trial_meets_the_constraints(seed: int) -> None:
    view = view_of(HEADS, seed=seed, allowed=divides)
    trials = play(GaussianProcessSampler(EAGER), view, 24, error_of_heads)
    assert all(divides(trial.params) for trial in trials)
    assert min(trial.value or 0.0 for trial in trials[8:]) < 1.5


def test_a_constraint_on_what_is_fixed_or_stepped_sees_the_values_of_a_trial() -> None:
    space: dict[str, Domain] = {
        "batch": Stepped(32, 256, 32),
        "base": Fixed(64),
        "x": Float(0.0, 1.0),
    }
    asked: list[Params] = []

    def allowed(params: Mapping[str, Scalar]) -> bool:
        asked.append(dict(params))
        return int(params["batch"]) % int(params["base"]) == 0

    sampler = GaussianProcessSampler(EAGER)
    trials = play(sampler, view_of(space, allowed=allowed), 8, lambda p: number(p, "x"))
    assert all(int(trial.params["batch"]) % 64 == 0 for trial in trials)
    for params in asked:
        assert list(params) == list(space)
        assert all(holds(space[name], value) for name, value in params.items())


def test_a_narrow_constraint_is_met_by_chance_where_no_place_looked_at_meets_it() -> None:
    def allowed(params: Mapping[str, Scalar]) -> bool:
        return number(params, "x") > 0.99

    trials = play(GaussianProcessSampler(EAGER), view_of(PLANE, allowed=allowed), 6, bowl)
    assert all(allowed(trial.params) for trial in trials)


def test_a_space_with_nothing_to_search_is_what_is_fixed() -> None:
    made = GaussianProcessSampler().suggest(view_of({"a": Fixed(3)}))
    assert dict(made.params) == {"a": 3}
    assert dict(GaussianProcessSampler().suggest(view_of({})).params) == {}


# --- what is being tried, and what has failed ---------------------------------------------


@pytest.mark.parametrize("count", [0, 8])
def test_what_is_being_tried_is_not_proposed_again(count: int) -> None:
    trials = history(count)
    running: list[Params] = []
    for _ in range(5):
        made = suggest(view_of(PLANE, count, finished=trials, running=running))
        gaps = [
            math.dist([number(p, n) for n in PLANE], [number(made, n) for n in PLANE])
            for p in running
        ]
        assert all(gap > 1e-4 for gap in gaps)
        running.append(made)


def test_the_points_of_a_small_space_come_once_each_even_while_they_run() -> None:
    space: dict[str, Domain] = {"n": Integer(1, 4), "s": Stepped(0.0, 0.2, 0.1)}
    trials: list[TrialRecord] = []
    running: list[Params] = []
    for count in range(12):
        view = view_of(space, count, finished=trials, running=running)
        made = suggest(view)
        assert made not in running
        assert made not in [trial.params for trial in trials]
        if count % 2:
            trials.append(complete(len(trials), made, rough(made)))
        else:
            running.append(made)


AT: Params = {"x": 0.0, "y": 1.0}
THREE = [complete(i, {**AT, "x": i / 4}, float(i)) for i in range(3)]  # 0, 1, 2


@pytest.mark.parametrize(
    ("sign", "state", "reports", "wanted"),
    [
        (1.0, "failed", {}, 0.0),
        (-1.0, "failed", {}, -2.0),
        (1.0, "failed", {0: 9.0}, 0.0),
        (1.0, "pruned", {}, 0.0),
        (1.0, "pruned", {0: 9.0}, 1.0),  # no better than the middle
        (1.0, "pruned", {0: 9.0, 3: 0.25}, 0.25),
        (1.0, "pruned", {3: 0.25, 0: 9.0}, 0.25),
        (1.0, "pruned", {0: -7.0}, -7.0),
        (-1.0, "pruned", {0: 0.25}, -1.0),
        (-1.0, "pruned", {0: 7.0}, -7.0),
        (1.0, "pruned", {0: 0.5, 1: math.nan}, 0.0),
        (1.0, "pruned", {0: 0.5, 1: math.inf}, 0.0),
        (1.0, "pruned", {0: 0.5, 1: -math.inf}, 0.0),
    ],
)
def test_a_trial_that_has_failed_or_was_pruned_counts_as_a_bad_one(
    sign: float,
    state: str,
    reports: dict[int, float],
    wanted: float,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last = ended(3, {**AT, "y": 2.0}, state, reports=reports)
    told = seen(view_of(PLANE, 4, sign=sign, finished=[*THREE, last]), monkeypatch)
    assert [one.value for one in told] == [0.0, sign, 2 * sign, wanted]
    assert told[3].point == {**AT, "y": 2.0}
    assert [one.number for one in told] == [0, 1, 2, 3]


def test_failures_alone_say_nothing_and_are_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [ended(i, {**AT, "x": i / 9}, "failed") for i in range(9)]
    view = view_of(PLANE, 9, finished=trials)
    assert seen(view, monkeypatch) == []
    assert all(holds(PLANE[name], value) for name, value in suggest(view).items())


def test_a_trial_without_parameters_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [*THREE, ended(3, {}, "failed"), complete(4, {}, 99.0)]
    assert len(seen(view_of(PLANE, 5, finished=trials), monkeypatch)) == 3


def test_where_trials_fail_fewer_are_made() -> None:
    def play_once(seed: int) -> list[Params]:
        trials: list[TrialRecord] = []
        for i in range(20):
            made = suggest(view_of(PLANE, i, seed=seed, finished=trials))
            fails = number(made, "x") > 0.0
            trials.append(ended(i, made, "failed") if fails else complete(i, made, bowl(made)))
        return [trial.params for trial in trials[8:]]

    late = [number(params, "x") for seed in range(2) for params in play_once(seed)]
    assert sum(x > 0.2 for x in late) < len(late) / 4  # its share by chance would be 40 %


def test_known_noise_is_told_of_complete_trials_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [replace(THREE[0], noise=0.25), *THREE[1:], ended(3, AT, "failed", noise=0.5)]
    told = seen(view_of(PLANE, 4, finished=trials), monkeypatch)
    assert [one.noise for one in told] == [0.25, None, None, None]


@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e12, math.nan, math.inf, -1.0])
def test_any_noise_is_borne(noise: float) -> None:
    trials = [replace(trial, noise=noise) for trial in history()]
    made = GaussianProcessSampler(EAGER).suggest(view_of(PLANE, 8, finished=trials))
    assert all(holds(PLANE[name], value) for name, value in made.params.items())
    assert "fitted" in made.memory  # the model took part


@given(st.lists(st.floats(-1e308, 1e308), min_size=4, max_size=9))
@slow
def test_any_values_are_borne(values: list[float]) -> None:
    points = [{"x": -1 + i / 5, "y": (i * i % 7) / 4} for i in range(len(values))]
    trials = [complete(i, dict(p), v) for i, (p, v) in enumerate(zip(points, values, strict=True))]
    made = suggest(view_of(PLANE, len(trials), finished=trials))
    assert all(holds(PLANE[name], value) for name, value in made.items())


# --- parameters that come and go ----------------------------------------------------------


def test_a_parameter_that_a_trial_did_not_have_lies_in_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trials = [complete(0, {"kind": "b"}, 0.0), complete(1, {"x": 0.5, "n": 4, "share": 0.5}, 1.0)]
    told = seen(view_of(SPACE, 3, finished=trials), monkeypatch)
    assert told[0].point["kind"] == "b"
    assert told[0].point["x"] == 0.0
    assert told[0].point["lr"] == pytest.approx(0.01)
    assert told[1].point["share"] == 5  # steps
    assert set(told[0].point) == set(told[1].point) == set(SPACE) - {"fixed"}


def test_a_parameter_that_a_trial_did_not_have_lies_where_it_was_proposed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proposed = {"x": 0.25, "kind": "a", "n": 7, "share": 0.3}
    trials = [
        complete(0, {"kind": "b"}, 0.0, memory={"proposed": proposed}),
        complete(1, {"x": 0.5, "share": 0.1}, 1.0, memory={"proposed": {**proposed, "n": 9999}}),
    ]
    told = seen(view_of(SPACE, 3, finished=trials), monkeypatch)
    assert told[0].point == {"x": 0.25, "lr": told[0].point["lr"], "n": 7, "share": 3, "kind": "b"}
    assert told[1].point["share"] == 1
    assert told[1].point["n"] not in (7, 9999)  # it has left its domain: the middle
    assert told[1].point["kind"] == "a"


@pytest.mark.parametrize("proposed", [None, 3, [], "x", {"x": None}, {"x": [0.1]}, {"odd": {}}])
def test_a_proposal_that_makes_no_sense_is_no_harm(
    proposed: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [*THREE, complete(3, {"y": 1.5}, 1.0, memory={"proposed": proposed})]
    told = seen(view_of(PLANE, 4, finished=trials), monkeypatch)
    assert told[3].point == {"x": 0.0, "y": 1.5}


def test_a_value_that_left_its_domain_lies_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [complete(0, {"x": 5.0, "y": 1.5}, 0.0), complete(1, {"x": "a", "y": 0.5}, 0.0)]
    told = seen(view_of(PLANE, 3, finished=trials), monkeypatch)
    assert [one.point for one in told] == [{"x": 0.0, "y": 1.5}, {"x": 0.0, "y": 0.5}]


def test_conditional_parameters_are_searched_together() -> None:
    def score(params: Params) -> float:
        return abs(number(params, "depth") - 9) / 10 if params["kind"] == "deep" else 4.0

    space: dict[str, Domain] = {"kind": Categorical(("flat", "deep")), "depth": Integer(1, 40)}
    trials: list[TrialRecord] = []
    for i in range(18):
        made = suggest(view_of(space, i, finished=trials))
        kept: Params = made if made["kind"] == "deep" else {"kind": "flat"}
        trials.append(complete(i, kept, score(made), memory={"proposed": made}))
    assert min(trial.value or 0.0 for trial in trials) <= 0.2


# --- finds the best -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_bottom_of_a_bowl_is_found_in_25_trials(seed: int, sign: float) -> None:
    view = view_of(PLANE, seed=seed, sign=sign)
    trials = play(GaussianProcessSampler(), view, 25, lambda p: -sign * bowl(p))
    best = min(trials, key=lambda trial: bowl(trial.params))
    assert math.dist([number(best.params, n) for n in PLANE], [0.3, 1.2]) < 0.02


def test_a_criterion_of_ones_own_is_used() -> None:
    def corner(model: Any, best: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: x.sum((-1, -2))

    made = suggest(view_of(PLANE, 8, finished=history()), acquisition=corner)
    assert made == pytest.approx({"x": 1.0, "y": 2.0}, abs=0.2)


# --- many trials --------------------------------------------------------------------------


@given(st.integers(4, 9), st.integers(0, 30), st.integers(0, 999))
@settings(deadline=None, max_examples=40)
def test_of_too_many_trials_the_newest_and_the_best_are_kept(
    limit: int, count: int, salt: int
) -> None:
    values = [float((i * 7919 + salt) % 101) for i in range(count)]
    trials = [complete(i, {**AT, "x": i / 40}, value) for i, value in enumerate(values)]
    view = view_of(PLANE, count, finished=trials)
    told = observations_of(view, Places(PLANE, searched(PLANE)), limit)
    assert len(told) == min(limit, count)
    assert [one.number for one in told] == list(range(len(told)))
    kept = [round(float(one.point["x"]) * 40) for one in told]
    assert kept == sorted(set(kept))
    if count > limit:
        best = sorted(values)[: limit // 2]
        assert sorted(values[i] for i in kept)[: limit // 2] == best
        newest = range(count - (limit - limit // 2), count)
        assert set(newest) <= set(kept)


def test_more_trials_than_are_kept_are_no_harm() -> None:
    sampler = GaussianProcessSampler(replace(EAGER, max_observations=5))
    trials = play(sampler, view_of(PLANE), 16, bowl)
    assert len(trials) == 16
    assert min(bowl(trial.params) for trial in trials) < 0.2
