"""``gptune recipe export`` and ``evolve``: parse, call one function, write, return an exit code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gptune
from gptune.cli import REFUSED, main
from gptune.configs import Recipe
from gptune.configs.text import parse
from gptune.recipe.evolve import evolve
from gptune.recipe.export import export_recipe, export_schedule
from gptune.run_directory.names import EVENTS
from tests.cli.runs import make_run

Captured = pytest.CaptureFixture[str]
HEAVY = {"torch", "numpy", "scipy", "botorch", "gpytorch", "sklearn", "rich", "jinja2"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "one"
    make_run(directory, 40)
    return directory


@pytest.fixture
def base(tmp_path: Path) -> Path:
    Recipe().save(tmp_path / "base.yaml")
    return tmp_path / "base.yaml"


def refused(capsys: Captured, *words: object) -> str:
    """Run a command that is refused, and give its message."""
    assert main([str(word) for word in words]) == REFUSED
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gptune: ")
    return err.removeprefix("gptune: ")


def test_a_run_is_printed_as_a_recipe(run: Path, capsys: Captured) -> None:
    for words in (["recipe", "export", str(run)], ["--dir", str(run), "recipe", "export"]):
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert Recipe.from_dict(parse(out, "out.yaml")) == export_recipe(run)
        assert out.startswith("# What the run one did, as a recipe.\n")
        assert err == ""


def test_the_newest_run_is_meant_where_none_is_named(
    run: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTUNE_RUNS", str(run.parent))
    assert main(["recipe", "export"]) == 0
    assert Recipe.from_dict(parse(capsys.readouterr().out, "x.yaml")) == export_recipe(run)


@pytest.mark.parametrize("name", ["did.yaml", "did.v2.json"])
def test_a_recipe_and_its_schedule_are_written(
    name: str, run: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / name
    assert main(["recipe", "export", str(run), "--out", str(out)]) == 0
    assert Recipe.load(out) == export_recipe(run)
    schedule = tmp_path / f"{name.rpartition('.')[0]}.schedule.json"
    assert json.loads(schedule.read_text()) == export_schedule(run)
    assert gptune.schedule.recorded(schedule).steps[0] == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "# What the run one did, as a recipe.\n")


def test_the_schedule_goes_where_it_is_told(run: Path, tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "moves.json"
    assert main(["recipe", "export", str(run), "--schedule", str(file)]) == 0
    assert json.loads(file.read_text()) == export_schedule(run)
    assert Recipe.from_dict(parse(capsys.readouterr().out, "x.yaml")) == export_recipe(run)


def test_an_export_overwrites_only_by_force(run: Path, tmp_path: Path, capsys: Captured) -> None:
    out, schedule = tmp_path / "did.yaml", tmp_path / "did.schedule.json"
    words = ["recipe", "export", str(run), "--out", str(out)]
    for file, option in ((out, "--out"), (schedule, "--schedule")):
        file.write_text("mine")
        message = refused(capsys, *words)
        assert message.startswith(f"{option}: '{file}' is there already; ")
        assert file.read_text() == "mine"
        assert sorted(path.name for path in tmp_path.iterdir()) == [file.name]
        file.unlink()
    out.write_text("mine")
    assert main([*words, "--force"]) == 0
    assert Recipe.load(out) == export_recipe(run)


def test_what_cannot_be_exported_is_refused(run: Path, tmp_path: Path, capsys: Captured) -> None:
    assert "holds no events.jsonl" in refused(capsys, "recipe", "export", tmp_path)
    twice = refused(capsys, "--dir", run, "recipe", "export", run)
    assert twice.startswith("RUN: is named twice")
    same = tmp_path / "same.json"
    options = ("--out", same, "--schedule", same)
    assert refused(capsys, "recipe", "export", run, *options).startswith("--schedule: ")
    nowhere = tmp_path / "none" / "moves.json"
    message = refused(capsys, "recipe", "export", run, "--out", tmp_path / "none" / "did.yaml")
    assert "cannot be written" in message
    assert "must end in" in refused(capsys, "recipe", "export", run, "--out", tmp_path / "did.txt")
    assert main(["recipe", "export", str(run), "--schedule", str(nowhere)]) == REFUSED
    assert f"--schedule: '{nowhere}' cannot be written" in capsys.readouterr().err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / EVENTS).write_bytes(b"{}\n")
    assert "line 1" in refused(capsys, "recipe", "export", tmp_path / "bad")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad"], "nothing is left behind"


def test_an_evolved_recipe_is_written_and_explained(
    run: Path, base: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "next.yaml"
    words = ["recipe", "evolve", str(base), str(run), str(run), "--alpha", "0.5"]
    assert main([*words, "--out", str(out)]) == 0
    recipe, said = evolve(Recipe(), [run, run], 0.5)
    assert recipe != Recipe()
    assert Recipe.load(out) == recipe
    printed = capsys.readouterr()
    lines = ["base.yaml, evolved by 2 runs.", *said]
    assert printed.err == "".join(f"# {line}\n" for line in lines)
    assert printed.out == ""
    assert out.read_text().startswith(printed.err), "the file says the same"


def test_an_evolved_recipe_is_printed_with_its_comments(
    run: Path, base: Path, capsys: Captured
) -> None:
    assert main(["recipe", "evolve", str(base), str(run)]) == 0
    out = capsys.readouterr().out
    recipe, said = evolve(Recipe(), [run])
    assert Recipe.from_dict(parse(out, "x.yaml")) == recipe
    assert all(f"# {line}\n" in out for line in said)


def test_an_evolved_recipe_overwrites_only_by_force(
    run: Path, base: Path, capsys: Captured
) -> None:
    before = base.read_text()
    words = ["recipe", "evolve", str(base), str(run), "--out", str(base)]
    assert refused(capsys, *words).startswith(f"--out: '{base}' is there already; ")
    assert base.read_text() == before
    assert main([*words, "--force"]) == 0
    assert Recipe.load(base) == evolve(Recipe(), [run])[0]


@pytest.mark.parametrize(
    "wrong",
    [
        (["{base}", "{none}"], "summaries[0]: '{none}' holds no events.jsonl"),
        (["{none}", "{run}"], "{none}: "),
        (["{base}", "{run}", "--alpha", "0"], "alpha: must lie in (0, 1], got 0.0"),
        (["{base}", "{run}", "--alpha", "nan"], "alpha: must lie in (0, 1], got nan"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    wrong: tuple[list[str], str], run: Path, base: Path, capsys: Captured
) -> None:
    words, message = wrong
    names: dict[str, Any] = {"run": run, "base": base, "none": base.parent / "none"}
    given = [word.format(**names) for word in words]
    assert refused(capsys, "recipe", "evolve", *given).startswith(message.format(**names))


def test_a_run_beside_the_list_is_refused(run: Path, base: Path, capsys: Captured) -> None:
    message = refused(capsys, "--dir", run, "recipe", "evolve", base, run)
    assert message.startswith("--dir: names one run")


@pytest.mark.parametrize("words", [["evolve"], ["evolve", "base.yaml"], ["evolve", "--alpha", "x"]])
def test_words_that_do_not_parse_are_misuse(words: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["recipe", *words])
    assert stop.value.code == 2
    assert "usage: gptune recipe evolve" in capsys.readouterr().err


def test_learning_loads_nothing_heavy(run: Path, base: Path) -> None:
    code = f"""
import json, sys
from gptune.cli import main
assert main(["recipe", "export", {str(run)!r}]) == 0
assert main(["recipe", "evolve", {str(base)!r}, {str(run)!r}]) == 0
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(done.stdout.splitlines()[-1]))
