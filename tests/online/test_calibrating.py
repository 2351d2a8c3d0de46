"""A calibration on real runs: when it begins, what it changes, and what it leaves alone."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gptune import Tuner
from gptune.audit import audit
from gptune.errors import RecipeError
from gptune.events import Accepted, Applied, Blocked, Intent, LookAhead, Observed, Proposed
from gptune.online.collective import Alone
from gptune.records import Action, Reason
from gptune.run_directory import control
from gptune.run_directory.file_system import Disk
from tests.fakes import MemoryDisk
from tests.living import CALIBRATED, STEPS, Living, plain_model, same

NO_SEARCH: dict[str, Any] = {"search": {"algorithm": "none"}, "objective": {"primary": "loss"}}


def living(place: Path, **chosen: Any) -> Living:
    return Living(place / "run", **{"recipe": NO_SEARCH, **chosen})


def test_it_is_announced_durably_then_told_and_what_it_found_is_applied(tmp_path: Path) -> None:
    run = living(tmp_path)
    run.train(1)
    first, *rest = run.events(LookAhead)
    assert (first.purpose, first.arms, first.chosen) == ("calibration", {}, "")
    assert (first.low, first.high) == pytest.approx((0.01, 100.0))
    assert rest == []
    run.train()
    _, told = run.events(LookAhead)
    assert told.chosen in told.arms
    assert 0 < told.steps <= 0.1 * STEPS
    assert told.turn is not None or told.blow_up is not None
    kinds = [line.event for line in run.lines()]
    at = kinds.index(told)
    proposed, intent, applied, accepted = kinds[at + 1 : at + 5]
    assert isinstance(proposed, Proposed)
    assert proposed.source == "calibration"
    assert isinstance(intent, Intent)
    assert isinstance(applied, Applied)
    assert isinstance(accepted, Accepted)
    assert accepted.reasons == (Reason.MEASURED,)
    assert run.tuner.values["opt.lr"] == pytest.approx(float(told.chosen), rel=1e-3)


def test_a_rate_that_is_far_too_low_is_raised_and_the_run_ends_better(tmp_path: Path) -> None:
    def slow(model: nn.Module) -> Optimizer:
        return SGD(model.parameters(), lr=2e-4, momentum=0.9)

    tuned = living(tmp_path / "a", optimizer=slow)
    tuned.train()
    alone = living(tmp_path / "b", optimizer=slow, mode="observe")
    alone.train()
    assert tuned.tuner.values["opt.lr"] > 10
    assert tuned.validation() < 0.5 * alone.validation()


def test_a_cosine_ends_at_its_end_after_a_calibration_and_two_restores(tmp_path: Path) -> None:
    run = living(tmp_path)
    run.poison(300)
    run.train(400)
    run.tuner.report({"loss": math.nan})  # sound: only blocked
    with torch.no_grad():
        run.model[0].weight.fill_(torch.nan)  # type: ignore[index]
    run.train()
    kinds = [line.event.__class__.__name__ for line in run.lines()]
    assert kinds.count("Restored") == 2
    assert run.tuner.steps == run.taken == STEPS
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)
    assert math.isfinite(run.validation())


def two_groups(model: nn.Module) -> Optimizer:
    first, last = list(model.parameters())[:2], list(model.parameters())[2:]
    return AdamW([{"params": first, "lr": 3e-3}, {"params": last, "lr": 1e-3}])


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 1))


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 1))


class Clipping(Living):
    def update(self, loss: Tensor | None) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        super().update(loss)


class Accumulating(Living):
    """Two batches a step of the optimizer."""

    def train(self, steps: int | None = None, *, every: int = 10) -> None:
        for number, (x, y) in enumerate(self._stream):
            loss = (self.model(x) - y).square().mean() / 2
            loss.backward()
            if number % 2 == 1:
                self.update(loss)
                self.optimizer.zero_grad()
                if self.tuner.steps % every == 0:
                    self.tuner.report()


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        (Living, {"optimizer": two_groups}),
        (Living, {"make": normed}),
        (Living, {"make": dropping, "optimizer": lambda m: torch.optim.RMSprop(m.parameters())}),
        (Living, {"optimizer": lambda m: SGD(m.parameters(), lr=0.1)}),
        (Clipping, {}),
        (Accumulating, {"steps": 2 * STEPS, "total_steps": STEPS}),
    ],
)
def test_it_works_with_what_loops_are_made_of(
    kind: type[Living], chosen: dict[str, Any], tmp_path: Path
) -> None:
    run = kind(tmp_path / "run", recipe=NO_SEARCH, **chosen)
    start = run.validation()
    run.train()
    _, told = run.events(LookAhead)
    assert not told.stopped
    assert run.tuner.steps == run.taken == STEPS
    assert run.validation() < 0.5 * start
    assert 0.01 * 0.999 <= min(run.used) <= max(run.used) <= 100 * 1.001


def test_nothing_outside_of_narrow_bounds_is_ever_used(tmp_path: Path) -> None:
    lr = {"bounds": [0.5, 2.0]}
    recipe = {**NO_SEARCH, "actuators": {"opt": {"mutations": {"lr": lr}}}}
    run = living(tmp_path, recipe=recipe)
    run.train()
    assert len(run.events(LookAhead)) == 2
    assert 0.5 - 1e-6 <= min(run.used) < max(run.used) <= 2.0 + 1e-6


def order(run: Living) -> None:
    control.send(Disk(), run.run_dir, "apply", {"moves": {"opt.lr": 1.1}})
    run.tuner.report()
    run.tuner._session.move({"opt.lr": 1.0}, source="human", tag="back")  # what was ordered


INTERRUPTIONS: dict[str, Callable[[Living], object]] = {
    "close": lambda run: run.tuner.close(),
    "another mode": lambda run: run.tuner.set_mode("observe"),
    "a checkpoint": lambda run: run.tuner.state_dict(),
    "an order": order,
}


@pytest.mark.parametrize("how", INTERRUPTIONS)
@pytest.mark.parametrize("after", [5, 20, 35])
def test_whatever_interrupts_it_finds_the_run_as_it_began(
    how: str, after: int, tmp_path: Path
) -> None:
    run = living(tmp_path)
    before = run.state()
    run.train(after, every=0)
    assert not same(run.state(), before)
    INTERRUPTIONS[how](run)
    assert same(run.state(), before)
    assert run.tuner.values == {"opt.lr": 1.0}
    assert run.tuner.actuators[0].read() == 1.0
    assert run.events(LookAhead)[-1].stopped


@pytest.mark.parametrize("after", [5, 20, 35])
def test_a_state_that_is_loaded_ends_a_look_ahead_and_keeps_what_was_loaded(
    after: int, tmp_path: Path
) -> None:
    run = living(tmp_path)
    state = run.tuner.state_dict()
    run.train(after, every=0)
    assert run.tuner.actuators[0].read() != 1.0
    loaded = run.state()  # as if the user had loaded it just now
    run.tuner.load_state_dict(state)
    assert same(run.state(), loaded)
    assert run.tuner.steps == 0
    assert run.tuner.actuators[0].read() == 1.0
    assert not run.tuner._care._looking.is_running  # type: ignore[union-attr]
    run.train()
    assert run.tuner.state_dict()["kernel"]["calibrated"] is True
    assert run.tuner.run_dir is not None
    assert audit(run.tuner.run_dir).holds


def test_a_checkpoint_holds_the_start_in_whatever_order_it_is_made(tmp_path: Path) -> None:
    run = living(tmp_path, optimizer=lambda m: AdamW(m.parameters(), lr=1e-3))
    before = run.state()["model"]
    run.train(20, every=0)
    saved = {
        "optimizer": run.optimizer.state_dict(),
        "model": run.model.state_dict(),
        "tuner": run.tuner.state_dict(),
    }
    assert not any(saved["optimizer"]["state"].values())
    assert same(saved["model"], before)


def test_after_a_checkpoint_it_begins_again_while_it_is_early(tmp_path: Path) -> None:
    run = living(tmp_path)
    run.train(10)
    state = run.tuner.state_dict()
    assert state["kernel"]["calibrated"] is False
    run.train(CALIBRATED)
    assert [bool(event.stopped) for event in run.events(LookAhead) if event.chosen] == [True, False]
    assert run.tuner.state_dict()["kernel"]["calibrated"] is True


@pytest.mark.parametrize(("steps", "arms"), [(20.5, 2), (19.5, 0)])
def test_an_arm_is_as_long_as_its_batches_can_be_recorded(
    steps: float, arms: int, tmp_path: Path
) -> None:
    run = living(tmp_path)
    run.tuner._batches._largest = int(steps * sum(tensor.nbytes for tensor in run.loader[0]))
    run.train()
    (_, told) = run.events(LookAhead)
    assert (len(told.arms), told.remark, told.stopped) == (arms, "", "")


def test_batches_that_grow_too_large_to_be_recorded_are_remarked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = living(tmp_path)
    run.loader[2:] = [(x.repeat(4, 1), y.repeat(4, 1)) for x, y in run.loader[2:]]
    run.tuner._batches._largest = 41 * sum(tensor.nbytes for tensor in run.loader[0])
    run.train()
    (_, told) = run.events(LookAhead)
    assert "did not fit" in told.remark
    assert "did not fit" in caplog.text


def test_checkpoints_made_all_the_time_do_not_calibrate_for_ever(tmp_path: Path) -> None:
    run = living(tmp_path)
    for _ in range(CALIBRATED):
        run.train(4, every=0)
        run.tuner.state_dict()
    stopped = [event for event in run.events(LookAhead) if event.chosen]
    assert {event.stopped for event in stopped} == {"the state was saved meanwhile"}
    lost = sum(event.steps for event in stopped)
    assert run.tuner.state_dict()["kernel"]["wasted"] == lost <= 0.1 * STEPS
    assert "spent its budget" in run.events(Blocked)[-1].message


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"evaluate": None}, "needs evaluate"),
        ({"model": None}, "needs model"),
        ({"total_steps": None}, "needs total_steps"),
        ({"total_steps": 300}, "needs 40 steps"),
    ],
)
def test_what_is_missing_is_named_where_it_is_demanded(
    chosen: dict[str, Any], why: str, tmp_path: Path
) -> None:
    recipe = {**NO_SEARCH, "calibration": {"enabled": True}}
    with pytest.raises(RecipeError, match=f"calibration.enabled.*{why}"):
        living(tmp_path, recipe=recipe, **chosen)


def test_by_default_it_stays_away_in_silence_unless_one_would_wonder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="gptune")
    silent = living(tmp_path / "a", evaluate=None)
    silent.train(5, every=0)
    assert not silent.events(Blocked)
    assert not silent.events(LookAhead)
    assert not caplog.records
    short = living(tmp_path / "b", steps=300)
    short.train(5)
    (blocked,) = short.events(Blocked)
    assert blocked.reasons == (Reason.LOOK_AHEAD,)
    assert "40 steps" in blocked.message
    assert "40 steps" in caplog.text
    assert short.events(LookAhead) == []


def test_a_pinned_rate_or_one_that_the_recipe_calls_risky_is_left_alone(tmp_path: Path) -> None:
    run = living(tmp_path / "a")
    control.send(Disk(), run.run_dir, "pin", {"family": "opt.lr"})
    run.tuner.report()
    run.train(20)
    assert run.events(LookAhead) == []
    assert "pinned" in run.events(Blocked)[-1].message
    lr = {"risk": "high"}
    recipe = {**NO_SEARCH, "actuators": {"opt": {"mutations": {"lr": lr}}}}
    risky = living(tmp_path / "b", recipe=recipe)
    risky.train(20)
    assert risky.events(LookAhead) == []


@pytest.mark.parametrize("steps", [0, 1, 10, 200])
def test_a_closed_tuner_leaves_no_hook_behind(steps: int, tmp_path: Path) -> None:
    run = living(tmp_path)
    hooks = run.optimizer._optimizer_step_pre_hooks
    run.train(steps, every=0)
    run.tuner.close()
    assert [hook.__qualname__ for hook in hooks.values()] == ["Living._see"]


def test_several_processes_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    run = living(tmp_path, ranks=Alone())
    run.train(20)
    assert not run.events(LookAhead)
    assert "several processes" in run.events(Blocked)[0].message


def test_two_learning_rates_are_left_alone(tmp_path: Path) -> None:
    model, run_dir = plain_model(), tmp_path / "run"
    one, other = (SGD(part.parameters(), lr=0.1) for part in (model[0], model[2]))  # type: ignore[index]
    tuner = Tuner([one, other], model=model, evaluate=lambda: 1.0, total_steps=900, run_dir=run_dir)
    for _ in range(30):
        model(torch.ones(2, 6)).sum().backward()
        one.step()
        other.step()
        tuner.step(torch.tensor(1.0))
    assert tuner.values["opt.lr"] == tuner.values["opt2.lr"] == 1.0


class Closing(Living):
    """Computes its gradients in a closure; by name, or at its place."""

    by_name = False

    def step(self, x: Tensor, y: Tensor) -> None:
        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss: Tensor = (self.model(x) - y).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        take: Any = self.optimizer.step
        loss = take(closure=closure) if self.by_name else take(closure)
        self.scheduler.step()
        self.tuner.step(loss.detach())


@pytest.mark.parametrize("by_name", [True, False])
def test_a_step_with_a_closure_finds_what_one_without_it_does(
    by_name: bool, tmp_path: Path
) -> None:
    class Named(Closing):
        pass

    Named.by_name = by_name
    plain, closing = living(tmp_path / "a"), Named(tmp_path / "b" / "run", recipe=NO_SEARCH)
    for run in (plain, closing):
        run.train(CALIBRATED)
    (_, one), (_, other) = plain.events(LookAhead), closing.events(LookAhead)
    assert other.chosen == one.chosen
    assert other.arms == pytest.approx(one.arms)


def test_an_optimizer_that_calls_its_closure_several_times_is_left_alone(tmp_path: Path) -> None:
    def lbfgs(model: nn.Module) -> Optimizer:
        return torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)

    run = Closing(tmp_path / "run", recipe=NO_SEARCH, optimizer=lbfgs)
    run.train(20)
    (_, ended) = run.events(LookAhead)
    assert "closure several times" in ended.stopped
    assert run.tuner.values["opt.lr"] == 1.0


def test_an_exception_in_a_closure_is_the_users_own(tmp_path: Path) -> None:
    run = Closing(tmp_path / "run", recipe=NO_SEARCH)
    run.train(3)
    rates = [group["lr"] for group in run.optimizer.param_groups]

    def closure() -> float:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run.optimizer.step(closure)
    assert [group["lr"] for group in run.optimizer.param_groups] == rates
    run.train(CALIBRATED)
    assert len(run.events(LookAhead)) == 2


class Nameless(Living):
    """Forgets the loss."""

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        (self.model(x) - y).square().mean().backward()
        self.update(None)


class Twice(Living):
    """Steps the optimizer twice for one call of ``step``."""

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.step()
        super().step(x, y)


@pytest.mark.parametrize(("kind", "why"), [(Nameless, "training loss"), (Twice, "stepped twice")])
def test_a_loop_that_it_cannot_follow_ends_it_and_trains_on(
    kind: type[Living], why: str, tmp_path: Path
) -> None:
    run = kind(tmp_path / "run", recipe=NO_SEARCH)
    run.train(50)
    assert why in run.events(LookAhead)[-1].stopped
    assert run.tuner.values == {"opt.lr": 1.0}
    assert run.tuner.steps == 50


@pytest.mark.parametrize("broken", ["raises", "nan", "text"])
def test_an_evaluation_that_fails_leaves_the_users_rate_or_one_that_was_found(
    broken: str, tmp_path: Path
) -> None:
    def evaluate() -> Any:
        if broken == "raises":
            raise OSError("disk")
        return math.nan if broken == "nan" else "good"

    run = living(tmp_path, evaluate=evaluate)
    run.train(CALIBRATED, every=0)
    assert run.tuner.steps == CALIBRATED
    assert 0.01 <= run.tuner.values["opt.lr"] <= 100
    assert len(run.events(LookAhead)) == 2
    if broken == "raises":
        assert "disk" in run.events(LookAhead)[-1].stopped
        assert run.tuner.values == {"opt.lr": 1.0}


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_disk_that_fails_moves_nothing(when: str, tmp_path: Path) -> None:
    disk = MemoryDisk()
    run = living(tmp_path, file_system=disk)
    if when == "meanwhile":
        run.train(30, every=0)
    disk.break_for_ever("write")
    run.train(CALIBRATED)
    assert run.tuner.values == {"opt.lr": 1.0}
    assert run.tuner.actuators[0].read() == 1.0
    assert not run.tuner.log_ok


def test_it_calibrates_through_a_warm_up(tmp_path: Path) -> None:
    def warm(optimizer: Optimizer) -> LambdaLR:
        return LambdaLR(optimizer, lambda t: min(1.0, (t + 1) / 30))

    run = living(tmp_path, mode="off")
    run.scheduler = warm(run.optimizer)
    run.tuner = Tuner(
        run.optimizer,
        recipe=NO_SEARCH,
        model=run.model,
        scheduler=run.scheduler,
        evaluate=run.evaluate,
        total_steps=STEPS,
        run_dir=run.run_dir,
    )
    run._stream = run.tuner.batches(run.loader)
    run.train()
    _, told = run.events(LookAhead)
    assert not told.stopped
    cold = living(tmp_path / "cold")
    cold.train()
    ratio = run.tuner.values["opt.lr"] / cold.tuner.values["opt.lr"]
    assert 0.3 < ratio < 3.2
    assert max(run.used) <= 100 * 1.001


def test_decisions_meanwhile_wait_and_learn_nothing(tmp_path: Path) -> None:
    run = living(tmp_path)
    run.train(29)
    decision = run.tuner.report()
    assert (decision.verdict, decision.reasons) == (Action.WAITING, (Reason.LOOK_AHEAD,))
    observed = run.events(Observed)
    assert len(observed) == 3
    assert all(event.forecast is None for event in observed)
    assert not run.events(Blocked)
    assert all(event.knobs["opt.lr"].lost is None for event in observed)
    assert run.tuner.state_dict()["kernel"]["objective"]["values"] == []


@pytest.mark.parametrize("then", ["rest", "search"])
def test_the_search_leaves_alone_what_was_calibrated_unless_it_is_told_otherwise(
    then: str, tmp_path: Path
) -> None:
    recipe = {"objective": {"primary": "loss"}, "calibration": {"then": then}}
    run = living(tmp_path, recipe=recipe)
    run.train()
    sources = {event.source for event in run.events(Proposed)} - {"calibration"}
    assert bool(sources) is (then == "search")
    reasons = run.tuner.report().reasons
    assert (Reason.CALIBRATED in reasons) is (then == "rest")


def test_a_run_that_learns_from_others_begins_where_they_ended(tmp_path: Path) -> None:
    first = Living(tmp_path / "first", recipe=NO_SEARCH)
    first.train()
    first.tuner.close()
    recipe = {**NO_SEARCH, "search": {"algorithm": "none", "prior_runs": [str(first.run_dir)]}}
    second = Living(tmp_path / "second", recipe=recipe)
    second.train(2)
    announced, told = second.events(LookAhead)
    assert (announced.steps, told.steps) == (0, 0)
    aim = first.events(LookAhead)[-1].aim
    assert aim is not None
    assert float(told.chosen) == pytest.approx(aim, rel=0.25)
    assert second.tuner.values["opt.lr"] == pytest.approx(float(told.chosen), rel=1e-3)


@pytest.mark.parametrize("at", [1, 5, 20, 30, 60])
def test_a_batch_that_is_not_finite_does_not_spoil_a_calibration(at: int, tmp_path: Path) -> None:
    run = Living(tmp_path / "run")
    clean = Living(tmp_path / "clean")
    run.poison(at)
    run.train()
    clean.train()
    (_, found) = run.events(LookAhead)
    assert found.stopped == ""
    assert found.steps >= 0
    assert run.validation() < 1.5 * clean.validation()


@pytest.mark.parametrize("at", [5, 20, 30])
def test_nor_does_it_without_batches_that_could_be_screened(at: int, tmp_path: Path) -> None:
    run = Living(tmp_path / "run")
    for number, batch in enumerate(run.loader):
        if number == at:
            batch[0].fill_(math.nan)
        run.step(*batch)
        if (number + 1) % 10 == 0:
            run.tuner.report()
    assert math.isfinite(run.validation())
