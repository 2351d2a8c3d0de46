"""Who owns a run directory: the kernel knows, whatever the file says."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from gptune.run_directory.event_log import EventLog
from gptune.run_directory.names import LOCK
from gptune.run_directory.owner import owner_of

HOLD = """
import sys, time
from pathlib import Path
from gptune.run_directory.event_log import EventLog
log = EventLog(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
PROBE = """
import sys
from pathlib import Path
from gptune.run_directory.owner import owner_of
print("probing", flush=True)
while True:
    owner_of(Path(sys.argv[1]))
"""


def start(code: str, directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(directory)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline()
    return child


def test_a_directory_that_nobody_ever_owned_has_no_owner(tmp_path: Path) -> None:
    assert owner_of(tmp_path) is None
    assert owner_of(tmp_path / "missing") is None
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing behind"


def test_the_owner_is_named_while_it_lives_and_not_a_moment_longer(tmp_path: Path) -> None:
    with start(HOLD, tmp_path) as child:
        assert owner_of(tmp_path) == str(child.pid)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert (tmp_path / LOCK).read_text() == f"{child.pid}\n"
        assert owner_of(tmp_path) is None


def test_this_process_is_an_owner_like_any_other(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert owner_of(tmp_path) == str(os.getpid())
    log.close()
    assert owner_of(tmp_path) is None


def test_an_owner_that_left_no_name_is_unknown_but_there(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    os.truncate(tmp_path / LOCK, 0)
    assert owner_of(tmp_path) == "unknown"
    log.close()


def test_two_that_look_at_once_do_not_take_each_other_for_an_owner(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    with (tmp_path / LOCK).open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert owner_of(tmp_path) is None


def test_whoever_keeps_looking_never_keeps_a_run_from_starting(tmp_path: Path) -> None:
    with start(PROBE, tmp_path) as one, start(PROBE, tmp_path) as two:
        for _ in range(100):
            EventLog(tmp_path).close()
        one.kill()
        two.kill()


def test_looking_needs_the_standard_library_alone(tmp_path: Path) -> None:
    code = "import sys, gptune.run_directory.owner, gptune.run_directory.summary_file\n"
    code += "print('msgspec' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
