"""``gptune demo``."""

import argparse
from pathlib import Path


def add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = commands.add_parser(
        "demo",
        help="train a small classifier, tuned live, beside its untuned twin",
        description="Trains a classifier on scikit-learn's digits, tuned while it trains, then the "
        "same run untuned, and compares the two. A good rate is 0.1; the default is a tenth of it.",
    )
    parser.add_argument("--lr", type=float, help="starting learning rate (default: 0.01)")
    parser.add_argument("--mode", help="off, observe, suggest, guard or active (default: active)")
    parser.add_argument("--seed", type=int, help="of model, batches and proposals (default: 0)")
    parser.add_argument("--steps", type=int, help="optimizer steps a run (default: 500)")
    parser.add_argument("--run-dir", type=Path, help="where events.jsonl goes (default: runs/...)")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe for the tuned run")
    parser.add_argument(
        "--pace", type=float, metavar="S", help="wait after each decision [s], to watch or steer"
    )
    parser.add_argument("--quiet", action="store_true", help="print the table alone")
    parser.set_defaults(run=demo)


def demo(args: argparse.Namespace) -> int:
    """Run the demo; exit 0 when both runs ended."""
    from gptune.demo import Settings
    from gptune.demo import demo as show

    names = ("lr", "mode", "seed", "steps", "run_dir", "recipe", "pace", "quiet")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    show(Settings(**given))
    return 0
