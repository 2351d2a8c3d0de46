"""Every knob is drawn inside its range, as far as there is room."""

import re

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.cli.live.glyphs import COARSE, FINE
from gptune.cli.live.rails import rails
from gptune.cli.live.view import View
from gptune.events import Command, KnobReading, Observed
from gptune.records import Reason
from tests.cli.live.histories import KNOBS, view_of, views
from tests.cli.live.test_view import after, trial
from tests.logs import knob, make_lines, moment, opened

SEEN = Observed(metric=1.0)


def drawn(view: View, width: int = 100, rows: int = 9) -> list[str]:
    return [line.plain for line in rails(view, width, rows, COARSE)]


@given(views, st.integers(1, 200), st.integers(1, 9))
def test_any_knobs_are_drawn_in_any_room(view: View, width: int, rows: int) -> None:
    lines = rails(view, width, rows, FINE)
    assert len(lines) <= max(rows, 1)
    assert all(line.plain.isprintable() for line in lines)


def test_a_multiplier_lies_on_a_logarithmic_rail() -> None:
    reading = KnobReading(1.0, 0.01, 0.02)
    (line, _) = drawn(after(Observed(metric=1.0, knobs={"loss.aux": reading})))
    assert line.startswith("loss.aux  0.1 |")
    rail = re.search(r"\|(.*)\|", line)
    assert rail
    assert abs(rail[1].index("O") - len(rail[1]) / 2) <= 1
    assert line.endswith("10  x1  schedule 0.01  used 0.02")


def test_while_a_change_is_judged_its_old_place_is_shown() -> None:
    (line, other) = drawn(after(SEEN, *trial()))
    rail = re.search(r"\|(.*)\|", line)
    assert rail
    assert rail[1].index("o") < rail[1].index("O")
    assert "x2" in line
    assert "o" not in (re.search(r"\|(.*)\|", other) or [""])[0]
    assert "rests" not in line, "it is not resting, it is being tried"


def test_what_holds_a_knob_is_said() -> None:
    pinned = Command(id="c", verb="pin", arguments={"family": "loss.kl"}, accepted=True, message="")
    lost = KnobReading(1.0, lost=Reason.OVERWRITTEN)
    view = after(Observed(metric=1.0, knobs={"loss.aux": lost}), pinned)
    aux, kl = drawn(view)
    assert "! does not act: overwritten" in aux
    assert "# pinned" in kl
    broken = replace(view, summary=replace(view.summary, quarantined=("loss.aux",)))
    assert "! failed, left alone" in drawn(broken)[0]
    assert all(len(line) <= 100 for line in drawn(view)), "a note has room beside the rail"
    resting = replace(view, rejected=1)
    assert "rests through decision 2" in drawn(resting)[1]


def test_a_choice_is_shown_among_its_choices() -> None:
    space = {"type": "categorical", "choices": ["relu", "gelu"]}
    first = make_lines([(moment(), opened({"m.act": knob("set", "gelu", space)}))])
    (line,) = drawn(view_of(first))
    assert "[gelu]" in line
    assert "[relu]" not in line


def test_of_too_many_knobs_those_that_moved_last_are_shown() -> None:
    many = {f"loss.{n}": knob() for n in range(20)} | {"loss.aux": knob()}
    lines = make_lines([(moment(), opened(many))])
    view = replace(view_of(lines), moved={"loss.7": 3, "loss.3": 2})
    assert [line.split()[0] for line in drawn(view, rows=4)] == [
        "loss.0",
        "loss.3",
        "loss.7",
        "and",
    ]
    assert drawn(view, rows=4)[-1] == "and 18 more"


def test_where_there_is_no_room_the_values_go_first_and_the_move_stays() -> None:
    reading = KnobReading(1.0, 0.01, 0.02)
    view = after(Observed(metric=1.0, knobs={"loss.aux": reading}))
    assert "schedule" in drawn(view, 80)[0]
    assert "schedule" not in drawn(view, 45)[0]
    assert "|" in drawn(view, 24)[0]
    assert drawn(view, 14)[0].split()[-1] == "x1"
    assert len(KNOBS) == 5
