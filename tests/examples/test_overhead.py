"""The overhead benchmark measures what it says; how fast that is, is not tested here."""

import contextlib
import gc
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from examples.benchmarks.overhead import __main__ as overhead
from examples.benchmarks.overhead import clock, snapshots
from examples.benchmarks.overhead.__main__ import MEANINGS, Report, measure
from examples.benchmarks.overhead.clock import Effort
from examples.benchmarks.overhead.measures import (
    KNOBS,
    measure_status,
    open_segment,
    time_processes,
)
from examples.benchmarks.overhead.memory import measure_growth
from examples.benchmarks.overhead.snapshots import make_state
from gptune.records import Action, Decision
from gptune.run_directory.summary_file import read_summary

TINY = Effort(
    repeats=3,
    calls=5,
    decisions=3,
    lines=3,
    imports=1,
    copies=2,
    long=200,
    steps=64,
    backend="eager",
)
FIGURES = [
    "step_us",
    "guarded_step_us",
    "off_us",
    "hooks_3_knobs_us",
    "hooks_compiled_us",
    "extra_graphs_120_multipliers",
    "snapshot_over_copy",
    "decision_ms",
    "fsync_ms",
    "import_ratio",
    "status_ratio",
    "rss_growth_mb_per_million",
    "adapter_us_lightning",
    "adapter_us_huggingface",
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class Run:
    """The command, run once: what it returned, measured, printed, and where it wrote."""

    code: int
    report: Report
    printed: str
    complaints: str
    file: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place, seen = tmp_path_factory.mktemp("overhead"), list[Report]()
    out, errors = io.StringIO(), io.StringIO()

    def watched(directory: Path, effort: Effort, seed: int) -> Report:
        seen.append(measure(directory, effort, seed))
        return seen[-1]

    file = place / "figures.json"
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(errors))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(overhead, "QUICK", replace(TINY, repeats=9, calls=40))
        patch.setattr(overhead, "measure", watched)
        patch.setattr(snapshots, "LARGE", 128)  # its size matters to what is measured alone
        patch.setenv("COLUMNS", "160")
        code = overhead.main(["--quick", "--json", str(file), "--directory", str(place)])
    (report,) = seen
    return Run(code, report, out.getvalue(), errors.getvalue(), file)


@pytest.fixture(scope="module")
def report(run: Run) -> Report:
    return run.report


def test_every_figure_is_there_and_positive(report: Report) -> None:
    assert list(report.figures) == FIGURES
    assert "bare_step_us" in report.beside
    for name, figure in {**report.figures, **report.beside}.items():
        assert math.isfinite(figure.value), name
        assert figure.value > 0 or name.startswith(("extra_graphs", "rss_growth")), name
        assert figure.better == "lower"
        assert f"_{figure.unit}_" in f"{name}_" or name.startswith("extra_graphs"), name
        assert name in MEANINGS


def test_a_long_run_that_did_nothing_is_no_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Decision(number=1, step=1, verdict=Action.OBSERVED)
    monkeypatch.setattr("gptune.Tuner.report", lambda *_: made)
    with pytest.raises(RuntimeError, match="only 0 of 200 decisions made a change"):
        measure_growth(TINY, 0)


def test_what_is_written_has_the_form_that_all_benchmarks_share(report: Report) -> None:
    plain = json.loads(json.dumps(report.to_dict(3), allow_nan=False))
    assert plain.keys() == {"figures", "tables", "versions", "seeds"}
    for figure in plain["figures"].values():
        assert figure.keys() == {"value", "unit", "better"}
    assert plain["seeds"] == [3]
    known = {"python", "torch", "gptune-torch", "lightning", "transformers"}
    assert known <= plain["versions"].keys()


def test_the_hooks_are_measured_with_all_three_knobs_in_force_and_a_change_unjudged(
    tmp_path: Path,
) -> None:
    tuner, optimizer = open_segment(tmp_path, 0)
    with tuner:
        assert tuner.mode == "active"
        assert tuner.values.keys() == {f"opt.{name}" for name in KNOBS}
        assert all(value != 1 for value in tuner.values.values())
        assert len(optimizer.param_groups) == 2
        assert tuner.state_dict()["kernel"]["pending"] is not None
        before = [group["lr"] for group in optimizer.param_groups]
        seen: list[float] = []
        optimizer.register_step_pre_hook(
            lambda opt, args, kwargs: seen.extend(group["lr"] for group in opt.param_groups)
        )
        optimizer.step()
        factor = tuner.values["opt.lr"]
        assert seen == [rate * factor for rate in before]


def test_the_status_that_is_measured_is_that_of_a_real_run(tmp_path: Path) -> None:
    tuner, _ = open_segment(tmp_path / "run", 0)
    tuner.close()
    ours, theirs = measure_status(tmp_path / "run", TINY)
    assert ours > theirs > 0
    summary = read_summary(tmp_path / "run")
    assert summary is not None
    assert summary["decision"] > 0
    with pytest.raises(RuntimeError, match=r"-c.*fails"):
        time_processes(("-c", "raise SystemExit(1)"), ("-c", ""), TINY)


def test_turns_are_paired_and_the_collector_is_put_back() -> None:
    calls: list[str] = []
    without, with_it = clock.take_turns(lambda: calls.append("a"), lambda: calls.append("b"), TINY)
    assert len(without) == len(with_it) == TINY.repeats
    assert calls.count("a") == calls.count("b") == TINY.calls * (TINY.repeats + 1)
    assert gc.isenabled()
    assert clock.paired_ratio([1.0, 10.0, 100.0], [3.0, 11.0, 107.0]) == 1.1
    assert clock.paired_difference([1.0, 10.0, 100.0], [3.0, 11.0, 107.0]) == 2.0


def test_the_command_prints_a_table_writes_its_file_and_cleans_up(run: Run) -> None:
    assert run.code == 0
    assert all(name in run.printed for name in [*FIGURES, "bare_step_us"])
    assert run.printed.split()[:4] == ["what", "gptune", "costs", "(medians,"]  # and nothing before
    assert run.printed.rstrip().endswith("┘")
    assert run.complaints == ""
    assert list(json.loads(run.file.read_text())["figures"]) == FIGURES
    assert list(run.file.parent.iterdir()) == [run.file]


def test_the_page_tells_every_figure_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    (section,) = re.findall(r"## What it costs\n(.*?)(?:\n## |\Z)", page, flags=re.DOTALL)
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)) == sorted(FIGURES)


def test_hooks_add_no_graph_to_a_compiled_step(report: Report) -> None:
    assert report.figures["extra_graphs_120_multipliers"].value == 0


def test_the_snapshot_that_is_measured_holds_model_and_optimizer() -> None:
    state = make_state(0, 16)
    weights = sum(p.nbytes for p in state.model.parameters())
    steps = sum(1 for _ in state.model.parameters()) * 4
    assert state.nbytes == 3 * weights + steps


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("lightning", "lightning"),
        ("transformers", "huggingface"),
        ("accelerate", "huggingface"),
        ("", "huggingface,lightning"),  # both
    ],
)
def test_a_framework_that_is_missing_is_named_with_its_extra_before_anything_is_measured(
    module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "find_spec", lambda name: None if module in name else object())
    said = re.escape(f"pip install 'gptune-torch[{extra}]'")
    with pytest.raises(ImportError, match=said):
        overhead.main(["--directory", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_the_frameworks_are_loaded_only_when_they_are_measured() -> None:
    code = "import sys, examples.benchmarks.overhead.__main__; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"lightning", "transformers", "accelerate"} & set(run.stdout.split())
