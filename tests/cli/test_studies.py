"""``gptune study``: making, listing, looking and exporting, without torch."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gptune import Float, Study
from gptune.cli import main
from gptune.configs.text import parse
from gptune.study.samplers import RandomSampler
from gptune.study.trial import Trial

SPACE = """
rate: {type: float, low: 1.0e-4, high: 1.0, log: true}
width: {type: int, low: 8, high: 64, step: 8}
kind: {type: categorical, choices: [a, b]}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["study", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def fill(name: str = "one", trials: int = 5) -> Study:
    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", -1.0, 1.0)
        if trial.number == 2:
            return float("nan")
        trial.report(x, 0)
        return x * x

    made = Study(name, storage="studies.db", sampler=RandomSampler())
    made.optimize(objective, n_trials=trials)
    return made


def test_a_study_is_made_with_the_space_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    words = ["--space", "space.yaml", "--direction", "maximize", "--seed", "3"]
    code, out, _ = study("new", "one", *words, capsys=capsys)
    assert (code, out) == (0, "one: made in studies.db, to maximize, 3 parameters\n")
    made = Study.load("one", "studies.db")
    assert made.space["rate"] == Float(1e-4, 1.0, log=True)
    assert (made.direction, made.record.seed) == ("maximize", 3)
    code, _, err = study("new", "one", capsys=capsys)
    assert code == 2
    assert "exists already" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "must hold a mapping"),
        ("rate: {type: float, low: 2.0, high: 1.0}", "rate"),
        ("rate: {type: float, low: 1.0}", "rate"),
        ("rate: {type: real, low: 1.0, high: 2.0}", "rate"),
        ("{}", "at least one parameter"),
    ],
)
def test_a_wrong_space_is_named_and_nothing_is_made(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.yaml").write_text(text)
    code, _, err = study("new", "one", "--space", "space.yaml", capsys=capsys)
    assert code == 2
    assert said in err
    assert not (tmp_path / "studies.db").exists()


def test_studies_are_listed_with_what_they_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    made = fill()
    Study("two", storage="studies.db", direction="maximize")
    code, out, _ = study("ls", capsys=capsys)
    assert code == 0
    best = made.best_trial
    assert out.splitlines() == [
        f"one  to minimize  4 complete, 1 failed; best {best.value:.6g} of trial {best.number}",
        "two  to maximize  no trials",
    ]
    rows = json.loads(study("ls", "--json", capsys=capsys)[1])
    assert rows[0] == {
        "name": "one",
        "direction": "minimize",
        "trials": {"complete": 4, "failed": 1},
        "best": best.value,
        "number": best.number,
        "params": dict(best.params),
    }
    Study("empty", storage="empty.db").storage.delete("empty")
    assert study("ls", "--storage", "empty.db", capsys=capsys)[1] == "no studies in empty.db\n"


def test_the_best_is_printed_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    best = fill().best_trial
    assert study("best", "one", capsys=capsys)[1] == (
        f"{best.value:.6g}, trial {best.number}\n  x: {best.params['x']}\n"
    )
    assert parse(study("best", "one", "--yaml", capsys=capsys)[1], "x") == dict(best.params)
    assert json.loads(study("best", "one", "--json", capsys=capsys)[1]) == best.to_row()
    Study("two", storage="studies.db")
    code, _, err = study("best", "two", capsys=capsys)
    assert (code, "no trial is complete yet" in err) == (2, True)


def test_every_trial_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = fill()
    rows = list(csv.DictReader(study("export", "one", capsys=capsys)[1].splitlines()))
    assert [row["state"] for row in rows] == [trial.state.value for trial in made.trials]
    assert [row["params.x"] for row in rows] == [str(trial.params["x"]) for trial in made.trials]
    assert study("export", "one", "--format", "jsonl", "--out", "all.jsonl", capsys=capsys)[1] == ""
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert lines[0]["reports"] == {"0": made.trials[0].params["x"]}
    assert len(lines) == 5


@pytest.mark.parametrize("words", [["best", "onne"], ["export", "onne"], ["resume", "onne", "a:b"]])
def test_an_unknown_study_is_named_with_the_nearest_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    fill()
    code, _, err = study(*words, capsys=capsys)
    assert code == 2
    assert "'onne'" in err
    assert "one" in err.replace("onne", "")


def test_a_file_that_is_not_there_is_not_made_by_looking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["ls"], ["best", "one"], ["export", "one"], ["importance", "one"]):
        code, _, err = study(*words, capsys=capsys)
        assert (code, "studies.db" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_no_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", "runs/x", "study", "ls"]) == 2
    assert "see --storage" in capsys.readouterr().err


def test_looking_loads_no_torch() -> None:
    fill()
    code = (
        "import sys; from gptune.cli import main\n"
        "for words in (['new', 'two'], ['ls'], ['best', 'one'], ['export', 'one']):\n"
        "    assert main(['study', *words]) == 0\n"
        "heavy = {'torch', 'botorch', 'numpy'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    said = capsys.readouterr().out
    for verb in ("new", "ls", "run", "resume", "validate", "best", "export", "importance", "plot"):
        assert verb in said


def test_names_cannot_order_a_terminal_about(capsys: pytest.CaptureFixture[str]) -> None:
    made = Study("one", storage="studies.db", sampler=RandomSampler())

    def objective(trial: Trial) -> float:
        trial.suggest_categorical("a\x1b[2J", ["\x1b]0;x"])
        return 1.0

    made.optimize(objective, n_trials=1)
    out: Any = study("best", "one", capsys=capsys)[1]
    assert "\x1b" not in out
