"""Loops of Accelerate's: accumulation, the wrappers taken off, its own checkpoints."""

import builtins
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from gptune import Tuner
from gptune.adapters import accelerate as room
from gptune.adapters.accelerate import attach, unwrap
from gptune.errors import RecipeError
from gptune.run_directory.event_log import read_events
from tests.adapters.framed import (
    ACCUMULATE,
    BATCH,
    EPOCHS,
    EVERY,
    RECIPE,
    STEPS,
    TRAIN_ROWS,
    Stopped,
    check_lively,
    data,
    equal,
    essence,
    network,
    weights,
)


class Loop:
    """A training loop as Accelerate's documentation writes it, and what it looks like inside."""

    def __init__(self, **chosen: Any) -> None:
        x, y = data()
        self.held_out = x[TRAIN_ROWS:], y[TRAIN_ROWS:]
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
        model = network()
        optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
        schedule = CosineAnnealingLR(optimizer, T_max=STEPS)
        loader = DataLoader(TensorDataset(x[:TRAIN_ROWS], y[:TRAIN_ROWS]), BATCH)
        prepared = self.accelerator.prepare(model, optimizer, schedule, loader)
        self.model, self.optimizer, self.schedule, self.loader = prepared
        self.tuner: Tuner | None = None
        if chosen:
            self.tuner = attach(
                self.accelerator,
                self.optimizer,
                model=self.model,
                scheduler=self.schedule,
                **{"total_steps": STEPS, **chosen},
            )
        self.optimizer.optimizer.register_step_pre_hook(self.see)
        self.outside: list[float] = []
        self.used: list[float] = []
        self.moves: list[float] = []
        self.steps = 0

    def see(self, optimizer: Any, *_: object) -> None:
        self.used.append(optimizer.param_groups[0]["lr"])
        self.moves.append(self.tuner.values["opt.lr"] if self.tuner is not None else 1.0)

    def train(self, epochs: range, *, stop: int = -1) -> None:
        for _ in epochs:
            for x, y in self.loader:
                self.outside.append(self.optimizer.param_groups[0]["lr"])
                with self.accelerator.accumulate(self.model):
                    loss = nn.functional.mse_loss(self.model(x), y)
                    self.accelerator.backward(loss)
                    self.optimizer.step()
                    self.schedule.step()
                    self.optimizer.zero_grad()
                if self.accelerator.sync_gradients:
                    self.count(loss)
                    if self.steps == stop:
                        raise Stopped

    def count(self, loss: torch.Tensor) -> None:
        self.steps += 1
        if self.tuner is None:
            return
        self.tuner.step(loss)
        if self.steps % EVERY == 0:
            x, y = self.held_out
            with torch.no_grad():
                value = nn.functional.mse_loss(self.model(x), y)
            self.tuner.report({"val/loss": value})

    def close(self) -> None:
        if self.tuner is not None:
            self.tuner.close()


def test_the_rate_in_force_is_multiplier_times_schedule_and_nobody_else_sees_it(
    tmp_path: Path,
) -> None:
    plain, tuned = Loop(), Loop(recipe=RECIPE, run_dir=tmp_path / "run")
    for loop in (plain, tuned):
        loop.train(range(EPOCHS))
        loop.close()
    assert tuned.tuner is not None
    assert tuned.tuner.steps == STEPS == len(tuned.used)
    assert len(set(tuned.moves)) > 5
    assert tuned.used == [rate * move for rate, move in zip(plain.used, tuned.moves, strict=True)]
    assert tuned.outside == plain.outside, "outside of a step there is the schedule alone"
    check_lively(tmp_path / "run")


def test_a_run_that_dies_and_is_resumed_from_accelerates_checkpoint_decides_alike(
    tmp_path: Path,
) -> None:
    whole = Loop(recipe=RECIPE, run_dir=tmp_path / "whole")
    whole.train(range(EPOCHS))
    whole.close()
    dead = Loop(recipe=RECIPE, run_dir=tmp_path / "run")
    dead.train(range(1))
    dead.accelerator.save_state(str(tmp_path / "saved"), safe_serialization=True)
    with pytest.raises(Stopped):
        dead.train(range(1), stop=STEPS - 30)
    dead.close()
    again = Loop(recipe=RECIPE, run_dir=tmp_path / "run", resume=True)
    again.accelerator.load_state(str(tmp_path / "saved"))
    again.steps = STEPS // EPOCHS
    again.train(range(1, EPOCHS))
    again.close()
    assert essence(tmp_path / "run") == essence(tmp_path / "whole")
    assert equal(weights(again.model), weights(whole.model))
    check_lively(tmp_path / "run")


def test_what_is_saved_during_a_calibration_is_the_run_and_no_trial(tmp_path: Path) -> None:
    x, y = data()

    def evaluate() -> torch.Tensor:
        return nn.functional.mse_loss(loop.model(x[TRAIN_ROWS:]), y[TRAIN_ROWS:])

    loop = Loop(evaluate=evaluate, run_dir=tmp_path / "run", total_steps=8 * STEPS)
    tuner = loop.tuner
    assert tuner is not None
    saved = 0
    for inputs, targets in tuner.batches(loop.loader):
        loss = nn.functional.mse_loss(loop.model(inputs), targets)
        loop.accelerator.backward(loss)
        loop.optimizer.step()
        loop.optimizer.zero_grad()
        tuner.step(loss)
        if tuner.steps in (5, 12, 40):
            place = tmp_path / f"saved-{saved}"
            loop.accelerator.save_state(str(place), safe_serialization=True)
            kept, live = load_file(place / "model.safetensors"), loop.model.state_dict()
            assert all(torch.equal(kept[name], live[name]) for name in live)
            momentum = torch.load(place / "optimizer.bin", weights_only=True)["state"]
            for number, state in loop.optimizer.optimizer.state_dict()["state"].items():
                kept_state = momentum[number]["momentum_buffer"]
                assert torch.equal(kept_state, state["momentum_buffer"])
            saved += 1
    kinds = [type(line.event).__name__ for line in read_events(tmp_path / "run")]
    assert "LookAhead" in kinds
    assert saved == 3
    loop.close()


def test_what_it_wrapped_is_unwrapped_and_all_else_left_alone() -> None:
    loop, values = Loop(), {"a": 1.0}
    inner = loop.optimizer.optimizer
    assert unwrap(loop.optimizer) is inner
    assert unwrap(loop.schedule) is loop.schedule.scheduler
    assert unwrap((loop.optimizer, values)) == [inner, values]
    assert unwrap(values) is values


@pytest.mark.parametrize("named", [False, True])
def test_several_optimizers_are_taken(named: bool, tmp_path: Path) -> None:
    one, two = Loop(), Loop()
    given: Any = (
        {"a": one.optimizer, "b": two.optimizer} if named else [one.optimizer, two.optimizer]
    )
    with attach(one.accelerator, given, mode="observe", run_dir=tmp_path / "run") as tuner:
        optimizers = {id(knob.optimizer) for knob in tuner.actuators}  # type: ignore[attr-defined]
        assert optimizers == {id(one.optimizer.optimizer), id(two.optimizer.optimizer)}
        assert any(knob.name == ("b.lr" if named else "opt2.lr") for knob in tuner.actuators)


def test_a_scaler_is_part_of_what_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(room, "Tuner", lambda *a, **k: given.update(k) or Tuner(*a, **k))
    loop = Loop()
    scaler = GradScaler("cpu")
    monkeypatch.setattr(loop.accelerator, "scaler", scaler)
    chosen: dict[str, Any] = {"model": loop.model, "mode": "observe", "run_dir": tmp_path / "run"}
    with attach(loop.accelerator, loop.optimizer, **chosen):
        assert given["training_state"].scaler is scaler


def test_a_wrong_argument_is_named() -> None:
    with pytest.raises(RecipeError, match="mode"):
        Loop(mode="loud")


@pytest.mark.parametrize("lacking", ["accelerate", "safetensors"])
def test_a_missing_package_is_named(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "accelerate":
            raise ModuleNotFoundError(f"No module named {lacking!r}", name=lacking)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    said = r"pip install 'gptune-torch\[huggingface\]'" if lacking == "accelerate" else lacking
    with pytest.raises(ImportError, match=said):
        importlib.reload(room)
