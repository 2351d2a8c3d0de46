"""What a ramp reads: when the loss blows up, when the cosine is spent."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from gptune.online.signals import Cosines, Losses


@given(st.lists(st.floats(0.5, 1.0), min_size=20, max_size=60))
def test_noise_that_stays_within_what_it_was_is_no_blow_up(noise: list[float]) -> None:
    losses = Losses()
    falling = [2.0 - 0.02 * n + 0.1 * x for n, x in enumerate(noise)]
    assert not any(map(losses.blows_up, falling))
    assert losses.blows_up(math.inf)


def test_first_losses_that_lie_close_together_by_chance_do_not_make_noise_a_blow_up() -> None:
    chance = random.Random(0)
    flat = [[chance.gauss(4.0, 0.1) for _ in range(60)] for _ in range(300)]
    alarms = sum(any(map(Losses().blows_up, run)) for run in flat)
    assert alarms <= 1  # by the first eight losses alone: six


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.integers(15, 50))
def test_a_blow_up_is_seen_soon_whatever_the_scale(scale: float, shift: float, when: int) -> None:
    losses = Losses()
    fine = [2.0 - 0.01 * n + 0.02 * (n % 3) for n in range(when)]
    assert not any(losses.blows_up(scale * loss + shift) for loss in fine)
    rising = [2.0 + 0.5 * n for n in range(10)]
    assert any(losses.blows_up(scale * loss + shift) for loss in rising)


@given(st.floats(-0.9, -0.1), st.integers(15, 40))
def test_the_cosine_has_turned_once_it_is_spent_and_not_before(deep: float, when: int) -> None:
    cosines = Cosines()
    assert not any(cosines.has_turned(deep) for _ in range(when))
    assert any(cosines.has_turned(0.0) for _ in range(20))


def test_without_cosines_there_is_no_turn() -> None:
    cosines = Cosines()
    assert not any(cosines.has_turned(None) for _ in range(50))
    assert cosines.left is None
