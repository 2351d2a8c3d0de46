"""Where commands from another terminal arrive: each is done at most once, and answered."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gptune.events import Command, Line, Moment
from gptune.run_directory import control
from gptune.run_directory.control import Answer, Message
from gptune.run_directory.file_system import FileSystem

AGAIN = "was taken before, and is not done again"
UNANSWERED = "a command from outside cannot be taken or answered"


class Desk:
    """Takes commands from a run directory and leaves the answers there.

    Args:
        files: The disk.
        directory: The run directory.
        past: What its log holds already; a command in it is not done again, superseded or not.
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
        events = (line.event for line in past)
        self._done = {event.id for event in events if isinstance(event, Command)}

    def take(self, now: Callable[[], Moment]) -> Iterator[Message]:
        """Take the commands that wait, one after another, to do each before the next is taken.

        What was taken before is answered at once. Never raises for the disk; a command that cannot
        be taken away stops no other.
        """
        try:
            found = control.waiting(self._files, self._directory)
        except OSError as error:
            self._say(f"commands from outside cannot be read or answered ({error})")
            return
        for ident in found:
            message = self._take(ident)
            if message is not None and message.id in self._done:
                # A loss of power, or somebody, may bring back the file of a command that was done.
                self.answer(message, now(), (False, AGAIN))
            elif message is not None:
                self._done.add(message.id)
                yield message

    def answer(self, message: Message, moment: Moment, said: tuple[bool, str]) -> None:
        """Leave the answer to a command: whether it was done, and what came of it."""
        made = Answer(
            id=message.id,
            accepted=said[0],
            message=said[1],
            decision=moment.decision,
            step=moment.step,
        )
        try:
            control.answer(self._files, self._directory, made)
        except OSError as error:
            self._say(f"{UNANSWERED} ({error})")

    def frozen(self) -> str:
        """Say why outside commands are shut out; empty when they are not."""
        return control.frozen(self._files, self._directory)

    def _take(self, ident: str) -> Message | None:
        try:
            return control.take(self._files, self._directory, ident)
        except OSError as error:
            self._say(f"{UNANSWERED} ({error})")
            return None
