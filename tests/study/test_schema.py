"""The tables are those that the storage reads."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gptune.study.schema import COLUMNS, SCHEMA, TABLES
from gptune.study.storage import Storage


def made() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA foreign_keys = ON")
    for statement in TABLES.split(";")[:-1]:
        db.execute(statement)
    return db


def test_the_tables_are_made_and_hold_what_is_read() -> None:
    with closing(made()) as db:
        rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert {row[0] for row in rows} == {"study", "trial", "report"}
        db.execute(f"SELECT {COLUMNS} FROM trial")
        known = {row[1] for row in db.execute("PRAGMA table_info(trial)")}
        assert known - set(COLUMNS.split(", ")) == {"study", "revision"}


def test_no_statement_of_the_tables_is_left_out() -> None:
    assert not TABLES.split(";")[-1].strip()
    assert all(part.strip().startswith("CREATE ") for part in TABLES.split(";")[:-1])


def test_with_a_study_go_its_trials_and_their_reports() -> None:
    with closing(made()) as db:
        for number in (1, 2):
            db.execute(
                "INSERT INTO study (id, name, direction, seed, created) VALUES (?, ?, '', 0, 0)",
                (number, str(number)),
            )
            db.execute(
                "INSERT INTO trial (study, number, state, revision) VALUES (?, 0, '', 0)", (number,)
            )
            db.execute("INSERT INTO report VALUES (?, 0, 0, 0.5)", (number,))
        db.execute("DELETE FROM study WHERE id = 1")
        assert db.execute("SELECT study FROM trial").fetchall() == [(2,)]
        assert db.execute("SELECT study FROM report").fetchall() == [(2,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO study (name, direction, seed, created) VALUES ('1', '', 0, 0)",
        "INSERT INTO trial (study, number, state, revision) VALUES (1, 0, '', 0)",
        "INSERT INTO trial (study, number, state, revision) VALUES (9, 0, '', 0)",
        "INSERT INTO report VALUES (1, 7, 0, 0.5)",
        "INSERT INTO report VALUES (1, 0, 0, NULL)",
    ],
)
def test_nothing_stands_twice_or_belongs_to_nothing(statement: str) -> None:
    with closing(made()) as db:
        db.execute(
            "INSERT INTO study (id, name, direction, seed, created) VALUES (1, '1', '', 0, 0)"
        )
        db.execute("INSERT INTO trial (study, number, state, revision) VALUES (1, 0, '', 0)")
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(statement)


def test_a_file_says_of_which_version_it_is(tmp_path: Path) -> None:
    Storage(tmp_path / "s.db").close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
