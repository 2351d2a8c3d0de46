"""The version is written once."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import gptune
from gptune import version


def test_the_version_is_the_one_of_the_distribution() -> None:
    assert metadata.version("gptune-torch") == version.VERSION == gptune.__version__


def test_the_version_is_the_one_in_pyproject() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert project["version"] == version.VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", version.VERSION)


def test_a_source_tree_that_was_never_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    source = Path(version.__file__).read_text()
    found: dict[str, str] = {}
    monkeypatch.setattr(metadata, "version", missing)
    exec(compile(source, version.__file__, "exec"), found)
    assert found["VERSION"] == "0+unknown"
