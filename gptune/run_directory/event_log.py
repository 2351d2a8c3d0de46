"""``events.jsonl``: append, repair, read, rewind. The only owner of the format on the disk.

The file is append-only. A line is written whole or not at all: a torn tail, left by a death in
the middle of a write, is cut off when the log is opened again. A resumed run does not delete what
came after its checkpoint; it appends ``rewind``, and readers of the *effective* log leave the
superseded lines out.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from gptune.errors import EventLogError, RunDirectoryError
from gptune.events import ORIGIN, Envelope, Event, Line, Moment, Rewind, checksum_of, decode, encode
from gptune.run_directory.file_system import Disk, FileSystem
from gptune.run_directory.names import EVENTS, LOCK, RECIPE, SUMMARY

# A new file that a dead owner gave no name; only an owner makes one for these.
LEFT = re.compile(rf"\.({re.escape(SUMMARY)}|{re.escape(RECIPE)})\.[0-9]+\.[0-9a-f]{{8}}")


class Place(msgspec.Struct, frozen=True):
    """A line's number and generation."""

    seq: int
    generation: int


class EventLog:
    """The event log of one run directory, opened for writing by its one owner.

    A failing disk never raises out of `append`: the log counts as failed from then on, appends
    nothing more, and says why in `failure`. What was written before stays readable.

    Args:
        directory: The run directory; made if there is none.
        file_system: The disk.
        wall: Gives all that may differ between two equal runs; called once a line.

    Raises:
        RunDirectoryError: If the directory cannot be written, or a live process owns it.
        EventLogError: If ``events.jsonl`` holds a whole line that gptune did not write.
    """

    def __init__(
        self,
        directory: Path,
        file_system: FileSystem | None = None,
        wall: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.directory = directory
        self.failure: str | None = None
        self._files = file_system or Disk()
        self._wall = wall
        self.listen: Callable[[Line], None] | None = None  # hears of each line that was written
        self._path = directory / EVENTS
        self._lock: int | None = None
        self._handle: int | None = None
        try:
            self._files.make_directory(directory)
            self._lock = self._own()
            lines = self._repair()
            if lines:
                self._clear_away()
            self._handle = self._files.open_append(self._path)
            self._files.sync_directory(directory)
        except OSError as error:
            self.close()
            raise RunDirectoryError(
                f"run directory {str(directory)!r}: cannot be written ({error}); "
                "choose another with run_dir="
            ) from error
        except EventLogError:
            self.close()
            raise
        self.was_used = bool(lines)
        self.checksum = checksum_of(lines[-1]) if lines else ORIGIN
        self.seq, self.generation = _where(lines)

    def append(self, moment: Moment, event: Event, *, durable: bool = False) -> bool:
        """Write one line.

        Args:
            moment: Decision, step and phase.
            event: The event.
            durable: Return only when the line survives a loss of power.

        Returns:
            Whether the line was written. Once ``False``, always ``False``.
        """
        if self.failure is not None or self._handle is None:
            return False
        number = self.seq + 1
        envelope = Envelope(
            seq=number,
            generation=self.generation,
            decision=moment.decision,
            step=moment.step,
            phase=moment.phase,
        )
        wall = dict(self._wall())
        try:
            line = encode(envelope, event, wall, self.checksum)
            self._write(line)
            if durable:
                self._files.sync(self._handle)
        except (OSError, TypeError, ValueError, OverflowError) as error:  # disk, or no plain data
            self.failure = str(error)
            return False
        self.seq, self.checksum = number, checksum_of(line)
        if self.listen is not None:
            self.listen(Line(envelope=envelope, event=event, wall=wall, checksum=self.checksum))
        return True

    def sync(self) -> bool:
        """Let all lines so far survive a loss of power; gives whether they do."""
        if self.failure is None and self._handle is not None:
            try:
                self._files.sync(self._handle)
            except OSError as error:
                self.failure = str(error)
        return self.failure is None

    def holds(self, seq: int, checksum: str) -> bool:
        """Say whether line ``seq`` of this log is the one with that checksum."""
        lines = self._files.read(self._path).split(b"\n")[:-1]
        return 1 <= seq <= len(lines) and checksum_of(lines[seq - 1]) == checksum

    def rewind(self, to: int, moment: Moment) -> bool:
        """Supersede all lines after number ``to``; numbers go on, the generation rises.

        Raises:
            EventLogError: If there is no line ``to``.
        """
        if not 0 <= to <= self.seq:
            raise EventLogError(f"rewind: line {to} does not exist, the last one is {self.seq}")
        self.generation += 1
        return self.append(moment, Rewind(to=to), durable=True)

    def close(self) -> None:
        """Give the directory back; calling it twice is calling it once."""
        handles, self._handle, self._lock = (self._handle, self._lock), None, None
        for handle in handles:
            if handle is not None:
                try:
                    self._files.close(handle)
                except OSError as error:
                    self.failure = self.failure or str(error)

    def _own(self) -> int:
        path = self.directory / LOCK
        handle = self._files.lock(path)
        if handle is None:
            owner = self._files.read(path).decode(errors="replace").strip() or "unknown"
            raise RunDirectoryError(
                f"run directory {str(self.directory)!r}: is owned by the live process {owner}; "
                "close that run first, or choose another run_dir"
            )
        return handle

    def _repair(self) -> list[bytes]:
        """Cut off a torn tail; give the whole lines, each of them checked."""
        data = self._files.read(self._path)
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        check(lines)
        if len(whole) < len(data):
            self._files.truncate(self._path, len(whole))
        return lines

    def _clear_away(self) -> None:
        """Remove what deaths in the middle of a replacement have left."""
        for name in self._files.names(self.directory):
            if LEFT.fullmatch(name):
                with suppress(OSError):  # it is in nobody's way
                    self._files.remove(self.directory / name)

    def _write(self, line: bytes) -> None:
        assert self._handle is not None
        while line:
            taken = self._files.write(self._handle, line)
            if taken <= 0:
                raise OSError("the disk takes no more bytes")
            line = line[taken:]


def check(lines: Iterable[bytes]) -> list[Line]:
    """Read whole lines and check the chain of checksums; unknown kinds are left out.

    Raises:
        EventLogError: Naming the line and what is wrong with it.
    """
    previous, read = ORIGIN, []
    for number, line in enumerate(lines, start=1):
        try:
            entry = decode(line, previous)
            previous = checksum_of(line)
        except EventLogError as error:
            raise EventLogError(f"events.jsonl, line {number}: {error}") from error
        if entry is not None:
            read.append(entry)
    return read


def read_events(directory: Path, file_system: FileSystem | None = None) -> list[Line]:
    """Read all whole lines of a run's log; a torn tail is left out, and left alone.

    Raises:
        EventLogError: If a whole line is not what gptune wrote, or the chain is broken.
    """
    data = (file_system or Disk()).read(directory / EVENTS)
    return check(data.split(b"\n")[:-1])


def read_run(directory: Path, file_system: FileSystem | None = None) -> list[Line]:
    """Read the log of a run that somebody has named.

    Raises:
        EventLogError: If it is broken.
        RunDirectoryError: If it cannot be read.
    """
    try:
        return read_events(directory, file_system)
    except OSError as error:
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: its log cannot be read ({error}); check its "
            "permissions"
        ) from error


def glance(directory: Path, kinds: Collection[str], files: FileSystem) -> list[Line]:
    """Read the lines of some kinds alone, fast: nothing is checked, for the owner wrote it itself.

    Args:
        directory: The run directory.
        kinds: Tags of the kinds of events; with ``rewind`` what is given can be made `effective`.
        files: The disk.
    """
    marks = [f'"kind":"{kind}"'.encode() for kind in kinds]
    lines = files.read(directory / EVENTS).split(b"\n")[:-1]
    found = (decode(line, None) for line in lines if any(mark in line for mark in marks))
    return [line for line in found if line is not None]


def effective(lines: Iterable[Line]) -> list[Line]:
    """Leave out what a later ``rewind`` superseded, and the ``rewind`` lines themselves.

    A rewind may itself go back to a line of a branch that was left before; each line therefore
    knows the one that it follows.
    """
    follows: dict[int, tuple[Line | None, int]] = {0: (None, 0)}  # number -> line, number before
    newest = 0
    for line in lines:
        number, event = line.envelope.seq, line.event
        if isinstance(event, Rewind):
            newest = max(known for known in follows if known <= event.to)
            follows[number] = (None, newest)
        else:
            follows[number] = (line, newest)
        newest = number
    kept: list[Line] = []
    while newest:
        entry, newest = follows[newest]
        kept.extend([entry] if entry is not None else [])
    return kept[::-1]


def _where(lines: list[bytes]) -> tuple[int, int]:
    """Give the last line's number and generation, whatever its kind."""
    if not lines:
        return 0, 0
    last = msgspec.json.decode(lines[-1], type=Place)
    return last.seq, last.generation
