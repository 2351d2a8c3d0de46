"""The safety ledger and the time."""

from collections import Counter

import pytest
from hypothesis import given

from gptune.events import Blocked, Command, LookAhead, Observed
from gptune.report.ledger import MOST, counts_of, incidents_of, time_of
from gptune.report.run import tell
from tests.logs import Entries, KernelRun, kernel_runs, make_lines, moment, opened
from tests.report.pages import kernel_run, run_of


@given(kernel_runs())
def test_the_ledger_counts_what_the_log_holds(made: KernelRun) -> None:
    run = kernel_run(made)
    kinds = Counter(str(line.event.__struct_config__.tag) for line in made.lines)
    counts = dict(counts_of(run))
    assert counts["decisions"] == kinds["observed"]
    assert counts["decisions blocked"] == kinds["blocked"]
    assert counts["changes undone"] == kinds["rolled_back"]
    assert counts["changes that could not be undone"] == kinds["rollback_failed"]
    assert counts["pauses"] == kinds["paused"]
    assert len(incidents_of(run)) <= MOST
    assert all(one.says or one.kind for one in incidents_of(run))


def test_commands_that_were_refused_are_counted_and_told() -> None:
    refused = Command(id="c", verb="set", arguments={"a": 1}, accepted=False, message="no")
    run = run_of(
        (0, opened()),
        (1, refused),
        (1, Command(id="d", verb="pause", arguments={}, accepted=True, message="")),
    )
    assert dict(counts_of(run))["commands refused"] == 1
    assert [one.says for one in incidents_of(run)] == ["set a=1: refused: no"]


def test_time_is_all_of_it_and_no_part_is_negative() -> None:
    begun = LookAhead(arms={}, chosen="", steps=0, purpose="calibration")
    ended = LookAhead(arms={}, chosen="2", steps=20, purpose="calibration")
    events: Entries = [
        (moment(), opened()),
        (moment(), begun),
        (moment(1, 10), Observed(metric=1.0)),
    ]
    events += [(moment(2, 20), ended), (moment(3, 30), Observed(metric=1.0))]
    events += [(moment(3, 30), Blocked(reasons=())), (moment(4, 40), Observed(metric=1.0))]
    run = tell("r", make_lines(events))
    shares = time_of(run)
    assert {share.kind: share.seconds for share in shares} == {
        "rest": 3.0,
        "tried": 2.0,
        "decided": 1.0,
    }
    assert sum(share.part for share in shares) == pytest.approx(1.0)


def test_a_log_without_times_has_none() -> None:
    run = tell("r", make_lines([(moment(), opened())], wall=[{}]))
    assert all(share.seconds == share.part == 0.0 for share in time_of(run))
