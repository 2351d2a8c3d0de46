"""``events.jsonl`` while it grows: the whole lines that are new, checked as they come."""

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from gptune.errors import EventLogError, RunDirectoryError
from gptune.events import ORIGIN, Line, checksum_of, decode
from gptune.run_directory.names import EVENTS
from gptune.run_directory.regular import open_regular


class Entry(Struct, frozen=True):
    """One line as it stands on the disk, and as it reads; ``None``: of an unknown kind."""

    text: str
    line: Line | None

    @property
    def kind(self) -> str:
        """Kind of its event; empty if it is unknown."""
        return str(self.line.event.__struct_config__.tag) if self.line else ""


def tail(directory: Path) -> Iterator[list[Entry]]:
    """Give, each time it is asked, the whole lines that were written since; it never ends.

    A torn last line is left out until the rest of it is there, or another stands in its place.

    Args:
        directory: The run directory.

    Yields:
        The new lines; first all that there are.

    Raises:
        EventLogError: If a whole line is not what gptune wrote, or the chain is broken.
        RunDirectoryError: If the log cannot be read.
    """
    path, read, number, previous = directory / EVENTS, 0, 0, ORIGIN
    while True:
        data = _read(path, read)
        whole = data[: data.rfind(b"\n") + 1]
        entries = []
        for text in whole.split(b"\n")[:-1]:
            number += 1
            try:
                line, previous = decode(text, previous), checksum_of(text)
            except EventLogError as error:
                raise EventLogError(f"{EVENTS}, line {number}: {error}") from error
            entries.append(Entry(text.decode(), line))
        read += len(whole)
        yield entries


def _read(path: Path, start: int) -> bytes:
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            file.seek(start)
            return file.read()
    except OSError as error:
        raise RunDirectoryError(
            f"run directory {str(path.parent)!r}: its log cannot be read ({error}); "
            "check its permissions"
        ) from error
