"""Studies in SQLite: one file, many processes of one machine, short transactions.

Written ahead (WAL), so readers never wait; a process that is killed leaves whole transactions. Each
change raises the study's revision, so that what is new is read without reading what is known.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gptune.errors import StorageError
from gptune.records import Scalar
from gptune.study.database import MEMORY, PREFIX, advice, open_file, read_url
from gptune.study.domains import Domain, Domains
from gptune.study.records import StudyRecord, TrialRecord, TrialState
from gptune.study.schema import COLUMNS
from gptune.study.workers import is_alive

# Left to itself SQLite goes through all trials, for it does not know how few of them are open.
OPEN = (
    "trial INDEXED BY trial_open WHERE study = ? AND state = ? AND state IN ('waiting', 'running')"
)
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
        return [_study(row) for row in rows]

    def find(self, name: str) -> StudyRecord | None:
        """Find a study by its name."""
        with self._reading() as db:
            row = db.execute("SELECT * FROM study WHERE name = ?", (name,)).fetchone()
        return None if row is None else _study(row)

    def create(
        self, name: str, direction: str, space: Domains | None, seed: int
    ) -> tuple[StudyRecord, bool]:
        """Make a study, or find the one of that name; says which."""
        with self._writing() as db:
            row = db.execute("SELECT * FROM study WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return _study(row), False
            text = None if space is None else _text(space)
            row = db.execute(
                "INSERT INTO study (name, direction, space, seed, created) VALUES (?, ?, ?, ?, ?) "
                "RETURNING *",
                (name, direction, text, seed, self._clock()),
            ).fetchone()
            return _study(row), True

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
                number = _first(db, study, TrialState.WAITING)
            if number is None:
                if total is not None and _begun(db, study) >= total:
                    return None
                number = _next(db, study)
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

    def enqueue(self, study: int, fixed: Mapping[str, Scalar]) -> TrialRecord:
        """Let a trial wait whose values are given."""
        with self._writing() as db:
            number = _next(db, study)
            db.execute(
                "INSERT INTO trial (study, number, state, revision) VALUES (?, ?, ?, 0)",
                (study, number, TrialState.WAITING),
            )
            return self._change(db, (study, number), "fixed = ?", (_text(fixed),))

    def withdraw(self, trial: tuple[int, int]) -> None:
        """Take a trial that was begun back: the next one to begin is this one, as it was."""
        with self._writing() as db:
            row = db.execute(
                "SELECT attempts, params, fixed FROM trial WHERE study = ? AND number = ?", trial
            ).fetchone()
            is_new = row["attempts"] == 1 and row["params"] == "{}" and row["fixed"] == "{}"
            if is_new and _begun(db, trial[0]) == trial[1] + 1:
                db.execute("DELETE FROM trial WHERE study = ? AND number = ?", trial)
                db.execute(
                    "UPDATE study SET begun = begun - 1, revision = revision + 1 WHERE id = ?",
                    trial[:1],
                )
                return
            changed = "state = ?, worker = '', attempts = attempts - 1"
            _update(db, trial, changed, (TrialState.WAITING,))

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
        values = (_text(params), _text(space)) + (() if memory is None else (_text(memory),))
        with self._writing() as db:
            _update(db, trial, f"params = ?, space = ?{more}", values)

    def report(self, trial: tuple[int, int], step: int, value: float) -> None:
        """Write an intermediate value down; a step that was reported before is replaced."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO report VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value",
                (*trial, step, value),
            )
            _update(db, trial, "state = state", ())

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
            StorageError: If it is not running.
        """
        with self._writing() as db:
            row = db.execute(
                "SELECT state FROM trial WHERE study = ? AND number = ?", trial
            ).fetchone()
            was = "not there" if row is None else row["state"]
            if was != TrialState.RUNNING:
                raise StorageError(
                    f"trial {trial[1]}: is {was}, so nothing can be told of it; tell each once"
                )
            return self._change(
                db,
                trial,
                "state = ?, value = ?, noise = ?, error = ?, ended = ?, worker = ''",
                (state, value, noise, error, self._clock()),
            )

    def changes(self, study: int, since: int) -> Changes:
        """Give what changed after a revision."""
        with self._reading() as db:
            stands = _stands(db, study)
            if stands["revision"] == since:
                return Changes((), since, stands["begun"])
            db.execute("BEGIN")  # one view of all that is read
            try:
                stands = _stands(db, study)
                rows = db.execute(
                    f"SELECT {COLUMNS} FROM trial INDEXED BY trial_revision "
                    "WHERE study = ? AND revision > ? ORDER BY number",
                    (study, since),
                ).fetchall()
                trials = tuple(self._trial(db, study, row) for row in rows)
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
            _update(db, trial, "state = ?, error = ?, ended = ?, worker = ''", changed)
        return None

    def _change(
        self, db: sqlite3.Connection, trial: tuple[int, int], what: str, values: tuple[Any, ...]
    ) -> TrialRecord:
        """Change a trial, and read it with all that it has come to."""
        _update(db, trial, what, values)
        row = db.execute(
            f"SELECT {COLUMNS} FROM trial WHERE study = ? AND number = ?", trial
        ).fetchone()
        return self._trial(db, trial[0], row)

    def _trial(self, db: sqlite3.Connection, study: int, row: sqlite3.Row) -> TrialRecord:
        reports = db.execute(
            "SELECT step, value FROM report WHERE study = ? AND number = ? ORDER BY step",
            (study, row["number"]),
        ).fetchall()
        return TrialRecord(
            number=row["number"],
            state=TrialState(row["state"]),
            params=_plain(row["params"], dict[str, Scalar]),
            space=_plain(row["space"], dict[str, Domain]),
            fixed=_plain(row["fixed"], dict[str, Scalar]),
            value=row["value"],
            noise=row["noise"],
            reports={report["step"]: report["value"] for report in reports},
            error=row["error"],
            attempts=row["attempts"],
            worker=row["worker"],
            begun=row["begun"],
            ended=row["ended"],
            memory=_plain(row["memory"], dict[str, Any]),
        )

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


def _study(row: sqlite3.Row) -> StudyRecord:
    space = None if row["space"] is None else _plain(row["space"], dict[str, Domain])
    return StudyRecord(
        id=row["id"],
        name=row["name"],
        direction=row["direction"],
        space=space,
        seed=row["seed"],
        created=row["created"],
    )


def _update(
    db: sqlite3.Connection, trial: tuple[int, int], what: str, values: tuple[Any, ...]
) -> None:
    """Change a trial, and raise the revision of its study and its own to the next one."""
    revision = db.execute(
        "UPDATE study SET revision = revision + 1 WHERE id = ? RETURNING revision", trial[:1]
    ).fetchone()["revision"]
    db.execute(
        f"UPDATE trial SET {what}, revision = ? WHERE study = ? AND number = ?",
        (*values, revision, *trial),
    )


def _stands(db: sqlite3.Connection, study: int) -> sqlite3.Row:
    row: sqlite3.Row = db.execute(
        "SELECT revision, begun FROM study WHERE id = ?", (study,)
    ).fetchone()
    return row


def _first(db: sqlite3.Connection, study: int, state: TrialState) -> int | None:
    row = db.execute(f"SELECT min(number) AS number FROM {OPEN}", (study, state)).fetchone()
    number: int | None = row["number"]
    return number


def _begun(db: sqlite3.Connection, study: int) -> int:
    number: int = db.execute("SELECT begun FROM study WHERE id = ?", (study,)).fetchone()["begun"]
    return number


def _next(db: sqlite3.Connection, study: int) -> int:
    number: int = db.execute(
        "UPDATE study SET begun = begun + 1 WHERE id = ? RETURNING begun - 1", (study,)
    ).fetchone()[0]
    return number


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _plain(text: str, kind: Any) -> Any:
    return msgspec.json.decode(text, type=kind) if text != "{}" else {}
