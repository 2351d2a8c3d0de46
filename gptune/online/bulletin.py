"""Keeps ``summary.json`` up to date, for whoever looks at the run from outside."""

from collections.abc import Callable, Iterable
from pathlib import Path

from gptune.events import Line, Rewind
from gptune.foreign import foreign_call
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import FileSystem
from gptune.run_directory.names import SUMMARY
from gptune.run_directory.summary import Summary, fold, summarize, write_summary


class Bulletin:
    """Folds each line of the log into the summary, and writes it when asked.

    It only ever informs. A write that fails is tried again next time; where folding fails, the
    stale file is removed, and whoever looks reads the log instead.

    Args:
        files: The disk.
        directory: The run directory.
        past: What its log holds already.
        say: Warns the user.
    """

    def __init__(
        self,
        files: FileSystem,
        directory: Path,
        past: Iterable[Line],
        say: Callable[[str], None],
    ) -> None:
        self._files, self._directory, self._say = files, directory, say
        self._summary: Summary | None = Summary()
        self._shown = 0
        self._fold(lambda: summarize(past))

    def hear(self, line: Line) -> None:
        """Take note of one more line."""
        if isinstance(line.event, Rewind):
            self._fold(lambda: summarize(read_events(self._directory, self._files)))
        elif self._summary is not None:
            summary = self._summary
            self._fold(lambda: fold(summary, line))

    def publish(self) -> None:
        """Write the summary, if there is anything new."""
        summary = self._summary
        if summary is None or summary.seq <= self._shown:
            return
        done = foreign_call(lambda: write_summary(self._files, self._directory, summary))
        if done.error is None:
            self._shown = summary.seq
        else:
            self._say(f"summary.json cannot be written: {done.message}")

    def _fold(self, make: Callable[[], Summary]) -> None:
        done = foreign_call(make)
        self._summary = done.value
        if done.error is not None:
            self._say(f"summary.json is not kept any more: {done.message}")
            foreign_call(lambda: self._files.remove(self._directory / SUMMARY))
