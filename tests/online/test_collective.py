"""One decision for all ranks: alone, and with several that are simulated in one process."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import nn
from torch.optim import SGD

from gptune import Tuner
from gptune.audit import audit_data
from gptune.configs import Mode
from gptune.errors import StateError
from gptune.events import Accepted, Applied, Blocked, Command, Line, RolledBack
from gptune.foreign import Answer
from gptune.online.collective import (
    Alone,
    DifferError,
    Start,
    Vote,
    Word,
    agree,
    begin,
    decline,
    first,
    is_alone,
    joint,
    mean,
    vote,
)
from gptune.online.decision import Seen
from gptune.online.session import Session
from gptune.records import Action, Reading, Reason
from gptune.run_directory import control
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
    """One of several; its n-th exchange may fail, the one with which it starts left out."""

    number: int
    board: Board
    fails_at: int = -1
    done: int = -1
    count: int = 2

    def exchange(self, mine: bytes) -> list[bytes]:
        self.done += 1
        if self.done == self.fails_at:
            self.board.barrier.abort()  # as a process that dies closes its connections
            raise ConnectionError("the connection is gone")
        told = self.board.tell(self.number, mine)
        return [told[number] for number in range(self.count)]


def on_both(do: Callable[[int], Any]) -> list[Any]:
    """Do something on two ranks at once."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(do, range(2)))


class Processes:
    """Two ranks of one run, each with its own knobs, and its own disk."""

    def __init__(
        self,
        fails_at: tuple[int, int] = (-1, -1),
        disks: list[MemoryDisk] | None = None,
        **other: tuple[Any, Any],
    ) -> None:
        board = Board(Barrier(2))
        self.ranks = [Rank(number, board, fails_at[number]) for number in range(2)]
        self.disks = disks or [MemoryDisk(), MemoryDisk()]
        self.knobs = [[FakeKnob("loss.aux"), FakeKnob("loss.kl")] for _ in range(2)]

        def make(number: int) -> Tuner:
            usual: dict[str, Any] = {"recipe": RECIPE, "seed": number, "run_dir": "/runs/one"}
            return Tuner(
                list(self.knobs[number]),
                file_system=self.disks[number],
                ranks=self.ranks[number],
                **usual | {name: value[number] for name, value in other.items()},
            )

        self.tuners = on_both(make)

    def report(self, *values: Any) -> list[Any]:
        def one(number: int) -> Any:
            self.tuners[number].step()
            return self.tuners[number].report({"val/loss": values[number]})

        return on_both(one)

    def order(self, verb: str, **arguments: Any) -> Any:
        """Let rank 0 find an order at its next decision; gives how to read the answer."""
        ident = control.send(self.disks[0], Path("/runs/one"), verb, arguments)
        return lambda: control.read_answer(self.disks[0], Path("/runs/one"), ident)

    def lines(self, number: int) -> list[Line]:
        directory = self.tuners[number].run_dir
        assert directory is not None
        return read_events(directory, self.disks[number])

    def changes(self, number: int) -> tuple[list[str], list[str]]:
        """List the changes that a rank has made, and those that it has judged or put back."""
        events = [line.event for line in self.lines(number)]
        made = [event.id for event in events if isinstance(event, Applied)]
        ends = [event.id for event in events if isinstance(event, Accepted | RolledBack)]
        return made, ends

    def log(self, number: int) -> bytes:
        directory = self.tuners[number].run_dir
        assert directory is not None
        return self.disks[number].read(directory / "events.jsonl")

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
    assert [vote(Alone(), Vote(goes_on=here)).goes_on for here in (True, False)] == [True, False]
    assert begin(Alone(), Start(run_dir=None, seed=3), pytest.fail) == (None, 3)
    assert begin(Alone(), Start(run_dir="x", seed=3), pytest.fail) == (Path("x"), 3)


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
    st.integers(1, 18),
    st.lists(ANYTHING, min_size=5, max_size=5),
)
def test_an_exchange_that_fails_leaves_nothing_open_on_any_rank_and_stops_tuning(
    who: int, number: int, metrics: list[Any]
) -> None:
    ranks = Processes(fails_at=(number, -1) if who == 0 else (-1, number))
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
    ranks.tuners[0]._session._propose = broken
    for made in ranks.report(1.0, 1.0):
        assert (made.verdict, made.reasons) == (Action.BLOCKED, (Reason.KERNEL_FAILED,))
    assert ranks.stand(0) == ranks.stand(1)
    assert ranks.tuners[1].mode == "observe"
    assert ranks.tuners[0]._session.state.pending is None


def broken(*_: object) -> object:
    raise ValueError("the kernel is broken")


@pytest.mark.parametrize("off", [0, 1])
def test_a_rank_in_mode_off_makes_nobody_wait_and_the_others_stop_tuning(off: int) -> None:
    ranks = Processes()
    ranks.tuners[off]._session.set_mode(Mode.OFF)  # as nobody can from outside
    made = ranks.report(1.0, 1.0)
    assert made[1 - off].reasons == (Reason.RANKS_DIFFER,)
    assert ranks.tuners[1 - off].mode == "observe"
    ranks.report(1.0, 1.0)  # nobody waits for one that does not come
    ranks.tuners[off].set_mode("active")
    assert ranks.tuners[off].mode == "off"


@pytest.mark.parametrize("off", [0, 1])
def test_where_one_is_to_be_off_all_are(off: int) -> None:
    ranks = Processes()
    ranks.report(1.0, 1.0)
    ranks.tuners[off].set_mode("off")
    ranks.report(1.0, 1.0)
    assert ranks.stand(0) == ranks.stand(1)
    assert ranks.stand(0)[0] == "off"
    ranks.report(1.0, 1.0)
    on_both(lambda number: ranks.tuners[number].set_mode("active"))
    ranks.report(1.0, 1.0)
    assert ranks.stand(0)[0] == ranks.stand(1)[0] == "active"


def test_ranks_that_are_all_in_mode_off_go_on_together_when_they_are_enabled() -> None:
    ranks = Processes(mode=("off", "off"))
    ranks.report(1.0, 1.0)
    on_both(lambda number: ranks.tuners[number].set_mode("active"))
    for _ in range(3):
        ranks.report(1.0, 1.0)
    assert ranks.stand(0) == ranks.stand(1)
    assert ranks.tuners[0].mode == "active"
    assert ranks.stand(0)[3] == 3


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


@given(st.lists(st.tuples(*[st.booleans()] * 6), min_size=1, max_size=4))
def test_what_one_rank_finds_wrong_all_do(flags: list[tuple[bool, ...]]) -> None:
    names = ("anomaly", "poisoned", "looking", "guarded", "trains", "blames_data")
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
        assert ranks.stand(0)[:3] == ranks.stand(1)[:3], "seen in the same decision"
    before = [ranks.stand(number)[:3] for number in range(2)]
    assert before[0] == before[1]
    assert before[0][0] == "observe"
    assert not any(made.verdict is Action.APPLIED for made in ranks.report(0.5, 0.5))
    assert [ranks.stand(number)[:3] for number in range(2)] == before


BREAKS = ("apply", "snapshot", "validate", "lies", "restore once")


@FEW
@given(
    st.sampled_from(["exchange", "disk", "memory", *BREAKS]),
    st.integers(0, 1),
    st.integers(1, 14),
    st.lists(ANYTHING, min_size=3, max_size=3),
)
def test_ranks_that_part_all_have_the_values_that_the_user_gave(
    how: str, who: int, when: int, metrics: list[Any]
) -> None:
    fails = when + 4 if how == "exchange" else -1
    ranks = Processes(fails_at=(fails, -1) if who == 0 else (-1, fails))
    ranks.order("apply", moves={"loss.aux": 2.0})
    ranks.report(1.0, 1.0)
    ranks.order("apply", moves={"loss.kl": 0.5})
    for metric in metrics:
        ranks.report(metric, metric)
    session = ranks.tuners[who]._session
    if how == "disk":
        ranks.disks[who].break_for_ever("write")
    elif how == "memory":
        session.state = replace(session.state, safety=replace(session.state.safety, rejects=77))
    elif how in BREAKS:
        for knob in ranks.knobs[who]:
            knob.lies, knob.fails = how == "lies", {how} - {"lies", "restore once"}
            knob.once = how == "restore once"
    for _ in range(8):
        ranks.report(1.0, 1.0)
    assert all(tuner._session.together.parted for tuner in ranks.tuners)
    for number, tuner in enumerate(ranks.tuners):
        assert tuner.values == {"loss.aux": 1.0, "loss.kl": 1.0}
        assert [knob.value for knob in ranks.knobs[number]] == [1.0, 1.0]
        assert how == "disk" or audit_data(ranks.log(number)).holds


class Unspeakable(dict[str, Any]):
    def __repr__(self) -> str:
        raise ValueError("there are no words for it")


def test_a_rank_that_has_no_words_for_what_it_sees_parts_at_once() -> None:
    ranks = Processes()
    ranks.report(1.0, 1.0)
    session = ranks.tuners[1]._session
    session.state = replace(session.state, point=Unspeakable(session.state.point))
    made = ranks.report(1.0, 1.0)
    assert {one.reasons for one in made} == {(Reason.RANKS_DIFFER,)}


def test_a_plan_that_cannot_be_put_into_words_is_a_failure_of_the_kernel_on_all() -> None:
    ranks = Processes()
    session = ranks.tuners[0]._session

    def plan(seen: Seen) -> Answer[Any]:
        made = Session._plan(session, seen)
        assert made.value is not None
        return Answer(value=(replace(made.value[0], overrides={"x": object()}), made.value[1]))

    session._plan = plan
    for made in ranks.report(1.0, 1.0):
        assert (made.verdict, made.reasons) == (Action.BLOCKED, (Reason.KERNEL_FAILED,))
    assert ranks.stand(0) == ranks.stand(1)
    assert not ranks.tuners[0]._session.together.parted


# what ranks begin with -------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["/runs/given", None])
def test_every_rank_has_a_directory_in_that_of_rank_0_and_its_seed(given: str | None) -> None:
    ranks = Processes(run_dir=(given, None))
    mine, theirs = (tuner.run_dir for tuner in ranks.tuners)
    assert mine is not None
    assert theirs == mine / "rank-1"
    assert given is None or mine == Path(given)
    for _ in range(4):
        ranks.report(1.0, 2.0)
    first, second = (ranks.lines(number) for number in range(2))
    assert [line.checksum for line in first] == [line.checksum for line in second]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"recipe": (RECIPE, {**RECIPE, "mode": "observe"})}, "recipe.mode"),
        ({"mode": ("off", "active")}, "recipe.mode"),
        ({"total_steps": (100, 200)}, "total_steps"),
        (
            {"recipe": (RECIPE, {**RECIPE, "actuators": {"loss": {"keys": {"kl": MOVES}}}})},
            "recipe.actuators",
        ),
    ],
)
def test_ranks_that_begin_with_different_things_all_say_so(other: Any, named: str) -> None:
    board, raised, usual = Board(Barrier(2)), list[str](), dict[str, Any](recipe=RECIPE)

    def make(number: int) -> None:
        with pytest.raises(StateError, match=named) as caught:
            Tuner(
                [FakeKnob("loss.aux"), FakeKnob("loss.kl")],
                run_dir="/runs/one",
                file_system=MemoryDisk(),
                ranks=Rank(number, board),
                **usual | {name: value[number] for name, value in other.items()},
            )
        raised.append(str(caught.value))

    on_both(make)
    assert len(set(raised)) == 1
    assert "rank 1" in raised[0]


def test_ranks_with_different_knobs_say_so() -> None:
    board = Board(Barrier(2))
    knobs = [["loss.aux", "loss.kl"], ["loss.aux"]]

    def make(number: int) -> None:
        made = [FakeKnob(name) for name in knobs[number]]
        with pytest.raises(StateError, match="rank 1 has knobs"):
            Tuner(
                list(made),
                recipe={**RECIPE, "actuators": {"loss": {}}},
                file_system=MemoryDisk(),
                run_dir="/runs/one",
                ranks=Rank(number, board),
            )

    on_both(make)


def test_a_rank_that_is_not_there_when_the_other_begins_is_an_error() -> None:
    with pytest.raises(StateError, match=r"do not answer .*; make the Tuner on all of them"):
        Processes(fails_at=(0, -1))


def test_a_rank_that_is_not_there_when_the_other_loads_is_an_error() -> None:
    ranks = Processes(fails_at=(1, -1))
    state = {number: tuner.state_dict() for number, tuner in enumerate(ranks.tuners)}

    def load(number: int) -> None:
        with pytest.raises(StateError, match="load_state_dict on all of them"):
            ranks.tuners[number].load_state_dict(state[number])

    on_both(load)


# orders ----------------------------------------------------------------------------------------


def test_what_rank_0_is_ordered_all_ranks_do_at_the_next_decision() -> None:
    ranks = Processes()
    ranks.report(1.0, 1.0)
    read = ranks.order("pin", family="loss.kl")
    other = ranks.order("set", changes={"safety.patience": 5})
    for tuner in ranks.tuners:
        for _ in range(200):  # between decisions nobody looks
            tuner.step()
    assert read() is None
    ranks.report(1.0, 1.0)
    assert read().accepted
    assert other().accepted
    for number, tuner in enumerate(ranks.tuners):
        assert tuner._session.state.safety.pinned == ("loss.kl",)
        assert tuner.recipe.safety.patience == 5
        verbs = [line.event.verb for line in ranks.lines(number) if isinstance(line.event, Command)]
        assert verbs == ["pin", "set"]
    assert ranks.stand(0) == ranks.stand(1)


@FEW
@given(st.lists(st.sampled_from(["apply", "disable", "enable", "huge", "reject"]), max_size=5))
def test_after_any_orders_all_ranks_stand_alike(verbs: list[str]) -> None:
    ranks = Processes()
    arguments: dict[str, Any] = {"apply": {"moves": {"loss.aux": 2.0}}, "huge": {"n": 10**30}}
    for verb in verbs:
        read = ranks.order(verb, **arguments.get(verb, {}))
        ranks.report(1.0, 1.0)
        assert read() is not None
        assert ranks.stand(0) == ranks.stand(1)
    assert not any(tuner._session.together.parted for tuner in ranks.tuners)


def test_ranks_that_have_parted_take_no_orders() -> None:
    ranks = Processes(fails_at=(-1, 3))
    read = ranks.order("apply", moves={"loss.aux": 2.0})
    ranks.report(1.0, 1.0)
    assert read().accepted
    refused = ranks.order("apply", moves={"loss.aux": 0.5})
    ranks.report(1.0, 1.0)
    assert not refused().accepted
    assert "parted" in refused().message
    assert ranks.stand(0)[2] == ranks.stand(1)[2]


def test_a_frozen_run_takes_no_orders_on_any_rank() -> None:
    ranks = Processes()
    control.freeze(ranks.disks[0], Path("/runs/one"), on=True)
    read = ranks.order("set", changes={"safety.patience": 5})
    ranks.report(1.0, 1.0)
    assert not read().accepted
    assert all(tuner.recipe.safety.patience != 5 for tuner in ranks.tuners)
    assert ranks.stand(0) == ranks.stand(1)


@FEW
@given(st.integers(0, 1), st.integers(0, 4), st.sampled_from(["observe", "suggest"]))
def test_a_mode_that_one_rank_leaves_all_leave_in_the_same_decision(
    who: int, sound: int, mode: str
) -> None:
    ranks = Processes()
    for _ in range(sound):
        ranks.report(1.0, 1.0)
    ranks.tuners[who].set_mode(mode)
    assert ranks.stand(0) == ranks.stand(1), "until then they train alike"
    made = ranks.report(1.0, 1.0)
    assert ranks.stand(0) == ranks.stand(1)
    assert ranks.stand(0)[0] == mode
    assert not any(one.changes for one in made) or mode == "suggest"
    enabled = ranks.order("enable")
    ranks.report(1.0, 1.0)
    assert enabled().accepted
    assert ranks.stand(0)[0] == ranks.stand(1)[0] == "active"


def test_a_failure_that_one_rank_is_to_stop_for_stops_all() -> None:
    ranks = Processes(
        recipe=({**RECIPE, "safety": {**RECIPE["safety"], "on_error": "disable"}},) * 2
    )
    ranks.report(1.0, 1.0)
    ranks.tuners[1]._session.caught.append(ValueError("of this rank alone"))
    ranks.report(1.0, 1.0)
    assert ranks.stand(0) == ranks.stand(1), "until the next decision they train alike"
    ranks.report(1.0, 1.0)
    assert ranks.stand(0) == ranks.stand(1)
    assert ranks.stand(0)[0] == "observe"
    assert not ranks.tuners[0]._session.together.parted


def test_an_order_that_waits_at_the_end_is_answered() -> None:
    ranks = Processes()
    read = ranks.order("disable")
    on_both(lambda number: ranks.tuners[number].close())
    assert read().message == "the run has ended"


# loading ---------------------------------------------------------------------------------------


def test_a_state_that_one_rank_cannot_go_on_from_is_one_to_begin_anew_with_on_all() -> None:
    ranks = Processes()
    while ranks.tuners[0]._session.state.pending is None:
        ranks.report(1.0, 1.0)
    state = ranks.tuners[0].state_dict()
    on_both(lambda number: ranks.tuners[number].close())
    board = Board(Barrier(2))
    disks = [ranks.disks[0], MemoryDisk()]  # the second was lost

    def resume(number: int) -> Tuner:
        tuner = Tuner(
            [FakeKnob("loss.aux"), FakeKnob("loss.kl")],
            recipe=RECIPE,
            run_dir="/runs/one",
            file_system=disks[number],
            ranks=Rank(number, board),
            resume=True,
        )
        tuner.load_state_dict(state)
        return tuner

    tuners = on_both(resume)
    assert tuners[0].values == tuners[1].values
    assert all(tuner._session.state.pending is None for tuner in tuners)


class Resumed(Processes):
    """Two ranks that go on where others were, on the same disks."""

    def __init__(self, past: Processes, state: Any, **other: tuple[Any, Any]) -> None:
        on_both(lambda number: past.tuners[number].close())
        super().__init__(resume=(True, True), disks=past.disks, **other)
        on_both(lambda number: self.tuners[number].load_state_dict(state))


@FEW
@given(st.sampled_from(["lost", "parted", "its own lines"]), st.integers(1, 6), st.integers(0, 2))
def test_a_run_goes_on_however_the_logs_of_its_ranks_differ(
    how: str, count: int, more: int
) -> None:
    ranks = Processes()
    for _ in range(count):
        ranks.report(1.0, 1.0)
    if how == "parted":
        ranks.ranks[1].fails_at = ranks.ranks[1].done + 2
        ranks.report(1.0, 1.0)
        ranks.report(1.0, 1.0)
    elif how == "lost":
        ranks.disks[1] = MemoryDisk()
    else:
        log = ranks.tuners[1]._session.log
        log.append(ranks.tuners[1]._session.now(), Blocked(reasons=(Reason.LOOK_AHEAD,)))
    for _ in range(3):
        state = ranks.tuners[0].state_dict()
        ranks = Resumed(ranks, state)
        assert ranks.stand(0) == ranks.stand(1)
        for _ in range(more):
            ranks.report(1.0, 1.0)
            assert ranks.stand(0) == ranks.stand(1)
        assert how == "parted" or ranks.stand(0)[0] == "active"
        assert not ranks.tuners[0]._session.together.parted
        for number in range(2):
            assert audit_data(ranks.log(number)).holds


@pytest.mark.parametrize("who", [0, 1])
def test_a_state_that_one_rank_cannot_read_is_refused_on_all_ranks(who: int) -> None:
    ranks = Processes()
    ranks.report(1.0, 1.0)
    states = [ranks.tuners[0].state_dict() for _ in range(2)]
    states[who]["version"] = 99

    def load(number: int) -> None:
        with pytest.raises(StateError, match="is not what this version"):
            ranks.tuners[number].load_state_dict(states[number])

    on_both(load)


def test_a_state_of_another_run_is_refused_on_all_ranks() -> None:
    ranks, other = Processes(), Processes()
    for one in (ranks, other):
        one.report(1.0, 1.0)
    other.report(0.5, 0.5)
    state = other.tuners[0].state_dict()
    on_both(lambda number: ranks.tuners[number].close())
    again = Processes(resume=(True, True), disks=ranks.disks)

    def load(number: int) -> None:
        with pytest.raises(StateError, match="does not belong to the log"):
            again.tuners[number].load_state_dict(state)

    on_both(load)


# the guard -------------------------------------------------------------------------------------


class Guarded:
    """Two ranks whose models are guarded."""

    def __init__(self) -> None:
        board = Board(Barrier(2))
        self.models = [nn.Linear(3, 1) for _ in range(2)]
        self.models[1].load_state_dict(self.models[0].state_dict())

        def make(number: int) -> Tuner:
            model = self.models[number]
            optimizer = SGD(model.parameters(), lr=0.01)
            usual: dict[str, Any] = {"mode": "guard", "run_dir": "/runs/one"}
            rank, disk = Rank(number, board), MemoryDisk()
            return Tuner(optimizer, model=model, ranks=rank, file_system=disk, **usual)

        self.tuners = on_both(make)

    def report(self, value: float) -> list[Any]:
        def one(number: int) -> Any:
            self.tuners[number].step(value)
            return self.tuners[number].report({"val/loss": value})

        return on_both(one)

    def ruin(self) -> None:
        for model in self.models:
            with torch.no_grad():
                model.weight.fill_(math.nan)

    @property
    def sound(self) -> list[bool]:
        return [bool(model.weight.isfinite().all()) for model in self.models]


@FEW
@given(st.sampled_from(["alike", "another step", "not there", "fails"]), st.integers(0, 1))
def test_ranks_put_the_same_training_state_back_or_none_does(how: str, who: int) -> None:
    ranks = Guarded()
    for _ in range(3):
        ranks.report(1.0)
    rescue = ranks.tuners[who]._care._rescue
    if how == "another step":
        rescue._steps["last"] = rescue._steps["best"] = 1
    elif how == "not there":
        rescue._steps.clear()
    elif how == "fails":
        rescue._state.restore = broken
    ranks.ruin()
    made = ranks.report(math.nan)
    if how == "alike":
        assert ranks.sound == [True, True]
        assert all(one.restored for one in made)
    else:
        assert not any(one.restored for one in made)
        assert not ranks.sound[who]
        assert how == "fails" or not any(ranks.sound)
    assert len({tuner.mode for tuner in ranks.tuners}) == 1
    ranks.report(1.0)  # nobody waits for the other
