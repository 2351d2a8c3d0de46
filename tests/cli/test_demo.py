"""``gptune demo``: parse, call one function, return an exit code."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gptune import demo as room
from gptune.cli import REFUSED, main
from gptune.cli.demo import add_demo
from gptune.demo import Settings
from gptune.run_directory.event_log import read_events
from gptune.run_directory.names import EVENTS


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hundredth of the demo's work; what it prints and writes is of the same kind."""
    monkeypatch.setattr(room, "WIDTH", 32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads wait for each other on a busy machine
    yield
    torch.set_num_threads(threads)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_demo(parser.add_subparsers())
    return parser.parse_args(["demo", *words])


def chosen(monkeypatch: pytest.MonkeyPatch, *words: str) -> Settings:
    """Say what the command would run with."""
    calls: list[Settings] = []
    monkeypatch.setattr(room, "demo", calls.append)
    assert main(["demo", *words]) == 0
    return calls[0]


def test_every_choice_is_parsed() -> None:
    words = "--lr 0.5 --mode suggest --seed 7 --steps 60 --run-dir some/where --quiet"
    args = parse(*words.split())
    assert (args.lr, args.mode, args.seed, args.steps) == (0.5, "suggest", 7, 60)
    assert (args.run_dir, args.quiet) == (Path("some/where"), True)
    assert callable(args.run)


def test_what_is_given_reaches_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = f"--lr 0.5 --mode suggest --seed 7 --steps 60 --run-dir {tmp_path} --quiet"
    assert chosen(monkeypatch, *words.split()) == Settings(
        lr=0.5, mode="suggest", seed=7, steps=60, run_dir=tmp_path, quiet=True
    )


def test_what_is_not_given_is_the_demos_own_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch) == Settings()


def test_zero_is_given_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, "--seed", "0").seed == 0
    assert main(["demo", "--steps", "0"]) == REFUSED


def test_help_names_every_choice_and_its_real_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("--lr", "--mode", "--seed", "--steps", "--run-dir", "--quiet"):
        assert word in text
    defaults = Settings()
    for name in ("lr", "mode", "seed", "steps"):
        said = re.search(rf"--{name} {name.upper()} .*?\(default: ([^)]+)\)", text)
        assert said is not None, name
        given = getattr(defaults, name)
        assert type(given)(said[1]) == given, f"--{name}: the help says {said[1]}, it is {given}"


def test_help_of_the_program_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("--lr 0", "lr"),
        ("--lr -1", "lr"),
        ("--lr nan", "lr"),
        ("--lr inf", "lr"),
        ("--steps 0", "steps"),
        ("--steps -5", "steps"),
        ("--mode fast", "mode"),
        ("--mode replay", "mode"),
        ("--mode ", "mode"),
        ("--seed -1", "seed"),
    ],
)
def test_a_wrong_choice_is_refused_with_exit_code_2_and_names_the_field(
    words: str, field: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["demo", *words.split(" "), "--quiet", "--run-dir", str(tmp_path / "run")]
    assert main(arguments) == REFUSED == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"gptune: {field}: ")
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not (tmp_path / "run").exists(), "a refused demo leaves nothing behind"


@pytest.mark.parametrize("words", ["--lr fast", "--steps 1.5", "--seed x", "--colour", "extra"])
def test_words_that_do_not_parse_are_misuse(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["demo", *words.split()])
    assert stop.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_no_command_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "usage: gptune" in capsys.readouterr().err


def test_a_tiny_run_prints_its_table_and_writes_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["demo", "--steps", "60", "--quiet", "--run-dir", str(run)]) == 0
    printed = capsys.readouterr()
    assert "tuned" in printed.out
    assert "untuned" in printed.out
    assert f"run directory: {run}" in printed.out
    assert printed.err == ""
    lines = read_events(run)
    assert (run / EVENTS).stat().st_size > 0
    kinds = [line.event.__struct_config__.tag for line in lines]
    assert kinds[0] == "opened"
    assert kinds[-1] == "closed"
    assert kinds.count("observed") >= 3


def test_a_used_run_directory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["demo", "--steps", "3", "--quiet", "--run-dir", str(tmp_path)]
    assert main(words) == 0
    before = (tmp_path / EVENTS).read_bytes()
    capsys.readouterr()
    assert main(words) == REFUSED
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / EVENTS).read_bytes() == before
