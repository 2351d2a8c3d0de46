"""What a run did to its knobs, read back: from its log or from a file, forwards and backwards."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.errors import EventLogError, RecipeError
from gptune.events import Moment
from gptune.recipe.recorded import (
    Movement,
    before_last,
    movements_of,
    own_movements,
    point_after,
    read_movements,
    together,
)
from gptune.records import Scalar
from gptune.run_directory.event_log import EventLog, read_events
from gptune.run_directory.exports import mutations
from gptune.run_directory.names import EVENTS
from tests.cli.runs import make_run
from tests.fakes import MemoryDisk
from tests.logs import KernelRun, kernel_runs

FAMILIES = ("opt.lr", "loss.aux")


def moved(number: int, family: str, new: Scalar, old: Scalar) -> Movement:
    ident = f"{number}:{family}"
    return Movement(step=10 * number, family=family, new=new, old=old, decision=number, id=ident)


def rows_of(run: KernelRun) -> list[Movement]:
    return [msgspec.convert(row, Movement) for row in mutations(run.lines)]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Movement, dict[str, float], list[dict[str, float]]]]:
    """Draw changes and ways back; after each the point, and the points before what still stands."""
    point = dict.fromkeys(FAMILIES, 1.0)
    standing: list[tuple[Movement, dict[str, float]]] = []
    coin, found = st.booleans(), []
    for number in range(1, draw(st.integers(1, 10)) + 1):
        if draw(coin) and standing:
            last, _ = standing.pop()
            back = moved(number, last.family, last.old, last.new)
            movement = replace(back, id=last.id, status="rolled_back")
        else:
            family = draw(st.sampled_from(FAMILIES))
            new = draw(st.sampled_from([0.5, 1.0, 2.0, 3.0]))
            movement = moved(number, family, new, point[family])
            top = standing[-1][0] if standing else None
            if top is not None and (top.family, top.old) == (family, new):
                standing.pop()  # it leads back to where the change before began
            else:
                standing.append((movement, dict(point)))
        point[movement.family] = float(movement.new)
        found.append((movement, dict(point), [before for _, before in standing]))
    return found


@given(histories())
def test_the_point_after_a_decision_is_the_one_in_force_then(history: Any) -> None:
    rows = [movement for movement, _, _ in history]
    for number in range(len(history) + 1):
        point = history[number - 1][1] if number else dict.fromkeys(FAMILIES, 1.0)
        after = point_after(rows, number)
        assert after == {family: point[family] for family in after}
        assert set(after) == {row.family for row in rows}


@given(histories())
def test_before_the_last_change_is_before_the_last_that_stands(history: Any) -> None:
    rows = [movement for movement, _, _ in history]
    for number in range(len(history) + 1):
        points = history[number - 1][2] if number else []
        found = before_last(rows[:number])
        assert bool(found) == bool(points)
        assert found == {family: points[-1][family] for family in found}


def test_one_rollback_after_the_other_goes_ever_further_back() -> None:
    rows = [moved(n, "opt.lr", 2.0**n, 2.0 ** (n - 1)) for n in (1, 2, 3)]
    for number, wanted in enumerate((4.0, 2.0, 1.0), start=4):
        assert before_last(rows) == {"opt.lr": wanted}
        rows.append(moved(number, "opt.lr", wanted, 2 * wanted))
    assert before_last(rows) == {}


@given(kernel_runs())
def test_every_movement_starts_where_the_one_before_ended(run: KernelRun) -> None:
    point: dict[str, Any] = {}
    for row in rows_of(run):
        assert point.get(row.family, 1.0) == row.old
        point[row.family] = row.new
    assert point == {f: m for f, m in run.state.point.items() if f in point}


@given(kernel_runs())
def test_groups_hold_every_movement_in_its_order_and_each_knob_once(run: KernelRun) -> None:
    rows = rows_of(run)
    groups = together(rows)
    assert [row for group in groups for row in group] == rows
    for group in groups:
        assert len({(row.id, row.status, row.step) for row in group}) == 1
        assert len({row.family for row in group}) == len(group)


def test_nothing_recorded_is_nothing() -> None:
    assert (point_after([], 3), before_last([]), together([])) == ({}, {}, [])


def test_a_run_and_its_file_say_the_same(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 20)
    rows = read_movements(tmp_path / "run")
    assert rows == movements_of(tmp_path / "run") == read_movements(str(tmp_path / "run"))
    assert {row.status for row in rows} == {"applied", "rolled_back"}
    file = tmp_path / "rows.jsonl"
    text = "".join(f"{json.dumps(row)}\n" for row in mutations(read_events(tmp_path / "run")))
    file.write_text(text)
    assert read_movements(file) == rows
    file.write_text("")
    assert read_movements(file) == ()


def test_a_row_needs_no_more_than_what_moved_and_when(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"step": 1, "family": "opt.lr", "new": 2.0, "old": 1.0, "decision": 1, "id": "1:opt.lr"}
    file.write_text(json.dumps({**row, "phase": "early", "note": "mine"}))
    (read,) = read_movements(file)
    assert (read.status, read.source) == ("applied", None)
    assert (read.step, read.family, read.new, read.old) == (1, "opt.lr", 2.0, 1.0)


BAD_LINES: list[tuple[bytes, str]] = [
    (b"{", "line 1: "),
    (b"[]", "line 1: Expected `object`, got `array`"),
    (b"{}", "line 1: Object missing required field `step`"),
    (b'{"step": "1"}', r"line 1: Expected `int`, got `str` - at `\$\.step`"),
    (b"\xff", "line 1: "),
    (b"\n", "line 1: "),
]


@pytest.mark.parametrize(("data", "message"), BAD_LINES)
def test_a_damaged_file_is_refused_by_line(data: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(data)
    with pytest.raises(RecipeError, match=rf"^replay: '.*rows\.jsonl', {message}.*gptune export"):
        read_movements(file)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_bytes(data)
    with suppress(RecipeError):
        assert len(read_movements(file)) == len(data.splitlines())


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"holds no events\.jsonl; give a run directory"):
        read_movements(tmp_path)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_movements(tmp_path / "none")
    (tmp_path / EVENTS).write_bytes(b"{}\n")
    with pytest.raises(EventLogError, match="line 1"):
        read_movements(tmp_path)


@given(kernel_runs(), st.integers(0, 10**6))
def test_the_run_that_asks_reads_the_same_but_for_who_wanted_it(run: KernelRun, where: int) -> None:
    disk, here = MemoryDisk(), Path("run")
    log = EventLog(here, disk)
    for line in run.lines:
        moment = Moment(
            decision=line.envelope.decision, step=line.envelope.step, phase=line.envelope.phase
        )
        log.append(moment, line.event)
    if where % 3 == 0 and log.seq:  # some runs were resumed from an older checkpoint
        log.rewind(where % log.seq, Moment(decision=0, step=0, phase="mid"))
    whole, own = movements_of(here, disk), own_movements(here, disk)
    assert [replace(row, source=None) for row in whole] == [replace(r, source=None) for r in own]
