"""What runs learn from each other: the same run as the first of its task, and as the fifth."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from examples.benchmarks.online import rivals
from examples.benchmarks.online.loop import Setting, run
from examples.benchmarks.online.ours import variant
from examples.benchmarks.online.tasks import find

EARLIER = 4  # runs before the fifth, each on seeds of its own
APART = 10_000  # between the seeds of those and of the run itself
FACTOR = 0.1


@dataclass(frozen=True, slots=True)
class Learnt:
    """Test losses of the runs of one sequence, and of its last run without the ones before it.

    Attributes:
        task: The task.
        seed: Of the last run.
        losses: Of the runs in their order.
        first: Of the last run, had it been the first.
    """

    task: str
    seed: int
    losses: list[float]
    first: float

    @property
    def ratio(self) -> float:
        """The fifth run over the same run as a first one."""
        return self.losses[-1] / self.first


def learn(task: str, seed: int, factor: float = FACTOR) -> Learnt:
    """Train five times, each run learning from those before it."""
    rivals.quiet()
    place = Path(tempfile.mkdtemp(prefix="gptune-benchmark-"))
    seeds = [APART + seed * EARLIER + number for number in range(EARLIER)] + [seed]
    kept: list[Path] = []
    losses = []
    for number, own in enumerate(seeds):
        setting = Setting(task=find(task), seed=own, factor=factor)
        method = variant("calibrate", prior=tuple(kept), keep=place / f"run{number}")
        losses.append(run(setting, method).loss)
        kept.append(place / f"run{number}")
    first = run(Setting(task=find(task), seed=seed, factor=factor), variant("calibrate")).loss
    shutil.rmtree(place)
    return Learnt(task, seed, losses, first)
