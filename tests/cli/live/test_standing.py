"""How a run stands: how far it is, what is tried or why nothing is, what can be done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.cli.live.glyphs import COARSE, FINE, ink
from gptune.cli.live.standing import Standing, fill, header, hints, now, span, time_left
from gptune.cli.live.view import View
from gptune.events import (
    Blocked,
    Closed,
    Command,
    Event,
    LookAhead,
    ModeChanged,
    Observed,
    Paused,
)
from gptune.records import Evidence, Reason
from tests.cli.live.histories import views
from tests.cli.live.test_view import after, trial

ALIVE = Standing(name="digits", owner="7", now=10.0)
DEAD = Standing(name="digits", now=10.0)
SEEN = Observed(metric=1.0, forecast=1.0, deviation=0.1)


def said(view: View, where: Standing = ALIVE) -> str:
    return "\n".join(line.plain for line in now(view, where, COARSE))


def head(view: View, where: Standing = ALIVE, width: int = 100) -> str:
    return "\n".join(line.plain for line in header(view, where, width, COARSE))


@given(views, st.booleans(), st.integers(1, 200), st.floats(0, 1e12))
def test_any_run_can_be_told(view: View, alive: bool, width: int, time: float) -> None:
    where = replace(ALIVE if alive else DEAD, now=time)
    assert len(header(view, where, width, FINE)) == 2
    assert 1 <= len(now(view, where, FINE)) <= 2
    hints(view, where, width, FINE)


def test_the_state_is_said_with_a_sign_and_a_word() -> None:
    view = after(SEEN)
    assert "* running, process 7" in head(view)
    assert head(view, width=40).splitlines()[0].endswith("* running")
    assert "! ended without close" in head(view, DEAD)
    closed = after(SEEN, Closed(decisions=1))
    assert "- closed" in head(closed, DEAD)
    assert "= paused, and running" in head(after(SEEN, Paused(decisions=3)))
    assert said(closed, DEAD) == "ended: the run was closed"
    assert said(view, DEAD) == "ended: its process is gone"
    assert ". reading the log" in head(view, replace(ALIVE, behind=True))
    assert "x1 -> x2 was not judged" in said(after(SEEN, *trial()), DEAD)


def test_how_far_it_is_and_how_long_it_takes() -> None:
    text = head(after(SEEN, SEEN, SEEN))
    assert "step 30 of 100" in text
    assert "30 %" in text
    assert "so far" in text
    assert "took" in head(after(SEEN), DEAD)
    assert "#" in text
    assert "#" not in head(after(SEEN), width=24)


def test_the_time_left_follows_the_pace_of_the_last_reports() -> None:
    view = after(SEEN, SEEN, SEEN)  # a line a second, ten steps a line; the last at second 4
    assert time_left(view, 4.0) == pytest.approx(7.0)
    assert time_left(view, 6.0) == pytest.approx(5.0)
    assert time_left(view, 1e9) == 0.0
    assert time_left(after(SEEN), 4.0) is None
    unknown = replace(view, summary=replace(view.summary, total_steps=None))
    assert time_left(unknown, 4.0) is None
    assert "step 30" in head(unknown)


def test_what_is_judged_is_said_since_when_and_with_what_it_has_shown() -> None:
    weak = Observed(metric=1.0, evidence=Evidence(gain=0.01, deviation=0.1, probability=0.5))
    text = said(after(SEEN, *trial(), weak))
    assert "testing loss.aux x1 -> x2  since decision 1, step 10" in text
    assert "1 of 1 decisions, 10 steps so far: no measurable effect (+0.01 +/- 0.2)" in text
    assert "P(gain) 0.50; kept from P(gain) 0.95 on" in text


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ((Paused(decisions=None),), "tuning is paused until resumed"),
        ((Paused(decisions=3),), "tuning is paused through decision 4"),
        ((ModeChanged(old="active", new="guard"),), "mode guard: nothing is tuned"),
        ((Blocked(reasons=(Reason.MISSING,)),), "the metric was not reported"),
        (
            (LookAhead(arms={}, chosen="", steps=0, purpose="calibration", low=0.1, high=9.0),),
            "0.1",
        ),
        ((Observed(metric=1.0),), "there is no forecast yet"),
        ((), "nothing is being tried"),
    ],
)
def test_why_nothing_is_tried_is_said(events: tuple[Event, ...], why: str) -> None:
    assert why in said(after(SEEN, *events))


def test_pins_rests_and_calibrations_hold_the_knobs() -> None:
    def pin(family: str) -> Command:
        return Command(id="c", verb="pin", arguments={"family": family}, accepted=True, message="")

    assert "every knob is pinned" in said(after(SEEN, pin("loss.aux"), pin("loss.kl")))
    assert "nothing is being tried" in said(after(SEEN, pin("loss.aux")))
    found = replace(after(SEEN), found=("loss.aux", "loss.kl"))
    assert "the search leaves it alone" in said(found)
    assert "the knobs rest" in said(replace(after(SEEN), rejected=1))
    assert "nothing was reported yet" in said(after())
    assert "there is nothing to tune" in said(View())


def test_hints_are_commands_that_fit_how_it_stands() -> None:
    def names(view: View, where: Standing = ALIVE, width: int = 200) -> str:
        return hints(view, where, width, COARSE).plain

    assert names(after(SEEN)) == "gptune pause"
    assert names(after(SEEN, *trial())) == "gptune accept | gptune reject | gptune pause"
    assert names(after(SEEN, Paused(decisions=1))).startswith("gptune resume")
    assert "gptune explain 1" in names(after(SEEN, Paused(decisions=1)))
    assert names(after(SEEN), DEAD) == "gptune report | gptune verify"
    named = replace(ALIVE, spelled="'runs/a b'")
    guarded = after(SEEN, ModeChanged(old="active", new="guard"))
    assert names(guarded) == "gptune log --follow | gptune explain 1"
    assert names(after(SEEN), named) == "gptune pause 'runs/a b'"
    odd = replace(ALIVE, spelled="'a  b\u202e'")
    assert names(after(SEEN), odd) == ""
    assert names(after(SEEN), named, 14) == ""
    assert names(after(SEEN), ALIVE, 14) == "gptune pause"


def test_time_spans_have_two_units() -> None:
    spans = [span(s) for s in (-1, 0.4, 59, 61, 3600, 90061, 1e300)]
    assert spans[:6] == ["0 s", "0 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h"]


def test_a_row_is_filled_with_what_fits() -> None:
    parts = [ink("first"), ink("a very long part"), ink("last")]
    assert fill(parts, 12).plain == "first   last"
    assert fill(parts, 2).plain == "first"
    assert fill([], 5).plain == ""
