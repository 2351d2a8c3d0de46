"""What people do around an optimizer, and what a Tuner makes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, OneCycleLR

import gptune
from gptune import TrainingState, Tuner
from gptune.actuators import Life, LiveActuator, optimizer_actuators, parts_of
from gptune.errors import ActuatorError, RecipeError, StateError
from gptune.events import Abandoned, Intent
from gptune.records import Action, Reason
from gptune.run_directory.event_log import read_events
from tests.training import Training

RECIPE: dict[str, Any] = {
    "acceptance": {"reference": "last"},
    "search": {"algorithm": "random"},
    "safety": {"max_global_reject_streak": 3, "global_cooldown": 0},
}


def unit(rate: float = 0.1) -> tuple[SGD, nn.Parameter, Any]:
    """SGD on gradients of 1: a step moves the parameter by the rate that was used."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD([parameter], lr=rate)
    (knob,) = optimizer_actuators(optimizer)
    assert isinstance(knob, LiveActuator)
    knob.attach()
    return optimizer, parameter, knob


def used(optimizer: Optimizer, parameter: Tensor) -> float:
    with torch.no_grad():
        parameter.zero_()
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return -float(parameter.detach())


# Hooks beside ours


def test_a_scheduler_that_an_older_hook_steps_sees_its_own_rate() -> None:
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer, twin = SGD([parameter], lr=0.1), SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, plain = ExponentialLR(optimizer, 0.9), ExponentialLR(twin, 0.9)
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    (knob,) = optimizer_actuators(optimizer)
    assert isinstance(knob, LiveActuator)
    knob.attach()
    knob.apply(0.5)
    for _ in range(6):
        rate = twin.param_groups[0]["lr"]
        assert used(optimizer, parameter) == rate * 0.5
        twin.step()
        plain.step()
        assert optimizer.param_groups[0]["lr"] == twin.param_groups[0]["lr"]


def test_a_hook_that_writes_over_the_rate_is_seen(tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        training.step(tuner.step)
        assert tuner.report({"val/loss": 1.0}).verdict is Action.APPLIED

        def write(optimizer: Optimizer, *_: Any) -> None:
            optimizer.param_groups[0]["lr"] = 2e-3

        training.optimizer.register_step_pre_hook(write)
        training.step(tuner.step)
        assert tuner.report({"val/loss": 0.1}).reasons == (Reason.OVERWRITTEN,)


class Decaying(SGD):
    """A user's optimizer that adds to another's step."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(1 - group["lr"] * 0.1)
        return loss


def test_an_optimizer_whose_step_calls_another_s_is_scaled_to_the_end() -> None:
    SGD([nn.Parameter(torch.zeros(1))], lr=0.1)  # from now on SGD's own step has hooks too
    tuned, by_hand = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer, reference = Decaying([tuned], lr=0.1), Decaying([by_hand], lr=0.05)
    (knob,) = optimizer_actuators(optimizer)
    assert isinstance(knob, LiveActuator)
    knob.attach()
    knob.apply(0.5)
    for _ in range(3):
        for parameter, one in ((tuned, optimizer), (by_hand, reference)):
            parameter.grad = torch.ones_like(parameter)
            one.step()
        assert torch.equal(tuned, by_hand)
    assert knob.fired() == 3
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_an_optimizer_that_was_never_initialised_is_refused() -> None:
    class Wrapper(Optimizer):
        def __init__(self, inner: Optimizer) -> None:
            self.inner, self.param_groups = inner, inner.param_groups

    with pytest.raises(ActuatorError, match=r"Wrapper was made without torch's own __init__"):
        optimizer_actuators(Wrapper(unit()[0]))


def test_a_report_within_a_closure_leaves_its_step_scaled(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD([parameter], lr=0.1)
    with Tuner(optimizer, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        used(optimizer, parameter)
        tuner.step()
        tuner.report({"val/loss": 1.0})
        factor = float(tuner.values["opt.lr"])
        assert factor != 1.0

        def closure() -> float:
            parameter.grad = torch.ones_like(parameter)
            assert tuner.knobs
            return 0.0

        with torch.no_grad():
            parameter.zero_()
        optimizer.step(closure)
        assert -float(parameter.detach()) == 0.1 * factor


# Absolute targets


def test_a_target_never_exceeds_the_users_bounds_however_the_schedule_rises(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD([parameter], lr=1e-3)
    schedule = gptune.schedule.warmup_stable_decay(optimizer, 200, warmup=0.2)
    lr = {"mode": "set", "bounds": [1e-6, 1e-2]}
    recipe = {**RECIPE, "actuators": {"opt": {"mutations": {"lr": lr}}}}
    rates, targets = [], set()
    with Tuner(optimizer, recipe=recipe, total_steps=200, run_dir=tmp_path / "run") as tuner:
        for number in range(200):
            rates.append(used(optimizer, parameter))
            schedule.step()
            tuner.step()
            if number % 5 == 4:
                tuner.report({"val/loss": 1.0 / (1 + number)})
                targets.add(tuner.values["opt.lr"])
    assert len(targets) > 3
    assert max(rates) <= 1e-2 * (1 + 1e-12)


def test_a_target_resumes_whether_the_optimizer_is_loaded_before_or_after(tmp_path: Path) -> None:
    space = {"lr": gptune.Float(1e-5, 1e-1, log=True)}
    for order in ("before", "after"):
        first = Training(make_scheduler=lambda o: CosineAnnealingLR(o, 60))
        tuner = Tuner(first.optimizer, space=space, run_dir=tmp_path / order, seed=2)
        for number in range(10):
            for _ in range(4):
                first.step(tuner.step)
            tuner.report({"val/loss": 1.0 / (1 + number)})
        saved, state = first.checkpoint(), tuner.state_dict()
        assert tuner._session.log is not None
        tuner._session.log.close()
        second = Training(make_scheduler=lambda o: CosineAnnealingLR(o, 60))
        if order == "before":
            second.load(saved)
        again = Tuner(second.optimizer, space=space, run_dir=tmp_path / order, seed=2, resume=True)
        if order == "after":
            second.load(saved)
        again.load_state_dict(state)
        assert again.values == tuner.values
        (knob,) = (k for k in again.actuators if k.name == "opt.lr")
        assert knob.read() == tuner.actuators[0].read()
        again.close()


# Tuners that fail, end, or begin again


def test_a_tuner_that_cannot_begin_leaves_no_hook_behind(tmp_path: Path) -> None:
    one, other = Training(), Training()
    keep = Tuner(other.optimizer, run_dir=tmp_path / "keep")
    with pytest.raises(ActuatorError, match="another Tuner"):
        Tuner([one.optimizer, other.optimizer], run_dir=tmp_path / "fails")
    assert not one.optimizer._optimizer_step_pre_hooks
    keep.close()
    with Tuner([one.optimizer, other.optimizer], run_dir=tmp_path / "again") as tuner:
        assert set(tuner.values) == {"opt.lr", "opt2.lr"}


def test_knobs_that_serve_again_begin_without_a_multiplier(tmp_path: Path) -> None:
    training = Training()
    knobs = optimizer_actuators(training.optimizer)
    with Tuner(knobs, recipe=RECIPE, run_dir=tmp_path / "first") as tuner:
        training.step(tuner.step)
        tuner.report({"val/loss": 1.0})
        training.step(tuner.step)
        assert tuner.report({"val/loss": 0.5}).verdict is Action.ACCEPTED
    (rate,) = (knob for knob in parts_of(knobs) if knob.name == "opt.lr")
    assert rate.read() == 1.0


def test_turning_tuning_off_and_on_is_no_alarm(tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        training.step(tuner.step)
        tuner.report({"val/loss": 1.0})
        tuner.set_mode("off")
        assert tuner.knobs["opt.lr"].life is Life.INIT
        for _ in range(3):
            training.step(tuner.step)
        tuner.set_mode("active")
        assert Reason.NOT_LIVE not in tuner.report({"val/loss": 1.0}).reasons


def test_a_change_that_never_acted_does_not_count_towards_the_pause(tmp_path: Path) -> None:
    critic, generator = Training(), Training()
    optimizers = {"critic": critic.optimizer, "generator": generator.optimizer}
    with Tuner(optimizers, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        verdicts = []
        for number in range(24):
            (critic if number % 2 else generator).step(tuner.step)
            verdicts.append(tuner.report({"val/loss": 1.0}).verdict)
        assert Action.PAUSED not in verdicts


@pytest.mark.parametrize("mode", ["suggest", "observe"])
def test_a_knob_that_was_never_changed_is_untouched(mode: str, tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, recipe=RECIPE, run_dir=tmp_path / "run", mode=mode) as tuner:
        for _ in range(4):
            training.step(tuner.step)
            tuner.report({"val/loss": 1.0})
        assert tuner.knobs["opt.lr"].life is Life.UNTOUCHED


def test_a_value_that_no_step_has_used_yet_is_unverified(tmp_path: Path) -> None:
    training, weights = Training(), {"aux": 0.5}
    with Tuner(gptune.value_actuators(weights), recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        training.step(tuner.step)
        assert tuner.report({"val/loss": 1.0}).verdict is Action.APPLIED
        lives = [tuner.knobs["loss.aux"].life]
        training.step(tuner.step)
        lives.append(tuner.knobs["loss.aux"].life)
    assert lives == [Life.UNVERIFIED, Life.VERIFIED]


def test_a_joint_change_with_one_stray_says_what_was_undone(tmp_path: Path) -> None:
    training, weights = Training(), {"aux": 0.5, "kl": 0.1}
    recipe = {**RECIPE, "search": {"algorithm": "random", "joint": True}}
    with Tuner(gptune.value_actuators(weights), recipe=recipe, run_dir=tmp_path / "run") as tuner:
        training.step(tuner.step)
        assert len(tuner.report({"val/loss": 1.0}).changes) == 2
        weights["aux"] = 0.77
        training.step(tuner.step)
        tuner.report({"val/loss": 0.5})
        assert weights == {"aux": 0.77, "kl": 0.1}
    events = [line.event for line in read_events(tmp_path / "run")]
    (left,) = [event for event in events if isinstance(event, Abandoned)]
    assert [change.family for change in left.changes] == ["loss.aux"]
    assert [change.family for change in left.undone] == ["loss.kl"]
    assert left.id == next(event.id for event in events if isinstance(event, Intent))


# Registering, naming, resuming values


def test_registering_does_not_look_at_the_knobs_that_are_there(tmp_path: Path) -> None:
    training = Training(make_scheduler=lambda o: CosineAnnealingLR(o, 3))
    space = {"lr": gptune.Float(1e-5, 1e-1, log=True)}
    with Tuner(training.optimizer, space=space, run_dir=tmp_path / "run") as tuner:
        for _ in range(3):
            training.step(tuner.step)
        assert training.optimizer.param_groups[0]["lr"] == 0.0
        tuner.register(gptune.value_actuators({"aux": 0.5})[0])
        assert set(tuner.values) == {"opt.lr", "loss.aux"}


def test_a_registration_that_fails_changes_nothing(tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, run_dir=tmp_path / "run") as tuner:
        other = optimizer_actuators(training.optimizer, name="x")[0]
        before = tuner.values
        with pytest.raises(ActuatorError, match="another list of its knobs"):
            tuner.register(other)
        assert tuner.values == before


def test_a_knob_that_is_registered_later_has_its_owner_too(tmp_path: Path) -> None:
    first, second = Training(), Training()
    cycle = OneCycleLR(second.optimizer, 0.1, total_steps=50)
    recipe: dict[str, Any] = {"actuators": {"opt": {"mutations": {"lr": {}}}}}
    with Tuner(
        first.optimizer, recipe=recipe, scheduler=[None, cycle], run_dir=tmp_path / "run"
    ) as tuner:
        whole = next(k for k in optimizer_actuators(second.optimizer, "late") if "betas" in k.name)
        tuner.register(whole)
        (momentum, *_) = parts_of([whole])
        assert getattr(momentum, "owner", None) == "OneCycleLR"


def test_only_what_a_space_names_moves(tmp_path: Path) -> None:
    one, other = Training(), Training()
    space = {"lr": (0.5, 2.0)}
    with Tuner([one.optimizer, other.optimizer], space=space, run_dir=tmp_path / "run") as tuner:
        assert set(tuner.values) == {"opt.lr"}


def test_a_value_without_a_range_resumes_when_the_user_has_restored_it_first(
    tmp_path: Path,
) -> None:
    training, weights = Training(), {"aux": 0.5}
    tuner = Tuner(gptune.value_actuators(weights), recipe=RECIPE, run_dir=tmp_path / "run")
    training.step(tuner.step)
    assert tuner.report({"val/loss": 1.0}).verdict is Action.APPLIED
    training.step(tuner.step)
    assert tuner.report({"val/loss": 0.5}).verdict is Action.ACCEPTED
    state, restored = tuner.state_dict(), dict(weights)
    assert tuner._session.log is not None
    tuner._session.log.close()
    again = Tuner(
        gptune.value_actuators(restored), recipe=RECIPE, run_dir=tmp_path / "run", resume=True
    )
    again.load_state_dict(state)
    assert restored == weights
    again.close()


# Values


def test_numbers_of_numpy_are_tuned_as_any_other(tmp_path: Path) -> None:
    training, weights = Training(), np.array([0.5, 0.1])

    class Holder:
        aux = np.float64(0.5)

    holder = Holder()
    knobs = [
        gptune.value_actuator(
            "loss.first",
            lambda: weights[0],
            lambda value: weights.__setitem__(0, value),
            gptune.Float(0.1, 1.0),
        ),
        *gptune.value_actuators(holder, {"aux": gptune.Float(0.1, 1.0)}),
    ]
    with Tuner(knobs, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        for value in (1.0, 0.9, 0.8, 0.7):
            training.step(tuner.step)
            tuner.report({"val/loss": value})
        lives = {status.life for status in tuner.knobs.values()}
        assert Life.DISABLED not in lives
        assert weights[0] != 0.5 or holder.aux != 0.5


def test_an_attribute_of_an_inner_object_is_found_by_its_path() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))
    (knob,) = gptune.value_actuators(model, {"1.p": gptune.Float(0.0, 0.5)}, name="model")
    knob.apply(0.3)
    dropout = model[1]
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.3
    assert "1.p" not in vars(model)


def test_dropout_that_somebody_split_is_put_back_layer_by_layer() -> None:
    model = nn.Sequential(nn.Dropout(0.1), nn.Linear(2, 2), nn.Dropout(0.1))
    knob = gptune.dropout_actuator(model)
    state = TrainingState(model, SGD(model.parameters(), lr=0.1))
    state.save()
    first = model[0]
    assert isinstance(first, nn.Dropout)
    first.p = 0.2
    with pytest.raises(ActuatorError, match=r"model\.dropout"):
        state.restore(knobs=[knob])
    assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == [0.2, 0.1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gptune.value_actuators({"aux": 0.5}, {"aux": (0.1, 2.0)}),  # type: ignore[dict-item]
            ActuatorError,
            r"loss\.aux: its range must be gptune\.Float",
        ),
        (
            lambda: gptune.value_actuator("a.b", float, print, None),  # type: ignore[arg-type]
            ActuatorError,
            r"a\.b: its range must be",
        ),
        (
            lambda: gptune.value_actuators({"aux": 0.5}, risk="High"),
            ActuatorError,
            r"loss\.aux: risk must be one of low, medium, high, got 'High'",
        ),
        (lambda: gptune.dropout_actuator("x"), ActuatorError, "needs a torch.nn.Module"),  # type: ignore[arg-type]
        (lambda: gptune.schedule.cosine("x", 10), ActuatorError, "optimizer: must be a torch"),  # type: ignore[arg-type]
        (lambda: gptune.Together("a.b", [5, 6]), ActuatorError, r"a\.b: needs a list of actuators"),  # type: ignore[type-var]
        (lambda: gptune.Together("a.b", None), ActuatorError, r"a\.b: needs a list of actuators"),  # type: ignore[arg-type]
        (lambda: optimizer_actuators(unit()[0], per_group=None), ActuatorError, "per_group: must"),  # type: ignore[arg-type]
        (lambda: optimizer_actuators(unit()[0], per_group=(1, "x")), ActuatorError, "per_group"),  # type: ignore[arg-type]
        (
            lambda: Tuner(unit()[0], space={"lr": gptune.Float(0.5, 1.0)}, mode="off"),
            RecipeError,
            r"opt\.lr: bounds: must contain the value in force",
        ),
    ],
)
def test_a_wrong_argument_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# The training state


def test_what_an_optimizer_trains_beside_the_model_goes_back_and_resumes() -> None:
    model, temperature = nn.Linear(2, 1), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([*model.parameters(), temperature], lr=0.1)
    state = TrainingState(model, optimizer)

    def step() -> None:
        for parameter in (*model.parameters(), temperature):
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()

    step()
    state.save()
    then, saved = temperature.detach().clone(), state.state_dict()
    kept = {key: value for key, value in saved.items() if key == "(optimizers)"}
    assert [float(value) for value in kept["(optimizers)"].values()] == [float(then)]
    copied = {**saved, "(optimizers)": {k: v.clone() for k, v in kept["(optimizers)"].items()}}
    step()
    state.restore()
    assert torch.equal(temperature, then)
    step()
    state.load_state_dict(copied)
    assert torch.equal(temperature, then)


def test_sparse_state_is_copied_and_scripted_models_are_refused() -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))
            self.register_buffer("table", torch.eye(2).to_sparse())

    model = Sparse()
    state = TrainingState(model, SGD(model.parameters(), lr=0.1))
    state.save()
    model.register_buffer("table", torch.zeros(2, 2).to_sparse())
    state.restore()
    assert torch.equal(model.get_buffer("table").to_dense(), torch.eye(2))
    state.load_state_dict(state.state_dict())
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.script(nn.Linear(1, 1))
    with pytest.raises(StateError, match="not scripted"):
        TrainingState(scripted, SGD(scripted.parameters(), lr=0.1))


def test_an_interrupted_save_leaves_no_half_of_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    state = TrainingState(model, SGD(model.parameters(), lr=0.1))
    state.save()
    count = 0
    copy_ = Tensor.copy_

    def interrupted(self: Tensor, *rest: Any, **more: Any) -> Tensor:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return copy_(self, *rest, **more)

    monkeypatch.setattr(Tensor, "copy_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        state.save()
    monkeypatch.undo()
    assert state.saved == ()


def test_a_tuner_hands_its_actuators_to_a_restore(tmp_path: Path) -> None:
    training = Training()
    state = TrainingState(training.model, training.optimizer)
    with Tuner(training.optimizer, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        training.step(tuner.step)
        state.save()
        tuner.report({"val/loss": 1.0})
        state.restore(knobs=tuner.actuators)
        assert tuner.actuators[0].read() == tuner.values["opt.lr"] != 1.0
        with pytest.raises(StateError, match=r"knobs: must be actuators, as Tuner\.actuators"):
            state.restore(knobs=tuner.knobs.values())  # type: ignore[arg-type]
