"""What a deployed model does, record by record: as a user's function, a file or a table gives it.

A record says how one case went: whether it succeeded, or how good it was. A source is read from a
position on, which is plain data and is kept with the state, so that nothing is counted twice.
"""

import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gptune.errors import UsageError
from gptune.foreign import foreign_call

LONGEST = 2**20  # of a line [bytes]
MOST = 100_000  # records that are read at once


@dataclass(frozen=True, slots=True)
class Read:
    """What a source gave.

    Attributes:
        records: Those that are new.
        position: Where it goes on.
        complaint: What could not be read, in words; empty if all could.
    """

    records: tuple[Mapping[str, Any], ...]
    position: Any
    complaint: str = ""


class Source(Protocol):
    """Where records come from."""

    def read(self, position: Any) -> Read:
        """Give the records after a position; ``None`` is the beginning."""
        ...


@dataclass(frozen=True, slots=True)
class Called:
    """A function of the user's: it gives the records that are new each time that it is called."""

    collect: Callable[[], Iterable[Any]]

    def read(self, position: Any) -> Read:
        """Call it; what it raises is a complaint, and nothing is lost but its records."""
        done = foreign_call(lambda: [as_record(one) for one in self.collect()])
        if done.value is None:
            return Read((), position, f"collect raised {done.message}")
        return Read(tuple(done.value), position)


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A file to which records are appended, one JSON object a line; a torn last line waits."""

    path: Path

    def read(self, position: Any) -> Read:
        """Read the lines after an offset [bytes]; another file, or a shorter one, is read anew."""
        inode, start = position or (0, 0)
        try:
            with self.path.open("rb") as file:
                before, inode = inode, os.fstat(file.fileno()).st_ino
                start = start if file.seek(0, 2) >= start and before == inode else 0
                file.seek(start)
                lines = file.readlines(LONGEST * 64)
        except FileNotFoundError:
            return Read((), position)
        except OSError as error:
            return Read((), position, f"{str(self.path)!r} cannot be read ({error})")
        whole = [line for line in lines if line.endswith(b"\n")]
        found = [_parsed(line) for line in whole]
        bad = sum(one is None for one in found)
        complaint = f"{bad} lines of {str(self.path)!r} are no JSON objects" if bad else ""
        records = tuple(one for one in found if one is not None)
        return Read(records, [inode, start + sum(map(len, whole))], complaint)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of SQLite to which rows are added; it is opened read-only.

    Raises:
        UsageError: If the table's name is none.
    """

    path: Path
    name: str

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise UsageError(f"table: must be the name of a table, got {self.name!r}")

    def read(self, position: Any) -> Read:
        """Read the rows after a row number."""
        start = int(position or 0)
        query = f"SELECT rowid AS _row, * FROM {self.name} WHERE rowid > ? ORDER BY rowid LIMIT ?"
        try:
            with closing(
                sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
            ) as db:
                db.row_factory = sqlite3.Row
                db.text_factory = lambda data: data.decode(errors="replace")
                newest = db.execute(f"SELECT max(rowid) FROM {self.name}").fetchone()[0]
                start = start if (newest or 0) >= start else 0  # it was emptied, and begun anew
                rows = [dict(row) for row in db.execute(query, (start, MOST))]
        except sqlite3.Error as error:
            return Read((), start, f"table {self.name!r} of {str(self.path)!r}: {error}")
        last = rows[-1]["_row"] if rows else start
        return Read(tuple({k: v for k, v in row.items() if k != "_row"} for row in rows), last)


def source_of(given: object) -> Source:
    """Read what a user gives: a function, a path of ``.jsonl``, or ``sqlite:///file#table``.

    Raises:
        UsageError: If it is something else.
    """
    if callable(given):
        return Called(given)
    text = str(given)
    if text.startswith("sqlite:///") and "#" in text:
        file, _, name = text.removeprefix("sqlite:///").partition("#")
        return Table(Path(file), name)
    if isinstance(given, str | Path) and text.endswith(".jsonl"):
        return JsonLines(Path(given))
    raise UsageError(
        "collect: must be a function that gives records, a file .jsonl or sqlite:///file#table, "
        f"got {given!r}"
    )


def as_record(given: object) -> Mapping[str, Any]:
    """Read a record of a function's: a mapping, or whether it succeeded, or how good it was.

    NumPy's booleans are booleans.

    Example:
        >>> as_record(True), as_record(0.5), as_record({"success": False})
        ({'success': True}, {'metric': 0.5}, {'success': False})
    """
    if isinstance(given, Mapping):
        return given
    return {"success": bool(given)} if isinstance(given, bool | np.bool_) else {"metric": given}


def value_of(record: Mapping[str, Any], name: str) -> float | None:
    """Give a record's number under a name; NaN for one that is none, ``None`` where it is missing.

    Example:
        >>> value_of({"success": True}, "success"), value_of({}, "success")
        (1.0, None)
    """
    given = record.get(name)
    if given is None:
        return None
    number = foreign_call(lambda: float(given)).value
    return math.nan if number is None else number


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    if len(line) > LONGEST:
        return None
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None
