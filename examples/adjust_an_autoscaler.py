"""Adjust an autoscaler while it serves: the load shifts, it fails, it is tuned, compared, replaced.

A simulated service has a smooth day, until six sharp peaks a day come. Its agent then asks for
replicas too late, too many windows are slow, and `AutomaticAdjustment` begins: a study replays the
recent load for the agent's preset, and its best agent runs in the shadow of the one in charge, over
the same windows, until it is surely cheaper or surely not. A day's cost is paid for replicas and
for slow windows; none of the tuned penalties is in it, so tuning cannot cheat.

    python -m examples.adjust_an_autoscaler          # a few seconds
    python -m examples.adjust_an_autoscaler --bad    # a study that seeks the worst: put back
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from gptune.adjustment.adjustment import AutomaticAdjustment
from gptune.adjustment.duel import Terms
from gptune.adjustment.report import words
from gptune.adjustment.tuning import DAY, Tuning
from gptune.errors import GptuneError
from gptune.presets import AGENT
from gptune.presets.spaces import thresholds_are_apart

WINDOWS = 96  # of a quarter of an hour, a day [windows]
NOISE = 0.06  # of the load: standard deviation of its logarithm
CAPACITY = 10.0  # of a replica [requests/s]
QUICK, LIMIT = 0.05, 0.2  # response time of an idle service, and of a success at most [s]
REPLICA, SLOW = 1.0, 40.0  # price of an hour of a replica, and of a slow window
FEWEST, FIRST = 2, 10  # replicas, and in the beginning

TRIALS, REPLAYS = 100, 5  # of a study [trials], of the recent load in a trial [times]
RECENT = 2 * WINDOWS  # what is replayed [windows]
LONGEST = 60  # that an adjustment may take [days]
TERMS = Terms(gain=0.3)  # a pair is a whole day: 7 of them won in a row are enough
RUNNING = {  # what suits a smooth day
    "cpu_weight": 1.0,
    "memory_weight": 1.0,
    "response_time_weight": 0.3,
    "over_provision_penalty": 2.5,
    "under_provision_penalty": 3.0,
    "scale_up_cpu_threshold": 0.85,
    "scale_down_cpu_threshold": 0.35,
}
Params = Mapping[str, float]


class Window(NamedTuple):
    """A quarter of an hour: what was asked for, and what served it."""

    load: float  # [requests/s]
    replicas: int

    @property
    def use(self) -> float:
        return self.load / (self.replicas * CAPACITY)

    @property
    def response(self) -> float:
        """Say how long a request took, as it waits for those before it [s]."""
        return QUICK / max(1.0 - self.use, 0.05)

    @property
    def success(self) -> bool:
        return self.response <= LIMIT

    @property
    def cost(self) -> float:
        return REPLICA * self.replicas * 24 / WINDOWS + SLOW * (not self.success)


def scale(params: Params, seen: Window) -> int:
    """Say how many replicas there are to be in the next window: the agent.

    Strain is a mean of how full a replica is, and what requests waited too long. The further it
    lies beyond a threshold, and the worse the agent thinks of too few or too many, the more change.
    """
    cpu, memory = min(seen.use, 1.0), min(0.1 + 0.5 * seen.use, 1.0)
    late = min(max(seen.response / LIMIT - 1.0, 0.0), 1.0)
    weights = params["cpu_weight"] + params["memory_weight"]
    strain = (params["cpu_weight"] * cpu + params["memory_weight"] * memory) / weights
    strain += params["response_time_weight"] * late
    lacks = strain - params["scale_up_cpu_threshold"]
    spare = params["scale_down_cpu_threshold"] - strain
    more, fewer = params["under_provision_penalty"], params["over_provision_penalty"]
    if lacks > 0:
        return seen.replicas + math.ceil(more * lacks * seen.replicas)
    return max(FEWEST, seen.replicas - math.floor(fewer * max(spare, 0.0) * seen.replicas))


def serve(params: Params, loads: Sequence[float], replicas: int = FIRST) -> list[Window]:
    """Let an agent serve a load."""
    windows = []
    for load in loads:
        windows.append(Window(load, replicas))
        replicas = scale(params, windows[-1])
    return windows


def noisy(loads: Sequence[float], chance: Random) -> list[float]:
    return [load * math.exp(chance.gauss(0.0, NOISE)) for load in loads]


def pattern(*, shifted: bool) -> list[float]:
    """Give the load of a day without noise: a smooth hill, or six sharp peaks [requests/s]."""
    hours = [24 * window / WINDOWS for window in range(WINDOWS)]
    if shifted:
        return [50 + 350 * math.sin(math.pi * hour / 4) ** 2 for hour in hours]
    return [100 + 40 * math.cos(math.pi * (hour - 14) / 12) for hour in hours]


def cost(windows: Sequence[Window]) -> float:
    """Give what it costs a day."""
    return WINDOWS * fmean(window.cost for window in windows)


class Service:
    """The world: it serves day by day, with the agent in charge; it is the clock, too."""

    def __init__(self, seed: int) -> None:
        self.agent: Params = RUNNING
        self.applied: list[Params] = []
        self.windows: list[Window] = []
        self._told, self._chance = 0, Random(seed)

    def now(self) -> float:
        return DAY * len(self.windows) / WINDOWS

    elapsed = now

    @property
    def fleet(self) -> int:
        return scale(self.agent, self.windows[-1]) if self.windows else FIRST

    def day(self, *, shifted: bool) -> None:
        loads = noisy(pattern(shifted=shifted), self._chance)
        self.windows += serve(self.agent, loads, self.fleet)

    def collect(self) -> list[dict[str, bool]]:
        """Say how the windows went that were served since it was last asked."""
        new, self._told = self.windows[self._told :], len(self.windows)
        return [{"success": window.success} for window in new]

    def apply(self, agent: Params) -> None:
        self.agent = agent
        self.applied.append(agent)

    def shadow(self, agent: Params) -> Iterator[tuple[float, float] | None]:
        """Let a candidate serve each day's load beside the agent in charge, and compare."""
        done, fleet = len(self.windows), self.fleet
        while True:
            real = self.windows[done:]
            if real:
                own = serve(agent, [window.load for window in real], fleet)
                done, fleet = len(self.windows), scale(agent, own[-1])
                yield -cost(real), -cost(own)
            yield None

    def replay(self, params: Params, seed: int) -> float:
        """Give what an agent's day would cost under the recent load, with noise of its own."""
        recent, chance = [window.load for window in self.windows[-RECENT:]], Random(seed)
        return fmean(cost(serve(params, noisy(recent, chance))) for _ in range(REPLAYS))


class Course(NamedTuple):
    """All that happened."""

    phases: dict[str, list[Window]]
    reports: list[dict[str, Any]]
    applied: list[Params]


def simulate(days: int, seed: int, directory: Path, *, bad: bool) -> Course:
    """Let the load shift and the adjustment happen; so many days before and after it."""
    service, sign = Service(seed), -1.0 if bad else 1.0
    study = Tuning(
        objective=lambda params: sign * service.replay(params, 2**32 + seed),
        space=AGENT,
        constraints=[thresholds_are_apart],
        n_trials=TRIALS,
        agent_name="autoscaler",
        seed=seed,
    )
    with AutomaticAdjustment(
        service.collect,
        dict,  # an agent is its parameters, so there is nothing to train
        service.apply,
        study=study,
        canary=service.shadow,
        directory=directory,
        running=RUNNING,
        clock=service,
        success_threshold=0.8,
        adjustment_interval=None,
        cooldown=7 * DAY,
        terms=TERMS,
    ) as adjustment:
        plan: dict[str, tuple[int, Callable[[], bool]]] = {  # at most so many days, or until
            "before the shift": (days, lambda: False),
            "after it, until triggered": (LONGEST, lambda: adjustment.state.number > 0),
            "during the comparison": (LONGEST, lambda: len(adjustment.reports) > 0),
            "after the adjustment": (days, lambda: False),
        }
        phases: dict[str, list[Window]] = {}
        for name, (most, is_over) in plan.items():
            first, shifted = len(service.windows), bool(phases)
            for _ in range(most):
                service.day(shifted=shifted)
                adjustment.poll()
                if is_over():
                    break
            phases[name] = service.windows[first:]
        return Course(phases, adjustment.reports, service.applied)


def rate(windows: Sequence[Window]) -> float:
    return fmean(window.success for window in windows)


def show(phases: Mapping[str, Sequence[Window]]) -> Table:
    table = Table("phase", "windows", "success rate", "replicas", "cost per day")
    for name, windows in phases.items():
        replicas = fmean(window.replicas for window in windows)
        numbers = (f"{rate(windows):.1%}", f"{replicas:.1f}", f"{cost(windows):.0f}")
        table.add_row(name, str(len(windows)), *numbers)
    return table


def main(arguments: Sequence[str] | None = None) -> Course:
    """Simulate, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--days", type=int, default=10, help="before the shift and at the end (10)")
    parser.add_argument("--seed", type=int, default=0, help="of all chance (0)")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="keep the adjustment there")
    parser.add_argument("--bad", action="store_true", help="let the study seek the worst agent")
    args = parser.parse_args(arguments)
    if args.days < 1:
        parser.error(f"--days: must be at least 1, got {args.days}")
    if args.seed < 0:
        parser.error(f"--seed: must be at least 0, got {args.seed}")
    if args.directory is not None and any(args.directory.glob("*")):
        parser.error(f"--directory: must be new or empty, got {str(args.directory)!r}")
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            course = simulate(args.days, args.seed, args.directory or Path(scratch), bad=args.bad)
        except (GptuneError, OSError) as error:
            parser.error(str(error))
    console.print(show(course.phases))
    for report in course.reports:
        console.print(words(report))
    console.print(f"in charge at the end: {'a new agent' if course.applied else 'the old agent'}")
    return course


if __name__ == "__main__":
    main()
