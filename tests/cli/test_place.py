"""Which run is meant: named, by --dir, or the newest."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from gptune.cli.place import (
    add_run,
    newest,
    read_log,
    run_of,
    runs,
    runs_root,
    split_run,
)
from gptune.errors import RunDirectoryError, UsageError
from gptune.run_directory.names import EVENTS, RUNS


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(RUNS, raising=False)
    return tmp_path / "runs"


def make(directory: Path, age: float = 0.0) -> Path:
    directory.mkdir(parents=True)
    (directory / EVENTS).touch()
    os.utime(directory / EVENTS, (1e9 - age, 1e9 - age))
    return directory


def meant(named: str | None = None, given: str | None = None) -> Path:
    return run_of(Namespace(dir=given), named)


def test_the_run_that_is_named_is_meant(root: Path) -> None:
    one, other = make(root / "one"), make(root / "other")
    assert meant(str(one)) == one
    assert meant(given=str(other)) == other


def test_naming_two_is_misuse(root: Path) -> None:
    one = str(make(root / "one"))
    with pytest.raises(UsageError, match="RUN: is named twice"):
        meant(one, one)


@pytest.mark.parametrize("name", ["missing", "empty", "empty/file", ""])
def test_what_holds_no_log_is_no_run(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "file").touch()
    with pytest.raises(RunDirectoryError, match=r"holds no events\.jsonl"):
        meant(name)


def test_without_a_name_it_is_the_one_that_was_written_last(root: Path) -> None:
    make(root / "a", age=5)
    latest = make(root / "b", age=1)
    make(root / "c", age=9)
    (root / "no run").mkdir()
    (root / "a file").touch()
    assert [path.name for path in runs()] == ["b", "a", "c"]
    assert newest().resolve() == meant().resolve() == latest.resolve()


def test_no_run_at_all_is_an_error_that_says_where_it_looked() -> None:
    assert runs() == []
    with pytest.raises(RunDirectoryError, match=r"there is none under 'runs'.*GPTUNE_RUNS"):
        meant()


def test_the_environment_says_where_runs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUNS, str(tmp_path / "elsewhere"))
    assert runs_root() == tmp_path / "elsewhere"
    assert meant(str(make(tmp_path / "elsewhere" / "x"))) == newest()
    monkeypatch.setenv(RUNS, "")
    assert runs_root() == Path("runs")


@pytest.mark.parametrize(
    ("words", "count", "split"),
    [
        (["run", "5"], 1, ("run", ["5"])),
        (["5"], 1, (None, ["5"])),
        ([], 1, (None, [])),
        (["run"], 0, ("run", [])),
        (["run", "a", "b"], 1, ("run", ["a", "b"])),
    ],
)
def test_the_run_is_the_word_too_many(
    words: list[str], count: int, split: tuple[str | None, list[str]]
) -> None:
    assert split_run(words, count) == split


def test_a_log_that_cannot_be_read_is_no_log(root: Path) -> None:
    assert read_log(make(root / "a")) == []
    (root / "b" / EVENTS).mkdir(parents=True)
    with pytest.raises(RunDirectoryError, match="its log cannot be read"):
        read_log(root / "b")


def test_a_verb_may_be_given_its_run() -> None:
    parser = ArgumentParser()
    add_run(parser)
    parser.set_defaults(run=print)  # what a verb does: the word must not take its place
    assert parser.parse_args([]).named is None
    parsed = parser.parse_args(["somewhere"])
    assert (parsed.named, parsed.run) == ("somewhere", print)
