"""The command line: one file a family of verbs. Parse, call one function, return an exit code."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from gptune.errors import GptuneError
from gptune.printable import printable

REFUSED, INTERRUPTED = 2, 130  # exit codes: refused or misused; stopped by Ctrl-C
FAMILIES = {  # file -> its verbs; only the one that is wanted is loaded, for status has to be quick
    "demo": ("demo",),
    "looking": ("status", "log", "explain", "ls", "export", "doctor"),
    "watching": ("watch",),
    "reporting": ("report",),
    "recipes": ("recipe",),
    "studies": ("study",),
    "adjusting": ("adjust",),
    "verifying": ("verify",),
    "steering": (
        *("enable", "disable", "pause", "resume", "set", "pin", "unpin"),
        *("apply", "accept", "reject", "rollback", "freeze"),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0 done, 1 audit failed, 2 refused, 130 interrupted.

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
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, prog=parser.prog
    )
    words = sys.argv[1:] if arguments is None else list(arguments)
    for family in _families(words):
        getattr(importlib.import_module(f"gptune.cli.{family}"), f"add_{family}")(commands)
    try:
        parsed = parser.parse_args(words)
        return int(parsed.run(parsed))
    except (GptuneError, ImportError) as error:
        if not isinstance(error, GptuneError) and "gptune-torch[" not in str(error):
            raise
        print(f"gptune: {printable(str(error))}", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:  # who reads the output has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 0
    except KeyboardInterrupt:
        print("gptune: interrupted", file=sys.stderr)
        return INTERRUPTED


def _families(words: Sequence[str]) -> list[str]:
    """Name the family of the verb that comes first, after ``--dir``; all if it is none."""
    skipped = 2 if words[:1] == ["--dir"] else 0
    verb = words[skipped] if len(words) > skipped else ""
    return [family for family, verbs in FAMILIES.items() if verb in verbs] or list(FAMILIES)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes longer than all the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from gptune.version import VERSION

        print(f"gptune {VERSION}")
        parser.exit()
