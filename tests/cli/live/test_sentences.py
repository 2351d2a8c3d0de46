"""Verdicts in words: what a change brought, or that nothing could be measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.cli.live.glyphs import BAD, COARSE, DULL, FINE, GOOD
from gptune.cli.live.sentences import Sentence, effect, foreign, shown_move, tell
from gptune.cli.live.view import View
from gptune.events import (
    Abandoned,
    Accepted,
    Blocked,
    Command,
    Event,
    Observed,
    Paused,
    Restored,
    RollbackFailed,
    RolledBack,
    Suggested,
)
from gptune.records import Change, Evidence, Reason
from tests.cli.live.histories import HOSTILE, views
from tests.cli.live.test_view import UP, after, trial
from tests.strategies import evidences

SEEN = Observed(metric=1.0)


def last(*events: Event) -> Sentence:
    view = after(*events)
    return tell(view, view.happenings[-1], COARSE)


def judged(end: Event, evidence: Evidence | None) -> Sentence:
    return last(SEEN, *trial()[:2], Observed(metric=1.0, evidence=evidence), end)


@given(views)
def test_all_that_happened_can_be_told_in_one_harmless_line(view: View) -> None:
    for happening in view.happenings:
        said = tell(view, happening, FINE)
        assert said.sign in FINE.marks
        assert (said.verdict + said.text).isprintable()


@given(st.sampled_from(HOSTILE) | st.text())
def test_a_foreign_text_is_one_harmless_line(text: str) -> None:
    assert foreign(text).isprintable()
    assert foreign(text).encode() is not None


@given(st.none() | evidences())
def test_an_effect_is_one_only_where_it_is_larger_than_chance(evidence: Evidence | None) -> None:
    said, tone = effect(evidence, "forecast", COARSE)
    assert (tone == GOOD) == said.startswith("better")
    assert (tone == BAD) == said.startswith("worse")
    assert tone in (GOOD, BAD) or said == "" or said.startswith("no measurable effect")


def test_an_effect_is_what_the_report_calls_one_too() -> None:
    def said(gain: float, reference: str = "forecast") -> str:
        evidence = Evidence(gain=gain, deviation=0.1, probability=0.5)
        return effect(evidence, reference, COARSE)[0].partition(" ")[0]

    assert [said(gain) for gain in (0.25, 0.19, -0.19, -0.25)] == ["better", "no", "no", "worse"]
    assert said(0.25, "last") == said(-0.25, "last") == ""


def test_what_the_guard_ends_between_two_reports_has_no_effect_of_the_one_before() -> None:
    lucky = Evidence(gain=0.5, deviation=0.01, probability=0.99)
    back = RolledBack(id="1", changes=UP, reasons=(Reason.STATE_NOT_FINITE,))
    said = last(Observed(metric=1.0, evidence=lucky), *trial()[:2], back)
    assert (said.sign, said.tone) == ("undone", DULL)
    assert "better" not in said.text


def test_what_stays_on_a_reject_is_not_told_as_undone_and_a_way_back_points_back() -> None:
    left = Abandoned(id="1", changes=UP, reasons=(Reason.KEPT_ON_REJECT,))
    said = judged(left, Evidence(gain=-0.01, deviation=0.1))
    assert (said.sign, said.verdict) == ("left", "left")
    closed = RolledBack(id="1", changes=UP, reasons=(Reason.CLOSED,))
    assert last(SEEN, *trial(), closed).text.startswith("loss.aux x2 -> x1")


def test_only_what_follows_at_once_is_in_a_row() -> None:
    blocked = Blocked(reasons=(Reason.NOT_FINITE,))
    assert len(after(SEEN, blocked, SEEN, blocked).happenings) == 1
    assert len(after(SEEN, blocked, SEEN, SEEN, blocked).happenings) == 2


def test_an_order_is_told_by_what_it_brought_and_otherwise_as_it_was_written() -> None:
    def order(verb: str, arguments: dict[str, object], *, accepted: bool = True) -> Command:
        return Command(id="c", verb=verb, arguments=arguments, accepted=accepted, message="said")

    changes: dict[str, object] = {"changes": {"safety.patience": 3}}
    assert last(SEEN, order("set", changes)).text == "set safety.patience=3: said"
    assert last(SEEN, order("apply", {"moves": {"a": 9}}, accepted=False)).verdict == "refused"
    assert not after(SEEN, order("apply", {"moves": {"a": 9}})).happenings
    assert last(SEEN, order("rollback", {"to": None}, accepted=False)).text == "rollback: said"


def test_verdicts_say_what_the_change_brought() -> None:
    kept = Accepted(id="1", changes=UP, probability=0.99)
    said = judged(kept, Evidence(gain=0.5, deviation=0.1, probability=0.99))
    assert said == Sentence(
        "kept", "kept", "loss.aux x1 -> x2: better by 0.5 +/- 0.2; P(gain) 0.99", GOOD
    )
    back = RolledBack(id="1", changes=UP, reasons=(Reason.NO_GAIN,), probability=0.3)
    said = judged(back, Evidence(gain=-0.01, deviation=0.1))
    assert said.text == ("loss.aux x1 -> x2: no measurable effect (-0.01 +/- 0.2); P(gain) 0.30")
    assert (said.sign, said.tone) == ("undone", DULL)
    worse = RolledBack(id="1", changes=UP, reasons=(Reason.REGRESSION,), probability=0.0)
    said = judged(worse, Evidence(gain=-1.0, deviation=0.1))
    assert said.tone == BAD
    assert "worse by 1 +/- 0.2; the metric fell behind its forecast" in said.text
    said = judged(back, None)
    assert said.text == "loss.aux x1 -> x2: a gain was not probable enough; P(gain) 0.30"


def test_what_the_gate_did_not_judge_is_told_as_such() -> None:
    wanted = Accepted(id="1", changes=UP, reasons=(Reason.OPERATOR,))
    assert last(SEEN, *trial(), wanted).text == "loss.aux x1 -> x2: an operator wanted it"
    closed = RolledBack(id="1", changes=UP, reasons=(Reason.CLOSED,))
    said = last(SEEN, *trial(), closed)
    assert (said.verdict, said.tone) == ("put back", DULL)
    found = Accepted(id="1", changes=UP, reasons=(Reason.MEASURED,))
    assert last(SEEN, *trial(source="calibration"), found).sign == "found"
    stuck = RollbackFailed(id="1", families=("loss.aux",), message="no")
    assert last(SEEN, *trial(), stuck).sign == "stuck"


@pytest.mark.parametrize(
    ("event", "sign", "said"),
    [
        (Restored(symptom="spike", to_step=40, snapshot="s"), "restored", "to step 40: the metric"),
        (Restored(symptom="odd", to_step=4, snapshot="s"), "restored", "to step 4: odd"),
        (Paused(decisions=None), "paused", "until resumed"),
        (Paused(decisions=3, reasons=(Reason.NO_GAIN,)), "paused", "for 3 decisions: a gain was"),
        (Blocked(reasons=(Reason.MISSING,)), "wrong", "the metric was not reported"),
        (Suggested(id="1", changes=UP), "suggested", "x1 -> x2, and not applied"),
        (
            Command(id="c", verb="pin", arguments={"family": "a"}, accepted=False, message="no"),
            "wrong",
            "pin family=a: no",
        ),
    ],
)
def test_other_things_that_happen(event: Event, sign: str, said: str) -> None:
    told = last(SEEN, event)
    assert told.sign == sign
    assert said in told.text


def test_what_happens_again_and_again_is_told_once() -> None:
    blocked = Blocked(reasons=(Reason.NOT_FINITE,))
    assert last(SEEN, blocked, SEEN, blocked).text.endswith(", 2 times in a row")


def test_by_hand_and_replayed_are_told_apart() -> None:
    assert last(SEEN, *trial(source="human")).verdict == "by hand"
    assert last(SEEN, *trial(source="replay")).verdict == "replayed"
    assert last(SEEN, RolledBack(id="0", changes=UP, reasons=())).verdict == "put back"


def test_only_a_multiplier_has_a_sign() -> None:
    view = after(SEEN)
    assert shown_move(view, "loss.aux", 2.0, COARSE) == "x2"
    assert shown_move(view, "unknown", 2.0, COARSE) == "2"
    assert Change("a", 1, 2).family == "a"
