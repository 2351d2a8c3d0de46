"""Every event and every reason has its words."""

import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.events import (
    Abandoned,
    Command,
    Event,
    LookAhead,
    Observed,
    Paused,
    Proposed,
    Raw,
    RolledBack,
)
from gptune.records import Change, Evidence, Reason
from gptune.run_directory.words import MEANINGS, clock, line_of, number, words
from tests.logs import KernelRun, kernel_runs, make_lines, moment, opened

UP = (Change("opt.lr", 1.0, 2.0),)
FILL = {  # a value of each type that the fields of events have
    "str": "word",
    "int": 3,
    "bool": True,
    "changes": UP,
    "reasons": (Reason.NO_GAIN,),
}


def made(kind: type) -> Event:
    """Fill the fields of a kind of event that have no default."""
    fields = [field for field in msgspec.structs.fields(kind) if field.required]
    values = {
        field.name: FILL.get(field.name, FILL.get(getattr(field.type, "__name__", ""), {}))
        for field in fields
    }
    event: Event = kind(**values)
    return event


@pytest.mark.parametrize("kind", typing.get_args(Event), ids=lambda kind: kind.__name__)
def test_every_kind_of_event_has_words_on_one_line(kind: type) -> None:
    event = Observed(metric=1.0) if kind is Observed else made(kind)
    (line,) = make_lines([(moment(3, 12), event)])
    said = line_of(line)
    assert "\n" not in said
    assert str(event.__struct_config__.tag) in said
    assert words(event)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_meaning_of_its_own(reason: Reason) -> None:
    others = [meaning for other, meaning in MEANINGS.items() if other is not reason]
    assert MEANINGS[reason] not in others


@given(kernel_runs())
def test_whatever_the_kernel_writes_can_be_said(run: KernelRun) -> None:
    assert all(line_of(line) for line in run.lines)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (opened(), "a run began, mode active, seed 3, knobs loss.aux, loss.kl"),
        (
            Observed(metric=0.5, forecast=0.6, deviation=0.1, evidence=Evidence(gain=0.1)),
            "0.5, forecast 0.6 +/- 0.1, gain 0.1",
        ),
        (Observed(metric=Raw("'x'")), "'x'"),
        (
            Proposed(changes=UP, source="gp", mean=0.25, deviation=0.5),
            "opt.lr 1 -> 2 [gp], believed 0.25 +/- 0.5",
        ),
        (
            RolledBack(id="", changes=UP, reasons=(Reason.NO_GAIN,), probability=0.125),
            "opt.lr 1 -> 2, P(gain) 0.12 (no gain)",
        ),
        (Paused(decisions=None), "until resumed"),
        (
            Abandoned(id="", changes=UP, reasons=(Reason.OVERWRITTEN,), undone=UP),
            "left as it is: opt.lr 1 -> 2 (overwritten), put back opt.lr 1 -> 2",
        ),
        (
            LookAhead(arms={}, chosen="", steps=0, purpose="calibration", low=0.01, high=100.0),
            "calibration tries multipliers from 0.01 to 100",
        ),
        (
            LookAhead(
                arms={"2": 0.5, "0.63": Raw("inf")},
                chosen="2",
                steps=42,
                purpose="calibration",
                aim=2.0,
                turn=9.0,
            ),
            "calibration chose 2; 2 0.5, 0.63 inf; turn 9, aim 2; 42 steps thrown away",
        ),
        (
            LookAhead(arms={}, chosen="1", steps=9, purpose="guard", stopped="the run was closed"),
            "guard was stopped, 9 steps thrown away: the run was closed",
        ),
        (
            Command(id="", verb="pin", arguments={"family": "a"}, accepted=False, message="no"),
            "pin family=a: refused: no",
        ),
    ],
)
def test_the_words_say_what_matters(event: Event, said: str) -> None:
    assert words(event) == said


def test_a_line_without_a_time_says_so() -> None:
    (line,) = make_lines([(moment(), opened())], [{}])
    assert clock(line) == "--:--:--"


@given(st.floats() | st.none())
def test_any_number_can_be_shown(value: float | None) -> None:
    assert number(value)
