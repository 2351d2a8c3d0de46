"""What gptune costs: a step, a scaled step, a callback, a decision, a snapshot, a line, a status.

Run from the root of the repository::

    python -m examples.benchmarks.overhead --quick --json overhead.json

Everything is measured on one thread, against the same thing without gptune, taking turns, so that
a busy machine slows both alike; a framework's callback is timed inside of the framework. It needs
the extras ``lightning`` and ``huggingface``.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from examples.benchmarks.overhead.clock import Effort, Figure
from examples.benchmarks.overhead.compiled import count_extra_graphs, measure_compiled
from examples.benchmarks.overhead.measures import (
    measure_decisions,
    measure_guarded,
    measure_hooks,
    measure_import,
    measure_off,
    measure_status,
    measure_step,
    measure_sync,
    measure_training_step,
)
from examples.benchmarks.overhead.memory import measure_growth
from examples.benchmarks.overhead.snapshots import measure_snapshot

LIBRARIES = ("gptune-torch", "torch", "gpytorch", "botorch", "numpy", "scipy", "msgspec")
EXTRAS = {"lightning": "lightning", "transformers": "huggingface", "accelerate": "huggingface"}
QUICK = Effort(
    repeats=150,
    calls=300,
    decisions=150,
    lines=500,
    imports=31,
    copies=40,
    long=50_000,
    steps=2048,
)
FULL = Effort(
    repeats=1000,
    calls=500,
    decisions=600,
    lines=5000,
    imports=151,
    copies=300,
    long=1_000_000,
    steps=16_384,
)


# The report


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured: the figures, and what they stand beside."""

    figures: dict[str, Figure]
    beside: dict[str, Figure]

    def to_dict(self, seed: int) -> dict[str, Any]:
        """Give plain data in the form that all benchmarks share."""
        return {
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "tables": {"beside": {name: asdict(figure) for name, figure in self.beside.items()}},
            "versions": versions(),
            "seeds": [seed],
        }


def measure(directory: Path, effort: Effort, seed: int) -> Report:
    """Measure everything; logs go under the directory.

    Raises:
        ImportError: If a framework is missing, before anything is measured.
    """
    check_frameworks()
    step = measure_step(directory, effort, seed)
    hooks, bare_optimizer = measure_hooks(directory, effort, seed)
    decision, idle = measure_decisions(directory, effort, seed)
    synced, unsynced = measure_sync(directory, effort)
    ours, theirs = measure_import(effort)
    status, beside_status = measure_status(directory / "decisions", effort)
    compiled, bare_compiled = measure_compiled(directory, effort, seed)
    copying = measure_snapshot(effort, seed)
    growth = measure_growth(effort, seed)
    callbacks = measure_callbacks(directory, effort)
    figures = {
        "step_us": Figure(step, "us"),
        "guarded_step_us": Figure(measure_guarded(directory, effort, seed), "us"),
        "off_us": Figure(measure_off(effort, seed), "us"),
        "hooks_3_knobs_us": Figure(hooks, "us"),
        "hooks_compiled_us": Figure(compiled, "us"),
        "extra_graphs_120_multipliers": Figure(count_extra_graphs(), "graphs"),
        "snapshot_over_copy": Figure(copying.save, "copy"),
        "decision_ms": Figure(decision, "ms"),
        "fsync_ms": Figure(synced, "ms"),
        "import_ratio": Figure(ours / theirs, "ratio"),
        "status_ratio": Figure(status / beside_status, "ratio"),
        "rss_growth_mb_per_million": Figure(growth, "mb_per_million"),
        **{name: Figure(value, "us") for name, value in callbacks.items()},
    }
    beside = {
        "bare_step_us": Figure(measure_training_step(effort, seed), "us"),
        "bare_optimizer_step_us": Figure(bare_optimizer, "us"),
        "bare_compiled_step_us": Figure(bare_compiled, "us"),
        "restore_over_copy": Figure(copying.restore, "copy"),
        "first_snapshot_over_clone": Figure(copying.first, "clone"),
        "small_snapshot_over_copy": Figure(copying.small, "copy"),
        "snapshot_mb": Figure(copying.megabytes, "mb"),
        "idle_decision_ms": Figure(idle, "ms"),
        "unsynced_line_ms": Figure(unsynced, "ms"),
        "import_gptune_ms": Figure(ours, "ms"),
        "import_argparse_json_ms": Figure(theirs, "ms"),
        "status_ms": Figure(status, "ms"),
    }
    return Report(figures, beside)


def check_frameworks() -> None:
    """Check that the frameworks are there, without loading them: that would disturb the rest.

    Raises:
        ImportError: Naming the extras that bring what is missing.
    """
    missing = sorted({extra for module, extra in EXTRAS.items() if find_spec(module) is None})
    if missing:
        raise ImportError(
            "the benchmark times the callbacks of frameworks that are not installed; run "
            f"pip install 'gptune-torch[{','.join(missing)}]'"
        )


def measure_callbacks(directory: Path, effort: Effort) -> dict[str, float]:
    """Measure what the callbacks cost a step [us]; done last, for it loads the frameworks."""
    from examples.benchmarks.overhead.adapters import measure_adapters

    return measure_adapters(directory / "callbacks", effort.steps)


MEANINGS = {
    "step_us": "Tuner.step, once a training step",
    "guarded_step_us": "Tuner.step with a loss, under the guard; every 16th looks at them",
    "off_us": "Tuner.step in mode off, which installs no hook",
    "hooks_compiled_us": "the same where optimizer.step is compiled",
    "extra_graphs_120_multipliers": "graphs that 120 multipliers add to a compiled step",
    "snapshot_over_copy": "a snapshot of the training state / a plain copy of its bytes",
    "bare_compiled_step_us": "that compiled step without the multipliers",
    "restore_over_copy": "going back to the snapshot / that copy",
    "first_snapshot_over_clone": "the first snapshot, which makes its room / a clone of the bytes",
    "small_snapshot_over_copy": "a snapshot of 1 MB in as many tensors / a plain copy",
    "snapshot_mb": "size of that snapshot",
    "hooks_3_knobs_us": "added to optimizer.step by 3 multipliers in 2 groups",
    "decision_ms": "Tuner.report with a proposal of the Gaussian process",
    "fsync_ms": "one durable line of events.jsonl",
    "import_ratio": "import gptune / import argparse, json",
    "status_ratio": "gptune status of a run of some hundred decisions / the same",
    "rss_growth_mb_per_million": "growth of the process in a million decisions that make changes",
    "adapter_us_lightning": "Lightning's callback, a step, under the guard",
    "adapter_us_huggingface": "the Trainer's callback and its hook in the model, a step, likewise",
    "status_ms": "that status",
    "bare_step_us": "a training step of a small classifier, without gptune",
    "bare_optimizer_step_us": "that optimizer.step without the multipliers",
    "idle_decision_ms": "Tuner.report in mode observe",
    "unsynced_line_ms": "a line that need not survive a loss of power",
    "import_gptune_ms": "a process that imports gptune",
    "import_argparse_json_ms": "a process that imports argparse and json",
}


def versions() -> dict[str, str]:
    """Name what was measured, and on what."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread"
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in (*LIBRARIES, *EXTRAS)},
        "machine": machine,
    }


def make_table(report: Report) -> Table:
    """Draw the figures, then what they stand beside."""
    table = Table(title="what gptune costs (medians, lower is better)")
    for column, side in (("", "left"), ("", "right"), ("unit", "left"), ("of what", "left")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for figures, style in ((report.figures, "bold"), (report.beside, "dim")):
        for name, figure in figures.items():
            row = (name, f"{figure.value:.3g}", figure.unit, MEANINGS[name])
            table.add_row(*row, style=style)
        table.add_section()
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--quick", action="store_true", help="about a minute (default)")
    amount.add_argument("--full", action="store_true", help="more repeats: some minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--seed", type=int, default=0, help="of the metrics and proposals")
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="on whose disk to write (default: here)"
    )
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(1)
    effort = FULL if parsed.full else QUICK
    if shutil.which("c++") is None and shutil.which("g++") is None:  # inductor needs one
        effort = replace(effort, backend="eager")
    with tempfile.TemporaryDirectory(prefix="overhead-", dir=parsed.directory) as folder:
        report = measure(Path(folder), effort, parsed.seed)
    Console().print(make_table(report))
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(report.to_dict(parsed.seed), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
