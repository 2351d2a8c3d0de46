"""``gptune status``, ``log``, ``ls``, ``export``: a real run and broken ones, looked at."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptune.cli import main
from gptune.cli.looking import PAUSED
from gptune.events import Closed, ModeChanged, Observed, Paused
from gptune.run_directory.event_log import EventLog, read_events
from gptune.run_directory.exports import mutations, segments
from gptune.run_directory.names import EVENTS, RUNS, SUMMARY
from gptune.run_directory.summary import summarize, to_plain
from tests.cli.runs import make_run
from tests.logs import moment, opened

VERBS = ["status", "log", "export --mutations", "explain 1", "doctor", "ls"]


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
    monkeypatch.delenv(RUNS, raising=False)


class Says:
    """Runs a command and gives what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object, code: int = 0) -> str:
        assert main([str(word) for word in words]) == code
        printed = self.capsys.readouterr()
        assert ("gptune: " in printed.err) == (code == 2 and not printed.out)
        return printed.err if code == 2 and not printed.out else printed.out


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    return Says(capsys)


def by_hand(directory: Path, *events: Any, close: bool = True) -> EventLog:
    log = EventLog(directory, wall=lambda: {"time": 1e9, "pid": 5})
    for number, event in enumerate([opened(), *events]):
        assert log.append(moment(number, 10 * number), event)
    if close:
        log.close()
    return log


def drop_summary(run: Path) -> None:
    (run / SUMMARY).unlink(missing_ok=True)


# status


def test_status_says_where_a_closed_run_stands(run: Path, says: Says) -> None:
    drop_summary(run)
    text = says("status", run)
    plain = to_plain(summarize(read_events(run)))
    assert "state      closed" in text
    assert "mode       active" in text
    assert "objective  val/loss (min)" in text
    assert "decision   40 at step 120 of 120, late" in text
    assert f"{plain['accepted']} of {plain['judged']} accepted" in text
    assert f"best       {plain['best']['metric']:.4g} at decision" in text
    assert f"opt.lr  {plain['point']['opt.lr']:.4g}" in text


def test_status_as_json_is_the_summary_its_state_and_its_owner(run: Path, says: Says) -> None:
    drop_summary(run)
    told = json.loads(says("--dir", run, "status", "--json"))
    plain = to_plain(summarize(read_events(run)))
    assert told == {**plain, "run": str(run), "state": "closed", "owner": None}


def test_status_reads_the_file_and_not_the_log_when_there_is_one(run: Path, says: Says) -> None:
    plain = to_plain(summarize(read_events(run)))
    (run / SUMMARY).write_text(json.dumps({**plain, "decision": 39}))
    (run / EVENTS).write_text("not a log")
    assert "decision   39 at" in says("status", run)


def test_status_of_a_live_run_names_its_process(tmp_path: Path, says: Says) -> None:
    tuner = make_run(tmp_path / "live", 3, close=False)
    drop_summary(tmp_path / "live")
    assert f"running (process {os.getpid()})" in says("status", tmp_path / "live")
    tuner.close()


def test_status_of_a_run_that_died_says_so(tmp_path: Path, says: Says) -> None:
    by_hand(tmp_path / "dead", Observed(metric=1.0))
    text = says("status", tmp_path / "dead")
    assert "ended without close" in text
    assert "0 of 0 accepted\n" in text
    assert text.splitlines()[-1].split() == ["loss.kl", "1", "-", "-"]
    assert json.loads(says("status", tmp_path / "dead", "--json"))["state"] == "ended"


@pytest.mark.parametrize(
    ("decisions", "said"), [(4, "paused through decision 5"), (None, "paused until resumed")]
)
def test_status_of_a_paused_run_exits_with_3(
    decisions: int | None, said: str, tmp_path: Path, says: Says
) -> None:
    by_hand(tmp_path / "run", Paused(decisions=decisions))
    assert said in says("status", tmp_path / "run", code=PAUSED)
    assert json.loads(says("status", tmp_path / "run", "--json", code=PAUSED))["paused"]


@pytest.mark.parametrize("content", ['{"version": 1}', '{"version": 1, "paused": 0, "mode": 3}'])
def test_where_the_summary_is_not_whole_the_log_is_read(
    content: str, run: Path, says: Says
) -> None:
    (run / SUMMARY).write_text(json.dumps(to_plain(summarize(read_events(run)))))
    whole = says("status", run)
    (run / SUMMARY).write_text(content)
    assert says("status", run) == whole


def test_status_loads_neither_torch_nor_what_reads_events(run: Path) -> None:
    (run / SUMMARY).write_text(json.dumps(to_plain(summarize(read_events(run)))))
    slow = loaded_by(f"status {run}") & {"torch", "numpy", "msgspec", "yaml", "importlib.metadata"}
    assert not slow


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_that_looks_loads_torch(verb: str, run: Path) -> None:
    drop_summary(run)
    assert not loaded_by(f"--dir {run} {verb}") & {"torch", "numpy", "scipy", "botorch", "rich"}


def loaded_by(words: str) -> set[str]:
    code = f"from gptune.cli import main\nmain({words.split()!r})\n"
    code += "import json, sys\nprint()\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


# log


def test_the_log_is_one_line_an_event(run: Path, says: Says) -> None:
    lines = says("log", run).splitlines()
    events = read_events(run)
    assert len(lines) == len(events)
    kinds = [event.event.__struct_config__.tag for event in events]
    assert [line.split()[4] for line in lines] == kinds
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(events) + 1))


def test_the_log_as_json_is_the_file(run: Path, says: Says) -> None:
    assert says("log", run, "--json") == (run / EVENTS).read_text()


def test_kinds_and_the_last_lines_are_chosen(run: Path, says: Says) -> None:
    applied = says("log", run, "--kind", "applied").splitlines()
    assert applied
    assert all(line.split()[4] == "applied" for line in applied)
    assert says("log", run, "--kind", "applied", "--last", 2).splitlines() == applied[-2:]
    both = says("log", run, "--kind", "applied", "closed").splitlines()
    assert both == [*applied, both[-1]]
    assert len(says("log", run, "--last", 10**6).splitlines()) == len(read_events(run))


def test_a_torn_last_line_is_left_out(run: Path, says: Says) -> None:
    whole = (run / EVENTS).read_text()
    (run / EVENTS).write_text(whole[:-30])
    shown = says("log", run, "--json")
    assert shown == whole[: whole[:-1].rfind("\n") + 1]


@pytest.mark.parametrize(
    ("words", "field"),
    [("--kind nonsense", "--kind"), ("--last 0", "--last"), ("--last -1", "--last")],
)
def test_what_makes_no_sense_is_refused(words: str, field: str, run: Path, says: Says) -> None:
    assert f"gptune: {field}: " in says("log", run, *words.split(), code=2)


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Any]:
    children: list[subprocess.Popen[str]] = []

    def follow(*words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "gptune", "log", *map(str, words), "--follow"]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        children.append(child)
        return child

    yield follow
    for child in children:
        child.kill()
        child.communicate()


def read_line(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline()


def test_following_shows_new_lines_and_ends_when_the_run_is_closed(
    tmp_path: Path, follower: Any
) -> None:
    log = by_hand(tmp_path / "run", close=False)
    child = follower(tmp_path / "run")
    assert "opened" in read_line(child)
    log.append(moment(1, 5), ModeChanged(old="active", new="suggest"))
    assert "active -> suggest" in read_line(child)
    log.append(moment(1, 5), Closed(decisions=1))
    log.close()
    rest, _ = child.communicate(timeout=30)
    assert "after 1 decisions" in rest
    assert child.returncode == 0


def test_following_ends_when_the_owner_is_gone(tmp_path: Path, follower: Any) -> None:
    log = by_hand(tmp_path / "run", close=False)
    child = follower(tmp_path / "run", "--kind", "mode")
    log.append(moment(1, 5), ModeChanged(old="a", new="b"))
    assert "a -> b" in read_line(child)
    log.close()
    assert child.communicate(timeout=30)[0] == ""
    assert child.returncode == 0


def test_following_a_run_that_has_ended_shows_it_and_ends(run: Path, says: Says) -> None:
    assert says("log", run, "--follow", "--last", 3) == says("log", run, "--last", 3)


def test_ctrl_c_ends_the_following_without_a_traceback(tmp_path: Path, follower: Any) -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    log = by_hand(tmp_path / "run", close=False)
    child = follower(tmp_path / "run")
    signal.signal(signal.SIGINT, before)
    assert "opened" in read_line(child)
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, complaint = child.communicate(timeout=30)
    assert child.returncode == 130
    assert complaint == "gptune: interrupted\n"
    log.close()


def test_whoever_reads_may_stop_early(run: Path) -> None:
    code = f"{sys.executable} -m gptune log {run} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1
    assert (done.returncode, done.stderr) == (0, "")


# ls


def test_ls_lists_the_runs_the_newest_first_and_a_broken_one_hides_no_other(
    finished: Path, tmp_path: Path, says: Says
) -> None:
    assert says("ls") == "no run under runs\n"
    assert json.loads(says("ls", "--json")) == []
    shutil.copytree(finished, tmp_path / "runs" / "good")
    by_hand(tmp_path / "runs" / "dead", Observed(metric=0.5))
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / EVENTS).write_text("{}\n")
    for age, name in enumerate(["dead", "good", "broken"]):
        when = time.time() - 3600 * age
        os.utime(tmp_path / "runs" / name / EVENTS, (when, when))
    rows = json.loads(says("ls", "--json"))
    assert [(row["run"], row["state"]) for row in rows] == [
        ("dead", "ended"),
        ("good", "closed"),
        ("broken", "broken"),
    ]
    assert rows[1]["decision"] == 40
    assert rows[1]["age"] == pytest.approx(3600, abs=60)
    table = says("ls").splitlines()
    assert table[0].split() == ["run", "state", "mode", "decision", "step", "best", "age"]
    assert table[1].split()[:6] == ["dead", "ended", "active", "1", "10", "0.5"]
    assert table[2].endswith("1 h")
    assert table[3].split()[:3] == ["broken", "broken", "-"]


# export


@pytest.mark.parametrize(("flag", "rows_of"), [("mutations", mutations), ("segments", segments)])
def test_export_writes_the_rows(flag: str, rows_of: Any, run: Path, says: Says) -> None:
    rows = list(rows_of(read_events(run)))
    assert len(rows) > 10
    printed = says("export", run, f"--{flag}")
    assert [json.loads(line) for line in printed.splitlines()] == rows
    assert json.loads(says("export", run, f"--{flag}", "--json")) == rows
    out = run.parent / "rows.jsonl"
    assert says("export", run, f"--{flag}", "--out", out) == f"{len(rows)} rows in {out}\n"
    assert out.read_text() == printed


def test_export_never_writes_over_a_file(run: Path, says: Says) -> None:
    before = (run / EVENTS).read_bytes()
    said = says("export", run, "--mutations", "--out", run / EVENTS, code=2)
    assert "--out: " in said
    assert (run / EVENTS).read_bytes() == before
    assert "--out: " in says("export", run, "--mutations", "--out", run / "no" / "f", code=2)


@pytest.mark.parametrize("words", ["", "--mutations --segments"])
def test_export_needs_exactly_one_kind_of_rows(words: str, run: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["export", str(run), *words.split()])
    assert stop.value.code == 2


# Broken logs and wrong places


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in ("doctor", "ls")])
@pytest.mark.parametrize("content", ["{}\n", "not json\n", "\x00\n", "\n"])
def test_a_broken_log_is_refused_with_its_line(
    verb: str, content: str, tmp_path: Path, says: Says
) -> None:
    (tmp_path / EVENTS).write_text(content)
    assert "events.jsonl, line 1: " in says("--dir", tmp_path, *verb.split(), code=2)


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "ls"])
def test_a_place_without_a_run_is_refused(verb: str, tmp_path: Path, says: Says) -> None:
    place = tmp_path / "missing"
    assert "holds no events.jsonl" in says("--dir", place, *verb.split(), code=2)


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in ("doctor", "ls")])
def test_no_run_at_all_is_refused(verb: str, says: Says) -> None:
    assert "there is none under 'runs'" in says(*verb.split(), code=2)


def test_the_newest_run_is_meant_when_none_is_named(
    finished: Path, tmp_path: Path, says: Says
) -> None:
    shutil.copytree(finished, tmp_path / "runs" / "one")
    assert "runs/one" in says("status")
    assert says("explain", 4).startswith("decision 4 at step 12")
