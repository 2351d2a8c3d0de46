"""Runs that an operator steers, and that go on elsewhere."""

from pathlib import Path
from typing import Any

import gptune
from gptune.run_directory import control
from gptune.run_directory.file_system import Disk
from tests.doubles import FakeKnob

ORDERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("apply", {"moves": {"loss.aux": 2}}),
    ("pause", {"decisions": 3}),
    ("resume", {}),
    ("apply", {"moves": {"loss.aux": 3.0, "loss.kl": 0.5}}),
    ("rollback", {}),
    ("rollback", {"to": 1}),
    ("apply", {"moves": {"loss.aux": 1e9}}),  # is refused
    ("set", {"changes": {"safety.patience": 5}}),
    ("pin", {"family": "loss.kl"}),
    ("apply", {"moves": {"task.kind": "hard"}}),
    ("pause", {}),
)


def knobs() -> list[Any]:
    kinds = {"kind": gptune.Categorical(("easy", "hard"))}
    task = gptune.value_actuators({"kind": "easy"}, kinds, name="task")
    return [FakeKnob("loss.aux"), FakeKnob("loss.kl"), *task]


def steer(place: Path, *, close: bool = True) -> gptune.Tuner:
    """Let a run only look, and an operator move its knobs."""
    tuner = gptune.Tuner(knobs(), run_dir=place, mode="observe", total_steps=100, seed=2)
    for number, (verb, arguments) in enumerate(ORDERS):
        tuner.step()
        control.send(Disk(), place, verb, arguments)
        tuner.report({"val/loss": 1.0 / (number + 1)})
    tuner.register(FakeKnob("loss.late"))
    tuner.report({"val/loss": 0.05})
    if close:
        tuner.close()
    return tuner


def go_on(place: Path, state: dict[str, Any]) -> None:
    """Let a run go on in another directory."""
    hands = [*knobs(), FakeKnob("loss.late")]
    tuner = gptune.Tuner(hands, run_dir=place, mode="observe", total_steps=100, seed=2)
    tuner.load_state_dict(state)
    tuner.step()
    tuner.report({"val/loss": 0.04})
    tuner.close()
