"""Where commands from another terminal arrive: each is done at most once, and answered."""

from collections.abc import Callable, Iterable
from pathlib import Path

from gptune.events import Command, Line, Moment
from gptune.run_directory import control
from gptune.run_directory.control import Answer, Message
from gptune.run_directory.file_system import FileSystem

AGAIN = "was taken before, and is not done again"
Obey = Callable[[Message], tuple[bool, str]]


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

    def serve(self, obey: Obey, now: Callable[[], Moment]) -> int:
        """Do every command that waits; gives how many there were. Never raises for the disk.

        Args:
            obey: Does one command, and says whether it was done and what came of it.
            now: Says when.
        """
        try:
            found = control.waiting(self._files, self._directory)
        except OSError as error:
            self._say(f"commands from outside cannot be read or answered ({error})")
            return 0
        return sum(self._serve(ident, obey, now) for ident in found)

    def frozen(self) -> str:
        """Say why outside commands are shut out; empty when they are not."""
        return control.frozen(self._files, self._directory)

    def _serve(self, ident: str, obey: Obey, now: Callable[[], Moment]) -> bool:
        """Do one command; one that cannot be taken away or answered stops no other."""
        try:
            message = control.take(self._files, self._directory, ident)
            if message is not None:
                control.answer(self._files, self._directory, self._do(message, obey, now()))
        except OSError as error:
            self._say(f"a command from outside cannot be taken or answered ({error})")
            return False
        return message is not None

    def _do(self, message: Message, obey: Obey, moment: Moment) -> Answer:
        # A loss of power, or somebody, may bring back the file of a command that was done.
        again = message.id in self._done
        self._done.add(message.id)
        accepted, text = (False, AGAIN) if again else obey(message)
        return Answer(
            id=message.id,
            accepted=accepted,
            message=text,
            decision=moment.decision,
            step=moment.step,
        )
