"""The reference loop: an ordinary one without gptune, and one that is tuned, saved and resumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import gptune
from gptune import Tuner
from gptune.adapters import loop
from gptune.adapters.loop import Evaluation, Fit, fit
from gptune.adapters.sinks import Csv
from gptune.errors import StateError, UsageError
from gptune.events import Applied, Observed, Opened
from gptune.run_directory.event_log import effective, read_events
from gptune.study.trial import Trial
from tests.adapters.framed import RECIPE

EPOCHS, BATCH, ROWS = 4, 8, 60


class Setting:
    """A small regression with momentum, a schedule, and dropout; equal settings are equal runs."""

    def __init__(self) -> None:
        torch.manual_seed(7)
        x = torch.randn(ROWS, 5)
        y = x.sin().sum(1, keepdim=True)
        self.model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
        self.optimizer = SGD(self.model.parameters(), lr=0.02, momentum=0.9)
        self.scheduler = LambdaLR(self.optimizer, lambda step: 0.99**step)
        self.train = DataLoader(TensorDataset(x, y), BATCH, shuffle=True)
        self.validation = DataLoader(TensorDataset(x[:20].clone(), y[:20].clone()), 16)

    def fit(self, **chosen: Any) -> Fit:
        given: dict[str, Any] = {"epochs": EPOCHS, "scheduler": self.scheduler, **chosen}
        data = (self.train, self.validation)
        return fit(self.model, self.optimizer, nn.functional.mse_loss, *data, **given)

    def weights(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.model.parameters()]


@pytest.mark.parametrize("validates", [True, False])
def test_a_trial_is_reported_at_each_evaluation_and_ended_early(
    validates: bool, tmp_path: Path
) -> None:
    def objective(params: Any, trial: Trial) -> float:
        setting = Setting()
        rate = params["rate"]
        setting.optimizer.param_groups[0]["lr"] = setting.scheduler.base_lrs[0] = rate
        data = (setting.train, setting.validation if validates else None)
        tuner = {"mode": "observe", "run_dir": tmp_path / f"run-{trial.number}"}
        arguments: dict[str, Any] = {"epochs": 8, "scheduler": setting.scheduler}
        arguments |= {"tuner": tuner, "trial": trial}
        done = fit(setting.model, setting.optimizer, nn.functional.mse_loss, *data, **arguments)
        last = done.history[-1]
        assert done.tuner is not None
        return last.train_loss if last.val_loss is None else last.val_loss

    space = {"rate": gptune.Categorical((0.02, 1e-4))}
    pruner = gptune.median_pruner(warmup_steps=16, startup_trials=1, least=1)
    study = gptune.Study("one", space=space, sampler=gptune.GridSampler(), pruner=pruner)
    study.optimize(objective)
    first, second = study.trials
    assert first.state == "complete"
    assert sorted(first.reports) == list(range(1, 65))
    assert first.value == first.reports[64]
    assert second.state == "pruned"
    assert max(second.reports) == 16
    gptune.Tuner(Setting().optimizer, run_dir=tmp_path / "run-1", resume=True).close()  # given back


def test_a_checkpoint_during_a_calibration_holds_the_run_and_no_trial(tmp_path: Path) -> None:
    setting, found = Setting(), list[bool]()

    def check(file: Path, state: Mapping[str, Any]) -> None:
        live = setting.model.state_dict()
        found.append(all(torch.equal(live[name], one) for name, one in state["model"].items()))
        found.append(state["scaler"] == scalers[-1].state_dict())

    scalers = list[GradScaler]()

    class Scaler(GradScaler):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            scalers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "write_checkpoint", check)
        patch.setattr(loop, "GradScaler", Scaler)
        more: dict[str, Any] = {"precision": "fp16", "checkpoint": tmp_path / "x.pt"}
        setting.fit(epochs=80, tuner={"run_dir": tmp_path}, **more)
    assert len(found) == 160
    assert all(found)
    kinds = {type(line.event).__name__ for line in read_events(tmp_path)}
    assert "LookAhead" in kinds


def by_hand(setting: Setting, *, accumulate: int, clip: float) -> None:
    """Train as `fit` says that it does."""
    for _ in range(EPOCHS):
        setting.model.train()
        for number, (x, y) in enumerate(setting.train, start=1):
            loss = nn.functional.mse_loss(setting.model(x), y)
            (loss / accumulate).backward()  # type: ignore[no-untyped-call]
            if number % accumulate and number < len(setting.train):
                continue
            nn.utils.clip_grad_norm_(setting.model.parameters(), clip)
            setting.optimizer.step()
            setting.optimizer.zero_grad()
            setting.scheduler.step()


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def observing(tmp_path: Path) -> dict[str, Any]:
    return {"mode": "observe", "run_dir": tmp_path / "run"}


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("tuned", [False, True])
def test_untuned_and_observed_it_is_the_loop_that_one_would_write(
    accumulate: int, tuned: bool, tmp_path: Path
) -> None:
    setting, hand = Setting(), Setting()
    tuner = observing(tmp_path) if tuned else False
    torch.manual_seed(3)
    done = setting.fit(tuner=tuner, accumulate=accumulate, clip_norm=0.5)
    torch.manual_seed(3)
    by_hand(hand, accumulate=accumulate, clip=0.5)
    assert equal(setting.weights(), hand.weights())
    assert done.history[-1].step == EPOCHS * -(-8 // accumulate)
    assert (done.tuner is None) is not tuned


def test_every_evaluation_is_a_decision_and_knows_both_losses(tmp_path: Path) -> None:
    setting = Setting()
    done = setting.fit(tuner=observing(tmp_path), evaluate_every=3)
    steps = [one.step for one in done.history]
    assert steps == sorted({*range(3, 33, 3), *range(8, 33, 8)})
    observed = [e.event for e in read_events(tmp_path / "run") if isinstance(e.event, Observed)]
    assert [one.metric for one in observed] == [one.val_loss for one in done.history]
    assert done.history[-1].train_loss < done.history[0].train_loss
    assert [one.epoch for one in done.history if one.step % 8 == 0] == [1, 2, 3, 4]


def test_the_validation_loss_is_the_mean_over_its_rows(tmp_path: Path) -> None:
    setting = Setting()
    done = setting.fit(tuner=False)
    x, y = setting.validation.dataset.tensors  # type: ignore[attr-defined]
    setting.model.eval()
    with torch.no_grad():
        due = float(nn.functional.mse_loss(setting.model(x), y))
    assert done.history[-1].val_loss == pytest.approx(due, rel=1e-6)
    assert setting.model.training is False


def test_without_validation_data_the_training_loss_is_the_objective(tmp_path: Path) -> None:
    setting = Setting()
    done = fit(
        setting.model,
        setting.optimizer,
        nn.functional.mse_loss,
        setting.train,
        epochs=2,
        tuner={"run_dir": tmp_path / "run", "mode": "observe"},
    )
    assert [one.val_loss for one in done.history] == [None] * len(done.history)
    observed = [e.event for e in read_events(tmp_path / "run") if isinstance(e.event, Observed)]
    assert [one.metric for one in observed] == [one.train_loss for one in done.history]


def essence(run_dir: Path) -> list[Any]:
    lines = effective(read_events(run_dir))
    return [(e.envelope.step, e.event) for e in lines if not isinstance(e.event, Opened)]


@pytest.mark.parametrize("tuned", [False, True])
def test_a_run_that_dies_and_is_resumed_from_its_checkpoint_is_the_uninterrupted_one(
    tuned: bool, tmp_path: Path
) -> None:
    def tuner(name: str) -> Any:
        return {"recipe": RECIPE, "run_dir": tmp_path / name} if tuned else False

    whole = Setting()
    torch.manual_seed(3)
    expected = whole.fit(tuner=tuner("whole"), evaluate_every=2)
    first, saved = Setting(), tmp_path / "saved.pt"
    torch.manual_seed(3)
    steps: list[int] = []

    def dies(*_: object) -> None:
        steps.append(1)
        if len(steps) == 20:
            raise KeyboardInterrupt

    step = first.optimizer.register_step_post_hook(dies)
    with pytest.raises(KeyboardInterrupt):
        first.fit(tuner=tuner("killed"), evaluate_every=2, checkpoint=saved)
    step.remove()
    second = Setting()
    torch.manual_seed(99)  # what is drawn comes from the checkpoint
    done = second.fit(tuner=tuner("killed"), evaluate_every=2, checkpoint=saved, resume=True)
    assert equal(second.weights(), whole.weights())
    told = [(one.epoch, one.step, one.train_loss, one.val_loss) for one in done.history]
    assert told == [(o.epoch, o.step, o.train_loss, o.val_loss) for o in expected.history]
    if tuned:
        kinds = [event for _, event in essence(tmp_path / "whole")]
        assert any(isinstance(event, Applied) for event in kinds)
        assert essence(tmp_path / "killed") == essence(tmp_path / "whole")


def test_resume_without_a_file_begins_anew_and_a_strange_file_is_refused(tmp_path: Path) -> None:
    setting, file = Setting(), tmp_path / "saved.pt"
    assert setting.fit(tuner=False, checkpoint=file, resume=True).history[-1].step == 32
    assert Setting().fit(tuner=False, checkpoint=file, resume=True).history[-1].step == 32
    torch.save({"model": 1}, file)
    with pytest.raises(StateError, match="is no checkpoint that"):
        Setting().fit(tuner=False, checkpoint=file, resume=True)
    with pytest.raises(UsageError, match="resume=True needs checkpoint="):
        Setting().fit(tuner=False, resume=True)


def test_a_tuner_of_the_users_own_is_used_and_left_open(tmp_path: Path) -> None:
    setting = Setting()
    with Tuner(setting.optimizer, mode="observe", run_dir=tmp_path / "run") as tuner:
        done = setting.fit(tuner=tuner)
        assert done.tuner is tuner
        assert tuner.steps == 32
        tuner.report({"val/loss": 1.0})


def test_by_default_it_calibrates_and_guards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTUNE_RUNS", str(tmp_path))
    setting = Setting()
    done = setting.fit(epochs=80, tuner=True)
    assert done.tuner is not None
    assert done.tuner.recipe.objective.primary == "val/loss"
    kinds = {type(e.event).__name__ for e in read_events(next(tmp_path.iterdir()))}
    assert "LookAhead" in kinds, "a run of 640 steps is long enough for a calibration"
    assert done.history[-1].step == 640


class Kept:
    """A sink that keeps what it is given, or raises."""

    def __init__(self, *, broken: bool = False) -> None:
        self.rows: list[tuple[int, Mapping[str, float]]] = []
        self.broken = broken

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        if self.broken:
            raise OSError
        self.rows.append((step, numbers))


@pytest.mark.parametrize("tuned", [False, True])
def test_sinks_get_the_losses_of_every_evaluation_and_the_moves(
    tuned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    tuner = {"recipe": RECIPE, "run_dir": tmp_path / "run"} if tuned else False
    sinks = [Kept(broken=True), kept]
    done = Setting().fit(tuner=tuner, sinks=sinks)
    losses = [(one.step, one.train_loss, one.val_loss) for one in done.history]
    assert [(n, row["train/loss"], row["val/loss"]) for n, row in kept.rows] == losses
    for number, (_, row) in enumerate(kept.rows, start=1):
        assert row.get("gptune/decision") == (number if tuned else None)
        assert row.get("gptune/objective") == (row["val/loss"] if tuned else None)
    assert len({row.get("gptune/opt.lr") for _, row in kept.rows}) > 1 or not tuned
    assert caplog.text.count("Kept shows nothing (OSError") == 1


def test_without_validation_data_sinks_get_what_is_there() -> None:
    setting, kept = Setting(), Kept()
    parts = (setting.model, setting.optimizer, nn.functional.mse_loss, setting.train)
    done = fit(*parts, epochs=1, tuner=False, sinks=[kept])
    assert kept.rows == [(one.step, {"train/loss": one.train_loss}) for one in done.history]


def test_the_table_of_a_run_that_died_and_was_resumed_is_that_of_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    def train(name: str, *, dies_at: int = 0, **chosen: Any) -> None:
        setting, steps = Setting(), []

        def count(*_: object) -> None:
            steps.append(1)
            if len(steps) == dies_at:
                raise KeyboardInterrupt

        setting.optimizer.register_step_post_hook(count)
        torch.manual_seed(3)
        tuner = {"recipe": RECIPE, "run_dir": tmp_path / name}
        table = Csv(tmp_path / f"{name}.csv")
        setting.fit(tuner=tuner, evaluate_every=2, sinks=[table], **chosen)

    train("whole")
    chosen: dict[str, Any] = {"checkpoint": tmp_path / "saved.pt"}
    with pytest.raises(KeyboardInterrupt):
        train("killed", dies_at=22, **chosen)
    train("killed", resume=True, **chosen)
    whole = (tmp_path / "whole.csv").read_text()
    assert (tmp_path / "killed.csv").read_text() == whole
    assert whole.startswith("step,train/loss,val/loss,gptune/opt.lr,")
    assert len(whole.splitlines()) == 1 + EPOCHS * 4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_saves_its_scaler(precision: Any, tmp_path: Path) -> None:
    setting = Setting()
    done = setting.fit(
        tuner={"recipe": RECIPE, "run_dir": tmp_path / "run"},
        precision=precision,
        clip_norm=1.0,
        checkpoint=tmp_path / "saved.pt",
    )
    assert done.history[-1].train_loss < done.history[0].train_loss
    scaler = torch.load(tmp_path / "saved.pt", weights_only=True)["scaler"]
    assert bool(scaler) is (precision == "fp16")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number >= 1, got 0"),
        ({"epochs": True}, "epochs must be"),
        ({"accumulate": 1.5}, "accumulate must be"),
        ({"evaluate_every": -1}, "evaluate_every must be"),
        ({"precision": "int8"}, "precision must be 'bf16', 'fp16' or None, got 'int8'"),
        ({"sinks": "metrics.csv"}, r"sinks: must be a list .* got 'metrics.csv'"),
        ({"sinks": [None]}, "sinks: must be a list .* got None"),
    ],
)
def test_a_wrong_argument_is_named(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Setting().fit(tuner=False, **chosen)


def test_data_that_does_not_fit_is_named() -> None:
    setting = Setting()
    chosen: dict[str, Any] = {"epochs": 1, "tuner": False}

    def run(loader: Any) -> Fit:
        return fit(setting.model, setting.optimizer, nn.functional.mse_loss, loader, **chosen)

    for loader, message in (
        (iter(setting.train), "must have a length and begin anew"),
        ((pair for pair in setting.train), "must have a length and begin anew"),
        ([], "is empty"),
        ([torch.zeros(4, 5)], "a batch must be a pair"),
    ):
        with pytest.raises(UsageError, match=message):
            run(loader)


def test_inputs_may_be_mappings_and_tuples_and_go_to_the_models_device() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 1)

        def forward(self, given: Any) -> Tensor:
            made: Tensor = self.inner(given["x"]) + given["more"][0] + given["name"].count("a")
            return made

    model = Model()
    batch = ({"x": torch.ones(3, 2), "more": (torch.zeros(1), 1), "name": "a"}, torch.ones(3, 1))
    optimizer = SGD(model.parameters(), lr=0.01)
    done = fit(model, optimizer, nn.functional.mse_loss, [batch], epochs=3, tuner=False)
    assert done.history[-1].train_loss < done.history[0].train_loss


def test_a_bar_is_shown_on_demand(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    Setting().fit(tuner=False, progress=True)
    assert "epoch 4" in capsys.readouterr().err
    Setting().fit(tuner=False)
    assert capsys.readouterr().out == ""


def test_exceptions_of_the_users_own_pass_and_the_tuner_is_closed(tmp_path: Path) -> None:
    setting = Setting()

    def breaks(outputs: Tensor, targets: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(
            setting.model,
            setting.optimizer,
            breaks,
            setting.train,
            epochs=1,
            tuner=observing(tmp_path),
        )
    with Tuner(setting.optimizer, run_dir=tmp_path / "other") as tuner:
        assert tuner.mode == "active", "the optimizer is free again"


def test_it_is_public() -> None:
    assert gptune.fit is fit
    assert isinstance(Evaluation(1, 1, 1.0, None, 0.0), Evaluation)
