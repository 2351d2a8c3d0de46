"""The example runs from end to end, small: the guarded run is rescued, its twin is not."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from examples.rescue_a_diverging_run import WAYS, Axes, Run, main, picture, spread


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_guarded_run_is_rescued_and_its_twin_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tmp_path / "rescue.svg"
    runs = main(["--seeds", "1", "--svg", str(drawn)])
    finals = {way: made[0].final for way, made in runs.items()}
    assert finals.keys() == WAYS.keys()
    assert finals["guarded"] < 1.1 * finals["undisturbed"]
    assert finals["unguarded"] > 5 * finals["guarded"]
    assert runs["guarded"][0].put_back
    printed = capsys.readouterr().out
    assert "final validation loss" in printed
    assert "median" in printed
    check(drawn)


def check(drawn: Path) -> None:
    """It is one self-contained picture, in colours for light and for dark, of bounded size."""
    text = drawn.read_text()
    assert len(text) < 40_000
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"nan|inf\b|href|<script|url\(", text.replace("infty", ""))
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")
    assert root.find("{http://www.w3.org/2000/svg}title") is not None


def test_the_committed_picture_is_of_that_kind_and_stands_in_the_readme() -> None:
    check(Path("docs/rescue.svg"))
    readme = Path("README.md").read_text()
    assert "(docs/rescue.svg)" in readme
    assert "python -m examples.rescue_a_diverging_run --seeds 10 --svg docs/rescue.svg" in readme


def test_what_is_no_number_lies_at_the_top() -> None:
    axes = Axes(100, 0.1, 10.0)
    assert axes.y(math.nan) == axes.y(math.inf) == axes.y(1e9) == axes.y(10.0)
    assert axes.y(0.0) == axes.y(0.1) > axes.y(1.0)
    runs = {way: [Run([2.0, math.nan, 1.0], [])] for way in WAYS}
    assert "put back</text>" not in picture(runs, 30)
    assert "nan" not in picture(runs, 30)


def test_the_spread_is_the_median_and_the_ends() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 (1 to 3)"
