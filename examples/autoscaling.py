"""A service with replicas, and an agent that asks for them: what `adjust_an_autoscaler` adjusts.

Load follows a daily pattern with noise. Each quarter of an hour the agent looks at the one before,
and asks for more or fewer replicas. A day's cost is paid for replicas and for slow windows; none of
the tuned penalties is in it, so tuning cannot cheat.
"""

import math
from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean
from typing import NamedTuple

WINDOWS = 96  # of a quarter of an hour, a day [windows]
NOISE = 0.06  # of the load: standard deviation of its logarithm
CAPACITY = 10.0  # of a replica [requests/s]
QUICK, LIMIT = 0.05, 0.2  # response time of an idle service, and of a success at most [s]
REPLICA, SLOW = 1.0, 40.0  # price of an hour of a replica, and of a slow window
FEWEST, FIRST = 2, 10  # replicas, and in the beginning
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
