"""Keeps ``summary.json`` up to date, for whoever looks at the run from outside."""

from collections.abc import Callable, Iterable
from pathlib import Path

from gptune.events import Line, Rewind
from gptune.online.foreign import foreign_call
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import FileSystem
from gptune.run_directory.summary import Summary, fold, summarize, write_summary


class Bulletin:
    """Folds each line of the log into the summary, and writes it when asked.

    It only ever informs: a failure of its own or of the disk ends it, with one warning.

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
        self._do(lambda: summarize(past))

    def hear(self, line: Line) -> None:
        """Take note of one more line."""
        if isinstance(line.event, Rewind):
            self._do(self._start_over)
        elif self._summary is not None:
            summary = self._summary
            self._do(lambda: fold(summary, line))

    def publish(self) -> None:
        """Write the summary, if there is anything new."""
        summary = self._summary
        if summary is not None and summary.seq > self._shown:
            self._shown = summary.seq
            self._do(lambda: self._write(summary))

    def _start_over(self) -> Summary:
        return summarize(read_events(self._directory, self._files))

    def _write(self, summary: Summary) -> Summary:
        write_summary(self._files, self._directory, summary)
        return summary

    def _do(self, make: Callable[[], Summary]) -> None:
        done = foreign_call(make)
        self._summary = done.value
        if done.error is not None:
            self._say(f"summary.json is not kept any more: {done.message}")
