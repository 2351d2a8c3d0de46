"""The recipe's schema, for editors that check a file while it is written."""

import inspect
import re
from typing import Any

import msgspec

from gptune.configs import Recipe


def recipe_schema() -> dict[str, Any]:
    """Give the JSON Schema of a recipe: its structure, with the units and limits in words.

    What it lets through may still be refused by `Recipe.load`, which knows the limits too.

    Example:
        >>> recipe_schema()["$defs"]["Objective"]["properties"]["mode"]["enum"]
        ['max', 'min']
    """
    schema = msgspec.json.schema(Recipe)
    for part in schema["$defs"].values():
        summary, described = _docs(part.get("description", ""))
        part["description"] = summary
        if "properties" in part:
            part["additionalProperties"] = False  # an unknown key is refused
            for name, text in described.items():
                part["properties"][name]["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _docs(docstring: str) -> tuple[str, dict[str, str]]:
    """Read a docstring: its first line, and what it says of each attribute."""
    text = inspect.cleandoc(docstring)
    _, _, attributes = text.partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", attributes, flags=re.MULTILINE)
    return text.partition("\n")[0], {name: " ".join(said.split()) for name, said in entries}
