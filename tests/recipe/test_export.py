"""What a run did, as a recipe and as a schedule: valid, and equal to what the log says."""

import json
from pathlib import Path
from typing import Any

import pytest

from gptune import Tuner
from gptune.configs import Mutation, Recipe
from gptune.errors import EventLogError, RecipeError
from gptune.recipe.export import export_recipe, export_schedule
from gptune.run_directory import control
from gptune.run_directory.file_system import Disk
from gptune.run_directory.names import EVENTS
from tests.doubles import FakeKnob

MOVES: dict[str, Any] = {"bounds": [0.1, 10.0], "max_step": 2.0, "cooldown": 0}
RECIPE: dict[str, Any] = {
    "actuators": {"opt": {"mutations": {"lr": MOVES}}, "loss": {"keys": {"aux": MOVES}}},
    "search": {"algorithm": "none"},
    "acceptance": {"reference": "last"},
}
TOTAL = 100  # the phases end at 20, 70 and 100


class Run:
    """A run in which knobs move by hand alone."""

    def __init__(self, run_dir: Path, recipe: dict[str, Any] = RECIPE, **chosen: Any) -> None:
        self.run_dir = run_dir
        self.tuner = Tuner(
            [FakeKnob("opt.lr"), FakeKnob("loss.aux")],
            recipe=recipe,
            run_dir=run_dir,
            total_steps=TOTAL,
            **chosen,
        )

    def order(self, verb: str, **arguments: Any) -> None:
        ident = control.send(Disk(), self.run_dir, verb, arguments)
        self.tuner.report({"val/loss": 1.0})  # a report is a look for commands
        answer = control.read_answer(Disk(), self.run_dir, ident)
        assert answer is not None
        assert answer.accepted, answer.message

    def train(self, to: int) -> None:
        while self.tuner.steps < to:
            self.tuner.step()


def moved(run_dir: Path) -> Run:
    run = Run(run_dir)
    run.order("apply", moves={"opt.lr": 2.0})
    run.train(10)
    run.order("apply", moves={"opt.lr": 3.0})
    run.train(50)
    run.order("apply", moves={"opt.lr": 5.0, "loss.aux": 0.5})
    run.train(80)
    run.order("apply", moves={"loss.aux": 1.0})
    run.train(TOTAL)
    run.tuner.report({"val/loss": 1.0})
    run.tuner.close()
    return run


def test_the_centers_are_where_the_knobs_stood_when_each_phase_ended(tmp_path: Path) -> None:
    recipe = export_recipe(moved(tmp_path / "run").run_dir)
    knobs = recipe.mutations()
    assert knobs["opt.lr"].prior_center == {"early": 3.0, "mid": 5.0, "late": 5.0}
    assert knobs["loss.aux"].prior_center == {"mid": 0.5, "late": 1.0}
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_all_else_is_the_recipe_as_used(tmp_path: Path) -> None:
    recipe = export_recipe(moved(tmp_path / "run").run_dir).to_dict()
    for group, kind, name in (("opt", "mutations", "lr"), ("loss", "keys", "aux")):
        recipe["actuators"][group][kind][name]["prior_center"] = None
    assert Recipe.from_dict(recipe) == Recipe.from_dict(RECIPE)


def test_a_run_that_moved_nothing_gives_its_recipe_back(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.train(30)
    run.tuner.close()
    assert export_recipe(run.run_dir) == Recipe.from_dict(RECIPE)
    assert export_schedule(run.run_dir) == {"opt.lr": [[0, 1.0]], "loss.aux": [[0, 1.0]]}


def test_what_an_operator_has_set_is_in_it_and_what_was_superseded_is_not(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.order("set", changes={"acceptance.epsilon": 0.5, "search.joint": True})
    state = run.tuner.state_dict()
    run.order("set", changes={"acceptance.epsilon": 0.7})
    run.order("apply", moves={"opt.lr": 2.0})
    assert export_recipe(run.run_dir).acceptance.epsilon == 0.7
    run.tuner.load_state_dict(state)
    run.tuner.close()
    recipe = export_recipe(run.run_dir)
    assert (recipe.acceptance.epsilon, recipe.search.joint) == (0.5, True)
    assert recipe.mutations()["opt.lr"].prior_center is None
    assert export_schedule(run.run_dir)["opt.lr"] == [[0, 1.0]]


def test_what_was_rejected_is_no_center_but_stands_in_the_schedule(tmp_path: Path) -> None:
    search = {"algorithm": "random", "startup_trials": 0}
    run = Run(tmp_path / "run", {**RECIPE, "search": search})
    with run.tuner:
        run.train(10)
        run.tuner.report({"val/loss": 1.0})
        (family,) = [f for f, move in run.tuner.values.items() if move != 1.0]
        move = run.tuner.values[family]
        run.train(20)
        run.tuner.report({"val/loss": 9.0})
    recipe = export_recipe(run.run_dir)
    assert {m.prior_center for m in recipe.mutations().values()} == {None}
    assert export_schedule(run.run_dir)[family] == [[0, 1.0], [10, move], [20, 1.0]]


def test_the_schedule_says_which_move_was_in_force_when(tmp_path: Path) -> None:
    schedule = export_schedule(moved(tmp_path / "run").run_dir)
    assert schedule == {
        "opt.lr": [[0, 2.0], [10, 3.0], [50, 5.0]],
        "loss.aux": [[0, 1.0], [50, 0.5], [80, 1.0]],
    }
    assert json.loads(json.dumps(schedule)) == schedule


def test_a_kept_reject_counts_as_kept(tmp_path: Path) -> None:
    acceptance = {"reference": "last", "rollback_on_reject": False}
    search = {"algorithm": "random", "startup_trials": 0}
    run = Run(tmp_path / "run", {**RECIPE, "search": search, "acceptance": acceptance})
    with run.tuner:
        run.tuner.report({"val/loss": 1.0})
        (family,) = [f for f, move in run.tuner.values.items() if move != 1.0]
        move = run.tuner.values[family]
        run.train(5)
        run.tuner.report({"val/loss": 1.0})
    assert export_recipe(run.run_dir).mutations()[family].prior_center == {"early": move}


def test_a_choice_has_no_center_and_a_whole_number_has_one() -> None:
    from gptune.recipe.export import _centered

    ends: dict[str, dict[str, Any]] = {"early": {"m.kind": "b", "m.size": 5, "m.flag": True}}
    chosen = Mutation(mode="set")
    assert _centered(chosen, "m.kind", ends) == chosen
    assert _centered(chosen, "m.flag", ends) == chosen
    assert _centered(chosen, "m.size", ends).prior_center == {"early": 5.0}


def test_what_holds_no_run_is_refused(tmp_path: Path) -> None:
    for export in (export_recipe, export_schedule):
        with pytest.raises(RecipeError, match=r"^run: .* holds no events\.jsonl"):
            export(tmp_path / "none")
    (tmp_path / EVENTS).touch()
    for export in (export_recipe, export_schedule):
        with pytest.raises(RecipeError, match="is empty; there is nothing to export"):
            export(tmp_path)
    (tmp_path / EVENTS).write_bytes(b"{}\n")
    for export in (export_recipe, export_schedule):
        with pytest.raises(EventLogError, match="line 1"):
            export(tmp_path)
