"""The callback in Lightning's own trainers: both packages, schedules, checkpoints, deaths."""

import importlib
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as new
import pytest
import pytorch_lightning as old
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from gptune import Categorical, GridSampler, Study, median_pruner
from gptune.adapters import lightning as room
from gptune.adapters.lightning import GptuneCallback, PruningCallback
from gptune.audit import audit
from gptune.errors import RecipeError, StudyError
from gptune.events import Applied, LookAhead, Observed, Opened, Restored
from gptune.run_directory.event_log import read_events
from gptune.study.samplers import RandomSampler
from gptune.study.trial import Trial
from tests.adapters.framed import (
    ACCUMULATE,
    BATCH,
    EPOCHS,
    EVERY,
    MOVES,
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

PACKAGES: list[Any] = [new, old]


class Records:
    """What a run looks like from the user's side."""

    def __init__(self) -> None:
        self.outside: list[float] = []  # the rate in the groups at the beginning of each batch
        self.used: list[float] = []  # the rate that each step has used
        self.moves: list[float] = []  # the multiplier that was in force
        self.batches = 0


class Resumable(DataLoader[Any]):
    """A loader that can begin in the middle of an epoch, as Lightning asks for it."""

    at = 0

    def __iter__(self) -> Any:
        begin = self.at
        for number, batch in enumerate(super().__iter__()):
            if number >= begin:
                self.at = (number + 1) % len(self)
                yield batch

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def make_module(package: Any = new, *, poison: int | None = None, names: str = "val_loss") -> Any:
    """Make a module as a user would, of either package."""

    class Module(package.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.seen = 0

        def training_step(self, batch: Any, index: int) -> Tensor:
            self.seen += 1
            loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
            self.log("train_loss", loss, on_epoch=True)
            return loss * torch.nan if self.seen == poison else loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log(names, nn.functional.mse_loss(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=0.02, momentum=0.9)
            schedule = CosineAnnealingLR(optimizer, T_max=STEPS)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "interval": "step"},
            }

    return Module()


def make_watcher(package: Any, records: Records, tuned: GptuneCallback | None, stop: int) -> Any:
    """Make a callback that writes down what happens, and raises in a batch."""

    class Watcher(package.Callback):  # type: ignore[misc]
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            for optimizer in trainer.optimizers:
                optimizer.register_step_pre_hook(self.see)

        def see(self, optimizer: Any, *_: object) -> None:
            records.used.append(optimizer.param_groups[0]["lr"])
            tuner = tuned.tuner if tuned is not None else None
            records.moves.append(tuner.values["opt.lr"] if tuner is not None else 1.0)

        def on_train_batch_start(self, trainer: Any, *_: object) -> None:
            records.batches += 1
            records.outside.append(trainer.optimizers[0].param_groups[0]["lr"])
            if records.batches == stop:
                raise Stopped

    return Watcher()


def loaders(*, resumable: bool = False) -> tuple[Any, Any]:
    x, y = data()
    kind: Any = Resumable if resumable else DataLoader
    held_out = TensorDataset(x[TRAIN_ROWS:], y[TRAIN_ROWS:])
    return kind(TensorDataset(x[:TRAIN_ROWS], y[:TRAIN_ROWS]), BATCH), DataLoader(held_out, 64)


def train(
    place: Path,
    callback: GptuneCallback | None,
    *,
    package: Any = new,
    module: Any = None,
    stop: int = -1,
    ckpt: str | None = None,
    data: Any = None,
    **chosen: Any,
) -> tuple[Any, Records]:
    """Train with a real trainer; gives it, and what was seen."""
    records = Records()
    given = [callback] if callback is not None else []
    more = chosen.pop("callbacks", [])
    made = {
        "max_epochs": EPOCHS,
        "accumulate_grad_batches": ACCUMULATE,
        "val_check_interval": EVERY * ACCUMULATE,
        "logger": False,
        "enable_checkpointing": bool(more),
        **chosen,
    }
    trainer = package.Trainer(
        accelerator="cpu",
        default_root_dir=place,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*given, make_watcher(package, records, callback, stop), *more],
        **made,
    )
    module = module if module is not None else make_module(package)
    trainer.fit(module, *(data or loaders()), ckpt_path=ckpt)
    return trainer, records


class DictLogger(new.loggers.Logger):
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        return "kept"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append(dict(metrics))

    def log_hyperparams(self, *_: object, **__: object) -> None:
        pass


def saver(place: Path, **chosen: Any) -> Any:
    made = {"dirpath": place, "filename": "{step}", "save_top_k": -1, **chosen}
    return new.callbacks.ModelCheckpoint(**made)


def observed(run_dir: Path) -> list[tuple[int, Any]]:
    lines = [line for line in read_events(run_dir) if isinstance(line.event, Observed)]
    return [(line.envelope.step, line.event.metric) for line in lines]  # type: ignore[union-attr]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: str(p.__name__))
def test_it_tunes_in_the_trainers_of_both_packages(package: Any, tmp_path: Path) -> None:
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    assert isinstance(callback, package.Callback)
    trainer, _ = train(tmp_path, callback, package=package)
    check_lively(tmp_path / "run")
    assert callback.tuner is not None
    assert callback.tuner.steps == trainer.global_step == STEPS
    due = list(range(EVERY, STEPS + 1, EVERY))
    assert [step for step, _ in observed(tmp_path / "run")] == due, "no sanity check among them"
    opened = read_events(tmp_path / "run")[0].event
    assert isinstance(opened, Opened)
    assert opened.total_steps == STEPS


def test_the_rate_in_force_is_multiplier_times_schedule_and_nobody_else_sees_it(
    tmp_path: Path,
) -> None:
    _, plain = train(tmp_path, None)
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    _, tuned = train(tmp_path, callback)
    assert len(set(tuned.moves)) > 5
    assert tuned.used == [rate * move for rate, move in zip(plain.used, tuned.moves, strict=True)]
    assert tuned.outside == plain.outside, "outside of a step there is the schedule alone"


@pytest.mark.parametrize("accumulate", [1, ACCUMULATE])
def test_with_evaluate_the_rate_is_calibrated_in_lightnings_own_steps(
    accumulate: int, tmp_path: Path
) -> None:
    x, y = data()
    module = make_module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.5)

    def evaluate() -> Tensor:
        error: Tensor = (module.net(x[TRAIN_ROWS:]) - y[TRAIN_ROWS:]).square().mean(1)
        return error

    def optimizers() -> Any:
        return SGD(module.parameters(), lr=1e-4)

    module.configure_optimizers = optimizers
    callback = GptuneCallback(evaluate=evaluate, run_dir=tmp_path / "run")
    more: dict[str, Any] = {"max_epochs": 5 * accumulate, "accumulate_grad_batches": accumulate}
    train(tmp_path, callback, module=module, **more)
    looks = [one for one in read_events(tmp_path / "run") if isinstance(one.event, LookAhead)]
    assert len(looks) == 2
    assert callback.tuner is not None
    assert callback.tuner.values["opt.lr"] > 10, "the rate was far too low"
    assert audit(tmp_path / "run").holds


def test_what_is_saved_during_a_calibration_is_the_run_and_no_trial(tmp_path: Path) -> None:
    x, y = data()
    module = make_module()
    same: list[bool] = []

    class Auditor(new.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step % 7 == 0:
                trainer.save_checkpoint(tmp_path / "saved.ckpt")
                saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)["state_dict"]
                live = pl_module.state_dict()
                same.append(all(torch.equal(saved[name], live[name]) for name in live))

    def evaluate() -> Tensor:
        return nn.functional.mse_loss(module.net(x[TRAIN_ROWS:]), y[TRAIN_ROWS:])

    callback = GptuneCallback(evaluate=evaluate, run_dir=tmp_path / "run")
    train(tmp_path, callback, module=module, callbacks=[Auditor()], max_epochs=5)
    kinds = [type(line.event).__name__ for line in read_events(tmp_path / "run")]
    assert "LookAhead" in kinds
    assert len(same) > 5
    assert all(same)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_trial_is_reported_after_each_validation_and_ended_early(
    package: Any, tmp_path: Path
) -> None:
    rates = (0.02, 1e-5)

    def objective(params: Any, trial: Trial) -> float:
        module = make_module(package)
        rate = params["rate"]
        module.configure_optimizers = lambda: SGD(module.parameters(), lr=rate)
        callbacks = [PruningCallback(trial)]
        trainer, _ = train(tmp_path, None, package=package, module=module, callbacks=callbacks)
        trainer.validate(module, loaders()[1], verbose=False)  # no report: it is over
        value: float = trainer.callback_metrics["val_loss"].item()
        return value

    pruner = median_pruner(startup_trials=1, least=1)
    study = Study("one", space={"rate": Categorical(rates)}, sampler=GridSampler(), pruner=pruner)
    study.optimize(objective)
    first, second = study.trials
    assert first.state == "complete"
    assert sorted(first.reports) == list(range(EVERY, STEPS + 1, EVERY))
    assert first.value == first.reports[STEPS]
    assert (second.state, sorted(second.reports)) == ("pruned", [EVERY])


def test_a_metric_that_is_not_logged_is_named_and_those_that_are(tmp_path: Path) -> None:
    trial = Study("one", sampler=RandomSampler()).ask()
    with pytest.raises(
        StudyError, match=r"'val/f1' is no number that was logged; there are .*val_loss"
    ):
        train(tmp_path, None, callbacks=[PruningCallback(trial, "val/f1")])


def test_a_trainer_that_logs_nothing_trains(tmp_path: Path) -> None:
    callback = GptuneCallback(mode="observe", run_dir=tmp_path / "run")
    trainer, _ = train(tmp_path, callback, log_every_n_steps=0, max_epochs=1)
    assert trainer.global_step == STEPS // EPOCHS


def test_observed_it_is_the_run_without_gptune(tmp_path: Path) -> None:
    plain, watched = make_module(), make_module()
    train(tmp_path, None, module=plain)
    callback = GptuneCallback(mode="observe", run_dir=tmp_path / "run")
    train(tmp_path, callback, module=watched)
    assert equal(weights(plain), weights(watched))


@pytest.mark.parametrize("when", ["end of an epoch", "after a validation", "in between"])
def test_a_run_that_dies_and_is_resumed_from_lightnings_checkpoint_decides_alike(
    when: str, tmp_path: Path
) -> None:
    plans: dict[str, dict[str, Any]] = {
        "end of an epoch": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
        "after a validation": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
        # One that is due at a step of a validation is saved before it; resumed from there,
        # Lightning 2.6 leaves that validation out, with or without gptune.
        "in between": {"every_n_train_steps": 10},
    }

    def run(name: str, **chosen: Any) -> Any:
        module = make_module()
        keeps = saver(tmp_path / name, **plans[when])
        data = loaders(resumable=when != "end of an epoch")
        callback = GptuneCallback(recipe=RECIPE, **chosen.pop("arguments"))
        train(tmp_path, callback, module=module, callbacks=[keeps], data=data, **chosen)
        return module, callback

    whole, _ = run("whole", arguments={"run_dir": tmp_path / "whole-run"})
    stop = 2 * (STEPS // EPOCHS) + 2 * EVERY * 3 + 9  # in the second epoch, after decisions
    with pytest.raises(Stopped):
        run("dead", arguments={"run_dir": tmp_path / "run"}, stop=stop)
    saved = max((tmp_path / "dead").glob("*.ckpt"), key=lambda p: int(p.stem.partition("=")[2]))
    again, callback = run("dead", arguments={}, ckpt=str(saved))
    assert callback.tuner.run_dir == tmp_path / "run", "the run goes on where it was"
    assert essence(tmp_path / "run") == essence(tmp_path / "whole-run")
    assert equal(weights(again), weights(whole))
    check_lively(tmp_path / "run")


def killed(place: str) -> None:
    """Train, and die in the middle as a machine does; run in a process of its own."""

    class Kills(new.Callback):
        def on_train_batch_start(self, trainer: Any, *_: object) -> None:
            if trainer.global_step == STEPS - 30:
                os.kill(os.getpid(), signal.SIGKILL)

    callback = GptuneCallback(recipe=RECIPE, run_dir=Path(place) / "run")
    keeps = saver(Path(place) / "saved", every_n_epochs=1)
    train(Path(place), callback, callbacks=[keeps, Kills()])


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    words = f"from {__name__} import killed; killed({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    (saved,) = (tmp_path / "saved").glob(f"step={STEPS // EPOCHS}.ckpt")
    callback = GptuneCallback(recipe=RECIPE)
    train(tmp_path, callback, ckpt=str(saved), callbacks=[saver(tmp_path / "saved")])
    train(tmp_path, GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "whole"))
    assert essence(tmp_path / "run") == essence(tmp_path / "whole")
    check_lively(tmp_path / "run")


class Adversaries(new.LightningModule):
    """Two optimizers, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = network(), network()
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> Tensor:
        losses = []
        optimizers: Any = self.optimizers()
        for net, optimizer in zip((self.one, self.two), optimizers, strict=True):
            loss = nn.functional.mse_loss(net(batch[0]), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            losses.append(loss)
        return torch.stack(losses).sum()

    def validation_step(self, batch: Any, index: int) -> None:
        loss = nn.functional.mse_loss(self.one(batch[0]), batch[1])
        self.log("val_loss", loss)

    def configure_optimizers(self) -> Any:
        return [SGD(net.parameters(), lr=0.02) for net in (self.one, self.two)]


def test_two_optimizers_stepped_by_hand_count_one_step_a_batch(tmp_path: Path) -> None:
    moves = {"mutations": {"lr": MOVES}}
    recipe = {**RECIPE, "actuators": {"opt": moves, "opt2": moves}}
    callback = GptuneCallback(recipe=recipe, run_dir=tmp_path / "run")
    chosen: dict[str, Any] = {"accumulate_grad_batches": 1, "val_check_interval": EVERY}
    trainer, records = train(tmp_path, callback, module=Adversaries(), **chosen)
    assert callback.tuner is not None
    assert callback.tuner.steps == records.batches == trainer.global_step // 2
    found = {change.family for _, e in essence(tmp_path / "run") for change in changes(e)}
    assert found == {"opt.lr", "opt2.lr"}
    assert audit(tmp_path / "run").holds


def changes(event: Any) -> tuple[Any, ...]:
    return event.changes if isinstance(event, Applied) else ()


def test_the_guard_puts_the_module_back_after_a_nan(tmp_path: Path) -> None:
    module = make_module(poison=240)
    callback = GptuneCallback(mode="guard", run_dir=tmp_path / "run")
    train(tmp_path, callback, module=module)
    assert any(isinstance(event, Restored) for _, event in essence(tmp_path / "run"))
    assert all(bool(weight.isfinite().all()) for weight in module.parameters())
    assert audit(tmp_path / "run").holds


def test_without_validation_the_training_loss_is_the_objective_at_the_end_of_an_epoch(
    tmp_path: Path,
) -> None:
    callback = GptuneCallback(mode="observe", run_dir=tmp_path / "run")
    trainer, _ = train(tmp_path, callback, limit_val_batches=0)
    seen = observed(tmp_path / "run")
    assert [step for step, _ in seen] == [STEPS // 2, STEPS]
    assert seen[-1][1] == pytest.approx(float(trainer.callback_metrics["train_loss_epoch"]))


def test_the_sanity_check_is_no_decision(tmp_path: Path) -> None:
    callback = GptuneCallback(mode="observe", run_dir=tmp_path / "run")
    train(tmp_path, callback, num_sanity_val_steps=1)
    assert observed(tmp_path / "run")[0][0] == EVERY


def test_the_users_exception_passes_and_what_is_unjudged_is_put_back(tmp_path: Path) -> None:
    module, callback = make_module(), GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    with pytest.raises(Stopped):
        train(tmp_path, callback, module=module, stop=100)
    ends = [type(event).__name__ for _, event in essence(tmp_path / "run")][-2:]
    assert ends == ["RolledBack", "Closed"]
    assert audit(tmp_path / "run").holds


def test_the_trainers_loggers_show_the_moves_and_a_broken_one_stops_nothing(
    tmp_path: Path,
) -> None:
    class Broken(DictLogger):
        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            if any(name.startswith("gptune/") for name in metrics):
                raise OSError("the network is down")

    kept, broken = DictLogger(), Broken()
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    trainer, _ = train(tmp_path, callback, logger=[broken, kept])
    ours = [row for row in kept.rows if "gptune/opt.lr" in row]
    assert len([row for row in ours if "gptune/decision" in row]) == STEPS // EVERY
    assert all(0.1 <= row["gptune/opt.lr"] <= 10 for row in ours)
    assert all(0 < row["gptune/effective/opt.lr"] <= 0.2 for row in ours)
    assert trainer.global_step == STEPS


def test_training_stops_when_the_user_wants_it(tmp_path: Path) -> None:
    callback = GptuneCallback(
        mode="observe", run_dir=tmp_path / "run", stop_when=lambda decision: decision.number == 3
    )
    trainer, _ = train(tmp_path, callback)
    assert trainer.global_step == 3 * EVERY


def test_more_epochs_and_a_lost_run_directory_do_not_stop_a_resumed_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTUNE_RUNS", str(tmp_path / "others"))
    keeps = saver(tmp_path / "saved", every_n_epochs=1)
    first = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    train(tmp_path, first, callbacks=[keeps])
    (tmp_path / "run").rename(tmp_path / "away")
    saved = str(tmp_path / "saved" / f"step={STEPS}.ckpt")
    state = torch.load(saved, weights_only=True)["callbacks"]["gptune.GptuneCallback"]
    assert state["run_dir"] == str(tmp_path / "run")
    callback = GptuneCallback(recipe=RECIPE)
    trainer, _ = train(tmp_path, callback, ckpt=saved, max_epochs=3, callbacks=[keeps])
    assert trainer.global_step == 3 * STEPS // 2
    assert callback.tuner is not None
    assert callback.tuner.steps == trainer.global_step
    (place,) = (tmp_path / "others").iterdir()
    assert callback.tuner.run_dir == place
    assert f"began with {STEPS} steps" in caplog.text
    assert audit(place).holds


def test_a_trainer_that_is_fitted_again_goes_on(tmp_path: Path) -> None:
    callback, module = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run"), make_module()
    trainer, _ = train(tmp_path, callback, module=module, max_epochs=1)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, *loaders())
    assert callback.tuner is not None
    assert callback.tuner.steps == trainer.global_step == STEPS
    assert audit(tmp_path / "run").holds


def test_half_precision_and_a_training_step_that_gives_nothing(tmp_path: Path) -> None:
    module = make_module()
    whole = module.training_step

    def sometimes(batch: Any, batch_idx: int) -> Any:
        return None if batch_idx == 3 else {"loss": whole(batch, batch_idx)}

    module.training_step = sometimes
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer, _ = train(tmp_path, callback, module=module, precision="bf16-mixed")
    assert callback.tuner is not None
    assert callback.tuner.steps == trainer.global_step
    check_lively(tmp_path / "run")


def test_a_wrong_argument_is_named_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="mode"):
        train(tmp_path, GptuneCallback(mode="loud", run_dir=tmp_path / "run"))


def test_it_is_a_callback_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    assert room.callback_class().__bases__ == (new.Callback,)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(ImportError, match=r"pip install 'gptune-torch\[lightning\]'"):
        room.callback_class()


def test_a_broken_installation_is_not_called_a_missing_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'torchmetrics'", name="torchmetrics")

    monkeypatch.setattr(importlib, "import_module", breaks)
    with pytest.raises(ModuleNotFoundError, match="torchmetrics"):
        room.callback_class()
