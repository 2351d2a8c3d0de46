"""A look ahead on a live run, one command at a time; what it is for, is tested elsewhere."""

from pathlib import Path
from typing import Any

import pytest
from torch.optim.lr_scheduler import LambdaLR

from gptune.actuators.training_state import TrainingState
from gptune.online import look_ahead
from gptune.online.batches import Batches
from gptune.online.calibration import Evaluate, Found, Program, Restore, Save, Taken, Train
from gptune.online.look_ahead import Bench, Looking, announced, told
from gptune.online.setup import make_hands
from tests.living import Living, same


class Loop:
    """A run without a Tuner at work, and a look ahead on it."""

    def __init__(self, place: Path) -> None:
        self.run = Living(place / "run", mode="off")
        (self.hand,) = make_hands(self.run.tuner.recipe, self.run.tuner.actuators).values()
        self.hand.actuator.attach()  # type: ignore[attr-defined]
        self.batches, self.ends = Batches(), list[tuple[Found | None, str]]()
        self.stream = self.batches.over(self.run.loader)
        bench = Bench(
            rate=self.hand,
            state=TrainingState(self.run.model, self.run.optimizer),
            batches=self.batches,
            measure=lambda: -self.run.validation(),
            knobs=lambda: [self.hand.actuator],
        )
        self.looking = Looking(bench, lambda: None)
        self.looking.watch()

    def begin(self, program: Program, **how: Any) -> None:
        self.looking.begin(program, 1.0, lambda found, why: self.ends.append((found, why)), **how)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.run.step(*next(self.stream))
            if self.looking.is_running:
                self.looking.after_step(1.0)


def test_arms_start_from_the_same_state_on_the_same_batches(tmp_path: Path) -> None:
    loop, seen = Loop(tmp_path), list[Any]()

    def program() -> Program:
        yield Save("origin")
        for _ in range(2):
            taken = None
            for _ in range(5):
                taken = yield Train(-0.3)
            seen.append((loop.run.state(), taken, (yield Evaluate())))
            yield Restore("origin")
        return Found(decades=0.5)

    loop.run.scheduler = LambdaLR(loop.run.optimizer, lambda t: 1.0)
    before = loop.run.state()
    loop.begin(program())
    loop.train(9)
    assert loop.looking.trial() == {"opt.lr": pytest.approx(10**-0.3)}
    loop.train(1)
    (one, first, value), (two, second, again) = seen
    assert same(one, two)
    assert value == again < 0
    assert isinstance(first, Taken)
    assert first == second
    assert first.alignment is not None
    assert same(loop.run.state(), before)
    assert loop.ends == [(Found(decades=0.5), "")]
    assert loop.looking.trial() == {}
    assert loop.hand.actuator.read() == 1.0
    assert not loop.looking.is_watching


def test_a_program_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    loop = Loop(tmp_path)

    def program() -> Program:
        yield Save("origin")
        yield Train(0.7)
        yield Train(0.7)
        raise ZeroDivisionError("oh")

    before = loop.run.state()
    loop.begin(program())
    loop.train(3)
    ((found, why),) = loop.ends
    assert found is None
    assert "ZeroDivisionError: oh" in why
    assert [type(error) for error in loop.looking.errors] == [ZeroDivisionError]
    assert loop.hand.actuator.read() == 1.0
    assert loop.run.taken == 3
    after = loop.run.state()
    assert not same(after, before)  # the third step was the user's own again


def test_a_level_trial_makes_up_for_the_schedule_within_the_bounds(tmp_path: Path) -> None:
    loop, seen = Loop(tmp_path), list[float]()
    for group in loop.run.optimizer.param_groups:
        group["lr"] = group["initial_lr"] / 50  # a warm-up

    def program() -> Program:
        yield Save("origin")
        for decades in (0.0, 1.0):
            taken = yield Train(decades)
            seen.append(taken.decades)
        return Found(decades=0.0)

    loop.begin(program(), levels=True)
    assert loop.looking.move == pytest.approx(50.0)
    loop.looking.after_step(1.0)
    assert loop.looking.move == 100.0  # 500 would be needed
    loop.looking.after_step(1.0)
    assert seen == pytest.approx([0.0, 0.301], abs=1e-3)


def test_its_two_events_tell_multipliers_and_what_the_user_reported() -> None:
    first = announced("guard", 0.5, -1.0, 0.0)
    assert (first.low, first.high, first.chosen) == (0.05, 0.5, "")
    found = Found(decades=-1.0, arms={0.0: -2.0, -1.0: float("-inf")}, wasted=7, turn=1.0)
    event = told("guard", found, 0.5, sign=-1.0, why="", taken=50)
    assert event.arms["0.5"] == 2.0
    assert event.arms["0.05"].raw == "inf"  # type: ignore[union-attr]
    assert (event.chosen, event.steps, event.turn, event.blow_up) == ("0.05", 7, 5.0, None)
    nothing = told("guard", None, 0.5, sign=1.0, why="because", taken=50)
    assert (nothing.chosen, nothing.arms, nothing.stopped) == ("0.5", {}, "because")
    assert nothing.steps == 50


def test_a_move_is_kept_within_the_knobs_space(tmp_path: Path) -> None:
    knob = Loop(tmp_path).hand.knob
    assert look_ahead.within(knob, 1e9) == 100.0
    assert look_ahead.within(knob, 1e-9) == 0.01
    assert look_ahead.within(knob, 0.3) == 0.3
