"""What is wrong with a recipe is named, however it arrives: as data, as a file, as a command."""

import math
from pathlib import Path
from typing import Any

import pytest

from gptune.cli import REFUSED, main
from gptune.configs import Recipe
from gptune.configs.text import parse, write
from gptune.errors import RecipeError

NAN, INF = math.nan, math.inf
LR = "actuators.opt.mutations.lr"
REGION = "search.trust_region"

# Path -> values that cannot stand there, all else being the default. The message names the path.
VALUES: dict[str, list[Any]] = {
    "version": [0, 2, "1", 1.5, True, None],
    "mode": ["on", "Active", "", False, 1, None],
    "objective": [None, [], "val/loss"],
    "objective.primary": ["", 3, None, ["val/loss"]],
    "objective.mode": ["minimize", "MIN", True],
    "objective.backup_metrics": ["grad/norm", [1], [None], {}],
    "phases": [{}, [], None, "early"],
    "phases.early": [None, [0.0, 0.2], 0.2],
    "phases.early.start_frac": [-0.1, 0.3, NAN, "0", True],
    "phases.late.end_frac": [None, True, [1.0]],
    "actuators": [None, [], "opt"],
    "actuators.opt": [None, True, ["lr"]],
    "actuators.opt.enabled": ["yes", 1, None],
    "actuators.opt.mutations": [None, ["lr"], "lr"],
    "actuators.opt.keys": [None, [], {"lr": {}}],
    LR: [None, [0.1, 10.0], 2.0],
    f"{LR}.mode": ["multiply", "MULT", 1, None],
    f"{LR}.bounds": [[2.0, 0.5], [0.0, 2.0], [-1.0, 2.0], [2.0, 4.0], [1.0, 1.0], [0.1, INF]],
    f"{LR}.max_step": [1.0, 0.5, -2.0, INF, NAN, "2", True],
    f"{LR}.prior_center": [1e6, 0.0, NAN, INF, "1", False],
    f"{LR}.cooldown": [-1, 1.5, "1", True, None],
    f"{LR}.risk": ["none", 0, None],
    f"{LR}.phases": [["warmup"], "early", [1]],
    "search": [None, "gp", []],
    "search.algorithm": ["tpe", "GP", None],
    "search.acquisition": ["ei", 1],
    "search.kernel": ["linear", None],
    "search.warp": ["log", True],
    "search.startup_trials": [-1, 1.5, "4"],
    "search.joint": ["false", 0],
    "search.every": [0, -1, 1.5],
    "search.max_observations": [3, "300"],
    "search.decay": [None, "kernel"],
    "search.decay.kind": ["linear", None],
    "search.decay.half_life": [0.0, -1.0, INF, NAN, "13", None],
    "search.decay.window": [1, 2.5, "20"],
    "search.decay.detrend": ["yes", 1, None],
    REGION: [None, True],
    f"{REGION}.enabled": ["on", 1],
    f"{REGION}.initial": [0.0, 0.01, 2.0, NAN, "0.4"],
    f"{REGION}.minimum": ["0.05", None],
    f"{REGION}.maximum": ["1", True],
    f"{REGION}.expand": [1.0, INF, "2"],
    f"{REGION}.shrink": [0.0, 1.0, NAN],
    f"{REGION}.successes": [0, 1.5],
    f"{REGION}.failures": [0, "2"],
    "search.prior_runs": ["runs/1", [1]],
    "acceptance.reference": ["best", None],
    "acceptance.epsilon": [-1.0, NAN, INF, "0.1", None],
    "acceptance.probability": [0.4, 1.0, NAN, "0.95"],
    "acceptance.horizon": [0, -1, 1.5, "epoch", None],
    "acceptance.rollback_on_reject": ["true", 1],
    "acceptance.lower_after_start": [True, "never"],
    "safety.block_on_nan": ["no", 0, None],
    "safety.block_on_anomaly": ["no", 0],
    "safety.max_regression": [0.0, -4.0, NAN, INF, "4"],
    "safety.patience": [0, 1.5],
    "safety.warmup": [-1, "0"],
    "safety.start_below": [NAN, INF, "3"],
    "safety.max_global_reject_streak": [0, True],
    "safety.pause_decisions": [0, 1.5],
    "safety.global_cooldown": [-1, "1"],
    "safety.on_error": ["ignore", None],
    "guard.enabled": ["yes", 1],
    "guard.spike": [0.0, INF, "6"],
    "guard.lost_progress": [0.0, 1.5, NAN],
    "guard.snapshots": [0, 1.5],
    "guard.budget_mb": [0.0, -1.0, INF, "2000"],
    "guard.max_restores": [-1, 1.5],
    "calibration": [None, "auto", True],
    "calibration.enabled": ["yes", 1, None],
    "calibration.budget": [0.0, 1.0, NAN, "0.1"],
}

# A rule between several fields names the one that it is written down at.
BETWEEN = [
    ("phases.early.end_frac", 0.1, "phases"),
    ("phases.late.start_frac", 0.9, "phases"),
    ("search.decay.kind", "window", "search.decay.window"),
    (f"{REGION}.minimum", 0.0, f"{REGION}.initial"),
    (f"{REGION}.minimum", 0.5, f"{REGION}.initial"),
    (f"{REGION}.maximum", 0.3, f"{REGION}.initial"),
    (f"{REGION}.maximum", 1.5, f"{REGION}.initial"),
    (f"{REGION}.maximum", NAN, f"{REGION}.initial"),
]

# Path of a key that there is not -> the one that was meant.
UNKNOWN = {
    "serch": "search",
    "objective.primry": "primary",
    "phases.early.start": "start_frac",
    "actuators.opt.mutation": "mutations",
    f"{LR}.bound": "bounds",
    f"{LR}.prior_centre": "prior_center",
    "search.aquisition": "acquisition",
    "search.decay.halflife": "half_life",
    f"{REGION}.sucesses": "successes",
    "acceptance.epsilom": "epsilon",
    "safety.max_reject_streak": "max_global_reject_streak",
    "guard.spikes": "spike",
    "calibration.enable": "enabled",
}

# A text, and what its message says after the file's name.
TEXTS = [
    ("acceptance: {epsilon: '1e-4'}", "acceptance.epsilon: Expected `float`, got `str`"),
    ("acceptance: {epsilon: 1e-4x}", "acceptance.epsilon: Expected `float`, got `str`"),
    ("mode: off\nmode: active", "line 2, column 1: mode: stands twice"),
    ("search:\n  every: 1\n  every: 2", "line 3, column 3: search.every: stands twice"),
    ("search: &a {}\nguard: *a", "line 1, column 9: search: anchors and aliases"),
    ("search: *a", "line 1, column 9: search: anchors and aliases"),
    ("mode: !!str off", "line 1, column 7: mode: tags are not read"),
    ("safety: !!python/name:os.system ''", "line 1, column 9: safety: tags are not read"),
    ("off: 1", "off: unknown key"),
    ("1: 2", "line 1, column 1: a key must be a word, got 1"),
    ("search:\n  true: 2", "line 2, column 3: search: a key must be a word, got True"),
    ("<<: {mode: off}", "<<: unknown key"),
    ("mode: off\n---\nmode: off", "line 2, column 1: a second document"),
    ("mode: [off", "line 1, column 11: is not YAML"),
    ("search:\n\tevery: 1", "line 2, column 1: is not YAML"),
    ("mode: off\nsearch:", "search: must be a mapping, got None"),
    ("mode: 'off", "line 1, column 11: is not YAML"),
    ("mode: off\x00", "is not YAML"),
    ("safety: " + "[" * 10_000, "line 1, column 32: safety.0.0.0"),
    ("safety: {patience: " + "9" * 1000 + "}", "line 1, column 20: safety.patience: a number of"),
    ("", "recipe: must be a mapping, got None"),
    ("off", "recipe: must be a mapping, got 'off'"),
    ("- mode: off", "recipe: must be a mapping, got ["),
]
JSON = [
    ('{"mode": "off", "mode": "off"}', "mode: stands twice"),
    ('{"safety": {"patience": 1, "patience": 2}}', "safety.patience: stands twice"),
    ('{"mode": "off",}', "is not JSON"),
    ("mode: off", "is not JSON"),
    ('{"guard": {"spike": NaN}}', "is not JSON: NaN"),
    ('{"guard": {"spike": 1e999}}', "guard.spike: must be finite"),
    ('{"guard": ' * 100_000, "is nested more than"),
    ('{"guard": ' * 99 + "1" + "}" * 99, "guard.guard.guard"),
    ("[]", "recipe: must be a mapping, got []"),
]
HOTCB = [
    ("saftey: {}", "saftey: unknown key; did you mean 'safety'?"),
    ("tune: {mode: auto}", "tune.mode: must be off or observe"),
    ("actuators: {opt: {mutations: {lr_mult: {bounds: [2, 1]}}}}", f"{LR}_mult.bounds: "),
    ("actuators: {opt: {mutations: {lr_mult: {risk: huge}}}}", f"{LR}_mult.risk: "),
    ("acceptance: {horizon: epoch}", "acceptance.horizon: "),
]

# Words after `gptune`, in a directory that holds recipe.yaml and old.yaml -> what is named.
COMMANDS = {
    "recipe": "VERB",
    "recipe bake": "'bake'",
    "recipe validate": "FILE",
    "recipe validate --all": "FILE",
    "recipe validate recipe.yaml none.yaml": "none.yaml: cannot be read: No such file",
    "recipe validate .": ".: must end in .yaml, .yml or .json",
    "recipe validate directory.yaml": "directory.yaml: cannot be read: Is a directory",
    "recipe validate binary.yaml": "binary.yaml: is not UTF-8 text",
    "recipe show none.json": "none.json: cannot be read",
    "recipe show recipe.toml": "recipe.toml: must end in",
    "recipe show --yaml": "--yaml",
    "recipe show recipe.yaml recipe.yaml": "unrecognized arguments: recipe.yaml",
    "recipe schema recipe.yaml": "unrecognized arguments: recipe.yaml",
    "recipe import": "FILE",
    "recipe import none.yaml": "none.yaml: cannot be read",
    "recipe import old.yaml --out": "--out",
    "recipe import old.yaml --out recipe.yaml": "--out: 'recipe.yaml' is there already",
    "recipe import old.yaml --out new.toml": "new.toml: must end in",
    "recipe import old.yaml --out no/where.yaml": "no/where.yaml: cannot be written",
    "recipe import old.yaml --out directory.yaml --force": "directory.yaml: cannot be written",
    "--dir runs/1 recipe validate recipe.yaml": "--dir: ",
    "--dir runs/1 recipe show": "--dir: ",
}


def defaults_with(path: str, value: Any) -> dict[str, Any]:
    """Give the whole default recipe with one value put in."""
    data = Recipe().to_dict()
    *parents, last = path.split(".")
    inner = data
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return data


bad_values = [
    *[(path, value, path) for path, several in VALUES.items() for value in several],
    *BETWEEN,
]


@pytest.mark.parametrize(("path", "value", "named"), bad_values, ids=str)
def test_a_value_that_cannot_stand_there_is_named(path: str, value: Any, named: str) -> None:
    data = defaults_with(path, value)
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(data)
    assert str(caught.value).startswith(f"{named}: "), str(caught.value)
    with pytest.raises(RecipeError) as again:  # no way through YAML makes it pass
        Recipe.from_dict(parse(write(data), "x.yaml"))
    assert str(again.value) == str(caught.value)


@pytest.mark.parametrize(("path", "meant"), UNKNOWN.items())
def test_a_key_that_there_is_not_is_named_with_the_one_that_was_meant(
    path: str, meant: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(defaults_with(path, 1))
    assert str(caught.value) == f"{path}: unknown key; did you mean {meant!r}?"


bad_files = [
    *[("validate x.yaml", text, what) for text, what in TEXTS],
    *[("show x.json", text, what) for text, what in JSON],
    *[("import x.yaml", text, what) for text, what in HOTCB],
    *[
        ("validate x.yaml", write(defaults_with(path, several[0])), f"{path}: ")
        for path, several in VALUES.items()
    ],
]


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("words", "text", "what"), bad_files, ids=lambda part: part[:40])
def test_a_bad_file_ends_in_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: str, text: str, what: str
) -> None:
    verb, name = words.split()
    Path(name).write_text(text)
    assert main(["recipe", verb, name]) == REFUSED
    printed = capsys.readouterr()
    assert printed.err.startswith(f"gptune: {name}: {what}"), printed.err[:300]
    assert not printed.out


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}


@pytest.mark.parametrize(("words", "what"), COMMANDS.items())
def test_a_bad_command_ends_in_exit_code_2_and_changes_nothing(
    capsys: pytest.CaptureFixture[str], words: str, what: str
) -> None:
    Recipe().save("recipe.yaml")
    Path("old.yaml").write_text("tune: {mode: active}\n")
    Path("directory.yaml").mkdir()
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    before = contents()
    try:
        code: Any = main(words.split())
    except SystemExit as ended:  # argparse's own way out
        code = ended.code
    assert code == REFUSED
    assert what in capsys.readouterr().err
    assert contents() == before
