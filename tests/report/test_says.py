"""A run in words: no gain without what it is measured against."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.events import (
    Accepted,
    Applied,
    Closed,
    Event,
    KnobReading,
    LookAhead,
    Observed,
    Proposed,
    Restored,
    RolledBack,
    Suggested,
)
from gptune.records import Change, Evidence, Reason
from gptune.report.run import Run
from gptune.report.says import (
    STATES,
    change_says,
    counterfactual,
    effect_of,
    headlines,
    move_says,
    reasons_say,
    value_says,
)
from tests.logs import KernelRun, kernel_runs, knob, opened
from tests.report.pages import kernel_run, run_of

CHANGE = (Change("loss.aux", 1.0, 2.0),)
KEPT = Accepted(id="1:loss.aux", changes=CHANGE, probability=0.99)
UNDONE = RolledBack(id="1:loss.aux", changes=CHANGE, reasons=(Reason.NO_GAIN,), probability=0.2)


def judged(
    gain: float, deviation: float | None, ending: Event = KEPT, reference: str = "forecast"
) -> Run:
    """Make a run in which one change was judged."""
    start = opened()
    recipe = {**start.recipe, "acceptance": {**start.recipe["acceptance"], "reference": reference}}
    evidence = Evidence(gain=gain, deviation=deviation, probability=0.99)
    told = [
        (0, replace(start, recipe=recipe)),
        (1, Observed(metric=0.5)),
        (1, Proposed(changes=CHANGE, source="gp")),
        (1, Applied(id="1:loss.aux", changes=CHANGE, read_back={"loss.aux": 2.0})),
        (2, Observed(metric=0.4, evidence=evidence, knobs={"loss.aux": KnobReading(2.0)})),
        (2, ending),
        (3, Closed(decisions=2)),
    ]
    return run_of(*told)


def watched(metric: float, seed: int = 3, **given: Any) -> Run:
    """Make a run in which nothing was changed."""
    return run_of(
        (0, replace(opened(mode="observe", **given), seed=seed)), (1, Observed(metric=metric))
    )


@pytest.mark.parametrize(
    ("gain", "deviation", "text", "sign"),
    [
        (0.1, 0.01, "0.1 better \N{PLUS-MINUS SIGN} 0.0196", "better"),
        (-0.1, 0.01, "0.1 worse \N{PLUS-MINUS SIGN} 0.0196", "worse"),
        (0.01, 0.01, "no measurable effect (0.01 better \N{PLUS-MINUS SIGN} 0.0196)", "none"),
        (0.1, None, "0.1 better, how surely is not known", "none"),
        (math.nan, 0.1, "", "none"),
    ],
)
def test_an_effect_has_an_interval_and_noise_is_none(
    gain: float, deviation: float | None, text: str, sign: str
) -> None:
    run = judged(gain, deviation)
    (move,) = run.moves
    assert effect_of(run, move) == (text, sign)


@given(kernel_runs())
def test_a_gain_is_never_claimed_without_naming_what_it_is_compared_with(made: KernelRun) -> None:
    run = kernel_run(made)
    against = counterfactual(run, None)
    assert against.startswith(("No twin run: estimate", "Nothing was changed"))
    if against.startswith("Nothing"):
        assert not run.in_state("kept", "left", "undone", "open", "stuck")
    told = headlines(run)
    assert told
    assert all(sentence.endswith((".", ": ")) for sentence in told)
    assert "better" not in " ".join([*told, against])


def test_without_a_twin_no_gain_is_named_but_how_many_changes_chance_would_keep() -> None:
    said = counterfactual(judged(0.1, 0.01), None)
    assert "Of 1 change judged against a forecast 1 did well enough" in said
    assert "at P(gain) 0.95 chance alone would have kept about 0.05." in said
    told: list[tuple[int, Any]] = [(0, opened())]
    for n in range(1, 60, 2):
        end = replace(KEPT if n == 1 else UNDONE, id=str(n))
        told += [(n, Observed(metric=0.5)), (n, Proposed(changes=CHANGE, source="gp"))]
        told += [(n, Applied(id=str(n), changes=CHANGE, read_back={}))]
        told += [(n + 1, Observed(metric=0.5)), (n + 1, end)]
    assert "chance alone could have kept as many" in counterfactual(run_of(*told), None)
    for other in (UNDONE, replace(KEPT, probability=None, reasons=(Reason.OPERATOR,))):
        said = counterfactual(judged(0.1, 0.01, other), None)
        assert "by chance" not in said
        assert "is not known" in said


def test_a_gain_over_the_value_before_is_no_effect_of_a_change() -> None:
    run = judged(0.1, None, reference="last")
    (move,) = run.moves
    assert effect_of(run, move) == (
        "0.1 better, over the value before, which moves by itself",
        "none",
    )
    assert "that moves by itself" in counterfactual(run, None)
    assert "forecast" not in counterfactual(run, None)


def test_steps_that_were_spent_on_trying_rates_are_no_nothing() -> None:
    begun = LookAhead(arms={}, chosen="", steps=0, purpose="calibration")
    ended = LookAhead(arms={}, chosen="", steps=7, purpose="calibration", stopped="it was stopped")
    run = run_of((0, opened()), (0, begun), (1, ended))
    assert counterfactual(run, None) == (
        "No hyperparameter was changed, but 7 steps went into trying rates."
    )


@pytest.mark.parametrize(
    ("direction", "mine", "other", "word"),
    [("min", 0.4, 0.6, "0.2 better"), ("max", 0.4, 0.6, "0.2 worse"), ("min", 0.4, 0.4, "no diff")],
)
def test_a_twin_is_what_the_run_is_compared_with(
    direction: str, mine: float, other: float, word: str
) -> None:
    run, twin = watched(mine, direction=direction), watched(other, direction=direction)
    said = counterfactual(run, twin)
    assert word in said
    assert "one pair of runs" in said
    assert "seed 3" in said
    assert "another seed, 4" in counterfactual(run, watched(other, 4, direction=direction))
    assert "had no finite metric" in counterfactual(run, watched(math.nan))


def test_what_was_done_is_counted_in_words() -> None:
    assert headlines(judged(0.1, 0.01))[0] == "1 change tried: 1 kept."
    assert headlines(watched(1.0))[0] == "gptune changed no hyperparameter."
    suggested = run_of((0, opened()), (1, Suggested(id="1:x", changes=CHANGE)))
    assert headlines(suggested)[0] == "1 change suggested, which mode suggest does not apply."
    by_hand = run_of(
        *[(0, opened()), (1, Proposed(changes=CHANGE, source="human"))],
        (1, Applied(id="c", changes=CHANGE, read_back={})),
    )
    assert headlines(by_hand)[0] == "1 move by hand."
    kept = replace(KEPT, id="c", reasons=(Reason.OPERATOR,))
    back = replace(UNDONE, id="c", reasons=(Reason.OPERATOR,))
    for end in (kept, back):
        told = run_of(
            (0, opened()),
            (1, Suggested(id="1:x", changes=CHANGE)),
            (2, Proposed(changes=CHANGE, source="human")),
            (2, Applied(id="c", changes=CHANGE, read_back={})),
            (2, end),
        )
        assert headlines(told)[0] == (
            "1 change suggested, which mode suggest does not apply. 1 move by hand."
        )


def test_what_the_guard_and_the_calibration_did_is_said() -> None:
    begun = LookAhead(arms={}, chosen="", steps=0, purpose="calibration")
    ended = LookAhead(arms={}, chosen="29", steps=40, purpose="calibration")
    spike = Restored(symptom="spike", to_step=5, snapshot="s")
    told = headlines(
        run_of(
            (0, opened()), (0, begun), (4, ended), (5, spike), (6, spike), (6, Closed(decisions=6))
        )
    )
    assert "went on with x29 of yours; 40 steps thrown away." in told[1]
    assert told[2] == "The guard put the training state back 2 times (spike 2 times)."
    stopped = replace(ended, chosen="", stopped="the run ended")
    said = headlines(run_of((0, opened()), (0, begun), (4, stopped)))
    assert "was stopped" in said[1]


def test_moves_are_written_as_what_they_are() -> None:
    knobs = {
        "a": knob(),
        "b": knob("delta", 0.0, {"type": "float", "low": -1.0, "high": 1.0}),
        "c": knob("set", "x", {"type": "categorical", "choices": ["x", "y"]}),
    }
    run = run_of((0, opened(knobs=knobs)))
    changes = (Change("a", 1.0, 1.23456), Change("b", 0.0, 0.5), Change("c", "x", "y"))
    arrow = "\N{RIGHTWARDS ARROW}"
    assert change_says(run, changes) == f"a x1 {arrow} x1.235, b +0 {arrow} +0.5, c x {arrow} y"
    assert value_says(None, True) == "True"


@given(kernel_runs(), st.data())
def test_every_move_can_be_said(made: KernelRun, data: st.DataObject) -> None:
    run = kernel_run(made)
    for move in run.moves:
        assert move_says(run, move)
        assert move.state in STATES
        assert reasons_say(move) or move.state in (
            "open",
            "hand",
            "kept",
            "undone",
            "failed",
            "stuck",
            "withdrawn",
        )


def test_what_the_gate_kept_it_kept_for_its_gain() -> None:
    (move,) = judged(0.1, 0.01).moves
    assert reasons_say(move) == "a gain was probable enough"
    (move,) = judged(0.1, 0.01, UNDONE).moves
    assert reasons_say(move) == "a gain was not probable enough"
