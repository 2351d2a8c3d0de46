"""The programs that look for the learning rate, on a simulated training."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.online import calibration
from gptune.online.calibration import (
    PROGRAMS,
    Climb,
    Evaluate,
    Found,
    Program,
    Restore,
    Save,
    Taken,
    Terms,
    Train,
    estimate,
    place,
    race,
)

TERMS = Terms(total=1000, budget=100, low=-2.0, high=2.0)


@dataclass(slots=True)
class Run:
    """A training that goes best at ``good`` decades, and blows up a decade and a half above.

    Its state is its loss; the cosine rises from -.4 to nothing at a decade above the good rate.
    """

    good: float
    scale: float = 1.0
    shift: float = 0.0
    loss: float = 2.0
    slots: dict[str, float] = field(default_factory=dict)
    trained: list[float] = field(default_factory=list)
    commands: list[Any] = field(default_factory=list)

    def play(self, program: Program) -> Found:
        answer: Any = None
        while True:
            try:
                command = program.send(answer)
            except StopIteration as end:
                found: Found = end.value
                return found
            self.commands.append(command)
            answer = self.answer(command)

    def answer(self, command: Any) -> Any:
        match command:
            case Train(decades):
                self.trained.append(decades)
                off = decades - self.good
                speed = 0.05 * 10 ** min(off, 0.0) if off < 1.3 else -0.6
                self.loss *= 1 - speed
                alignment = min(0.05, max(-0.4, -0.4 + 0.45 * (off + 0.2)))
                return Taken(self.scale * self.loss + self.shift, alignment, decades)
            case Save(slot):
                self.slots[slot] = self.loss
            case Restore(slot):
                self.loss = self.slots[slot]
            case Evaluate():
                return -(self.scale * self.loss + self.shift)
        return None


GOODS = st.floats(-2.5, 3.5)


@pytest.mark.parametrize("name", PROGRAMS)
@given(GOODS, st.integers(40, 400), st.tuples(st.floats(-2, -0.1), st.floats(0.1, 2)))
def test_a_program_keeps_to_its_terms(
    name: str, good: float, budget: int, bounds: tuple[float, float]
) -> None:
    low, high = bounds
    terms = Terms(total=10 * budget, budget=budget, low=low, high=high)
    run = Run(good)
    found = run.play(PROGRAMS[name](terms))
    assert run.commands[0] == Save("origin")
    assert all(low - 1e-9 <= x <= high + 1e-9 for x in (*run.trained, found.decades))
    assert 0 <= found.wasted <= budget
    assert found.wasted <= len(run.trained)


@pytest.mark.parametrize("name", PROGRAMS)
@given(GOODS, st.integers(40, 400), st.integers(0, 4))
def test_no_more_is_thrown_away_than_may_be_though_nothing_can_be_measured(
    name: str, good: float, budget: int, sound: int
) -> None:
    class Blind(Run):
        def answer(self, command: Any) -> Any:
            answer = super().answer(command)
            asked = sum(isinstance(one, Evaluate) for one in self.commands)
            return math.nan if isinstance(command, Evaluate) and asked > sound else answer

    run = Blind(good)
    found = run.play(PROGRAMS[name](replace(TERMS, total=10 * budget, budget=budget)))
    assert 0 <= found.wasted <= budget


@pytest.mark.parametrize("name", PROGRAMS)
@given(GOODS, st.integers(0, 60))
def test_no_arm_is_longer_than_its_batches_can_be_given_again(
    name: str, good: float, room: int
) -> None:
    run, at, slots = Run(good), 0, {}
    run.play(PROGRAMS[name](replace(TERMS, room=room)))
    for command in run.commands:
        match command:
            case Train():
                at += 1
            case Save(slot):
                slots[slot] = at
            case Restore(slot):
                at = slots[slot]
            case Evaluate():
                assert calibration.SHORTEST // 2 <= at <= room


@given(good=st.floats(-1.2, 1.2))
def test_the_ramp_finds_the_right_rate_from_wherever_it_starts(good: float) -> None:
    found = Run(good).play(PROGRAMS["ramp"](TERMS))
    assert abs(found.decades - good) < 0.75
    assert found.aim is not None
    assert -2 <= found.aim <= 2


@given(good=st.floats(-1, 1), scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_scaling_the_loss_or_adding_to_it_changes_nothing(
    good: float, scale: float, shift: float
) -> None:
    one = Run(good).play(PROGRAMS["ramp"](TERMS))
    other = Run(good, scale=scale, shift=shift).play(PROGRAMS["ramp"](TERMS))
    assert (one.decades, one.turn, one.blow_up) == (other.decades, other.turn, other.blow_up)


@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_that_are_not_finite_never_win(name: str) -> None:
    class Exploding(Run):
        def answer(self, command: Any) -> Any:
            taken = Run.answer(self, command)
            if isinstance(command, Train) and command.decades > -1:
                return replace(taken, loss=math.nan)
            return taken

    assert Exploding(0.0).play(PROGRAMS[name](TERMS)).decades <= 0.0


def test_a_race_is_paired_and_goes_on_with_the_winner() -> None:
    run = Run(0.0)
    run.slots["origin"] = run.loss
    found = run.play(race((-1.0, 0.0, -0.5), 25))
    assert run.trained == [-1.0] * 25 + [0.0] * 25 + [-0.5] * 12  # behind half-way, and lower
    assert found.decades == 0.0
    assert found.wasted == len(run.trained) - 25
    assert run.loss == pytest.approx(2.0 * 0.95**25)  # the winner's, though another came after it


def values(*given: float) -> Callable[[Any], Any]:
    """Answer what is measured, one after another."""
    queue = list(given)

    def answer(command: Any) -> Any:
        if isinstance(command, Evaluate):
            return queue.pop(0)
        return Taken(1.0, None, 0.0) if isinstance(command, Train) else None

    return answer


def play(answers: Callable[[Any], Any], **how: float) -> Found:
    """Race the user's rate against half a decade less."""
    program, answer = race((0.0, -0.5), 20, **how), None  # type: ignore[arg-type]
    try:
        while True:
            answer = answers(program.send(answer))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def test_the_first_arm_wins_a_tie_and_what_is_not_clear() -> None:
    # of each arm: half-way, at the end
    assert play(values(0.5, 1.0, 0.6, 1.0)).decades == 0.0
    assert play(values(0.5, 1.0, 0.6, 1.01)).decades == -0.5
    assert play(values(0.5, 1.0, 0.6, 1.01), least=0.02).decades == 0.0
    assert play(values(0.5, 1.0, 0.6, 1.05), least=0.02).decades == -0.5
    assert play(values(0.5, math.nan, 0.6, 0.7), least=math.inf).decades == -0.5


def test_a_lower_arm_behind_half_way_ends_there_unless_the_first_one_fell_back() -> None:
    assert play(values(0.5, 1.0, 0.4)) == Found(decades=0.0, arms={0.0: 1.0, -0.5: 0.4}, wasted=10)
    assert play(values(0.5, 0.3, 0.4, 0.6)).decades == -0.5


def test_where_the_first_rate_may_be_far_too_high_a_lower_arm_is_trained_to_its_end() -> None:
    assert play(values(0.5, 0.6, 0.4, 0.7), halfway=False).decades == -0.5


def test_where_every_arm_is_lost_it_was_not_the_rate_and_the_origin_is_back() -> None:
    class Lost(Run):
        def answer(self, command: Any) -> Any:
            taken = Run.answer(self, command)
            return replace(taken, loss=math.nan) if isinstance(command, Train) else taken

    lost = Lost(0.0)
    lost.slots["origin"] = before = lost.loss
    found = lost.play(race((0.3, -0.2), 25))
    assert found.decades == 0.3
    assert found.wasted == len(lost.trained) == 2
    assert lost.loss == before


def test_a_loss_that_is_suddenly_no_number_is_no_blow_up_and_the_users_rate_stands() -> None:
    class Poisoned(Run):
        def answer(self, command: Any) -> Any:
            taken = Run.answer(self, command)
            is_bad = isinstance(command, Train) and len(self.trained) == 6
            return replace(taken, loss=math.nan) if is_bad else taken

    assert Poisoned(1.0).play(PROGRAMS["ramp"](TERMS)).decades == 0.0


def test_an_arm_that_would_be_too_short_is_not_run() -> None:
    run = Run(0.0)
    assert run.play(race((0.3, -0.2), calibration.SHORTEST - 1)).decades == 0.3
    assert run.trained == []


@given(st.floats(-2, 2), st.floats(0, 2), st.floats(0, 0.999), st.floats(0.3, 1))
def test_the_estimate_rises_with_both_signals_and_falls_with_momentum_and_level(
    turn: float, gap: float, inertia: float, level: float
) -> None:
    terms = replace(TERMS, inertia=inertia, level=level)
    seen = Climb(begin=-2, end=turn + gap, steps=40, turn=turn, blew_up=True)
    at = estimate(terms, seen)
    assert estimate(terms, replace(seen, turn=turn - 0.1)) <= at
    assert estimate(terms, replace(seen, end=turn + gap + 0.1)) >= at
    assert estimate(replace(terms, inertia=min(0.999, inertia + 0.1)), seen) <= at + 1e-9
    assert estimate(replace(terms, level=level * 1.1), seen) < at
    assert at < turn + gap


@given(st.floats(0.1, 1.5), st.floats(0.1, 1.5))
def test_the_more_is_left_of_the_cosine_the_further_away_is_the_turn(a: float, b: float) -> None:
    low, high = sorted((a, b))
    bounded = Climb(begin=-2, end=2, steps=41)
    far = estimate(TERMS, replace(bounded, left=high))
    assert estimate(TERMS, replace(bounded, left=low)) <= far


def test_without_any_signal_the_users_rate_stands() -> None:
    assert estimate(TERMS, Climb(begin=-2, end=0.5, steps=26)) == 0.0


@given(st.floats(-9, 9))
def test_a_rate_near_to_the_users_own_is_the_users_own(decades: float) -> None:
    placed = place(TERMS, decades)
    assert TERMS.low <= placed <= TERMS.high
    assert (placed == 0.0) is (abs(decades) <= calibration.STAND)
