"""A log folded while it grows: in bounded memory, however long it is, and right after a rewind."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import Struct

from gptune.events import Line, Rewind
from gptune.run_directory.tail import tail

State = TypeVar("State")
Fold = Callable[[State, Line], State]
CHUNK = 1 << 20  # read at once [bytes]


class Seen(Struct, Generic[State], frozen=True):
    """What a log comes to so far.

    Attributes:
        state: The fold of its lines.
        behind: Whether more lines are known to be there.
    """

    state: State
    behind: bool = False


def follow(
    directory: Path, first: State, fold: Fold[State], skip: Fold[State], *, chunk: int = CHUNK
) -> Iterator[Seen[State]]:
    """Fold a log as far as it goes, each time it is asked; it never ends.

    Every line is read once. A ``rewind`` takes lines back, which folding cannot: then alone the
    log is read again from its beginning.

    Args:
        directory: The run directory.
        first: The state before the first line.
        fold: Takes note of a line that counts.
        skip: Takes note of one that a ``rewind`` superseded, and of the ``rewind`` itself.
        chunk: Read about so much at once [bytes].

    Yields:
        The state, after at most one chunk more; ask again while it is behind.

    Raises:
        EventLogError: If a whole line is not what gptune wrote, or the chain is broken.
        RunDirectoryError: If the log cannot be read.
    """
    rewinds: dict[int, int] = {}  # number of the line -> of the line that it goes back to
    while True:
        state, known = first, len(rewinds)
        superseded = _superseded(rewinds)
        for entries in tail(directory, chunk):
            for line in (entry.line for entry in entries if entry.line is not None):
                number, event = line.envelope.seq, line.event
                if isinstance(event, Rewind):
                    rewinds[number] = event.to
                is_lost = isinstance(event, Rewind) or _holds(superseded, number)
                state = skip(state, line) if is_lost else fold(state, line)
            if not entries and len(rewinds) > known:
                break
            yield Seen(state, behind=bool(entries))


def _superseded(rewinds: dict[int, int]) -> list[tuple[int, int]]:
    """Give the stretches of lines that do not count: after the first number, before the second.

    Going back from the newest line, each ``rewind`` leads to the branch that it continues; what
    lies between is lost.
    """
    lost: list[tuple[int, int]] = []
    here = max(rewinds, default=0)
    while here:
        to = rewinds[here]
        lost.append((to, here))
        here = max((number for number in rewinds if number <= to and number < here), default=0)
    return lost


def _holds(stretches: Iterable[tuple[int, int]], number: int) -> bool:
    return any(after < number < before for after, before in stretches)
