"""A terminal is shown text: nothing that a run directory holds can give it orders."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gptune
from gptune.cli import main
from gptune.printable import printable
from gptune.run_directory import control
from gptune.run_directory.file_system import Disk
from tests.doubles import FakeKnob

ORDER = "\x1b]0;owned\x07\x9b2J\r\x7f"  # a title, a cleared screen, a line written over


@given(st.text())
def test_only_what_can_be_shown_is_left_and_that_as_it_was(text: str) -> None:
    shown = printable(text)
    assert all(line.isprintable() for line in shown.split("\n"))
    shown.encode()
    assert json.loads(printable(json.dumps({text: text}, ensure_ascii=False))) == {text: text}


@pytest.mark.parametrize(
    "words",
    [["status"], ["log"], ["explain", "1"], ["verify"], ["ls"], ["log", "--json"]],
)
def test_no_verb_hands_on_what_a_terminal_would_obey(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    knob = FakeKnob("loss.aux")
    with gptune.Tuner([knob], objective=f"val/{ORDER}", run_dir=run) as tuner:
        control.send(Disk(), run, ORDER, {})
        tuner.report({f"val/{ORDER}": 1.0})
    monkeypatch.setenv("GPTUNE_RUNS", str(tmp_path))
    main(words if words == ["ls"] else ["--dir", str(run), *words])
    told = capsys.readouterr()
    assert printable(told.out + told.err) == told.out + told.err
    assert told.out


def test_nor_does_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", f"no such {ORDER}", "status"]) == 2
    err = capsys.readouterr().err
    assert printable(err) == err
