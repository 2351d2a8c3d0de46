"""A knob follows from the recipe, or the audit says that it does not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gptune
from gptune.actuators import optimizer_actuators
from gptune.audit import audit, audit_data
from tests.audit.forging import Body, Edit, bodies, broken, knob, rechained
from tests.training import Training


def group(**fields: Any) -> Edit:
    """Let the recipe say something else of the optimizer's knobs."""

    def edit(lines: list[Body]) -> list[Body]:
        recipe = lines[0]["recipe"]
        made = {**recipe["actuators"]["opt"], **fields}
        recipe = {**recipe, "actuators": {"opt": made, "loss": recipe["actuators"]["loss"]}}
        return [{**lines[0], "recipe": recipe}, *lines[1:]]

    return edit


def space(**fields: Any) -> Edit:
    """Let the knob's own space be another."""

    def edit(lines: list[Body]) -> list[Body]:
        return knob(space={**lines[0]["knobs"]["opt.lr"]["space"], **fields})(lines)

    return edit


FORGERIES: dict[str, Edit] = {
    "wider bounds than the recipe's": knob(bounds=[0.001, 1000.0]),
    "a larger step": knob(max_step=50.0),
    "no risk": knob(cooldown=0),
    "a space beyond its bounds": space(high=1000.0),
    "a space that begins below them": space(low=0.001),
    "a space upside down": space(low=5.0, high=2.0),
    "a space without where it stands": space(low=1.5),
    "no rate": knob(is_rate=False),
    "no knob of the recipe": group(enabled=False),
    "one that the recipe does not name": group(mutations={}, keys={"eps": {}}),
    "no knob of an optimizer": knob(on_schedule=False, mode="set"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_knob_that_the_recipe_does_not_allow_is_found(name: str, run: Path) -> None:
    assert "recipe" in broken(audit_data(rechained(FORGERIES[name](bodies(run)))))


@pytest.mark.parametrize(
    "fields",
    [
        {"base": 2.0},
        {"mutation": {}},
        {"space": {"type": "float", "low": 0.0, "high": 1e9}},
    ],
)
def test_a_knob_that_becomes_another_is_found(fields: dict[str, Any], steered: Path) -> None:
    lines = bodies(steered)
    (at,) = [n for n, line in enumerate(lines) if n and line["kind"] == "opened"]
    knobs = lines[at]["knobs"]
    lines[at] = {**lines[at], "knobs": {**knobs, "loss.aux": {**knobs["loss.aux"], **fields}}}
    assert "recipe" in broken(audit_data(rechained(lines)))
    lines[at] = {**lines[at], "knobs": knobs, "total_steps": 10**6}
    assert "recipe" in broken(audit_data(rechained(lines)))


@given(
    names=st.sets(
        st.sampled_from(["lr", "lr[1]", "betas", "betas[0]", "momentum", "eps", "eps[1]"]),
        min_size=1,
    ),
    split=st.sets(st.sampled_from(["lr", "eps", "betas"])),
    where=st.sampled_from(["keys", "mutations"]),
)
def test_whatever_a_recipe_calls_a_knob_no_honest_one_is_accused(
    names: set[str], split: set[str], where: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    training, place = Training(), tmp_path_factory.mktemp("knobs") / "run"
    knobs = optimizer_actuators(training.optimizer, per_group=split)
    given = {
        name: {"bounds": [0.5, 2.0], "cooldown": n} for n, name in enumerate(sorted(names), start=1)
    }
    recipe = {"actuators": {"opt": {where: given}}}
    try:
        gptune.Tuner(knobs, recipe=recipe, run_dir=place).close()
    except gptune.GptuneError:
        return  # a name that is not there
    assert audit(place).holds


def test_rates_and_values_that_no_recipe_names_are_not_accused(tmp_path: Path) -> None:
    one, other = Training(), Training()
    values: dict[str, Any] = {"flag": True, "pick": 3, "size": 0.5}
    space: dict[str, Any] = {
        "flag": gptune.Categorical((True, False)),
        "pick": gptune.Integer(1, 8),
        "size": gptune.Float(0.1, 1.0),
    }
    hands = gptune.value_actuators(values, space, name="task")
    gptune.Tuner([one.optimizer, other.optimizer, *hands], run_dir=tmp_path / "run").close()
    assert len(bodies(tmp_path / "run")[0]["knobs"]) == 5
    assert audit(tmp_path / "run").holds
