"""``gptune adjust``: a file that says what is what, and a user's module."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gptune.adjustment.state import FILE
from gptune.cli import main

MINE = """
import json
import random

chance = random.Random(0)

def objective(params):
    return (params["x"] - 0.8) ** 2

def retrain(params):
    return dict(params)

def apply(candidate):
    with open("applied.json", "a") as file:
        file.write(json.dumps(candidate) + "\\n")

def canary(candidate):
    while True:
        yield (0.2, candidate["x"])

def collect():
    return [chance.random() < 0.3 for _ in range(200)]
"""
CONFIG = """
collect: mine:collect
retrain: mine:retrain
apply: mine:apply
canary: mine:canary
directory: adjusting
running: {x: 0.2}
rules: {success_threshold: 0.8, adjustment_interval: 86400, cooldown: 3600.0}
tuning:
  objective: mine:objective
  space: {x: {type: float, low: 0.0, high: 1.0}}
  method: random
  n_trials: 5
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "config.yaml").write_text(CONFIG)


def adjust(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["adjust", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_once_goes_as_far_as_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert adjust("status", "config.yaml", capsys=capsys)[1] == "nothing was begun in adjusting\n"
    assert adjust("report", "config.yaml", capsys=capsys)[1] == "no adjustments so far\n"
    code, out, _ = adjust("once", "config.yaml", capsys=capsys)
    assert code == 0
    assert out == "watching, adjustment 1, applied 1\n"
    (applied,) = Path("applied.json").read_text().splitlines()
    assert json.loads(applied)["x"] > 0.2
    said = json.loads(adjust("status", "config.yaml", "--json", capsys=capsys)[1])
    assert (said["running"], said["phase"]) == (json.loads(applied), "watching")
    out = adjust("report", "config.yaml", capsys=capsys)[1]
    assert out.startswith("adjustment 1: kept, it won ")
    assert len(json.loads(adjust("report", "config.yaml", "--json", capsys=capsys)[1])) == 1
    assert adjust("once", "config.yaml", capsys=capsys)[1] == out_of_rest()


def out_of_rest() -> str:
    """Give what a poll says while it rests: nothing is begun twice."""
    return "watching, adjustment 1, applied 1\n"


def test_records_are_tailed_from_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    text = CONFIG.replace("collect: mine:collect", "collect: served.jsonl")
    Path("config.yaml").write_text(text)
    Path("served.jsonl").write_text('{"success": false}\n' * 30)
    assert adjust("once", "config.yaml", capsys=capsys)[1].startswith("watching, adjustment 1")


def test_an_algorithm_stands_for_its_space(capsys: pytest.CaptureFixture[str]) -> None:
    space = "  space: {x: {type: float, low: 0.0, high: 1.0}}\n"
    Path("config.yaml").write_text(CONFIG.replace(space, "  algorithm: agent\n"))
    code, out, _ = adjust("once", "config.yaml", capsys=capsys)
    assert (code, "adjustment 1, applied 0" in out) == (0, True), "the objective needs an x"


@pytest.mark.slow
def test_run_polls_until_it_is_interrupted(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "gptune", "adjust", "run", "config.yaml", "--interval", "0.05"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    for _ in range(300):
        time.sleep(0.1)
        if (tmp_path / "applied.json").exists():
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert len((tmp_path / "applied.json").read_text().splitlines()) == 1
    assert (tmp_path / "adjusting" / FILE).exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("retrain: mine:retrain\n", "", "retrain is missing; it needs"),
        ("directory: adjusting", "directory: a\nretrian: x", "retrian: is unknown; "),
        ("retrain: mine:retrain", "retrain: mine:nothing", "has no function 'nothing'"),
        ("success_threshold: 0.8", "success_threshold: 8.0", "success_threshold: must lie"),
        ("success_threshold: 0.8", "success_threshold: high", "rules: "),
        ("  method: random", "  method: tpe", "method: is unknown"),
        ("  method: random", "  methud: random", "tuning.methud: is unknown"),
        ("  space: {x: {type: float, low: 0.0, high: 1.0}}\n", "", "tuning: needs space"),
        ("  method: random", "  algorithm: sarsa", "tuning.algorithm: is unknown"),
        ("  objective: mine:objective\n", "", "tuning: must be a mapping with objective"),
        ("collect: mine:collect", "collect: served.csv", "module:function"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(
    old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in CONFIG
    Path("config.yaml").write_text(CONFIG.replace(old, new))
    code, _, err = adjust("once", "config.yaml", capsys=capsys)
    assert (code, said in err) == (2, True), err
    assert not Path("adjusting").exists()


def test_a_list_and_a_run_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("[1]")
    assert "must hold a mapping" in adjust("once", "config.yaml", capsys=capsys)[2]
    assert main(["--dir", "x", "adjust", "once", "config.yaml"]) == 2
    assert adjust("run", "config.yaml", "--interval", "0", capsys=capsys)[0] == 2


def test_looking_loads_no_torch() -> None:
    code = (
        "import sys; from gptune.cli import main\n"
        "for verb in ('status', 'report'):\n"
        "    assert main(['adjust', verb, 'config.yaml']) == 0\n"
        "heavy = {'torch', 'botorch'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_an_adjustment_is_begun_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    text = CONFIG.replace("collect: mine:collect", "collect: served.jsonl")
    Path("config.yaml").write_text(text)
    assert adjust("once", "config.yaml", capsys=capsys)[1] == "watching, adjustment 0, applied 0\n"
    code, out, _ = adjust("once", "config.yaml", "--tune", "--trials", "3", capsys=capsys)
    assert (code, out) == (0, "watching, adjustment 1, applied 1\n")
    (report,) = json.loads(adjust("report", "config.yaml", "--json", capsys=capsys)[1])
    assert (report["trigger"], report["study"]["trials"]) == ("by_hand", {"complete": 3})
