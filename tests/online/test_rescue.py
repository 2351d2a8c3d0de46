"""The guard on real runs: what it restores, when, and what it never touches."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gptune import Tuner
from gptune.actuators.training_state import TrainingState
from gptune.errors import RecipeError, StateError
from gptune.events import Applied, Blocked, LookAhead, Restored, RolledBack
from gptune.online import finite, rescue
from gptune.online.rescue import EVERY
from gptune.records import Action, Reason
from tests.living import Living, same

NO_LOOK: dict[str, Any] = {"calibration": {"enabled": False}, "objective": {"primary": "loss"}}


def guarded(place: Path, **chosen: Any) -> Living:
    return Living(place / "run", **{"mode": "guard", "steps": 400, **chosen})


def ruin(run: Living, factor: float = 30.0) -> None:
    """Let the weights jump, as after a few steps at a rate that is far too high."""
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.mul_(factor)


def break_weights(run: Living) -> None:
    ruin(run, math.nan)


def test_a_poisoned_batch_is_noticed_between_decisions_and_the_next_one_is_skipped(
    tmp_path: Path,
) -> None:
    run = guarded(tmp_path)
    run.poison(105)
    run.poison(205)
    run.train(100)
    run.train(EVERY, every=0)
    (restored,) = run.events(Restored)
    assert (restored.symptom, restored.to_step, restored.snapshot) == (
        *("state_not_finite", 100, "last"),
    )
    run.train()
    assert len(run.events(Restored)) == 1
    assert math.isfinite(run.validation())
    assert run.taken == run.tuner.steps == 400


class Late:
    """A mark that a GPU has come to by the next look, but not at once."""

    def __init__(self) -> None:
        self.asked = 0

    def query(self) -> bool:
        self.asked += 1
        return self.asked > 1

    def synchronize(self) -> None:
        pass


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let losses lie where reading them would make a step wait."""
    monkeypatch.setattr(finite, "is_elsewhere", lambda tensor: True)
    monkeypatch.setattr(rescue, "is_elsewhere", lambda tensor: True)
    monkeypatch.setattr(finite, "send", lambda answers: finite.Asked(answers, Late()))


@pytest.mark.usefixtures("on_a_gpu")
def test_losses_on_a_gpu_are_known_one_look_later(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.poison(105)
    run.train(100)
    run.train(EVERY, every=0)
    assert not run.events(Restored)
    run.train(EVERY, every=0)
    (restored,) = run.events(Restored)
    assert restored.symptom == "state_not_finite"
    run.train()
    assert len(run.events(Restored)) == 1
    assert math.isfinite(run.validation())


@pytest.mark.usefixtures("on_a_gpu")
def test_what_a_gpu_has_not_told_yet_is_waited_for_at_a_decision(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(100)
    run.poison(105)
    run.train(10, every=0)
    assert run.tuner.report().restored
    assert math.isfinite(run.validation())


@pytest.mark.usefixtures("on_a_gpu")
def test_nothing_is_kept_between_decisions_where_a_step_would_wait_for_it(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(2 * EVERY, every=0)
    assert run.tuner._care._rescue._state.saved == ()  # type: ignore[union-attr]
    run.tuner.report()
    assert "last" in run.tuner._care._rescue._state.saved  # type: ignore[union-attr]


def test_a_restored_state_is_the_saved_one_bit_for_bit(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(100)
    before = run.state()
    run.train(5, every=0)
    break_weights(run)
    decision = run.tuner.report()
    assert same(run.state(), before)
    assert decision.restored
    assert Reason.RESTORED in decision.reasons
    assert "restored" in str(decision)


def test_a_spike_of_the_metric_is_undone(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(200)
    before, good = run.state(), run.validation()
    ruin(run)
    assert run.validation() > 5 * good
    decision = run.tuner.report()
    assert decision.verdict is Action.BLOCKED
    assert decision.reasons == (Reason.SPIKE, Reason.RESTORED)
    assert same(run.state(), before)
    assert run.events(Restored)[0].symptom == "spike"


def test_a_metric_that_is_not_finite_restores_only_a_model_that_is_not(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(100)
    before = run.state()
    decision = run.tuner.report({"loss": math.nan})
    assert decision.reasons == (Reason.NOT_FINITE,)
    assert same(run.state(), before)
    break_weights(run)
    assert run.tuner.report({"loss": math.nan}).restored
    assert same(run.state(), before)


class Scaled(Living):
    """As under a gradient scaler, steps whose gradients are not finite are skipped."""

    def update(self, loss: Tensor | None) -> None:
        if loss is not None and not math.isfinite(loss.item()):
            self.optimizer.zero_grad()
        super().update(loss)


def test_weights_too_large_to_compute_with_are_noticed_between_decisions(tmp_path: Path) -> None:
    run = Scaled(tmp_path / "run", mode="guard", steps=400)
    run.train(100)
    ruin(run, 1e30)
    run.train(2 * EVERY, every=0)
    (restored,) = run.events(Restored)
    assert restored.symptom == "not_finite"
    assert run.validation() < 10
    assert run.tuner.report().restored


def test_losses_per_example_in_half_precision_are_finite_though_their_sum_is_not(
    tmp_path: Path,
) -> None:
    run = guarded(tmp_path)
    for _ in range(4 * EVERY):
        run.tuner.step(torch.full((4096,), 20.0, dtype=torch.float16))
    run.tuner.report()
    assert run.events(Restored) == []


def test_a_loss_that_never_was_finite_is_no_symptom(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    for _ in range(100):
        run.tuner.step(math.nan)
    run.tuner.report()
    assert run.events(Restored) == []


class Silent(Living):
    """Nobody tells gptune the training loss."""

    def update(self, loss: Tensor | None) -> None:
        super().update(None)


def test_a_metric_that_is_undefined_now_and_then_costs_no_training(tmp_path: Path) -> None:
    run = guarded(tmp_path, evaluate=None)
    for number in range(40):
        run.train(10, every=0)
        before = run.state()
        run.tuner.report({"loss": math.nan if number % 5 > 2 else run.validation()})
        assert same(run.state(), before)
    assert run.events(Restored) == []


def test_a_metric_that_stays_not_finite_restores_once_until_something_is_healthy_again(
    tmp_path: Path,
) -> None:
    run = Silent(tmp_path / "run", mode="guard", steps=400, evaluate=None)

    def report(value: float) -> bool:
        run.train(3, every=0)
        return run.tuner.report({"loss": value}).restored

    for _ in range(8):
        assert not report(run.validation())
    assert [report(math.nan) for _ in range(6)] == [False, True, False, False, False, False]
    assert [report(x) for x in (0.1, math.nan, math.nan)] == [False, False, True]
    assert {event.symptom for event in run.events(Restored)} == {"not_finite"}


def test_a_decision_tells_what_was_restored_since_the_last_one(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(100)
    run.poison(103)
    run.train(EVERY, every=0)
    assert len(run.events(Restored)) == 1
    assert run.tuner.report().restored
    assert not run.tuner.report().restored


def test_a_state_that_is_not_finite_is_never_kept_though_the_metric_is_a_number(
    tmp_path: Path,
) -> None:
    run = guarded(tmp_path, objective="accuracy", direction="maximize", evaluate=None)
    run.train(50, every=0)
    run.tuner.report({"accuracy": 0.5})
    before = run.state()
    break_weights(run)
    assert run.tuner.report({"accuracy": 0.4}).restored
    assert same(run.state(), before)


def test_knobs_keep_their_values_and_the_schedule_goes_on(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(100)
    rate = run.optimizer.param_groups[0]["lr"]
    run.train(5, every=0)
    later = run.optimizer.param_groups[0]["lr"]
    break_weights(run)
    run.tuner.report()
    assert run.optimizer.param_groups[0]["lr"] == later < rate
    assert run.tuner.values == {"opt.lr": 1.0}


@pytest.mark.parametrize("mode", ["off", "observe", "suggest"])
def test_other_modes_never_restore(mode: str, tmp_path: Path) -> None:
    run = guarded(tmp_path, mode=mode)
    run.poison(50)
    run.train(120)
    assert math.isnan(run.validation())
    assert mode == "off" or run.events(Restored) == []


def test_in_mode_guard_nothing_is_ever_moved(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    for _ in range(5):
        run.train(70)
        break_weights(run)
        run.tuner.report()
    assert len(run.events(Restored)) == 5
    assert not run.events(Applied)
    assert not run.events(LookAhead)
    assert set(run.used) == {1.0}


def test_it_gives_up_when_it_may_restore_no_more_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="gptune")
    recipe = {**NO_LOOK, "guard": {"max_restores": 2}}
    run = guarded(tmp_path, recipe=recipe)
    for _ in range(4):
        run.train(50)
        break_weights(run)
        run.tuner.report()
    assert len(run.events(Restored)) == 2
    assert caplog.text.count("gives up after 2 restores") == 1
    assert [e.message for e in run.events(Blocked) if Reason.RESTORED in e.reasons] == [
        "the guard gives up after 2 restores"
    ]


def test_an_open_change_has_lost_when_the_state_is_restored(tmp_path: Path) -> None:
    recipe = {
        **NO_LOOK,
        "search": {"algorithm": "random", "startup_trials": 0},
        "acceptance": {"reference": "last", "horizon": 50},
    }
    run = guarded(tmp_path, mode="active", recipe=recipe)
    run.train(100)
    assert run.tuner.values["opt.lr"] != 1.0
    break_weights(run)
    run.train(EVERY, every=0)
    assert run.tuner.values["opt.lr"] == 1.0
    assert run.events(RolledBack)[-1].reasons == (Reason.STATE_NOT_FINITE,)
    assert len(run.events(Restored)) == 1


def test_one_snapshot_or_one_that_does_not_fit_still_lets_training_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = guarded(tmp_path / "a", recipe={**NO_LOOK, "guard": {"snapshots": 1}})
    one.train(100)
    assert one.tuner._care._rescue._state.saved == ("last",)  # type: ignore[union-attr]
    small = guarded(tmp_path / "b", recipe={**NO_LOOK, "guard": {"budget_mb": 1e-6}})
    small.train(100)
    break_weights(small)
    small.train(50)
    assert small.tuner.steps == 150
    assert small.events(Restored) == []
    assert "budget_mb" in caplog.text


def test_what_learns_beside_the_model_is_restored_if_it_is_named(tmp_path: Path) -> None:
    run = guarded(tmp_path, mode="off")
    averaged = torch.optim.swa_utils.AveragedModel(run.model)
    state = TrainingState(run.model, run.optimizer, extras={"average": averaged})
    tuner = Tuner(
        run.optimizer,
        objective="loss",
        mode="guard",
        model=run.model,
        training_state=state,
        run_dir=run.run_dir,
    )
    tuner.report({"loss": 1.0})
    before = [parameter.clone() for parameter in averaged.module.parameters()]
    with torch.no_grad():
        for parameter in (*averaged.module.parameters(), *run.model.parameters()):
            parameter.fill_(torch.nan)
    assert tuner.report({"loss": math.nan}).restored
    assert all(map(torch.equal, averaged.module.parameters(), before))


def test_mode_guard_needs_a_model_and_an_optimizer(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mode: 'guard' .* model="):
        guarded(tmp_path, evaluate=None, **{"model": None})
    with pytest.raises(StateError, match="model"):
        guarded(tmp_path / "b", **{"model": lambda x: x})


def test_a_resumed_run_still_counts_its_restores(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(100)
    break_weights(run)
    run.tuner.report()
    saved = run.tuner.state_dict()
    run.tuner.close()
    again = guarded(tmp_path, resume=True)
    again.tuner.load_state_dict(saved)
    assert again.tuner.mode.value == "guard"
    assert again.tuner._batches._screens
    kernel = again.tuner.state_dict()["kernel"]
    assert kernel["guard"]["restores"] == 1
    assert kernel["guard"]["values"] == saved["kernel"]["guard"]["values"]


def test_what_was_kept_before_another_state_was_loaded_is_not_put_back(tmp_path: Path) -> None:
    run = guarded(tmp_path)
    run.train(30)
    saved = run.tuner.state_dict()
    run.train(30)
    run.tuner.load_state_dict(saved)
    break_weights(run)
    assert not run.tuner.report().restored
