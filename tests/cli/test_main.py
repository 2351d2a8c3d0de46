"""The program: every verb is listed, and only what is wanted is loaded."""

import importlib
import json
import subprocess
import sys
from argparse import ArgumentParser

import pytest

from gptune.cli import FAMILIES, main


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_exactly_the_verbs_that_it_is_known_for(family: str) -> None:
    commands = ArgumentParser().add_subparsers()
    getattr(importlib.import_module(f"gptune.cli.{family}"), f"add_{family}")(commands)
    assert tuple(commands.choices) == FAMILIES[family]


@pytest.mark.parametrize("words", [["--help"], ["nonsense"], []])
def test_help_and_misuse_name_every_verb(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == (0 if words == ["--help"] else 2)
    printed = "".join(capsys.readouterr())
    if words:
        assert all(verb in printed for verbs in FAMILIES.values() for verb in verbs)


@pytest.mark.parametrize("place", [[], ["--dir", "log"], ["--dir=log"]])
def test_only_the_family_that_is_wanted_is_loaded(place: list[str]) -> None:
    code = f"""
from gptune.cli import main
try:
    main([*{place!r}, "status", "--help"])
except SystemExit:
    pass
import json, sys
print(json.dumps(sorted(name for name in sys.modules if name.startswith("gptune.cli."))))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(run.stdout.splitlines()[-1])
    assert "gptune.cli.looking" in loaded
    if place != ["--dir=log"]:
        wanted = [f"gptune.cli.{name}" for name in ("looking", "place")]
        assert loaded == wanted
