"""``summary.json`` is read by the standard library, or not at all."""

from pathlib import Path

import pytest

from gptune.run_directory.file_system import Disk
from gptune.run_directory.names import SUMMARY
from gptune.run_directory.summary import Summary, to_plain, write_summary
from gptune.run_directory.summary_file import read_summary


def test_what_was_written_is_read(tmp_path: Path) -> None:
    summary = Summary(decision=4, metric=0.25, versions={"gptune": "1"})
    write_summary(Disk(), tmp_path, summary)
    assert read_summary(tmp_path) == to_plain(summary)


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_summary(tmp_path) is None
    assert read_summary(tmp_path / "missing") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b'{"version": 2}', b"\xff", b"[" * 100_000],
    ids=range(8),
)
def test_what_this_version_did_not_write_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / SUMMARY).write_bytes(content)
    assert read_summary(tmp_path) is None
