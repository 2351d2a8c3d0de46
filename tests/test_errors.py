"""Every error of gptune's own is one, and also what a reader would expect."""

import ast
import inspect
from pathlib import Path

import pytest

from gptune import errors
from gptune.errors import (
    ActuatorError,
    ContractError,
    CriterionError,
    EventLogError,
    GptuneError,
    RecipeError,
    RunDirectoryError,
    SpaceError,
    StateError,
    StorageError,
    StudyError,
    UsageError,
    WorkerLostError,
)

TREE: list[tuple[type[GptuneError], type[Exception]]] = [
    (RecipeError, ValueError),
    (SpaceError, ValueError),
    (ActuatorError, ValueError),
    (ContractError, AssertionError),
    (EventLogError, ValueError),
    (RunDirectoryError, RuntimeError),
    (CriterionError, ValueError),
    (UsageError, ValueError),
    (StateError, RuntimeError),
    (StudyError, ValueError),
    (StorageError, ValueError),
    (WorkerLostError, ValueError),
]


@pytest.mark.parametrize(("error", "builtin"), TREE)
def test_every_error_is_caught_as_gptunes_and_as_the_built_in_one(
    error: type[GptuneError], builtin: type[Exception]
) -> None:
    for caught in (GptuneError, builtin):
        with pytest.raises(caught, match="who, which rule"):
            raise error("who, which rule")


def test_an_error_of_the_space_is_an_error_of_the_recipe() -> None:
    assert issubclass(SpaceError, RecipeError)


def test_the_tree_in_the_docstring_names_every_error() -> None:
    defined = {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, GptuneError)
    }
    assert {error for error, _ in TREE} | {GptuneError} == set(defined.values())
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in defined)


def test_every_error_defined_in_the_package_is_a_gptune_error() -> None:
    roots = {
        "GptuneError",
        "RecipeError",
        "SpaceError",
        "ActuatorError",
        "StateError",
        "StudyError",
    }
    for module in Path("gptune").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                parents = {base.id for base in node.bases if isinstance(base, ast.Name)}
                assert parents & roots or node.name == "GptuneError", f"{module}: {node.name}"
