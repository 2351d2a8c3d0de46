"""Built-in schedules: within bounds, in phases, to the end, and saved like any other."""

import io
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gptune.actuators.plain_state import check_plain
from gptune.actuators.schedule import (
    COOLDOWN,
    WARMUP,
    Recorded,
    cosine,
    linear,
    recorded,
    warmup_stable_decay,
)
from gptune.errors import ActuatorError

SCHEDULES: dict[str, Callable[..., LambdaLR]] = {
    "warmup_stable_decay": warmup_stable_decay,
    "cosine": cosine,
    "linear": linear,
}
every = pytest.mark.parametrize("name", SCHEDULES)
fractions = st.floats(0.0, 1.0)


def sgd(*rates: float) -> SGD:
    groups: list[dict[str, Any]] = [
        {"params": [nn.Parameter(torch.ones(1))], "lr": r} for r in rates
    ]
    return SGD(groups, lr=1.0)


def factors(name: str, total: int, **how: float) -> list[float]:
    """Give the factor before each step of a run, and for five steps after its end."""
    optimizer = sgd(1.0)
    schedule = SCHEDULES[name](optimizer, total, **how)
    seen = []
    for _ in range(total + 5):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@st.composite
def shapes(draw: st.DrawFn) -> tuple[str, int, dict[str, float]]:
    name = draw(st.sampled_from(sorted(SCHEDULES)))
    how = {"warmup": draw(fractions), "final": draw(fractions)}
    if name == "warmup_stable_decay":
        how["cooldown"] = draw(st.floats(0.0, 1.0 - how["warmup"]))
        assume(how["warmup"] + how["cooldown"] <= 1.0)
    return name, draw(st.integers(1, 60)), how


@given(shapes())
def test_it_rises_to_1_then_never_rises_again_and_ends_at_its_final_value(
    shape: tuple[str, int, dict[str, float]],
) -> None:
    name, total, how = shape
    seen = factors(name, total, **how)
    run, after = seen[:total], seen[total:]
    rise = round(how["warmup"] * total)
    assert all(0.0 < factor <= 1.0 for factor in run[:rise])
    assert all(earlier < later for earlier, later in pairwise(run[:rise]))
    assert run[max(rise - 1, 0)] == 1.0
    fall = seen[max(rise - 1, 0) :]
    assert all(earlier >= later for earlier, later in pairwise(fall))
    assert all(how["final"] <= factor <= 1.0 for factor in fall)
    assert after == [how["final"]] * 5


@given(st.integers(1, 200), fractions, fractions, fractions)
def test_the_rate_is_held_at_1_between_warm_up_and_decay(
    total: int, warmup: float, cooldown: float, final: float
) -> None:
    assume(warmup + cooldown <= 1.0)
    how = {"warmup": warmup, "cooldown": cooldown, "final": final}
    seen = factors("warmup_stable_decay", total, **how)
    first, last = max(round(warmup * total) - 1, 0), total - round(cooldown * total)
    assert all(factor == 1.0 for factor in seen[first : min(last + 1, total)])
    assert all(factor < 1.0 for factor in seen[last + 1 : total] if final < 0.9 and last > first)


@every
def test_the_factors_are_those_of_the_formula(name: str) -> None:
    how = {"cooldown": 0.8} if name == "warmup_stable_decay" else {}
    seen = factors(name, 10, warmup=0.2, final=0.1, **how)
    shapes_of: dict[str, Callable[[float], float]] = {
        "warmup_stable_decay": lambda done: 1.0 - math.sqrt(done),
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
        "linear": lambda done: 1.0 - done,
    }
    falling = [0.1 + 0.9 * shapes_of[name](k / 8) for k in range(9)]
    assert seen[:11] == pytest.approx([0.5, 1.0, *falling], abs=1e-12)


def test_the_defaults_warm_up_for_a_fiftieth_and_decay_for_the_last_fifth() -> None:
    assert (WARMUP, COOLDOWN) == (0.02, 0.2)
    seen = factors("warmup_stable_decay", 100)
    assert seen[:2] == [0.5, 1.0]
    assert seen[1:81] == [1.0] * 80
    assert 1.0 > seen[81] > seen[99] > 0.0
    assert seen[100] == 0.0


@every
@pytest.mark.parametrize("total", [1, 2, 3])
def test_even_the_shortest_run_begins_at_its_rate(name: str, total: int) -> None:
    seen = factors(name, total)
    assert seen[0] == 1.0
    assert seen[total:] == [0.0] * 5


@every
def test_without_a_warm_up_the_first_step_has_the_full_rate(name: str) -> None:
    assert factors(name, 10, warmup=0.0)[0] == 1.0


def test_without_a_cooldown_the_rate_is_held_for_the_whole_run() -> None:
    seen = factors("warmup_stable_decay", 10, warmup=0.0, cooldown=0.0)
    assert seen == [1.0] * 10 + [0.0] * 5


def test_a_cooldown_of_the_whole_run_decays_from_the_first_step() -> None:
    seen = factors("warmup_stable_decay", 9, warmup=0.0, cooldown=1.0)
    assert seen[:10] == pytest.approx([1.0 - math.sqrt(k / 9) for k in range(10)], abs=1e-12)


@every
def test_a_warm_up_of_the_whole_run_reaches_the_rate_at_its_last_step(name: str) -> None:
    how = {"cooldown": 0.0} if name == "warmup_stable_decay" else {}
    seen = factors(name, 4, warmup=1.0, final=0.5, **how)
    assert seen == [0.25, 0.5, 0.75, 1.0] + [0.5] * 5


@every
@given(st.floats(1e-6, 10.0), st.floats(1e-6, 10.0))
def test_groups_keep_their_ratio_and_reach_their_own_rate(
    name: str, one: float, other: float
) -> None:
    optimizer = sgd(one, other)
    schedule = SCHEDULES[name](optimizer, 12, warmup=0.25, final=0.2)
    highest = [0.0, 0.0]
    for _ in range(14):
        rates = [group["lr"] for group in optimizer.param_groups]
        highest = [max(pair) for pair in zip(highest, rates, strict=True)]
        assert rates[0] / one == pytest.approx(rates[1] / other, rel=1e-12)
        optimizer.step()
        schedule.step()
    assert highest == [one, other]


@every
def test_a_rate_that_is_a_tensor_stays_that_tensor(name: str) -> None:
    rate = torch.tensor(0.1)
    optimizer: Optimizer = AdamW([nn.Parameter(torch.ones(1))], lr=rate, foreach=False)
    schedule = SCHEDULES[name](optimizer, 4, warmup=0.0)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.0


@given(shapes(), st.integers(0, 70))
def test_a_saved_schedule_goes_on_in_a_new_process(
    shape: tuple[str, int, dict[str, float]], cut: int
) -> None:
    name, total, how = shape
    first, second = sgd(0.3), sgd(0.3)
    schedule = SCHEDULES[name](first, total, **how)
    for _ in range(cut):
        first.step()
        schedule.step()
    file = io.BytesIO()
    torch.save(check_plain("saved", [first.state_dict(), schedule.state_dict()]), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = SCHEDULES[name](second, 999)  # what was saved wins
    second.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for _ in range(4):
        assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]
        assert resumed.get_last_lr() == schedule.get_last_lr()
        for optimizer, one in ((first, schedule), (second, resumed)):
            optimizer.step()
            one.step()


@every
@pytest.mark.parametrize("total", [0, -1, 1.0, 2.5, True, "10", None, math.nan, math.inf], ids=repr)
def test_a_length_that_is_no_count_is_refused(name: str, total: Any) -> None:
    optimizer = sgd(0.1)
    with pytest.raises(ActuatorError, match=r"^total_steps: must be a count"):
        SCHEDULES[name](optimizer, total)
    assert set(optimizer.param_groups[0]) == set(sgd(0.1).param_groups[0])


FIELDS = [(name, field) for name in SCHEDULES for field in ("warmup", "final")]


@pytest.mark.parametrize(("name", "field"), [*FIELDS, ("warmup_stable_decay", "cooldown")])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, True, "0.1", None], ids=repr)
def test_what_is_no_fraction_is_refused_by_name(name: str, field: str, value: Any) -> None:
    optimizer = sgd(0.1)
    with pytest.raises(ActuatorError, match=f"^{field}: must be a fraction"):
        SCHEDULES[name](optimizer, 10, **{field: value})
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_phases_longer_than_the_run_are_refused_by_name() -> None:
    with pytest.raises(ActuatorError, match=r"warmup \+ cooldown: .* got 0\.5 \+ 0\.6"):
        warmup_stable_decay(sgd(0.1), 10, warmup=0.5, cooldown=0.6)


# --- what a tuned run did -------------------------------------------------------------------------


@st.composite
def recordings(draw: st.DrawFn) -> dict[int, float]:
    """Draw from which step on which factor holds; one holds from the first."""
    later = draw(st.dictionaries(st.integers(1, 50), st.floats(1e-3, 1e3), max_size=5))
    return {0: draw(st.floats(1e-3, 1e3)), **dict(sorted(later.items()))}


@given(recordings(), st.integers(-2, 80))
def test_a_recorded_factor_is_the_newest_at_or_before_a_step(
    changes: dict[int, float], step: int
) -> None:
    factor = Recorded(tuple(changes), tuple(changes.values()))
    assert factor(step) == changes[max((at for at in changes if at <= step), default=0)]


def test_a_recorded_schedule_is_read_scales_every_group_and_is_saved(tmp_path: Path) -> None:
    file = tmp_path / "run.schedule.json"
    file.write_text(json.dumps({"m.kind": [[0, "a"]], "opt.lr": [[0, 1], [3, 2.5], [5, 0.5]]}))
    factor = recorded(file)
    assert factor == recorded(str(file), "opt.lr") == Recorded((0, 3, 5), (1.0, 2.5, 0.5))
    optimizer = sgd(0.1, 0.3)
    schedule = LambdaLR(optimizer, factor)
    seen = []
    for _ in range(7):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    factors_seen = [1.0] * 3 + [2.5] * 2 + [0.5] * 2
    assert seen == [[0.1 * factor, 0.3 * factor] for factor in factors_seen]
    saved = check_plain("saved", schedule.state_dict())
    other = LambdaLR(sgd(0.1, 0.3), Recorded((0,), (9.0,)))
    other.load_state_dict(saved)
    assert other.lr_lambdas == [factor] * 2


BAD_RECORDINGS: list[tuple[Any, str]] = [
    ("{", "holds no schedule of 'opt.lr'"),
    ("[]", "holds no schedule of 'opt.lr'"),
    ("[" * 9999, "holds no schedule of 'opt.lr'"),
    ({}, "holds no schedule of 'opt.lr'"),
    ({"opt.weight_decay": [[0, 1.0]]}, "holds no schedule of 'opt.lr'"),
    ({"opt.lr": 1.0}, "holds no schedule of 'opt.lr'"),
    ({"opt.lr": [[0]]}, "holds no schedule of 'opt.lr'"),
    ({"opt.lr": [[0, "1.0"]]}, "holds no schedule of 'opt.lr'"),
    ({"opt.lr": [[0, True]]}, "holds no schedule of 'opt.lr'"),
    ({"opt.lr": [[0, math.nan]]}, "holds no schedule of 'opt.lr'"),
    ({"opt.lr": [[0.5, 1.0]]}, "holds no schedule of 'opt.lr'"),
    ({"opt.lr": []}, "steps must count up from 0"),
    ({"opt.lr": [[1, 1.0]]}, "steps must count up from 0"),
    ({"opt.lr": [[0, 1.0], [5, 2.0], [5, 3.0]]}, "steps must count up from 0"),
    ({"opt.lr": [[0, 1.0], [5, 2.0], [4, 3.0]]}, "steps must count up from 0"),
    ({"opt.lr": [[0, 1.0], [5, 0.0]]}, "factors must be above 0"),
    ({"opt.lr": [[0, -1.0]]}, "factors must be above 0"),
]


@pytest.mark.parametrize(("content", "message"), BAD_RECORDINGS, ids=lambda v: str(v)[:40])
def test_what_is_no_recorded_schedule_is_refused(
    content: Any, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ActuatorError, match=r"^recorded: ") as caught:
        recorded(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_recorded_schedule_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ActuatorError, match=r"^recorded: '.*none\.json' holds no schedule"):
        recorded(tmp_path / "none.json")
