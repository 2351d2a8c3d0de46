"""The lines of ``events.jsonl`` as an auditor reads them: whole, chained, and those that count.

Nothing here is shared with what wrote the log: the text itself is hashed, and read as plain JSON.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

DEEPEST, LONGEST = 64, 16 * 2**20  # of a line: [levels], [bytes]
FAULTS = (  # what looking at a line may raise that holds something else than it must
    *(KeyError, IndexError, TypeError, ValueError, AttributeError),
    *(ArithmeticError, RecursionError),
)
MARK = b',"wall":'  # what follows it, times and names, may differ between two equal runs


@dataclass(frozen=True, slots=True)
class Entry:
    """One line.

    Attributes:
        number: Its place in the file, from 1.
        kind: Of its event; empty if it cannot be read.
        decision: When, in decisions.
        step: When [steps].
        phase: When, by name.
        body: All that it says.
    """

    number: int
    kind: str
    decision: int
    step: int
    phase: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """A log, read.

    Attributes:
        entries: Its whole lines.
        breaks: Line -> what is wrong with it as a link of the chain.
        torn: What follows the last whole line [bytes].
    """

    entries: tuple[Entry, ...]
    breaks: tuple[tuple[int, str], ...]
    torn: int


def read_chain(data: bytes) -> Chain:
    """Read a log, and check that each line follows from the one before.

    A line's checksum is BLAKE2b, 8 bytes, of the checksum before and the line up to its wall.

    Args:
        data: The bytes of ``events.jsonl``.
    """
    *lines, rest = data.split(b"\n")
    entries: list[Entry] = []
    breaks: list[tuple[int, str]] = []
    previous, generation = "", 0
    for number, line in enumerate(lines, start=1):
        entry, checksum, why = _read(number, line, previous)
        entries.append(entry)
        breaks.extend((number, what) for what in [*why, *_misplaced(entry, generation)])
        previous = checksum
        told = entry.body.get("generation")
        generation = told if isinstance(told, int) else generation
    return Chain(tuple(entries), tuple(breaks), len(rest))


def counting(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Leave out what a later ``rewind`` took back, and the ``rewind`` lines themselves."""
    before: dict[int, int] = {}  # line -> the one that it follows
    newest = 0
    for entry in entries:
        target = entry.body.get("to") if entry.kind == "rewind" else None
        before[entry.number] = newest
        newest = entry.number
        if isinstance(target, int) and 0 <= target < entry.number:
            before[entry.number] = target
    kept = []
    while newest:
        entry = entries[newest - 1]
        kept.extend([] if entry.kind == "rewind" else [entry])
        newest = before[newest]
    return tuple(reversed(kept))


def plain(value: Any) -> Any:
    """Read a number that JSON has none for: ``{"value": null, "raw": "nan"}``."""
    if isinstance(value, dict) and value.keys() == {"value", "raw"}:
        return float(value["raw"]) if value["raw"] in ("nan", "inf", "-inf") else value
    return value


def _read(number: int, line: bytes, previous: str) -> tuple[Entry, str, list[str]]:
    """Read one line; gives it, its checksum, and what is wrong with it."""
    try:
        body = _parse(line)
        checksum = str(body["checksum"])
        entry = Entry(
            number=number,
            kind=str(body["kind"]),
            decision=_count(body, "decision"),
            step=_count(body, "step"),
            phase=str(body["phase"]),
            body=body,
        )
    except FAULTS as error:
        nothing = Entry(number=number, kind="", decision=0, step=0, phase="", body={})
        return nothing, "", [f"is no line of a log ({type(error).__name__}: {error})"]
    covered = line[: line.rfind(MARK)] + b"}"
    expected = hashlib.blake2b(previous.encode() + covered, digest_size=8).hexdigest()
    right = checksum == expected
    return entry, checksum, [] if right else ["its checksum does not follow from the line before"]


def _parse(line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} bytes")
    body = json.loads(line, parse_constant=_refuse, parse_float=_real)
    if not (isinstance(body, dict) and isinstance(body.get("wall"), dict)):
        raise KeyError("wall")
    if _depth(body) > DEEPEST:
        raise ValueError(f"is nested deeper than {DEEPEST} levels")
    if body.get("v") != 1:
        raise ValueError(f"is of schema version {body.get('v')!r}")
    return body


def _refuse(constant: str) -> Any:
    raise ValueError(f"holds {constant}, which is no JSON")


def _real(text: str) -> float:
    """Read a number; what is written as one that is too large is no line of ours."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"holds {text[:20]}, which is too large for a number")
    return value


def _depth(value: Any) -> int:
    items: Any = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list):
        items = value
    return 1 + max(map(_depth, items), default=0)


def _count(body: dict[str, Any], name: str) -> int:
    value = body[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


def _misplaced(entry: Entry, generation: int) -> Iterator[str]:
    """Say what is wrong with a line's own number and generation."""
    if not entry.kind:
        return
    if entry.body.get("seq") != entry.number:
        yield f"says that it is line {entry.body.get('seq')!r}"
    due = generation + (entry.kind == "rewind")
    if entry.body.get("generation") != due:
        yield f"is of generation {entry.body.get('generation')!r}, due is {due}"
    to = entry.body.get("to")
    if entry.kind == "rewind" and not (isinstance(to, int) and 0 <= to < entry.number):
        yield f"goes back to {to!r}, which is no line before it"
