"""``gptune recipe``: parse, call one function, print, return an exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gptune.cli import REFUSED, main
from gptune.configs import Recipe
from gptune.configs.text import parse
from gptune.recipe.hotcb import load_hotcb
from gptune.recipe.schema import recipe_schema

OLD = """
actuators: {opt: {mutations: {lr_mult: {bounds: [0.5, 2.0], cooldown: 2}}}}
tune: {enabled: true, mode: suggest}
"""
HEAVY = {"torch", "numpy", "scipy", "botorch", "gpytorch", "sklearn", "rich", "jinja2"}
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text("mode: off\nsafety: {patience: 3}\n")
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text("safety: {patience: 0}\n")
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    return path


def test_files_in_order_are_said_to_be(good: Path, capsys: Captured) -> None:
    assert main(["recipe", "validate", str(good), str(good)]) == 0
    assert capsys.readouterr() == (f"{good}: in order\n" * 2, "")


def test_all_files_are_looked_at_and_all_complaints_made(
    good: Path, bad: Path, tmp_path: Path, capsys: Captured
) -> None:
    none = tmp_path / "none.yaml"
    assert main(["recipe", "validate", str(bad), str(good), str(none)]) == REFUSED
    printed = capsys.readouterr()
    assert printed.out == f"{good}: in order\n"
    first, second = printed.err.splitlines()
    assert first.startswith(f"gptune: {bad}: safety.patience: must be >= 1")
    assert second.startswith(f"{none}: cannot be read: No such file")


def test_the_defaults_are_shown_whole(capsys: Captured) -> None:
    assert main(["recipe", "show"]) == 0
    shown = parse(capsys.readouterr().out, "shown.yaml")
    assert shown == Recipe().to_dict()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_file_is_shown_with_its_defaults_filled_in(
    good: Path, options: tuple[str, ...], capsys: Captured
) -> None:
    assert main(["recipe", "show", str(good), *options]) == 0
    text = capsys.readouterr().out
    assert Recipe.from_dict(parse(text, "x.json" if options else "x.yaml")) == Recipe.load(good)
    assert ("--json" in options) == text.startswith("{")


def test_a_wrong_file_is_not_shown(bad: Path, capsys: Captured) -> None:
    assert main(["recipe", "show", str(bad)]) == REFUSED
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"gptune: {bad}: safety.patience: ")


def test_the_schema_is_printed(capsys: Captured) -> None:
    assert main(["recipe", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(recipe_schema()))


def test_an_import_prints_the_recipe_and_says_what_changed(old: Path, capsys: Captured) -> None:
    assert main(["recipe", "import", str(old)]) == 0
    out, err = capsys.readouterr()
    recipe, changes = load_hotcb(old)
    assert Recipe.from_dict(parse(out, "out.yaml")) == recipe
    assert err == "".join(f"# {change}\n" for change in changes)
    assert "lr_mult: is called lr here" in err


@pytest.mark.parametrize("name", ["new.yaml", "new.json"])
def test_an_import_goes_to_a_file(old: Path, tmp_path: Path, name: str, capsys: Captured) -> None:
    new = tmp_path / name
    assert main(["recipe", "import", str(old), "--out", str(new)]) == 0
    out, err = capsys.readouterr()
    assert not out
    assert Recipe.load(new) == load_hotcb(old)[0]
    if new.suffix == ".yaml":
        assert new.read_text().startswith(err)


def test_an_import_overwrites_only_by_force(old: Path, good: Path, capsys: Captured) -> None:
    before = good.read_text()
    command = ["recipe", "import", str(old), "--out", str(good)]
    assert main(command) == REFUSED
    assert capsys.readouterr().err.startswith(f"gptune: --out: '{good}' is there already; ")
    assert good.read_text() == before
    assert main([*command, "--force"]) == 0
    assert Recipe.load(good) == load_hotcb(old)[0]


def test_what_cannot_be_imported_writes_nothing(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "old.yaml").write_text("actuators: {opt: {mutations: {lr_mult: {bound: 1}}}}")
    new = tmp_path / "new.yaml"
    assert main(["recipe", "import", str(tmp_path / "old.yaml"), "--out", str(new)]) == REFUSED
    assert "old.yaml: actuators.opt.mutations.lr_mult.bound: unknown" in capsys.readouterr().err
    assert not new.exists()


@pytest.mark.parametrize("verb", [["show"], ["schema"], ["validate", "x"], ["import", "x"]])
def test_none_of_it_is_about_a_run(verb: list[str], capsys: Captured) -> None:
    assert main(["--dir", "runs/1", "recipe", *verb]) == REFUSED
    assert capsys.readouterr().err.startswith("gptune: --dir: names a run, got 'runs/1'")


@pytest.mark.parametrize("verb", [[], ["validate"], ["show"], ["schema"], ["import"]])
def test_each_verb_says_what_it_is_for(verb: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["recipe", *verb, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 200


def test_none_of_it_loads_torch(good: Path, old: Path) -> None:
    words = [["validate", str(good)], ["show", str(good)], ["schema"], ["import", str(old)]]
    script = (
        "import sys\nfrom gptune.cli import main\n"
        f"for words in {words!r}: assert main(['recipe', *words]) == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(run.stderr.splitlines()[-1].split())
    assert "gptune.recipe.hotcb" in loaded
    assert not HEAVY & loaded


def test_nothing_is_loaded_before_it_is_needed() -> None:
    script = (
        "import sys, gptune.cli\nprint(*{'msgspec', 'yaml', 'gptune.configs'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "\n"
    script = "import sys, gptune\ngptune.Recipe\nprint('yaml' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
