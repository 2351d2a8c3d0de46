"""The pages are built without a warning, name all that is public, and need no network."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import gptune

NOWHERE = "http://127.0.0.1:9"  # nobody listens there: a build that asked the network would fail
SHOWN = re.findall(
    r"^\.\. automodule:: ([\w.]+)$",
    "\n".join(page.read_text() for page in sorted(Path("docs/api").glob("*.md"))),
    re.MULTILINE,
)


ELSEWHERE = r"[^>]*\s(?:src|href)=\"(?:https?:)?//"
LOADS = rf"<(?:script|img|iframe|source|link){ELSEWHERE}"  # not <a>: a link waits for its reader
STYLES = r"@import|url\(\s*[\"']?(?:https?:)?//"


@pytest.mark.slow
def test_the_pages_build_name_all_that_is_public_and_load_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    build(tmp_path)
    inventory = names_in(tmp_path)
    assert not {f"gptune.{name}" for name in gptune.__all__} - inventory
    assert not public_names() - inventory
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    assert not [page for page in pages if re.search(LOADS, page.read_text())]
    styles = list(tmp_path.rglob("*.css"))
    assert styles
    assert not [style for style in styles if re.search(STYLES, style.read_text())]


def build(to: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(to)]
    proxies = {f"{scheme}_proxy": NOWHERE for scheme in ("http", "https", "all")}
    world = {**os.environ, **proxies, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=world, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def names_in(built: Path) -> set[str]:
    inventory = InventoryFile.loads((built / "objects.inv").read_bytes(), uri="")
    return {name for kind, names in inventory.data.items() if kind[:3] == "py:" for name in names}


def public_names() -> set[str]:
    """List the classes and functions of the modules that have a page, by the name they have there.

    What `gptune` gives stands there alone; a class is found under its module's name too.
    """
    first = {id(getattr(gptune, name)): f"gptune.{name}" for name in gptune.__all__}
    assert len(SHOWN) > 40
    return {
        first.get(id(found), f"{module}.{name}")
        for module in SHOWN
        for name, found in vars(importlib.import_module(module)).items()
        if not name.startswith("_")
        and (inspect.isclass(found) or inspect.isfunction(found))
        and found.__module__ == module
        and (found.__doc__ or "").strip()
    }


@pytest.mark.parametrize(
    "page",
    ['<img alt="" src="https://x.org/a.svg">', '<link rel="stylesheet" href="//x.org/a.css">'],
)
def test_what_would_be_loaded_is_seen(page: str) -> None:
    assert re.search(LOADS, page)
    assert re.search(STYLES, "a { background: url('https://x.org/a.png') }")
