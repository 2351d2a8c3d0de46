"""Opening a run directory: its name, its owner, its first line."""

import json
import os
import re
import socket
from pathlib import Path

import pytest
import torch

from gptune.configs import Recipe
from gptune.errors import RecipeError, RunDirectoryError
from gptune.events import Blocked, Moment, Opened
from gptune.online.decision import KernelConfig
from gptune.online.opening import (
    AS_USED,
    announce,
    default_run_dir,
    find_recipe,
    keep_recipe,
    open_log,
)
from gptune.run_directory.event_log import read_events
from gptune.run_directory.names import EVENTS, RECIPE, RUNS
from gptune.version import VERSION
from tests.fakes import MemoryDisk, ToldClock

RUN = Path("/runs/one")
HERE = Moment(decision=0, step=0, phase="mid")
CONFIG = KernelConfig(recipe=Recipe(), knobs={})
TIME = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def still() -> ToldClock:
    return ToldClock(time=TIME, tick=0.0)


def test_a_new_directory_is_named_after_the_utc_time_and_four_hex_digits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(RUNS, raising=False)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    path = default_run_dir(still())
    assert re.fullmatch(r"runs/20231114-221320-[0-9a-f]{4}", path.as_posix())


def test_runs_of_one_second_have_different_names() -> None:
    assert len({default_run_dir(still()) for _ in range(20)}) > 15


def test_the_environment_says_where_new_directories_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(RUNS, str(tmp_path / "elsewhere"))
    log = open_log(None, still(), None, resume=False)
    try:
        assert log.directory.parent == tmp_path / "elsewhere"
        assert (log.directory / EVENTS).exists()
    finally:
        log.close()


@pytest.mark.parametrize("as_text", [True, False])
def test_a_directory_given_as_text_or_as_a_path_is_taken(tmp_path: Path, as_text: bool) -> None:
    path = tmp_path / "run"
    log = open_log(str(path) if as_text else path, still(), None, resume=False)
    log.close()
    assert log.directory == path
    assert not log.was_used


def test_a_used_directory_is_refused_and_left_free_and_unchanged() -> None:
    disk = MemoryDisk()
    log = open_log(RUN, still(), disk, resume=False)
    log.append(HERE, Blocked(reasons=()))
    log.close()
    before = disk.read(RUN / EVENTS)
    with pytest.raises(RunDirectoryError, match=r"'/runs/one': already holds a run.*resume=True"):
        open_log(RUN, still(), disk, resume=False)
    assert disk.read(RUN / EVENTS) == before
    assert not disk.locks
    again = open_log(RUN, still(), disk, resume=True)
    assert (again.was_used, again.seq) == (True, 1)
    again.close()


def test_resume_of_a_directory_that_was_never_used_is_a_new_run() -> None:
    log = open_log(RUN, still(), MemoryDisk(), resume=True)
    assert not log.was_used
    log.close()


def test_a_directory_with_other_files_is_not_a_used_one(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / EVENTS).touch()
    log = open_log(tmp_path, still(), None, resume=False)
    log.close()
    assert not log.was_used
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_every_line_has_its_time_and_the_first_one_of_a_process_who_and_where() -> None:
    disk, clock = MemoryDisk(), ToldClock(time=TIME, tick=1.0)
    for _ in range(2):
        log = open_log(RUN, clock, disk, resume=True)
        for _ in range(2):
            log.append(HERE, Blocked(reasons=()))
        log.close()
    walls = [line.wall for line in read_events(RUN, disk)]
    identity = {"pid": os.getpid(), "host": socket.gethostname(), "run": str(RUN)}
    times = [TIME + i for i in (1, 2, 3, 4)]
    assert [wall["time"] for wall in walls] == times
    assert [{**wall, "time": 0} for wall in walls] == [
        {"time": 0, **identity} if first else {"time": 0} for first in (True, False) * 2
    ]


def test_what_differs_between_two_equal_runs_stands_in_wall_alone() -> None:
    lines = []
    for path, time in ((RUN, TIME), (Path("/runs/two"), TIME + 777)):
        disk = MemoryDisk()
        log = open_log(path, ToldClock(time=time), disk, resume=False)
        announce(log, CONFIG, HERE, seed=3)
        log.close()
        body = json.loads(disk.read(path / EVENTS))
        wall = body.pop("wall")
        assert wall["run"] == str(path)
        lines.append(body)
    assert lines[0] == lines[1]


def test_the_first_line_says_all_that_decisions_depend_on_and_survives_a_loss_of_power() -> None:
    disk = MemoryDisk()
    log = open_log(RUN, still(), disk, resume=False)
    announce(log, CONFIG, HERE, seed=3)
    disk.lose_power()
    (line,) = read_events(RUN, disk)
    assert line.event == Opened(
        recipe=CONFIG.recipe.to_dict(),
        seed=3,
        knobs={},
        resumed=False,
        versions={"gptune": VERSION, "torch": str(torch.__version__)},
    )
    assert Recipe.from_dict(line.event.recipe) == CONFIG.recipe
    again = open_log(RUN, still(), disk, resume=True)
    announce(again, CONFIG, HERE, seed=3)
    again.close()
    assert [getattr(line.event, "resumed", None) for line in read_events(RUN, disk)] == [
        False,
        True,
    ]


@pytest.mark.parametrize("call", ["write", "sync"])
def test_a_run_that_cannot_be_announced_does_not_begin(call: str) -> None:
    disk = MemoryDisk()
    log = open_log(RUN, still(), disk, resume=False)
    disk.break_at(call)
    with pytest.raises(RunDirectoryError, match=f"'/runs/one': cannot be written.*breaks {call}"):
        announce(log, CONFIG, HERE, seed=0)
    assert not disk.locks


# --- the recipe of a run directory ----------------------------------------------------------------

OTHER = Recipe.from_dict({"safety": {"patience": 5}})


def test_a_recipe_is_found_where_there_is_one() -> None:
    disk = MemoryDisk()
    assert find_recipe(None, disk) is None
    assert find_recipe(RUN, disk) is None
    disk.replace(RUN / RECIPE, b"safety: {patience: 5}")
    assert find_recipe(RUN, disk) == find_recipe(str(RUN), disk) == OTHER


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"safety: {patience: 0}", r"^'/runs/one/recipe\.yaml': safety\.patience: must be >= 1"),
        (b"safty: {}", r"^'/runs/one/recipe\.yaml': safty: .*'safety'"),
        (b"", r"^'/runs/one/recipe\.yaml': recipe: must be a mapping"),
        (b"a: [", r"^'/runs/one/recipe\.yaml': "),
        (b"\xff\xfe", r"^recipe: '/runs/one/recipe\.yaml' cannot be read"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_by_its_place(data: bytes, message: str) -> None:
    disk = MemoryDisk()
    disk.replace(RUN / RECIPE, data)
    with pytest.raises(RecipeError, match=message):
        find_recipe(RUN, disk)


def test_a_recipe_that_the_disk_does_not_give_is_refused() -> None:
    disk = MemoryDisk()
    disk.replace(RUN / RECIPE, b"{}")
    disk.break_at("read")
    with pytest.raises(RecipeError, match=r"^recipe: '/runs/one/recipe\.yaml' cannot be read"):
        find_recipe(RUN, disk)


def test_the_recipe_as_used_is_kept_once_and_read_back_equal() -> None:
    disk = MemoryDisk()
    log = open_log(RUN, still(), disk, resume=False)
    assert keep_recipe(log, disk, OTHER) == ""
    assert disk.files[RUN / RECIPE].decode().startswith(f"# {AS_USED}\n")
    assert find_recipe(RUN, disk) == OTHER
    assert keep_recipe(log, disk, Recipe()) == ""
    assert find_recipe(RUN, disk) == OTHER


@pytest.mark.parametrize("call", ["names", "replace"])
def test_a_recipe_that_cannot_be_kept_is_a_complaint_and_no_more(call: str) -> None:
    disk = MemoryDisk()
    log = open_log(RUN, still(), disk, resume=False)
    disk.break_at(call)
    assert f"the test breaks {call}" in keep_recipe(log, disk, OTHER)
    assert log.append(HERE, Blocked(reasons=()))
