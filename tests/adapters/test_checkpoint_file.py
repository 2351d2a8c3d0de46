"""The file that the reference loop goes on from."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gptune.adapters.checkpoint_file import PARTS, read_checkpoint, write_checkpoint
from gptune.errors import StateError, UsageError

STATE: dict[str, Any] = {**dict.fromkeys(PARTS), "model": {"w": torch.ones(3)}, "epoch": 2}


def test_what_is_written_is_read_back_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "saved.pt"
    write_checkpoint(file, STATE)
    write_checkpoint(file, {**STATE, "epoch": 3})
    read = read_checkpoint(file)
    assert read is not None
    assert read["epoch"] == 3
    assert torch.equal(read["model"]["w"], torch.ones(3))
    assert [path.name for path in file.parent.iterdir()] == ["saved.pt"]


def test_none_is_there_or_none_was_named(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "saved.pt") is None
    with pytest.raises(UsageError, match="needs checkpoint="):
        read_checkpoint(None)


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04K\x01."], ids=str)
def test_what_is_no_checkpoint_is_refused_by_its_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "saved.pt").write_bytes(content)
    with pytest.raises(StateError, match=r"saved\.pt"):
        read_checkpoint(tmp_path / "saved.pt")


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "saved.pt")
    with pytest.raises(StateError, match="is no checkpoint that"):
        read_checkpoint(tmp_path / "saved.pt")


def test_nothing_in_it_is_executed(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harm",))

    torch.save({**STATE, "model": Harm()}, tmp_path / "saved.pt")
    with pytest.raises(StateError, match="cannot be read"):
        read_checkpoint(tmp_path / "saved.pt")
    assert not (tmp_path / "harm").exists()


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "saved.pt"
    write_checkpoint(file, STATE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(file, STATE)
    assert read_checkpoint(file) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["saved.pt"]
