"""Carries a look ahead out on the live run: its commands, one after another, between two steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from gptune.actuators import Actuator, OptimizerKnob
from gptune.actuators.optimizer import StepProbe
from gptune.actuators.training_state import TrainingState
from gptune.configs import Knob
from gptune.events import LookAhead, Raw
from gptune.foreign import Answer, foreign_call
from gptune.online.batches import Batches
from gptune.online.calibration import Evaluate, Found, Program, Restore, Save, Taken, Train
from gptune.online.decision import Hand
from gptune.online.metrics import read_metric
from gptune.records import Float, Point, Reason

SLOTS = ("origin", "ahead")
SAVED = "the state was saved meanwhile"
LOADED = "another state was loaded"
UNPAIRED = "the batches did not fit into what is recorded, so arms were trained on different ones"

Finish = Callable[[Found | None, str], None]  # told what was found, and why nothing or less was


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a look ahead works on.

    Attributes:
        rate: The learning rate's knob.
        state: What is saved and put back.
        batches: What gives an arm the batches of the arm before it.
        measure: Gives the objective, larger is better.
        knobs: Gives the actuators at work, which keep their values.
    """

    rate: Hand
    state: TrainingState
    batches: Batches
    measure: Callable[[], object]
    knobs: Callable[[], list[Actuator]]


class Looking:
    """Runs one program at a time; the training loop takes the steps, and does not know.

    Every failure ends the program and puts the origin back.

    Args:
        bench: What it works on.
        before: Called before each step of the optimizer.
    """

    def __init__(self, bench: Bench, before: Callable[[], None]) -> None:
        self.move = 1.0  # the multiplier that the program has in force
        self.steps = 0  # taken by the program [steps]
        self.errors: list[Exception] = []
        self._bench = bench
        knob = bench.rate.actuator
        assert isinstance(knob, OptimizerKnob)
        self._probe = StepProbe(knob.optimizer, self._before, self._compare)
        self._tell_before = before
        self._program: Program | None = None
        self._finish: Finish | None = None
        self._positions: dict[str, int] = {}
        self._home, self._at, self._unseen = 1.0, 0, 0
        self._levels, self._tried, self._unpaired = False, 0.0, False
        self._inside = False  # a step of the optimizer, before it happens
        self._gradients = 0  # that were computed within it
        self._compared: Answer[None] = Answer()

    @property
    def is_running(self) -> bool:
        """Say whether a program has the rate in its hands."""
        return self._program is not None

    def trial(self) -> Point:
        """Give the move that is tried now, if one is."""
        return {self._bench.rate.knob.family: self.move} if self.is_running else {}

    def inertia(self) -> float:
        """Give the optimizer's momentum."""
        return self._probe.inertia()

    def room(self, steps: int) -> int:
        """Say how many steps can be taken again on the same batches, of those asked for."""
        return self._bench.batches.room(steps)

    @property
    def is_watching(self) -> bool:
        """Say whether the optimizer's steps are watched, by a program or for one to come."""
        return self._probe.is_attached

    def watch(self) -> None:
        """Watch the optimizer's steps from now on."""
        self._probe.attach()
        self._bench.batches.record()

    def forward(self, *, stays: bool) -> None:
        """Go on without a program: what is recorded begins anew, or nobody watches any more."""
        self._unseen = 0
        if stays:
            self._bench.batches.record()
        else:
            self.rest()

    def rest(self) -> None:
        """Watch them no more; within a step the hook stays, for torch walks through its hooks."""
        self._bench.batches.forget()
        if not self._inside:
            self._probe.detach()

    def begin(self, program: Program, home: float, finish: Finish, *, levels: bool = False) -> None:
        """Start a program; what it changes is in force at the next step.

        Args:
            program: What to do.
            home: The multiplier that 0 decades stand for, and that a failure leaves in force.
            finish: Called at the end with what was found, or with nothing and the reason.
            levels: Whether a trial's rate is relative to the schedule's peak, and stands still,
                rather than following the schedule.
        """
        self._levels = levels
        self._probe.attach()
        self.steps, self._home, self._finish = 0, home, finish
        self._program, self._positions = program, {}
        self._at = self._unseen = 0
        self._unpaired = False
        self._go_on(None)

    def after_step(self, loss: object) -> None:
        """Tell the program what a step showed, and do what it wants before the next."""
        self.steps += 1
        self._at, self._unseen = self._bench.batches.position, 0
        reading = read_metric(loss)
        if self._compared.error is not None:
            self._give_up(self._compared)
        elif self._gradients > 1:
            self.abort("the optimizer calls its closure several times a step")
        elif reading.fault not in (None, Reason.NOT_FINITE):
            self.abort(f"step() must be given the training loss, got {reading.raw}")
        else:
            self._go_on(Taken(reading.value, self._probe.alignment, self._tried))

    def abort(self, why: str, *, puts_back: bool = True) -> None:
        """End the program, and put back what it started from; or the rate alone."""
        if not puts_back:
            self._positions = {}
        if self._program is not None:
            self._end(None, why)

    def _before(self) -> None:
        self._inside = True
        try:
            told = foreign_call(self._tell_before)
            self._unseen, self._gradients = self._unseen + 1, 0
            self._compared = Answer()
            if told.error is not None:
                self._give_up(told)
            elif self.is_running and self._unseen > 1:
                self.abort("the optimizer was stepped twice for one call of step()")
        finally:
            self._inside = False

    def _compare(self) -> None:
        """Look at the gradients of the step that is going on; what fails ends after the step.

        Within it nothing may be put back, for an optimizer may have read its state already.
        """
        self._gradients += 1
        if self.is_running and self._gradients == 1:
            self._compared = foreign_call(self._probe.compare)

    def _give_up(self, failure: Answer[Any]) -> None:
        """End what runs on account of a failure; the training step goes on."""
        self.errors.extend([] if failure.error is None else [failure.error])
        self.abort(failure.message)

    def _go_on(self, answer: Any) -> None:
        program = self._program
        assert program is not None
        done = foreign_call(lambda: self._follow(program, answer))
        if done.error is not None:
            self._give_up(done)
        elif done.value is not None:
            self._end(done.value, "")

    def _follow(self, program: Program, answer: Any) -> Found | None:
        """Carry commands out up to the next step; gives what was found, at the end."""
        while True:
            try:
                command = program.send(answer)
            except StopIteration as end:
                return cast(Found, end.value)
            if isinstance(command, Train):
                self._put(command.decades)
                return None
            answer = self._do(command)

    def _do(self, command: Save | Restore | Evaluate) -> object:
        bench = self._bench
        if isinstance(command, Evaluate):
            self._unpaired = self._unpaired or bench.batches.is_beyond
            return bench.measure()
        if isinstance(command, Save):
            bench.state.save(command.slot)
            self._positions[command.slot] = self._at
            return None
        bench.state.restore(command.slot, bench.knobs())
        self._at = self._positions[command.slot]
        bench.batches.rewind(self._at)
        self._probe.forget()
        return None

    def _put(self, decades: float) -> None:
        """Put a rate in force, as near to what is wanted as the knob's bounds allow."""
        knob, part = self._bench.rate.knob, self.part() if self._levels else 1.0
        wanted = self._home * 10.0**decades / part if part > 0 else math.inf
        self.move = within(knob, wanted)
        self._tried = decades + math.log10(self.move / wanted) if part > 0 else -math.inf
        self._bench.rate.actuator.apply(knob.native(self.move))

    def part(self) -> float:
        """Give the schedule's value of now as a part of its peak."""
        actuator = self._bench.rate.actuator
        assert isinstance(actuator, OptimizerKnob)
        peak = actuator.reference()
        return actuator.scheduled() / peak if peak > 0 else 1.0

    def _end(self, found: Found | None, why: str) -> None:
        bench, finish = self._bench, self._finish
        self._program, self._finish = None, None
        if found is None and "origin" in self._positions:
            put = foreign_call(lambda: bench.state.restore("origin", bench.knobs()))
            self.errors.extend([] if put.error is None else [put.error])
        home = bench.rate.knob.native(self._home)
        foreign_call(lambda: bench.rate.actuator.restore(home))
        self.move = self._home
        bench.state.forget(SLOTS)
        if found is not None and self._unpaired:
            why = UNPAIRED
        self.rest()
        if finish is not None:
            finish(found, why)


def within(knob: Knob, move: float) -> float:
    """Keep a move within a knob's space."""
    space = knob.space
    return min(max(move, space.low), space.high) if isinstance(space, Float) else move


def announced(purpose: str, home: float, low: float, high: float) -> LookAhead:
    """Give the event before the first trial: between which multipliers it will stay.

    Args:
        purpose: calibration | guard.
        home: The multiplier in force.
        low: The lowest rate that may be tried [decades above it].
        high: The highest one.
    """
    return LookAhead(
        arms={},
        chosen="",
        steps=0,
        purpose=purpose,
        low=home * 10**low,
        high=home * 10**high,
    )


def told(
    purpose: str, found: Found | None, home: float, *, sign: float, why: str, taken: int
) -> LookAhead:
    """Give the event at the end: what was tried, measured and chosen.

    Args:
        purpose: calibration | guard.
        found: What was found, or nothing.
        home: The multiplier that 0 decades stand for.
        sign: What turns larger-is-better into the objective as reported.
        why: Why nothing was found, or what makes what was found less sure.
        taken: Steps that it took; without a find all are thrown away [steps].
    """
    stopped, remark = (why, "") if found is None else ("", why)
    found = found or Found(decades=0.0, wasted=taken)

    def multiplier(decades: float | None) -> float | None:
        return None if decades is None else home * 10**decades

    return LookAhead(
        arms={f"{home * 10**x:.4g}": _finite(sign * value) for x, value in found.arms.items()},
        chosen=f"{home * 10**found.decades:.4g}",
        steps=found.wasted,
        purpose=purpose,
        turn=multiplier(found.turn),
        blow_up=multiplier(found.blow_up),
        aim=multiplier(found.aim),
        stopped=stopped,
        remark=remark,
    )


def _finite(value: float) -> float | Raw:
    return value if math.isfinite(value) else Raw(str(value))
