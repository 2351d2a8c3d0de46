"""A knob that does not act, or that something else writes, is reported and not tuned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gptune
from gptune import Tuner
from gptune.actuators import Life, OptimizerKnob, value_actuators
from gptune.configs import Recipe
from gptune.online.setup import list_actuators, make_hands
from gptune.online.watch import Watch
from gptune.records import Action, Reason
from gptune.run_directory.event_log import read_events
from tests.doubles import FakeKnob, hands_of
from tests.training import Training

RECIPE: Mapping[str, Any] = {
    "acceptance": {"reference": "last"},
    "search": {"algorithm": "random"},
    "safety": {"max_global_reject_streak": 100, "global_cooldown": 0},
}
VALUES = {**RECIPE, "actuators": {"loss": {"keys": {"aux": {"bounds": [0.5, 2.0], "cooldown": 0}}}}}


def silent(message: str) -> None:
    """Hear a warning."""


# The watch alone


def test_what_a_failed_step_left_scaled_is_healed_first() -> None:
    training = Training()
    hands = make_hands(Recipe(), list_actuators(training.optimizer))
    lr = hands["opt.lr"].actuator
    assert isinstance(lr, OptimizerKnob)
    lr.attach()
    lr.apply(3.0)
    lr._hooks._scale((), {})  # a step that began and never ended
    assert training.optimizer.param_groups[0]["lr"] == 3e-3
    reading = Watch(silent).read(hands, {"opt.lr": 3.0}, 1)["opt.lr"]
    assert training.optimizer.param_groups[0]["lr"] == 1e-3
    assert reading.scheduled == 1e-3


def test_a_knob_that_cannot_be_read_is_shown_as_unknown() -> None:
    knob = FakeKnob()
    hands = hands_of(knob)
    knob.fails = {"read"}
    reading = Watch(silent).read(hands, {"loss.aux": 1.0}, 1)["loss.aux"]
    assert reading.effective is None
    assert reading.lost is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_a_knob_is_not_live_exactly_if_steps_were_counted_and_its_hooks_saw_none(
    stretches: list[tuple[int, int]],
) -> None:
    training = Training()
    hands = make_hands(Recipe(), list_actuators(training.optimizer))
    lr = hands["opt.lr"].actuator
    assert isinstance(lr, OptimizerKnob)
    lr.attach()
    heard: list[str] = []
    watch, step = Watch(heard.append), 0
    watch.start(hands, 0)
    for counted, real in stretches:
        for _ in range(real):
            training.step()
        step += counted
        lost = watch.read(hands, {"opt.lr": 1.0}, step)["opt.lr"].lost
        assert (lost is Reason.NOT_LIVE) == (counted > 0 and real == 0)
    lr.detach()
    assert all("opt.lr is not tuned now" in message for message in heard)


# Through the Tuner


def test_a_knob_goes_through_its_life(tmp_path: Path) -> None:
    training = Training()
    tuner = Tuner(training.optimizer, recipe=RECIPE, run_dir=tmp_path / "run", mode="off")
    lives = [tuner.knobs["opt.lr"].life]
    tuner.set_mode("active")
    lives.append(tuner.knobs["opt.lr"].life)
    training.step(tuner.step)
    assert tuner.report({"val/loss": 1.0}).verdict is Action.APPLIED
    lives.append(tuner.knobs["opt.lr"].life)
    training.step(tuner.step)
    lives.append(tuner.knobs["opt.lr"].life)
    status = tuner.knobs["opt.lr"]
    assert status.effective == status.scheduled * status.move  # type: ignore[operator]
    tuner.report({"val/loss": 0.9})
    training.optimizer._optimizer_step_pre_hooks.clear()
    training.step(tuner.step)
    tuner.report({"val/loss": 0.8})
    lives.append(tuner.knobs["opt.lr"].life)
    tuner.close()
    assert lives == [Life.INIT, Life.UNTOUCHED, Life.UNVERIFIED, Life.VERIFIED, Life.DISABLED]
    assert tuner.knobs["opt.lr"].life is Life.INIT


def test_a_change_that_no_step_used_is_never_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training, other = Training(), Training()
    with Tuner(training.optimizer, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        training.step(tuner.step)
        assert tuner.report({"val/loss": 1.0}).verdict is Action.APPLIED
        for value in (0.5, 0.4, 0.3):
            other.step(tuner.step)  # the user trains with another optimizer by now
            decision = tuner.report({"val/loss": value})
            assert decision.verdict in (Action.REJECTED, Action.WAITING)
            assert Reason.NOT_LIVE in decision.reasons
            assert tuner.values["opt.lr"] == 1.0
        assert tuner.knobs["opt.lr"].reason is Reason.NOT_LIVE
        training.step(tuner.step)  # it acts again, so it is tuned again
        assert tuner.report({"val/loss": 0.2}).verdict is Action.APPLIED
    told = [record.message for record in caplog.records if "opt.lr" in record.message]
    assert len(told) == 1
    assert "is its optimizer the one that trains" in told[0]


def test_what_the_users_own_code_writes_is_left_alone(tmp_path: Path) -> None:
    training, weights = Training(), {"aux": 0.5}
    knobs = value_actuators(weights)
    with Tuner(knobs, recipe=VALUES, run_dir=tmp_path / "run") as tuner:
        training.step(tuner.step)
        assert tuner.report({"val/loss": 1.0}).verdict is Action.APPLIED
        assert weights["aux"] != 0.5
        weights["aux"] = 0.123  # the user's own annealing
        training.step(tuner.step)
        decision = tuner.report({"val/loss": 0.1})
        assert decision.verdict is Action.REJECTED
        assert decision.reasons == (Reason.OVERWRITTEN,)
        assert weights["aux"] == 0.123
        assert tuner.knobs["loss.aux"].life is Life.DISABLED
        training.step(tuner.step)
        assert tuner.report({"val/loss": 0.1}).reasons == (Reason.OVERWRITTEN,)
        weights["aux"] = 0.5
        training.step(tuner.step)
        assert tuner.report({"val/loss": 0.1}).verdict is Action.APPLIED
        weights["aux"] = 0.7
    assert weights["aux"] == 0.7, "closing put a value back over the user's own"
    kinds = [type(line.event).__name__ for line in read_events(tmp_path / "run")]
    assert kinds.count("Abandoned") == 2
    assert "RolledBack" not in kinds


def test_an_optimizer_that_is_stepped_less_often_is_tuned_when_it_is_stepped(
    tmp_path: Path,
) -> None:
    critic, generator = Training(), Training()
    optimizers = {"critic": critic.optimizer, "generator": generator.optimizer}
    with Tuner(optimizers, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        assert set(tuner.values) == {"critic.lr", "generator.lr"}
        critic.step(tuner.step)
        for _ in range(4):
            tuner.report({"val/loss": 1.0})
            critic.step(tuner.step)
        assert tuner.values["generator.lr"] == 1.0
        assert tuner.knobs["generator.lr"].reason is Reason.NOT_LIVE
        assert tuner.knobs["critic.lr"].life is not Life.DISABLED


def test_the_status_says_what_people_need(tmp_path: Path) -> None:
    training = Training(
        make_scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=50)
    )
    space = {"lr": (0.5, 2.0), "momentum": (0.95, 1.02)}
    tuner = Tuner(
        training.optimizer, space=space, scheduler=training.scheduler, run_dir=tmp_path / "run"
    )
    with tuner:
        status = tuner.knobs
        assert status["opt.lr"].owner is None
        assert status["opt.momentum"].owner == "OneCycleLR"
        assert status["opt.lr"].unit == "1/step"
        assert status["opt.lr"].space == gptune.Float(0.5, 2.0, log=True)
