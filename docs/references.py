"""Write the two pages that are made of the code: ``python -m docs.references``.

``recipe_reference.md`` comes from the recipe's JSON Schema, ``event_reference.md`` from the structs
of the log. A test says whether what is committed is what would be written.
"""

import inspect
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import msgspec

from gptune import events, records
from gptune.configs import Recipe
from gptune.recipe.schema import recipe_schema

DOCS = Path(__file__).parent
MADE = "<!-- Made by python -m docs.references; do not edit. -->"

FIELDS = {  # of events: what a field holds; `kind.field` where it is not the same everywhere
    "abandoned.undone": "of a joint change: what was put back all the same",
    "accepted": "whether it was done",
    "aim": "what those two, or earlier runs, said; the arms decide around it",
    "arguments": "what it was about",
    "arms": "multiplier -> the objective at the end of its arm, as reported",
    "Slice.at": "position along the knob, from 0 to 1 of its bounds",
    "Slice.deviation": "posterior deviation there",
    "Slice.mean": "posterior mean there; larger is better",
    "blow_up": "the multiplier at which the training loss blew up",
    "by": "what: `count` (the pause was over), `command`, `call` or `ranks`",
    "carried": "where the run stood, if the checkpoint came with another log",
    "changes": "knob by knob, old and new move, in the recipe's units",
    "chosen": "the multiplier that goes on",
    "closed.decisions": "decisions in all",
    "command.id": "of the command",
    "criterion": "value of the acquisition at the proposal",
    "effective": "what training used last",
    "evidence": "what the segment that ends here showed",
    "families": "the knobs that are meant",
    "family": "the knob",
    "forecast": "what the metric would have been without the change",
    "high": "the highest multiplier that may be tried",
    "hyperparameters": "of the fitted surrogate, enough to repeat the proposal",
    "id": "of the change: `<decision>:<family>`",
    "knobs": "where every knob stands",
    "lost": "why it does not act: no hook fired, or its value was overwritten",
    "low": "the lowest multiplier that may be tried",
    "message": "the same, for people",
    "metric": "the objective, as reported",
    "metrics": "the other metrics that were looked at, as reported",
    "mean": "posterior mean at the proposal; larger is better",
    "mode": "what gptune may do",
    "move": "in force, in the recipe's units",
    "new": "after",
    "observed.deviation": "of the forecast",
    "old": "before",
    "opened.knobs": "knob -> how it may move, its space, its base",
    "overrides": "fields of the recipe that an operator has set",
    "paused": "whether tuning is paused",
    "paused.decisions": "length of the pause; null: until resumed",
    "paused_until": "last decision of the pause; null: until resumed",
    "pinned": "knobs that an operator keeps where they are",
    "probability": "of a gain, where there was a forecast",
    "proposed.deviation": "posterior deviation at the proposal",
    "purpose": "`calibration` or `guard`",
    "quarantined": "knobs that failed and are left alone",
    "raw": "what was reported, as far as it can be shown",
    "read_back": "knob -> its own value, read after the change",
    "reasons": "why; the words are in `gptune.records.Reason`",
    "recipe": "all that was chosen, defaults filled in",
    "rejects": "in a row",
    "remark": "what makes the result less sure",
    "resumed": "whether it goes on with a checkpoint",
    "scheduled": "the schedule's own value",
    "seed": "of all of gptune's chance",
    "slices": "knob -> the posterior along it, through the point in force",
    "snapshot": "which one: `last` or `best`",
    "source": "`startup`, `gp`, `random`, `fallback`, `deadline`, `replay` or `human`",
    "steps": "thrown away [steps]",
    "stopped": "why it was ended before its end",
    "symptom": "what was seen; see [guard](guard.md)",
    "to": "the last line that counts",
    "to_step": "the step whose state it is [steps]",
    "total_steps": "length of the run, if known [steps]",
    "turn": "the multiplier at which the gradient no longer points against the last update",
    "value": "always null",
    "verb": "what was ordered",
    "versions": "of the libraries",
}
PARTS = (
    *(events.KnobReading, events.Raw, events.Carried),
    *(records.Change, records.Evidence, records.Slice),
)
WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
WORDS |= {records.Reason: "reason", Any: "anything"}


def recipe_reference() -> str:
    """Make the page of all fields of a recipe."""
    schema = recipe_schema()
    parts = schema["$defs"]
    lines = [
        "# Recipe reference",
        "",
        MADE,
        "",
        "Every field that a [recipe](recipes.md) can have, with its default; units stand in",
        "brackets. `gptune recipe schema` prints the JSON Schema that this page is made of. A",
        "field may have a limit that no schema tells; breaking it is an error that names it. What",
        "the modes of a knob mean, and how phases and groups are filled up, says",
        "[recipes](recipes.md).",
    ]
    for name, path in _sections(parts):
        heading = f"`{path}`" if path else "The recipe"
        lines += ["", f"## {heading}", "", _cell(parts[name]["description"]) + ".", ""]
        lines += ["| field | type | default | what |", "|---|---|---|---|"]
        for field, about in parts[name]["properties"].items():
            shown = (f"`{field}`", _type(about, parts), _default(name, about))
            lines.append(f"| {' | '.join(shown)} | {_lower(_cell(about['description']))} |")
    whole = json.dumps(Recipe().to_dict()["phases"]).replace('"', "")
    lines += ["", "## Defaults that are made of names", "", f"`phases`: `{whole}`", ""]
    mutations = Recipe().to_dict()["actuators"]["opt"]["mutations"]
    lines += [f"`actuators.opt.mutations`: `{json.dumps(mutations)}`"]
    return "\n".join(lines) + "\n"


def _sections(
    parts: dict[str, Any], name: str = "Recipe", path: str = ""
) -> Iterator[tuple[str, str]]:
    """Give each struct of the recipe once, and the first path under which it stands."""
    yield name, path
    met: set[str] = set()
    for field, about in parts[name]["properties"].items():
        entries = about.get("additionalProperties") or {}
        kind = _named(about) or _named(entries)
        if kind in met or "properties" not in parts.get(kind, {}):
            continue
        met.add(kind)
        inner = f"{path}.{field}".removeprefix(".") + ("" if _named(about) else ".<name>")
        yield from _sections(parts, kind, inner)


def _named(about: dict[str, Any]) -> str:
    return str(about.get("$ref", "")).rpartition("/")[2]


def _type(about: dict[str, Any], parts: dict[str, Any]) -> str:
    if "anyOf" in about:
        return " or ".join(_type(option, parts) for option in about["anyOf"])
    if "$ref" in about:
        return _type(parts[_named(about)], parts)
    if "enum" in about:
        return " or ".join(_code(value) for value in about["enum"])
    return _structure(about, parts)


def _structure(about: dict[str, Any], parts: dict[str, Any]) -> str:
    if about.get("items"):
        return f"list of {_type(about['items'], parts)}s"
    if about["type"] == "array":
        return {2: "two numbers"}[len(about["prefixItems"])]
    is_section = "properties" in about
    return "section" if is_section else {"object": "mapping"}.get(about["type"], about["type"])


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`".replace('"', "")


def _default(name: str, about: dict[str, Any]) -> str:
    if "$ref" in about and isinstance(about.get("default"), dict):
        return "see there"
    if "default" in about:
        return _code(about["default"])
    if name == "Recipe":
        return "see below"
    return "`{}`" if about.get("type") == "object" else "none"


def _cell(text: str) -> str:
    """Write a sentence of a docstring as a cell of Markdown."""
    text = text.replace(" | ", ", ").replace("``", "`").replace("`None`", "`null`")
    return text.removesuffix(".")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def event_reference() -> str:
    """Make the page of all kinds of lines of a log."""
    lines = [
        "# Event reference",
        "",
        MADE,
        "",
        "Every kind of line in `events.jsonl`, and its own fields; those that all lines have stand",
        "in [the run directory](run_directory.md). Each field is written in each line of its kind.",
        f"The schema's version is {events.VERSION}.",
    ]
    for kind in typing.get_args(events.Event):
        tag = str(kind.__struct_config__.tag)
        lines += ["", f"## {tag}", "", _about(kind), "", *_fields(kind, tag)]
    lines += ["", "## Parts", "", "What stands inside of those fields."]
    for kind in PARTS:
        lines += ["", f"### {kind.__name__}", "", _about(kind), "", *_fields(kind, kind.__name__)]
    return "\n".join(lines) + "\n"


def _about(kind: type) -> str:
    return _cell(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]) + "."


def _fields(kind: type, tag: str) -> Iterator[str]:
    yield from ("| field | type | what |", "|---|---|---|")
    described = _attributes(kind)
    for field in msgspec.structs.fields(kind):
        name = field.name
        what = FIELDS.get(f"{tag}.{name}") or described.get(name) or FIELDS[name]
        yield f"| `{name}` | {_word(field.type)} | {_cell(what)} |"


def _attributes(kind: type) -> dict[str, str]:
    """Read what a struct's docstring says of its fields."""
    _, _, said = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in said.splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            found[name] = text
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: _lower(text) for name, text in found.items()}


def _word(kind: Any) -> str:
    """Name a type as JSON has it."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, UnionType) or origin is typing.Union:
        scalar = set(typing.get_args(records.Scalar))
        is_scalar = scalar <= set(inside)
        rest = [one for one in inside if not (is_scalar and one in scalar)]
        return " or ".join([*["scalar"] * is_scalar, *map(_word, rest)])
    if origin is not None:
        last = _word(inside[1] if origin is dict else inside[0])
        return f"mapping to {last}" if origin is dict else f"list of {last}"
    return WORDS[kind] if kind in WORDS else f"[{kind.__name__}](#{kind.__name__.lower()})"


PAGES = {"recipe_reference.md": recipe_reference, "event_reference.md": event_reference}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())
