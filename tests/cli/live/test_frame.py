"""A frame fits its terminal, whatever the run and whatever the terminal; and shows what matters."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from gptune.cli.live.frame import TALL, Plan, frame, plan
from gptune.cli.live.glyphs import COARSE, FINE
from gptune.cli.live.standing import Standing
from gptune.cli.live.view import View
from gptune.events import Observed, Raw, Restored
from tests.cli.live.histories import HOSTILE, opened_hostile, view_of, views
from tests.cli.live.test_view import after, trial
from tests.logs import KernelRun, make_lines, moment

signs = st.sampled_from([FINE, COARSE])
WHERE = Standing(name="digits", owner="7", now=100.0)


def rows(view: View, width: int = 100, height: int | None = None) -> list[str]:
    return [line.plain for line in frame(view, WHERE, (width, height), COARSE)]


owners = st.none() | st.just("7")
places = st.builds(Standing, name=st.sampled_from(HOSTILE), owner=owners, now=st.floats(0, 1e10))
sizes = st.tuples(st.integers(20, 200), st.integers(5, 60))


@given(views, places, sizes)
def test_any_run_fits_any_terminal(view: View, where: Standing, size: tuple[int, int]) -> None:
    width, height = size
    for glyphs in (FINE, COARSE):
        lines = frame(view, where, size, glyphs)
        assert len(lines) <= height
        assert all(line.cell_len <= width for line in lines)
        assert all(line.plain.isprintable() for line in lines)


@given(views, st.integers(1, 19), st.integers(1, 4))
def test_on_a_tiny_terminal_nothing_breaks(view: View, width: int, height: int) -> None:
    lines = frame(view, WHERE, (width, height), FINE)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)


@given(st.integers(1, 90), st.integers(0, 40), st.integers(0, 32))
def test_the_rows_are_shared_and_none_is_given_twice(height: int, knobs: int, told: int) -> None:
    shares = plan(height, knobs, told)
    assert shares.knobs <= knobs
    assert shares.told <= told
    assert min(shares.plot, shares.told, shares.hints, shares.gaps) >= 0
    curve = shares.plot + 1 if shares.plot > 1 else 0  # its rows, two below it, less a sparkline's
    used = 6 + curve + shares.knobs + shares.told + shares.hints + shares.gaps
    assert used <= max(height, 6 + min(knobs, 1))


def test_a_tall_terminal_has_room_for_everything() -> None:
    assert plan(60, 3, 12) == Plan(plot=10, knobs=3, told=12, hints=1, gaps=5)


@pytest.fixture(scope="module")
def tuned() -> View:
    run = KernelRun({"acceptance": {"reference": "last"}, "safety": {"global_cooldown": 0}})
    for n in range(30):
        run.decide(1 / (n + 1) + (0.2 if n % 4 == 3 else 0.0), 1.25)
    return view_of(run.lines)


def test_every_part_is_there(tuned: View) -> None:
    text = "\n".join(rows(tuned))
    for part in ("digits", "running, process 7", "best", "kept", "undone", "loss.aux", "gptune"):
        assert part in text
    assert len(rows(tuned)) <= TALL


def test_a_narrow_one_keeps_what_matters_most(tuned: View) -> None:
    text = "\n".join(rows(tuned, 24, 8))
    for part in ("digits", "step", "loss.aux"):
        assert part in text


def test_a_run_that_wrote_nothing_yet_is_told_so() -> None:
    assert "nothing reported yet" in "\n".join(rows(View()))
    assert "nothing reported yet" in "\n".join(rows(after()))


def test_a_metric_that_is_no_number_is_told_so() -> None:
    text = "\n".join(rows(after(Observed(metric=Raw("'x'")))))
    assert "no number: 'x'" in text
    assert "no number to draw yet" in text
    assert "no number: nan" in "\n".join(rows(after(Observed(metric=float("nan")))))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_command_the_terminal_or_set_its_style(name: str) -> None:
    lines = make_lines(
        [
            (moment(), opened_hostile(name)),
            (moment(1, 10), Observed(metric=1.0)),
            (moment(1, 10), Restored(symptom=name, to_step=1, snapshot=name)),
        ]
    )
    out = io.StringIO()
    console = Console(file=out, width=300, force_terminal=False, markup=False, emoji=False)
    where = Standing(name=name, owner=name, spelled=name)
    for line in frame(view_of(lines), where, (300, None), FINE):
        console.print(line, soft_wrap=True)
    assert "".join(out.getvalue().split("\n")).isprintable()
    if name == "[red]loss[/red]":
        assert name in out.getvalue()


def test_without_colour_nothing_is_lost(tuned: View) -> None:
    plain, coloured = (io.StringIO(), io.StringIO())
    for out, colour in ((plain, True), (coloured, False)):
        console = Console(file=out, width=90, force_terminal=True, no_color=colour)
        for line in frame(tuned, WHERE, (90, 30), FINE):
            console.print(line, soft_wrap=True)
    assert "\x1b[32m" not in plain.getvalue()
    assert "✓" in plain.getvalue()
    assert cell_len("✓") == 1
    assert trial()
