"""What earlier runs measured: what their proposers were told, as far as it fits here."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gptune import Tuner
from gptune.configs import Knob, Mutation, make_knob
from gptune.errors import EventLogError, RecipeError
from gptune.events import LookAhead, Observed
from gptune.recipe import prior as room
from gptune.recipe.prior import prior_observations, prior_rates
from gptune.records import Categorical, Float, Integer, Observation
from gptune.run_directory.names import EVENTS
from tests.cli.runs import make_run
from tests.doubles import FakeKnob
from tests.living import Living

LR = make_knob("opt.lr", Mutation(bounds=(0.01, 100.0)), Float(1e-3, 1e3, log=True), 1.0)
START: dict[str, Any] = {"opt.lr": 1.0}
CALIBRATES = {"search": {"algorithm": "none"}, "objective": {"primary": "loss"}}


def told(tuner: Tuner) -> list[Observation]:
    """List what a run's proposer was told, and what is known of its noise."""
    state = tuner.state_dict()["proposer"]["observations"]
    found = [replace(msgspec.convert(row, Observation), number=0) for row in state]
    return [one for one in found if one.noise is not None]


def test_they_are_what_the_runs_own_proposer_was_told(tmp_path: Path) -> None:
    tuner = make_run(tmp_path / "run", 30, close=False)
    expected = told(tuner)
    tuner.close()
    found = prior_observations([str(tmp_path / "run")], {"opt.lr": LR}, START)
    assert found == expected
    assert len(found) > 10
    assert len({one.point["opt.lr"] for one in found}) > 3, "moved, and not moved"
    assert all(one.is_gain and one.noise is not None for one in found)


def test_runs_come_in_their_order_and_again_if_they_are_named_again(tmp_path: Path) -> None:
    for name, decisions in (("a", 12), ("b", 16)):
        make_run(tmp_path / name, decisions)
    a, b = (str(tmp_path / name) for name in ("a", "b"))

    def read(*runs: str) -> list[Observation]:
        return prior_observations(runs, {"opt.lr": LR}, START)

    assert read(a, b) == read(a) + read(b) != read(b, a)
    assert read() == []


def test_a_knob_that_the_run_did_not_have_stands_where_it_stands_now(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 16)
    aux = make_knob("loss.aux", Mutation(bounds=(0.5, 4.0)), Float(0.1, 9.0), 1.0)
    knobs, start = {"opt.lr": LR, "loss.aux": aux}, {**START, "loss.aux": 1.0}
    found = prior_observations([str(tmp_path / "run")], knobs, start)
    assert found
    assert {one.point["loss.aux"] for one in found} == {1.0}
    only = prior_observations([str(tmp_path / "run")], {"loss.aux": aux}, {"loss.aux": 1.0})
    assert [set(one.point) for one in only] == [{"loss.aux"}] * len(found)


def test_a_knob_that_moved_in_another_mode_makes_them_useless(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 16)
    other = replace(LR, mutation=Mutation(mode="set", bounds=(0.01, 100.0)))
    assert prior_observations([str(tmp_path / "run")], {"opt.lr": other}, START) == []


def test_what_lies_outside_of_the_present_bounds_is_left_out(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 30)
    run = [str(tmp_path / "run")]
    narrow = make_knob("opt.lr", Mutation(bounds=(0.999, 1.001)), Float(0.1, 9.0, log=True), 1.0)
    everything = prior_observations(run, {"opt.lr": LR}, START)
    inside = [one for one in everything if 0.999 <= float(one.point["opt.lr"]) <= 1.001]
    assert prior_observations(run, {"opt.lr": narrow}, START) == inside
    assert len(inside) < len(everything)


def test_a_choice_that_is_not_offered_any_more_is_left_out() -> None:
    kind = Knob(
        family="m.kind", mutation=Mutation(mode="set"), space=Categorical(("a", "b")), base="a"
    )
    size = replace(kind, space=Integer(1, 9))
    assert room._fits({"knob": "b"}, {"knob": kind})
    assert not room._fits({"knob": "c"}, {"knob": kind})
    assert room._fits({"knob": 3}, {"knob": size})
    assert not room._fits({"knob": 3.0}, {"knob": size})
    assert not room._fits({"knob": 10}, {"knob": size})
    assert not room._fits({"knob": "much"}, {"knob": LR})


def test_values_of_any_size_are_read(tmp_path: Path) -> None:
    with Tuner([FakeKnob("opt.lr")], run_dir=tmp_path / "run") as tuner:
        for number in range(12):
            tuner.step()
            tuner.report({"val/loss": 1e200 * (1 + (-1) ** number * number)})
    found = prior_observations([str(tmp_path / "run")], {"opt.lr": LR}, START)
    assert found
    assert all(math.isfinite(one.value) for one in found)


def test_what_holds_no_run_is_refused_by_its_place_in_the_list(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 6)
    runs = [str(tmp_path / "run"), str(tmp_path / "none")]
    with pytest.raises(RecipeError, match=r"^search\.prior_runs\[1\]: '.*none' holds no events"):
        prior_observations(runs, {"opt.lr": LR}, START)
    (tmp_path / "run" / EVENTS).write_bytes(b"{}\n")
    with pytest.raises(EventLogError, match="line 1"):
        prior_observations(runs, {"opt.lr": LR}, START)


def test_a_past_run_began_with_what_no_trial_of_its_calibration_had_a_part_in(
    tmp_path: Path,
) -> None:
    run = Living(tmp_path / "run", recipe=CALIBRATES)
    run.train(every=5)
    (past,) = prior_rates([str(tmp_path / "run")], "opt.lr")
    measured = [e.metric for e in run.events(Observed)]
    events = [line.event for line in run.lines()]
    (_, end) = (n for n, event in enumerate(events) if isinstance(event, LookAhead))
    first = next(event for event in events[end:] if isinstance(event, Observed))
    assert past.start == -first.metric != -measured[0]  # type: ignore[operator]
    assert past.value == -measured[-1]  # type: ignore[operator]
    assert past.rate == pytest.approx(run.tuner.values["opt.lr"] * 0.005, rel=1e-3)
