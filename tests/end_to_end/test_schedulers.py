"""Under every schedule: an accepted change scales what the optimizer uses, and nothing else ever
changes; a rejected one leaves every parameter group as its snapshot was, bit for bit."""

from pathlib import Path

import pytest
import torch
from torch.optim import lr_scheduler

from gptune import Tuner
from gptune.online.decision import Hand
from gptune.records import Action
from tests.training import MakeScheduler, Training

SCHEDULERS: dict[str, MakeScheduler] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, step_size=7, gamma=0.5),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=60, eta_min=1e-5),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, max_lr=[1e-2, 3e-2], total_steps=80),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / 20)),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=10),
            lr_scheduler.CosineAnnealingLR(o, T_max=50),
        ],
        milestones=[10],
    ),
}
RECIPE = {"acceptance": {"reference": "last"}, "search": {"algorithm": "random"}}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_accepted_and_a_rejected_change_leave_the_groups_as_they_were(
    name: str, tmp_path: Path
) -> None:
    tuned, reference = (
        Training(make_scheduler=SCHEDULERS[name]),
        Training(make_scheduler=SCHEDULERS[name]),
    )
    multipliers: list[float] = []
    verdicts: list[Action] = []
    with Tuner(tuned.optimizer, recipe=RECIPE, run_dir=tmp_path / "run", seed=1) as tuner:
        value = 1.0
        for number in range(12):
            for _ in range(4):
                multipliers.append(float(tuner.values["opt.lr"]))
                tuned.step(tuner.step)
            # The first change meets a gain, all later ones a loss.
            value = value - 0.1 if number < 2 else value + 0.1
            before = tuned.groups()
            decision = tuner.report({"val/loss": value})
            assert tuned.groups() == before, "a decision touched a parameter group"
            verdicts.append(decision.verdict)
            if decision.verdict is Action.REJECTED:
                assert decision.restored
                assert tuner.values["opt.lr"] == decision.old
    assert Action.ACCEPTED in verdicts
    assert Action.REJECTED in verdicts
    for factor in multipliers:  # the same run by hand: multiplier x schedule at every step
        scheduled = [group["lr"] for group in reference.optimizer.param_groups]
        if factor != 1.0:
            for group, rate in zip(reference.optimizer.param_groups, scheduled, strict=True):
                group["lr"] = rate * factor
        _step_then_put_back(reference, scheduled)
    assert all(torch.equal(a, b) for a, b in zip(tuned.weights(), reference.weights(), strict=True))
    assert tuned.groups() == reference.groups()


def _step_then_put_back(training: Training, scheduled: list[float]) -> None:
    def put_back() -> None:
        for group, rate in zip(training.optimizer.param_groups, scheduled, strict=True):
            group["lr"] = rate

    training.step(put_back)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_checkpoints_never_hold_a_multiplier(name: str, tmp_path: Path) -> None:
    tuned, plain = (Training(make_scheduler=SCHEDULERS[name]) for _ in range(2))
    with Tuner(tuned.optimizer, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        for _ in range(5):
            tuned.step(tuner.step)
            plain.step()
        assert tuner.report({"val/loss": 1.0}).verdict is Action.APPLIED
        tuned.step(tuner.step)
        plain.step()
        assert tuned.scheduler is not None
        assert plain.scheduler is not None
        assert tuned.scheduler.state_dict().keys() == plain.scheduler.state_dict().keys()
        mine, theirs = tuned.optimizer.state_dict(), plain.optimizer.state_dict()
        assert mine["param_groups"] == theirs["param_groups"]


def test_a_rejected_change_is_restored_from_its_snapshot_in_every_group(tmp_path: Path) -> None:
    training = Training(make_scheduler=SCHEDULERS["CosineAnnealingLR"])
    recipe = {
        "acceptance": {"reference": "last"},
        "search": {"algorithm": "random", "joint": True},
        "actuators": {
            "opt": {
                "mutations": {
                    "lr": {"bounds": [0.1, 10.0]},
                    "weight_decay": {"bounds": [0.5, 2.0]},
                    "momentum": {"bounds": [0.9, 1.1]},
                }
            }
        },
    }
    with Tuner(training.optimizer, recipe=recipe, run_dir=tmp_path / "run") as tuner:
        training.step(tuner.step)
        hands: dict[str, Hand] = tuner._session.hands
        snapshots = {family: hand.actuator.snapshot() for family, hand in hands.items()}
        decision = tuner.report({"val/loss": 1.0})
        assert len(decision.changes) == 3
        training.step(tuner.step)
        before = training.groups()
        assert tuner.report({"val/loss": 2.0}).verdict is Action.REJECTED
        assert {family: hand.actuator.snapshot() for family, hand in hands.items()} == snapshots
        assert training.groups() == before
