"""The benchmark of the callbacks measures real runs; how fast they are is no matter here."""

from pathlib import Path

from examples.benchmarks.overhead.adapters import CHUNK, WARM, measure_adapters
from gptune.audit import audit


def test_it_measures_both_frameworks(tmp_path: Path) -> None:
    found = measure_adapters(tmp_path, steps=CHUNK * (WARM + 2))
    assert list(found) == ["adapter_us_lightning", "adapter_us_huggingface"]
    assert all(0 < value < 1e5 for value in found.values())
    assert all(audit(tmp_path / name).holds for name in ("lightning", "huggingface"))
