"""Logs for tests: written by hand, by a process of their own, or by the real kernel at random."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.configs import Recipe
from gptune.events import Closed, Envelope, Event, KnobReading, Line, Moment, Opened, Paused
from gptune.foreign import Answer
from gptune.online.decision import (
    KernelConfig,
    KernelState,
    carry_out,
    leave,
    plan,
    settle,
)
from gptune.online.decision.carry_out import Saved
from gptune.records import Proposal, Reason, Request, Scalar, Told
from tests.doubles import FakeKnob, MemoryLog, config_of, first_state, hands_of, seen_at

Entries = list[tuple[Moment, Event]]
FAMILIES = ("loss.aux", "loss.kl")


def moment(decision: int = 0, step: int = 0, phase: str = "mid") -> Moment:
    return Moment(decision=decision, step=step, phase=phase)


def make_lines(entries: Iterable[tuple[Moment, Event]], wall: Iterable[Any] = ()) -> list[Line]:
    """Number events as a log does; ``wall`` gives each line's, one a second by default."""
    walls = list(wall)
    return [
        Line(
            envelope=Envelope(seq=seq, generation=0, **msgspec.structs.asdict(at)),
            event=event,
            wall=walls[seq - 1]
            if walls
            else {"time": float(seq), **({"pid": 7} if seq == 1 else {})},
            checksum="",
        )
        for seq, (at, event) in enumerate(entries, start=1)
    ]


def opened(
    knobs: dict[str, dict[str, Any]] | None = None, mode: str = "active", direction: str = "min"
) -> Opened:
    recipe = {"mode": mode, "objective": {"primary": "val/loss", "mode": direction}}
    return Opened(
        recipe=Recipe.from_dict(recipe).to_dict(),
        seed=3,
        knobs=knobs or {family: knob() for family in FAMILIES},
        resumed=False,
        versions={"gptune": "1"},
        total_steps=100,
    )


def knob(
    mode: str = "mult", base: Any = 1.0, space: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Give a knob as ``opened`` holds it, as far as readers look."""
    range_of = {"type": "float", "low": 0.1, "high": 10.0, "log": mode == "mult"}
    return {"mutation": {"mode": mode}, "space": space or range_of, "base": base}


@dataclass
class KernelRun:
    """A run of the real kernel with two knobs that may fail, told what happens."""

    recipe: dict[str, Any]
    log: MemoryLog = field(default_factory=MemoryLog)
    points: dict[int, dict[str, Any]] = field(default_factory=dict)  # lines so far -> in force

    def __post_init__(self) -> None:
        self.knobs = [FakeKnob(name=name) for name in FAMILIES]
        self.hands = hands_of(*self.knobs)
        self.config: KernelConfig = config_of(self.hands, self.recipe)
        self.state: KernelState = first_state(self.config)
        self.saved: dict[str, Saved] = {}
        self.step = 0
        knobs = {f: msgspec.to_builtins(k) for f, k in self.config.knobs.items()}
        start = Opened(
            recipe=self.config.recipe.to_dict(), seed=0, knobs=knobs, resumed=False, versions={}
        )
        self.log.append(moment(), start)
        self._note()

    @property
    def lines(self) -> list[Line]:
        return make_lines(self.log.events)

    def decide(
        self, value: float, factor: float, fails: Iterable[str] = (), stray: str | None = None
    ) -> None:
        """Report a value, propose to multiply the free knobs, and let calls of them fail."""
        self.step += 5
        readings = {
            family: KnobReading(move, None, move, Reason.OVERWRITTEN if family == stray else None)
            for family, move in self.state.point.items()
        }
        fault = None if abs(value) < 1e300 else Reason.NOT_FINITE
        seen = replace(seen_at(self.step, value, fault), knobs=readings)

        def propose(told: Told | None, request: Request | None) -> Answer[Proposal] | None:
            if request is None:
                return None
            names = request.free if request.joint else request.free[:1]
            moves: dict[str, Scalar] = {name: float(request.point[name]) * factor for name in names}
            return Answer(value=Proposal(point=moves, source="gp"))

        self.state, made = plan(self.config, self.state, seen, propose)
        self._act(made, fails)

    def stop(self, reason: Reason = Reason.LEFT_ACTIVE, fails: Iterable[str] = ()) -> None:
        self.state, made = leave(self.config, self.state, self.step, reason)
        self._act(made, fails)

    def close(self) -> None:
        self.stop(Reason.CLOSED)
        at = self.config.moment(self.state.decision, self.step)
        self.log.append(at, Closed(decisions=self.state.decision))
        self._note()

    def _act(self, made: Any, fails: Iterable[str]) -> None:
        self.knobs[0].fails |= set(fails)
        done = carry_out(made, self.log, self.hands, self.saved)
        self.knobs[0].fails.clear()
        self.saved, was_paused = done.saved, self.state.safety.paused
        self.state = settle(self.config, self.state, made, done.outcome)
        if self.state.safety.paused and not was_paused:  # as the Tuner does
            wait = self.config.recipe.safety.pause_decisions
            at = self.config.moment(self.state.decision, self.step)
            self.log.append(at, Paused(decisions=wait, reasons=(Reason.QUARANTINED,)))
        self._note()

    def _note(self) -> None:
        self.points[len(self.log.events)] = dict(self.state.point)


@st.composite
def kernel_runs(draw: st.DrawFn) -> KernelRun:
    """Draw a run of the kernel: any metrics, knobs that fail or are written over, closing."""
    run = KernelRun(
        {
            "objective": {"mode": draw(st.sampled_from(["min", "max"]))},
            "acceptance": {
                "reference": "last",
                "horizon": draw(st.integers(1, 2)),
                "rollback_on_reject": draw(st.booleans()),
            },
            "search": {"joint": draw(st.booleans())},
            "safety": {"global_cooldown": 0, "max_global_reject_streak": draw(st.integers(1, 3))},
        }
    )
    values = st.floats(-10, 10) | st.just(float("nan"))
    factors = st.sampled_from([0.5, 0.8, 1.0, 1.25, 2.0])
    failing = st.sets(st.sampled_from(["apply", "restore", "validate", "read"]), max_size=1)
    rare = st.sampled_from([False] * 6 + [True])
    for _ in range(draw(st.integers(1, 14))):
        fails = draw(failing) if draw(rare) else set()
        stray = FAMILIES[0] if draw(rare) else None
        if draw(rare):
            run.stop(fails=fails)
        run.decide(draw(values), draw(factors), fails, stray)
    if draw(st.booleans()):
        run.close()
    return run
