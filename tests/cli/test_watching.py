"""``gptune watch``: a real run in one process, drawn in another; once in a pipe; and to its end."""

import fcntl
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gptune.cli import INTERRUPTED, main
from gptune.cli.watching import SIZE, Reader, _print, _size
from gptune.events import Closed, Observed
from gptune.run_directory.event_log import EventLog
from gptune.run_directory.names import EVENTS, RUNS
from tests.cli.live.histories import HOSTILE, opened_hostile
from tests.cli.runs import make_run
from tests.logs import moment, opened

WATCH = [sys.executable, "-m", "gptune", "watch"]
INTO, OUT_OF = b"\x1b[?1049h", b"\x1b[?1049l"  # the alternate screen
WAIT = 60.0  # for what a slow machine does [s]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    make_run(run)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (RUNS, "COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYTHONUTF8", "1")
    monkeypatch.setenv("TERM", "xterm-256color")


def once(run: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["watch", str(run), "--once", *words]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


class Screen:
    """``gptune watch`` on a terminal of its own."""

    def __init__(self, *words: str, size: tuple[int, int] = (100, 30)) -> None:
        self.far, near = os.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(
            [*WATCH, *words], stdin=near, stdout=near, stderr=near, start_new_session=True
        )
        os.close(near)
        self.seen = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def until(self, holds: Callable[[bytes], bool]) -> bytes:
        """Read until something is seen; gives all that was read for it."""
        start, end = len(self.seen), time.monotonic() + WAIT
        while not holds(self.seen[start:]):
            assert time.monotonic() < end, self.seen[-3000:]
            if not self._read():
                break
        return self.seen[start:]

    def end(self) -> tuple[int, str]:
        """Wait for the end; gives the exit code and what is left on the screen."""
        while self._read():
            pass
        code = self.process.wait(WAIT)
        return code, self.seen.rpartition(OUT_OF)[2].decode()

    def _read(self) -> bool:
        if not select.select([self.far], [], [], WAIT)[0]:
            return False
        try:
            data = os.read(self.far, 1 << 16)
        except OSError:  # the other side is closed
            return False
        self.seen += data
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.far)


@pytest.fixture
def screens() -> Iterator[Callable[..., Screen]]:
    made: list[Screen] = []

    def make(*words: str, **chosen: tuple[int, int]) -> Screen:
        made.append(Screen(*words, **chosen))
        return made[-1]

    yield make
    for screen in made:
        screen.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[EventLog]:
    """A log that this process owns: a run that goes on."""
    log = EventLog(tmp_path / "live", wall=lambda: {"time": time.time(), "pid": os.getpid()})
    assert log.append(moment(), opened())
    yield log
    log.close()


def report(log: EventLog, number: int, metric: float = 0.5) -> None:
    assert log.append(moment(number, 10 * number), Observed(metric=metric))


def lines_of(text: str) -> list[str]:
    return text.replace("\r", "").split("\n")


# once


@pytest.mark.parametrize("columns", [20, 60, 100, 200])
def test_one_frame_is_printed_to_a_pipe_without_control_sequences(
    columns: int, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = once(run, capsys)
    assert all(line.isprintable() and len(line) <= columns for line in text.splitlines())
    assert "val/loss" in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_without_a_terminal_and_without_columns_there_is_a_usual_width(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert max(map(len, once(run, capsys).splitlines())) <= SIZE[0]
    assert _size().columns > 0


def test_in_a_real_pipe_and_without_torch(run: Path) -> None:
    code = f"from gptune.cli import main\nassert main(['watch', {str(run)!r}, '--once']) == 0\n"
    code += "import json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.rstrip().rpartition("\n")
    assert not {"torch", "numpy", "scipy", "botorch"} & set(json.loads(loaded))
    assert "\x1b" not in text
    assert "closed" in text
    assert done.stderr == ""


def test_what_a_stream_cannot_write_is_replaced(run: Path) -> None:
    words = [*WATCH, str(run), "--once"]
    env = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, check=True, env=env)
    assert done.stdout.isascii()
    assert b"val/loss" in done.stdout


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_commands_the_terminal(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = EventLog(tmp_path / "run")
    if log.append(moment(), opened_hostile(name)):  # no log can hold a lone surrogate
        report(log, 1)
        assert "".join(once(tmp_path / "run", capsys).split("\n")).isprintable()
    log.close()


def test_a_run_without_a_decision_and_one_that_was_killed_are_told_so(
    live: EventLog, capsys: pytest.CaptureFixture[str]
) -> None:
    text = once(live.directory, capsys)
    assert "nothing reported yet" in text
    assert f"running, process {os.getpid()}" in text
    live.close()
    assert "ended without close" in once(live.directory, capsys)


def test_a_log_that_went_back_is_drawn_as_it_counts(
    live: EventLog, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1, 6):
        report(live, number)
    assert live.rewind(3, moment(2, 20))
    text = once(live.directory, capsys)
    assert "decision 2" in text
    assert "step 20" in text


def test_what_is_wrong_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "needs a terminal" in refused(capsys, "watch", str(run))
    assert "holds no events.jsonl" in refused(capsys, "watch", str(tmp_path), "--once")
    for every in ("0", "nan", "inf", "-1", "1e9"):
        assert "--every: must lie in" in refused(capsys, "watch", str(run), f"--every={every}")
    lines = (run / EVENTS).read_text().splitlines()
    (run / EVENTS).write_text("\n".join([*lines[:3], *lines[4:]]) + "\n")
    assert "line 4" in once(run, capsys, code=2)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    return capsys.readouterr().err


# on a terminal


def test_a_run_that_has_ended_is_drawn_and_stays_on_the_screen(
    run: Path, screens: Callable[..., Screen]
) -> None:
    screen = screens(str(run), size=(80, 24))
    code, left = screen.end()
    assert code == 0
    assert INTO in screen.seen
    assert "closed" in left
    assert len(lines_of(left)) <= 24
    assert b"\x1b[?25h" in screen.seen, "the cursor is shown again"


def test_a_run_is_followed_through_a_change_of_size_to_its_end(
    live: EventLog, screens: Callable[..., Screen]
) -> None:
    report(live, 1)
    screen = screens(str(live.directory), "--every", "0.1")
    screen.until(lambda seen: b"decision 1" in seen)
    report(live, 2, 0.25)
    screen.until(lambda seen: b"decision 2" in seen)
    for columns, rows in ((30, 8), (7, 3), (1, 1), (150, 50)):
        screen.resize(columns, rows)
        drawn = screen.until(lambda seen: seen.count(b"\x1b[H") >= 4)
        last = drawn.split(b"\x1b[H")[-2]
        assert last.count(b"\n") == rows - 1
    live.append(moment(2, 20), Closed(decisions=2))
    live.close()
    code, left = screen.end()
    assert code == 0
    assert "closed" in left
    assert "decision 2" in left


def test_a_real_run_in_another_process_is_watched_to_its_end(
    tmp_path: Path, screens: Callable[..., Screen]
) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom gptune import Tuner\n"
        "from tests.training import Training, run_decisions\n"
        "training = Training()\n"
        "tuner = Tuner(training.optimizer, run_dir=Path(sys.argv[1]), total_steps=60, seed=1)\n"
        "for n in range(20):\n"
        "    run_decisions(training, tuner, [1 / (n + 3)])\n"
        "    time.sleep(0.05)\n"
        "tuner.close()\n"
    )
    made = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "real")])
    end = time.monotonic() + WAIT
    while not (tmp_path / "real" / EVENTS).exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    screen = screens(str(tmp_path / "real"), "--every", "0.1")
    exit_code, left = screen.end()
    assert made.wait(WAIT) == 0
    assert exit_code == 0
    assert b"running" in screen.seen
    assert "closed" in left
    assert "decision 20" in left


def test_ctrl_c_leaves_the_frame_and_says_what_follow_says(
    live: EventLog, screens: Callable[..., Screen]
) -> None:
    report(live, 1)
    screen = screens(str(live.directory))
    screen.until(lambda seen: b"decision 1" in seen)
    screen.process.send_signal(signal.SIGINT)
    code, left = screen.end()
    assert code == INTERRUPTED
    assert "decision 1" in left
    assert "gptune: interrupted" in left


def test_when_it_is_told_to_end_the_terminal_is_given_back_whole(
    live: EventLog, screens: Callable[..., Screen]
) -> None:
    report(live, 1)
    screen = screens(str(live.directory))
    screen.until(lambda seen: b"decision 1" in seen)
    screen.process.send_signal(signal.SIGTERM)
    assert screen.end()[0] == 128 + signal.SIGTERM
    assert screen.seen.rstrip().endswith(OUT_OF + b"\x1b[?25h")


def test_a_run_that_is_removed_while_it_is_watched_is_said_to_be_gone(
    live: EventLog, screens: Callable[..., Screen]
) -> None:
    report(live, 1)
    screen = screens(str(live.directory), "--every", "0.1")
    screen.until(lambda seen: b"decision 1" in seen)
    shutil.rmtree(live.directory)
    code, left = screen.end()
    assert code == 2
    assert "there is none, or none any more" in " ".join(left.split())


def test_a_dumb_terminal_is_not_drawn_on(
    run: Path, screens: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    code, left = screens(str(run)).end()
    assert code == 2
    assert "needs a terminal" in left


def test_while_a_long_log_is_read_frames_are_drawn_and_say_so(
    live: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptune.run_directory.following.follow.__kwdefaults__", {"chunk": 100})
    for number in range(1, 6):
        report(live, number)
    reader = Reader(live.directory)
    reader.read(0.0)
    assert reader.behind
    assert "reading the log" in reader.draw((100, 30))[0].plain
    reader.read()
    assert not reader.behind
    assert "running" in reader.draw((100, 30))[0].plain


def test_no_line_is_read_twice(live: EventLog) -> None:
    reader = Reader(live.directory)
    reader.read()
    before = reader.view.summary.counts
    report(live, 1)
    reader.read()
    reader.read()
    assert reader.view.summary.counts == {**before, "observed": 1}
    _print(reader, (40, 5))
