"""``gptune doctor``: what would keep gptune from working here."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gptune.cli import doctor, main
from gptune.run_directory.event_log import EventLog
from gptune.run_directory.file_system import Disk
from gptune.run_directory.names import EVENTS, FREEZE, RUNS
from tests.logs import moment, opened


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(RUNS, raising=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    log = EventLog(tmp_path / "run")
    log.append(moment(), opened())
    log.close()
    return tmp_path / "run"


def findings(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> dict[str, Any]:
    assert main(["doctor", *map(str, words), "--json"]) == code
    return {found["what"]: found for found in json.loads(capsys.readouterr().out)}


def problems(found: dict[str, Any]) -> list[str]:
    return [what for what, finding in found.items() if not finding["ok"]]


def test_a_place_where_all_is_well_has_no_problem_and_stays_as_it_was(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.iterdir())
    found = findings(capsys, run)
    assert problems(found) == []
    assert {"python", "gptune-torch", "torch", "lock", "log", "owner"} <= found.keys()
    assert sorted(run.iterdir()) == before
    assert main(["doctor", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found)
    assert all(line.startswith("ok ") for line in lines)


def test_without_a_run_it_looks_where_the_next_one_would_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = findings(capsys)
    assert found["lock"]["said"].endswith(str(tmp_path))
    assert "log" not in found
    (tmp_path / "a file").touch()
    monkeypatch.setenv(RUNS, str(tmp_path / "a file"))
    assert problems(findings(capsys, code=2)) == [RUNS]
    monkeypatch.setenv(RUNS, str(tmp_path / "not" / "there" / "yet"))
    assert problems(findings(capsys)) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "a file"]


def test_a_broken_log_is_a_problem_that_names_its_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (run / EVENTS).open("a") as file:
        file.write("{}\n")
    found = findings(capsys, run, code=2)
    assert problems(found) == ["log"]
    assert "line 2" in found["log"]["said"]
    assert main(["doctor", str(run)]) == 2
    assert "PROBLEM  log: events.jsonl, line 2" in capsys.readouterr().out


def test_a_frozen_run_is_a_problem_and_a_live_one_is_not(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = EventLog(run)
    assert f"process {os.getpid()}" in findings(capsys, run)["owner"]["said"]
    log.close()
    (run / FREEZE).write_text("nonsense")
    assert problems(findings(capsys, run, code=2)) == ["outside commands"]


def test_a_disk_that_fails_is_a_problem(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Disk, path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Disk, "replace", full)
    monkeypatch.setattr(doctor, "ROOM", 2**80)
    found = findings(capsys, run, code=2)
    assert problems(found) == ["atomic replace", "free space"]
    assert "No space left" in found["atomic replace"]["said"]


def test_a_lock_that_another_process_does_not_see_is_a_problem(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert problems(findings(capsys, run, code=2)) == ["lock"]


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ({"torch": None}, "is not installed; pip install 'torch>=2.13'"),
        ({"torch": "2.9.1+cpu"}, "2.9.1+cpu is too old; pip install 'torch>=2.13'"),
        ({"torch": "2.13.0+cpu"}, None),
        ({"torch": "10.0"}, None),
        ({"gptune-torch": None}, "is not installed; pip install gptune-torch"),
    ],
)
def test_a_package_that_is_missing_or_too_old_is_a_problem(
    versions: dict[str, str | None],
    problem: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, real(name)))
    found = findings(capsys, code=2 if problem else 0)
    assert [found[what]["said"] for what in problems(found)] == ([problem] if problem else [])


def test_an_extra_that_is_missing_is_no_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda n: None if n == "ray" else real(n))
    found = findings(capsys)
    assert "pip install 'gptune-torch[ray]'" in found["extra ray"]["said"]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("torch>=2.13", ("torch", "2.13", "")),
        ("PyYAML", ("PyYAML", "", "")),
        ("scikit-learn>=1.9; extra == 'demo'", ("scikit-learn", "1.9", "demo")),
        ('gptune-torch[demo]; extra == "test"', ("gptune-torch", "", "test")),
    ],
)
def test_requirements_are_read(text: str, parsed: tuple[str, str, str]) -> None:
    assert doctor._parse(text) == parsed
