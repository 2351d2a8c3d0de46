"""A Tuner's life, without a framework: begun, saved, resumed, ended, and never in the way."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD

from gptune import Tuner
from gptune.adapters import life as room
from gptune.adapters.life import Life, Training
from gptune.errors import RecipeError, StateError
from gptune.events import Closed, Opened
from gptune.run_directory.event_log import read_events
from gptune.run_directory.names import EVENTS
from tests.adapters.framed import RECIPE, network


def training(**chosen: Any) -> Training:
    model = network()
    made: dict[str, Any] = {"model": model, "total_steps": 40, **chosen}
    return Training(optimizers=[SGD(model.parameters(), lr=0.1)], **made)


def step(life: Life, steps: int = 4) -> None:
    tuner = life.at_work
    assert tuner is not None
    for _ in range(steps):
        life.step(1.0)


def opened(run_dir: Path) -> Opened:
    event = read_events(run_dir)[0].event
    assert isinstance(event, Opened)
    return event


def test_before_training_there_is_nothing_and_nothing_is_in_the_way(tmp_path: Path) -> None:
    life = Life({"run_dir": tmp_path / "run"})
    life.step(1.0)
    life.end()
    life.load({})
    assert life.tuner is life.at_work is None
    assert (life.state(), life.shown(), life.decide({"val_loss": 1.0})) == ({}, {}, None)
    assert not life.stops(None)
    assert not (tmp_path / "run").exists()


def test_it_decides_on_metrics_by_any_usual_name_and_measures_the_steps(tmp_path: Path) -> None:
    life = Life({"mode": "observe", "run_dir": tmp_path / "run", "objective": "time/step_sec"})
    life.begin(training())
    step(life)
    decision = life.decide({"eval_loss": 0.5})
    assert decision is not None
    assert decision.metric is not None
    assert 0 < decision.metric < 1
    life.end()


def test_the_memory_of_a_device_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3_000_000)
    life = Life({"mode": "observe", "run_dir": tmp_path, "objective": "system/gpu_mem_mb"})
    life.begin(training())
    decision = life.decide({})
    assert decision is not None
    assert decision.metric == 3.0
    life.end()


def test_a_state_is_kept_until_training_starts_and_after_it_ended(tmp_path: Path) -> None:
    one = Life({"recipe": RECIPE, "run_dir": tmp_path / "run"})
    one.begin(training())
    step(one)
    one.decide({"val_loss": 1.0})
    state = one.state()
    one.end()
    assert one.state() == state, "closing is no part of it"
    assert one.at_work is None
    assert one.tuner is not None
    other = Life({"recipe": RECIPE})
    other.load(state)
    assert other.state() == state
    other.begin(training(done=4))
    assert other.tuner is not None
    assert (other.tuner.steps, other.tuner.run_dir) == (4, tmp_path / "run")
    assert other.tuner.values == one.tuner.values or other.tuner.values["opt.lr"] > 0
    other.end()


def test_a_fresh_training_takes_no_old_state(tmp_path: Path) -> None:
    life = Life({"mode": "observe"} | {"run_dir": tmp_path / "one"})
    life.begin(training())
    step(life)
    life.end()
    again = Life({"mode": "observe", "run_dir": tmp_path / "two"})
    again.load(life.state())
    again.begin(training(done=0))
    assert again.tuner is not None
    assert again.tuner.steps == 0
    again.end()


def test_steps_taken_without_gptune_do_not_count(tmp_path: Path) -> None:
    life = Life({"mode": "observe", "run_dir": tmp_path / "run"})
    life.begin(training(done=10))
    life.end()
    assert opened(tmp_path / "run").total_steps == 30


def test_the_users_arguments_come_first(tmp_path: Path) -> None:
    arguments = {"mode": "observe", "run_dir": tmp_path / "run", "total_steps": 7}
    life = Life(arguments)
    life.begin(training(validates=False))
    assert life.tuner is not None
    assert life.tuner.recipe.objective.primary == "train/loss"
    state = life.state()
    life.end()
    assert opened(tmp_path / "run").total_steps == 7
    again = Life({**arguments, "objective": "train/loss"})
    again.load({**state, "run_dir": str(tmp_path / "elsewhere")})
    again.begin(training(done=3))
    assert again.tuner is not None
    assert again.tuner.run_dir == tmp_path / "run"
    again.end()


def test_a_strange_state_is_refused(tmp_path: Path) -> None:
    life = Life({"run_dir": tmp_path / "run"})
    strange: list[dict[str, Any]] = [{"version": 2, "tuner": {}}, {"version": 1}, {"tuner": {}}]
    for state in strange:
        with pytest.raises(StateError, match="holds no state of gptune of version 1"):
            life.load(state)


def test_a_state_that_does_not_fit_gives_the_run_directory_back(tmp_path: Path) -> None:
    life = Life({"recipe": RECIPE, "run_dir": tmp_path / "run"})
    life.begin(training())
    life.end()
    state = life.state()
    for _ in range(2):
        other = Life({"recipe": {**RECIPE, "acceptance": {}}, "run_dir": tmp_path / "run"})
        other.load(state)
        with pytest.raises(StateError, match="another recipe"):
            other.begin(training(done=1))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(RecipeError, match="mode"):
        Life({"mode": "loud"}).begin(training())


def test_a_scaler_is_part_of_what_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    real = Tuner
    monkeypatch.setattr(room, "Tuner", lambda *a, **k: given.update(k) or real(*a, **k))
    life = Life({"mode": "observe", "run_dir": tmp_path / "run"})
    scaler = GradScaler("cpu")
    life.begin(training(scaler=scaler))
    life.end()
    assert given["training_state"].scaler is scaler
    strange: Any = nn.Module()
    life = Life({"mode": "observe", "run_dir": tmp_path / "other"})
    life.begin(training(scaler=strange))
    assert given["training_state"] is None, "what cannot be kept is not"
    life.end()


def test_what_gptune_cannot_do_on_the_way_is_said_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    life = Life({"mode": "observe", "run_dir": tmp_path / "run"})
    life.begin(training())
    assert life.tuner is not None

    def fails(*_: object) -> Any:
        raise OSError("the disk is full")

    close = life.tuner.close
    monkeypatch.setattr(life.tuner, "state_dict", fails)
    monkeypatch.setattr(life.tuner, "close", fails)
    assert life.state() == {}
    life.end()
    assert "has no state for this checkpoint (OSError: the disk is full)" in caplog.text
    assert "could not be closed (OSError: the disk is full)" in caplog.text
    assert life.at_work is None
    close()


def test_the_directory_that_is_saved_is_that_of_all_processes(tmp_path: Path) -> None:
    life = Life({"mode": "observe", "run_dir": tmp_path / "run" / "rank-1"})
    life.begin(training())
    assert life.state()["run_dir"] == str(tmp_path / "run" / "rank-1"), "a name of the user's own"
    (tmp_path / "run" / EVENTS).touch()
    assert life.state()["run_dir"] == str(tmp_path / "run")
    life.end()


def test_beginning_again_ends_what_was_begun(tmp_path: Path) -> None:
    life = Life({"mode": "observe", "run_dir": tmp_path / "run"})
    life.begin(training())
    step(life)
    life.begin(training(done=4))
    assert life.tuner is not None
    assert life.tuner.steps == 4
    assert any(isinstance(line.event, Closed) for line in read_events(tmp_path / "run"))
    life.end()
