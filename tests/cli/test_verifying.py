"""``gptune verify``, as an operator uses it."""

import json
from pathlib import Path

import pytest

from gptune.cli import main
from gptune.cli.verifying import BROKEN
from tests.audit.forging import bodies, change, drop, moved, rechained
from tests.cli.runs import make_run


def test_a_run_that_keeps_every_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run")
    assert main(["verify", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "every promise is kept" in said
    assert "kept    bounds: no value outside of the recipe's bounds" in said
    assert "BROKEN" not in said


def test_a_forged_one_is_found_and_named_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "run")
    forged = moved(1, 1e6)(bodies(tmp_path / "run"))
    (tmp_path / "run" / "events.jsonl").write_bytes(rechained(forged))
    assert main(["--dir", str(tmp_path / "run"), "verify"]) == BROKEN
    said = capsys.readouterr().out
    assert "BROKEN  bounds" in said
    assert "opt.lr = 1000000.0 lies outside of [0.01, 100.0]" in said
    assert "promises are broken" in said
    assert main(["verify", str(tmp_path / "run"), "--json"]) == BROKEN
    plain = json.loads(capsys.readouterr().out)
    assert plain["holds"] is False
    assert any(f["name"] == "bounds" and not f["holds"] and f["breaks"] for f in plain["findings"])


def test_of_many_breaks_a_few_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run")
    lines = drop("opened")(change("opened", seed=9)(bodies(tmp_path / "run")))
    (tmp_path / "run" / "events.jsonl").write_bytes(rechained(lines))
    assert main(["verify", str(tmp_path / "run")]) == BROKEN
    assert "more" in capsys.readouterr().out


def test_where_there_is_no_run_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "events.jsonl" in capsys.readouterr().err
