"""What must not happen: a healthy run restored, a change that does nothing accepted."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from examples.benchmarks.online import rivals
from examples.benchmarks.online.loop import Costs, Hooks, Setting, Start, run
from examples.benchmarks.online.ours import variant
from examples.benchmarks.online.tasks import find
from gptune import Float, Tuner, value_actuators
from gptune.events import Accepted, Observed, RolledBack
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk

# Task, schedule, factor: as usual, and with minibatches of one example, which needs a lower rate.
HEALTHY = tuple(
    (task + size, schedule, factor)
    for task in ("digits_ln", "teacher", "digits_conv", "characters", "nqm")
    for schedule in ("constant", "cosine")
    for size, factor in (("", 1.0), ("", 0.3), ("|batch=1", 0.1))
)
IDLE = {"loss.idle": (0.5, 2.0)}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One healthy run: how often it was restored."""

    task: str
    schedule: str
    factor: float
    seed: int


@dataclass(frozen=True, slots=True)
class Judged:
    """One run with a knob that does nothing: segments that were judged, and those accepted."""

    segments: int
    accepted: int
    rule: str


def restores(alarm: Alarm) -> int:
    """Train a healthy run in mode guard; gives how often the guard restored it."""
    rivals.quiet()
    setting = Setting(
        task=find(alarm.task), seed=alarm.seed, schedule=alarm.schedule, factor=alarm.factor
    )
    return run(setting, variant("guard")).costs.restores


def judge_nothing(task: str, seed: int, rule: str) -> Judged:
    """Let gptune judge changes of a knob that nothing reads.

    Args:
        task: A task's key.
        seed: Of the run.
        rule: ``forecast``, gptune's own, or ``last``, the older one.
    """
    rivals.quiet()
    found: list[Judged] = []

    def method(start: Start) -> Hooks:
        optimizer = start.problem.optimizer(start.rate)
        place = Path(tempfile.mkdtemp(prefix="gptune-benchmark-")) / "run"
        tuner = Tuner(
            value_actuators({"idle": 1.0}, {"idle": Float(0.5, 2.0, log=True)}, name="loss"),
            recipe={
                "objective": {"primary": "validation"},
                "acceptance": {"reference": rule},
                "safety": {"global_cooldown": 0, "max_global_reject_streak": 1000},
                "actuators": {"loss": {"keys": {"idle": {"cooldown": 0, "bounds": [0.5, 2.0]}}}},
            },
            model=start.problem.model,
            evaluate=start.problem.validation_losses,
            total_steps=start.setting.task.steps,
            run_dir=place,
            seed=seed,
        )

        def close() -> Costs:
            tuner.close()
            found.append(_count(place, rule))
            shutil.rmtree(place.parent)
            return Costs()

        return Hooks(
            optimizer=optimizer,
            scheduler=start.scheduler(optimizer),
            step=tuner.step,
            report=tuner.report,
            close=close,
        )

    run(Setting(task=find(task), seed=seed), method)
    return found[0]


def _count(place: Path, rule: str) -> Judged:
    events = [line.event for line in read_events(place, Disk())]
    accepted = sum(isinstance(event, Accepted) for event in events)
    rejected = sum(isinstance(event, RolledBack) for event in events)
    assert any(isinstance(event, Observed) for event in events)
    return Judged(accepted + rejected, accepted, rule)
