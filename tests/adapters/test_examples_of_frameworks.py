"""The examples of the frameworks run from end to end, small, and keep the promises."""

from pathlib import Path
from typing import Any

import pytest

from examples import train_with_accelerate, train_with_lightning, train_with_transformers
from gptune.audit import audit
from tests.adapters.framed import counts

EXAMPLES: list[Any] = [train_with_lightning, train_with_transformers, train_with_accelerate]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: str(e.__name__))
def test_an_example_trains_and_is_tuned(
    example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example.main(["--epochs", "8", "--run-dir", str(tmp_path / "run")])
    assert "the multiplier of the rate is" in capsys.readouterr().out
    assert counts(tmp_path / "run")["Applied"] >= 1
    assert audit(tmp_path / "run").holds
