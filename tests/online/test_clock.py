"""The clock: the time of day for logs, and a time that never runs backwards."""

import time

from gptune.online.clock import Clock, SystemClock
from tests.fakes import ToldClock


def test_now_is_the_time_of_day_in_utc_seconds() -> None:
    clock: Clock = SystemClock()
    before = time.time()
    now = clock.now()
    assert before <= now <= time.time()


def test_elapsed_never_runs_backwards_and_measures_seconds() -> None:
    clock = SystemClock()
    seen = [clock.elapsed() for _ in range(1000)]
    assert seen == sorted(seen)
    begin, reference = clock.elapsed(), time.perf_counter()
    time.sleep(0.02)
    passed, expected = clock.elapsed() - begin, time.perf_counter() - reference
    assert passed >= 0.02
    assert abs(passed - expected) < 0.01


def test_elapsed_does_not_follow_a_change_of_the_time_of_day() -> None:
    clock = SystemClock()
    assert abs(clock.elapsed() - clock.now()) > 1, "two different clocks"


def test_a_test_may_be_the_clock() -> None:
    clock: Clock = ToldClock(time=100.0, tick=0.5)
    assert [clock.now(), clock.now(), clock.elapsed()] == [100.5, 101.0, 1.5]
