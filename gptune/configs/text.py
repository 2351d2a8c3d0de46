"""The text of a recipe: YAML or JSON in and out, plain data only, in bounded time.

YAML is read as its version 1.2 reads it: ``1e-4`` is a number; ``off``, ``on``, ``yes`` and ``no``
are words. What a recipe has no use for is refused: anchors and aliases, tags, a second document,
keys that stand twice or are no words, deep nesting, and whatever is too long.

This room alone knows YAML. Import it where it is used: ``import gptune`` loads no parser.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from gptune.errors import RecipeError

LONGEST = 2**20  # of a text [characters], of a file [bytes]
DEEPEST = 24  # mappings and lists, one inside the other
MOST = 20_000  # values in a text; YAML is read at some 20 000 a second
LONGEST_NUMBER = 400  # [characters]; reading a whole number takes time quadratic in its length
WIDTH = 100  # of a written line [characters]
LONGEST_KEY = 400  # [characters]; YAML wants longer ones marked with a ``?``

_PLAIN = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_TOO_DEEP = f"is nested more than {DEEPEST} deep; no recipe is"
_OTHERS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}  # no words to YAML 1.1


def read_file(path: object) -> Any:
    """Read a ``.yaml``, ``.yml`` or ``.json`` file into plain data.

    Raises:
        RecipeError: Naming the file, if it cannot be read or is not such a text.
    """
    name = str(path)
    _is_json(name)
    try:
        with open(name, "rb") as file:  # noqa: PTH123  configs may not import pathlib
            raw = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"{name}: cannot be read: {why}; give the file of a recipe") from error
    if len(raw) > LONGEST:
        raise RecipeError(f"{name}: is longer than {LONGEST} bytes; a recipe is a short text")
    try:
        return parse(raw.decode(), name)
    except UnicodeDecodeError as error:
        where = f"at byte {error.start}"
        raise RecipeError(f"{name}: is not UTF-8 text, {where}; save it as UTF-8") from error


def write_file(path: object, data: Any, comments: str = "") -> None:
    """Write plain data as the name says: YAML, or JSON, which has no room for comments.

    Raises:
        RecipeError: Naming the file, if it cannot be written.
    """
    name = str(path)
    text = json.dumps(data, indent=2) + "\n" if _is_json(name) else write(data, comments)
    try:
        with open(name, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123  as above
            file.write(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"{name}: cannot be written: {why}; choose another place") from error


def _is_json(name: str) -> bool:
    ending = name.lower().rpartition(".")[2]
    if ending not in ("yaml", "yml", "json"):
        raise RecipeError(f"{name}: must end in .yaml, .yml or .json; rename it")
    return ending == "json"


def parse(text: str, name: str) -> Any:
    r"""Turn YAML or JSON into plain data: dicts, lists, strings, numbers, truth values, ``None``.

    Args:
        text: One document. What begins with a brace is tried as JSON first; what is named
            ``.json`` has to be JSON.
        name: What to call it in an error, e.g. its file.

    Returns:
        The plain data; ``None`` for an empty text.

    Raises:
        RecipeError: Naming the text, the line and column, and the path where there is one.

    Example:
        >>> parse("lr: {bounds: [1e-4, 1e4]}  # off is a word\nmode: off", "recipe.yaml")
        {'lr': {'bounds': [0.0001, 10000.0]}, 'mode': 'off'}
    """
    if len(text) > LONGEST:
        raise RecipeError(f"{name}: is longer than {LONGEST} characters; a recipe is a short text")
    text = text.removeprefix("\ufeff")
    must_be_json = name.lower().endswith(".json")
    if not must_be_json and not text.lstrip().startswith("{"):
        return _from_yaml(text, name)
    try:
        pairs = json.loads(
            text, object_pairs_hook=tuple, parse_int=_whole, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise RecipeError(f"{name}: {_TOO_DEEP}") from error
    except ValueError as error:
        if must_be_json:
            raise RecipeError(f"{name}: is not JSON: {error}; mend it there") from error
        return _from_yaml(text, name)
    return _from_pairs(pairs, name, ())


def write(data: Any, comments: str = "") -> str:
    r"""Write plain data as YAML that `parse` reads back equal, within its limits.

    Args:
        data: Dicts with string keys, lists, strings, numbers, truth values, ``None``.
        comments: Lines to put on top, each behind a ``#``.

    Example:
        >>> print(write({"mode": "off", "lr": {"bounds": [0.01, 100.0]}}, "by hand"), end="")
        # by hand
        mode: "off"
        lr:
          bounds: [0.01, 100.0]
    """
    shown = ("".join(c for c in line if c.isprintable()) for line in comments.splitlines())
    head = [f"# {line}".rstrip() for line in shown]
    body = _block(data, "") if data and isinstance(data, dict) else [_flow(data)]
    return "\n".join([*head, *body, ""])


# --- reading ------------------------------------------------------------------------------


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _from_pairs(value: Any, name: str, path: tuple[str, ...]) -> Any:
    """Turn what JSON gave, its mappings as tuples of pairs, into plain data."""
    if not isinstance(value, tuple | list):
        return value
    if len(path) >= DEEPEST:
        raise RecipeError(f"{name}: {'.'.join(path)}: {_TOO_DEEP}")
    if isinstance(value, list):
        return [_from_pairs(item, name, (*path, str(i))) for i, item in enumerate(value)]
    made: dict[str, Any] = {}
    for key, item in value:
        if key in made:
            raise RecipeError(f"{name}: {'.'.join((*path, key))}: stands twice; keep one")
        made[key] = _from_pairs(item, name, (*path, key))
    return made


def _from_yaml(text: str, name: str) -> Any:
    try:
        return _Document(text, name).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = error.problem or error.context
        hint = "indent with spaces" if "'\\t'" in str(what) else "mend it there"
        raise RecipeError(f"{name}: {where}is not YAML: {what}; {hint}") from error
    except yaml.YAMLError as error:  # a character that YAML does not know, without a line
        raise RecipeError(f"{name}: is not YAML: {error}; save it as plain text") from error


class _Document:
    """One reading of one YAML text, event by event, so that nothing is built before it is safe."""

    def __init__(self, text: str, name: str) -> None:
        self._events = yaml.parse(text, yaml.SafeLoader)  # the same on every machine
        self._name = name
        self._values = 0

    def read(self) -> Any:
        """Give the one document's data; ``None`` when there is none."""
        next(self._events)  # the stream starts
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        made = self._value(next(self._events), ())
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, (), "a second document begins", "keep one")
        return made

    def _value(self, event: Any, path: tuple[str, ...]) -> Any:
        self._check(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if len(path) >= DEEPEST:
            self._refuse(event, path, _TOO_DEEP, "flatten it")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        return self._mapping(path)

    def _check(self, event: Any, path: tuple[str, ...]) -> None:
        """Refuse what plain data has no use for, and too much of what it has."""
        self._values += 1
        if self._values > MOST:
            self._refuse(event, path, f"more than {MOST} values", "a recipe is a short text")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._refuse(event, path, "anchors and aliases are not read", "write it out")
        if event.tag is not None:
            self._refuse(event, path, f"tags are not read, got {event.tag!r}", "leave it out")

    def _scalar(self, event: Any, path: tuple[str, ...]) -> Any:
        if not event.implicit[0]:  # written in quotes, or as a block
            return event.value
        try:
            return _resolve(event.value)
        except ValueError as error:
            self._refuse(event, path, str(error), "a recipe's numbers are short")

    def _list(self, path: tuple[str, ...]) -> list[Any]:
        made: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            made.append(self._value(event, (*path, str(len(made)))))
        return made

    def _mapping(self, path: tuple[str, ...]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._check(event, path)
            key = self._scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                self._refuse(event, path, f"a key must be a word, got {key!r}", "put it in quotes")
            if key in made:
                self._refuse(event, (*path, key), "stands twice", "keep one")
            made[key] = self._value(next(self._events), (*path, key))
        return made

    def _refuse(self, event: Any, path: tuple[str, ...], rule: str, do: str) -> NoReturn:
        mark = event.start_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}"
        what = ": ".join(part for part in (self._name, where, ".".join(path), rule) if part)
        raise RecipeError(f"{what}; {do}")


def _resolve(word: str) -> Any:
    """Say what a word without quotes means in YAML 1.2's core schema, less its other bases."""
    if word in _PLAIN:
        return _PLAIN[word]
    if not _REAL.fullmatch(word):
        return word
    if _WHOLE.fullmatch(word):
        return _whole(word)
    return float(word)


# --- writing ------------------------------------------------------------------------------


def _block(data: dict[str, Any], pad: str) -> Iterator[str]:
    """Write a mapping, an entry a line; one inside another on one line where it fits."""
    for key, value in data.items():
        name = _string(key)
        start = f"{pad}{name}:" if len(name) <= LONGEST_KEY else f"{pad}? {name}\n{pad}:"
        line = f"{start} {_flow(value)}"
        if not value or not isinstance(value, dict) or (pad and _fits(value, line)):
            yield line
        else:
            yield start
            yield from _block(value, f"{pad}  ")


def _fits(value: dict[str, Any], line: str) -> bool:
    return len(line) <= WIDTH and not any(
        isinstance(item, dict) and item for item in value.values()
    )


def _flow(value: Any) -> str:
    """Write any value on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(_pair(key, item) for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_flow(item) for item in value)}]"
    return _single(value)


def _pair(key: str, value: Any) -> str:
    name = _string(key)
    start = f"{name}:" if len(name) <= LONGEST_KEY else f"? {name}\n  :"
    return f"{start} {_flow(value)}"


def _single(value: object) -> str:
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, float):
        return json.dumps(value)
    if math.isnan(value):
        return ".nan"
    text = float.__repr__(value).replace("inf", ".inf")
    return text if "." in text else text.replace("e", ".0e")  # else YAML 1.1 sees a word


def _string(text: str) -> str:
    """Write a string: bare where no reader of YAML takes it for something else."""
    if _WORD.fullmatch(text) and text.lower() not in _OTHERS:
        return text
    return f'"{"".join(map(_character, text))}"'


def _character(c: str) -> str:
    if c in '"\\':
        return f"\\{c}"
    if c.isprintable():
        return c
    return f"\\U{ord(c):08X}"
