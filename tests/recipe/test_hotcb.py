"""A recipe of hotcb's becomes one of gptune's, and nothing changes without a sentence."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.configs import Mode, Mutation, Recipe
from gptune.configs.text import parse
from gptune.errors import RecipeError
from gptune.recipe.hotcb import import_hotcb, load_hotcb

WILD = """
version: 1
objective: {primary: val/loss, mode: min, backup_metrics: [grad/norm]}
phases: {early: {start_frac: 0.0, end_frac: 0.2}, mid: {start_frac: 0.2, end_frac: 0.7},
         late: {start_frac: 0.7, end_frac: 1.0}}
actuators:
  opt: {enabled: true, mutations: {lr_mult: {bounds: [0.7, 1.2], prior_center: 0.95, cooldown: 2,
                                             risk: low}}}
  loss: {enabled: true, keys: {sp_mse_w: {mode: mult, bounds: [0.5, 2.0], cooldown: 1}}}
search: {algorithm: tpe, startup_trials: 8}
acceptance: {epsilon: 0.001, horizon: next_val_epoch_end, rollback_on_reject: true}
safety: {block_on_nan: true, block_on_anomaly: true, max_global_reject_streak: 4}
"""


def wild() -> dict[str, Any]:
    data: dict[str, Any] = parse(WILD, "wild.yaml")
    return data


def knob(name: str, *, kind: str = "mutations", **fields: Any) -> tuple[Mutation, tuple[str, ...]]:
    """Import one knob; gives it and what was said of it."""
    recipe, changes = import_hotcb({"actuators": {"opt": {kind: {name: fields}}}})
    (made,) = recipe.mutations().values()
    return made, tuple(change for change in changes if change.startswith("actuators."))


def test_the_recipe_of_the_wild_is_read() -> None:
    recipe, changes = import_hotcb(wild())
    assert recipe == Recipe.from_dict(
        {
            "objective": {"primary": "val/loss", "mode": "min", "backup_metrics": ["grad/norm"]},
            "actuators": {
                "opt": {
                    "mutations": {
                        "lr": {
                            "bounds": [0.7**3, 1.2**3],
                            "max_step": 1 / 0.7,
                            "prior_center": 0.95,
                            "cooldown": 2,
                        }
                    }
                },
                "loss": {"keys": {"sp_mse_w": {"bounds": [0.125, 8.0], "max_step": 2.0}}},
            },
            "search": {"algorithm": "gp", "startup_trials": 8},
            "acceptance": {"reference": "last", "horizon": "next_val_epoch_end"},
        }
    )
    lr = "actuators.opt.mutations.lr_mult"
    assert changes == (
        "mode: is active; hotcb waits to be enabled, as mode: observe would",
        f"{lr}: is called lr here",
        f"{lr}.bounds: [0.7, 1.2] limit one change there: here they are max_step 1.42857, and "
        "bounds [0.343, 1.728], 3 such changes, limit all together",
        f"{lr}.prior_center: is where the first proposal lies, not the middle of every change",
        "actuators.loss.keys.sp_mse_w.bounds: [0.5, 2] limit one change there: here they are "
        "max_step 2, and bounds [0.125, 8], 3 such changes, limit all together",
        "search.algorithm: tpe becomes gp",
        "acceptance: reference is last, hotcb's rule; forecast judges better",
        "guard, calibration and whatever else hotcb has no word for: is the default",
    )


def test_what_is_read_is_left_as_it_was() -> None:
    data = wild()
    before = copy.deepcopy(data)
    import_hotcb(data)
    assert data == before


ends = st.floats(1e-30, 1e30)


@given(ends, ends)
@settings(deadline=None)
def test_one_change_of_hotcbs_is_one_step_and_three_reach_the_bounds(a: float, b: float) -> None:
    low, high = sorted((a, b))
    if low == high:
        return
    made, _ = knob("lr_mult", bounds=[low, high])
    assert made.bounds is not None
    assert made.max_step == max(high, 1 / low) > 1
    assert made.bounds == (min(low, 1.0) ** 3, max(high, 1.0) ** 3)
    assert made.bounds[0] <= 1 <= made.bounds[1]


@given(st.floats(-1e99, 1e99), st.floats(-1e99, 1e99))
@settings(deadline=None)
def test_differences_add_up_likewise(a: float, b: float) -> None:
    low, high = sorted((a, b))
    if low == high:
        return
    made, _ = knob("margin_delta", bounds=[low, high])
    assert made.mode == "delta"
    assert made.max_step == max(abs(low), abs(high))
    assert made.bounds == (3 * min(low, 0.0), 3 * max(high, 0.0))


def test_values_keep_their_bounds() -> None:
    made, changes = knob("lr_set", bounds=[1e-5, 1e-2], prior_center=1e-3)
    assert (made.mode, made.bounds, made.max_step) == ("set", (1e-5, 1e-2), None)
    assert made.prior_center == 1e-3
    assert "at most a quarter" in changes[1]


@pytest.mark.parametrize(
    ("there", "here", "way"),
    [
        ("lr_mult", "lr", "mult"),
        ("lr_set", "lr", "set"),
        ("wd_mult", "weight_decay", "mult"),
        ("wd_set", "weight_decay", "set"),
        ("wd", "weight_decay", "mult"),
        ("momentum_mult", "momentum", "mult"),
        ("weight_decay_delta", "weight_decay", "delta"),
        ("eps_mult", "eps", "mult"),
        ("temperature", "temperature", "mult"),
        ("_mult", "_mult", "mult"),
        ("data_set_size", "data_set_size", "mult"),
    ],
)
def test_the_name_of_a_mutation_says_what_moves_and_how(there: str, here: str, way: str) -> None:
    recipe, changes = import_hotcb({"actuators": {"opt": {"mutations": {there: {}}}}})
    ((name, made),) = recipe.mutations().items()
    assert (name, made.mode) == (f"opt.{here}", way)
    said = f"actuators.opt.mutations.{there}: is called {here} here" in changes
    assert said == (here != there)


@pytest.mark.parametrize("name", ["wd", "lr_mult", "sp_mse_w"])
def test_the_name_of_a_loss_is_the_users_own(name: str) -> None:
    recipe, changes = import_hotcb({"actuators": {"loss": {"keys": {name: {"mode": "delta"}}}}})
    assert recipe.mutations()[f"loss.{name}"].mode == "delta"
    assert not any("is called" in change for change in changes)


def test_two_mutations_of_one_knob_are_refused() -> None:
    both: dict[str, Any] = {"lr_mult": {}, "lr_set": {}}
    with pytest.raises(RecipeError, match=r"^actuators\.opt\.mutations\.lr_set: is called lr"):
        import_hotcb({"actuators": {"opt": {"mutations": both}}})


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("lr_mult", {"mode": "set"}, ".mode: is mult, as the name says, not set"),
        ("lr_mult", {"max_step_mult": 1.1}, ".max_step_mult: is heeded by max_step"),
        ("lr_set", {"max_step_mult": 1.1}, ".max_step_mult: is a ratio and is left out"),
        ("lr_mult", {"prior_center": 9.0}, ".prior_center: 9 lies outside of the bounds"),
        ("lr_mult", {"prior_center": float("nan")}, ".prior_center: nan lies outside of the"),
        ("lr_mult", {"prior_center": 1.5}, ".prior_center: is where the first proposal lies"),
    ],
)
def test_each_change_has_its_sentence(name: str, fields: dict[str, Any], sentence: str) -> None:
    _, changes = knob(name, **fields)
    assert sum(change.startswith(f"actuators.opt.mutations.{name}{sentence}") for change in changes)


def test_what_stays_as_it_is_needs_no_sentence() -> None:
    _, changes = knob("sp_w", kind="keys", bounds=[0.5, 2.0], prior_center=1.0, mode="mult")
    assert len(changes) == 1  # of the bounds


def test_the_smaller_of_two_steps_holds() -> None:
    assert knob("lr_mult", bounds=[0.5, 2.0], max_step_mult=1.1)[0].max_step == 1.1
    assert knob("lr_mult", bounds=[0.9, 1.1], max_step_mult=3.0)[0].max_step == 1 / 0.9


def test_a_pair_of_values_is_left_out() -> None:
    opt = {"mutations": {"betas_set": {"bounds": [0.8, 0.99]}, "lr_mult": {}}}
    recipe, changes = import_hotcb({"actuators": {"opt": opt}})
    assert list(recipe.mutations()) == ["opt.lr"]
    assert any(c.startswith("actuators.opt.mutations.betas_set: ") for c in changes)


def test_a_group_that_is_off_stays_off() -> None:
    data = wild()
    data["actuators"]["opt"]["enabled"] = False
    assert list(import_hotcb(data)[0].mutations()) == ["loss.sp_mse_w"]


@pytest.mark.parametrize(
    ("there", "here"), [("tpe", "gp"), ("random", "random"), ("gp", "gp"), ("cma", "gp")]
)
def test_what_searches(there: str, here: str) -> None:
    recipe, changes = import_hotcb({"search": {"algorithm": there}})
    assert recipe.search.algorithm == here
    assert (f"search.algorithm: {there} becomes {here}" in changes) == (there != here)


def test_its_defaults_are_hotcbs() -> None:
    recipe, changes = import_hotcb({})
    assert (recipe.search.startup_trials, recipe.search.algorithm) == (8, "gp")
    assert recipe.objective.backup_metrics == ()
    assert recipe.phases == Recipe().phases
    assert recipe.actuators == Recipe().actuators
    assert "actuators: none are given, so the default holds: opt.lr moves" in changes
    assert import_hotcb({"actuators": {}})[0].mutations() == {}


def test_fields_without_a_counterpart_are_named() -> None:
    _, changes = import_hotcb({"search": {"candidate_count": 24, "phase_conditioned": True}})
    for name in ("candidate_count", "phase_conditioned"):
        assert f"search.{name}: has no counterpart and is left out" in changes


@pytest.mark.parametrize(
    ("tune", "mode"),
    [
        ("{enabled: true, mode: active}", Mode.ACTIVE),
        ("{enabled: true, mode: suggest}", Mode.SUGGEST),
        ("{enabled: false, mode: active}", Mode.OFF),
        ("{enabled: false}", Mode.OFF),
        ("{mode: observe}", Mode.OBSERVE),
        ("{mode: off}", Mode.OFF),
        ("{}", Mode.ACTIVE),
    ],
)
def test_the_section_of_a_larger_file_says_the_mode(tune: str, mode: Mode) -> None:
    text = f"callbacks: {{a: {{enabled: true}}}}\ntune: {tune}\n{WILD}"
    recipe, changes = import_hotcb(parse(text, "hotcb.yaml"))
    assert recipe.mode is mode
    assert recipe.mutations() == import_hotcb(wild())[0].mutations()
    assert changes[:2] == (
        "callbacks: belongs to another part of hotcb and is left out",
        f"tune: is mode: {mode} here",
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "recipe: must be a mapping"),
        ([], "recipe: must be a mapping"),
        ({"saftey": {}}, "saftey: unknown key; did you mean 'safety'?"),
        ({"callbacks": {}}, "callbacks: unknown key; "),
        ({"version": 2}, "version: "),
        ({"tune": {"mode": "ACTIVE"}}, "tune.mode: must be off or observe"),
        ({"tune": {"enabled": "yes"}}, "tune.enabled: "),
        ({"tune": None}, "tune: must be a mapping"),
        ({"objective": {"mode": "maximise"}}, "objective.mode: must be min or max"),
        ({"objective": {"primary": ""}}, "objective.primary: "),
        ({"phases": {"a": {"end_frac": 0.5}}}, "phases: must tile [0, 1]"),
        ({"actuators": {"opt": {"mutation": {}}}}, "actuators.opt.mutation: unknown key; did you"),
        ({"search": {"startup_trials": -1}}, "search.startup_trials: "),
        ({"search": {"algorithm": 1}}, "search.algorithm: "),
        ({"acceptance": {"horizon": "epoch"}}, "acceptance.horizon: "),
        ({"acceptance": {"epsilon": "0.1"}}, "acceptance.epsilon: "),
        ({"acceptance": {"epsilon": -1.0}}, "acceptance.epsilon: "),
        ({"safety": {"max_global_reject_streak": 0}}, "safety.max_global_reject_streak: "),
    ],
)
def test_what_hotcb_has_no_word_for_is_refused(data: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        import_hotcb(data)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("lr_mult", "bound", [0.5, 2.0]),
        ("lr_mult", "bounds", [2.0, 0.5]),
        ("lr_mult", "bounds", [1.0, 1.0]),
        ("lr_mult", "bounds", [0.0, 2.0]),
        ("lr_mult", "bounds", [1e-200, 2.0]),
        ("lr_mult", "bounds", [0.5, 1e200]),
        ("lr_delta", "bounds", [-1e308, 1e308]),
        ("lr_set", "bounds", [float("nan"), 1.0]),
        ("lr_mult", "bounds", ["0.5", 2.0]),
        ("lr_mult", "cooldown", -1),
        ("lr_mult", "risk", "extreme"),
        ("lr_mult", "mode", "multiply"),
        ("lr_mult", "max_step_mult", 1.0),
        ("lr_mult", "max_step_mult", float("inf")),
        ("lr_mult", "prior_center", "1"),
    ],
)
def test_an_error_names_the_path_in_hotcbs_file(name: str, field: str, value: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        knob(name, **{field: value})
    assert str(caught.value).startswith(f"actuators.opt.mutations.{name}.{field}: ")


def test_a_file_is_read_likewise(tmp_path: Path) -> None:
    (tmp_path / "hotcb.yaml").write_text(WILD)
    assert load_hotcb(tmp_path / "hotcb.yaml") == import_hotcb(wild())


@pytest.mark.parametrize(
    ("text", "message"),
    [("saftey: {}", "saftey: unknown key"), ("a: [", "line 1, column 5: is not YAML")],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hotcb.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_hotcb(path)
    assert str(caught.value).startswith(f"{path}: {message}")
