"""A Tuner in a world that means it harm: what the machine of `test_promises` drives."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from gptune import Tuner
from gptune.configs import Mode
from gptune.errors import EventLogError
from gptune.events import Applied, Intent, Line
from gptune.records import Proposal, Request, Told
from gptune.run_directory.event_log import check, effective
from gptune.run_directory.names import COMMANDS, EVENTS, SUMMARY
from tests.doubles import BrokenError, FakeKnob
from tests.fakes import MemoryDisk, ToldClock

RUNS = Path("/runs")
LOW, HIGH, STEP, RATES = 0.1, 10.0, 2.0, (0.5, 0.02)
NAMES = ("loss.aux", "loss.kl")
FAMILIES = (*NAMES, "opt.lr")
WICKED = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e9, 1e-9, True, "x", None, [1.0], 2)


class Rates(Optimizer):
    """An optimizer whose step only notes which learning rates are in force."""

    def __init__(self) -> None:
        groups = [{"params": [Parameter(torch.zeros(1))], "lr": rate} for rate in RATES]
        super().__init__(groups, {"lr": 1.0})
        self.steps, self.used = 0, list(RATES)

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.used = [group["lr"] for group in self.param_groups]

    def scheduled(self) -> list[float]:
        """Give the rates that the schedule wants at the next step."""
        return [rate * (1.0 - 1e-3 * (self.steps % 500)) for rate in RATES]

    def follow(self) -> None:
        """Do what a scheduler does: write the next rates."""
        self.steps += 1
        for group, rate in zip(self.param_groups, self.scheduled(), strict=True):
            group["lr"] = rate


@dataclass
class Adversary:
    """A proposer that proposes anything at all; what, is a function of seed and decision."""

    seed: int
    bold: float = 0.5  # share of proposals that break a rule
    state: None = None

    def tell(self, told: Told) -> None:
        """Hear nothing."""

    def ask(self, request: Request) -> Proposal:
        chance = random.Random(f"{self.seed}:{request.number}")
        family = chance.choice(request.free)
        near = float(request.point[family]) * 2.0 ** chance.uniform(-1, 1)
        if chance.random() > self.bold:
            near = min(max(near, LOW), HIGH)
            return Proposal(point={family: near}, source="random")
        return self._break(chance, request, family)

    def _break(self, chance: random.Random, request: Request, family: str) -> Proposal:
        wicked: Any = chance.choice(WICKED)
        points: list[Any] = [
            {family: wicked},
            {family: float(request.point[family]) * chance.choice([0.2, 3.0, 50.0])},
            {chance.choice(FAMILIES): LOW},
            {"no.such": 1.1},
            {name: 1.1 * float(request.point[name]) for name in FAMILIES},
            {},
        ]
        if chance.random() < 0.1:
            raise BrokenError("the proposer is broken")
        return Proposal(point=chance.choice(points), source="gp")


@dataclass
class World:
    """One run, the process that has it now, and the disk that outlives it."""

    rules: dict[str, Any]
    seed: int = 7
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    clock: ToldClock = field(default_factory=ToldClock)
    saved: tuple[str, int] = ("", 0)  # the Tuner's state, and the optimizer's steps
    run: Path = RUNS / "one"
    resuming: bool = False
    astray: list[Any] = field(default_factory=list)  # rates used, and those that were due
    seen: list[Any] = field(default_factory=list)  # rates in the groups after a step, and those due
    unwritten: list[tuple[str, float]] = field(default_factory=list)  # and yet in force

    def recipe(self) -> dict[str, Any]:
        moves = {"bounds": [LOW, HIGH], "max_step": STEP, "cooldown": self.rules["cooldown"]}
        return {
            "actuators": {
                "opt": {"mutations": {"lr": moves}},
                "loss": {"keys": {name.partition(".")[2]: moves for name in NAMES}},
            },
            "acceptance": {"reference": "last", "horizon": self.rules["horizon"]},
            "safety": {
                "max_global_reject_streak": self.rules["streak"],
                "pause_decisions": self.rules["pause"],
                "global_cooldown": self.rules["everywhere"],
            },
        }

    def open(self, *, resume: bool) -> None:
        """Start a process: fresh knobs, a fresh optimizer, a Tuner."""
        self.knobs = {name: FakeKnob(name) for name in NAMES}
        self.optimizer = Rates()
        for knob in self.knobs.values():
            knob.before_apply = self._watcher(knob)
        self.tuner = Tuner(
            [self.optimizer, *self.knobs.values()],
            recipe=self.recipe(),
            run_dir=self.run,
            resume=resume,
            clock=self.clock,
            file_system=self.disk,
            total_steps=1000,
        )
        self.take_over(Adversary(self.seed, bold=(0.1, 0.3, 0.6)[self.seed % 3]))

    def take_over(self, adversary: Adversary) -> None:
        """Let the adversary propose, also after a resume."""
        session = self.tuner._session
        session._make_proposer = lambda config, seed: adversary  # type: ignore[assignment,return-value]
        session._proposer = adversary  # type: ignore[assignment]

    def _watcher(self, knob: FakeKnob) -> Callable[[float], None]:
        def watch(value: float) -> None:
            """Look, before a value comes into force, whether the disk would survive to tell."""
            durable = self.disk.synced.get(self.run / EVENTS, b"")
            try:
                intents = [one.event for one in _read(durable) if isinstance(one.event, Intent)]
            except EventLogError:  # raising here would be contained
                intents = []
            moves = {c.family: c.new for c in intents[-1].changes} if intents else {}
            if not self.resuming and moves.get(knob.name) != value:
                self.unwritten.append((knob.name, value))

        return watch

    def train(self, steps: int) -> None:
        for _ in range(steps):
            due = self.optimizer.param_groups[0]["lr"], self.optimizer.param_groups[1]["lr"]
            move = float(self.move("opt.lr"))
            self.optimizer.step()
            wanted = [rate * move for rate in due]
            if self.optimizer.used != wanted:
                self.astray.append((self.optimizer.used, wanted))
            live = tuple(group["lr"] for group in self.optimizer.param_groups)
            self.seen.extend([] if live == due else [(live, due)])
            self.optimizer.follow()
            self.tuner.step()

    def move(self, family: str) -> Any:
        """Say what is in force; nothing is, once the Tuner has let go."""
        let_go = self.tuner._session.closed or self.tuner.mode is Mode.OFF
        return 1.0 if let_go and family == "opt.lr" else self.tuner.values[family]

    def save(self) -> None:
        """Make a training checkpoint, as a user does."""
        state = self.tuner.state_dict()
        text = json.dumps(state)
        assert json.loads(text) == state
        self.saved = (text, self.optimizer.steps)

    def resume(self) -> None:
        """Start the next process from the last checkpoint."""
        self.disk.repair()
        self.open(resume=True)
        self.load()

    def move_house(self, place: str) -> None:
        """Go on from the last checkpoint in a directory that knows nothing of it."""
        self.disk.repair()
        self.run = RUNS / place
        self.open(resume=False)
        self.load()

    def load(self) -> None:
        """Put optimizer and Tuner where the last checkpoint was made."""
        text, steps = self.saved
        self.optimizer.steps = steps - 1
        self.optimizer.follow()
        self.resuming = True
        self.tuner.load_state_dict(json.loads(text))
        self.resuming = False

    def order(self, verb: str, arguments: dict[str, Any], ident: str) -> None:
        """Drop a command where another terminal would."""
        body = json.dumps({"verb": verb, "arguments": arguments}).encode()
        self.disk.files[self.run / COMMANDS / f"{ident}.json"] = body

    # the log ----------------------------------------------------------------------------------

    def data(self) -> bytes:
        return self.disk.files.get(self.run / EVENTS, b"")

    def summary(self) -> bytes | None:
        return self.disk.files.get(self.run / SUMMARY)

    def lines(self) -> list[Line]:
        """Give what counts of the log."""
        return effective(_read(self.data()))

    def all_lines(self) -> list[Line]:
        return _read(self.data())

    def searched(self) -> list[tuple[int, Applied]]:
        """List the changes that the search made, each with its decision."""
        return [
            (line.envelope.decision, line.event)
            for line in self.lines()
            if isinstance(line.event, Applied) and "@" not in line.event.id
        ]


def _read(data: bytes) -> list[Line]:
    return check(data.split(b"\n")[:-1])
