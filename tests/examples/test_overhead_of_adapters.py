"""The benchmark of the callbacks measures real runs; how fast they are is no matter here."""

import logging
from pathlib import Path

import pytest

from examples.benchmarks.overhead.adapters import CHUNK, WARM, measure_adapters
from gptune.audit import audit


def test_it_measures_both_frameworks(tmp_path: Path) -> None:
    found = measure_adapters(tmp_path, steps=CHUNK * (WARM + 2))
    assert list(found) == ["adapter_us_lightning", "adapter_us_huggingface"]
    assert all(0 < value < 1e5 for value in found.values())
    assert all(audit(tmp_path / name).holds for name in ("lightning", "huggingface"))


def test_what_the_frameworks_say_disturbs_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(logging.Logger, "handle", lambda _, record: said.append(record.msg))
    measure_adapters(tmp_path, steps=CHUNK * (WARM + 1))
    assert said == []
    assert capsys.readouterr() == ("", "")
    logging.getLogger("lightning.pytorch").warning("heard again")
    assert said == ["heard again"]
