"""``gptune study run`` and what follows: real objectives, in modules of a user's directory."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gptune import Study
from gptune.cli import main
from gptune.cli.study_runs import find_objective
from gptune.errors import StudyError, UsageError

OBJECTIVE = """
import time
import gptune

def bowl(trial):
    x = trial.suggest_float("x", -1.0, 1.0)
    y = trial.suggest_float("y", -1.0, 1.0)
    trial.report(x, 0)
    return (x - 0.3) ** 2 + 0.1 * y

def given(params):
    return params["x"] ** 2

def raises(trial):
    if trial.number == 2:
        raise ZeroDivisionError("in the middle")
    return trial.suggest_float("x", -1.0, 1.0)

def slow(trial):
    x = trial.suggest_float("x", -1.0, 1.0)
    time.sleep(0.3 if trial.number < 3 else 60)
    return x

number = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(OBJECTIVE)


def study(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["study", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_study_is_run_resumed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = study("run", "one", "mine:bowl", "--trials", "8", capsys=capsys)
    assert code == 0
    assert out.startswith("one: 8 complete\nbest ")
    code, _, err = study("run", "one", "mine:bowl", "--trials", "8", capsys=capsys)
    assert code == 2
    assert "gptune study resume one mine:bowl" in err
    code, out, _ = study("resume", "one", "mine:bowl", "--total", "12", capsys=capsys)
    assert out.startswith("one: 12 complete\n")
    again = Study("again", storage="again.db")
    from mine import bowl  # type: ignore[import-not-found]

    again.optimize(bowl, n_trials=12)
    assert [t.params for t in Study.load("one", "studies.db").trials] == [
        t.params for t in again.trials
    ], "as one that was never stopped"
    code, out, _ = study("importance", "one", capsys=capsys)
    assert [line.split()[1] for line in out.splitlines()] == ["x", "y"]
    found = json.loads(study("importance", "one", "--json", capsys=capsys)[1])
    assert found["x"]["total"] > found["y"]["total"]
    more = ["--top", "2", "--repeats", "2"]
    code, out, _ = study("validate", "one", "mine:bowl", *more, capsys=capsys)
    assert code == 0
    assert out.count("of 2 repeats") == 2


def test_a_study_with_a_space_gets_the_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text("x: {type: float, low: -1.0, high: 1.0}")
    study("new", "one", "--space", "space.yaml", "--direction", "maximize", capsys=capsys)
    more = ["--trials", "5", "--sampler", "sobol", "--pruner", "median"]
    code, _, _ = study("run", "one", "mine:given", *more, capsys=capsys)
    assert code == 0
    made = Study.load("one", "studies.db")
    assert (made.direction, len(made.trials)) == ("maximize", 5)
    more = ["--trials", "1", "--direction", "minimize"]
    Study("two", storage="studies.db", direction="maximize")
    code, _, err = study("run", "two", "mine:bowl", *more, capsys=capsys)
    assert (code, "--direction: the study is to maximize" in err) == (2, True)


@pytest.mark.slow
def test_trials_run_in_processes(capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--trials", "4", "--sampler", "random", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    words = [sys.executable, "-m", "gptune", "study", "run", "one", "mine:bowl", *more]
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    trials = Study.load("one", "studies.db").trials
    assert [trial.state.value for trial in trials] == ["complete"] * 4


def test_what_the_objective_raises_passes_unless_it_is_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ZeroDivisionError):
        main(["study", "run", "one", "mine:raises", "--trials", "5", "--sampler", "random"])
    more = ["--trials", "5", "--sampler", "random", "--keep-going"]
    assert study("run", "two", "mine:raises", *more, capsys=capsys)[1].startswith(
        "two: 4 complete, 1 failed"
    )


@pytest.mark.slow
def test_an_interrupt_loses_nothing(tmp_path: Path) -> None:
    words = ["study", "run", "one", "mine:slow", "--trials", "9", "--sampler", "random"]
    process = subprocess.Popen([sys.executable, "-m", "gptune", *words], stderr=subprocess.DEVNULL)
    place = tmp_path / "studies.db"
    for _ in range(200):
        time.sleep(0.1)
        with suppress(StudyError):  # it may not be there yet
            if len(Study.load("one", place).trials) == 4:
                break
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    trials = Study.load("one", place).trials
    assert [trial.state.value for trial in trials[:3]] == ["complete"] * 3
    assert not [trial for trial in trials if trial.state == "running"]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("mine", "must be module:function"),
        (":bowl", "must be module:function"),
        ("mine:", "must be module:function"),
        ("not_there:bowl", "there is no module 'not_there'"),
        ("not.there:bowl", "there is no module 'not.there'"),
        ("mine:cup", "has no function 'cup'"),
        ("mine:number", "has no function 'number'"),
    ],
)
def test_an_objective_that_is_not_there_is_named(named: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_objective(named)


def test_what_a_module_raises_passes(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import not_there_either\n")
    with pytest.raises(ModuleNotFoundError, match="not_there_either"):
        find_objective("broken:any")


def test_how_long_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = study("run", "one", "mine:bowl", capsys=capsys)
    assert (code, "--trials, --total or --timeout" in err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["--kind", "history"],
        ["--kind", "learning_curves"],
        ["--kind", "slices", "--params", "x"],
        ["--kind", "contour", "--params", "x", "y"],
        ["--kind", "parallel_coordinates"],
        ["--kind", "importance"],
    ],
)
def test_a_study_is_drawn(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    study("run", "one", "mine:bowl", "--trials", "8", "--sampler", "random", capsys=capsys)
    code, out, _ = study("plot", "one", *words, capsys=capsys)
    assert code == 0
    assert out == f"one-{words[1]}.html\n"
    assert "plotly" in Path(out.strip()).read_text()[:5_000_000]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "contour"], "needs two parameters"),
        (["--kind", "contour", "--params", "x"], "needs two parameters"),
        (["--kind", "history", "--params", "x"], "shows them all"),
        (["--kind", "slices", "--params", "z"], "z"),
    ],
)
def test_what_cannot_be_drawn_is_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study("run", "one", "mine:bowl", "--trials", "4", "--sampler", "random", capsys=capsys)
    code, _, err = study("plot", "one", *words, capsys=capsys)
    assert (code, said in err) == (2, True), err


def test_a_grid_says_how_large_it_is_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text("x: {type: categorical, choices: [1.0, 2.0, 3.0]}")
    study("new", "one", "--space", "space.yaml", capsys=capsys)
    out = study("run", "one", "mine:given", "--sampler", "grid", "--trials", "2", capsys=capsys)[1]
    assert out.startswith("a grid of 3 points, 3 of them left\n")
    out = study("resume", "one", "mine:given", "--sampler", "grid", capsys=capsys)[1]
    assert out.startswith("a grid of 3 points, 1 of them left\none: 3 complete\n")
