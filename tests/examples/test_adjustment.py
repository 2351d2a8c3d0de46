"""The rates of automatic adjustment are those that it states."""

import json
from pathlib import Path

import pytest

from examples.benchmarks.adjustment import main
from gptune.adjustment.duel import Terms


def test_the_command_prints_and_writes_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--runs", "60", "--json", str(tmp_path / "x.json")]) == 0
    figures = json.loads((tmp_path / "x.json").read_text())["figures"]
    terms = Terms()
    assert figures["kept_0.5"]["value"] <= terms.false_keep + 0.09
    assert figures["kept_0.6"]["value"] >= 1 - terms.missed - 0.12
    assert figures["records_to_alarm_0.3"]["value"] < figures["records_to_alarm_0.7"]["value"]
    assert "wins" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--runs", "1"])
