"""A pickle is refused wherever it is put, and never executed; nor is a tag, or anything else."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import gptune
from gptune import schedule
from gptune.actuators.training_state import TrainingState
from gptune.cli import main
from gptune.errors import ActuatorError, EventLogError, GptuneError, RecipeError, StateError
from gptune.recipe.hotcb import load_hotcb
from gptune.run_directory import control, names
from gptune.run_directory.file_system import Disk
from gptune.run_directory.summary_file import read_summary
from tests.doubles import FakeKnob
from tests.training import Training

RECIPE: dict[str, Any] = {
    "actuators": {"loss": {"keys": {"aux": {"bounds": [0.1, 10.0], "max_step": 2.0}}}},
    "search": {"algorithm": "none"},
}


TAG = f"!!python/object/apply:os.open [{{}}, {os.O_CREAT}]\n"  # YAML that makes a file


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture(params=["pickle", "text pickle", "torch", "old torch", "tag"])
def data(request: pytest.FixtureRequest, mark: Path, tmp_path: Path) -> bytes:
    if request.param == "tag":
        return TAG.format(mark).encode()
    if request.param.endswith("torch"):
        zipped = request.param == "torch"
        torch.save(Bomb(mark), tmp_path / "made.pt", _use_new_zipfile_serialization=zipped)
        return (tmp_path / "made.pt").read_bytes()
    return pickle.dumps(Bomb(mark), protocol=0 if request.param == "text pickle" else None)


def start(tmp_path: Path, **chosen: Any) -> gptune.Tuner:
    given = {"recipe": RECIPE, "run_dir": tmp_path / "run", **chosen}
    return gptune.Tuner([FakeKnob("loss.aux")], **given)


def test_the_bomb_goes_off_where_it_is_unpickled(mark: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()
    mark.unlink()
    os.close(yaml.unsafe_load(TAG.format(mark)))
    assert mark.exists()


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.yml", "recipe.json"])
def test_as_a_recipe(name: str, data: bytes, mark: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RecipeError, match="recipe"):
        gptune.Recipe.load(tmp_path / name)
    with pytest.raises(RecipeError, match="recipe"):
        start(tmp_path, recipe=tmp_path / name)
    with pytest.raises(RecipeError):
        load_hotcb(tmp_path / name)
    assert main(["recipe", "validate", str(tmp_path / name)]) == 2
    assert not mark.exists()


def test_as_the_recipe_of_a_run_directory(data: bytes, mark: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / names.RECIPE).write_bytes(data)
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        start(tmp_path, recipe=None)
    assert not mark.exists()


def test_as_a_checkpoint(data: bytes, mark: Path, tmp_path: Path) -> None:
    with start(tmp_path) as tuner:
        tuner.report({"val/loss": 1.0})
        good = tuner.state_dict()
        wrong: list[Any] = [data, data.decode("latin-1"), [data], {"kernel": data}]
        wrong += [{**good, key: data} for key in good]
        wrong += [{**good, "kernel": {**good["kernel"], key: data}} for key in good["kernel"]]
        for state in wrong:
            with pytest.raises(StateError):
                tuner.load_state_dict(state)
        tuner.load_state_dict(good)
    assert not mark.exists()


def test_as_a_training_state(data: bytes, mark: Path) -> None:
    training = Training()
    state = TrainingState(training.model, training.optimizer)
    good = state.state_dict()
    wrong: list[Any] = [data, [data], *({**good, key: data} for key in good)]
    for one in wrong:
        with pytest.raises((GptuneError, TypeError)):  # a part refuses in its own words
            state.load_state_dict(one)
    assert not mark.exists()


def test_as_the_log_of_this_run_or_an_earlier_one(data: bytes, mark: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / names.EVENTS).write_bytes(data + b"\n")
    plain = {**RECIPE, "search": {"algorithm": "none", "prior_runs": [str(tmp_path / "old")]}}
    with pytest.raises(EventLogError):
        start(tmp_path, recipe=plain)
    with pytest.raises(EventLogError):
        start(tmp_path, mode="replay", replay=tmp_path / "old")
    with pytest.raises(EventLogError):
        gptune.evolve_recipe(gptune.Recipe(), [tmp_path / "old"])
    with pytest.raises(EventLogError):
        start(tmp_path, run_dir=tmp_path / "old", resume=True)
    for words in (["log"], ["status"], ["explain", "1"], ["export", "--mutations"]):
        assert main(["--dir", str(tmp_path / "old"), *words]) == 2
    assert main(["--dir", str(tmp_path / "old"), "verify"]) == 1
    assert not mark.exists()


def test_as_an_export(data: bytes, mark: Path, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(data)
    with pytest.raises(RecipeError, match="replay"):
        start(tmp_path, mode="replay", replay=tmp_path / "file.json")
    with pytest.raises(ActuatorError, match="holds no schedule"):
        schedule.recorded(tmp_path / "file.json")
    assert not mark.exists()


def test_as_a_command_an_answer_a_freeze_or_a_summary(
    data: bytes, mark: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with start(tmp_path) as tuner:
        (run / names.SUMMARY).write_bytes(data)
        assert read_summary(run) is None
        for name in (names.COMMANDS, names.ANSWERS):
            (run / name).mkdir()
            (run / name / "1-a.json").write_bytes(data)
        with pytest.raises(GptuneError, match="none that gptune wrote"):
            control.read_answer(Disk(), run, "1-a")
        tuner.report({"val/loss": 1.0})
        answer = control.read_answer(Disk(), run, "1-a")
        (run / names.FREEZE).write_bytes(data)
        assert "counts as frozen" in control.frozen(Disk(), run)
    assert answer is not None
    assert not answer.accepted
    assert not mark.exists()
