"""Drift: how close does each decay of old observations stay to an optimum that moves?

Two parameters, sixty steps, noise of a twentieth of the range; in three of four scenarios the value
also rises over time, as training does. Mean tracking regret: how far the proposed point is from the
best one of its moment, without noise, averaged over the steps.
"""

import math
import random
import statistics
import time
from collections.abc import Callable

import torch

from examples.benchmarks.proposal.rows import DIGITS, Job, Row
from gptune import Float, SearchSpace
from gptune.configs import Decay, Search, TrustRegion
from gptune.core.proposer import Proposer, Seeded, whole
from gptune.records import Observation, Told

STEPS, EVERY, NOISE, TREND = 60, 10, 0.05, 2.0
SPACE = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
START, END = (0.2, 0.3), (0.8, 0.7)
DEFAULT = "kernel, fitted, detrended"

Where = Callable[[int], tuple[float, float]]


def moving(step: int) -> tuple[float, float]:
    share = step / (STEPS - 1)
    return tuple(a + share * (b - a) for a, b in zip(START, END, strict=True))  # type: ignore[return-value]


# name -> where the optimum is at a step, and how much the value rises over all steps
SCENARIOS: dict[str, tuple[Where, float]] = {
    "drift": (moving, TREND),
    "static": (lambda step: START, TREND),
    "jump": (lambda step: START if step < STEPS // 2 else END, TREND),
    "drift, no trend": (moving, 0.0),
}

DECAYS = {
    "none": Decay(kind="none"),
    "weights, half-life 3": Decay(kind="weights", half_life=3.0),
    "weights, half-life 5": Decay(kind="weights", half_life=5.0),
    "weights, half-life 13": Decay(kind="weights", half_life=13.0),
    "window 12": Decay(kind="window", window=12),
    "window 20": Decay(kind="window", window=20),
    "kernel, half-life 13": Decay(kind="kernel", half_life=13.0, detrend=False),
    "kernel, half-life 13, detrended": Decay(kind="kernel", half_life=13.0),
    "kernel, fitted": Decay(kind="kernel", detrend=False),
    DEFAULT: Decay(),
}


def run(job: Job) -> Row:
    """Run one decay on one scenario: the mean tracking regret so far, after every tenth step."""
    torch.set_num_threads(1)
    where, rise = SCENARIOS[job.task]
    config = Search(decay=DECAYS[job.method], trust_region=TrustRegion(enabled=False))
    proposer = Proposer(SPACE, config, randomness=Seeded(job.seed))
    chance, regrets, trace = random.Random(job.seed), [], []
    begin = time.process_time()
    for step in range(STEPS):
        request = whole(SPACE, step)
        point = {**request.point, **proposer.ask(request).point}
        here = zip((float(v) for v in point.values()), where(step), strict=True)
        regrets.append(4.0 * sum((a - b) ** 2 for a, b in here))
        trace.append(float(f"{statistics.fmean(regrets):.{DIGITS}g}"))
        trend = rise * math.log1p(step) / math.log(STEPS)
        value = trend - regrets[-1] + NOISE * chance.gauss(0, 1)
        proposer.tell(Told(observation=Observation(point=point, value=value)))
    return Row(job, trace[EVERY - 1 :: EVERY], round(time.process_time() - begin, 2))
