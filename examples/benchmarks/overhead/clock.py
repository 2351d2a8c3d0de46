"""The clock of the overhead benchmark: two things take turns, so that noise hits both alike."""

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns

US, MS = 1e-3, 1e-6  # nanoseconds -> microseconds, milliseconds


@dataclass(frozen=True, slots=True)
class Effort:
    """How often each thing is measured."""

    repeats: int  # turns that a loop is taken
    calls: int  # calls a turn
    decisions: int
    lines: int  # durable lines
    imports: int  # processes of each kind
    copies: int  # snapshots of the training state
    long: int  # decisions of a long run
    steps: int  # training steps under a framework's callback
    backend: str = "inductor"  # that compiles the step


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    value: float
    unit: str
    better: str = "lower"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector out of a measurement."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def time_loop(call: Callable[[], object] | None, calls: int) -> float:
    """Time one call in a loop [ns]; ``None`` is the empty loop."""
    if call is None:
        begin = perf_counter_ns()
        for _ in range(calls):
            pass
        return (perf_counter_ns() - begin) / calls
    begin = perf_counter_ns()
    for _ in range(calls):
        call()
    return (perf_counter_ns() - begin) / calls


def take_turns(
    one: Callable[[], object] | None, other: Callable[[], object] | None, effort: Effort
) -> tuple[list[float], list[float]]:
    """Time two calls in turns, each first every second time [ns]."""
    times: tuple[list[float], list[float]] = ([], [])
    pair = (one, other)
    with undisturbed():
        for call in pair:
            time_loop(call, effort.calls)  # warm up
        for turn in range(effort.repeats):
            for which in (0, 1) if turn % 2 else (1, 0):
                times[which].append(time_loop(pair[which], effort.calls))
    return times


def paired_difference(without: Sequence[float], with_it: Sequence[float]) -> float:
    """Give the median over the turns of what the second costs more [ns]."""
    return statistics.median(b - a for a, b in zip(without, with_it, strict=True))


def paired_ratio(without: Sequence[float], with_it: Sequence[float]) -> float:
    """Give the median over the turns of how many times longer the second takes."""
    return statistics.median(b / a for a, b in zip(without, with_it, strict=True))
