"""A link inside a run directory is never followed: what lies outside stays as it is.

Whoever may write to a run directory may steer the run within its recipe; with links he could
also let its owner read, cut off or overwrite any file of the owner's.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptune
from gptune.cli import main
from gptune.errors import GptuneError, RecipeError, RunDirectoryError
from gptune.events import Command
from gptune.run_directory import control, names
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk
from gptune.run_directory.owner import owner_of
from gptune.run_directory.summary_file import read_summary
from gptune.run_directory.tail import tail
from tests.doubles import FakeKnob

RECIPE: dict[str, Any] = {
    "actuators": {"loss": {"keys": {"aux": {"bounds": [0.1, 10.0], "max_step": 2.0}}}},
    "search": {"algorithm": "none"},
}
ORDER = b'{"verb": "apply", "arguments": {"moves": {"loss.aux": 2.0}}}'


class Outside:
    """What lies beside the run directory: files of the user's, which nobody meant to hand over."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "outside"
        self.directory.mkdir()
        (self.directory / "order.json").write_bytes(ORDER)
        (self.directory / "off.json").write_bytes(b'{"freeze": "off"}')
        (self.directory / "torn").write_bytes(b"a private file without a last newline")
        (self.directory / "log").write_bytes(b"")
        os.mkfifo(self.directory / "pipe")
        self.before = self.seen()

    def seen(self) -> dict[str, bytes | None]:
        return {
            path.name: path.read_bytes() if path.is_file() else None
            for path in sorted(self.directory.iterdir())
        }

    def is_untouched(self) -> bool:
        return self.seen() == self.before


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


def start(tmp_path: Path, **chosen: Any) -> tuple[gptune.Tuner, FakeKnob]:
    knob = FakeKnob("loss.aux")
    given = {"recipe": RECIPE, "run_dir": tmp_path / "run", **chosen}
    return gptune.Tuner([knob], **given), knob


def answers(run: Path) -> list[tuple[bool, str]]:
    events = [line.event for line in read_events(run) if isinstance(line.event, Command)]
    return [(event.accepted, event.message) for event in events]


TARGETS = ["outside/order.json", "outside/nothing", "outside/pipe", "outside", "/dev/zero"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_command_that_is_a_link_is_refused_and_only_the_link_is_removed(
    target: str, tmp_path: Path, outside: Outside
) -> None:
    tuner, knob = start(tmp_path)
    link = tmp_path / "run" / names.COMMANDS / "1-a.json"
    link.parent.mkdir()
    link.symlink_to(tmp_path / target)
    with tuner:
        tuner.report({"val/loss": 1.0})
        answer = control.read_answer(Disk(), tmp_path / "run", "1-a")
    assert answer is not None
    assert not answer.accepted
    assert "is a symbolic link" in answer.message
    assert [accepted for accepted, _ in answers(tmp_path / "run")] == [False]
    assert not os.path.lexists(link)
    assert knob.value == 1.0
    assert outside.is_untouched()


def test_a_directory_of_commands_that_is_a_link_is_not_looked_into(
    tmp_path: Path, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    tuner, knob = start(tmp_path)
    (tmp_path / "run" / names.COMMANDS).symlink_to(outside.directory)
    with tuner:
        for _ in range(3):
            tuner.report({"val/loss": 1.0})
        assert tuner.log_ok
    assert "is a symbolic link" in caplog.text
    assert knob.value == 1.0
    assert answers(tmp_path / "run") == []
    assert outside.is_untouched()


@pytest.mark.parametrize("target", ["outside", "outside/nothing", "outside/torn"])
def test_no_answer_is_written_through_a_directory_that_is_a_link(
    target: str, tmp_path: Path, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    tuner, _ = start(tmp_path)
    (tmp_path / "run" / names.ANSWERS).symlink_to(tmp_path / target)
    with tuner:
        control.send(Disk(), tmp_path / "run", "pause", {})
        tuner.report({"val/loss": 1.0})
    assert "cannot be taken or answered" in caplog.text
    assert outside.is_untouched()
    with pytest.raises(OSError, match="is a symbolic link"):
        control.read_answer(Disk(), tmp_path / "run", "off")
    with pytest.raises(OSError, match="is a symbolic link"):
        control.discard_answer(Disk(), tmp_path / "run", "off")
    assert outside.is_untouched()


WRITTEN: dict[str, Callable[[Path], object]] = {  # what a run replaces, and who reads it
    f"{names.ANSWERS}/1-a.json": lambda run: control.read_answer(Disk(), run, "1-a"),
    names.SUMMARY: read_summary,
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(
    "target", ["outside/off.json", "outside/torn", "outside/nothing", "outside/pipe"]
)
def test_what_a_run_writes_takes_the_place_of_a_link_and_is_never_read_through_one(
    name: str, target: str, tmp_path: Path, outside: Outside
) -> None:
    tuner, _ = start(tmp_path)
    run, link = tmp_path / "run", tmp_path / "run" / name
    for directory in (names.COMMANDS, names.ANSWERS):
        (run / directory).mkdir()
    (run / names.COMMANDS / "1-a.json").write_bytes(ORDER)
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / target)
    if name == names.SUMMARY:
        assert read_summary(run) is None
    else:
        with pytest.raises(OSError, match="is a symbolic link"):
            WRITTEN[name](run)
    with tuner:
        tuner.report({"val/loss": 1.0})
        assert WRITTEN[name](run) is not None
    assert [accepted for accepted, _ in answers(run)] == [True]
    assert not link.is_symlink()
    assert outside.is_untouched()


@pytest.mark.parametrize("target", ["outside/off.json", "outside/nothing", "/dev/zero"])
def test_a_freeze_file_that_is_a_link_counts_as_frozen(
    target: str, tmp_path: Path, outside: Outside
) -> None:
    tuner, knob = start(tmp_path)
    (tmp_path / "run" / names.FREEZE).symlink_to(tmp_path / target)
    with tuner:
        (tmp_path / "run" / names.COMMANDS).mkdir()
        (tmp_path / "run" / names.COMMANDS / "1-a.json").write_bytes(ORDER)
        tuner.report({"val/loss": 1.0})
        ((accepted, why),) = answers(tmp_path / "run")
        assert not accepted
        assert "is a symbolic link" in why
        assert "counts as frozen" in why
        assert knob.value == 1.0
        assert main(["--dir", str(tmp_path / "run"), "freeze", "off"]) == 0
        assert control.frozen(Disk(), tmp_path / "run") == ""
    assert outside.is_untouched()


@pytest.mark.parametrize("name", [names.LOCK, names.EVENTS])
@pytest.mark.parametrize("target", ["torn", "log", "nothing", "pipe"])
def test_a_lock_or_a_log_that_is_a_link_keeps_a_run_from_starting(
    name: str, target: str, tmp_path: Path, outside: Outside
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(outside.directory / target)
    for resume in (False, True):
        with pytest.raises(RunDirectoryError, match=rf"run'.*is a symbolic link.*{name}"):
            start(tmp_path, resume=resume)
    assert outside.is_untouched()


def test_a_link_that_takes_the_place_of_the_log_is_not_followed_by_whoever_looks(
    tmp_path: Path, outside: Outside, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path)[0].close()
    run = tmp_path / "run"
    (run / names.EVENTS).rename(outside.directory / "moved")
    (run / names.EVENTS).symlink_to(outside.directory / "moved")
    (run / names.SUMMARY).unlink()
    with pytest.raises(RunDirectoryError, match="is a symbolic link"):
        next(tail(run))
    for words in (["log"], ["status"], ["export", "--mutations"], ["verify"]):
        assert main(["--dir", str(run), *words]) == 2, words
        assert "is a symbolic link" in capsys.readouterr().err
    chosen = {**RECIPE, "search": {"algorithm": "none", "prior_runs": [str(run)]}}
    with pytest.raises(RunDirectoryError, match="is a symbolic link"):
        start(tmp_path, recipe=chosen, run_dir=tmp_path / "next")
    with pytest.raises(RunDirectoryError, match="is a symbolic link"):
        start(tmp_path, run_dir=tmp_path / "next", mode="replay", replay=run)
    with pytest.raises(RunDirectoryError, match="is a symbolic link"):
        gptune.evolve_recipe(gptune.Recipe(), [run])


def test_an_owner_is_not_looked_for_behind_a_link_or_a_pipe(
    tmp_path: Path, outside: Outside
) -> None:
    (tmp_path / names.LOCK).symlink_to(outside.directory / "torn")
    with pytest.raises(RunDirectoryError, match="is a symbolic link"):
        owner_of(tmp_path)
    (tmp_path / names.LOCK).unlink()
    os.mkfifo(tmp_path / names.LOCK)
    with pytest.raises(RunDirectoryError, match="is not a file"):
        owner_of(tmp_path)


def test_a_summary_that_is_no_file_is_none_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / names.SUMMARY)
    assert read_summary(tmp_path) is None


def test_a_recipe_in_a_run_directory_that_is_a_link_is_refused(
    tmp_path: Path, outside: Outside
) -> None:
    (outside.directory / "recipe.yaml").write_text("mode: observe\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / names.RECIPE).symlink_to(outside.directory / "recipe.yaml")
    with pytest.raises(RecipeError, match="is a symbolic link"):
        start(tmp_path, recipe=None)


def test_what_the_user_names_himself_may_be_a_link(tmp_path: Path) -> None:
    tuner, knob = start(tmp_path)
    with tuner:
        for value in (1.0, 2.0):
            tuner.report({"val/loss": value})
    (tmp_path / "scratch").mkdir()
    gptune.Recipe.from_dict(RECIPE).save(tmp_path / "mine.yaml")
    for name, target in (("short", "scratch"), ("old", "run"), ("r.yaml", "mine.yaml")):
        (tmp_path / name).symlink_to(tmp_path / target)
    recipe = gptune.Recipe.load(tmp_path / "r.yaml")
    assert recipe == gptune.Recipe.from_dict(RECIPE)
    plain = recipe.to_dict()
    plain["search"]["prior_runs"] = [str(tmp_path / "old")]
    run = tmp_path / "short" / "run"
    tuner, knob = start(tmp_path, recipe=plain, run_dir=run)
    with tuner:
        control.send(Disk(), run, "apply", {"moves": {"loss.aux": 2.0}})
        tuner.report({"val/loss": 1.0})
        assert knob.value == 2.0
    assert [accepted for accepted, _ in answers(run)] == [True]
    (tmp_path / "whole").symlink_to(run)
    assert read_summary(tmp_path / "whole") is not None
    tuner, _ = start(tmp_path, run_dir=tmp_path / "whole", resume=True)
    tuner.close()


SWAPS: dict[str, Callable[[Path, Path], object]] = {
    "recipe": lambda run, to: (run / names.RECIPE).unlink(),
    "events": lambda run, to: (run / names.EVENTS).rename(to / "was"),
}


@pytest.mark.parametrize("what", SWAPS)
def test_a_link_put_there_while_a_run_is_live_changes_nothing_outside(
    what: str, tmp_path: Path, outside: Outside
) -> None:
    tuner, _ = start(tmp_path)
    run, name = tmp_path / "run", names.RECIPE if what == "recipe" else names.EVENTS
    SWAPS[what](run, tmp_path)
    (run / name).symlink_to(outside.directory / "torn")
    with tuner:
        for _ in range(3):
            tuner.report({"val/loss": 1.0})
    assert outside.is_untouched()
    if what == "events":  # the log was open: it goes on where it was
        lines = (tmp_path / "was").read_text().splitlines()
        assert json.loads(lines[-1])["kind"] == "closed"
        with pytest.raises(GptuneError, match="is a symbolic link"):
            start(tmp_path, resume=True)
