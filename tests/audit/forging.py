"""Logs that were tampered with: lines changed, and their checksums worked out anew."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gptune.audit import Report
from gptune.events import ORIGIN, Line, Opened, encode

Body = dict[str, Any]
Edit = Callable[[list[Body]], list[Body]]


def bodies(directory: Path) -> list[Body]:
    """Read the lines of a log as they stand."""
    return [json.loads(line) for line in (directory / "events.jsonl").read_bytes().splitlines()]


def rechained(lines: Iterable[Body]) -> bytes:
    """Number lines anew, and give each the checksum that it needs."""
    data, previous = b"", ""
    for number, line in enumerate(lines, start=1):
        body = {**line, "seq": number}
        wall = body.pop("wall")
        body.pop("checksum", None)
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        previous = hashlib.blake2b(previous.encode() + text, digest_size=8).hexdigest()
        tail = json.dumps({"wall": wall, "checksum": previous}, separators=(",", ":")).encode()
        data += text[:-1] + b"," + tail[1:] + b"\n"
    return data


def encoded(lines: Iterable[Line]) -> bytes:
    """Write lines as the log itself does."""
    data, previous = b"", ORIGIN
    for line in lines:
        text = encode(line.envelope, line.event, line.wall, previous)
        previous = json.loads(text)["checksum"]
        data += text
    return data


def named(lines: Iterable[Line]) -> list[Line]:
    """Let the recipe of a run of the bare kernel name its knobs, as a Tuner sees to."""
    made = []
    for line in lines:
        event = line.event
        if isinstance(event, Opened):
            keys = {f.partition(".")[2]: knob["mutation"] for f, knob in event.knobs.items()}
            group = {"enabled": True, "mutations": {}, "keys": keys}
            recipe = {**event.recipe, "actuators": {"loss": group}}
            line = replace(line, event=replace(event, recipe=recipe))
        made.append(line)
    return made


def broken(report: Report) -> set[str]:
    """Name the promises that are broken."""
    return {finding.name for finding in report.findings if not finding.holds}


def first(lines: list[Body], kind: str, nth: int = 0) -> int:
    """Give the place of the nth line of a kind."""
    return [n for n, line in enumerate(lines) if line["kind"] == kind][nth]


def change(kind: str, nth: int = 0, **fields: Any) -> Edit:
    """Change fields of the nth line of a kind."""

    def edit(lines: list[Body]) -> list[Body]:
        at = first(lines, kind, nth)
        return [{**line, **fields} if n == at else line for n, line in enumerate(lines)]

    return edit


def drop(kind: str, nth: int = 0) -> Edit:
    """Drop the nth line of a kind."""

    def edit(lines: list[Body]) -> list[Body]:
        at = first(lines, kind, nth)
        return lines[:at] + lines[at + 1 :]

    return edit


def opened(**recipe: Body) -> Edit:
    """Let the run have been opened with another recipe."""

    def edit(lines: list[Body]) -> list[Body]:
        new = {name: {**lines[0]["recipe"][name], **part} for name, part in recipe.items()}
        return [{**lines[0], "recipe": {**lines[0]["recipe"], **new}}, *lines[1:]]

    return edit


def knob(**fields: Any) -> Edit:
    """Let the run's knobs have been others; fields of a knob, or of its mutation."""

    def edit(lines: list[Body]) -> list[Body]:
        knobs = {}
        for family, one in lines[0]["knobs"].items():
            own = {k: v for k, v in fields.items() if k in one}
            moved = {k: v for k, v in fields.items() if k not in one}
            knobs[family] = {**one, **own, "mutation": {**one["mutation"], **moved}}
        return [{**lines[0], "knobs": knobs}, *lines[1:]]

    return edit


def command(verb: str, **arguments: Any) -> Body:
    """Give the line of an order that was accepted."""
    said = {"kind": "command", "id": "c", "verb": verb, "arguments": arguments}
    return {**said, "accepted": True, "message": ""}


def change_last(kind: str, **fields: Any) -> Edit:
    """Change fields of the last line of a kind."""

    def edit(lines: list[Body]) -> list[Body]:
        at = max(n for n, line in enumerate(lines) if line["kind"] == kind)
        return [*lines[:at], {**lines[at], **fields}, *lines[at + 1 :]]

    return edit


def put(*new: Body, before: str, nth: int = 0) -> Edit:
    """Put lines before the nth one of a kind, at the same moment as the line before it."""

    def edit(lines: list[Body]) -> list[Body]:
        at = first(lines, before, nth)
        envelope = ("v", "generation", "decision", "step", "phase", "wall")
        when = {name: lines[at - 1][name] for name in envelope}
        return [*lines[:at], *({**when, **one} for one in new), *lines[at:]]

    return edit


def both(*edits: Edit) -> Edit:
    """Make one change after the other."""

    def edit(lines: list[Body]) -> list[Body]:
        for one in edits:
            lines = one(lines)
        return lines

    return edit


def moved(nth: int, new: float) -> Edit:
    """Let the nth change have gone elsewhere, in all that tells of it."""

    def edit(lines: list[Body]) -> list[Body]:
        ident = lines[first(lines, "intent", nth)]["id"]
        old = lines[first(lines, "intent", nth)]["changes"][0]["new"]
        text = json.dumps(lines).replace(json.dumps(old), json.dumps(new))
        made: list[Body] = json.loads(text)
        assert any(line.get("id") == ident for line in made)
        return made

    return edit
