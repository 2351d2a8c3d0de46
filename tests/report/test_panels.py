"""The figures of a run: what stands where."""

import re

import pytest
from hypothesis import given

from gptune.events import (
    Applied,
    Event,
    KnobReading,
    LookAhead,
    Observed,
    Proposed,
    Restored,
    RolledBack,
)
from gptune.records import Change, Reason
from gptune.report.drawing import SIDE
from gptune.report.panel import Panel
from gptune.report.panels import (
    MARKS,
    Detail,
    knob_panel,
    link,
    metric_panel,
    overlay,
    steps_of,
)
from gptune.report.run import Run
from tests.logs import FAMILIES, KernelRun, kernel_runs, knob, opened
from tests.report.pages import kernel_run, run_of

RATE = {**knob(), "on_schedule": True, "is_rate": True}


def rated(*values: tuple[float, float]) -> Run:
    """Make a run of a learning rate: the schedule's values, and the moves."""
    told: list[tuple[int, Event]] = [(0, opened(knobs={"opt.lr": RATE}))]
    for number, (scheduled, move) in enumerate(values, start=1):
        reading = KnobReading(move, scheduled, scheduled * move)
        told.append((number, Observed(metric=1.0 / number, knobs={"opt.lr": reading})))
    return run_of(*told)


def layer(panel: Panel, kind: str) -> str:
    return next((one.path for one in panel.layers if one.kind == kind), "")


@given(kernel_runs())
def test_every_figure_of_every_run_lies_inside_of_itself(made: KernelRun) -> None:
    run = kernel_run(made)
    x = steps_of([run])
    panels = [metric_panel(run, x, Detail(), twin=run), overlay([run, run])]
    panels += [knob_panel(run, family, x, Detail()) for family in FAMILIES]
    for panel in panels:
        for one in panel.layers:
            assert all(0 <= int(n) <= SIDE for n in re.findall(r"-?\d+", one.path))
        for mark in panel.marks:
            assert all(0.0 <= at <= 1.0 for at in mark.at)
        for span in panel.spans:
            assert 0.0 <= span.start <= span.end <= 1.0


@given(kernel_runs())
def test_every_move_has_its_sign_on_the_metric_and_on_its_knobs(made: KernelRun) -> None:
    run = kernel_run(made)
    signs = [m.kind for m in metric_panel(run, steps_of([run]), Detail()).marks if m.link]
    assert sorted(signs) == sorted(move.state for move in run.moves[:MARKS])


def test_a_schedule_is_dashed_beside_what_was_used_and_both_are_on_a_logarithmic_axis() -> None:
    run = rated((1.0, 1.0), (0.1, 1.0), (0.1, 4.0), (0.01, 4.0))
    panel = knob_panel(run, "opt.lr", steps_of([run]), Detail())
    texts = [text for _, text in panel.up]
    assert {"0.1", "0.01", "1"} <= set(texts)
    shares = {text: at for at, text in panel.up}
    assert shares["0.1"] - shares["0.01"] == pytest.approx(shares["1"] - shares["0.1"])
    assert layer(panel, "schedule").count("L") == 3
    assert layer(panel, "used") != layer(panel, "schedule")
    assert layer(panel, "envelope").endswith("Z")
    assert panel.note == "your schedule times 0.1 to 10"


def test_a_move_holds_between_two_decisions_while_the_schedule_runs_on() -> None:
    run = rated((1.0, 1.0), (0.5, 2.0))
    path = layer(knob_panel(run, "opt.lr", steps_of([run]), Detail()), "used")
    # at the first decision 1, then at once 1 x 2, and 0.5 x 2 at the second one
    corners = [tuple(map(int, c.split())) for c in re.findall(r"\d+ \d+", path)]
    assert corners[0][0] == corners[1][0] != corners[2][0]
    assert corners[0][1] == corners[2][1] > corners[1][1]


def test_a_schedule_that_ends_at_zero_does_not_flatten_the_rest() -> None:
    run = rated(*[(0.1 * (1 - n / 100), 1.0) for n in range(100)], (1e-12, 1.0))
    panel = knob_panel(run, "opt.lr", steps_of([run]), Detail())
    lowest = min(float(text) for _, text in panel.up)
    assert lowest > 1e-5


def test_choices_have_their_names_on_the_axis() -> None:
    space = {"type": "categorical", "choices": ["adam", "sgd"]}
    told = [
        (n, Observed(metric=1.0, knobs={"o": KnobReading(c)})) for n, c in [(1, "sgd"), (2, "x")]
    ]
    run = run_of((0, opened(knobs={"o": knob("set", "adam", space)})), *told)
    panel = knob_panel(run, "o", steps_of([run]), Detail())
    assert [text for _, text in panel.up] == ["adam", "sgd"]


def test_what_a_look_ahead_tried_is_shaded_and_is_no_part_of_the_line() -> None:
    begun = LookAhead(arms={}, chosen="", steps=0, purpose="calibration")
    ended = LookAhead(arms={}, chosen="2", steps=20, purpose="calibration")
    seen = [(n, Observed(metric=9.0 - n, knobs={"opt.lr": KnobReading(1.0)})) for n in range(1, 6)]
    told: list[tuple[int, Event]] = [(0, opened(knobs={"opt.lr": RATE})), (0, begun), *seen[:2]]
    run = run_of(*told, (2, ended), *seen[2:])
    panel = metric_panel(run, steps_of([run]), Detail())
    (span,) = panel.spans
    assert (span.start, span.end) == pytest.approx((0.0, 20 / 50))
    assert layer(panel, "metric").count("L") == 2
    assert layer(panel, "trial").count("h0") == 2


def test_where_the_state_was_put_back_and_where_the_metric_was_no_number_there_is_a_sign() -> None:
    restored = Restored(symptom="spike", to_step=5, snapshot="s")
    run = run_of((0, opened()), (1, Observed(metric=float("nan"))), (2, restored))
    marks = metric_panel(run, steps_of([run]), Detail()).marks
    assert [mark.kind for mark in marks] == ["nan", "restored"]


def test_a_twin_is_drawn_and_both_fit() -> None:
    run, twin = rated((1.0, 1.0)), rated(*[(1.0, 1.0)] * 4)
    assert layer(metric_panel(run, steps_of([run, twin]), Detail(), twin), "twin").count("L") == 3
    assert steps_of([run, twin]).high == 40


def test_too_many_changes_leave_the_kept_ones_and_the_newest() -> None:
    change = (Change("opt.lr", 1.0, 2.0),)
    told: list[tuple[int, Event]] = [(0, opened(knobs={"opt.lr": RATE}))]
    for n in range(1, MARKS + 50):
        told += [(n, Observed(metric=1.0)), (n, Proposed(changes=change, source="human"))]
        told += [(n, Applied(id=str(n), changes=change, read_back={}))]
    marks = metric_panel(run_of(*told), steps_of([run_of(*told)]), Detail()).marks
    assert len(marks) == MARKS


def test_links_are_safe_whatever_a_knob_is_called() -> None:
    change = (Change('"><script>', 1.0, 2.0),)
    run = run_of(
        *[(0, opened()), (1, Proposed(changes=change, source="human"))],
        (1, Applied(id='1:"><script>', changes=change, read_back={})),
    )
    assert re.fullmatch(r"move-1-\d+", link(run.moves[0]))


def test_the_more_figures_the_less_each_shows_and_never_nothing() -> None:
    shown = [Detail(n) for n in (1, 10, 100, 10_000)]
    assert [one.points for one in shown] == sorted((one.points for one in shown), reverse=True)
    assert [one.signs for one in shown] == sorted((one.signs for one in shown), reverse=True)
    assert min(shown[-1].points, shown[-1].signs, shown[-1].crossings) > 0


def test_a_schedule_that_ends_at_zero_is_drawn_to_its_end_without_a_drop() -> None:
    run = rated((0.1, 2.0), (0.05, 2.0), (0.0, 2.0))
    panel = knob_panel(run, "opt.lr", steps_of([run]), Detail())
    corners = [tuple(map(int, c.split())) for c in re.findall(r"\d+ \d+", layer(panel, "used"))]
    places = {x: {y for at, y in corners if at == x} for x, _ in corners}
    assert all(len(heights) == 1 for heights in places.values())  # nothing jumps
    assert max(places) < SIDE or len(corners) == 3


def test_of_too_many_changes_the_figure_shows_some_of_all_times_and_says_so() -> None:
    change = (Change("opt.lr", 1.0, 2.0),)
    told: list[tuple[int, Event]] = [(0, opened(knobs={"opt.lr": RATE}))]
    for n in range(1, 3 * MARKS):
        told += [(n, Observed(metric=1.0)), (n, Proposed(changes=change, source="gp"))]
        told += [(n, Applied(id=str(n), changes=change, read_back={}))]
        told += [(n, RolledBack(id=str(n), changes=change, reasons=(Reason.NO_GAIN,)))]
    run = run_of(*told)
    panel = metric_panel(run, steps_of([run]), Detail())
    places = [mark.at[0] for mark in panel.marks]
    assert min(places) < 0.01
    assert max(places) > 0.99
    assert f"{MARKS} of {3 * MARKS - 1} changes are drawn" in panel.note
    crossed = [int(x) for x in re.findall(r"M(\d+) ", layer(panel, "crossing undone"))]
    assert min(crossed) < SIDE // 50


def test_two_runs_of_one_name_are_both_in_the_legend() -> None:
    run = rated((1.0, 1.0), (1.0, 1.0))
    assert len(overlay([run, run, run]).legend) == 3
