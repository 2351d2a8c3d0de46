"""Commands from another terminal, and their answers: untyped data in, data out.

A command is one file, ``commands/<time>-<chance>.json``, put there whole by a rename; the run
takes it and leaves ``answers/<the same name>.json``. ``freeze.json`` shuts outside commands out.
"""

import json
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gptune.errors import RunDirectoryError
from gptune.run_directory.file_system import FileSystem
from gptune.run_directory.names import ANSWERS, COMMANDS, FREEZE

IDENT = re.compile(r"([0-9A-Za-z][0-9A-Za-z_-]{0,63})\.json")  # what else lies there is left alone
LONGEST = 1 << 16  # bytes of a command; a longer one is refused unread
BIGGEST = 1e300  # number in a command; a bigger one is a mistake
MOST = 100  # commands taken at one look


class Message(Struct, frozen=True, kw_only=True):
    """A command as it was found.

    Attributes:
        id: Its name; the run does it at most once.
        verb: What shall be done; empty if it could not be read.
        arguments: What it is about.
        fault: Why it could not be read; empty when it was.
    """

    id: str
    verb: str = ""
    arguments: dict[str, Any] = {}
    fault: str = ""


class Answer(Struct, frozen=True, kw_only=True):
    """What came of a command.

    Attributes:
        id: The command's name.
        accepted: Whether it was done.
        message: Old and new value, or why it was refused.
        decision: Number of the last decision before it took effect.
        step: Optimizer steps counted then [steps].
    """

    id: str
    accepted: bool
    message: str
    decision: int
    step: int


def send(files: FileSystem, directory: Path, verb: str, arguments: Mapping[str, Any]) -> str:
    """Drop a command for the run to find; gives its id. Later commands sort after earlier ones.

    Raises:
        OSError: If the directory cannot be written.
    """
    ident = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    body = {"verb": verb, "arguments": dict(arguments)}
    files.replace(_command(directory, ident), json.dumps(body).encode(), nested=True)
    return ident


def waiting(files: FileSystem, directory: Path) -> list[str]:
    """List the commands that wait, the oldest first.

    Raises:
        OSError: If the directory cannot be read.
    """
    found = (IDENT.fullmatch(name) for name in files.names(directory / COMMANDS, nested=True))
    return [name[1] for name in found if name][:MOST]


def take(files: FileSystem, directory: Path, ident: str) -> Message | None:
    """Take a command away to do it; ``None`` when its sender has just taken it back.

    Raises:
        OSError: If it cannot be taken away; it is still there then.
    """
    try:
        message = _read(ident, files.read(_command(directory, ident), LONGEST + 1, nested=True))
    except OSError as error:
        message = Message(id=ident, fault=f"cannot be read: {error}")
    return message if take_back(files, directory, ident) else None


def _decode(data: bytes) -> Any:
    def number(text: str) -> int | float:
        value: int | float = float(text) if set(text) & set(".eE") else int(text)
        if not -BIGGEST < value < BIGGEST:
            raise ValueError(f"{text[:20]} is too big a number")
        return value

    def constant(text: str) -> float:
        raise ValueError(f"{text} is no number")

    return json.loads(data, parse_int=number, parse_float=number, parse_constant=constant)


def take_back(files: FileSystem, directory: Path, ident: str) -> bool:
    """Take a command back; gives whether it was still there, and will therefore not be done."""
    return files.remove(_command(directory, ident), nested=True)


def _command(directory: Path, ident: str) -> Path:
    return directory / COMMANDS / f"{ident}.json"


def _read(ident: str, data: bytes) -> Message:
    if len(data) > LONGEST:
        return Message(id=ident, fault=f"is longer than {LONGEST} bytes; no command is")
    fault = ""
    try:
        body = _decode(data)
        msgspec.json.encode(body)  # what could not be logged is not done
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return Message(id=ident, fault=f"is not JSON that can be logged: {error}")
    if not isinstance(body, dict) or body.keys() != {"verb", "arguments"}:
        fault = 'must be {"verb": ..., "arguments": {...}}'
    elif not isinstance(body["verb"], str) or not isinstance(body["arguments"], dict):
        fault = "verb must be a word and arguments a mapping"
    else:
        return Message(id=ident, verb=body["verb"], arguments=body["arguments"])
    return Message(id=ident, fault=fault)


def answer(files: FileSystem, directory: Path, made: Answer) -> None:
    """Leave the answer to a command.

    Raises:
        OSError: If it cannot be written.
    """
    body = {name: getattr(made, name) for name in Answer.__struct_fields__}
    files.replace(_answer(directory, made.id), json.dumps(body).encode(), nested=True)


def read_answer(files: FileSystem, directory: Path, ident: str) -> Answer | None:
    """Give the answer to a command, once there is one.

    Raises:
        OSError: If it cannot be read.
        RunDirectoryError: If it is none that gptune wrote.
    """
    data = files.read(_answer(directory, ident), LONGEST, nested=True)
    try:
        return msgspec.json.decode(data, type=Answer) if data else None
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: the answer to {ident} is none that gptune wrote "
            f"({error}); see gptune log"
        ) from error


def discard_answer(files: FileSystem, directory: Path, ident: str) -> None:
    """Remove an answer that was read; the log has it too."""
    files.remove(_answer(directory, ident), nested=True)


def _answer(directory: Path, ident: str) -> Path:
    return directory / ANSWERS / f"{ident}.json"


def freeze(files: FileSystem, directory: Path, *, on: bool) -> None:
    """Shut outside commands out, or let them in again.

    Raises:
        OSError: If it cannot be written.
    """
    body = {"freeze": "production" if on else "off"}
    files.replace(directory / FREEZE, json.dumps(body).encode(), durable=True)


def frozen(files: FileSystem, directory: Path) -> str:
    """Say why outside commands are shut out; empty when they are not.

    What cannot be read counts as frozen: a guard that fails must not open the door.
    """
    try:
        is_there = FREEZE in files.names(directory)
        data = files.read(directory / FREEZE, LONGEST) if is_there else b'{"freeze": "off"}'
        state = json.loads(data).get("freeze")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return f"{FREEZE} cannot be read ({error}), which counts as frozen"
    if state == "off":
        return ""
    return "it is frozen" if state == "production" else f"{FREEZE} says {state!r}, unknown: frozen"
