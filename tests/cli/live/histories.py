"""Histories of runs for the tests of the drawing: real ones of the kernel, and impossible ones."""

from typing import Any

from hypothesis import strategies as st

from gptune.cli.live.view import View, take
from gptune.events import (
    Abandoned,
    Accepted,
    Applied,
    Blocked,
    Closed,
    Command,
    Event,
    Failed,
    KnobReading,
    Line,
    LookAhead,
    ModeChanged,
    Observed,
    Opened,
    Paused,
    Proposed,
    Raw,
    Restored,
    RollbackFailed,
    RolledBack,
    Suggested,
    Unpaused,
)
from gptune.records import Change, Reason
from tests.logs import kernel_runs, knob, make_lines, moment, opened
from tests.strategies import any_float, evidences, scalars

HOSTILE = (
    *("val/loss", "x" * 300, "", "[red]loss[/red]", "[/]", "\x1b[2J\x1b[31mloss", "a\nb\r\tc"),
    *("損失", "\u202eabc", "\x00\x07", "e\u0301\u0301", "🙂" * 40, "\ud800", "\x9b31m"),
)
texts = st.sampled_from(HOSTILE)
KNOBS = {
    "opt.lr": knob(),
    "loss.aux": knob("set", 0.5, {"type": "float", "low": 0.0, "high": 1.0}),
    "m.layers": knob("set", 2, {"type": "integer", "low": 1, "high": 9}),
    "m.act": knob("set", "relu", {"type": "categorical", "choices": ["relu", "[b]x[/b]", "\x1b"]}),
    "[/red]\x1b[0m損": knob("delta", 0.0, {"type": "float", "low": -1e300, "high": 1e300}),
}
numbers = st.floats(0.1, 10.0)
choices = st.builds(Change, st.sampled_from(["m.act", "unknown"]), scalars, scalars)
moves = st.builds(Change, st.sampled_from([f for f in KNOBS if f != "m.act"]), numbers, numbers)
changes = st.lists(moves | choices, min_size=1, max_size=2).map(tuple)
reasons = st.lists(st.sampled_from(Reason), max_size=2).map(tuple)
metrics = any_float | st.floats(0, 3) | st.builds(Raw, texts)


@st.composite
def observed(draw: st.DrawFn) -> Observed:
    values = st.none() | st.floats(allow_nan=False)
    ranges = {"opt.lr": numbers, "loss.aux": st.floats(0, 1), "m.layers": st.integers(1, 9)}
    readings = {
        family: KnobReading(
            draw(move | scalars),
            draw(values),
            draw(values),
            draw(st.none() | st.just(Reason.OVERWRITTEN)),
        )
        for family, move in ranges.items()
    }
    return Observed(
        metric=draw(metrics),
        forecast=draw(st.none() | any_float),
        deviation=draw(any_float),
        evidence=draw(st.none() | evidences()),
        knobs=draw(st.just({}) | st.just(readings)),
    )


sources = st.sampled_from(["gp", "human", "replay", "calibration"])
events: st.SearchStrategy[Event] = st.one_of(
    observed(),
    observed(),
    st.builds(Proposed, changes=changes, source=sources),
    st.builds(Applied, id=st.just("1"), changes=changes, read_back=st.just({})),
    st.builds(Suggested, id=st.just("1"), changes=changes),
    st.builds(Accepted, id=st.just("1"), changes=changes, probability=any_float, reasons=reasons),
    st.builds(RolledBack, id=st.just("1"), changes=changes, reasons=reasons),
    st.builds(RollbackFailed, id=st.just("1"), families=st.just(("opt.lr",)), message=texts),
    st.builds(Abandoned, id=st.just("1"), changes=changes, reasons=reasons),
    st.builds(Failed, id=st.just("1"), reasons=reasons, message=texts),
    st.builds(Blocked, reasons=reasons, message=texts),
    st.builds(Paused, decisions=st.none() | st.integers(0, 9), reasons=reasons),
    st.builds(Unpaused, by=texts),
    st.builds(Restored, symptom=texts | st.just("spike"), to_step=st.integers(0), snapshot=texts),
    st.builds(
        LookAhead,
        arms=st.dictionaries(texts, any_float, max_size=2),
        chosen=texts,
        steps=st.integers(0, 99),
        purpose=texts,
        low=st.floats(0.01, 1),
        high=st.floats(1, 100),
        stopped=texts,
    ),
    st.builds(ModeChanged, old=texts, new=texts | st.just("guard"), by=texts),
    st.builds(
        Command,
        id=texts,
        verb=texts | st.sampled_from(["set", "reject", "pin"]),
        arguments=st.dictionaries(texts, scalars, max_size=2)
        | st.just({"changes": {"safety.global_cooldown": 3, "odd": 1}})
        | st.just({"family": "opt.lr"}),
        accepted=st.booleans(),
        message=texts,
    ),
    st.builds(Closed, decisions=st.integers(0, 9)),
)


def opened_hostile(name: str, direction: str = "min") -> Opened:
    event = opened(KNOBS, direction=direction)
    event.recipe["objective"]["primary"] = name
    return event


@st.composite
def impossible(draw: st.DrawFn) -> list[Line]:
    """Draw lines in an order that no run writes, with names that nobody would choose."""
    entries: list[tuple[Any, Event]] = []
    if draw(st.sampled_from([True] * 5 + [False])):
        first = opened_hostile(draw(texts), draw(st.sampled_from(["min", "max"])))
        entries.append((moment(), first))
    step = decision = 0
    for event in draw(st.lists(events, max_size=25)):
        step += draw(st.integers(0, 10))
        decision += isinstance(event, Observed)
        entries.append((moment(decision, step, draw(texts)), event))
    return make_lines(entries)


histories = impossible() | kernel_runs().map(lambda run: run.lines)


def view_of(lines: list[Line]) -> View:
    view = View()
    for line in lines:
        view = take(view, line)
    return view


views = histories.map(view_of)
