"""Automatic adjustment, whole: a world that moves, deaths at any moment, rates of error."""

import math
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune import Float
from gptune.adjustment.adjustment import AutomaticAdjustment
from gptune.adjustment.course import Rules
from gptune.adjustment.duel import Terms
from gptune.adjustment.state import FILE, Phase
from gptune.adjustment.tuning import Tuning
from gptune.configs import Safety
from gptune.errors import RunDirectoryError, StateError, UsageError
from gptune.run_directory.file_system import Disk

COOLDOWN = 600.0


class Killed(BaseException):
    """The end of the process."""


class Clock:
    def __init__(self) -> None:
        self.time = 1e9

    def now(self) -> float:
        return self.time

    def elapsed(self) -> float:
        return self.time


class Mortal(Disk):
    """A disk at whose n-th replacement the process dies, before or after it."""

    def __init__(self, nth: int = -1, *, after: bool = False) -> None:
        super().__init__()
        self.left, self.after = nth, after

    def replace(self, path: Path, data: bytes, **more: Any) -> None:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        super().replace(path, data, **more)
        if self.left == 0:
            raise Killed


class World:
    """A service whose success depends on a parameter, and on where the best one lies."""

    def __init__(self, seed: int = 0) -> None:
        self.best, self.x = 0.2, 0.2
        self.chance, self.applied = random.Random(seed), list[float]()
        self.dies = ""  # before | after, in apply

    def rate(self, x: float) -> float:
        return max(0.0, 0.95 - 2 * (x - self.best) ** 2)

    def serve(self, x: float) -> float:
        return float(self.chance.random() < self.rate(x))

    def collect(self) -> list[bool]:
        return [bool(self.serve(self.x)) for _ in range(50)]

    def apply(self, candidate: Mapping[str, float]) -> None:
        if self.dies == "before":
            self.dies = ""
            raise Killed
        self.x = candidate["x"]
        self.applied.append(self.x)
        if self.dies == "after":
            self.dies = ""
            raise Killed

    def canary(self, candidate: Mapping[str, float]) -> Iterator[tuple[float, float]]:
        while True:
            yield self.serve(self.x), self.serve(candidate["x"])

    def loss(self, params: Mapping[str, float]) -> float:
        return (params["x"] - self.best) ** 2


def make(world: World, place: Path, clock: Clock, **chosen: Any) -> AutomaticAdjustment:
    study = Tuning(
        objective=chosen.pop("objective", world.loss),
        space={"x": Float(0.0, 1.0)},
        n_trials=chosen.pop("n_trials", 8),
        method="random",
        seed=chosen.pop("seed", 0),
    )
    usual: dict[str, Any] = {
        "canary": world.canary,
        "directory": place,
        "running": {"x": 0.2},
        "clock": clock,
        "cooldown": COOLDOWN,
        "adjustment_interval": None,
    }
    return AutomaticAdjustment(
        chosen.pop("collect", world.collect),
        chosen.pop("retrain", dict),
        chosen.pop("apply", world.apply),
        study=study,
        **{**usual, **chosen},
    )


def poll(one: AutomaticAdjustment, clock: Clock, count: int) -> None:
    for _ in range(count):
        clock.time += 60.0
        one.poll()


def test_when_the_world_moves_it_tunes_compares_and_hands_over(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with make(world, tmp_path, clock) as one:
        poll(one, clock, 30)
        assert world.applied == [], "as long as all is well nothing is changed"
        world.best = 0.8
        poll(one, clock, 30)
        assert len(world.applied) == 1
        assert abs(world.x - 0.8) < 0.2
        (report,) = one.reports
        assert (report["trigger"], report["verdict"]) == ("low_success", "kept")
        assert report["before"] == {"x": 0.2}
        assert report["candidate"] == {"x": world.x}
        assert report["study"]["before"] > report["study"]["value"]
        status = one.status()
        assert (status["phase"], status["applied"], status["running"]) == (
            "watching",
            1,
            {"x": world.x},
        )


def test_a_bad_candidate_is_put_back_and_never_applied(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with make(world, tmp_path, clock, objective=lambda p: -p["x"]) as one:  # planted: all wrong
        for _ in range(4):
            one.manual_tune()
            poll(one, clock, 30)
        assert world.applied == []
        assert len(one.reports) == 4
        assert {report["verdict"] for report in one.reports} == {"put_back"}
        assert "of" in one.reports[0]["why"]
        assert one.status()["running"] == {"x": 0.2}


def test_after_failures_in_a_row_it_pauses(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with make(world, tmp_path, clock, objective=lambda p: math.nan) as one:
        world.best = 0.9
        poll(one, clock, 400)
        assert all("no trial gave a number" in report["why"] for report in one.reports)
        begun = [datetime.fromisoformat(report["begun"]).timestamp() for report in one.reports]
        streak = Safety().max_global_reject_streak
        assert len(begun) > streak
        pause = begun[streak] - begun[streak - 1]
        assert pause >= Safety().pause_decisions * COOLDOWN
        assert all(later - earlier >= COOLDOWN for earlier, later in pairwise(begun))


@pytest.mark.parametrize("name", ["retrain", "apply", "canary", "collect"])
def test_what_the_users_functions_raise_never_leaves_poll(name: str, tmp_path: Path) -> None:
    def breaks(*_: Any) -> Any:
        raise ValueError("broken")

    world, clock = World(), Clock()
    with make(world, tmp_path, clock, **{name: breaks}) as one:
        world.best = 0.8
        if name == "collect":
            one.manual_tune()
        poll(one, clock, 12)
        if name == "collect":
            assert world.x != 0.2, "by hand it is tuned without records, too"
        else:
            assert "raised ValueError: broken" in one.status()["complaint"]
            assert world.x == 0.2
            assert {report["verdict"] for report in one.reports} == {"put_back"}


@pytest.mark.parametrize("dies", ["before", "after"])
@pytest.mark.parametrize("asks", [True, False])
def test_a_death_while_it_is_applied_never_applies_twice(
    dies: str, asks: bool, tmp_path: Path
) -> None:
    world, clock = World(), Clock()
    more: dict[str, Any] = {"current": lambda: {"x": world.x}} if asks else {}
    one = make(world, tmp_path, clock, **more)
    one.manual_tune()
    world.best, world.dies = 0.8, dies
    with pytest.raises(Killed):
        poll(one, clock, 5)
    one.close()
    assert len(world.applied) == (dies == "after")
    with make(world, tmp_path, clock, **more) as again:
        assert again.state.phase is Phase.WATCHING
        assert len(world.applied) == (dies == "after")
        (report,) = again.reports
        assert report["verdict"] == ("put_back" if asks and dies == "before" else "kept")
        assert again.state.running == (
            {"x": 0.2} if report["verdict"] == "put_back" else report["candidate"]
        )


class Lives:
    """One adjustment over many processes, each of which may die at any moment."""

    def __init__(self, place: Path) -> None:
        self.world, self.clock, self.place = World(), Clock(), place
        self.offered = [0.2]
        self.begun: list[tuple[int, float]] = []  # number, and how far the clock had come
        self.latest = self.clock.time

    def canary(self, candidate: Mapping[str, float]) -> Iterator[tuple[float, float]]:
        self.offered.append(candidate["x"])
        return self.world.canary(candidate)

    def go_on(  # noqa: PLR0917  as they are drawn
        self, seconds: float, best: float, nth: int, after: bool, dies: str, by_hand: bool
    ) -> None:
        world, before = self.world, len(self.world.applied)
        self.clock.time += seconds
        self.latest = max(self.latest, self.clock.time)
        world.best, world.dies = best, dies
        more: dict[str, Any] = {"canary": self.canary, "n_trials": 2}
        one = make(world, self.place, self.clock, **more)
        number, one._files = one.state.number, Mortal(nth, after=after)
        with suppress(Killed, StateError):
            if by_hand:
                one.manual_tune()
            one.poll()
        one._files = Disk()
        one.close()
        if one.state.number > number:
            self.begun.append((one.state.number, self.latest))
        assert len(world.applied) - before <= 1, "at most one at a time"
        assert world.x in self.offered
        assert len(set(world.applied)) == len(world.applied), "nothing is applied twice"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-100.0, 2000.0),  # how the clock moves
            st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]),  # where the best lies
            st.integers(0, 7),  # at which write it dies; 0: not
            st.booleans(),
            st.sampled_from(["", "", "before", "after"]),
            st.booleans(),  # whether somebody wants one by hand
        ),
        min_size=3,
        max_size=10,
    )
)
def test_whatever_happens_only_what_was_validated_is_in_charge(steps: list[Any]) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        lives = Lives(place)
        for step in steps:
            lives.go_on(*step)
        numbers = [number for number, _ in lives.begun]
        assert numbers == sorted(set(numbers))
        for (_, earlier), (_, later) in pairwise(lives.begun):
            assert later - earlier >= COOLDOWN, "the cooldown holds"
    finally:
        shutil.rmtree(place)


def decided(share: float, seed: int, place: Path, terms: Terms) -> bool:
    """Let one adjustment happen whose candidate wins a share of the pairs; says if it was kept."""
    chance, clock, world = random.Random(seed), Clock(), World(seed)

    def canary(candidate: Any) -> Iterator[tuple[float, float]]:
        while True:
            yield 0.5, float(chance.random() < share)

    rules = Rules(terms=terms, cooldown=COOLDOWN, adjustment_interval=None)
    more: dict[str, Any] = {"canary": canary, "n_trials": 1, "running": None, "rules": rules}
    with make(world, place / str(seed), clock, **more) as one:
        one.manual_tune()
        poll(one, clock, 3)
        (report,) = one.reports
    assert (len(world.applied) == 1) is (report["verdict"] == "kept")
    return bool(report["verdict"] == "kept")


@pytest.mark.slow
def test_over_two_hundred_adjustments_errors_are_as_rare_as_stated(tmp_path: Path) -> None:
    terms, count = Terms(), 200
    false = statistics.fmean(decided(0.5, seed, tmp_path / "no", terms) for seed in range(count))
    right = statistics.fmean(decided(0.6, seed, tmp_path / "yes", terms) for seed in range(count))
    room = 2 / math.sqrt(count)  # two standard errors of any rate, at most: and a rate is far below
    assert false <= terms.false_keep + room * math.sqrt(terms.false_keep)
    assert 1 - right <= terms.missed + room * math.sqrt(terms.missed)


def begun_on(rate: float, place: Path, every: float, records: int) -> int:
    """Give how many adjustments begin on a stream of one success rate, if nothing holds them."""
    chance, clock = random.Random(3), Clock()

    def collect() -> list[dict[str, Any]]:
        return [
            {"success": chance.random() < rate, "metric": chance.gauss(0.0, 1.0)}
            for _ in range(100)
        ]

    rules = Rules(
        false_alarm_every=every,
        adjustment_interval=None,
        cooldown=1.0,
        safety=Safety(max_global_reject_streak=10**6, global_cooldown=0),
    )
    more: dict[str, Any] = {"collect": collect, "n_trials": 1, "rules": rules, "cooldown": 1.0}
    world = World()
    with make(world, place, clock, objective=lambda params: math.nan, **more) as one:
        for _ in range(records // 100):
            clock.time += 60.0
            one.poll()
        return len(one.reports)


def test_on_a_stationary_stream_it_begins_no_more_often_than_stated(tmp_path: Path) -> None:
    every, records = 1000.0, 20_000
    stated = 2 * records / every  # two detectors watch, at the border of what they are to bear
    allowed = stated + 2 * math.sqrt(stated)
    assert begun_on(0.8, tmp_path / "fair", every, records) <= allowed
    assert begun_on(0.5, tmp_path / "low", every, records) > allowed, "the bound can be broken"
    assert begun_on(0.8, tmp_path / "rash", every / 20, records) > allowed


def test_by_hand_it_is_what_was_wanted_or_an_error(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with make(world, tmp_path, clock) as one:
        with pytest.raises(UsageError, match="algorithm: is unknown"):
            one.manual_tune(algorithm="sarsa")
        one.manual_tune("mine", method="random", n_trials=3)
        poll(one, clock, 1)
        (report,) = one.reports
        assert report["trigger"] == "by_hand"
        assert report["study"]["name"] == "mine/1"
        assert sum(report["study"]["trials"].values()) == 3
        with pytest.raises(StateError, match=r"must wait \(cooldown\)"):
            one.manual_tune()
        clock.time += 3 * COOLDOWN
        one.manual_tune()


def test_it_polls_in_a_thread_and_stops(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    seen = threading.Event()

    def collect() -> list[bool]:
        if one.status()["records"] > 100:
            seen.set()
        return world.collect()

    with make(world, tmp_path, clock, collect=collect) as one:
        one.start(interval=0.01)
        one.start(interval=0.01)
        assert seen.wait(20)
        assert one.status()["is_running"]
        one.stop()
        assert not one.status()["is_running"]
        count = one.status()["records"]
        time.sleep(0.05)
        assert one.status()["records"] == count
        with pytest.raises(UsageError, match="interval"):
            one.start(interval=0.0)


def test_a_directory_has_one_owner_and_a_broken_state_is_said(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with (
        make(world, tmp_path, clock),
        pytest.raises(RunDirectoryError, match="another live process"),
    ):
        make(world, tmp_path, clock)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(StateError, match="move the file away"):
        make(world, tmp_path, clock)
    (tmp_path / FILE).unlink()
    make(world, tmp_path, clock).close()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"retrain": 3}, "retrain: must be a function"),
        ({"apply": None}, "apply: must be a function"),
        ({"canary": "x"}, "canary: must be a function"),
        ({"collect": 3}, "collect: must be a function that gives"),
        ({"succes_threshold": 0.5}, "succes_threshold: is no argument; there are success_thres"),
        ({"success_threshold": 2.0}, "success_threshold: must lie"),
    ],
)
def test_a_wrong_argument_is_named(chosen: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        make(World(), tmp_path / "new", Clock(), **chosen)
    assert not (tmp_path / "new" / FILE).exists()


class Full(Disk):
    """A disk that takes nothing for a while."""

    full = False

    def replace(self, path: Path, data: bytes, **more: Any) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().replace(path, data, **more)


def test_without_a_disk_nothing_is_done_and_it_goes_on_afterwards(tmp_path: Path) -> None:
    world, clock, disk = World(), Clock(), Full()
    with make(world, tmp_path, clock, file_system=disk) as one:
        one.manual_tune()
        world.best, disk.full = 0.8, True
        poll(one, clock, 3)
        assert "No space left" in one.status()["complaint"]
        assert world.applied == []
        disk.full = False
        poll(one, clock, 3)
        assert len(world.applied) == 1


def test_a_disk_that_fails_while_it_is_applied_does_not_apply_twice(tmp_path: Path) -> None:
    world, clock, disk = World(), Clock(), Full()

    def apply(candidate: Mapping[str, float]) -> None:
        world.apply(candidate)
        disk.full = True

    with make(world, tmp_path, clock, file_system=disk, apply=apply) as one:
        one.manual_tune()
        world.best = 0.8
        poll(one, clock, 3)
        assert "No space left" in one.status()["complaint"]
        assert one.status()["running"] == {"x": world.x}
        disk.full = False
        poll(one, clock, 3)
        assert len(world.applied) == 1
    with make(world, tmp_path, clock) as again:
        assert again.status()["running"] == {"x": world.x}


def test_it_may_be_polled_by_hand_after_it_was_stopped(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with make(world, tmp_path, clock) as one:
        one.start(interval=0.01)
        one.stop()
        one.manual_tune()
        world.best = 0.8
        poll(one, clock, 3)
        assert len(world.applied) == 1


def test_a_stop_without_a_thread_stops_nobody(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with make(world, tmp_path, clock) as one:
        one.stop()
        one.manual_tune()
        world.best = 0.8
        poll(one, clock, 3)
        assert len(world.applied) == 1


def test_a_stop_out_of_the_thread_itself_leaves_a_study_that_goes_on(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    asked: list[Any] = []

    def objective(params: Mapping[str, float]) -> float:
        asked.append(params)
        if len(asked) == 3:
            one.stop()
        return world.loss(params)

    one = make(world, tmp_path, clock, objective=objective)
    one.manual_tune()
    world.best = 0.8
    one.start(interval=0.01)
    for _ in range(500):
        time.sleep(0.01)
        if len(asked) >= 3 and not one.status()["is_running"]:
            break
    time.sleep(0.2)
    assert len(asked) == 3, "the study was stopped"
    assert one.status()["phase"] == "tuning"
    poll(one, clock, 3)
    assert len(asked) == 8, "and has gone on"
    assert len(world.applied) == 1
    one.close()


def test_an_order_does_not_wait_for_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, clock = World(), Clock()
    begun, goes_on = threading.Event(), threading.Event()

    def objective(params: Mapping[str, float]) -> float:
        begun.set()
        goes_on.wait(20)
        return 0.0

    monkeypatch.setattr("gptune.adjustment.adjustment.PATIENCE", 0.1)
    with make(world, tmp_path, clock, objective=objective, n_trials=1) as one:
        one.manual_tune()
        one.start(interval=0.01)
        assert begun.wait(20)
        with pytest.raises(StateError, match="adjustment 1 is under way"):
            one.manual_tune()
        assert one.status()["phase"] == "tuning"
        goes_on.set()


def test_a_comparison_goes_on_over_many_short_lives(tmp_path: Path) -> None:
    world, clock, made = World(), Clock(), list[int]()

    def canary(candidate: Any) -> Iterator[tuple[float, float] | None]:
        yield from [(0.0, 1.0)] * 4
        yield None

    for number in range(9):  # as cron does it: once, and once more
        with make(world, tmp_path, clock, canary=canary, n_trials=1, running=None) as one:
            if number == 0:
                one.manual_tune()
            one.poll()
            made.append(one.state.duel.pairs)
            if one.reports:
                break
    (report,) = make_reports(world, tmp_path, clock)
    assert report["comparison"]["pairs"] > 12
    assert report["study"]["trials"] == {"complete": 1}, "what another process has tried"
    assert made[:3] == [4, 8, 12]


def make_reports(world: World, place: Path, clock: Clock) -> list[dict[str, Any]]:
    with make(world, place, clock) as one:
        return one.reports


def test_what_is_applied_is_what_was_compared_also_if_the_disk_fails(tmp_path: Path) -> None:
    world, clock, disk, made = World(), Clock(), Full(), list[Any]()

    def retrain(params: Mapping[str, float]) -> dict[str, float]:
        candidate = dict(params)
        made.append(candidate)
        return candidate

    def canary(candidate: Any) -> Iterator[tuple[float, float]]:
        for _ in range(16):
            yield 0.0, 1.0
        disk.full = True
        while True:
            yield 0.0, 1.0

    applied, world.best = list[Any](), 0.8
    more: dict[str, Any] = {"retrain": retrain, "canary": canary, "apply": applied.append}
    with make(world, tmp_path, clock, file_system=disk, **more) as one:
        one.manual_tune()
        poll(one, clock, 2)
        assert applied == []
        disk.full = False
        poll(one, clock, 1)
        assert len(made) == 1
        assert applied[0] is made[0]


def test_an_interrupt_while_it_is_applied_does_not_wedge_it(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with make(world, tmp_path, clock, current=lambda: {"x": world.x}) as one:
        one.manual_tune()
        world.best, world.dies = 0.8, "before"
        with pytest.raises(Killed):
            poll(one, clock, 2)
        assert one.poll() is Phase.WATCHING
        assert one.reports[0]["verdict"] == "put_back"


def test_who_does_not_know_what_runs_is_taken_at_no_word(tmp_path: Path) -> None:
    def current() -> dict[str, float]:
        raise ValueError("who knows")

    world, clock = World(), Clock()
    one = make(world, tmp_path, clock, current=current, running=None)
    one.manual_tune()
    world.best, world.dies = 0.8, "after"
    with pytest.raises(Killed):
        poll(one, clock, 2)
    one.close()
    with make(world, tmp_path, clock, current=current, running=None) as again:
        assert again.reports[0]["verdict"] == "kept"
        assert "current raised" in again.status()["complaint"]
        assert again.state.running == {"x": world.x}


def test_numbers_go_on_where_reports_lie_when_the_state_was_moved_away(tmp_path: Path) -> None:
    world, clock = World(), Clock()
    with make(world, tmp_path, clock) as one:
        one.manual_tune()
        poll(one, clock, 2)
    (tmp_path / FILE).unlink()
    asked: list[Any] = []

    def objective(params: Mapping[str, float]) -> float:
        asked.append(params)
        return 1.0

    with make(world, tmp_path, clock, objective=objective) as again:
        again.manual_tune()
        poll(again, clock, 2)
        assert [report["number"] for report in again.reports] == [1, 2]
        assert len(asked) == 8, "it is really tuned anew"


def test_a_closed_one_does_nothing_more(tmp_path: Path) -> None:
    one = make(World(), tmp_path, Clock())
    one.close()
    one.close()
    for call in (one.poll, one.manual_tune, one.start):
        with pytest.raises(StateError, match="it is closed"):
            call()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_died_is_not_said_to_run(tmp_path: Path) -> None:
    def collect() -> Any:
        sys.exit()

    with make(World(), tmp_path, Clock(), collect=collect) as one:
        one.start(interval=0.01)
        for _ in range(200):
            time.sleep(0.01)
            if not one.status()["is_running"]:
                break
        assert not one.status()["is_running"]


@pytest.mark.parametrize("running", [{"x": [1, 2]}, {"x": math.nan}, {"x": np.float32(0.2)}])
def test_what_cannot_be_kept_is_refused_and_the_directory_stays_free(
    running: Any, tmp_path: Path
) -> None:
    with pytest.raises(StateError, match="cannot be kept"):
        make(World(), tmp_path, Clock(), running=running)
    make(World(), tmp_path, Clock()).close()
