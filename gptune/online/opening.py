"""Opening a run directory: its name, its log, and what is never the same in two equal runs."""

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec.structs import replace

from gptune.configs import Recipe, text
from gptune.errors import RecipeError, RunDirectoryError
from gptune.events import Accepted, Applied, Carried, Intent, Line, Moment, Opened, Proposed
from gptune.online.clock import Clock
from gptune.online.decision import KernelConfig, KernelState, start_point
from gptune.records import Change, Reason
from gptune.run_directory.event_log import EventLog, read_events
from gptune.run_directory.file_system import FileSystem
from gptune.run_directory.names import DEFAULT_RUNS, EVENTS, RECIPE, RUNS
from gptune.version import VERSION

AS_USED = "The recipe of this run, as used."


def open_log(
    run_dir: str | Path | None, clock: Clock, file_system: FileSystem | None, *, resume: bool
) -> EventLog:
    """Open the log of a run directory, new or to be resumed.

    Args:
        run_dir: The directory, or ``None`` for ``runs/<UTC time>-<4 hex>``.
        clock: Tells the time for the log.
        file_system: The disk.
        resume: Whether a used directory is meant.

    Raises:
        RunDirectoryError: If it cannot be written, is owned, or is used and not to be resumed.
    """
    path = default_run_dir(clock) if run_dir is None else Path(run_dir)
    log = EventLog(path, file_system, wall=_wall(path, clock))
    if log.was_used and not resume:
        log.close()
        raise RunDirectoryError(
            f"run directory {str(path)!r}: already holds a run; pass resume=True and call "
            "load_state_dict before the first step, or choose another run_dir"
        )
    return log


def read_past(log: EventLog, file_system: FileSystem) -> list[Line]:
    """Read what earlier processes wrote.

    Raises:
        RunDirectoryError: If the disk does not give it.
    """
    try:
        return read_events(log.directory, file_system) if log.was_used else []
    except OSError as error:
        raise RunDirectoryError(
            f"run directory {str(log.directory)!r}: {EVENTS} cannot be read ({error}); mend the "
            "disk, or choose another with run_dir="
        ) from error


def announce(log: EventLog, config: KernelConfig, moment: Moment, *, seed: int) -> None:
    """Write what a process writes first: all that its decisions depend on.

    Raises:
        RunDirectoryError: If it cannot be written.
    """
    if not log.append(moment, opened(config, seed, resumed=log.was_used), durable=True):
        log.close()
        raise RunDirectoryError(
            f"run directory {str(log.directory)!r}: cannot be written ({log.failure}); "
            "choose another with run_dir="
        )


def carry_over(
    log: EventLog, config: KernelConfig, state: KernelState, moment: Moment, *, seed: int
) -> None:
    """Write down where a run stands that comes from a checkpoint which this log knows nothing of.

    Args:
        log: The log of this directory.
        config: The recipe as given, and the knobs as they were saved.
        state: What the kernel remembers.
        moment: When the checkpoint was made.
        seed: Of all chance.
    """
    safety, point, start = state.safety, state.point, start_point(config)
    carried = Carried(
        mode=state.mode.value,
        overrides=state.overrides,
        rejects=safety.rejects,
        paused=safety.paused,
        paused_until=safety.paused_until,
        quarantined=safety.quarantined,
        pinned=safety.pinned,
    )
    log.append(moment, replace(opened(config, seed, resumed=True), carried=carried))
    changes = tuple(Change(f, start[f], move) for f, move in point.items() if move != start[f])
    if changes:
        names = "+".join(change.family for change in changes)
        ident = f"{moment.decision}:{names}@resumed-{log.seq}"
        values = {
            change.family: config.knobs[change.family].native(change.new) for change in changes
        }
        log.append(moment, Proposed(changes=changes, source="replay"))
        log.append(moment, Intent(id=ident, changes=changes), durable=True)
        log.append(moment, Applied(id=ident, changes=changes, read_back=values), durable=True)
        log.append(moment, Accepted(id=ident, changes=changes, reasons=(Reason.RESUMED,)))


def opened(config: KernelConfig, seed: int, *, resumed: bool) -> Opened:
    """Give the event that names recipe, knobs, seed and versions; again when a knob is added."""
    return Opened(
        recipe=config.recipe.to_dict(),
        seed=seed,
        knobs={family: msgspec.to_builtins(knob) for family, knob in config.knobs.items()},
        resumed=resumed,
        total_steps=config.total_steps,
        versions={"gptune": VERSION, "torch": str(torch.__version__)},
    )


def find_recipe(run_dir: str | Path | None, file_system: FileSystem) -> Recipe | None:
    """Read ``recipe.yaml`` of a run directory; ``None`` if there is none.

    Raises:
        RecipeError: If it cannot be read, or is wrong.
    """
    if run_dir is None:
        return None
    path = Path(run_dir) / RECIPE
    try:
        if RECIPE not in file_system.names(path.parent):
            return None
        data = file_system.read(path, text.LONGEST + 1).decode()
        return Recipe.from_dict(text.parse(data, RECIPE))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe: {str(path)!r} cannot be read ({error}); remove it") from error
    except RecipeError as error:
        raise RecipeError(f"{str(path)!r}: {error}") from error


def is_used(run_dir: str | Path | None, file_system: FileSystem) -> bool:
    """Say whether a run directory holds a log already.

    Raises:
        RunDirectoryError: If it cannot be read.
    """
    try:
        return run_dir is not None and bool(file_system.read(Path(run_dir) / EVENTS, 1))
    except OSError as error:
        raise RunDirectoryError(
            f"run directory {str(run_dir)!r}: {EVENTS} cannot be read ({error}); mend the disk, "
            "or choose another with run_dir="
        ) from error


def keep_recipe(log: EventLog, file_system: FileSystem, recipe: Recipe) -> str:
    """Write ``recipe.yaml`` as used, if there is none; gives a complaint, or nothing."""
    path = log.directory / RECIPE
    try:
        if RECIPE not in file_system.names(log.directory):
            data = text.write(recipe.to_dict(), AS_USED).encode()
            file_system.replace(path, data, durable=True)
    except OSError as error:
        return f"{RECIPE} could not be written ({error})"
    return ""


def default_run_dir(clock: Clock) -> Path:
    """Name a new run directory: ``runs/<UTC time>-<4 hex>``, under ``$GPTUNE_RUNS`` if set."""
    time = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y%m%d-%H%M%S")
    return Path(os.environ.get(RUNS) or DEFAULT_RUNS) / f"{time}-{secrets.token_hex(2)}"


def _wall(path: Path, clock: Clock) -> Callable[[], Mapping[str, Any]]:
    """Give each line its time, and the first one of a process also who wrote it and where."""
    identity: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "run": str(path)}

    def wall() -> Mapping[str, Any]:
        line = {"time": round(clock.now(), 6), **identity}
        identity.clear()
        return line

    return wall
