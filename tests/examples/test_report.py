"""The benchmark of reports: what it says it measured."""

import json
from pathlib import Path

import pytest

from examples.benchmarks import report
from examples.benchmarks.browser import MISSING, is_installed
from gptune import RandomSampler, Study


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason=MISSING)
def test_a_report_of_a_small_study_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def small(root: Path) -> list[str]:
        with Study("small", storage=root / "s.db", sampler=RandomSampler()) as study:
            study.optimize(report.objective, n_trials=8)
        return [str(root / "s.db")]

    monkeypatch.setattr(report, "SUBJECTS", {"small": small})
    out = tmp_path / "figures.json"
    assert report.main(["--repeats", "2", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())["figures"]
    assert figures["report_small_requests"]["value"] == 0
    assert 0 < figures["report_small_kilobytes"]["value"] < 1000
    assert figures["report_small_drawn_seconds"]["value"] > 0
    assert "small" in capsys.readouterr().out


def test_fewer_looks_than_one_are_refused() -> None:
    with pytest.raises(SystemExit):
        report.main(["--repeats", "0"])
