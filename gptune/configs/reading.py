"""Plain data -> structs, with errors that name the path, the rule and the nearest valid key."""

import difflib
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from gptune.errors import GptuneError, RecipeError

Struct = msgspec.Struct
BIGGEST = 2**63  # what the log can hold
LONGEST = 200  # of what was given, in a message [characters]


def need(holds: object, field: str, rule: str, given: object, *, do: str) -> None:
    """Check one rule of one field.

    Raises:
        RecipeError: Who, which rule, what was given, what to do.
    """
    if not holds:
        raise RecipeError(f"{field}: {rule}, got {shown(given)}; {do}")


def shown(given: object) -> str:
    """Write what was given, shortened: a message is read by people, and must not fail itself."""
    try:
        text = repr(given)
    except ValueError:  # a whole number of thousands of digits
        return "a number too long to be written"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


T = TypeVar("T", bound=msgspec.Struct)


def build(kind: type[T], data: object, path: str) -> T:
    """Make a struct from plain data, field by field, so that an error can name its path.

    Raises:
        RecipeError: On an unknown key, a wrong type or an impossible value.
    """
    if not isinstance(data, Mapping):
        raise RecipeError(f"{path or 'recipe'}: must be a mapping, got {shown(data)}")
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key in data:
        if key not in fields:
            raise RecipeError(f"{join(path, key)}: unknown key; {nearest(key, fields)}")
    values = {key: _value(fields[key], item, join(path, key)) for key, item in data.items()}
    try:
        return kind(**values)
    except GptuneError as error:
        raise RecipeError(join(path, str(error))) from error
    except TypeError as error:
        raise RecipeError(f"{path or 'recipe'}: {error}") from error


def nearest(key: object, valid: Iterable[str]) -> str:
    """Say which valid name was probably meant.

    Example:
        >>> nearest("val_los", ["val_loss", "train_loss"])
        "did you mean 'val_loss'?"
    """
    names = list(valid)
    close = difflib.get_close_matches(str(key), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(sorted(names))}"


def join(path: str, key: object) -> str:
    """Write a path: ``a.b``."""
    return f"{path}.{key}" if path else str(key)


def _is_text(word: str) -> bool:
    """Say whether a word can be written: half of a surrogate pair cannot."""
    return word.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in word)


def _value(kind: Any, data: object, path: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return data if isinstance(data, kind) else build(kind, data, path)
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        if not isinstance(data, Mapping) or not all(
            isinstance(key, str) and _is_text(key) for key in data
        ):
            raise RecipeError(f"{path}: must be a mapping of names, got {shown(data)}")
        return {key: _value(inner, item, join(path, key)) for key, item in data.items()}
    if isinstance(data, bool) and _is_number(kind):
        raise RecipeError(f"{path}: must be a number, got {shown(data)}")
    names = _names(kind)
    if names and isinstance(data, str) and data not in names and _is_text(data):
        either = " or ".join([*names, "a number"] if _is_number(kind) else names)
        raise RecipeError(f"{path}: must be {either}, got {shown(data)}; {nearest(data, names)}")
    return _plain(kind, data, path)


def _plain(kind: Any, data: object, path: str) -> Any:
    words = data if isinstance(data, list | tuple) else (data,)
    if not all(_is_text(word) for word in words if isinstance(word, str)):
        raise RecipeError(f"{path}: must be text that can be written, got {data!a}")
    if isinstance(data, int) and not -BIGGEST < data < BIGGEST:
        raise RecipeError(f"{path}: must be a whole number of at most 64 bits, got a bigger one")
    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{path}: {error}, got {shown(data)}") from error


def _names(kind: Any) -> list[str]:
    """List the words that a field may be; empty when it may be anything else that is a word."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    options = _options(kind)
    words = [word for o in options if get_origin(o) is Literal for word in get_args(o)]
    return [word for word in words if isinstance(word, str)]


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _is_number(kind: Any) -> bool:
    options = _options(kind)
    return bool({int, float} & set(options)) and bool not in options
