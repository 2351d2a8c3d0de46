"""What is remembered of a watched run: what the summary says, and what it needs beyond that."""

from hypothesis import given

from gptune.cli.live.series import totals
from gptune.cli.live.view import PACE, REMEMBERED, View, rests_until, setting, skip, take
from gptune.events import (
    Accepted,
    Applied,
    Blocked,
    Command,
    Event,
    Line,
    LookAhead,
    Observed,
    Opened,
    Proposed,
    Restored,
    RolledBack,
)
from gptune.records import Change, Reason
from gptune.run_directory.summary import Summary, fold
from tests.cli.live.histories import histories, view_of
from tests.logs import make_lines, moment, opened

UP = (Change("loss.aux", 1.0, 2.0),)


def after(*events: Event, mode: str = "active") -> View:
    entries, decision = [(moment(), opened(mode=mode))], 0
    for event in events:
        decision += isinstance(event, Observed)
        entries.append((moment(decision, 10 * decision), event))  # type: ignore[arg-type]
    return view_of(make_lines(entries))


def trial(end: Event | None = None, source: str = "gp") -> tuple[Event, ...]:
    made = (Proposed(changes=UP, source=source), Applied(id="1", changes=UP, read_back={}))
    return made if end is None else (*made, Observed(metric=1.0), end)


@given(histories)
def test_it_is_bounded_and_stands_where_the_summary_stands(lines: list[Line]) -> None:
    view, summary = view_of(lines), Summary()
    for line in lines:
        summary = fold(summary, line)
    assert view.summary == summary
    assert len(view.happenings) <= REMEMBERED
    assert len(view.pace) <= PACE
    assert sum(s.reports for s in view.series.stretches) == summary.counts.get("observed", 0)
    counts = totals(view.series)
    assert counts.get("kept", 0) == summary.accepted
    ends = ("kept", "undone", "left", "stuck")
    assert sum(counts.get(name, 0) for name in ends) == summary.judged


@given(histories)
def test_a_line_that_is_skipped_counts_for_its_time_alone(lines: list[Line]) -> None:
    view, last = view_of(lines[:-1]), lines[-1:]
    for line in last:
        skipped = skip(view, line)
        assert skipped.summary.times == fold(view.summary, line).times
        assert skipped.summary.seq == line.envelope.seq
        assert (skipped.series, skipped.happenings) == (view.series, view.happenings)


def test_marks_say_what_became_of_changes() -> None:
    seen = Observed(metric=1.0)
    kept = after(seen, *trial(Accepted(id="1", changes=UP, probability=0.99)))
    assert totals(kept.series) == {"kept": 1}
    back = RolledBack(id="1", changes=UP, reasons=(Reason.NO_GAIN,), probability=0.1)
    assert totals(after(seen, *trial(back)).series) == {"undone": 1}
    assert totals(after(seen, *trial(source="human")).series) == {"hand": 1}
    assert totals(after(seen, Restored(symptom="spike", to_step=3, snapshot="s")).series) == {
        "restored": 1
    }
    found = (*trial(source="calibration"), Accepted(id="1", changes=UP, reasons=(Reason.MEASURED,)))
    assert totals(after(seen, *found).series) == {"found": 1}
    assert after(seen, *found).found == ("loss.aux",)
    wanted = (*trial(), Accepted(id="1", changes=UP, reasons=(Reason.OPERATOR,)))
    assert totals(after(seen, *wanted).series) == {"hand": 1}


def test_a_knob_rests_after_it_moved_and_all_rest_after_a_reject() -> None:
    seen = Observed(metric=1.0)
    moved = after(seen, seen, *trial())
    assert rests_until(moved, "loss.aux") == 3
    assert rests_until(moved, "loss.kl") == 0
    back = RolledBack(id="1", changes=UP, reasons=(Reason.NO_GAIN,))
    assert rests_until(after(seen, *trial(back)), "loss.kl") == 3
    order = Command(id="c", verb="reject", arguments={}, accepted=True, message="")
    assert rests_until(after(seen, order), "loss.kl") == 2
    longer = Command(
        id="c",
        verb="set",
        arguments={"changes": {"safety.global_cooldown": 5}},
        accepted=True,
        message="",
    )
    assert rests_until(after(seen, longer, *trial(back)), "loss.kl") == 7
    assert setting(after(seen, longer), "safety", "global_cooldown") == 5
    assert setting(View(), "safety", "global_cooldown") is None


def test_equal_blockers_in_a_row_are_one_happening() -> None:
    blocked = Blocked(reasons=(Reason.NOT_FINITE,))
    bad = Observed(metric=float("nan"))
    view = after(bad, blocked, bad, blocked, bad, blocked)
    (happening,) = view.happenings
    assert (happening.times, happening.decision) == (3, 3)
    assert view.blocked == (Reason.NOT_FINITE,)
    assert after(bad, blocked, Observed(metric=1.0)).blocked == ()


def test_a_restore_takes_the_place_of_the_block_that_it_explains() -> None:
    bad, blocked = Observed(metric=9.0), Blocked(reasons=(Reason.SPIKE,))
    back = Restored(symptom="spike", to_step=3, snapshot="s")
    assert [h.event for h in after(bad, blocked, back).happenings] == [back]
    assert [h.event for h in after(bad, blocked, bad, back).happenings] == [blocked, back]
    other = Restored(symptom="divergence", to_step=3, snapshot="s")
    assert [h.event for h in after(bad, blocked, other).happenings] == [blocked, other]


def test_a_look_ahead_is_under_way_until_it_has_ended() -> None:
    begun = LookAhead(arms={}, chosen="", steps=0, purpose="calibration", low=0.1, high=10.0)
    done = LookAhead(arms={}, chosen="2", steps=40, purpose="calibration")
    assert after(begun).looking == begun
    assert after(begun, done).looking is None
    assert after(begun, opened()).looking is None, "the process that looked is gone"


def test_a_knob_that_is_added_later_is_known() -> None:
    first = after(Observed(metric=1.0))
    more = opened({"late.knob": {**_late(), "risk": "high"}})
    view = take(first, make_lines([(moment(1, 10), more)])[0])
    assert list(view.rails) == ["loss.aux", "loss.kl", "late.knob"]
    assert isinstance(more, Opened)


def test_a_knob_of_a_kind_that_a_later_version_knows_is_left_out() -> None:
    odd = {"mutation": {"mode": "mult"}, "space": {"type": "complex"}, "base": 1.0}
    first = make_lines([(moment(), opened({"a.b": odd, "late.knob": _late()}))])
    assert list(view_of(first).rails) == ["late.knob"]


def _late() -> dict:  # type: ignore[type-arg]
    space = {"type": "float", "low": 0.0, "high": 1.0}
    return {"mutation": {"mode": "set", "risk": "high"}, "space": space, "base": 0.5}
