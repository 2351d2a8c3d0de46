"""The page on studies, taken at its word: its blocks run, and do what it says."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import gptune
from examples.train_with_lightning import Regression
from gptune.cli import main
from tests.docs.readers import yours
from tests.pages import blocks_of, execute

PAGE = Path("docs/studies.md").resolve()


class Module(Regression):
    """The reader's own."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


def test_the_blocks_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in blocks_of(PAGE) if block.runs]
    monkeypatch.chdir(tmp_path)
    mine = yours()
    scope = {"Module": Module, "loader": mine["loader"], "held_out": mine["held_out"]}
    studies = []
    for block in blocks:
        execute(block, scope)
        studies.append(scope["study"])
    first, second, resumed, pruned, drawn, middle, rates, noisy = studies
    assert len(first.trials) == 20
    assert first.best_value < 0.01
    assert len(second.trials) == len(resumed.trials) == 15
    for trial in resumed.trials:
        assert trial.params["width"] % trial.params["heads"] == 0
    assert {trial.state for trial in pruned.trials} == {"complete", "pruned"}
    assert drawn is pruned
    for name in ("history", "curves", "slices"):
        assert "plotly" in (tmp_path / f"{name}.html").read_text()
    assert middle.best_params == {"rate": 0.5}
    assert [len(trial.reports) for trial in rates.trials] == [10, 10]
    assert len(noisy.trials) == 20
    assert (tmp_path / "study.db").is_file()
    for study in (first, second, resumed):
        study.close()


def test_what_is_not_run_is_python_and_names_what_is_there() -> None:
    """Ray is run by the tests of its adapters."""
    blocks = [one for one in blocks_of(PAGE) if one.language == "python" and not one.runs]
    assert len(blocks) == 2
    for block in blocks:
        lines = [line for line in block.text.splitlines() if line.startswith("from gptune")]
        exec("\n".join(lines), {})


def test_the_commands_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (console,) = [block.text for block in blocks_of(PAGE) if block.language == "console"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # another test's
    (tmp_path / "space.yaml").write_text("rate: {type: float, low: 1.0e-5, high: 0.1, log: true}")
    (tmp_path / "mine.py").write_text("def objective(params):\n    return params['rate'] ** 2\n")
    for line in console.splitlines():
        words = line.partition("#")[0].removeprefix("$ gptune ").split()
        if "--workers" in words:
            words = words[: words.index("--workers")]  # processes of pytest's own are in the way
        shorter = {"50": "5", "80": "7"}
        assert main([shorter.get(word, word) for word in words]) == 0, line
    assert "rate:" in capsys.readouterr().out
    assert len((tmp_path / "bowl.csv").read_text().splitlines()) == 8
    assert (tmp_path / "bowl.html").is_file()


def test_what_the_page_names_is_there() -> None:
    names = re.findall(r"`(?:gptune\.)?([A-Z]\w+(?:Pruner|Sampler))`", PAGE.read_text())
    assert len(names) >= 8
    assert all(hasattr(gptune, name) for name in names)
