"""Does a long run stay small? Decisions on a disk in memory that keeps nothing, and the process."""

import gc
import os
import random
from pathlib import Path

from examples.benchmarks.overhead.clock import Effort
from gptune import Tuner, value_actuators
from gptune.records import Action

WARM = 0.1  # share of the decisions after which memory is measured first
MB = 1e6


class Forgetful:
    """A `gptune.run_directory.FileSystem` that takes everything and keeps nothing."""

    def make_directory(self, path: Path) -> None:
        """Do nothing."""

    def read(self, path: Path, limit: int = -1, *, nested: bool = False) -> bytes:
        """Give an empty file."""
        return b""

    def open_append(self, path: Path) -> int:
        """Give a handle."""
        return 1

    def write(self, handle: int, data: bytes) -> int:
        """Take all of it."""
        return len(data)

    def sync(self, handle: int) -> None:
        """Do nothing."""

    def close(self, handle: int) -> None:
        """Do nothing."""

    def truncate(self, path: Path, size: int) -> None:
        """Do nothing."""

    def sync_directory(self, path: Path) -> None:
        """Do nothing."""

    def names(self, path: Path, *, nested: bool = False) -> list[str]:
        """List nothing."""
        return []

    def replace(
        self, path: Path, data: bytes, *, durable: bool = False, nested: bool = False
    ) -> None:
        """Do nothing."""

    def remove(self, path: Path, *, nested: bool = False) -> bool:
        """Say that nothing was there."""
        return False

    def lock(self, path: Path) -> int | None:
        """Give a handle."""
        return 2


def measure_growth(effort: Effort, seed: int) -> float:
    """Measure how the process grows [MB a million decisions], in mode active, without a model.

    The search draws at random: what the Gaussian process remembers is bounded by
    ``search.max_observations``, and its speed is another figure. Every decision writes its lines.
    """
    chance = random.Random(seed)
    weights = {"aux": 1.0, "kl": 1.0}
    recipe = {
        "search": {"algorithm": "random", "startup_trials": 0},
        "acceptance": {"probability": 0.5},
        "safety": {"max_global_reject_streak": 1000},
    }
    changed, warm, first = 0, int(WARM * effort.long), 0
    tuner = Tuner(value_actuators(weights), recipe=recipe, seed=seed, file_system=Forgetful())
    with tuner:
        for number in range(effort.long):
            if number == warm:
                first = resident()
            tuner.step()
            made = tuner.report({"val/loss": 1.0 + 0.01 * chance.random()})
            changed += made.verdict is Action.APPLIED
    if changed < effort.long // 50:
        raise RuntimeError(f"only {changed} of {effort.long} decisions made a change")
    return (resident() - first) / MB / (effort.long - warm) * 1e6


def resident() -> int:
    """Give the memory that this process holds now [bytes]."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
