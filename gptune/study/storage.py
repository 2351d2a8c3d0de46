"""Studies in SQLite: one file, many processes of one machine, short transactions.

Written ahead (WAL), so readers never wait; a process that is killed leaves whole transactions. Each
change raises the study's revision, so that what is new is read without reading what is known.
"""

import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gptune.configs.reading import shown
from gptune.errors import StorageError, StudyError
from gptune.records import Scalar
from gptune.study.database import MEMORY, PREFIX, advice, open_file, read_url
from gptune.study.domains import Domains, is_scalar, plain
from gptune.study.records import StudyRecord, TrialRecord, TrialState
from gptune.study.rows import (
    OPEN,
    begun_of,
    first_open,
    next_number,
    put_report,
    read_trial,
    stands_of,
    study_of,
    text_of,
    trial_of,
    update,
)
from gptune.study.schema import COLUMNS
from gptune.study.workers import is_alive

LARGEST = sys.float_info.max
ATTEMPTS = 5  # a trial whose process died so often has failed


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new.

    Attributes:
        trials: Those that changed, in the order of their numbers.
        revision: The newest one.
        begun: How many numbers are given away; a trial beyond was withdrawn.
    """

    trials: tuple[TrialRecord, ...]
    revision: int
    begun: int


class Storage:
    """The file that studies are kept in; it may be used from several threads.

    Args:
        url: ``sqlite:///path``, a path, or ``:memory:``.
        clock: Gives the time [s since 1970].
        writes: Whether anything will be written; a viewer opens the file read-only.

    Raises:
        StorageError: If the file cannot be opened, is none of gptune's, or is of a newer version.
    """

    def __init__(
        self, url: str | Path, *, clock: Callable[[], float] = time.time, writes: bool = True
    ) -> None:
        self.path = read_url(url)
        self._clock, self._lock, self._owner = clock, threading.RLock(), os.getpid()
        with self._explained():
            self._db = open_file(self.path, writes=writes)

    @property
    def url(self) -> str:
        """What opens it again."""
        return MEMORY if self.path is None else f"{PREFIX}{self.path}"

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    # studies ----------------------------------------------------------------------------------

    def studies(self) -> list[StudyRecord]:
        """List all studies, the oldest first."""
        with self._reading() as db:
            rows = db.execute("SELECT * FROM study ORDER BY id").fetchall()
        return [study_of(row) for row in rows]

    def find(self, name: str) -> StudyRecord | None:
        """Find a study by its name."""
        with self._reading() as db:
            row = db.execute("SELECT * FROM study WHERE name = ?", (name,)).fetchone()
        return None if row is None else study_of(row)

    def create(
        self, name: str, direction: str, space: Domains | None, seed: int
    ) -> tuple[StudyRecord, bool]:
        """Make a study, or find the one of that name; says which."""
        with self._writing() as db:
            row = db.execute("SELECT * FROM study WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return study_of(row), False
            text = None if space is None else text_of(space)
            row = db.execute(
                "INSERT INTO study (name, direction, space, seed, created) VALUES (?, ?, ?, ?, ?) "
                "RETURNING *",
                (name, direction, text, seed, self._clock()),
            ).fetchone()
            return study_of(row), True

    def delete(self, name: str) -> bool:
        """Remove a study with all of its trials; says whether there was one."""
        with self._writing() as db:
            return db.execute("DELETE FROM study WHERE name = ?", (name,)).rowcount > 0

    # trials -----------------------------------------------------------------------------------

    def begin(self, study: int, worker: str, total: int | None = None) -> TrialRecord | None:
        """Begin a trial: one that a dead process has left, one that waits, or a new one.

        Args:
            study: The study's id.
            worker: Who will run it.
            total: Trials that there may be in all; then no new one is begun [trials].
        """
        with self._writing() as db:
            number = self._left(db, study)
            if number is None:
                number = first_open(db, study, TrialState.WAITING)
            if number is None:
                if total is not None and begun_of(db, study) >= total:
                    return None
                number = next_number(db, study)
                db.execute(
                    "INSERT INTO trial (study, number, state, revision) VALUES (?, ?, ?, 0)",
                    (study, number, TrialState.RUNNING),
                )
            else:
                db.execute("DELETE FROM report WHERE study = ? AND number = ?", (study, number))
            return self._change(
                db,
                (study, number),
                "state = ?, worker = ?, begun = ?, attempts = attempts + 1",
                (TrialState.RUNNING, worker, self._clock()),
            )

    def restart(self, trial: tuple[int, int]) -> TrialRecord:
        """Begin a running trial again, by the same worker: its reports are gone, its values stay.

        Raises:
            StorageError: If it is not running.
        """
        with self._writing() as db:
            _check_running(db, trial, "so it cannot be begun again")
            db.execute("DELETE FROM report WHERE study = ? AND number = ?", trial)
            return self._change(db, trial, "begun = ?, attempts = attempts + 1", (self._clock(),))

    def enqueue(self, study: int, fixed: Mapping[str, Scalar]) -> TrialRecord:
        """Let a trial wait whose values are given.

        Raises:
            StudyError: Naming the one that is no plain value.
        """
        values = _read_values(fixed)
        with self._writing() as db:
            number = next_number(db, study)
            db.execute(
                "INSERT INTO trial (study, number, state, revision) VALUES (?, ?, ?, 0)",
                (study, number, TrialState.WAITING),
            )
            return self._change(db, (study, number), "fixed = ?", (text_of(values),))

    def withdraw(self, trial: tuple[int, int]) -> None:
        """Take a trial that was begun back: the next one to begin is this one, as it was."""
        with self._writing() as db:
            row = db.execute(
                "SELECT attempts, params, fixed FROM trial WHERE study = ? AND number = ?", trial
            ).fetchone()
            is_new = row["attempts"] == 1 and row["params"] == "{}" and row["fixed"] == "{}"
            if is_new and begun_of(db, trial[0]) == trial[1] + 1:
                db.execute("DELETE FROM trial WHERE study = ? AND number = ?", trial)
                db.execute(
                    "UPDATE study SET begun = begun - 1, revision = revision + 1 WHERE id = ?",
                    trial[:1],
                )
                return
            changed = "state = ?, worker = '', attempts = attempts - 1"
            update(db, trial, changed, (TrialState.WAITING,))

    def suggest(
        self,
        trial: tuple[int, int],
        params: Mapping[str, Scalar],
        space: Domains,
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what was suggested so far.

        Args:
            trial: The study's id, and the trial's number.
            params: All of its values.
            space: What they were suggested from.
            memory: What the sampler wants to know again; as it was, if ``None``.
        """
        more = "" if memory is None else ", memory = ?"
        values = (text_of(params), text_of(space)) + (() if memory is None else (text_of(memory),))
        with self._writing() as db:
            update(db, trial, f"params = ?, space = ?{more}", values)

    def report(self, trial: tuple[int, int], step: int, value: float) -> None:
        """Write an intermediate value down; a step that was reported before is replaced."""
        with self._writing() as db:
            put_report(db, trial, step, value)

    def finish(
        self,
        trial: tuple[int, int],
        state: TrialState,
        *,
        value: float | None = None,
        noise: float | None = None,
        error: str = "",
    ) -> TrialRecord:
        """Finish a trial, once.

        Raises:
            StorageError: If it is not running, or its value or noise no finite number.
        """
        read = _read_number(trial, "value", value), _read_number(trial, "noise", noise, 0)
        with self._writing() as db:
            _check_running(db, trial, "so nothing can be told of it; tell each once")
            return self._change(
                db,
                trial,
                "state = ?, value = ?, noise = ?, error = ?, ended = ?, worker = ''",
                (state, *read, error, self._clock()),
            )

    def changes(self, study: int, since: int) -> Changes:
        """Give what changed after a revision."""
        with self._reading() as db:
            stands = stands_of(db, study)
            if stands["revision"] == since:
                return Changes((), since, stands["begun"])
            db.execute("BEGIN")  # one view of all that is read
            try:
                stands = stands_of(db, study)
                rows = db.execute(
                    f"SELECT {COLUMNS} FROM trial INDEXED BY trial_revision "
                    "WHERE study = ? AND revision > ? ORDER BY number",
                    (study, since),
                ).fetchall()
                trials = tuple(trial_of(db, study, row) for row in rows)
                return Changes(trials, stands["revision"], stands["begun"])
            finally:
                db.execute("COMMIT")

    # inside -----------------------------------------------------------------------------------

    def _left(self, db: sqlite3.Connection, study: int) -> int | None:
        """Find a trial whose process has died; one that killed too many has failed."""
        rows = db.execute(
            f"SELECT number, worker, attempts FROM {OPEN} AND worker != '' ORDER BY number",
            (study, TrialState.RUNNING),
        ).fetchall()
        for row in rows:
            if is_alive(row["worker"]):
                continue
            if row["attempts"] < ATTEMPTS:
                number: int = row["number"]
                return number
            error = f"its process died {row['attempts']} times"
            changed = (TrialState.FAILED, error, self._clock())
            trial = (study, row["number"])
            update(db, trial, "state = ?, error = ?, ended = ?, worker = ''", changed)
        return None

    def _change(
        self, db: sqlite3.Connection, trial: tuple[int, int], what: str, values: tuple[Any, ...]
    ) -> TrialRecord:
        """Change a trial, and read it with all that it has come to."""
        update(db, trial, what, values)
        return read_trial(db, trial)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            self._check_process()
            yield self._db

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the file for one short transaction, which is made whole or not at all."""
        with self._lock, self._explained():
            self._check_process()
            self._db.execute("BEGIN IMMEDIATE")
            with contextlib.ExitStack() as stack:
                stack.callback(self._db.execute, "ROLLBACK")
                yield self._db
                stack.pop_all()
            self._db.execute("COMMIT")

    def _check_process(self) -> None:
        if os.getpid() != self._owner:
            raise StorageError(
                f"storage {self.url!r}: was opened by process {self._owner}; open it again in "
                "each process"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in the terms of a user what SQLite complains about."""
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"storage {self.url!r}: {advice(error)} ({error})") from error
        except (msgspec.DecodeError, ValueError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                f"storage {self.url!r}: holds what gptune has not written ({error})"
            ) from error


def _check_running(db: sqlite3.Connection, trial: tuple[int, int], so: str) -> None:
    row = db.execute("SELECT state FROM trial WHERE study = ? AND number = ?", trial).fetchone()
    was = "not there" if row is None else row["state"]
    if was != TrialState.RUNNING:
        raise StorageError(f"trial {trial[1]}: is {was}, {so}")


def _read_values(given: object) -> dict[str, Scalar]:
    """Read values that are enqueued."""
    if not isinstance(given, Mapping) or not all(isinstance(n, str) and n for n in given):
        raise StudyError(f"enqueue: must be a mapping of names to values, got {shown(given)}")
    values = {name: plain(value) for name, value in given.items()}
    for name, value in values.items():
        if not is_scalar(value):
            raise StudyError(
                f"enqueue: {name}: must be a finite number, text or a truth value, got "
                f"{shown(value)}; leave it out to let it be suggested"
            )
    return values


def _read_number(
    trial: tuple[int, int], field: str, given: object, least: float = -LARGEST
) -> float | None:
    """Read what a trial came to."""
    if given is None:
        return None
    value = plain(given)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and least <= value <= LARGEST):
        bound = "" if least else " >= 0"
        raise StorageError(
            f"trial {trial[1]}: {field} must be a finite number{bound}, got {shown(given)}"
        )
    return float(value)
