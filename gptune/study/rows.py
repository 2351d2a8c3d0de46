"""The rows of a file of studies: read as records, and changed, inside of a transaction.

SQLite takes a NaN for NULL, which no report may be; so it is kept as a word.
"""

import math
import sqlite3
from typing import Any

import msgspec

from gptune.records import Scalar
from gptune.study.domains import Domain, plain
from gptune.study.records import StudyRecord, TrialRecord, TrialState
from gptune.study.schema import COLUMNS

# Left to itself SQLite goes through all trials, for it does not know how few of them are open.
OPEN = (
    "trial INDEXED BY trial_open WHERE study = ? AND state = ? AND state IN ('waiting', 'running')"
)

NAN = "nan"  # which float() reads


def study_of(row: sqlite3.Row) -> StudyRecord:
    """Read a study."""
    space = None if row["space"] is None else _plain(row["space"], dict[str, Domain])
    return StudyRecord(
        id=row["id"],
        name=row["name"],
        direction=row["direction"],
        space=space,
        seed=row["seed"],
        created=row["created"],
    )


def trial_of(db: sqlite3.Connection, study: int, row: sqlite3.Row) -> TrialRecord:
    """Read a trial with all that it has reported."""
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
        reports={one["step"]: float(one["value"]) for one in reports},
        error=row["error"],
        attempts=row["attempts"],
        worker=row["worker"],
        begun=row["begun"],
        ended=row["ended"],
        memory=_plain(row["memory"], dict[str, Any]),
    )


def read_trial(db: sqlite3.Connection, trial: tuple[int, int]) -> TrialRecord:
    """Read a trial by its study's id and its number."""
    row = db.execute(
        f"SELECT {COLUMNS} FROM trial WHERE study = ? AND number = ?", trial
    ).fetchone()
    return trial_of(db, trial[0], row)


def update(
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


def put_report(db: sqlite3.Connection, trial: tuple[int, int], step: int, value: float) -> None:
    """Write a report down; a step that was reported before is replaced."""
    db.execute(
        "INSERT INTO report VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        (*trial, step, NAN if math.isnan(value) else value),
    )
    update(db, trial, "state = state", ())


def stands_of(db: sqlite3.Connection, study: int) -> sqlite3.Row:
    """Say how far a study is: its revision, and how many numbers are given away."""
    row: sqlite3.Row = db.execute(
        "SELECT revision, begun FROM study WHERE id = ?", (study,)
    ).fetchone()
    return row


def first_open(db: sqlite3.Connection, study: int, state: TrialState) -> int | None:
    """Find the first trial that waits, or runs."""
    row = db.execute(f"SELECT min(number) AS number FROM {OPEN}", (study, state)).fetchone()
    number: int | None = row["number"]
    return number


def begun_of(db: sqlite3.Connection, study: int) -> int:
    """Count the numbers that are given away."""
    number: int = db.execute("SELECT begun FROM study WHERE id = ?", (study,)).fetchone()["begun"]
    return number


def next_number(db: sqlite3.Connection, study: int) -> int:
    """Give the next number away."""
    number: int = db.execute(
        "UPDATE study SET begun = begun + 1 WHERE id = ? RETURNING begun - 1", (study,)
    ).fetchone()[0]
    return number


def text_of(value: object) -> str:
    """Write plain data as text, and scalars of NumPy's as plain ones.

    Raises:
        TypeError: If it holds anything else.
    """
    return msgspec.json.encode(value, enc_hook=_written).decode()


def _written(value: object) -> Scalar:
    made: Scalar = plain(value)
    if not isinstance(made, bool | int | float | str):
        raise TypeError(f"an object of {type(value).__name__} is no plain data")
    return made


def _plain(text: str, kind: Any) -> Any:
    return msgspec.json.decode(text, type=kind) if text != "{}" else {}
