"""Accept or reject? One change of a constant rate, early in a run, judged by gptune's own rules."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botorch.acquisition import AcquisitionFunction
from botorch.models.model import Model
from torch import Tensor

from examples.benchmarks.online import rivals
from examples.benchmarks.online.loop import Costs, Hooks, Setting, Start, run
from examples.benchmarks.online.tasks import find
from gptune import Acquisition, Float, Tuner, value_actuators
from gptune.events import Accepted, RolledBack
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk

TASK = "digits_ln"
FACTORS = (0.1, 0.32, 1.0, 1.8, 3.2)  # of the rate; 1 is a change of something that nothing reads
WATCHED, HORIZON = 6, 2  # decisions before the change, and until it is judged: 15 and 5 % of a run
RULES = {
    "last": "after < before",
    "free": "forecast, P > .95",
    "forecast": "forecast; lower rates need .995",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One change to be judged.

    Attributes:
        rule: A key of `RULES`.
        factor: What the rate is multiplied with.
        seed: Of the run.
    """

    rule: str
    factor: float
    seed: int


def is_accepted(asked: Asked) -> bool:
    """Train with one change, and say whether it was accepted."""
    rivals.quiet()
    found: list[bool] = []

    def method(start: Start) -> Hooks:
        optimizer = start.problem.optimizer(start.rate)
        place = Path(tempfile.mkdtemp(prefix="gptune-benchmark-")) / "run"
        tuner = Tuner(
            _knobs(asked, optimizer),
            recipe=_recipe(asked),
            acquisition=_extreme(up=asked.factor > 1),
            model=start.problem.model,
            evaluate=start.problem.validation_losses,
            total_steps=start.setting.task.steps,
            run_dir=place,
            seed=asked.seed,
        )

        def close() -> Costs:
            tuner.close()
            events = [line.event for line in read_events(place, Disk())]
            judged = [event for event in events if isinstance(event, Accepted | RolledBack)]
            found.append(isinstance(judged[0], Accepted))
            shutil.rmtree(place.parent)
            return Costs()

        scheduler = start.scheduler(optimizer)
        return Hooks(
            optimizer=optimizer,
            scheduler=scheduler,
            step=tuner.step,
            report=tuner.report,
            close=close,
        )

    run(Setting(task=find(TASK), seed=asked.seed, schedule="constant"), method)
    return found[0]


def _knobs(asked: Asked, optimizer: Any) -> Any:
    if asked.factor != 1:
        return optimizer
    return value_actuators({"idle": 1.0}, {"idle": Float(0.5, 2.0, log=True)}, name="loss")


def _recipe(asked: Asked) -> dict[str, Any]:
    """Let the change be the only one that can be proposed."""
    low, high = sorted((1.0, asked.factor))
    factor = high / low
    lr = {"bounds": [low, high], "max_step": factor}
    knob: dict[str, Any] = (
        {"loss": {"keys": {"idle": {"bounds": [0.5, 2.0]}}}}
        if asked.factor == 1
        else {"opt": {"mutations": {"lr": lr}}}
    )
    return {
        "objective": {"primary": "validation"},
        "actuators": knob,
        "search": {"startup_trials": 0, "trust_region": {"enabled": False}},
        "safety": {"warmup": WATCHED},
        "acceptance": {
            "reference": "last" if asked.rule == "last" else "forecast",
            "horizon": HORIZON,
            "lower_after_start": "free" if asked.rule == "free" else "strict",
        },
        "guard": {"enabled": False},
        "calibration": {"enabled": False},
    }


class FarEnd(AcquisitionFunction):
    """Prefers one end of the range, whatever the surrogate says."""

    def __init__(self, model: Model, *, up: bool) -> None:
        super().__init__(model)
        self.sign = 1.0 if up else -1.0

    def forward(self, X: Tensor) -> Tensor:
        """Give the place itself, shape ``(m,)`` for places of shape ``(m, 1, d)``."""
        return self.sign * X.sum((-1, -2))


def _extreme(*, up: bool) -> Acquisition:
    return lambda model, best: FarEnd(model, up=up)
