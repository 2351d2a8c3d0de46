"""The schema lets every recipe through and stops what has the wrong structure."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from gptune.configs import Recipe
from gptune.recipe.schema import recipe_schema
from tests.strategies import recipes

SCHEMA: dict[str, Any] = json.loads(json.dumps(recipe_schema()))
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def fits(data: Any, schema: dict[str, Any]) -> bool:
    """Check the words of JSON Schema that the recipe's uses."""
    if "$ref" in schema:
        return fits(data, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return any(fits(data, option) for option in schema["anyOf"])
    if "enum" in schema:
        return bool(data in schema["enum"])
    return is_a(data, schema["type"]) and parts_fit(data, schema)


def is_a(data: Any, name: str) -> bool:
    return isinstance(data, TYPES[name]) and (name == "boolean" or not isinstance(data, bool))


def parts_fit(data: Any, schema: dict[str, Any]) -> bool:
    if isinstance(data, dict):
        return fields_fit(data, schema)
    return items_fit(data, schema) if isinstance(data, list) else True


def fields_fit(data: dict[str, Any], schema: dict[str, Any]) -> bool:
    known, others = schema.get("properties", {}), schema["additionalProperties"]
    rest = {key: item for key, item in data.items() if key not in known}
    return (
        set(schema.get("required", ())) <= data.keys()
        and all(fits(data[key], known[key]) for key in data if key in known)
        and (not rest if others is False else all(fits(item, others) for item in rest.values()))
    )


def items_fit(data: list[Any], schema: dict[str, Any]) -> bool:
    if "prefixItems" in schema:
        parts = schema["prefixItems"]
        return len(data) == len(parts) and all(map(fits, data, parts))
    return all(fits(item, schema["items"]) for item in data)


@given(recipes())
@settings(deadline=None, max_examples=100)
def test_every_recipe_fits(data: dict[str, Any]) -> None:
    assert fits(data, SCHEMA)
    assert fits(Recipe.from_dict(data).to_dict(), SCHEMA)


def test_the_defaults_fit() -> None:
    assert fits(Recipe().to_dict(), SCHEMA)
    assert fits({}, SCHEMA)


@pytest.mark.parametrize(
    "data",
    [
        {"serch": {}},
        {"mode": "on"},
        {"version": 2},
        {"search": {"decay": {"halflife": 3}}},
        {"search": {"startup_trials": 1.5}},
        {"safety": {"block_on_nan": 1}},
        {"acceptance": {"epsilon": "0.1"}},
        {"phases": {"all": {"start_frac": 0.0}}},
        {"actuators": {"opt": {"mutations": {"lr": {"bounds": [1.0]}}}}},
        {"actuators": {"opt": {"mutations": {"lr": {"bond": None}}}}},
    ],
)
def test_another_structure_does_not_fit(data: dict[str, Any]) -> None:
    assert not fits(data, SCHEMA)


def test_it_says_in_words_what_a_field_is() -> None:
    decay = SCHEMA["$defs"]["Decay"]
    assert decay["description"] == "How old observations fade."
    assert decay["properties"]["half_life"]["description"] == (
        "Age at which an observation counts half [observations]; auto = fitted to the data with "
        "kernel (prior median 10), 10 with weights."
    )
    assert decay["properties"]["detrend"]["description"].startswith("Whether a trend in time")


def test_every_field_of_every_section_stands_in_it() -> None:
    for part in SCHEMA["$defs"].values():
        assert part["description"].endswith(".")
    wanted = {field.name for field in msgspec.structs.fields(Recipe)}
    assert SCHEMA["$defs"]["Recipe"]["properties"].keys() == wanted
