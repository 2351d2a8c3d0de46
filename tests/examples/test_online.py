"""The benchmark of online tuning measures what it says; how good the methods are, is not tested."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.benchmarks.online import __main__ as command
from examples.benchmarks.online import accept, alarms, learning, page, plots
from examples.benchmarks.online import rows as rooms
from examples.benchmarks.online.faults import FAULTS
from examples.benchmarks.online.figures import (
    FACTORS,
    GRID,
    Ratios,
    Results,
    evaluations_until_back,
    geomean,
)
from examples.benchmarks.online.loop import Costs, Outcome, Setting, plain, run
from examples.benchmarks.online.ours import VARIANTS, variant
from examples.benchmarks.online.rivals import RIVALS, forecast, suggest
from examples.benchmarks.online.rows import Job, Row, job
from examples.benchmarks.online.tasks import TASKS, find, make

SHORT = "digits_ln|steps=60"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_loop_is_an_ordinary_one() -> None:
    task = find(SHORT)
    outcome = run(Setting(task=task, seed=3), plain)
    problem = make(task, 3)
    optimizer = problem.optimizer(task.good)
    problem.model.train()
    for step, (x, y) in zip(range(task.steps), problem.minibatches(), strict=False):
        optimizer.param_groups[0]["lr"] = task.good * (1 + math.cos(math.pi * step / 60)) / 2
        optimizer.zero_grad()
        problem.loss(x, y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert outcome.loss == pytest.approx(problem.test_loss(), rel=1e-4)
    assert outcome.steps == task.steps
    assert len(outcome.curve) == task.steps // task.evaluate_every


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_fixed_by_its_seed_and_can_be_learnt(name: str) -> None:
    task = find(f"{name}|steps=80")
    outcome = run(Setting(task=task, seed=1), plain)
    assert outcome.loss < make(task, 1).test_loss()
    again = run(Setting(task=task, seed=1), plain)
    assert (outcome.loss, outcome.curve) == (again.loss, again.curve)
    assert run(Setting(task=task, seed=2), plain).loss != outcome.loss


@pytest.mark.parametrize(
    "key", ["nothing", "teacher|depth=3", "teacher|optimizer=x", "nqm|steps=3"]
)
def test_a_task_that_there_is_none_of_is_refused_and_named(key: str) -> None:
    with pytest.raises(ValueError, match=r"nothing|depth|optimizer|steps"):
        find(key)


@pytest.mark.parametrize("fault", [name for name in FAULTS if name])
def test_a_fault_changes_a_run_from_its_moment_on(fault: str) -> None:
    task = find("teacher|steps=80")
    calm = run(Setting(task=task, seed=0), plain).curve
    hit = run(Setting(task=task, seed=0, fault=fault), plain).curve
    first = next(n for n, (a, b) in enumerate(zip(calm, hit, strict=True)) if a != b)
    assert 0.25 * len(calm) <= first <= 0.6 * len(calm)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", [m for m in (*RIVALS, *VARIANTS) if rooms.is_there(m)])
def test_every_method_that_is_installed_takes_its_steps(method: str) -> None:
    key = "digits_ln|steps=450" if method in VARIANTS else SHORT
    row = rooms.measure(job(method, key, "cosine", factor=1.0, seed=0))
    assert row.outcome.steps == find(key).steps
    assert math.isfinite(row.outcome.loss)
    assert not Path("logs").exists()


def test_ours_is_the_real_tuner_and_its_run_directory_can_stay(tmp_path: Path) -> None:
    method = variant("guard", keep=tmp_path / "run")
    outcome = run(Setting(task=find("teacher|steps=400"), seed=0, fault="spike"), method)
    assert (tmp_path / "run" / "events.jsonl").exists()
    assert outcome.costs.restores >= 1


def test_what_is_compared_in_the_tables_of_alarms_acceptance_and_learning() -> None:
    judged = alarms.judge_nothing("teacher|steps=200", 0, "last")
    assert judged.segments > 5
    assert alarms.restores(alarms.Alarm("teacher|steps=80", "cosine", 1.0, 0)) == 0
    answers = [accept.is_accepted(accept.Asked("last", factor, 0)) for factor in (0.1, 3.2)]
    assert answers == [True, False]
    learnt = learning.learn("digits_ln|steps=450", 0)
    assert len(learnt.losses) == learning.EARLIER + 1
    assert learnt.ratio == learnt.losses[-1] / learnt.first


def test_the_pieces_of_autolrs() -> None:
    decaying = [3 * math.exp(-0.2 * n) + 1 for n in range(12)]
    assert forecast(decaying, 100) == pytest.approx(1.0, abs=0.05)
    assert forecast([1.0, math.nan], 10) == 1e6
    tried = [(-1.0, 2.0), (0.0, 0.5), (1.0, 2.0)]
    assert abs(suggest(tried)) < 0.6


# --- figures ------------------------------------------------------------------------------------


def row(
    method: str, schedule: str, loss: float, *, factor: float = 1.0, fault: str = "", seed: int = 0
) -> Row:
    made = Job(method, "1", "teacher", schedule, factor, fault, seed)
    curve = [1.0, 0.5, 0.5, 4.0, 0.52, 0.4]
    outcome = Outcome(loss=loss, dead=False, curve=curve, steps=6, seconds=0.1, costs=Costs())
    return Row(made, outcome)


def results() -> Results:
    rows = [
        row("plain", shape, 2.0 + abs(math.log10(factor)), factor=factor, seed=seed)
        for shape in ("constant", "cosine")
        for factor in sorted({*GRID, *FACTORS})
        for seed in (0, 1)
    ]
    rows += [row("calibrate", "cosine", 3.0 + seed, seed=seed) for seed in (0, 1)]
    rows += [row("calibrate", "cosine", 5.0, fault="nan", seed=seed) for seed in (0, 1)]
    rows += [row("plateau", "own", 6.0, seed=seed) for seed in (0, 1)]
    return Results({one.job: one for one in rows}, ["teacher"], [0, 1])


def test_ratios_are_to_the_best_mean_and_harm_is_paired() -> None:
    found = results()
    assert found.reference("teacher") == 2.0
    ratios = found.ratios("calibrate", "cosine", [1.0], ["teacher"])
    assert ratios.geomean == pytest.approx(math.sqrt(1.5 * 2.0))
    assert ratios.worst == 2.0
    assert found.paired("calibrate", "cosine", ["teacher"], "nan").geomean == pytest.approx(2.5)
    assert found.ratios("plateau", "cosine", [1.0], ["teacher"]).worst == 3.0
    assert found.recovery("calibrate", ["teacher"], "nan", [0.5]) == 1.0
    with pytest.raises(KeyError):
        found.ratios("prodigy", "cosine", [1.0], ["teacher"])


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=12))
def test_an_interval_holds_the_mean_of_what_it_was_drawn_from(values: list[float]) -> None:
    ratios = Ratios({"a": values})
    low, high = ratios.interval()
    assert min(values) * 0.999 <= low <= high <= max(values) * 1.001
    assert geomean(values) == pytest.approx(ratios.geomean)
    assert ratios.interval() == (low, high)


@given(st.lists(st.floats(0.1, 10), min_size=4, max_size=20), st.floats(0, 0.9))
def test_recovery_counts_what_is_left_at_most(curve: list[float], at: float) -> None:
    left = len(curve) - int(at * len(curve))
    assert 0 <= evaluations_until_back(curve, at) <= left
    assert evaluations_until_back([1.0] * len(curve), at) == 0
    assert evaluations_until_back([1.0, 1.0, 9.0, 9.0], 0.5) == 2


def test_the_plot_is_whole_xml() -> None:
    from xml.etree import ElementTree

    lines = [("one", "#000", "", [(f, 1.0 + f) for f in FACTORS]), ("two", "#111", "2 2", [])]
    tree = ElementTree.fromstring(plots.svg(lines[:1]))
    assert len(tree.findall("{*}polyline")) == 1


# --- the command --------------------------------------------------------------------------------


def test_rows_are_kept_and_not_run_again(tmp_path: Path) -> None:
    wanted, said = [job("plain", SHORT, "cosine", factor=1.0, seed=s) for s in (0, 1)], list[str]()
    file = tmp_path / "rows.jsonl"
    first = rooms.fill(wanted, file, said.append)
    assert len(said) == 2
    with file.open("a") as out:
        out.write('{"job": {"method": "cut sh')
    assert rooms.fill(wanted, file, said.append) == first
    assert len(said) == 2
    older = [replace(one, version="0") for one in wanted]
    rooms.write(file, [Row(one, first[w].outcome) for one, w in zip(older, wanted, strict=True)])
    rooms.fill(wanted[:1], file, said.append)
    assert len(said) == 3
    assert [one.version for one in rooms.read(file)] == [wanted[0].version]


def test_the_command_prints_tables_and_writes_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "GRID", (1.0,))
    monkeypatch.setattr("examples.benchmarks.online.figures.GRID", (1.0,))
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / "figures.json"
    words = ["--quick", "--seeds", "0", "--tasks", "digits_ln|steps=450", "--rates", "1"]
    words += ["--parts", "ratios", "harm", "faults", "--json", str(file)]
    assert command.main(words) == 0
    written = json.loads(file.read_text())
    assert set(written["figures"]) == {
        *("cosine_ratio_geomean", "wsd_ratio_geomean", "worst_seed_ratio"),
        *(f"harm_{name}" for name in command.HARM),
        *("spike_ratio", "nan_ratio"),
    }
    assert all(math.isfinite(one["value"]) for one in written["figures"].values())
    assert "calibrate on cosine" in capsys.readouterr().out
    assert written["versions"]["plain"]


def test_what_cannot_be_measured_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--tasks", "mnist"], ["--methods", "magic"], ["--parts", "all"]):
        with pytest.raises(SystemExit) as ended:
            command.main(words)
        assert ended.value.code == 2
        assert words[1] in capsys.readouterr().err


def test_the_tables_of_the_page_are_those_of_the_figures(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    copy = tmp_path / "benchmarks.md"
    copy.write_text((docs / "benchmarks.md").read_text())
    assert page.main([str(docs / "benchmarks" / "online" / "figures.json"), str(copy)]) == 0
    assert copy.read_text() == (docs / "benchmarks.md").read_text()


def test_a_table_is_put_under_its_header_and_nowhere_else() -> None:
    text = "a\n\n| x | y |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\nb\n"
    assert page.put(text, "| x | y |", [["5", "6"]]) == (
        "a\n\n| x | y |\n|---|---|\n| 5 | 6 |\n\nb\n"
    )
    with pytest.raises(ValueError, match="no such table"):
        page.put(text, "| z |", [])
