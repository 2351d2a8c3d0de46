"""Evolving a recipe: towards what was accepted, never beyond the base, and every result valid."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune import Tuner, evolve_recipe
from gptune.configs import Group, Mutation, Recipe
from gptune.configs.knobs import NEUTRAL
from gptune.errors import RecipeError
from gptune.recipe.evolve import evolve
from gptune.records import show
from tests.cli.runs import make_run
from tests.doubles import FakeKnob
from tests.strategies import mutations

PHASES = ("early", "mid", "late")
NEAR = 1e-4  # centers and bounds are written with six digits


def told(mean: float | None = 2.0, spread: float | None = 0.1, **more: Any) -> dict[str, Any]:
    return {"judged": 3, "accepted": 2, "mean": mean, "spread": spread, **more}


def summary(phases: dict[str, Any], family: str = "opt.lr") -> dict[str, Any]:
    return {"version": 1, "families": {family: phases}}


def recipe_of(mutation: Mutation) -> Recipe:
    return Recipe(actuators={"opt": Group(mutations={"lr": mutation})})


def learnt(mutation: Mutation, *runs: dict[str, Any], alpha: float = 0.3) -> Mutation:
    summaries = [summary(phases) for phases in runs]
    return evolve_recipe(recipe_of(mutation), summaries, alpha).mutations()["opt.lr"]


def centers(mutation: Mutation) -> dict[str, float]:
    assert isinstance(mutation.prior_center, dict)
    return mutation.prior_center


def place(mutation: Mutation, move: float) -> float:
    return math.log(move) if mutation.mode == "mult" else move


@st.composite
def learned(draw: st.DrawFn) -> tuple[Mutation, list[dict[str, Any]], float]:
    """Draw a knob, what some runs accepted of it within its bounds, and alpha."""
    mutation = draw(mutations())
    low, high = mutation.bounds or ((1e-2, 1e2) if mutation.mode == "mult" else (-10.0, 10.0))
    entry = st.fixed_dictionaries(
        {"mean": st.floats(low, high), "spread": st.floats(0.0, 2.0) | st.none()}
    )
    phases = st.dictionaries(st.sampled_from(PHASES), entry, min_size=1)
    runs = draw(st.lists(phases, min_size=1, max_size=4))
    return mutation, runs, draw(st.floats(0.01, 1.0))


@given(learned())
def test_the_result_is_valid_and_never_beyond_the_base(drawn: Any) -> None:
    mutation, runs, alpha = drawn
    recipe = evolve_recipe(recipe_of(mutation), [summary(run) for run in runs], alpha)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    new = recipe.mutations()["opt.lr"]
    assert set(centers(new)) == set(PHASES)
    if mutation.bounds is None or new.bounds is None:
        assert new.bounds is mutation.bounds is None
        return
    assert mutation.bounds[0] <= new.bounds[0] < new.bounds[1] <= mutation.bounds[1]
    assert all(new.bounds[0] <= center <= new.bounds[1] for center in centers(new).values())
    if mutation.mode in NEUTRAL:
        assert new.bounds[0] <= NEUTRAL[mutation.mode] <= new.bounds[1]
    else:
        assert new.bounds == mutation.bounds, "the value at attach must stay inside"


@given(learned())
def test_only_center_bounds_and_step_are_touched(drawn: Any) -> None:
    mutation, runs, alpha = drawn
    base = recipe_of(mutation)
    recipe = evolve_recipe(base, [summary(run) for run in runs], alpha)
    new = recipe.mutations()["opt.lr"]
    same = {"bounds": mutation.bounds, "prior_center": mutation.prior_center}
    assert replace(new, max_step=mutation.max_step, **same) == mutation
    assert replace(recipe, actuators=base.actuators) == base


@given(learned())
def test_one_move_from_no_change_reaches_every_center(drawn: Any) -> None:
    mutation, runs, alpha = drawn
    assume(mutation.mode in NEUTRAL)
    new = learnt(mutation, *runs, alpha=alpha)
    still = place(mutation, NEUTRAL[mutation.mode])
    step = place(mutation, new.max_step or (2.0 if mutation.mode == "mult" else math.inf))
    if new.max_step is None and new.bounds is not None and mutation.mode == "delta":
        step = (new.bounds[1] - new.bounds[0]) / 4
    base = place(mutation, mutation.max_step or (2.0 if mutation.mode == "mult" else math.inf))
    if mutation.max_step is None and new.bounds is not None and mutation.mode == "delta":
        base = (new.bounds[1] - new.bounds[0]) / 4
    at_most = step >= 2 * base * (1 - 1e-3)  # it doubles, on the knob's scale, and no more
    assert at_most or all(abs(place(mutation, c) - still) <= step for c in centers(new).values())
    assert step <= 2 * base * (1 + 1e-3)
    assert new.max_step is None or new.max_step >= (mutation.max_step or 0.0)


@given(learned())
def test_alpha_1_gives_what_the_last_run_accepted(drawn: Any) -> None:
    mutation, runs, _ = drawn
    new = centers(learnt(mutation, *runs, alpha=1.0))
    for phase, entry in runs[-1].items():
        # exactly, but for six digits
        assert new[phase] == pytest.approx(entry["mean"], rel=NEAR, abs=NEAR)


@given(learned())
def test_a_center_moves_towards_the_mean_and_never_past_it(drawn: Any) -> None:
    mutation, runs, alpha = drawn
    assume(mutation.mode in NEUTRAL)
    neutral = NEUTRAL[mutation.mode]
    for phase, entry in runs[0].items():
        old = mutation.center_in(phase)
        begin = place(mutation, neutral if old is None else old)
        end = place(mutation, entry["mean"])
        steps = [
            place(mutation, centers(learnt(mutation, *[{phase: entry}] * n, alpha=alpha))[phase])
            for n in (1, 2, 3)
        ]
        ways = [abs(at - begin) for at in (begin, *steps, end)]
        slack = NEAR * (1.0 + abs(begin) + abs(end))
        assert all(one <= next_one + slack for one, next_one in pairwise(ways))
        assert min(begin, end) - slack <= min(steps)
        assert max(steps) <= max(begin, end) + slack


@given(learned())
def test_bounds_hold_what_every_run_accepted(drawn: Any) -> None:
    mutation, runs, alpha = drawn
    new = learnt(mutation, *[runs[-1]] * 3, alpha=alpha)
    if new.bounds is not None:
        for mean in (entry["mean"] for entry in runs[-1].values()):
            slack = NEAR * abs(mean)
            assert new.bounds[0] - slack <= mean <= new.bounds[1] + slack


@pytest.mark.parametrize(
    "phases",
    [
        {},
        {"early": {"judged": 4, "accepted": 0, "mean": None, "spread": None}},
        {"early": {"judged": 4, "accepted": 4, "scale": "choice", "choices": {"a": 4}}},
        {"warmup": told()},
        {"early": told(scale="linear")},
        {"early": told(mean=-2.0)},
    ],
    ids=["no trials", "none accepted", "a choice", "another phase", "another scale", "no ratio"],
)
def test_what_says_nothing_of_this_knob_changes_nothing(phases: dict[str, Any]) -> None:
    base = Recipe()
    recipe, said = evolve(base, [summary(phases)] * 2, 0.5)
    assert recipe == base
    assert said == ("actuators.opt.mutations.lr: unchanged; 0 of 2 runs accepted a move of it",)


def test_without_runs_or_knobs_nothing_changes() -> None:
    assert evolve_recipe(Recipe(), []) == Recipe()
    assert evolve_recipe(Recipe(), [summary({"mid": told()}, "loss.aux")]) == Recipe()
    recipe, said = evolve(Recipe(actuators={}), [summary({"mid": told()})])
    assert recipe == Recipe(actuators={})
    assert said == ("opt.lr: left out, the base does not name it; gptune recipe export does",)


def test_a_group_that_is_off_stays_off_and_keys_are_learnt_too() -> None:
    base = Recipe(
        actuators={"loss": Group(enabled=False, keys={"aux": Mutation(bounds=(0.5, 8.0))})}
    )
    recipe = evolve_recipe(base, [summary({"mid": told()}, "loss.aux")], 1.0)
    assert not recipe.actuators["loss"].enabled
    assert centers(recipe.actuators["loss"].keys["aux"])["mid"] == 2.0


def test_the_example_of_the_page_by_hand() -> None:
    mutation = Mutation(bounds=(0.01, 100.0), max_step=2.0)
    new = learnt(mutation, {"early": told(8.0, 0.0), "late": told(2.0, 0.0)}, alpha=0.5)
    # on a log scale; two accepted moves each: a quarter of the way is left; the phase in between
    # borrows all four, around 4: a sixteenth is left
    assert centers(new) == {"early": 4.75683, "mid": 3.66802, "late": 1.68179}
    # to a step below no change (.5), and a step above the highest mean (16): half way each
    assert new.bounds == pytest.approx((math.sqrt(0.01 * 0.5), math.sqrt(100.0 * 16.0)), rel=NEAR)
    assert new.max_step == 4.0, "to reach 4.76 is wanted, but the square is the most"


def test_bounds_widen_again_when_a_later_run_needs_it() -> None:
    mutation = Mutation(bounds=(0.01, 100.0), max_step=2.0)
    near, far = {"mid": told(1.0, 0.0)}, {"mid": told(50.0, 0.0)}
    narrow, wide = learnt(mutation, near, alpha=0.8), learnt(mutation, near, far, alpha=0.8)
    assert narrow.bounds is not None
    assert wide.bounds is not None
    assert narrow.bounds[1] < wide.bounds[1] <= 100.0


def test_every_change_is_explained_by_its_path() -> None:
    recipe, said = evolve(Recipe(), [summary({"early": told(4.0)}), summary({})], 0.5)
    path = "actuators.opt.mutations.lr"
    assert said[0] == (
        f"{path}.prior_center.early: 1 -> 2.828; 1 of 2 runs accepted moves of it in this phase, "
        "around 4"
    )
    assert said[1].endswith("no run accepted moves of it in this phase, so the other phases count")
    low, high = map(show, recipe.mutations()["opt.lr"].bounds or ())
    assert said[3] == (
        f"{path}.bounds: [0.01, 100] -> [{low}, {high}]; towards what 1 of 2 runs accepted"
    )
    assert said[4] == f"{path}.max_step: 2 -> 2.828; one move shall reach the prior centers"
    assert len(said) == 5


BAD: list[tuple[Any, str]] = [
    ({}, "needs families"),
    (None, "needs families"),
    ([1], "needs families"),
    ({"families": []}, "families: Expected `object`, got `array`"),
    ({"families": {"opt.lr": 3}}, r"families\.opt\.lr: Expected `object`, got `int`"),
    ({"families": {"opt.lr": {"mid": 3}}}, r"families\.opt\.lr\.mid: Expected `object`"),
    (summary({"mid": told(mean="2")}), r"families\.opt\.lr\.mid: Expected `float \| null`.*mean"),  # type: ignore[arg-type]
    (summary({"mid": told(mean=True)}), r"families\.opt\.lr\.mid: Expected `float \| null`.*mean"),
    (summary({"mid": told(mean=math.nan)}), r"families\.opt\.lr\.mid: mean must be finite"),
    (summary({"mid": told(mean=math.inf)}), r"families\.opt\.lr\.mid: mean must be finite"),
    (summary({"mid": told(mean=10**400)}), r"families\.opt\.lr\.mid: "),
    (summary({"mid": told(spread=math.inf)}), r"families\.opt\.lr\.mid: spread must be finite"),
    (summary({"late": told()}, "loss.x") | {"families": {1: {}}}, "families: Expected `str`"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_summary_that_is_none_is_refused_by_name(wrong: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=rf"^summaries\[1\](: |\.){message}"):
        evolve_recipe(Recipe(), [summary({}), wrong])


@given(st.floats() | st.integers() | st.booleans() | st.text(max_size=2) | st.none())
def test_alpha_lies_in_its_range(alpha: Any) -> None:
    good = not isinstance(alpha, bool | str) and alpha is not None and 0 < alpha <= 1
    assume(not good)
    with pytest.raises(RecipeError, match=r"^alpha: must lie in \(0, 1\], got "):
        evolve_recipe(Recipe(), [], alpha)


def test_extremes_end_in_a_recipe_all_the_same() -> None:
    wild = [{"mid": told(mean, spread)} for mean in (5e-324, 1e308) for spread in (0.0, 1e308)]
    for mode in ("mult", "delta", "set"):
        mutation = Mutation(mode=mode, bounds=(0.5 if mode == "mult" else -3.0, 4.0))
        for entry in wild:
            new = learnt(mutation, entry, alpha=1.0)
            assert new.bounds is not None
            assert mutation.bounds is not None
            assert mutation.bounds[0] <= new.bounds[0] < new.bounds[1] <= mutation.bounds[1]


def test_real_runs_are_learnt_from_and_the_result_tunes_the_next(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path / str(seed), 30)
    runs: list[Path | str] = [tmp_path / "0", str(tmp_path / "1")]
    recipe = evolve_recipe(Recipe(), runs)
    assert recipe != Recipe()
    recipe.save(tmp_path / "next.yaml")
    assert Recipe.load(tmp_path / "next.yaml") == recipe
    with Tuner(
        [FakeKnob("opt.lr")], recipe=tmp_path / "next.yaml", run_dir=tmp_path / "run"
    ) as tuner:
        assert tuner.recipe == recipe
    with pytest.raises(RecipeError, match=r"^summaries\[1\]: '.*none' holds no events\.jsonl"):
        evolve_recipe(Recipe(), [tmp_path / "0", tmp_path / "none"])


@pytest.mark.parametrize("count", [-3, 10**400, 1.5])
def test_a_count_that_is_none_is_refused(count: Any) -> None:
    entry = {"mid": told() | {"accepted": count}}
    with pytest.raises(RecipeError, match=r"families\.opt\.lr\.mid: "):
        evolve_recipe(Recipe(), [summary(entry)])


def test_nothing_accepted_is_no_evidence() -> None:
    assert evolve_recipe(Recipe(), [summary({"mid": told() | {"accepted": 0}})]) == Recipe()


def test_bounds_that_rounding_would_close_stay_as_they_are() -> None:
    tight = Mutation(mode="delta", bounds=(-1e-9, 1.0), max_step=1e-12)
    made = learnt(tight, {"mid": told(0.0, 0.0)}, alpha=1.0)
    assert made.bounds is not None
    assert made.bounds[0] < made.bounds[1]
