"""Where records come from: functions, files that grow, tables; nothing is counted twice."""

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.adjustment.records import Called, JsonLines, Table, as_record, source_of, value_of
from gptune.errors import UsageError


def test_a_function_gives_what_is_new() -> None:
    source = Called(lambda: [True, 0.5, {"success": False, "metric": 2}])
    read = source.read(None)
    assert read.records == ({"success": True}, {"metric": 0.5}, {"success": False, "metric": 2})
    assert read.complaint == ""


def test_a_function_that_raises_is_a_complaint() -> None:
    def collect() -> Any:
        raise ValueError("no connection")

    read = Called(collect).read(7)
    assert (read.records, read.position) == ((), 7)
    assert read.complaint == "collect raised ValueError: no connection"


@given(st.lists(st.integers(0, 3), max_size=8), st.integers(0, 40))
def test_a_file_that_grows_is_read_once_however_it_is_torn(parts: list[int], tear: int) -> None:
    import tempfile

    lines = [json.dumps({"metric": number}) + "\n" for number in range(sum(parts))]
    text, seen, position = "".join(lines).encode(), list[Any](), None
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "records.jsonl"
        source = JsonLines(path)
        assert source.read(None).records == ()
        cuts = sorted({min(tear, len(text)), len(text)})
        for start, end in zip([0, *cuts[:-1]], cuts, strict=True):
            with path.open("ab") as file:
                file.write(text[start:end])
            read = source.read(position)
            position, seen = read.position, [*seen, *read.records]
            assert read.complaint == ""
    assert seen == [{"metric": number} for number in range(sum(parts))]


def test_lines_that_are_no_records_are_counted_and_passed(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"success": true}\nnonsense\n[1]\n{"success": false}\n{"torn"')
    read = JsonLines(path).read(None)
    assert read.records == ({"success": True}, {"success": False})
    assert read.complaint == f"2 lines of {str(path)!r} are no JSON objects"


def test_a_file_that_was_begun_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"metric": 1}\n' * 5)
    position = JsonLines(path).read(None).position
    path.write_text('{"metric": 2}\n')
    assert JsonLines(path).read(position).records == ({"metric": 2},)


def test_a_table_is_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE served (success INTEGER, latency REAL)")
        db.executemany("INSERT INTO served VALUES (?, ?)", [(1, 0.5), (0, 2.0)])
    source = source_of(f"sqlite:///{path}#served")
    first = source.read(None)
    assert first.records == ({"success": 1, "latency": 0.5}, {"success": 0, "latency": 2.0})
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO served VALUES (1, 0.1)")
    assert source.read(first.position).records == ({"success": 1, "latency": 0.1},)
    db.close()
    gone = Table(tmp_path / "not-there.db", "served").read(3)
    assert (gone.records, gone.position) == ((), 3)
    assert "unable to open" in gone.complaint
    assert not (tmp_path / "not-there.db").exists()


@pytest.mark.parametrize("given_", [3, "records.csv", "sqlite:///log.db", "sqlite:///x#a;b"])
def test_what_is_no_source_is_refused(given_: Any) -> None:
    with pytest.raises(UsageError, match=r"collect: must be|table: must be"):
        source_of(given_)


@pytest.mark.parametrize(
    ("record", "name", "value"),
    [
        ({"success": True}, "success", 1.0),
        ({"success": 0}, "success", 0.0),
        ({"metric": "0.5"}, "metric", 0.5),
        ({"metric": 1}, "success", None),
        ({"metric": None}, "metric", None),
    ],
)
def test_numbers_are_read(record: Any, name: str, value: float | None) -> None:
    assert value_of(record, name) == value
    assert math.isnan(value_of({"metric": "low"}, "metric") or 0.0)
    assert as_record(record) is record


def test_a_file_that_was_replaced_is_read_anew_and_deep_nonsense_passed(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"metric": 1}\n')
    position = JsonLines(path).read(None).position
    (tmp_path / "new").write_text("[" * 200_000 + '\n{"metric": 2}\n' * 3)
    (tmp_path / "new").replace(path)
    read = JsonLines(path).read(json.loads(json.dumps(position)))
    assert {"metric": 2} in read.records
    assert "no JSON objects" in read.complaint


def test_a_table_that_was_emptied_is_read_anew_and_odd_bytes_are_passed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    source = Table(path, "served")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE served (success INTEGER, who TEXT)")
        db.executemany("INSERT INTO served VALUES (?, CAST(? AS TEXT))", [(1, b"\xff\xfe")] * 5)
    first = source.read(None)
    assert len(first.records) == 5
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM served")
        db.execute("INSERT INTO served VALUES (0, 'new')")
    assert source.read(first.position).records == ({"success": 0, "who": "new"},)
    db.close()


def test_booleans_of_numpys_are_booleans() -> None:
    assert as_record(np.False_) == {"success": False}
