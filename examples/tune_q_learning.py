"""Tune tabular Q-learning with its preset, and compare with textbook values on fresh seeds.

The environment is a slippery cliff walk, after Sutton and Barto (2018), example 6.6. An agent has
400 episodes to learn the way; its score is the expected return of the greedy policy that it ends
with, computed exactly, so that all chance is in the learning. A trial is the mean of several
trainings. The best trial and the textbook's values then meet on seeds that tuning never saw.

    python -m examples.tune_q_learning    # under half a minute; --storage FILE keeps the trials
"""

import argparse
from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean, stdev
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from gptune import presets
from gptune.errors import GptuneError

WIDTH, HEIGHT = 10, 4
START, GOAL = (HEIGHT - 1) * WIDTH, HEIGHT * WIDTH - 1  # the lower corners; a cliff between them
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # up, right, down, left: each a quarter turn on
SLIP = 0.2  # chance that a move goes a quarter turn aside, to either side alike
STEP, FALL, ARRIVAL = -1.0, -100.0, 0.0  # rewards; a fall ends the episode, and so does the goal
LONGEST = 100  # of an episode [steps]
EPISODES = 400  # that an agent may learn for [episodes]

TRIALS, REPLICATES = 50, 20  # of tuning [trials], of each trial [trainings]
FRESH, FURTHER = 5, 25  # seeds to compare on
ABOVE = 2**32  # tuning draws its seeds below this one; fresh ones lie above

TEXTBOOK: dict[str, dict[str, float]] = {
    "default": {
        "learning_rate": 0.1,
        "discount_factor": 0.99,
        "epsilon": 1.0,
        "epsilon_decay": 0.99,
    },
    "constant epsilon": {
        "learning_rate": 0.1,
        "discount_factor": 0.99,
        "epsilon": 0.1,
        "epsilon_decay": 1.0,
    },
}


class Step(NamedTuple):
    """What a move in a cell comes to."""

    cell: int
    reward: float
    ends: bool


def move(cell: int, direction: int) -> Step:
    """Go one cell on; whoever walks into a wall stays where he is."""
    right, down = MOVES[direction]
    x = min(max(cell % WIDTH + right, 0), WIDTH - 1)
    y = min(max(cell // WIDTH + down, 0), HEIGHT - 1)
    there = y * WIDTH + x
    if there == GOAL:
        return Step(there, ARRIVAL, ends=True)
    if START < there < GOAL:
        return Step(there, FALL, ends=True)
    return Step(there, STEP, ends=False)


def moves_of_all_cells() -> list[list[Step]]:
    return [[move(cell, way) for way in range(len(MOVES))] for cell in range(WIDTH * HEIGHT)]


def train(params: Mapping[str, Any], seed: int, episodes: int = EPISODES) -> list[list[float]]:
    """Learn the value of each action in each cell: Q-learning, Watkins (1989)."""
    rate, discount = params["learning_rate"], params["discount_factor"]
    epsilon, chance, steps = params["epsilon"], Random(seed).random, moves_of_all_cells()
    values = [[0.0] * len(MOVES) for _ in steps]
    for _ in range(episodes):
        cell = START
        for _ in range(LONGEST):
            here = values[cell]
            explores = chance() < epsilon
            action = int(chance() * len(MOVES)) if explores else here.index(max(here))
            slipped = chance()
            aside = 0 if slipped >= SLIP else 1 if slipped < SLIP / 2 else -1
            after, reward, ends = steps[cell][(action + aside) % len(MOVES)]
            ahead = discount * max(values[after])  # 0 where an episode ends: nothing begins there
            here[action] += rate * (reward + ahead - here[action])
            if ends:
                break
            cell = after
        epsilon *= params["epsilon_decay"]
    return values


def greedy_return(values: Sequence[Sequence[float]]) -> float:
    """Expect the return of an episode of the greedy policy, over all slips."""
    steps, ways = moves_of_all_cells(), []
    for cell, of_actions in enumerate(values):
        action = of_actions.index(max(of_actions))
        left, right = steps[cell][action - 1], steps[cell][(action + 1) % len(MOVES)]
        ways.append(((1 - SLIP, steps[cell][action]), (SLIP / 2, left), (SLIP / 2, right)))
    to_come = [0.0] * len(steps)
    for _ in range(LONGEST):
        to_come = [
            sum(share * (s.reward + (0.0 if s.ends else to_come[s.cell])) for share, s in way)
            for way in ways
        ]
    return to_come[START]


def score(params: Mapping[str, Any], seed: int) -> float:
    """Train an agent and give its score: what the preset tunes."""
    return greedy_return(train(params, seed))


def spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.1f} +/- {stdev(values):.1f}"


def compare(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Say how far ours are ahead, seed by seed: mean, its standard error, and how often."""
    gaps = [our - their for our, their in zip(ours, theirs, strict=True)]
    error = stdev(gaps) / len(gaps) ** 0.5
    wins = sum(gap > 0 for gap in gaps)
    return f"{fmean(gaps):+.1f} +/- {error:.1f} ({wins} of {len(gaps)})"


def tune(trials: int, seed: int, storage: str, console: Console) -> dict[str, Any]:
    """Tune, or go on, until there are enough trials; gives the best one's parameters."""
    console.print(f"tuning: {trials} trials in all, each of {REPLICATES} trainings")
    new: list[int] = []
    with presets.tune_rl(
        "Q-learning",
        score,
        direction="maximize",
        n_trials=trials,
        agent_name=f"cliff-{seed}",  # in one file, each seed has a study of its own
        storage=storage,
        replicates=REPLICATES,
        seed=seed,
        callbacks=[lambda _, trial: new.append(trial.number)],
    ) as study:
        best, count = study.best_trial, len(study.trials)
    console.print(
        f"{count} trials, {len(new)} of them new; the best, {best.number}, is shown below"
    )
    return dict(best.params)


def show(settings: Mapping[str, Mapping[str, Any]], scores: Mapping[str, list[float]]) -> Table:
    table = Table(title="expected return of the greedy policy: mean +/- standard deviation")
    table.add_column("")
    for name in settings:
        table.add_column(name, justify="right")
    for parameter in TEXTBOOK["default"]:
        table.add_row(parameter, *(f"{params[parameter]:.3g}" for params in settings.values()))
    table.add_section()
    table.add_row(f"on {FRESH} fresh seeds", *(spread(scores[name][:FRESH]) for name in settings))
    table.add_row(f"on {FURTHER} more", *(spread(scores[name][FRESH:]) for name in settings))
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, list[float]]:
    """Tune, compare and print; gives the scores of each setting on the fresh seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"of tuning ({TRIALS})")
    parser.add_argument("--seed", type=int, default=0, help="of all chance (0)")
    parser.add_argument("--storage", default=":memory:", metavar="FILE", help="keep trials, go on")
    args = parser.parse_args(arguments)
    if args.trials < 1:
        parser.error(f"--trials: must be at least 1, got {args.trials}")
    console = Console(highlight=False)
    try:
        tuned = tune(args.trials, args.seed, args.storage, console)
    except GptuneError as error:
        parser.error(str(error))
    settings = {**TEXTBOOK, "tuned": tuned}
    first = ABOVE + args.seed * (FRESH + FURTHER)
    seeds = range(first, first + FRESH + FURTHER)
    scores = {name: [score(params, s) for s in seeds] for name, params in settings.items()}
    console.print(show(settings, scores))
    console.print("tuned is ahead, seed by seed: mean +/- its standard error (on so many seeds)")
    for name in TEXTBOOK:
        fresh = compare(scores["tuned"][:FRESH], scores[name][:FRESH])
        more = compare(scores["tuned"][FRESH:], scores[name][FRESH:])
        console.print(f"  of {name}: {fresh}, then {more}")
    return scores


if __name__ == "__main__":
    main()
