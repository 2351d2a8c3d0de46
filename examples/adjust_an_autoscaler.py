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
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from examples.autoscaling import (
    FIRST,
    RUNNING,
    WINDOWS,
    Params,
    Window,
    cost,
    noisy,
    pattern,
    scale,
    serve,
)
from gptune.adjustment.adjustment import AutomaticAdjustment
from gptune.adjustment.duel import Terms
from gptune.adjustment.report import words
from gptune.adjustment.tuning import DAY, Tuning
from gptune.errors import GptuneError
from gptune.presets import AGENT, thresholds_are_apart

TRIALS, REPLAYS = 100, 5  # of a study [trials], of the recent load in a trial [times]
RECENT = 2 * WINDOWS  # what is replayed [windows]
LONGEST = 60  # that an adjustment may take [days]
TERMS = Terms(gain=0.3)  # a pair is a whole day: 7 of them won in a row are enough


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
