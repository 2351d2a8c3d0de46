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


def tail(directory: Path, most: int | None = None) -> Iterator[list[Entry]]:
    """Give, each time it is asked, the whole lines that were written since; it never ends.

    A torn last line is left out until the rest of it is there, or another stands in its place.

    Args:
        directory: The run directory.
        most: Read about so much at once [bytes], and at least one whole line if there is one.

    Yields:
        The new lines; first all that there are, or, with ``most``, the first of them.

    Raises:
        EventLogError: If a whole line is not what gptune wrote, or the chain is broken.
        RunDirectoryError: If the log cannot be read.
    """
    path, read, number, previous = directory / EVENTS, 0, 0, ORIGIN
    while True:
        data = _read_lines(path, read, most)
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


def _read_lines(path: Path, start: int, most: int | None) -> bytes:
    """Read on; ``most`` bytes, or as many as it takes to the end of a line that is longer."""
    data = _read(path, start, most)
    while most is not None and b"\n" not in data and len(data) == most:
        most *= 2
        data = _read(path, start, most)
    return data


def _read(path: Path, start: int, most: int | None) -> bytes:
    run = f"run directory {str(path.parent)!r}: its log"
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(start)
            data = file.read(most)
    except FileNotFoundError as error:
        raise RunDirectoryError(
            f"{run} cannot be read: there is none, or none any more; see gptune ls"
        ) from error
    except OSError as error:
        raise RunDirectoryError(f"{run} cannot be read ({error}); check its permissions") from error
    if length < start:
        raise RunDirectoryError(f"{run} has become shorter: another stands in its place; look anew")
    return data
