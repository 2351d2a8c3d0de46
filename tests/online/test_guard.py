"""What the guard sees, and what it does not."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from gptune.configs import Guard
from gptune.online import guard
from gptune.online.guard import GuardState, examine, healthy
from gptune.records import Reason

RULES = Guard()


def after(values: list[float]) -> GuardState:
    state = GuardState()
    for number, value in enumerate(values, start=1):
        state = healthy(state, 10 * number, value)
    return state


def noisy(seed: int, count: int = 30) -> list[float]:
    chance = random.Random(seed)
    return [-1 / (n + 1) + chance.gauss(0, 0.02) for n in range(count)]


def symptoms(values: list[float]) -> list[Reason | None]:
    state, seen = GuardState(), []
    for number, value in enumerate(values, start=1):
        seen.append(examine(RULES, state, 10 * number, value))
        if seen[-1] is None:
            state = healthy(state, 10 * number, value)
    return seen


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_a_run_that_only_gets_better_is_never_ill(values: list[float]) -> None:
    assert not any(symptoms(sorted(values)))


@given(st.integers(0, 50), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_adding_a_constant_or_scaling_the_metric_changes_no_symptom(
    seed: int, scale: float, shift: float
) -> None:
    values = [*noisy(seed), -3.0, *noisy(seed + 1, 5)]
    assert symptoms([scale * v + shift for v in values]) == symptoms(values)


@given(st.integers(0, 200))
def test_a_value_far_below_all_others_is_a_spike(seed: int) -> None:
    assert examine(RULES, after(noisy(seed)), 310, -5.0) is Reason.SPIKE


def test_noise_is_no_spike() -> None:
    ill = sum(any(symptoms(noisy(seed, 40))) for seed in range(300))
    assert ill <= 15  # the bar of the benchmark: one run in twenty


def test_a_slow_loss_of_half_the_progress_is_a_divergence() -> None:
    rise = [-2.0 + 0.1 * n for n in range(16)]
    fall = [rise[-1] - 0.02 * n for n in range(1, 60)]
    assert Reason.DIVERGENCE in symptoms([*rise, *fall])


def test_too_few_values_say_nothing() -> None:
    assert examine(RULES, after([0.0] * (guard.LEAST - 1)), 100, -1e9) is None


def test_what_it_remembers_is_bounded_and_survives_in_its_summary() -> None:
    state = after([float(n) for n in range(100)])
    assert len(state.values) == len(state.steps) == guard.KEPT
    assert (state.start, state.best) == (0.0, 99.0)


@given(st.integers(1, 12), st.integers(0, 12))
def test_it_gives_up_after_as_many_restores_as_it_may_make(limit: int, made: int) -> None:
    state = GuardState()
    for number in range(made):
        state = guard.restored(state, 10 * number, 1000)
    assert guard.gives_up(Guard(max_restores=limit), state) is (made >= limit)


@given(st.integers(0, 1000), st.integers(0, 1000), st.none() | st.integers(100, 5000))
def test_a_restore_soon_after_another_is_a_repeat(first: int, gap: int, total: int | None) -> None:
    state = guard.restored(GuardState(), first, total)
    span = guard.SOON * (first + gap if total is None else total)
    assert guard.is_repeat(state, first + gap, total) is (gap <= span)
    assert guard.restored(state, first + gap, total).repeats == int(gap <= span)
    assert not guard.is_repeat(GuardState(), first, total)


@given(st.lists(st.integers(0, 50), max_size=6))
def test_looks_ahead_never_throw_away_more_than_their_share(wasted: list[int]) -> None:
    state, made = GuardState(), 0
    for steps in wasted:
        if guard.may_look(state, 100, steps, 300):
            state, made = guard.looked(state, 100, steps), made + steps
    assert state.looked == made <= guard.LOOKS * 300
    assert not guard.may_look(GuardState(), 280, 20, 300)


def test_what_comes_soon_after_a_look_comes_soon_after_a_restore() -> None:
    state = guard.restored(GuardState(), 100, 1000)
    assert not guard.is_repeat(state, 300, 1000)
    assert guard.is_repeat(guard.looked(state, 220, 80), 300, 1000)


def test_training_is_lost_at_the_second_value_that_is_not_finite() -> None:
    state = after([0.0, 0.1])
    assert not guard.is_lost(state)
    assert not guard.is_lost(guard.take_note(GuardState(), finite=False))
    lost = guard.take_note(state, finite=False)
    assert guard.is_lost(lost)
    back = guard.take_note(guard.restored(lost, 40, None), finite=False)
    assert not guard.is_lost(back)
    assert guard.is_lost(guard.take_note(healthy(back, 50, 0.0), finite=False))


def test_a_new_best_value_since_a_restore_says_that_training_gets_on() -> None:
    state = guard.restored(after([0.0, 0.1]), 30, None)
    assert not guard.has_improved(healthy(state, 40, 0.1))
    assert guard.has_improved(healthy(state, 40, 0.2))


def test_the_best_state_serves_when_the_newest_did_not_help_or_lies_far_below() -> None:
    level = after([0.0, 0.1, 0.05, 0.1, 0.08, 0.1])
    assert not guard.prefers_best(RULES, level, repeat=False)
    assert guard.prefers_best(RULES, level, repeat=True)
    fallen = after([0.0, 0.1, 0.05, 0.1, 0.08, 5.0, 0.1, 0.1])
    assert guard.prefers_best(RULES, fallen, repeat=False)
    assert math.isfinite(fallen.deepest)
