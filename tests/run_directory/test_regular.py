"""What is opened inside a run directory is a plain file: no link, no pipe, no device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptune.run_directory.regular import open_directory, open_regular

FLAGS = [
    os.O_RDONLY,
    os.O_WRONLY | os.O_APPEND,
    os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    os.O_RDWR | os.O_CREAT,
]


def handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_is_opened_and_not_inherited_by_other_programs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    handle = open_regular(tmp_path / "file", os.O_RDONLY)
    assert os.read(handle, 100) == b"content"
    assert not os.get_inheritable(handle)
    os.close(handle)


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("target", ["file", "nothing", "directory", "link"])
def test_a_link_is_not_followed_and_says_so(flags: int, target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "given").symlink_to(tmp_path / target)
    before = handles()
    with pytest.raises(OSError, match="is a symbolic link"):
        open_regular(tmp_path / "given", flags)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert not (tmp_path / "nothing").exists()
    assert handles() == before


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_what_is_no_file_is_refused_and_never_waited_for(
    kind: str, flags: int, tmp_path: Path
) -> None:
    path = Path(os.devnull) if kind == "device" else tmp_path / "given"
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "directory":
        path.mkdir()
    before = handles()
    with pytest.raises(OSError, match="Errno"):
        open_regular(path, flags)
    assert handles() == before


def test_a_file_that_is_not_there_is_told_from_one_that_may_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(FileNotFoundError), open_directory(tmp_path / "nothing", nested=True):
        pass


def test_a_file_is_found_in_an_open_directory_whatever_takes_its_place(tmp_path: Path) -> None:
    place = tmp_path / "commands"
    place.mkdir()
    (place / "file").write_bytes(b"mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"theirs")
    with open_directory(place, nested=True) as within:
        place.rename(tmp_path / "moved")
        place.symlink_to(tmp_path / "elsewhere")
        handle = open_regular(place / "file", os.O_RDONLY, within)
        assert os.read(handle, 100) == b"mine"
        os.close(handle)


def test_a_directory_inside_a_run_directory_is_no_link_but_a_run_directory_may_be_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with open_directory(tmp_path / "link", nested=False) as handle:
        assert os.path.samestat(os.fstat(handle), (tmp_path / "real").stat())
    with (
        pytest.raises(OSError, match="is a symbolic link"),
        open_directory(tmp_path / "link", nested=True),
    ):
        pass
    with open_directory(tmp_path / "real", nested=True):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), open_directory(tmp_path / "file", nested=True):
        pass


def test_an_open_directory_is_closed_again_whatever_happens(tmp_path: Path) -> None:
    before = handles()
    with pytest.raises(KeyError), open_directory(tmp_path, nested=True):
        raise KeyError
    assert handles() == before


def test_it_needs_the_standard_library_alone() -> None:
    code = "import sys, gptune.run_directory.regular\nprint({'msgspec', 'random'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
