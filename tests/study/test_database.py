"""The file of studies: what names it, what is never touched, and what its complaints mean."""

import contextlib
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.errors import StorageError
from gptune.foreign import foreign_call
from gptune.study.database import (
    ADVICE,
    HEADER,
    PATIENCE,
    advice,
    connect,
    is_damaged,
    open_file,
    quarantine,
    read_url,
    write_ahead,
)
from gptune.study.schema import SCHEMA, TABLES
from gptune.study.storage import Storage

# --- what names it ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (":memory:", None),
        ("sqlite:///:memory:", None),
        ("study.db", Path("study.db")),
        ("sqlite:///study.db", Path("study.db")),
        ("sqlite:////tmp/study.db", Path("/tmp/study.db")),
        ("/tmp/a b?c#d%20.db", Path("/tmp/a b?c#d%20.db")),
        (Path("a") / "b.db", Path("a/b.db")),
        ("C:study", Path("C:study")),
    ],
)
def test_a_storage_is_named_by_a_path_or_an_url(url: str | Path, wanted: Path | None) -> None:
    assert read_url(url) == wanted


@pytest.mark.parametrize(
    "url",
    ["postgresql://me@host/db", "mysql://host/db", "sqlite://study.db", "redis://", "http://a/b"],
)
def test_another_database_is_refused_by_name(url: str) -> None:
    with pytest.raises(StorageError, match=r"^storage: must be a path, .*not supported") as error:
        read_url(url)
    assert repr(url) in str(error.value)


@pytest.mark.parametrize("url", ["", "sqlite:///", "a\0b", "sqlite:///a\0"])
def test_what_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match=r"^storage: names no file, got "):
        read_url(url)


@pytest.mark.parametrize("url", ["sqlite:///s.db", "sqlite:////tmp/s.db", "postgresql://h/db"])
def test_a_path_that_was_made_of_an_url_is_refused(url: str, tmp_path: Path) -> None:
    """A path has merged the slashes, so that nobody can say any more what was meant."""
    with pytest.raises(StorageError, match=r"^storage: .*pass the URL as text") as error:
        Storage(Path(url))
    assert repr(str(Path(url))) in str(error.value)
    assert read_url(tmp_path / "sqlite:" / "s.db") == tmp_path / "sqlite:" / "s.db"


@given(st.text(min_size=1, max_size=20))
@settings(deadline=None, max_examples=150)
def test_a_path_and_its_url_are_one(text: str) -> None:
    plain = "://" not in text and "\0" not in text and text != ":memory:"
    if plain:
        assert read_url(text) == read_url(f"sqlite:///{text}") == Path(text)


# --- opening it ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["s.db", "a b.db", "a?mode=ro", "a#b", "a%20b", "é.db", "a:b"])
def test_a_new_file_has_the_name_it_was_given(tmp_path: Path, name: str) -> None:
    with closing(connect(tmp_path / name, writes=True)) as db:
        db.execute("CREATE TABLE t (x)")
    assert name in {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / name).read_bytes().startswith(HEADER)
    with closing(connect(tmp_path / name, writes=False)) as db:
        assert db.execute("SELECT count(*) AS n FROM t").fetchone()["n"] == 0


def test_memory_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(connect(None, writes=True)) as db:
        db.execute("CREATE TABLE t (x)")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_may_become_one(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    with closing(open_file(tmp_path / "s.db", writes=True)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_what_was_opened_to_be_read_is_not_written(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "s.db", writes=True)) as db:
        db.execute("CREATE TABLE t (x)")
    with closing(connect(tmp_path / "s.db", writes=False)) as db:
        with pytest.raises(sqlite3.OperationalError) as error:
            db.execute("INSERT INTO t VALUES (1)")
        assert "cannot be written" in advice(error.value)


def test_a_file_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"s\.db': there is no such file"):
        connect(tmp_path / "s.db", writes=False)
    with pytest.raises(StorageError, match=r"s\.db': there is no such file"):
        Storage(tmp_path / "s.db", writes=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"its folder '.*/deep' does not exist; make it"):
        connect(tmp_path / "deep" / "s.db", writes=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writes", [True, False])
def test_a_folder_is_no_file(tmp_path: Path, writes: bool) -> None:
    with pytest.raises(StorageError, match="is no file"):
        connect(tmp_path, writes=writes)


OTHER = [b"\0", b"x", b"import torch\n" * 99, HEADER[:-1], b"SQLite format 2\0", b"\xff" * 5000]


@pytest.mark.parametrize("content", OTHER, ids=range(len(OTHER)))
@pytest.mark.parametrize("writes", [True, False])
def test_a_file_that_is_no_database_is_left_as_it_is(
    tmp_path: Path, content: bytes, writes: bool
) -> None:
    path = tmp_path / "train.py"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"is no SQLite file; nothing was changed\. Move it"):
        Storage(path, writes=writes)
    assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["train.py"]


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=40)
def test_nothing_of_a_damaged_database_is_lost(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "s.db"
    path.write_bytes(HEADER + content)
    with pytest.raises(StorageError, match="is damaged"):
        Storage(path, writes=False)
    assert path.read_bytes() == HEADER + content
    with pytest.raises(StorageError, match=r"was damaged .* and lies in '.*s\.db\.damaged-1' now"):
        Storage(path)
    assert path.with_name("s.db.damaged-1").read_bytes() == HEADER + content
    Storage(path).close()  # a new one


def test_damaged_files_are_moved_aside_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    for number in range(1, 4):
        for end in ("", "-wal", "-shm"):
            (tmp_path / f"s.db{end}").write_text(f"{number}{end}")
        assert quarantine(path) == tmp_path / f"s.db.damaged-{number}"
    found = {one.name: one.read_text() for one in tmp_path.iterdir()}
    assert found == {
        f"s.db.damaged-{number}{end}": f"{number}{end}"
        for number in range(1, 4)
        for end in ("", "-wal", "-shm")
    }


def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE cats (name)")
    before = path.read_bytes()
    for writes in (True, False):
        with pytest.raises(StorageError, match="holds no studies of gptune; choose another"):
            Storage(path, writes=writes)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("cats",)]
    assert len(path.read_bytes()) == len(before)


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize(
    "content",
    ["CREATE TABLE cats (name)", f"PRAGMA user_version = {SCHEMA + 1}", "PRAGMA user_version = 0"],
    ids=["another program's", "a newer version", "none"],
)
def test_a_file_that_is_refused_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, writes: bool
) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute(content)
    opened: list[sqlite3.Connection] = []

    def watched(path: Path | None, *, writes: bool) -> sqlite3.Connection:
        opened.append(connect(path, writes=writes))
        return opened[-1]

    monkeypatch.setattr("gptune.study.database.connect", watched)
    refused = foreign_call(lambda: open_file(tmp_path / "s.db", writes=writes))
    if refused.value is not None:  # an empty file may become one
        refused.value.close()
    assert (refused.error is None) == (content.endswith("= 0") and writes)
    assert refused.error is None or isinstance(refused.error, StorageError)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_file_that_cannot_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.db"
    path.touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"cannot be read \(.*Permission denied"):
        connect(path, writes=True)


# --- folders that nobody may write --------------------------------------------------------

SEALED = ["attempt to write a readonly database", "unable to open database file"]


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Give up the rights of root, who may write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except PermissionError:
        pytest.skip("root may not become somebody else here")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def sealed() -> Iterator[Path]:
    """Give a file of one study, in a folder that can be read and not written."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        storage = Storage(folder / "s.db")
        storage.create("one", "minimize", None, 0)
        storage.close()
        folder.chmod(0o555)
        yield folder / "s.db"
        folder.chmod(0o755)


def test_a_study_is_looked_at_in_a_folder_that_cannot_be_written(sealed: Path) -> None:
    with without_rights():
        viewer = Storage(sealed, writes=False)
        assert [study.name for study in viewer.studies()] == ["one"]
        with pytest.raises(StorageError, match="cannot be written"):
            viewer.create("two", "minimize", None, 0)
        viewer.close()
    assert [one.name for one in sealed.parent.iterdir()] == ["s.db"]


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let SQLite refuse to read, with the words of this list, all that is not immutable."""
    words: list[str] = []

    class Refusing(sqlite3.Connection):
        """A connection that cannot make the files that lie beside a log."""

        def __init__(self, target: str, **rest: Any) -> None:
            super().__init__(target, **rest)
            self.refuses = "immutable=1" not in target

        def execute(self, *given: Any) -> sqlite3.Cursor:
            if self.refuses and given[0].startswith("SELECT"):
                raise sqlite3.OperationalError(words[0])
            return super().execute(*given)

    monkeypatch.setattr("gptune.study.database.sqlite3.connect", Refusing)
    return words


@pytest.mark.parametrize("complaint", SEALED)
def test_what_nobody_changes_is_read_without_a_log(
    complaint: str, refusing: list[str], tmp_path: Path
) -> None:
    made(tmp_path)
    refusing.append(complaint)
    viewer = Storage(tmp_path / "s.db", writes=False)
    assert [study.name for study in viewer.studies()] == ["one"]
    viewer.close()


@pytest.mark.parametrize("complaint", [*SEALED, "disk I/O error"])
def test_what_has_a_log_is_not_read_without_it(
    complaint: str, refusing: list[str], tmp_path: Path
) -> None:
    made(tmp_path)
    refusing.append(complaint)
    with pytest.raises(StorageError, match=re.escape(complaint)):
        Storage(tmp_path / "s.db")  # to write
    if complaint in SEALED:
        (tmp_path / "s.db-wal").touch()
    with pytest.raises(StorageError, match=re.escape(complaint)):
        Storage(tmp_path / "s.db", writes=False)


def made(folder: Path) -> None:
    """Make a file of one study, as SQLite does it."""
    db = sqlite3.dbapi2.Connection(str(folder / "s.db"), isolation_level=None)
    for statement in TABLES.split(";")[:-1]:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA}")
    db.execute("INSERT INTO study (name, direction, seed, created) VALUES ('one', '', 0, 0)")
    db.close()


# --- what its complaints mean -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("database is locked", "another process has held it for 60 s; end that"),
        ("database table is locked", "another process has held it"),
        ("database is busy", "another process has held it"),
        ("attempt to write a readonly database", "cannot be written; mend its permissions"),
        ("database disk image is malformed", "is damaged; restore it from a copy"),
        ("file is not a database", "is damaged"),
        ("database or disk is full", "the disk is full"),
        ("unable to open database file", "cannot be used"),
        ("", "cannot be used"),
    ],
)
def test_a_complaint_is_said_in_the_terms_of_a_user(text: str, said: str) -> None:
    assert advice(sqlite3.OperationalError(text)).startswith(said)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("database disk image is malformed", True),
        ("malformed: row 3 missing from index", True),
        ("file is not a database", True),
        ("database is locked", False),
        ("database or disk is full", False),
        ("unable to open database file", False),
    ],
)
def test_what_is_locked_or_full_is_not_damaged(text: str, wanted: bool) -> None:
    assert is_damaged(sqlite3.DatabaseError(text)) is wanted


def test_every_advice_has_a_complaint() -> None:
    for words, said in ADVICE.items():
        assert advice(sqlite3.DatabaseError(f"so: {words}")) == said


class Busy:
    """A database that is locked for some looks."""

    def __init__(self, looks: int, error: str = "database is locked") -> None:
        self.left, self.error, self.asked = looks, error, list[str]()

    def execute(self, statement: str) -> "Busy":
        self.asked.append(statement)
        self.left -= 1
        if self.left >= 0:
            raise sqlite3.OperationalError(self.error)
        return self

    def fetchone(self) -> tuple[str]:
        return ("wal",)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let time pass by naps alone."""
    taken: list[float] = []
    monkeypatch.setattr("gptune.study.database.time.sleep", taken.append)
    monkeypatch.setattr("gptune.study.database.time.monotonic", lambda: sum(taken))
    return taken


def test_many_that_open_a_new_file_take_turns(naps: list[float]) -> None:
    db = Busy(5)
    write_ahead(db)  # type: ignore[arg-type]
    assert len(naps) == 5
    assert db.asked[-1] == "PRAGMA synchronous = NORMAL"


def test_a_turn_that_never_comes_is_an_error(naps: list[float]) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write_ahead(Busy(10**6))  # type: ignore[arg-type]
    assert PATIENCE - 0.1 < sum(naps) < PATIENCE + 0.1


def test_another_complaint_is_not_waited_for(naps: list[float]) -> None:
    with pytest.raises(sqlite3.OperationalError, match="disk I/O"):
        write_ahead(Busy(9, "disk I/O error"))  # type: ignore[arg-type]
    assert naps == []
