"""The callback in the real Trainer: schedules, accumulation, checkpoints, deaths, odd users."""

import builtins
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import SGD
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from gptune import Categorical, GridSampler, Study, median_pruner
from gptune.adapters.huggingface import FILE, GptuneCallback, Losses, PruningCallback
from gptune.audit import audit
from gptune.errors import RecipeError, StateError
from gptune.events import Observed, Opened, Restored
from gptune.run_directory.event_log import read_events
from gptune.study.trial import Trial
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


class Model(nn.Module):
    """A regression that speaks as the Trainer expects it."""

    def __init__(self, poison: int | None = None) -> None:
        super().__init__()
        self.net, self.poison, self.seen = network(), poison, 0

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        given = self.net(x)
        loss = nn.functional.mse_loss(given, labels)
        self.seen += self.training
        if self.training and self.seen == self.poison:
            loss = loss * torch.nan
        return {"loss": loss, "logits": given}


class Watcher(TrainerCallback):
    """Writes down what a run looks like from the user's side, and raises at a step."""

    def __init__(self, tuned: GptuneCallback | None, stop: int) -> None:
        self.outside: list[float] = []  # the rate in the groups at the beginning of each step
        self.used: list[float] = []  # the rate that each step has used
        self.moves: list[float] = []  # the multiplier that was in force
        self.tuned, self.stop = tuned, stop

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["optimizer"].optimizer.register_step_pre_hook(self.see)

    def see(self, optimizer: Any, *_: object) -> None:
        self.used.append(optimizer.param_groups[0]["lr"])
        tuner = self.tuned.tuner if self.tuned is not None else None
        self.moves.append(tuner.values["opt.lr"] if tuner is not None else 1.0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.outside.append(kwargs["optimizer"].param_groups[0]["lr"])
        if state.global_step == self.stop:
            raise Stopped


def rows(first: int, last: int) -> list[dict[str, Tensor]]:
    x, y = data()
    return [{"x": x[i], "labels": y[i]} for i in range(first, last)]


def make_trainer(
    place: Path,
    *callbacks: Any,
    model: Any = None,
    train_dataset: Any = None,
    eval_dataset: Any = None,
    **chosen: Any,
) -> Trainer:
    model = model if model is not None else Model()
    options: dict[str, Any] = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 64,
        "gradient_accumulation_steps": ACCUMULATE,
        "learning_rate": 0.02,
        "lr_scheduler_type": "cosine",
        "eval_strategy": "steps",
        "eval_steps": EVERY,
        "logging_steps": EVERY,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 5,
        **chosen,
    }
    return Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(place), **options),
        train_dataset=train_dataset or rows(0, TRAIN_ROWS),
        eval_dataset=eval_dataset or rows(TRAIN_ROWS, TRAIN_ROWS + 64),
        callbacks=list(callbacks),
        optimizer_cls_and_kwargs=(SGD, {"lr": 0.02, "momentum": 0.9}),
    )


def train(
    place: Path, callback: GptuneCallback | None, *, stop: int = -1, **chosen: Any
) -> tuple[Trainer, Watcher]:
    watcher = Watcher(callback, stop)
    ckpt = chosen.pop("ckpt", None)
    given = [watcher] if callback is None else [callback, watcher]
    trainer = make_trainer(place, *given, **chosen)
    trainer.train(resume_from_checkpoint=None if ckpt is None else str(ckpt))
    return trainer, watcher


def observed(run_dir: Path) -> list[tuple[int, Any]]:
    return [(at, event.metric) for at, event in essence(run_dir) if isinstance(event, Observed)]


SAVES: dict[str, Any] = {"save_strategy": "steps", "save_steps": 4 * EVERY}


def test_it_tunes_and_decides_once_an_evaluation(tmp_path: Path) -> None:
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    trainer, _ = train(tmp_path, callback)
    check_lively(tmp_path / "run")
    assert callback.tuner is not None
    assert callback.tuner.steps == trainer.state.global_step == STEPS
    seen = observed(tmp_path / "run")
    assert [step for step, _ in seen] == list(range(EVERY, STEPS + 1, EVERY))
    history = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert [metric for _, metric in seen] == history
    opened = read_events(tmp_path / "run")[0].event
    assert isinstance(opened, Opened)
    assert opened.total_steps == STEPS


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_in_force_is_multiplier_times_schedule_and_nobody_else_sees_it(
    schedule: str, tmp_path: Path
) -> None:
    _, plain = train(tmp_path, None, lr_scheduler_type=schedule, warmup_steps=20)
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    trainer, tuned = train(tmp_path, callback, lr_scheduler_type=schedule, warmup_steps=20)
    assert len(set(tuned.moves)) > 5
    assert tuned.used == [rate * move for rate, move in zip(plain.used, tuned.moves, strict=True)]
    assert tuned.outside == plain.outside, "outside of a step there is the schedule alone"
    logged = [row for row in trainer.state.log_history if "learning_rate" in row]
    assert [row["learning_rate"] for row in logged] == plain.used[EVERY - 1 :: EVERY]
    effective = [row["gptune/effective/opt.lr"] for row in logged]
    assert effective == tuned.used[EVERY - 1 :: EVERY]


def test_observed_it_is_the_run_without_gptune(tmp_path: Path) -> None:
    plain, watched = Model(), Model()
    train(tmp_path, None, model=plain)
    callback = GptuneCallback(mode="observe", run_dir=tmp_path / "run")
    train(tmp_path, callback, model=watched)
    assert equal(weights(plain), weights(watched))


def test_a_run_that_dies_and_is_resumed_from_the_trainers_checkpoint_decides_alike(
    tmp_path: Path,
) -> None:
    whole = Model()
    train(tmp_path, GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "whole"), model=whole)
    dead = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    with pytest.raises(Stopped):
        train(tmp_path / "out", dead, stop=STEPS - 30, **SAVES)
    again, callback = Model(), GptuneCallback(recipe=RECIPE)
    saved = tmp_path / "out" / f"checkpoint-{12 * EVERY}"
    train(tmp_path / "out", callback, model=again, ckpt=saved, **SAVES)
    assert callback.tuner is not None
    assert callback.tuner.run_dir == tmp_path / "run", "the run goes on where it was"
    assert essence(tmp_path / "run") == essence(tmp_path / "whole")
    assert equal(weights(again), weights(whole))
    check_lively(tmp_path / "run")


def test_a_trial_is_reported_at_each_evaluation_and_ended_early(tmp_path: Path) -> None:
    rates = (0.02, 1e-5)

    def objective(params: Any, trial: Trial) -> float:
        rate = params["rate"]
        place = tmp_path / str(trial.number)
        trainer = make_trainer(place, PruningCallback(trial))
        trainer.optimizer_cls_and_kwargs = (SGD, {"lr": rate, "momentum": 0.9})
        trainer.train()
        value: float = trainer.evaluate()["eval_loss"]
        return value

    pruner = median_pruner(startup_trials=1, least=1)
    study = Study("one", space={"rate": Categorical(rates)}, sampler=GridSampler(), pruner=pruner)
    study.optimize(objective)
    first, second = study.trials
    assert first.state == "complete"
    assert sorted(first.reports) == list(range(EVERY, STEPS, EVERY)), "not at the end: it is over"
    assert (second.state, sorted(second.reports)) == ("pruned", [EVERY])


class Auditor(TrainerCallback):
    """Compares what the Trainer has just saved with what training goes on with."""

    def __init__(self) -> None:
        self.same: list[bool] = []

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        place = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        saved, live = load_file(place / "model.safetensors"), kwargs["model"].state_dict()
        self.same.append(all(torch.equal(saved[name], live[name]) for name in live))
        inner = kwargs["optimizer"].optimizer.state_dict()["state"]
        kept = torch.load(place / "optimizer.pt", weights_only=True)["state"]
        self.same += [
            torch.equal(kept[k]["momentum_buffer"], inner[k]["momentum_buffer"]) for k in inner
        ]


@pytest.mark.parametrize(
    "saves",
    [
        {"save_strategy": "steps", "save_steps": 7},
        {"save_strategy": "epoch", "eval_strategy": "epoch"},
        {"save_strategy": "best", "eval_steps": 9, "metric_for_best_model": "loss"},
    ],
)
def test_what_is_saved_during_a_calibration_is_the_run_and_no_trial(
    saves: dict[str, Any], tmp_path: Path
) -> None:
    model, held_out = Model(), rows(TRAIN_ROWS, TRAIN_ROWS + 64)

    def evaluate() -> Tensor:
        batch = [torch.stack([row[name] for row in held_out]) for name in ("x", "labels")]
        loss: Tensor = model(*batch)["loss"]
        return loss

    callback, auditor = GptuneCallback(evaluate=evaluate, run_dir=tmp_path / "run"), Auditor()
    given = rows(0, 160) if saves["save_strategy"] == "epoch" else rows(0, TRAIN_ROWS)
    trainer = make_trainer(
        tmp_path / "out",
        callback,
        auditor,
        model=model,
        train_dataset=given,
        max_steps=600,
        learning_rate=1e-4,
        **saves,
    )
    trainer.train()
    kinds = [type(line.event).__name__ for line in read_events(tmp_path / "run")]
    assert "LookAhead" in kinds
    assert len(auditor.same) >= 5
    assert all(auditor.same)


def killed(place: str) -> None:
    """Train, and die in the middle as a machine does; run in a process of its own."""

    class Kills(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == STEPS - 30:
                os.kill(os.getpid(), signal.SIGKILL)

    callback = GptuneCallback(recipe=RECIPE, run_dir=Path(place) / "run")
    make_trainer(Path(place) / "out", callback, Kills(), **SAVES).train()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    words = f"from {__name__} import killed; killed({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    saved = tmp_path / "out" / f"checkpoint-{8 * EVERY}"
    train(tmp_path / "out", GptuneCallback(recipe=RECIPE), ckpt=saved, **SAVES)
    train(tmp_path, GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "whole"))
    assert essence(tmp_path / "run") == essence(tmp_path / "whole")
    check_lively(tmp_path / "run")


def test_loading_the_best_model_at_the_end_is_left_alone(tmp_path: Path) -> None:
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    chosen = {**SAVES, "save_steps": EVERY, "load_best_model_at_end": True, "save_total_limit": 2}
    trainer, _ = train(tmp_path / "out", callback, metric_for_best_model="eval_loss", **chosen)
    best = Path(str(trainer.state.best_model_checkpoint))
    state = json.loads((best / FILE).read_text())
    assert state["tuner"]["steps"] == int(best.name.partition("-")[2])
    losses = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses))
    check_lively(tmp_path / "run")


def test_a_real_transformer_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    ids = torch.randint(1, 16, (896, 6))
    said = [{"input_ids": one, "labels": (one[0] > 7).long()} for one in ids]
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    chosen: dict[str, Any] = {"bf16": True, "eval_dataset": said[832:]}
    trainer = make_trainer(
        tmp_path, callback, model=BertForSequenceClassification(config), **chosen
    )
    trainer.train_dataset = said[:832]
    trainer.train()
    assert callback.tuner is not None
    assert callback.tuner.steps == STEPS
    check_lively(tmp_path / "run")


def test_the_guard_sees_the_models_loss_and_puts_the_model_back(tmp_path: Path) -> None:
    model, callback = Model(poison=240), GptuneCallback(mode="guard", run_dir=tmp_path / "run")
    train(tmp_path, callback, model=model)
    restored = [at for at, event in essence(tmp_path / "run") if isinstance(event, Restored)]
    assert restored
    assert restored[0] < 10 * EVERY, "before the next evaluation"
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())
    assert not model._forward_hooks


def test_without_evaluations_the_logged_loss_is_the_objective(tmp_path: Path) -> None:
    callback = GptuneCallback(mode="observe", run_dir=tmp_path / "run")
    trainer, _ = train(tmp_path, callback, eval_strategy="no")
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert [metric for _, metric in observed(tmp_path / "run")] == logged


def test_of_several_evaluations_that_with_the_objective_is_the_decision(tmp_path: Path) -> None:
    several = {"a": rows(832, 864), "b": rows(864, 896)}
    callback = GptuneCallback(mode="observe", objective="eval_b_loss", run_dir=tmp_path / "run")
    trainer, _ = train(tmp_path, callback, eval_dataset=several, eval_on_start=True)
    history = [row["eval_b_loss"] for row in trainer.state.log_history if "eval_b_loss" in row]
    assert [metric for _, metric in observed(tmp_path / "run")] == history[1:], "not before step 1"


def test_an_objective_that_nobody_reports_is_said_to_be_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = GptuneCallback(mode="observe", objective="eval_losss", run_dir=tmp_path / "run")
    trainer, _ = train(tmp_path, callback)
    assert "the objective 'eval_losss' was not reported" in caplog.text
    assert trainer.state.global_step == STEPS


def test_training_stops_when_the_user_wants_it(tmp_path: Path) -> None:
    callback = GptuneCallback(
        mode="observe", run_dir=tmp_path / "run", stop_when=lambda decision: decision.number == 3
    )
    trainer, _ = train(tmp_path, callback)
    assert trainer.state.global_step == 3 * EVERY


def test_the_users_exception_passes_and_closing_puts_back(tmp_path: Path) -> None:
    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    with pytest.raises(Stopped):
        train(tmp_path, callback, stop=100)
    callback.close()
    ends = [type(event).__name__ for _, event in essence(tmp_path / "run")][-2:]
    assert ends == ["RolledBack", "Closed"]
    assert audit(tmp_path / "run").holds


def test_the_checkpoint_may_lie_elsewhere_or_lack_the_state_or_hold_nonsense(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTUNE_RUNS", str(tmp_path / "runs"))
    train(tmp_path / "out", GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run"), **SAVES)
    saved = tmp_path / "out" / f"checkpoint-{8 * EVERY}"
    named = GptuneCallback(recipe=RECIPE, resume_from=saved)
    train(tmp_path / "other", named, ckpt=saved)
    assert named.tuner is not None
    assert named.tuner.run_dir == tmp_path / "run"
    (saved / FILE).write_text("{")
    with pytest.raises(StateError, match="cannot be read"):
        train(tmp_path / "out", GptuneCallback(recipe=RECIPE), ckpt=saved)
    (saved / FILE).write_text("[]")
    with pytest.raises(StateError, match="holds no state of gptune"):
        train(tmp_path / "out", GptuneCallback(recipe=RECIPE), ckpt=saved)
    (saved / FILE).unlink()
    anew = GptuneCallback(recipe=RECIPE)
    train(tmp_path / "out", anew, ckpt=saved)
    assert anew.tuner is not None
    assert anew.tuner.steps == STEPS - 8 * EVERY
    assert f"no {FILE} in {saved}" in caplog.text


def test_a_disk_that_fails_stops_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Blocks(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            place = Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
            place.mkdir(parents=True)

    callback = GptuneCallback(recipe=RECIPE, run_dir=tmp_path / "run")
    make_trainer(tmp_path / "out", Blocks(), callback, **SAVES).train()
    assert "has no state in this checkpoint" in caplog.text


def test_a_wrong_argument_is_named_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="mode"):
        train(tmp_path, GptuneCallback(mode="loud", run_dir=tmp_path / "run"))


def test_the_loss_of_a_step_is_that_of_its_batches() -> None:
    model, losses = Model(), Losses()
    losses.watch(model)
    x, y = data()
    assert losses.take() is None
    single = model(x[:4], labels=y[:4])["loss"]
    assert losses.take() == single.detach()
    parts = [model(x[i : i + 4], labels=y[i : i + 4])["loss"].detach() for i in (0, 4)]
    assert losses.take() == sum(parts) / 2
    model.eval()
    model(x, labels=y)
    assert losses.take() is None
    losses.forget()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    room = importlib.import_module("gptune.adapters.huggingface")
    real = builtins.__import__
    lacking = "transformers"

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("transformers"):
            raise ModuleNotFoundError(f"No module named {lacking!r}", name=lacking)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'gptune-torch\[huggingface\]'"):
        importlib.reload(room)
    lacking = "tokenizers"
    with pytest.raises(ModuleNotFoundError, match="tokenizers"):
        importlib.reload(room)
