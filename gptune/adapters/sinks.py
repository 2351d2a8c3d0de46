"""Where the moves of a run are shown: for plain loops, `gptune.fit` and Accelerate.

Lightning and the Hugging Face Trainer have loggers of their own, which their callbacks use.

    sinks = [TensorBoard(writer), Csv("metrics.csv")]
    ...
    show(sinks, tuner, tuner.report())

Where several processes train one model, give sinks to one of them.
"""

import csv
import io
import logging
import operator
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from weakref import WeakValueDictionary

from gptune.errors import UsageError
from gptune.foreign import foreign_call
from gptune.online.tuner import Tuner
from gptune.records import Action, Decision
from gptune.run_directory.file_system import Disk, FileSystem

logger = logging.getLogger("gptune")
PREFIX = "gptune/"  # of every name that is shown
STEP = "step"  # the first column

_FAILED: "WeakValueDictionary[int, Sink]" = WeakValueDictionary()  # those that were warned of


@runtime_checkable
class Sink(Protocol):
    """Shows numbers of a run; whatever has this method will do."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show numbers.

        Args:
            step: Optimizer steps so far [steps].
            numbers: Name -> value; NaN and infinities included.
        """
        ...


@runtime_checkable
class Writer(Protocol):
    """What `TensorBoard` needs of a ``SummaryWriter``."""

    def add_scalar(self, name: str, value: float, step: int, /) -> object:
        """Take one number."""
        ...


class TensorBoard:
    """Shows numbers in TensorBoard, through a writer of the user's.

    The writer is never flushed nor closed here: it is the user's.

    Args:
        writer: A ``SummaryWriter`` of ``torch.utils.tensorboard`` or of ``tensorboardX``, or
            whatever has its ``add_scalar(name, value, step)``.

    Raises:
        UsageError: If it is something else.
    """

    def __init__(self, writer: Writer) -> None:
        if isinstance(writer, type) or not isinstance(writer, Writer):
            raise UsageError(
                f"TensorBoard: writer must be a SummaryWriter, got {_named(writer)}; pass one that "
                "you made, torch.utils.tensorboard.SummaryWriter(directory), which needs "
                "pip install 'gptune-torch[tensorboard]'"
            )
        self._writer = writer

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add each number as a scalar."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)


@dataclass(frozen=True, slots=True)
class _Table:
    """What a file holds: the columns beside the step, and the rows, as they stand there."""

    names: tuple[str, ...] = ()
    rows: tuple[tuple[int, Mapping[str, str]], ...] = ()


class Csv:
    """Keeps numbers in a file: a column ``step``, then one a name, and one row a step.

    A name that comes later widens the file; what is not known is empty. A resumed run goes on in
    the same file: its first row takes the place of all rows of that step and later ones, so that
    each step stands there once. Two writes at one step make one row. Only one process may write
    to a file at a time, and a new run needs a new file, or it takes the place of the old one.

    Args:
        path: The file; its directory is made. A link is refused.
        file_system: The disk.

    Raises:
        UsageError: If the file is there and is no such table. It is left as it is.
    """

    def __init__(self, path: str | Path, *, file_system: FileSystem | None = None) -> None:
        if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
            raise UsageError(f"Csv: path must name a file, got {path!r}")
        self._path, self._files = Path(path).absolute(), file_system or Disk()
        self._names: tuple[str, ...] = ()
        self._last: int | None = None  # step of the last row that was written from here
        self._read()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write a row.

        Args:
            step: Optimizer steps so far [steps].
            numbers: Name -> value.

        Raises:
            UsageError: If a number is none, is called ``step``, or the file is no such table.
            OSError: If the disk does not take it.
        """
        step = operator.index(step)
        cells = {name: _cell(name, value) for name, value in numbers.items()}
        last, self._last = self._last, None  # after a failure the file is read again
        if self._continues(last, step, cells):
            self._append(_written([{STEP: str(step), **cells}], self._names))
        else:
            self._rewrite(step, cells, merge=last == step)
        self._last = step

    def _continues(self, last: int | None, step: int, cells: Mapping[str, str]) -> bool:
        known = last is not None and last < step and set(cells) <= set(self._names)
        return known and bool(self._files.read(self._path, 1))  # else somebody has removed it

    def _append(self, data: bytes) -> None:
        handle = self._files.open_append(self._path)
        try:
            while data:
                data = data[self._files.write(handle, data) :]
        finally:
            self._files.close(handle)

    def _rewrite(self, step: int, cells: Mapping[str, str], *, merge: bool) -> None:
        """Write the file anew, whole or not at all: rows before a step, and one of that step."""
        table = self._read()
        same = [row for at, row in table.rows if merge and at == step]
        new = {**(same[-1] if same else {}), **cells}
        names = tuple(dict.fromkeys((*table.names, *new)))
        rows = [(at, row) for at, row in table.rows if at < step] + [(step, new)]
        content = [dict(zip((STEP, *names), (STEP, *names), strict=True))]
        content += [{STEP: str(at), **row} for at, row in rows]
        self._files.replace(self._path, _written(content, names))
        self._names = names

    def _read(self) -> _Table:
        """Read the file; one that is not there, or empty, is an empty table.

        Raises:
            UsageError: If it is something else.
        """
        try:
            text = self._files.read(self._path).decode()
            lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
            return _table(lines, whole=text.endswith("\n")) if text else _Table()
        except (OSError, ValueError, csv.Error) as error:
            raise UsageError(
                f"Csv: {str(self._path)!r} is no table that gptune wrote ({error}); it is left as "
                "it is: name another file"
            ) from error


def numbers_of(tuner: Tuner, decision: Decision | None = None) -> dict[str, float]:
    """Give what can be shown of a run in numbers, each under a name that begins with ``gptune/``.

    Of every knob ``<family>``, the move in force, and ``effective/<family>``, what training used
    last. Of a decision ``decision``, its number; ``objective``, if it was a finite number; and,
    as 1 or 0, whether a change was ``applied``, ``accepted`` or ``rejected``, and whether
    something was ``restored``.

    Args:
        tuner: The Tuner.
        decision: What ``tuner.report`` gave.
    """
    found: dict[str, Any] = {}
    for family, status in tuner.knobs.items():
        found[family] = status.move
        found[f"effective/{family}"] = status.effective
    if decision is not None:
        found |= _told(decision)
    numbers = {name: value for name, value in found.items() if _is_number(value)}
    return {PREFIX + name: float(value) for name, value in numbers.items()}


def show(sinks: Iterable[Sink], tuner: Tuner, decision: Decision) -> None:
    """Give every sink the numbers of a decision: `numbers_of` says which.

    A sink that raises is warned of once, and the others get theirs: training goes on.

    Args:
        sinks: Where to show them.
        tuner: The Tuner.
        decision: What ``tuner.report`` gave.
    """
    write_all(sinks, decision.step, numbers_of(tuner, decision))


def write_all(sinks: Iterable[Sink], step: int, numbers: Mapping[str, float]) -> None:
    """Give numbers to every sink; one that raises is warned of once, and training goes on."""
    for sink in sinks:
        done = foreign_call(partial(_write, sink, step, numbers))
        if done.error is not None and _is_first_failure(sink):
            logger.warning("gptune: %s shows nothing (%s)", type(sink).__name__, done.message)


def check_sinks(sinks: Iterable[Sink]) -> tuple[Sink, ...]:
    """Check that each is a sink.

    Raises:
        UsageError: If one is not.
    """
    listed = isinstance(sinks, Iterable) and not isinstance(sinks, str)
    given = tuple(sinks) if listed else ()
    wrong = [one for one in given if isinstance(one, type) or not isinstance(one, Sink)]
    if wrong or not listed:
        raise UsageError(
            "sinks: must be a list of what has write(step, numbers), such as "
            f"[Csv('metrics.csv'), TensorBoard(writer)], got {_named(wrong[0] if wrong else sinks)}"
        )
    return given


def _write(sink: Sink, step: int, numbers: Mapping[str, float]) -> None:
    sink.write(step, dict(numbers))  # each its own: none can change what another is given


def _is_first_failure(sink: Sink) -> bool:
    if id(sink) in _FAILED:
        return False
    with suppress(TypeError):  # what cannot be referred to weakly is warned of each time
        _FAILED[id(sink)] = sink
    return True


def _told(decision: Decision) -> dict[str, float | None]:
    verdict = decision.verdict
    return {
        "decision": decision.number,
        "objective": decision.metric,
        "applied": float(verdict is Action.APPLIED or bool(decision.opened)),
        "accepted": float(verdict is Action.ACCEPTED),
        "rejected": float(verdict is Action.REJECTED),
        "restored": float(decision.restored),
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named(value: object) -> str:
    return f"{value!r}" if value is None or isinstance(value, str) else f"{type(value).__name__}"


def _cell(name: str, value: float) -> str:
    if name == STEP:
        raise UsageError("Csv: no number may be called 'step', for that is the first column")
    try:
        return repr(float(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"Csv: {name} must be a number, got {value!r}") from error


def _written(rows: Iterable[Mapping[str, str]], names: tuple[str, ...]) -> bytes:
    return "".join(_line([row.get(name, "") for name in (STEP, *names)]) for row in rows).encode()


def _line(cells: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)  # it quotes line breaks that are in its own, "\r\n", alone
    return text.getvalue()[:-2] + "\n"


def _table(lines: list[list[str]], *, whole: bool) -> _Table:
    """Read the lines of a table; of one that is not whole, the last row was never finished.

    Raises:
        ValueError: If they are none.
    """
    header, *rows = lines or [[]]
    if header[:1] != [STEP] or len(set(header)) < len(header):
        raise ValueError(f"its first line is {','.join(header)[:80]!r}, not 'step,...'")
    rows = rows if whole else rows[:-1]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} columns of {len(header)}")
    names = tuple(header[1:])
    read = [(int(row[0]), dict(zip(names, row[1:], strict=True))) for row in rows]
    return _Table(names, tuple(read))
