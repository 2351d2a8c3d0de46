"""Sinks: each step once with the newest values, whatever dies; none of them stops a training."""

import csv
import gc
import io
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import SGD
from torch.utils.tensorboard import SummaryWriter

from gptune import Categorical, Decision, Float, Tuner, value_actuators
from gptune.adapters import sinks as room
from gptune.adapters.sinks import Csv, Sink, TensorBoard, check_sinks, numbers_of, show, write_all
from gptune.errors import UsageError
from gptune.records import Action, Change
from tests.adapters.framed import RECIPE
from tests.fakes import Death, Fault, MemoryDisk

FILE = Path("/somewhere/metrics.csv")
Row = tuple[int, dict[str, str]]
DECISION = Decision(number=3, step=70, verdict=Action.OBSERVED, metric=0.5)


class Kept:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Mapping[str, float]]] = []

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        self.rows.append((step, numbers))


class Broken:
    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        numbers.clear()  # type: ignore[attr-defined]
        raise ConnectionError("nobody is there")


class BrokenSlots:
    __slots__ = ()  # so that nothing can refer to it weakly

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        raise ConnectionError


# a table --------------------------------------------------------------------------------------


def read_back(data: bytes) -> list[Row]:
    """Read a table as anybody would; a last line that was never finished is none."""
    text = data.decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if not text:
        return []
    header, *rows = rows if text.endswith("\n") else rows[:-1]
    assert header[0] == "step"
    assert len(set(header)) == len(header)
    assert all(len(row) == len(header) for row in rows)
    pairs = [(int(row[0]), zip(header[1:], row[1:], strict=True)) for row in rows]
    return [(step, {name: cell for name, cell in row if cell}) for step, row in pairs]


def expected(rows: list[Row], last: int | None, step: int, numbers: dict[str, float]) -> list[Row]:
    """Say what a table holds after a write."""
    new = {name: repr(value) for name, value in numbers.items()}
    before = [row for row in rows if row[0] < step]
    same = dict(rows).get(step, {}) if last == step else {}
    return [*before, (step, {**same, **new})]


def called(name: str) -> bool:
    return name != "step"


few = st.sampled_from(["val/loss", "a,b", 'a "quoted" one', "gptune/opt.lr", ""])
names = few | st.text(st.characters(exclude_categories=["Cs"]), max_size=4).filter(called)
steps = st.integers(0, 12) | st.integers(-(2**70), 2**70)
rows_of = st.tuples(steps, st.dictionaries(names, st.floats(), max_size=4))
processes = st.lists(st.lists(rows_of, max_size=6), min_size=1, max_size=4)


@given(processes)
def test_however_often_a_run_is_resumed_each_step_stands_there_once_and_the_newest_counts(
    written: list[list[tuple[int, dict[str, float]]]],
) -> None:
    disk, model = MemoryDisk(), list[Row]()
    for process in written:
        sink, last = Csv(FILE, file_system=disk), None
        for step, numbers in process:
            sink.write(step, numbers)
            model, last = expected(model, last, step, numbers), step
            assert read_back(disk.files[FILE]) == model
            assert [step for step, _ in model] == sorted({step for step, _ in model})


@given(processes, st.lists(st.tuples(st.integers(1, 40), st.sampled_from(Fault)), max_size=4))
def test_whatever_the_disk_does_the_table_is_that_before_or_that_after_the_write(
    written: list[list[tuple[int, dict[str, float]]]], faults: list[tuple[int, Fault]]
) -> None:
    disk, model = MemoryDisk(), list[Row]()
    for process in written:
        sink, last = Csv(FILE, file_system=disk), None
        for nth, fault in faults:
            disk.break_any(nth, fault)
        for step, numbers in process:
            after = expected(model, last, step, numbers)
            try:
                sink.write(step, numbers)
                model, last = after, step
            except (OSError, UsageError, Death) as error:
                now = read_back(disk.files.get(FILE, b""))
                assert now in (model, after)
                model, last = now, None
                if isinstance(error, Death):
                    break
            assert read_back(disk.files.get(FILE, b"")) == model
        disk.die()
        disk.repair()


def test_a_table_is_made_with_its_directory_and_grows_by_lines_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "metrics.csv"
    sink = Csv(file)
    assert not file.parent.exists(), "nothing is made before there is something to write"
    sink.write(1, {"train/loss": 1.5, "val/loss": math.nan})
    place = file.stat().st_ino
    sink.write(2, {"val/loss": 2})
    assert file.read_text() == "step,train/loss,val/loss\n1,1.5,nan\n2,,2.0\n"
    assert file.stat().st_ino == place
    sink.write(3, {"gptune/opt.lr": math.inf})
    assert file.read_text() == (
        "step,train/loss,val/loss,gptune/opt.lr\n1,1.5,nan,\n2,,2.0,\n3,,,inf\n"
    )
    assert list(file.parent.iterdir()) == [file]


def test_two_writes_at_one_step_are_one_row(tmp_path: Path) -> None:
    sink = Csv(tmp_path / "metrics.csv")
    sink.write(1, {"a": 1.0, "b": 1.0})
    sink.write(1, {"b": 2.0, "c": 3.0})
    assert (tmp_path / "metrics.csv").read_text() == "step,a,b,c\n1,1.0,2.0,3.0\n"


def test_a_resumed_run_keeps_the_cells_of_others_as_they_stand_there(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("step,note,a\r\n1,by hand,1e0\r\n\r\n2,,2\r\n3,,3\r\n")
    Csv(file).write(3, {"a": 4.0})
    assert file.read_text() == "step,note,a\n1,by hand,1e0\n2,,2\n3,,4.0\n"


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_row_that_a_killed_process_left_half_written_is_dropped(cut: int, tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    sink = Csv(file)
    sink.write(1, {"a": 1.0})
    sink.write(2, {"a": 2.5})
    file.write_bytes(file.read_bytes()[:-cut])
    Csv(file).write(9, {"a": 9.0})
    assert file.read_text() == "step,a\n1,1.0\n9,9.0\n"


def test_a_table_that_somebody_removes_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    sink = Csv(file)
    sink.write(1, {"a": 1.0})
    file.unlink()
    sink.write(2, {"a": 2.0})
    assert file.read_text() == "step,a\n2,2.0\n"


def test_a_path_means_the_same_after_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sink = Csv("metrics.csv")
    monkeypatch.chdir("/")
    sink.write(1, {})
    assert (tmp_path / "metrics.csv").read_text() == "step\n1\n"


@pytest.mark.parametrize(
    "content",
    [
        b"epoch,step\n1,1\n",
        b"my notes",
        b"\n",
        b"step;a\n1;2\n",
        b"step,a\n1,2,3\n",
        b"step,a\n1.5,2\n",
        b"step,a\nx,2\n",
        b"step,a,a\n1,2,3\n",
        b"step,\xff\n",
        b"\xef\xbb\xbfstep,a\n",
        b"step,a\n1," + b"9" * 200_000 + b"\n",
    ],
)
def test_a_file_that_is_no_such_table_is_refused_and_left_as_it_is(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "metrics.csv"
    sink = Csv(file)
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"is no table that gptune wrote .*name another file"):
        Csv(file)
    with pytest.raises(UsageError, match="is left as it is"):
        sink.write(1, {"a": 1.0})
    assert file.read_bytes() == content


def test_links_and_directories_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "link", tmp_path):
        with pytest.raises(UsageError, match="name another file"):
            Csv(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("path", [None, "", 3, "a\0b"])
def test_what_names_no_file_is_refused(path: Any) -> None:
    with pytest.raises(UsageError, match="path must name a file"):
        Csv(path)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"step": 1.0}, "no number may be called 'step'"),
        ({"a": "much"}, "a must be a number, got 'much'"),
        ({"a": None}, "a must be a number, got None"),
        ({"a": [1.0]}, "a must be a number"),
        ({"a": 10**400}, "a must be a number"),
    ],
)
def test_a_wrong_number_is_named_and_the_table_stays(
    numbers: dict[str, Any], message: str, tmp_path: Path
) -> None:
    sink = Csv(tmp_path / "metrics.csv")
    sink.write(1, {"a": 1.0})
    with pytest.raises(UsageError, match=message):
        sink.write(2, numbers)
    one_element: Any = torch.tensor(3.0)
    sink.write(3, {"a": one_element})
    assert (tmp_path / "metrics.csv").read_text() == "step,a\n1,1.0\n3,3.0\n"


# TensorBoard ----------------------------------------------------------------------------------


def test_the_users_writer_gets_every_number_and_stays_open(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        sink = TensorBoard(writer)
        sink.write(5, {"val/loss": 0.25, "gptune/opt.lr": math.nan})
        sink.write(10, {"val/loss": math.inf})
        writer.add_scalar("mine", 1.0, 10)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"val/loss", "gptune/opt.lr", "mine"}
    assert [(e.step, e.value) for e in events.Scalars("val/loss")] == [(5, 0.25), (10, math.inf)]
    (move,) = events.Scalars("gptune/opt.lr")
    assert (move.step, math.isnan(move.value)) == (5, True)


@pytest.mark.parametrize("writer", [None, "runs/here", 3, SummaryWriter, Path("runs")])
def test_what_is_no_writer_is_refused_with_what_to_pass(writer: Any) -> None:
    with pytest.raises(UsageError, match=r"pip install 'gptune-torch\[tensorboard\]'"):
        TensorBoard(writer)


# a decision -----------------------------------------------------------------------------------


def tuner_in(tmp_path: Path, **chosen: Any) -> Tuner:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    return Tuner(optimizer, **{"mode": "observe", "run_dir": tmp_path / "run", **chosen})


def test_a_decision_is_shown_in_numbers(tmp_path: Path) -> None:
    kept, optimizer = Kept(), SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    with Tuner(optimizer, mode="observe", run_dir=tmp_path / "run") as tuner:
        assert numbers_of(tuner) == {"gptune/opt.lr": 1.0}, "no step has used a rate yet"
        optimizer.step()
        tuner.step()
        decision = tuner.report({"val/loss": 0.5})
        show([kept, Csv(tmp_path / "metrics.csv")], tuner, decision)
        assert numbers_of(tuner) == {"gptune/opt.lr": 1.0, "gptune/effective/opt.lr": 0.1}
    assert kept.rows == [
        (
            1,
            {
                "gptune/opt.lr": 1.0,
                "gptune/effective/opt.lr": 0.1,
                "gptune/decision": 1.0,
                "gptune/objective": 0.5,
                "gptune/applied": 0.0,
                "gptune/accepted": 0.0,
                "gptune/rejected": 0.0,
                "gptune/restored": 0.0,
            },
        )
    ]
    ((step, row),) = read_back((tmp_path / "metrics.csv").read_bytes())
    assert (step, row["gptune/objective"], row["gptune/decision"]) == (1, "0.5", "1.0")


@pytest.mark.parametrize(
    ("made", "true"),
    [
        ({"verdict": Action.APPLIED}, {"applied"}),
        ({"verdict": Action.ACCEPTED, "opened": (Change("a", 1.0, 2.0),)}, {"accepted", "applied"}),
        ({"verdict": Action.REJECTED, "restored": True}, {"rejected", "restored"}),
        ({"verdict": Action.BLOCKED, "metric": None}, set()),
    ],
)
def test_what_became_of_it_is_one_or_zero(
    made: dict[str, Any], true: set[str], tmp_path: Path
) -> None:
    decision = Decision(**{"number": 2, "step": 7, "metric": 0.5, **made})
    with tuner_in(tmp_path) as tuner:
        found = numbers_of(tuner, decision)
    kinds = ("applied", "accepted", "rejected", "restored")
    assert {kind for kind in kinds if found[f"gptune/{kind}"]} == true
    assert ("gptune/objective" in found) is (decision.metric is not None)


def test_moves_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    spaces: dict[str, Any] = {"kind": Categorical(("relu", "tanh")), "aux": Float(0.1, 2.0)}
    knobs = value_actuators({"kind": "relu", "aux": 0.5}, spaces)
    with Tuner(knobs, mode="observe", run_dir=tmp_path / "run") as tuner:
        assert tuner.values == {"loss.kind": "relu", "loss.aux": 0.5}
        assert numbers_of(tuner) == {"gptune/loss.aux": 0.5, "gptune/effective/loss.aux": 0.5}


def test_the_moves_that_are_shown_are_those_that_training_used(tmp_path: Path) -> None:
    kept = Kept()
    optimizer = SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    used: list[float] = []
    optimizer.register_step_pre_hook(lambda *_: used.append(0.0))
    with Tuner(optimizer, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        optimizer.register_step_pre_hook(lambda one, *_: used.append(one.param_groups[0]["lr"]))
        for step in range(40):
            used.clear()
            optimizer.step()
            tuner.step()
            rate = used[-1]
            decision = tuner.report({"val/loss": 1 / (step + 1)})
            show([kept], tuner, decision)
            assert kept.rows[-1][1]["gptune/effective/opt.lr"] == rate
            assert kept.rows[-1][1]["gptune/opt.lr"] == tuner.values["opt.lr"]
    assert any(numbers["gptune/applied"] for _, numbers in kept.rows)
    assert [step for step, _ in kept.rows] == list(range(1, 41))


def test_a_closed_tuner_and_one_that_is_off_can_be_shown(tmp_path: Path) -> None:
    kept = Kept()
    with tuner_in(tmp_path) as tuner:
        decision = tuner.report({"val/loss": 1.0})
    show([kept], tuner, decision)
    with tuner_in(tmp_path, mode="off") as off:
        show([kept], off, off.report({"val/loss": 1.0}))
    assert [numbers["gptune/decision"] for _, numbers in kept.rows] == [1.0, 0.0]


# sinks that fail ------------------------------------------------------------------------------


def test_a_sink_that_raises_is_warned_of_once_and_the_others_get_theirs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, broken, other = Kept(), Broken(), Broken()
    with tuner_in(tmp_path) as tuner, caplog.at_level(logging.WARNING, logger="gptune"):
        for number in range(3):
            tuner.step()
            show([broken, kept, other], tuner, tuner.report({"val/loss": float(number)}))
    said = [record.getMessage() for record in caplog.records if "shows" in record.message]
    assert said == ["gptune: Broken shows nothing (ConnectionError: nobody is there)"] * 2
    assert [numbers["gptune/objective"] for _, numbers in kept.rows] == [0.0, 1.0, 2.0]


def test_that_it_failed_is_forgotten_with_the_sink(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        write_all([Broken()], 1, {"a": 1.0})
    assert len(caplog.records) == 3
    gc.collect()
    assert not [one for one in room._FAILED.values() if isinstance(one, Broken)]


def test_what_nothing_can_refer_to_weakly_is_contained_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, kept = BrokenSlots(), Kept()
    write_all([broken, kept], 1, {"a": 1.0})
    assert "BrokenSlots shows nothing" in caplog.text
    assert kept.rows == [(1, {"a": 1.0})]


def test_a_failing_disk_and_a_closed_writer_stop_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk, kept = MemoryDisk(), Kept()
    table = Csv(FILE, file_system=disk)
    disk.break_for_ever("replace")
    given: list[Any] = [table, object(), None, kept]
    for step in range(3):
        write_all(given, step, {"a": 1.0})
    disk.repair()
    write_all(given, 3, {"a": 1.0})
    assert read_back(disk.files[FILE]) == [(3, {"a": "1.0"})], "it is tried again each time"
    assert len(kept.rows) == 4
    assert caplog.text.count("Csv shows nothing") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes(error: type[BaseException]) -> None:
    class Interrupted:
        def write(self, step: int, numbers: Mapping[str, float]) -> None:
            raise error

    with pytest.raises(error):
        write_all([Interrupted()], 1, {})


def test_sinks_are_checked(tmp_path: Path) -> None:
    one: Sink = Kept()
    assert check_sinks(iter([one])) == (one,)
    wrong: list[Any] = ["metrics.csv", ["metrics.csv"], one, None, [Kept], [None], [3], tmp_path]
    for given_ in wrong:
        with pytest.raises(UsageError, match=r"sinks: must be a list .* got "):
            check_sinks(given_)
