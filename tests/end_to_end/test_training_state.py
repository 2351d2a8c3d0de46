"""Weights go back, the schedule does not; one checkpoint of everything resumes a run exactly."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import gptune
from gptune import TrainingState, Tuner
from gptune.records import Action, Decision

STEPS, EVERY, KILL = 48, 4, 22


class Run:
    """A run that draws from every generator, on a cosine, with a scaler and averaged weights."""

    def __init__(self, run_dir: Path, *, resume: bool = False) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.model = nn.Sequential(
                nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1)
            )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = gptune.schedule.cosine(self.optimizer, STEPS, final=0.1)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        self.average = torch.optim.swa_utils.AveragedModel(self.model)
        self.state = TrainingState(
            self.model,
            self.optimizer,
            scheduler=self.scheduler,
            scaler=self.scaler,
            extras={"average": self.average},
        )
        self.tuner = Tuner(
            [self.optimizer, gptune.dropout_actuator(self.model)],
            recipe={
                "search": {"startup_trials": 2},
                "acceptance": {"probability": 0.6},
                "actuators": {
                    "opt": {"mutations": {"lr": {}}},
                    "model": {"keys": {"dropout": {"mode": "set", "bounds": [0.0, 0.4]}}},
                },
            },
            total_steps=STEPS,
            run_dir=run_dir,
            seed=3,
            resume=resume,
        )
        self.decisions: list[Decision] = []

    def train(self, begin: int, end: int) -> None:
        for step in range(begin, end):
            inputs = torch.randn(32, 4) + random.random() + float(np.random.rand())  # noqa: NPY002
            targets = inputs.sum(1, keepdim=True).sin()
            self.optimizer.zero_grad()
            loss = nn.functional.mse_loss(self.model(inputs), targets)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.scheduler.step()
            self.average.update_parameters(self.model)
            self.tuner.step(loss)
            if (step + 1) % EVERY == 0:
                self.decisions.append(self.tuner.report({"val/loss": loss.item()}))

    def tensors(self) -> list[torch.Tensor]:
        return [t.clone() for t in (*self.model.state_dict().values(), *self.average.parameters())]


def seed_everything() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)


def told(decisions: list[Decision]) -> list[tuple[Any, ...]]:
    return [(d.number, d.step, d.verdict, d.changes, d.probability, d.metric) for d in decisions]


def test_one_checkpoint_resumes_weights_schedule_chance_and_tuning_bit_for_bit(
    tmp_path: Path,
) -> None:
    seed_everything()
    whole = Run(tmp_path / "whole")
    whole.train(0, STEPS)
    whole.tuner.close()

    seed_everything()
    killed = Run(tmp_path / "killed")
    killed.train(0, KILL)
    path = tmp_path / "checkpoint.pt"
    torch.save({"training": killed.state.state_dict(), "tuner": killed.tuner.state_dict()}, path)
    killed.train(KILL, KILL + 7)  # lost with the process
    assert killed.tuner._session.log is not None
    killed.tuner._session.log.close()

    random.seed(99)
    torch.manual_seed(99)
    saved = torch.load(path, weights_only=True)
    resumed = Run(tmp_path / "killed", resume=True)
    resumed.state.load_state_dict(saved["training"])
    resumed.tuner.load_state_dict(saved["tuner"])
    resumed.train(KILL, STEPS)
    resumed.tuner.close()
    assert told(resumed.decisions) == told(whole.decisions[KILL // EVERY :])
    assert any(decision.changes for decision in resumed.decisions)
    same = zip(resumed.tensors(), whole.tensors(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)
    assert resumed.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"]


def test_in_a_run_weights_go_back_while_schedule_and_tuning_go_on(tmp_path: Path) -> None:
    seed_everything()
    run = Run(tmp_path / "run")
    run.train(0, 12)
    good = run.tensors()
    run.state.save("last")
    run.train(12, 16)
    assert run.decisions[-1].verdict is Action.APPLIED or run.tuner.values["opt.lr"] != 1.0
    values = run.tuner.values
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(float("nan"))
    rate = run.optimizer.param_groups[0]["lr"]
    run.state.restore("last", knobs=[hand.actuator for hand in run.tuner._session.hands.values()])
    assert all(torch.equal(a, b) for a, b in zip(run.tensors(), good, strict=True))
    assert run.optimizer.param_groups[0]["lr"] == rate
    assert run.tuner.values == values
    run.train(16, STEPS)
    assert run.optimizer.param_groups[0]["lr"] == 1e-2 * 0.1  # the end of the cosine
    assert all(tensor.isfinite().all() for tensor in run.tensors())
    run.tuner.close()
