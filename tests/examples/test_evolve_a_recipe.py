"""The example runs from end to end, small: runs become a recipe, and both are compared."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from examples import evolve_a_recipe as example
from examples.evolve_a_recipe import main, place, steps_to
from gptune import Recipe, Tuner
from gptune import demo as room
from tests.doubles import FakeKnob


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hundredth of the demo's work, and one fresh seed."""
    monkeypatch.setattr(room, "WIDTH", 32)
    monkeypatch.setattr(example, "FRESH", range(100, 101))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_learns_compares_and_prints_a_row_a_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = main(["--steps", "200", "--runs", "1", "--out", str(tmp_path / "out")])
    assert [row[0] for row in rows] == [100]
    assert all(cell is None or 1 <= cell <= 200 for _, *cells in rows for cell in cells)
    printed = capsys.readouterr().out
    assert "evolved recipe" in printed
    assert "prior_center {" in printed
    base = Recipe.load(tmp_path / "out" / "base.yaml")
    evolved = Recipe.load(tmp_path / "out" / "evolved.yaml")
    assert base == Recipe()
    assert evolved != base, "something was accepted, and learnt"


def test_what_is_not_kept_is_cleared_away(tmp_path: Path) -> None:
    with place(None) as root:
        assert root.is_dir()
    assert not root.exists()
    with place(tmp_path / "kept") as root:
        assert root == tmp_path / "kept"
    assert root.is_dir()


def test_the_steps_to_a_loss_are_those_of_the_first_report_below_it(tmp_path: Path) -> None:
    with Tuner([FakeKnob("opt.lr")], run_dir=tmp_path / "run") as tuner:
        for loss in (3.0, "none", 2.0, 1.0, 2.0):
            tuner.step()
            tuner.report({"val/loss": loss})
    assert steps_to(2.5, tmp_path / "run") == 3
    assert steps_to(1.0, tmp_path / "run") == 4
    assert steps_to(0.5, tmp_path / "run") is None
