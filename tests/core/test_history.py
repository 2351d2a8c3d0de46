"""The history keeps the newest, turns what is not finite into the worst, and fades with age."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.configs import Decay
from gptune.core.history import HALF_LIFE, LEAST_WEIGHT, MOST_NOISE, History
from gptune.core.space import SearchSpace
from gptune.errors import SpaceError
from gptune.records import Float, Observation
from tests.strategies import any_float, moderate

SPACE = SearchSpace({"x": Float(0.0, 1.0)})
NONE = Decay(kind="none")
unit = st.floats(0, 1)
told = st.builds(
    Observation,
    point=st.fixed_dictionaries({"x": unit}),
    value=any_float | moderate,
    noise=st.none() | any_float,
    number=st.integers(0, 9),
)
tales = st.lists(told, max_size=15)
limits = st.integers(1, 8)


def after(limit: int, tale: list[Observation]) -> History:
    history = History.of(SPACE, limit)
    for observation in tale:
        history = history.add(observation)
    return history


def plain(count: int, limit: int = 300) -> History:
    values = [Observation(point={"x": i / count}, value=float(i)) for i in range(count)]
    return after(limit, values)


@given(limits, tales)
@settings(deadline=None)
def test_the_newest_are_kept_oldest_first_and_all_are_counted(
    limit: int, tale: list[Observation]
) -> None:
    history = after(limit, tale)
    assert history.count == len(tale)
    assert len(history.observations) == min(limit, len(tale))
    kept = tale[-limit:]
    assert [o.point for o in history.observations] == [o.point for o in kept]
    assert [o.number for o in history.observations] == list(range(len(tale)))[-limit:]


@given(limits, tales)
@settings(deadline=None)
def test_a_value_that_is_not_finite_becomes_the_worst_one_kept(
    limit: int, tale: list[Observation]
) -> None:
    history = History.of(SPACE, limit)
    for observation in tale:
        before = [o.value for o in history.observations]
        history = history.add(observation)
        newest = history.observations[-1].value
        assert math.isfinite(newest)
        if math.isfinite(observation.value):
            assert newest == observation.value
        else:
            assert newest == min(before, default=0.0)


@given(limits, tales)
@settings(deadline=None)
def test_noise_is_a_finite_variance_or_unknown(limit: int, tale: list[Observation]) -> None:
    for kept, given_ in zip(after(limit, tale).observations, tale[-limit:], strict=True):
        sound = given_.noise is not None and math.isfinite(given_.noise) and given_.noise >= 0
        assert kept.noise == (given_.noise if sound else None)


@given(limits, tales)
@settings(deadline=None, max_examples=30)
def test_adding_leaves_the_history_before_as_it_was(limit: int, tale: list[Observation]) -> None:
    history = after(limit, tale)
    before = (history.observations, history.count)
    history.add(Observation(point={"x": 0.5}, value=1.0))
    assert (history.observations, history.count) == before


@given(limits, tales)
@settings(deadline=None)
def test_training_data_line_up_with_what_was_kept(limit: int, tale: list[Observation]) -> None:
    history = after(limit, tale)
    data = history.data(NONE)
    n = len(history.observations)
    assert data.x.shape == (n, 1)
    for column in (data.y, data.noise, data.weight, data.age):
        assert column.shape == (n,)
        assert column.dtype == torch.float64
    assert data.y.tolist() == [o.value for o in history.observations]
    assert data.noise.tolist() == [o.noise or 0.0 for o in history.observations]
    assert data.x.flatten().tolist() == pytest.approx([o.point["x"] for o in history.observations])
    assert data.age.tolist() == list(range(n, 0, -1))  # the newest has age 1


@given(st.integers(1, 40))
@settings(deadline=None, max_examples=20)
def test_without_decay_every_observation_counts_alike(count: int) -> None:
    data = plain(count).data(NONE)
    assert torch.equal(data.weight, torch.ones_like(data.weight))
    assert data.half_life is None
    assert len(data.y) == count


@given(st.integers(1, 40), st.floats(0.5, 50))
@settings(deadline=None, max_examples=40)
def test_by_weights_an_observation_of_one_half_life_weighs_one_half(
    count: int, half_life: float
) -> None:
    data = plain(count).data(Decay(kind="weights", half_life=half_life))
    assert data.half_life is None
    assert torch.allclose(data.weight, torch.exp2(-data.age / half_life))
    assert bool((data.weight >= LEAST_WEIGHT).all())
    kept = [i for i in range(count) if 2 ** (-(count - i) / half_life) >= LEAST_WEIGHT]
    assert data.y.tolist() == [float(i) for i in kept]


def test_by_weights_what_weighs_nothing_is_left_out() -> None:
    data = plain(40).data(Decay(kind="weights", half_life=1.0))
    assert data.age.tolist() == list(range(9, 0, -1))  # 2 ** -10 is below a thousandth


@given(st.integers(1, 40), st.integers(2, 50))
@settings(deadline=None, max_examples=40)
def test_by_window_only_the_newest_count(count: int, window: int) -> None:
    data = plain(count).data(Decay(kind="window", window=window))
    assert data.y.tolist() == [float(i) for i in range(count)][-window:]
    assert torch.equal(data.weight, torch.ones_like(data.weight))
    assert data.half_life is None


@given(st.integers(1, 40), st.floats(0.5, 50))
@settings(deadline=None, max_examples=20)
def test_by_kernel_all_are_kept_and_their_ages_correlate(count: int, half_life: float) -> None:
    data = plain(count).data(Decay(kind="kernel", half_life=half_life))
    assert data.half_life == half_life
    assert len(data.y) == count
    assert torch.equal(data.weight, torch.ones_like(data.weight))


def test_auto_is_the_measured_half_life() -> None:
    assert plain(3).data(Decay(kind="kernel")).half_life == HALF_LIFE == 10.0


@pytest.mark.parametrize("kind", ["none", "weights", "kernel"])
def test_an_empty_history_gives_empty_data(kind: str) -> None:
    data = History.of(SPACE, 5).data(Decay(kind=kind))  # type: ignore[arg-type]
    assert data.x.shape == (0, 1)
    assert data.y.shape == (0,)


def test_ages_go_on_when_the_oldest_were_forgotten() -> None:
    data = plain(30, limit=4).data(NONE)
    assert data.age.tolist() == [4.0, 3.0, 2.0, 1.0]
    assert data.y.tolist() == [26.0, 27.0, 28.0, 29.0]


def test_a_point_outside_the_space_is_refused() -> None:
    with pytest.raises(SpaceError, match="'x'"):
        History.of(SPACE, 5).add(Observation(point={"x": 2.0}, value=1.0))


@given(limits, tales)
@settings(deadline=None, max_examples=30)
def test_a_history_made_of_what_another_kept_is_that_history(
    limit: int, tale: list[Observation]
) -> None:
    history = after(limit, tale)
    again = History.of(SPACE, limit, history.observations, history.count)
    assert again.observations == history.observations
    assert again.count == history.count
    assert torch.equal(again.places, history.places)


def rising(count: int, *, is_gain: bool) -> History:
    """A history whose values rise with time by far more than with the place."""
    values = [
        Observation(
            point={"x": (i * 0.37) % 1.0}, value=100.0 + 5.0 * i + (i * 0.37) % 1.0, is_gain=is_gain
        )
        for i in range(count)
    ]
    return after(300, values)


@pytest.mark.parametrize(
    ("decay", "is_gain", "taken"),
    [
        (Decay(kind="kernel"), False, True),
        (Decay(kind="kernel"), True, False),
        (Decay(kind="none"), False, False),
        (Decay(kind="weights"), False, False),
        (Decay(kind="none", detrend=True), False, True),
        (Decay(kind="kernel", detrend=True), True, True),
        (Decay(kind="kernel", detrend=False), False, False),
    ],
)
def test_a_trend_is_taken_out_of_raw_values_under_the_kernel_or_as_told(
    decay: Decay, is_gain: bool, taken: bool
) -> None:
    data = rising(20, is_gain=is_gain).data(decay)
    spread = float(data.y.max() - data.y.min())
    assert (spread < 40.0) is taken


@given(limits, tales)
@settings(deadline=None, max_examples=40)
def test_prepared_data_are_standardised_and_their_noise_is_scaled_alike(
    limit: int, tale: list[Observation]
) -> None:
    data = after(limit, tale).data(NONE)
    if len(data) == 0:
        return
    made = data.prepared()
    assert bool(made.y.isfinite().all())
    assert bool((made.noise >= 0).all())
    assert bool((made.noise <= MOST_NOISE).all())
    assert float(made.y.mean().abs()) < 0.1
    assert torch.equal(made.x, data.x)


def test_a_subset_keeps_all_columns_in_line() -> None:
    data = plain(6).data(NONE)
    chosen = torch.tensor([4, 1])
    part = data.subset(chosen)
    assert len(part) == 2
    assert part.y.tolist() == [4.0, 1.0]
    assert part.age.tolist() == data.age[chosen].tolist()
    assert torch.equal(part.x, data.x[chosen])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
def test_a_deviation_as_large_as_that_of_the_values_is_one_when_prepared(scale: float) -> None:
    values = [0.0, 1.0, 2.0, 3.0]  # their variance is 5/4
    tale = [
        Observation(point={"x": value / 3}, value=scale * value, noise=1.25 * scale**2)
        for value in values
    ]
    made = after(9, tale).data(NONE).prepared()
    assert made.noise.tolist() == pytest.approx([1.0] * 4)
