"""The command line: one file a family of verbs. Parse, call one function, return an exit code."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from gptune.cli.demo import add_demo
from gptune.cli.steering import add_steering
from gptune.errors import GptuneError

REFUSED, INTERRUPTED = 2, 130  # exit codes: refused or misused; stopped by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0 done, 2 refused or misused, 130 interrupted.

    Args:
        arguments: The words after ``gptune``; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="gptune", description="Tunes a model's hyperparameters while it trains, safely."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.add_argument(
        "--dir", metavar="RUN", help="the run that is meant (default: the newest under ./runs)"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_demo(commands)
    add_steering(commands)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except (GptuneError, ImportError) as error:
        if not isinstance(error, GptuneError) and "gptune-torch[" not in str(error):
            raise
        print(f"gptune: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("gptune: interrupted", file=sys.stderr)
        return INTERRUPTED


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes longer than all the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from gptune.version import VERSION

        print(f"gptune {VERSION}")
        parser.exit()
