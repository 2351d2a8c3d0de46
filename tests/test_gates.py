"""The gates: who may import whom, what is public, what `import gptune` costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import gptune

PUBLIC = [
    "Acquisition",
    "Actuator",
    "AutomaticAdjustment",
    "Categorical",
    "Decision",
    "ExpectedImprovement",
    "Float",
    "GaussianProcessSampler",
    "GptuneError",
    "GridSampler",
    "Integer",
    "LogExpectedImprovement",
    "Measured",
    "NoisyExpectedImprovement",
    "PatiencePruner",
    "PercentilePruner",
    "ProbabilityOfImprovement",
    "Processes",
    "RandomSampler",
    "Recipe",
    "SearchSpace",
    "SobolSampler",
    "Study",
    "SuccessiveHalvingPruner",
    "Suggestion",
    "ThompsonSampling",
    "Threads",
    "ThresholdPruner",
    "Together",
    "TrainingState",
    "Trial",
    "TrialPruned",
    "Tuner",
    "Tuning",
    "UpperConfidenceBound",
    "__version__",
    "dropout_actuator",
    "evolve_recipe",
    "fit",
    "median_pruner",
    "optimizer_actuators",
    "schedule",
    "value_actuator",
    "value_actuators",
]
HEAVY = {"torch", "numpy", "scipy", "botorch", "gpytorch", "sklearn", "rich", "jinja2"}


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def imported_names(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_the_import_contract_holds() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_public_names_are_these_and_each_of_them_loads() -> None:
    assert gptune.__all__ == PUBLIC
    assert all(getattr(gptune, name) is not None for name in PUBLIC)
    assert dir(gptune) == sorted(PUBLIC)


def test_importing_gptune_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_after("import gptune")


def test_asking_for_the_version_or_for_help_loads_nothing_heavy() -> None:
    for word in ("--version", "--help"):
        code = f"from gptune.cli import main\ntry: main([{word!r}])\nexcept SystemExit: pass"
        assert not HEAVY & loaded_after(code)


def test_recipes_errors_and_records_load_no_torch() -> None:
    names = "gptune.Recipe, gptune.Float, gptune.Integer, gptune.Categorical, gptune.GptuneError"
    assert not HEAVY & loaded_after(f"import gptune\n{names}")


def test_optuna_is_imported_nowhere_in_the_package_and_needed_by_no_extra() -> None:
    for module in Path("gptune").rglob("*.py"):
        assert "optuna" not in imported_names(module), module
    assert "optuna" not in Path("pyproject.toml").read_text().partition("[tool.importlinter]")[0]


def test_only_one_function_contains_foreign_exceptions() -> None:
    catchers = [
        module
        for module in Path("gptune").rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id in ("Exception", "BaseException")
    ]
    assert catchers == [Path("gptune/foreign.py")]


def test_only_the_optimizer_actuator_writes_parameter_groups() -> None:
    writers = {
        module.as_posix()
        for module in Path("gptune").rglob("*.py")
        if "param_groups" in module.read_text()
    }
    assert {Path(writer).parent.as_posix() for writer in writers} == {"gptune/actuators/optimizer"}


def test_every_test_file_is_collected() -> None:
    files = [path for path in Path("tests").rglob("*.py") if path.name.startswith("test_")]
    for path in files:
        tree = ast.parse(path.read_text())
        nested = [
            inner.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and not node.name.startswith("Test")
            for inner in node.body
            if isinstance(inner, ast.FunctionDef) and inner.name.startswith("test_")
        ]
        assert not nested, f"{path}: {nested} stand in a class that pytest does not collect"
