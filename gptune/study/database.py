"""The file of studies: what names it, how it is opened, and what SQLite's complaints mean."""

import contextlib
import re
import sqlite3
import time
from pathlib import Path

from gptune.errors import StorageError
from gptune.study.schema import SCHEMA, TABLES

MEMORY, PREFIX = ":memory:", "sqlite:///"
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C: is a drive
PATIENCE = 60.0  # how long one waits for another's transaction [s]
SEALED = "mode=ro&immutable=1"  # no locks, and no log
HEADER = b"SQLite format 3\0"
HELD = f"another process has held it for {PATIENCE:g} s; end that, or choose another file"
DAMAGED = "is damaged; restore it from a copy, or begin with another file"
ADVICE = {  # what SQLite's messages hold -> what they mean
    "locked": HELD,
    "busy": HELD,
    "readonly": "cannot be written; mend its permissions, or choose another file",
    "malformed": DAMAGED,
    "not a database": DAMAGED,
    "disk is full": "the disk is full",
}


def read_url(url: str | Path) -> Path | None:
    """Give the path that a storage names; ``None`` for one in memory.

    Raises:
        StorageError: If it names something else than a file, or is a path made of a URL.

    Example:
        >>> read_url("sqlite:///study.db"), read_url(":memory:")
        (PosixPath('study.db'), None)
    """
    text = str(url)
    if isinstance(url, Path) and url.parts[:1] != url.parts and SCHEME.fullmatch(url.parts[0]):
        raise StorageError(
            f"storage: a path cannot hold a URL, for it merges the slashes, got {text!r}; pass the "
            "URL as text, or the absolute path of a file that lies there"
        )
    if text in {MEMORY, PREFIX + MEMORY}:
        return None
    if text.startswith(PREFIX):
        text = text[len(PREFIX) :]
    elif "://" in text:
        raise StorageError(
            f"storage: must be a path, sqlite:///path or :memory:, got {text!r}; other databases "
            "are not supported"
        )
    if not text or "\0" in text:
        raise StorageError(f"storage: names no file, got {str(url)!r}")
    return Path(text)


def open_file(path: Path | None, *, writes: bool) -> sqlite3.Connection:
    """Open a file of studies; a new one is made, and one that is damaged is moved aside.

    A file that is refused is closed again. One that is only looked at, in a folder that cannot be
    written, is taken to be changed by nobody, for its log would lie beside it.

    Raises:
        StorageError: If it is damaged, none of gptune's, or of a newer version.
        sqlite3.Error: Whatever else SQLite says.
    """
    try:
        return _checked(connect(path, writes=writes), path, writes=writes)
    except sqlite3.DatabaseError as error:
        if path is not None and not writes and _is_sealed(path, error):
            return _checked(_connect(f"{path.absolute().as_uri()}?{SEALED}"), path, writes=False)
        if path is None or not writes or not is_damaged(error):
            raise
        aside = quarantine(path)
        raise StorageError(
            f"storage {str(path)!r}: was damaged ({error}), and lies in {str(aside)!r} now; "
            "restore it from a copy, or begin anew"
        ) from error


def _checked(db: sqlite3.Connection, path: Path | None, *, writes: bool) -> sqlite3.Connection:
    with contextlib.ExitStack() as stack:
        stack.callback(db.close)
        _prepare(db, path, writes=writes)
        stack.pop_all()
    return db


def _is_sealed(path: Path, error: sqlite3.Error) -> bool:
    """Say whether SQLite could not make a log to read by, where there is none to be read."""
    is_refused = any(words in str(error) for words in ("readonly", "unable to open"))
    return is_refused and not path.with_name(f"{path.name}-wal").exists()


def _prepare(db: sqlite3.Connection, path: Path | None, *, writes: bool) -> None:
    """Check that a file is one of studies, before anything is written to it."""
    # In this order: who finds tables finds their version too, for both are made at once.
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise StorageError(
            f"storage {str(path)!r}: is of schema version {version}, and this gptune knows "
            f"{SCHEMA}; update gptune, or choose another file"
        )
    if version < SCHEMA and (tables or not writes):
        raise StorageError(f"storage {str(path)!r}: holds no studies of gptune; choose another")
    if not writes:
        return
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {found}")
    if path is not None:
        write_ahead(db)
    if version < SCHEMA:
        _make_tables(db)


def _make_tables(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    # Another process may have been quicker.
    if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
        for statement in TABLES.split(";")[:-1]:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA}")
    db.execute("COMMIT")


def connect(path: Path | None, *, writes: bool) -> sqlite3.Connection:
    """Open a file, or memory.

    Raises:
        StorageError: If there is no such file or folder, or it is no database.
        sqlite3.Error: Whatever else SQLite says.
    """
    if path is not None:
        _check_file(path, writes=writes)
    target = (
        MEMORY if path is None else f"{path.absolute().as_uri()}?mode={'rwc' if writes else 'ro'}"
    )
    return _connect(target)


def _connect(target: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        target, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    return db


def write_ahead(db: sqlite3.Connection) -> None:
    """Switch to a log that is written ahead; many that open a new file at once take turns."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)
    if mode == "wal":
        db.execute(
            "PRAGMA synchronous = NORMAL"
        )  # a loss of power may cost the newest, not the file


def _check_file(path: Path, *, writes: bool) -> None:
    """Put a file that is no database aside, so that nothing of it is lost."""
    if not path.exists():
        if not writes:
            raise StorageError(f"storage {str(path)!r}: there is no such file")
        if not path.parent.is_dir():
            raise StorageError(
                f"storage {str(path)!r}: its folder {str(path.parent)!r} does not exist; make it"
            )
        return
    if not path.is_file():
        raise StorageError(f"storage {str(path)!r}: is no file")
    try:
        with path.open("rb") as file:
            begin = file.read(len(HEADER))
    except OSError as error:
        raise StorageError(f"storage {str(path)!r}: cannot be read ({error})") from error
    if begin in (b"", HEADER):
        return
    raise StorageError(
        f"storage {str(path)!r}: is no SQLite file; nothing was changed. Move it away, or choose "
        "another file"
    )


def is_damaged(error: sqlite3.Error) -> bool:
    """Say whether SQLite cannot make sense of the file."""
    return any(words in str(error) for words in ("malformed", "not a database", "disk image"))


def quarantine(path: Path) -> Path:
    """Move a damaged file aside with all that belongs to it; gives where it is now."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for end in ("-wal", "-shm", ""):
        part = path.with_name(path.name + end)
        if part.exists():
            part.rename(aside.with_name(aside.name + end))
    return aside


def advice(error: sqlite3.Error) -> str:
    """Say in the terms of a user what SQLite complains about, and what to do."""
    text = str(error)
    return next((said for words, said in ADVICE.items() if words in text), "cannot be used")
