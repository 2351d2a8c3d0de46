"""One decision for all ranks: alone, and with several that are simulated in one process."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune import Tuner
from gptune.events import Accepted, Applied, RolledBack
from gptune.online.collective import (
    Alone,
    DifferError,
    Word,
    agree,
    decline,
    first,
    is_alone,
    joint,
    mean,
)
from gptune.online.decision import Seen
from gptune.records import Action, Reading, Reason
from gptune.run_directory.event_log import read_events
from tests.doubles import FakeKnob
from tests.fakes import MemoryDisk

SECONDS = 20.0  # after which a rank that waits for another is a failure
FEW = settings(max_examples=max(8, settings().max_examples // 4))
MOVES: dict[str, Any] = {"bounds": [0.1, 10.0], "max_step": 2.0, "cooldown": 0}
RECIPE: dict[str, Any] = {
    "actuators": {"loss": {"keys": {"aux": MOVES, "kl": MOVES}}},
    "search": {"algorithm": "random", "startup_trials": 0},
    "acceptance": {"reference": "last"},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 99},
}


@dataclass
class Board:
    """What ranks in threads tell each other."""

    barrier: Barrier
    values: dict[int, Any] = field(default_factory=dict)

    def tell(self, rank: int, value: Any) -> dict[int, Any]:
        """Give all ranks what each of them told."""
        self.values[rank] = value
        self.barrier.wait(SECONDS)
        told = dict(self.values)
        self.barrier.wait(SECONDS)
        return told


@dataclass
class Rank:
    """One of several; its n-th exchange may fail."""

    number: int
    board: Board
    fails_at: int = 0
    done: int = 0
    count: int = 2

    def exchange(self, mine: bytes) -> list[bytes]:
        self.done += 1
        if self.done == self.fails_at:
            self.board.barrier.abort()  # as a process that dies closes its connections
            raise ConnectionError("the connection is gone")
        told = self.board.tell(self.number, mine)
        return [told[number] for number in range(self.count)]


class Processes:
    """Two ranks of one run, each with its own knobs, and its own directory."""

    def __init__(self, fails_at: tuple[int, int] = (0, 0), modes: Any = (None, None)) -> None:
        board = Board(Barrier(2))
        self.ranks = [Rank(number, board, fails_at[number]) for number in range(2)]
        self.disks = [MemoryDisk(), MemoryDisk()]
        self.knobs = [[FakeKnob("loss.aux"), FakeKnob("loss.kl")] for _ in range(2)]
        self.tuners = [
            Tuner(
                list(self.knobs[number]),
                recipe=RECIPE,
                seed=number,
                run_dir=Path(f"/runs/{number}"),
                file_system=self.disks[number],
                ranks=self.ranks[number],
                mode=modes[number],
            )
            for number in range(2)
        ]

    def report(self, *values: Any) -> list[Any]:
        def one(number: int) -> Any:
            self.tuners[number].step()
            return self.tuners[number].report({"val/loss": values[number]})

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(one, range(2)))

    def changes(self, number: int) -> tuple[list[str], list[str]]:
        """List the changes that a rank has made, and those that it has judged or put back."""
        events = [line.event for line in read_events(Path(f"/runs/{number}"), self.disks[number])]
        made = [event.id for event in events if isinstance(event, Applied)]
        ends = [event.id for event in events if isinstance(event, Accepted | RolledBack)]
        return made, ends

    def stand(self, number: int) -> tuple[Any, ...]:
        tuner = self.tuners[number]
        live = [knob.value for knob in self.knobs[number]]
        return tuner.mode, tuner.values, live, tuner._session.state.decision


ANYTHING = st.floats(-2, 2) | st.sampled_from([float("nan"), None])


def test_alone_a_value_is_given_back_and_everybody_agrees() -> None:
    word = Word(failure="why")
    assert Alone().exchange(b"any") == [b"any"]
    assert first(Alone(), word) is word
    assert agree(Alone(), lambda: pytest.fail("alone, nothing is looked at"))
    decline(Alone())
    assert is_alone()


@FEW
@given(st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1, max_size=8))
def test_all_ranks_stand_alike_after_every_decision_whatever_each_has_measured(
    metrics: list[tuple[Any, Any]],
) -> None:
    ranks = Processes()
    for pair in metrics:
        mine, theirs = ranks.report(*pair)
        assert ranks.stand(0) == ranks.stand(1)
        assert (mine.verdict, mine.changes) == (theirs.verdict, theirs.changes)


@FEW
@given(
    st.integers(0, 1),
    st.integers(1, 14),
    st.lists(ANYTHING, min_size=5, max_size=5),
)
def test_an_exchange_that_fails_leaves_nothing_open_on_any_rank_and_stops_tuning(
    who: int, number: int, metrics: list[Any]
) -> None:
    ranks = Processes(fails_at=(number, 0) if who == 0 else (0, number))
    for metric in metrics:
        ranks.report(metric, metric)
    for one, tuner in enumerate(ranks.tuners):
        assert tuner.mode == "observe"
        assert tuner._session.state.pending is None
        assert [knob.value for knob in ranks.knobs[one]] == list(tuner.values.values())
        begun, ended = ranks.changes(one)
        assert begun == ended
        tuner.set_mode("active")
        assert tuner.mode == "observe"
    kept = [ranks.stand(one)[1:3] for one in range(2)]
    assert not any(made.changes for made in ranks.report(0.5, 0.5))
    assert [ranks.stand(one)[1:3] for one in range(2)] == kept


@FEW
@given(st.integers(0, 4))
def test_a_kernel_that_fails_on_rank_0_stops_tuning_on_all(sound: int) -> None:
    ranks = Processes()
    for _ in range(sound):
        ranks.report(1.0, 1.0)
    ranks.tuners[0]._session._propose = broken  # type: ignore[assignment,method-assign]
    for made in ranks.report(1.0, 1.0):
        assert (made.verdict, made.reasons) == (Action.BLOCKED, (Reason.KERNEL_FAILED,))
    assert ranks.stand(0) == ranks.stand(1)
    assert ranks.tuners[1].mode == "observe"
    assert ranks.tuners[0]._session.state.pending is None


def broken(*_: object) -> object:
    raise ValueError("the kernel is broken")


@pytest.mark.parametrize("off", [0, 1])
def test_a_rank_in_mode_off_makes_nobody_wait_and_the_others_stop_tuning(off: int) -> None:
    ranks = Processes(modes=("off", None) if off == 0 else (None, "off"))
    made = ranks.report(1.0, 1.0)
    assert made[1 - off].reasons == (Reason.RANKS_DIFFER,)
    assert ranks.tuners[1 - off].mode == "observe"
    ranks.report(1.0, 1.0)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=5), st.integers(0, 5))
def test_a_metric_is_the_mean_over_ranks_unless_one_has_no_number(
    values: list[float], bad: int
) -> None:
    readings = [Reading(value=value) for value in values]
    found = mean(readings)
    assert found.fault is None
    assert min(values) - 1e285 <= found.value <= max(values) + 1e285
    fault = Reading(fault=Reason.NOT_FINITE, raw="nan")
    assert mean([*readings[:bad], fault, *readings[bad:]]) == fault


@given(st.lists(st.tuples(*[st.booleans()] * 5), min_size=1, max_size=4))
def test_what_one_rank_finds_wrong_all_do(flags: list[tuple[bool, ...]]) -> None:
    names = ("anomaly", "poisoned", "looking", "guarded", "trains")
    every = [
        replace(Seen(step=3, objective=Reading(value=1.0)), **dict(zip(names, one, strict=True)))
        for one in flags
    ]
    seen = joint(every)
    for place, name in enumerate(names):
        found = [one[place] for one in flags]
        due = all(found) if name in ("guarded", "trains") else any(found)
        assert getattr(seen, name) is due


def test_ranks_must_have_taken_the_same_steps_and_report_the_same_metrics() -> None:
    one = Seen(step=3, objective=Reading(value=1.0))
    with pytest.raises(DifferError, match="steps"):
        joint([one, Seen(step=4, objective=Reading(value=1.0))])
    backups = {"grad/norm": Reading(value=1.0)}
    with pytest.raises(DifferError, match="recipes"):
        joint([one, Seen(step=3, objective=Reading(value=1.0), backups=backups)])


@FEW
@given(
    st.integers(0, 1),
    st.sampled_from(["apply", "snapshot", "validate", "lies"]),
    st.integers(0, 3),
)
def test_ranks_that_differ_put_everything_back_and_stop_tuning(
    who: int, how: str, sound: int
) -> None:
    ranks = Processes()
    for _ in range(sound):
        ranks.report(1.0, 1.0)
    for knob in ranks.knobs[who]:
        knob.lies = how == "lies"
        knob.fails = {how} - {"lies"}
    for _ in range(6):
        ranks.report(1.0, 1.0)
    before = [ranks.stand(number)[:3] for number in range(2)]
    assert before[0] == before[1]
    assert before[0][0] == "observe"
    assert not any(made.verdict is Action.APPLIED for made in ranks.report(0.5, 0.5))
    assert [ranks.stand(number)[:3] for number in range(2)] == before
