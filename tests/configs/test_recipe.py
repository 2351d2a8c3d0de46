"""The recipe: what goes in comes out, what is wrong is named, phases tile the run."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gptune.configs import Mode, Mutation, Recipe
from gptune.configs.text import parse
from gptune.errors import RecipeError
from tests.strategies import recipes

DESIGN: dict[str, Any] = {  # section 13 of the design: the defaults, spelled out
    "version": 1,
    "mode": "active",
    "objective": {"primary": "val/loss", "mode": "min", "backup_metrics": ["grad/norm"]},
    "phases": {
        "early": {"start_frac": 0.0, "end_frac": 0.2},
        "mid": {"start_frac": 0.2, "end_frac": 0.7},
        "late": {"start_frac": 0.7, "end_frac": 1.0},
    },
    "actuators": {
        "opt": {
            "enabled": True,
            "mutations": {
                "lr": {
                    "mode": "mult",
                    "bounds": [0.01, 100.0],
                    "max_step": 2.0,
                    "prior_center": 1.0,
                    "cooldown": 1,
                    "risk": "low",
                }
            },
        },
        "loss": {"enabled": True, "keys": {}},
    },
    "search": {
        "algorithm": "gp",
        "acquisition": "log_ei",
        "startup_trials": 4,
        "joint": False,
        "every": 1,
        "max_observations": 300,
        "decay": {"kind": "kernel", "half_life": "auto", "window": None},
        "trust_region": {
            "enabled": True,
            "initial": 0.4,
            "minimum": 0.05,
            "maximum": 1.0,
            "expand": 2.0,
            "shrink": 0.5,
            "successes": 2,
            "failures": 2,
        },
        "prior_runs": [],
    },
    "acceptance": {
        "reference": "forecast",
        "epsilon": 0.001,
        "probability": 0.95,
        "horizon": 1,
        "rollback_on_reject": True,
        "lower_after_start": "strict",
    },
    "safety": {
        "block_on_nan": True,
        "block_on_anomaly": True,
        "max_regression": 4.0,
        "patience": 2,
        "warmup": 0,
        "start_below": None,
        "max_global_reject_streak": 4,
        "pause_decisions": 8,
        "global_cooldown": 1,
        "on_error": "log",
    },
    "guard": {
        "enabled": True,
        "spike": 6.0,
        "lost_progress": 0.5,
        "snapshots": 2,
        "budget_mb": None,
        "max_restores": 10,
    },
    "calibration": {"enabled": "auto", "budget": 0.1},
}
LR = "actuators.opt.mutations.lr"
BAD: list[tuple[str, Any]] = [
    ("version", 2),
    ("version", "1"),
    ("mode", "on"),
    ("mode", False),  # what YAML makes of an unquoted off
    ("objective", None),
    ("objective.primary", ""),
    ("objective.primary", 3),
    ("objective.mode", "minimize"),
    ("objective.backup_metrics", "grad/norm"),
    ("objective.backup_metrics", [1]),
    ("phases", []),
    ("phases", {}),
    ("phases.early.start_frac", 0.3),
    ("phases.early.start_frac", -0.1),
    ("phases.early.start_frac", "0"),
    ("phases.early.start_frac", math.nan),
    ("phases.late.end_frac", True),
    ("actuators", 1),
    ("actuators.opt", None),
    ("actuators.opt.enabled", "yes"),
    ("actuators.opt.enabled", 1),
    ("actuators.opt.mutations", ["lr"]),
    ("actuators.opt.keys", {"lr": {}}),
    (f"{LR}.mode", "multiply"),
    (f"{LR}.bounds", [2.0, 0.5]),
    (f"{LR}.bounds", [0.0, 2.0]),
    (f"{LR}.bounds", [2.0, 4.0]),
    (f"{LR}.bounds", [0.1, math.inf]),
    (f"{LR}.bounds", [math.nan, 2.0]),
    (f"{LR}.bounds", [0.1]),
    (f"{LR}.bounds", ["0.1", 2.0]),
    (f"{LR}.bounds", "0.1,2"),
    (f"{LR}.max_step", 1.0),
    (f"{LR}.max_step", math.inf),
    (f"{LR}.max_step", "2"),
    (f"{LR}.prior_center", 1e6),
    (f"{LR}.prior_center", math.nan),
    (f"{LR}.prior_center", "1.0"),
    (f"{LR}.prior_center", {"warmup": 1.0}),
    (f"{LR}.cooldown", -1),
    (f"{LR}.cooldown", 1.5),
    (f"{LR}.cooldown", True),
    (f"{LR}.risk", "none"),
    (f"{LR}.phases", ["warmup"]),
    (f"{LR}.phases", "early"),
    ("search.algorithm", "tpe"),
    ("search.acquisition", "ei"),
    ("search.startup_trials", -1),
    ("search.joint", "false"),
    ("search.every", 0),
    ("search.max_observations", 3),
    ("search.decay.kind", "linear"),
    ("search.decay.half_life", 0.0),
    ("search.decay.half_life", "13"),
    ("search.decay.half_life", math.inf),
    ("search.decay.window", 1),
    ("search.trust_region.initial", 2.0),
    ("search.trust_region.initial", 0.01),
    ("search.trust_region.expand", 1.0),
    ("search.trust_region.shrink", 1.0),
    ("search.trust_region.successes", 0),
    ("search.trust_region.failures", 0),
    ("search.prior_runs", "runs/1"),
    ("search.prior_runs", [1]),
    ("acceptance.reference", "best"),
    ("acceptance.epsilon", -1.0),
    ("acceptance.epsilon", math.nan),
    ("acceptance.probability", 0.4),
    ("acceptance.probability", 1.0),
    ("acceptance.horizon", 0),
    ("acceptance.horizon", "epoch"),
    ("acceptance.lower_after_start", True),
    ("safety.max_regression", 0.0),
    ("safety.max_regression", math.nan),
    ("safety.max_regression", math.inf),
    ("safety.patience", 0),
    ("safety.warmup", -1),
    ("safety.start_below", math.inf),
    ("safety.max_global_reject_streak", 0),
    ("safety.pause_decisions", 0),
    ("safety.global_cooldown", -1),
    ("safety.on_error", "ignore"),
    ("guard.spike", 0.0),
    ("guard.spike", math.inf),
    ("guard.lost_progress", 1.5),
    ("guard.snapshots", 0),
    ("guard.budget_mb", 0.0),
    ("guard.max_restores", -1),
    ("calibration.enabled", "yes"),
    ("calibration.enabled", 1),
    ("calibration.budget", 1.0),
]


def changed(path: str, value: Any) -> dict[str, Any]:
    """Give the defaults with one value put in."""
    data: dict[str, Any] = json.loads(json.dumps(DESIGN))
    *parents, last = path.split(".")
    inner = data
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return data


@given(recipes())
@settings(deadline=None, max_examples=100)
def test_a_recipe_survives_plain_data(data: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(data)
    again = recipe.to_dict()
    assert Recipe.from_dict(again) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(again))) == recipe
    assert Recipe.from_dict(again).to_dict() == again
    for name, value in data.items():  # what the user wrote stands there
        if not isinstance(value, dict):
            assert again[name] == value


WORDS = [
    *Recipe.__struct_fields__,
    *Mutation.__struct_fields__,
    "patience",
    "reference",
    "opt",
    "x",
]
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["active", "last", "gp", "mult", 0.5, 2]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS), PLAIN, max_size=4))
def test_any_plain_data_is_a_recipe_or_is_refused_by_the_path_of_the_fault(
    data: dict[str, Any],
) -> None:
    try:
        recipe = Recipe.from_dict(data)
    except RecipeError as error:
        named = str(error).partition(":")[0].partition(".")[0].partition("[")[0]
        assert named in {*data, "recipe"}
    else:
        assert Recipe.from_dict(recipe.to_dict()) == recipe


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_reading_a_recipe_does_not_change_what_was_given(data: dict[str, Any]) -> None:
    before = json.dumps(data)
    Recipe.from_dict(data)
    assert json.dumps(data) == before


def test_the_defaults_are_those_of_the_design() -> None:
    assert Recipe.from_dict(DESIGN) == Recipe() == Recipe.from_dict({})


def test_only_the_learning_rate_moves_by_default() -> None:
    assert list(Recipe().mutations()) == ["opt.lr"]


@pytest.mark.parametrize(("path", "value"), BAD, ids=lambda part: str(part))
def test_a_wrong_value_is_refused_with_its_full_path(path: str, value: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(changed(path, value))
    assert str(caught.value).startswith(f"{path}: "), str(caught.value)


def test_a_center_may_be_given_by_phase_and_is_kept() -> None:
    recipe = Recipe.from_dict(changed(f"{LR}.prior_center", {"early": 2, "late": 0.5}))
    assert recipe.mutations()["opt.lr"].prior_center == {"early": 2.0, "late": 0.5}
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    for wrong in (1e6, math.nan, math.inf):
        with pytest.raises(RecipeError) as caught:
            Recipe.from_dict(changed(f"{LR}.prior_center", {"early": 1.0, "mid": wrong}))
        assert str(caught.value).startswith(f"{LR}.prior_center.mid: ")


def test_a_center_that_is_not_finite_is_refused_without_bounds_too() -> None:
    for center in (math.nan, math.inf):
        data = {"actuators": {"opt": {"mutations": {"lr": {"prior_center": center}}}}}
        with pytest.raises(RecipeError, match=r"^actuators\.opt\.mutations\.lr\.prior_center: "):
            Recipe.from_dict(data)


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("serch", "search"),
        ("saftey", "safety"),
        ("objective.primry", "primary"),
        ("phases.early.start_fraction", "start_frac"),
        ("actuators.opt.mutation", "mutations"),
        (f"{LR}.bound", "bounds"),
        (f"{LR}.maxstep", "max_step"),
        ("search.acquistion", "acquisition"),
        ("search.decay.halflife", "half_life"),
        ("search.trust_region.minimun", "minimum"),
        ("acceptance.probabilty", "probability"),
        ("safety.patients", "patience"),
        ("guard.spikes", "spike"),
        ("calibration.budge", "budget"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(path: str, near: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(changed(path, 1))
    assert str(caught.value) == f"{path}: unknown key; did you mean {near!r}?"


@pytest.mark.parametrize("data", [None, [], "active", 1])
def test_a_recipe_is_a_mapping(data: Any) -> None:
    with pytest.raises(RecipeError, match=r"^recipe: must be a mapping"):
        Recipe.from_dict(data)


numeric = [
    (path, value)
    for section in ("search", "acceptance", "safety", "guard", "calibration")
    for path, value in ((f"{section}.{name}", value) for name, value in DESIGN[section].items())
    if isinstance(value, int | float)
]


@pytest.mark.parametrize(("path", "value"), numeric)
def test_no_number_or_truth_value_is_read_from_a_string(path: str, value: float) -> None:
    for text in (str(value), str(value).lower()):
        with pytest.raises(RecipeError) as caught:
            Recipe.from_dict(changed(path, text))
        assert str(caught.value).startswith(f"{path}: ")


def phases_of(edges: list[float]) -> dict[str, dict[str, float]]:
    return {
        f"p{i}": {"start_frac": low, "end_frac": high}
        for i, (low, high) in enumerate(pairwise(edges))
    }


inner_edges = st.lists(st.floats(0.01, 0.99), max_size=5, unique=True).map(sorted)


@given(inner_edges, st.randoms())
@settings(deadline=None)
def test_phases_that_tile_the_run_are_taken_in_any_order(edges: list[float], chance: Any) -> None:
    items = list(phases_of([0.0, *edges, 1.0]).items())
    chance.shuffle(items)
    assert list(Recipe.from_dict({"phases": dict(items)}).phases) == [name for name, _ in items]


@given(inner_edges, st.data())
@settings(deadline=None)
def test_phases_with_a_gap_or_an_overlap_are_refused(
    edges: list[float], data: st.DataObject
) -> None:
    phases = phases_of([0.0, *edges, 1.0])
    name = data.draw(st.sampled_from(sorted(phases)))
    field = data.draw(st.sampled_from(["start_frac", "end_frac"]))
    phases[name][field] = data.draw(st.floats(0.0, 1.0).filter(lambda x: x != phases[name][field]))
    with pytest.raises(RecipeError, match=r"^phases"):
        Recipe.from_dict({"phases": phases})


@given(inner_edges, st.data())
@settings(deadline=None)
def test_a_phase_left_out_is_refused(edges: list[float], data: st.DataObject) -> None:
    phases = phases_of([0.0, *edges, 1.0])
    del phases[data.draw(st.sampled_from(sorted(phases)))]
    with pytest.raises(RecipeError, match=r"^phases: must tile \[0, 1\]"):
        Recipe.from_dict({"phases": phases})


@given(inner_edges, st.integers(0, 10_000), st.integers(1, 5_000))
@settings(deadline=None)
def test_the_phase_of_a_step_is_the_one_that_contains_it(
    edges: list[float], step: int, total: int
) -> None:
    recipe = Recipe.from_dict({"phases": phases_of([0.0, *edges, 1.0])})
    phase = recipe.phases[recipe.phase_at(step, total)]
    if step >= total:
        assert phase.end_frac == 1.0
    else:
        assert phase.start_frac <= step / total < phase.end_frac


@given(inner_edges, st.integers(0, 10**9))
@settings(deadline=None)
def test_an_unknown_total_gives_the_phase_that_contains_one_half(
    edges: list[float], step: int
) -> None:
    recipe = Recipe.from_dict({"phases": phases_of([0.0, *edges, 1.0])})
    phase = recipe.phases[recipe.phase_at(step, None)]
    assert phase.start_frac <= 0.5 < phase.end_frac


@pytest.mark.parametrize(
    ("step", "total", "phase"),
    [
        (0, 100, "early"),
        (19, 100, "early"),
        (20, 100, "mid"),
        (69, 100, "mid"),
        (70, 100, "late"),
        (100, 100, "late"),
        (500, 100, "late"),
        (0, None, "mid"),
        (10**9, None, "mid"),
    ],
)
def test_the_phases_of_the_defaults(step: int, total: int | None, phase: str) -> None:
    assert Recipe().phase_at(step, total) == phase


def test_a_disabled_group_moves_nothing() -> None:
    data = {"actuators": {"opt": {"enabled": False, "mutations": {"lr": {}}}}}
    assert Recipe.from_dict(data).mutations() == {}


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_what_may_move_is_named_by_group_and_key(data: dict[str, Any]) -> None:
    assume("actuators" in data)
    recipe = Recipe.from_dict(data)
    wanted = {
        f"{group}.{name}"
        for group, knobs in data["actuators"].items()
        if knobs["enabled"]
        for name in (*knobs["mutations"], *knobs["keys"])
    }
    assert set(recipe.mutations()) == wanted


def test_the_modes_are_those_of_the_design() -> None:
    assert [mode.value for mode in Mode] == [
        "off",
        "observe",
        "suggest",
        "guard",
        "active",
        "replay",
    ]


def test_two_recipes_do_not_share_what_can_be_changed() -> None:
    one, other = Recipe(), Recipe()
    assert one.phases is not other.phases
    assert one.actuators is not other.actuators


@pytest.mark.parametrize("kind", ["mutations", "keys"])
@pytest.mark.parametrize("enabled", [True, False])
def test_phases_of_a_knob_are_checked_whatever_its_group(kind: str, enabled: bool) -> None:
    group = {"enabled": enabled, kind: {"x.y": {"phases": ["early", "warmup"]}}}
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict({"actuators": {"a.b": group}})
    assert str(caught.value).startswith(f"actuators.a.b.{kind}.x.y.phases: must name phases of ")


# --- files --------------------------------------------------------------------------------


@given(recipes(), st.sampled_from(["r.yaml", "r.yml", "r.json"]), st.text(max_size=20))
@settings(deadline=None, max_examples=100)
def test_a_recipe_survives_a_file(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any], name: str, comments: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    recipe = Recipe.from_dict(data)
    recipe.save(path, comments)
    assert Recipe.load(path) == Recipe.load(str(path)) == recipe


def test_a_file_may_leave_out_what_it_does_not_change(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("mode: off\nacceptance: {epsilon: 1e-4}  # as a number\n")
    wanted = Recipe.from_dict({"mode": "off", "acceptance": {"epsilon": 0.0001}})
    assert Recipe.load(path) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acceptance: {epsilon: '0.1'}", "acceptance.epsilon: "),
        ("acceptance: {epsilom: 0.1}", "acceptance.epsilom: unknown key; did you mean 'epsilon'?"),
        ("actuators: {opt: {mutations: {lr: {bounds: [2, 1]}}}}", f"{LR}.bounds: "),
        ("a: [", "line 1, column 5: is not YAML"),
        ("", "recipe: must be a mapping, got None"),
        ("- mode: off", "recipe: must be a mapping, got ["),
    ],
)
def test_a_wrong_file_is_named_before_the_path(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


# --- the page -----------------------------------------------------------------------------

PAGE = Path("docs/recipes.md").read_text()


@pytest.mark.parametrize("section", Recipe.__struct_fields__)
def test_the_page_names_every_section(section: str) -> None:
    """Their fields stand in the reference, which is made of the schema."""
    assert f"`{section}`" in PAGE.partition("## The fields")[2].partition("### phases")[0]


def test_the_recipe_of_the_page_is_one() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert Recipe.from_dict(parse(block, "page.yaml")).mode == "suggest"
