"""What an adjustment remembers: frozen, plain data, written whole before each deed."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gptune.adjustment.detection import Alarm
from gptune.adjustment.duel import Duel
from gptune.errors import RunDirectoryError, StateError
from gptune.records import Scalar
from gptune.run_directory.file_system import FileSystem
from gptune.safety.gate import SafetyState

FILE, LOCK = "state.json", "lock"
LONGEST = 2**26  # of that file [bytes]


class Phase(StrEnum):
    """Where an adjustment is."""

    WATCHING = "watching"  # there is none
    TUNING = "tuning"
    COMPARING = "comparing"
    APPLYING = "applying"  # it is about to be called, or was: never again without knowing


class Trigger(StrEnum):
    """Why one was begun."""

    LOW_SUCCESS = "low_success"
    DEGRADED = "degraded"
    PERIOD = "period"
    BY_HAND = "by_hand"


class Order(Struct, frozen=True, kw_only=True):
    """What somebody wants by hand, instead of what is set up.

    Attributes:
        agent_name: What the study is named after.
        algorithm: Whose space is searched, of ``gptune.presets``; else that of the tuning.
        method: bayesian | random | grid.
        n_trials: Trials [trials].
    """

    agent_name: str | None = None
    algorithm: str | None = None
    method: str | None = None
    n_trials: int | None = None


class State(Struct, frozen=True, kw_only=True):
    """All that is known between two polls.

    Attributes:
        number: Adjustments begun so far.
        phase: Where the newest one is.
        trigger: Why it was begun.
        begun: When [s since 1970].
        ended: When the last one ended, or when watching began [s since 1970].
        order: What was wanted by hand.
        running: The parameters in force; ``None``: what ran in the beginning.
        candidate: Those that are to be compared, or applied.
        success: Watches the success rate.
        drift: Watches for a fall below what was usual; ``None`` while that is not known.
        usual: The border of what is usual, larger is better; and values that are to say it.
        reference: Values since the last adjustment, until there are enough.
        duel: The comparison.
        safety: What the gate remembers; its decisions are periods of one cooldown.
        tick: The newest such period.
        position: How far the source was read.
        applied: How often ``apply`` was called.
    """

    version: Literal[1] = 1
    number: int = 0
    phase: Phase = Phase.WATCHING
    trigger: Trigger | None = None
    begun: float = 0.0
    ended: float = 0.0
    order: Order | None = None
    running: dict[str, Scalar] | None = None
    candidate: dict[str, Scalar] | None = None
    success: Alarm
    drift: Alarm | None = None
    usual: float = 0.0
    reference: tuple[float, ...] = ()
    duel: Duel = Duel()
    safety: SafetyState = SafetyState(started=True)
    tick: int = 0
    position: Any = None
    applied: int = 0


def own(files: FileSystem, directory: Path) -> int:
    """Take a directory; the process's end gives it back.

    Raises:
        RunDirectoryError: If another live process has it.
    """
    handle = files.lock(directory / LOCK)
    if handle is None:
        raise RunDirectoryError(
            f"adjustment: another live process adjusts in {str(directory)!r}; stop it, or choose "
            "another directory"
        )
    return handle


def read_state(files: FileSystem, directory: Path) -> State | None:
    """Read the state of a directory; ``None`` if there is none yet.

    Raises:
        StateError: If it cannot be read, or is none of ours.
    """
    path = directory / FILE
    try:
        if FILE not in files.names(directory):
            return None
        data = files.read(path, LONGEST)
        return msgspec.json.decode(data, type=State)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(
            f"adjustment: {str(path)!r} cannot be read ({error}); mend the disk, or move the file "
            "away to begin anew with what is in force"
        ) from error


def write_state(files: FileSystem, directory: Path, state: State) -> None:
    """Write the state; what was there before stays until it is whole.

    Raises:
        OSError: If the disk does not take it.
        StateError: If it could not be read again: nothing is written then.
    """
    try:
        data = msgspec.json.encode(state)
        msgspec.json.decode(data, type=State)
    except (msgspec.MsgspecError, TypeError) as error:
        raise StateError(
            f"adjustment: cannot be kept ({error}); parameters are words, truths and finite "
            "numbers of Python's own"
        ) from error
    files.replace(directory / FILE, data, durable=True)
