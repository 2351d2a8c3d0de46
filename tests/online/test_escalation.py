"""What the guard does where restoring alone does not help, on real runs."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from gptune.events import Blocked, LookAhead, Restored
from gptune.records import Reason
from tests.living import Living

QUIET: dict[str, Any] = {
    "calibration": {"enabled": False},
    "objective": {"primary": "loss"},
    "search": {"algorithm": "none"},
}


def living(place: Path, **chosen: Any) -> Living:
    return Living(place / "run", **{"recipe": QUIET, "steps": 600, **chosen})


def break_weights(run: Living) -> None:
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(math.nan)


def report(run: Living, *, looks: bool) -> None:
    run.tuner.report(None if looks else {"loss": run.validation()})


def go_wrong(run: Living, times: int, *, looks: bool = False) -> None:
    """Report some healthy values, then let training fall apart, every 20 steps."""
    for _ in range(8):
        run.train(10, every=0)
        report(run, looks=looks)
    for _ in range(times):
        run.train(20, every=0)
        break_weights(run)
        report(run, looks=looks)


def kept(run: Living) -> list[str]:
    said = [e.message for e in run.events(Blocked) if Reason.LOOK_AHEAD in e.reasons]
    return [message.partition("the rate stays: ")[2] for message in said]


def test_first_lower_rates_are_tried_and_one_that_is_not_to_blame_stays(tmp_path: Path) -> None:
    run = living(tmp_path)
    go_wrong(run, 2, looks=True)
    run.train(100, every=0)
    looks = run.events(LookAhead)
    assert [event.purpose for event in looks] == ["guard", "guard"]
    assert set(looks[1].arms) == {"1", "0.3162", "0.1"}
    assert looks[1].chosen == "1"
    assert run.tuner.values["opt.lr"] == 1.0
    assert math.isfinite(run.validation())
    state = run.tuner.state_dict()["kernel"]["guard"]
    assert state["looked"] == looks[1].steps > 0
    assert state["restored_at"] > 120  # what comes soon after the look is another repeat


def test_a_rate_that_is_to_blame_falls(tmp_path: Path) -> None:
    run = living(tmp_path)
    run.train(150)
    run.scheduler.base_lrs = [80 * rate for rate in run.scheduler.base_lrs]
    run.train(250)
    assert len(run.events(Restored)) == 2
    (_, look) = run.events(LookAhead)
    assert float(look.chosen) < 1.0
    assert run.tuner.values["opt.lr"] == pytest.approx(float(look.chosen), rel=1e-3)
    assert run.validation() < 0.5


def test_where_no_rate_can_be_tried_it_stays_the_first_time_and_then_falls(tmp_path: Path) -> None:
    run = living(tmp_path, evaluate=None)
    go_wrong(run, 2)
    assert run.tuner.values["opt.lr"] == 1.0
    assert kept(run) == ["without evaluate, total_steps and batches no other can be tried"]
    go_wrong(run, 0)
    run.train(1, every=0)
    for _ in range(2):
        break_weights(run)
        report(run, looks=False)
    assert run.tuner.values["opt.lr"] == pytest.approx(10**-0.5)
    assert run.events(LookAhead) == []


@pytest.mark.parametrize(
    ("chosen", "after", "why"),
    [
        ({"steps": 400}, 10, "the run is too short to try another"),
        ({}, 420, "there is no time left to try another"),
        ({"space": {"lr": (0.9, 1.1)}, "recipe": None}, 10, "it is the lowest that is allowed"),
    ],
)
def test_why_no_rate_is_tried_is_in_the_log(
    chosen: dict[str, Any], after: int, why: str, tmp_path: Path
) -> None:
    run = living(tmp_path, **chosen)
    run.train(after, every=0)
    go_wrong(run, 2, looks=True)
    assert kept(run)[-1:] == [why]


def test_data_that_is_not_finite_lowers_no_rate(tmp_path: Path) -> None:
    run = living(tmp_path)
    for at in range(100, 600, 5):
        run.poison(at)
    run.train(every=5)
    assert len(run.events(Restored)) > 2
    assert "batches are not finite" in kept(run)
    assert run.tuner.values["opt.lr"] == 1.0


def test_data_that_is_never_finite_is_no_excuse(tmp_path: Path) -> None:
    run = living(tmp_path, evaluate=None)
    mask = torch.tensor([0.0, -math.inf])
    masked = [(x, y, mask) for x, y in run.loader]
    run._stream = ((x, y) for x, y, _ in run.tuner.batches(masked))
    go_wrong(run, 3)
    assert run.tuner.values["opt.lr"] == pytest.approx(10**-0.5)


def test_an_excused_restore_takes_no_rung(tmp_path: Path) -> None:
    run = living(tmp_path, evaluate=None)
    go_wrong(run, 1)
    for better in (1e-3, None, None):
        if better is not None:
            run.tuner.report({"loss": better})
        run.train(20, every=0)
        break_weights(run)
        report(run, looks=False)
    why = ["training gets on in between", "without evaluate, total_steps and batches no other"]
    assert [said.startswith(due) for said, due in zip(kept(run), why, strict=True)] == [True, True]
    assert run.tuner.values["opt.lr"] == pytest.approx(10**-0.5)


def test_a_rate_between_whose_restores_training_gets_on_is_not_lowered(tmp_path: Path) -> None:
    run = living(tmp_path, evaluate=None)
    go_wrong(run, 1)
    for better in (1e-3, 1e-4, 1e-5):
        run.tuner.report({"loss": better})
        run.train(20, every=0)
        break_weights(run)
        report(run, looks=False)
    assert run.tuner.values["opt.lr"] == 1.0
    assert set(kept(run)) == {"training gets on in between"}


def test_a_pinned_rate_stays(tmp_path: Path) -> None:
    run = living(tmp_path, evaluate=None)
    session = run.tuner._session
    safety = replace(session.state.safety, pinned=("opt.lr",))
    session.state = replace(session.state, safety=safety)
    go_wrong(run, 3)
    assert run.tuner.values["opt.lr"] == 1.0
    assert set(kept(run)) == {"there is none that may move"}
