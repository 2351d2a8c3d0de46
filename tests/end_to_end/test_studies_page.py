"""The page on studies, taken at its word: its blocks run, and do what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

import gptune


def test_the_blocks_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", Path("docs/studies.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    studies = []
    for block in blocks:
        exec(compile(block, "docs/studies.md", "exec"), scope)
        studies.append(scope["study"])
    first, second, resumed, pruned, drawn, middle = studies
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
    assert (tmp_path / "study.db").is_file()
    for study in (first, second, resumed):
        study.close()


def test_what_the_page_names_is_there() -> None:
    names = re.findall(
        r"`(?:gptune\.)?([A-Z]\w+(?:Pruner|Sampler))`", Path("docs/studies.md").read_text()
    )
    assert len(names) >= 8
    assert all(hasattr(gptune, name) for name in names)
