"""Learn from five runs, and start the next ones better: evolve a recipe.

Five short runs of the demo, from a tenth of a good learning rate, each tuned with the base
recipe. What they accepted moves the recipe's prior centers and bounds. On fresh seeds, both
recipes are then compared by the steps that they take to the loss at which the untuned run ends.

    python -m examples.evolve_a_recipe
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

import gptune
from gptune.demo import Settings, demo
from gptune.events import Observed
from gptune.run_directory.event_log import read_events

STEPS = 300
RUNS, FRESH = 5, (100, 101, 102)  # runs to learn from, with seeds from 0; fresh seeds


def tune(recipe: Path, seed: int, steps: int, run_dir: Path) -> tuple[Path, float]:
    """Run the demo; gives the tuned run's directory and the final loss of its untuned twin."""
    settings = Settings(recipe=recipe, seed=seed, steps=steps, run_dir=run_dir, quiet=True)
    _, untuned = demo(settings, Console(quiet=True))
    return run_dir, untuned.loss


def steps_to(loss: float, run_dir: Path) -> int | None:
    """Count the steps after which a run was first as good as ``loss``; ``None`` if never."""
    for line in read_events(run_dir):
        event = line.event
        if isinstance(event, Observed) and isinstance(event.metric, float) and event.metric <= loss:
            return line.envelope.step
    return None


@contextmanager
def place(given: Path | None) -> Iterator[Path]:
    """Give the directory where runs go: the one that was named, or one for the time being."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def main(arguments: Sequence[str] | None = None) -> list[tuple[int, int | None, int | None]]:
    """Evolve, compare and print; gives seed, steps with the base and with the evolved recipe."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="where runs and recipes go (default: nowhere)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps a run ({STEPS})")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs to learn from ({RUNS})")
    parser.add_argument("--first", type=int, default=0, help="seed of the first of them (0)")
    parser.add_argument("--fresh", type=int, nargs="+", default=FRESH, help="seeds to compare on")
    args = parser.parse_args(arguments)
    console, rows = Console(), []
    with place(args.out) as root:
        base, evolved = root / "base.yaml", root / "evolved.yaml"
        gptune.Recipe().save(base)
        runs = []
        for seed in range(args.first, args.first + args.runs):
            console.print(f"learning from seed {seed}", highlight=False)
            runs.append(tune(base, seed, args.steps, root / f"learn-{seed}")[0])
        gptune.evolve_recipe(gptune.Recipe.load(base), runs).save(evolved)
        learnt = gptune.Recipe.load(evolved).mutations()["opt.lr"]
        console.print(f"prior_center {learnt.prior_center}, bounds {learnt.bounds}")
        for seed in args.fresh:
            before, goal = tune(base, seed, args.steps, root / f"base-{seed}")
            after, _ = tune(evolved, seed, args.steps, root / f"evolved-{seed}")
            rows.append((seed, steps_to(goal, before), steps_to(goal, after)))
    table = Table(title=f"steps to the loss at which the untuned run ends, after {args.steps}")
    for title in ("seed", "base recipe", "evolved recipe"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*("never" if cell is None else str(cell) for cell in row))
    console.print(table)
    return rows


if __name__ == "__main__":
    main()
