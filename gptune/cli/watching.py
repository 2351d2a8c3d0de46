"""``gptune watch``: a run as it trains, drawn anew every second from what it writes."""

import math
import os
import shlex
import shutil
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from gptune.cli.place import add_run, run_of
from gptune.errors import UsageError
from gptune.run_directory.owner import owner_of

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from rich.text import Text

    Commands = _SubParsersAction[ArgumentParser]

EVERY, FASTEST, SLOWEST = 1.0, 0.1, 3600.0  # between two frames [s]
GLANCE = 0.1  # how often the terminal's size is looked at [s]
SIZE = (100, 30)  # where there is no terminal, and COLUMNS and LINES do not say


def add_watching(commands: "Commands") -> None:
    """Add the verb."""
    parser = commands.add_parser(
        "watch",
        help="a run as it trains, drawn on the terminal",
        description="Draws a run while it trains: the metric and what was done about it, every "
        "knob in its range, what is being judged, the last verdicts in words. Ends with the run, "
        "or with Ctrl-C; the run does not notice.",
        epilog="examples: gptune watch runs/digits --every 5; gptune watch --once",
    )
    add_run(parser)
    parser.add_argument("--once", action="store_true", help="print one frame, to a pipe as well")
    parser.add_argument(
        "--every", type=float, default=EVERY, metavar="S", help=f"between two frames [s] ({EVERY})"
    )
    parser.set_defaults(run=watch)


def watch(args: Namespace) -> int:
    """Draw a run until it ends; exit 0 then."""
    if not (math.isfinite(args.every) and FASTEST <= args.every <= SLOWEST):
        raise UsageError(
            f"--every: must lie in [{FASTEST:g}, {SLOWEST:g}] [s], got {args.every!r}; e.g. 1"
        )
    run = run_of(args, args.named)
    if not args.once and not _is_drawable():
        raise UsageError(
            "watch: needs a terminal to draw on; add --once for one frame, or follow the run "
            "with gptune log --follow"
        )
    reader = Reader(run, str(args.named or args.dir or ""))
    if args.once:
        reader.read()
        _print(reader, (_size().columns, None))
    else:
        _follow(reader, args.every)
    return 0


class Reader:
    """Reads on in a run's log, each line once, and draws what it comes to.

    Args:
        run: The run directory.
        spelled: How the command line names it; empty for the newest.
    """

    def __init__(self, run: Path, spelled: str = "") -> None:
        from rich.console import Console

        from gptune.cli.live.glyphs import glyphs_of
        from gptune.cli.live.view import View, skip, take
        from gptune.run_directory.following import follow

        self.run, self.spelled = run, spelled
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.view, self.owner, self.behind = View(), owner_of(run), True
        self._glyphs = glyphs_of(self.console.encoding)
        self._feed = follow(run, View(), take, skip)

    def read(self, limit: float = math.inf) -> None:
        """Read on to the end of the log, but for no longer than a frame takes [s].

        The owner is looked at first, for it writes until it is gone.
        """
        self.owner, end = owner_of(self.run), time.monotonic() + limit
        for seen in self._feed:
            self.view, self.behind = seen.state, seen.behind
            if not seen.behind or time.monotonic() > end:
                return

    def draw(self, size: tuple[int, int | None]) -> "list[Text]":
        """Draw a frame for so many columns and rows."""
        from gptune.cli.live.frame import frame
        from gptune.cli.live.standing import Standing

        where = Standing(
            name=self.run.resolve().name,
            owner=self.owner,
            now=time.time(),
            behind=self.behind,
            spelled=shlex.quote(self.spelled) if self.spelled else "",
        )
        lines, encoding = frame(self.view, where, size, self._glyphs), self.console.encoding
        for line in () if self._glyphs.fine else lines:
            line.plain = line.plain.encode(encoding, "replace").decode(encoding)
        return lines


def _follow(reader: Reader, every: float) -> None:
    """Draw until the run has ended, and leave the last frame on the screen."""
    from rich.console import Group
    from rich.control import Control
    from rich.screen import Screen

    console = reader.console
    signal.signal(signal.SIGTERM, _leave)  # so that the terminal is given back whole
    try:
        with console.screen():
            while True:
                reader.read(every)
                size = _size()
                console.size = size
                console.control(Control.home())
                console.print(Screen(Group(*reader.draw(size))), end="")
                if reader.owner is None and not reader.behind:
                    break
                _wait(0.0 if reader.behind else every, size)
    except KeyboardInterrupt:
        _print_last(reader)
        raise
    _print_last(reader)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _wait(every: float, size: os.terminal_size) -> None:
    """Wait for the next frame; less long if the terminal's size changes."""
    end = time.monotonic() + every
    while (left := end - time.monotonic()) > 0 and _size() == size:
        time.sleep(min(GLANCE, left))


def _print_last(reader: Reader) -> None:
    size = _size()
    _print(reader, (size.columns, max(1, size.lines - 1)))  # the prompt takes a row


def _print(reader: Reader, size: tuple[int, int | None]) -> None:
    """Print a frame as plain rows."""
    for line in reader.draw(size):
        line.rstrip()
        reader.console.print(line, soft_wrap=True)


def _is_drawable() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _size() -> os.terminal_size:
    """Give the terminal's size as it is now, not as COLUMNS had it; without one, as that says."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        size = os.terminal_size((0, 0))
    return size if min(size) > 0 else shutil.get_terminal_size(SIZE)
