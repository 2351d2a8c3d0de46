"""Every generator that training draws from goes back, and nothing is drawn in between."""

import copy
import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptune.actuators.chance import get_chance, set_chance


@pytest.fixture(autouse=True)
def _keep_chance() -> Iterator[None]:
    before = get_chance()
    yield
    set_chance(before)


DRAWS: dict[str, Callable[[], float]] = {
    "python": random.random,
    "python, normal": lambda: random.gauss(0.0, 1.0),  # keeps every second one for later
    "numpy": lambda: float(np.random.rand()),  # noqa: NPY002
    "numpy, normal": lambda: float(np.random.randn()),  # noqa: NPY002  # keeps one too
    "torch": lambda: float(torch.rand(())),
    "torch, normal": lambda: float(torch.randn(())),
    "torch, order": lambda: float(torch.randperm(1000)[0]),
}
drawings = st.lists(st.sampled_from(sorted(DRAWS)), max_size=12)


def draw(names: list[str]) -> list[float]:
    return [DRAWS[name]() for name in names]


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@given(drawings, drawings, drawings)
def test_the_same_numbers_are_drawn_again_whatever_was_drawn_in_between(
    before: list[str], between: list[str], after: list[str]
) -> None:
    draw(before)
    state = through_a_file(get_chance())
    first = draw(after)
    for _ in range(2):
        draw(between)
        set_chance(state)
        assert draw(after) == first


@pytest.mark.parametrize("name", DRAWS)
def test_each_generator_goes_back_in_the_middle_of_a_pair_of_normal_numbers(name: str) -> None:
    draw([name])
    state = get_chance()
    first = draw([name] * 5)
    set_chance(state)
    assert draw([name] * 5) == first


def test_a_look_at_chance_draws_nothing() -> None:
    state = get_chance()
    get_chance()
    first = draw(sorted(DRAWS))
    set_chance(state)
    assert draw(sorted(DRAWS)) == first


def test_a_state_is_unchanged_by_what_is_drawn_after_it_was_put_back() -> None:
    state = get_chance()
    words = state["torch"].clone()
    rest = copy.deepcopy({key: state[key] for key in ("python", "numpy")})
    set_chance(state)
    draw(sorted(DRAWS) * 400)  # more than Python and NumPy keep in store
    assert torch.equal(state["torch"], words)
    assert {key: state[key] for key in ("python", "numpy")} == rest


def test_states_of_gpus_that_are_not_here_are_left_out() -> None:
    state = get_chance()
    first = draw(["torch", "python"])
    there_were = [torch.zeros(16, dtype=torch.uint8)] * (torch.cuda.device_count() + 1)
    set_chance({**state, "cuda": there_were})
    assert draw(["torch", "python"]) == first
