"""The verbs that steer a live run: each drops one command for the run to take, or shuts it out."""

import contextlib
import json
import math
import sys
import time
from argparse import ArgumentParser as Parser
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptune.cli.place import run_of, split_run
from gptune.errors import GptuneError, RunDirectoryError, UsageError
from gptune.printable import printable
from gptune.run_directory.names import EVENTS

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gptune.run_directory.control import Answer

    Commands = _SubParsersAction[Parser]

DONE, REFUSED = 0, 2
PATIENCE, GLANCE = 60.0, 0.02  # how long --wait waits, and between two looks [s]

Take = Callable[[Namespace], dict[str, Any]]
HOW = "Within 64 steps, or at its next decision, the run answers; --wait shows the answer."


def add_steering(commands: "Commands") -> None:
    """Add the verbs."""
    enable = _add(commands, "enable", "let gptune act", _mode)
    enable.add_argument("--mode", help="active (or replay, as the run was made), suggest, observe")
    _add(commands, "disable", "only observe; an unjudged change is put back", _nothing)
    pause = _add(commands, "pause", "propose nothing until resumed", _decisions)
    pause.add_argument("--decisions", type=int, metavar="N", help="only for so many decisions")
    _add(commands, "resume", "end a pause", _nothing)
    what = "[RUN] SECTION.FIELD=VALUE ..."
    _add(commands, "set", "change the recipe of the live run, all or nothing", _changes, words=what)
    _add(commands, "pin", "keep a knob where it is", _family, words="[RUN] FAMILY")
    _add(commands, "unpin", "let a knob move again", _family, words="[RUN] FAMILY")
    what = "[RUN] FAMILY=VALUE ..."
    _add(commands, "apply", "move knobs by hand, within their bounds", _moves, words=what)
    _add(commands, "accept", "keep the change that is being judged", _nothing)
    _add(commands, "reject", "undo the change that is being judged", _nothing)
    rollback = _add(commands, "rollback", "put the knobs back to before the last change", _to)
    rollback.add_argument(
        "--to", type=int, metavar="N", help="as they were after decision N; 0 = at the start"
    )
    freeze = commands.add_parser(
        "freeze",
        usage="gptune freeze [RUN] production|off [--json]",
        help="shut outside commands out of a run, or let them in again",
        description="Writes freeze.json into the run directory. While it says production, the "
        "run refuses every outside command; gptune itself goes on.",
    )
    freeze.add_argument("words", nargs="+", metavar="[RUN] production|off")
    freeze.add_argument("--json", action="store_true", help="print one JSON object")
    freeze.set_defaults(run=_freeze)


def _add(commands: "Commands", verb: str, what: str, take: Take, *, words: str = "[RUN]") -> Parser:
    """Add one verb: what it does in words, and what it takes from its own."""
    parser = commands.add_parser(
        verb,
        usage=f"gptune {verb} {words} [options]",
        help=what,
        description=f"{what[0].upper()}{what[1:]}. {HOW}",
    )
    parser.add_argument("words", nargs="*", metavar=words, help="RUN: the newest by default")
    parser.add_argument("--wait", action="store_true", help="wait for the run, and for its answer")
    parser.add_argument(
        "--timeout", type=float, default=PATIENCE, metavar="S", help="wait so long [s] (60)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_order, verb=verb, take=take)
    return parser


def _order(args: Namespace) -> int:
    """Send one command; exit 0 when it was done (or, without --wait, sent), 2 when refused."""
    from gptune.run_directory import control
    from gptune.run_directory.file_system import Disk

    arguments = args.take(args)
    if not args.timeout > 0:
        raise UsageError(f"timeout: must be > 0 [s], got {args.timeout!r}; e.g. 60")
    end = time.monotonic() + args.timeout
    if args.wait:
        _wait_for_run(args, end)
    directory, files = run_of(args, args.named), Disk()
    _check_open(directory)
    try:
        ident = control.send(files, directory, args.verb, arguments)
        answer = _wait(directory, ident, end) if args.wait else None
    except OSError as error:
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: cannot be written ({error}); check its permissions"
        ) from error
    return _tell(args, ident, answer)


def _check_open(directory: Path) -> None:
    """Check that somebody is there to take a command, and that it would be let in.

    Raises:
        RunDirectoryError: If not.
    """
    from gptune.run_directory import control
    from gptune.run_directory.file_system import Disk
    from gptune.run_directory.owner import owner_of

    why = control.frozen(Disk(), directory)
    if why:
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: takes no outside commands: {why}; "
            "see gptune freeze --help"
        )
    if owner_of(directory) is None:
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: no live process owns it, so nobody would answer; "
            "start or resume the run first, or see gptune ls"
        )


def _wait_for_run(args: Namespace, end: float) -> None:
    """Wait for a run that was named and has not begun yet: its process may still be loading."""
    named = args.named if args.named is not None else args.dir
    if named is None or (Path(named) / EVENTS).exists():
        return
    print(f"gptune: waiting for the run {named} to begin", file=sys.stderr)
    while time.monotonic() < end and not (Path(named) / EVENTS).exists():
        time.sleep(GLANCE)


def _wait(directory: Path, ident: str, end: float) -> "Answer":
    """Wait for the answer; a command that nobody took in time is taken back.

    Raises:
        RunDirectoryError: If there is no answer.
    """
    from gptune.run_directory import control
    from gptune.run_directory.file_system import Disk
    from gptune.run_directory.owner import owner_of

    files, taken_back = Disk(), False
    while True:
        late = owner_of(directory) is None or time.monotonic() > end
        answer = control.read_answer(files, directory, ident)  # after the look at the owner
        if answer is not None:
            with contextlib.suppress(OSError):  # who may not write there may read it all the same
                control.discard_answer(files, directory, ident)
            return answer
        if late:
            taken_back = control.take_back(files, directory, ident)
            break
        time.sleep(GLANCE)
    what = "was taken back, and is not done" if taken_back else "was taken, but not answered"
    raise RunDirectoryError(
        f"command {ident}: the run {str(directory)!r} gave no answer in time; the command {what}. "
        "A run answers every 64 steps and at decisions: see gptune log"
    )


def _tell(args: Namespace, ident: str, answer: "Answer | None") -> int:
    if answer is None:
        text = f"sent: {args.verb} ({ident}); the run answers in gptune log, or add --wait"
        print(json.dumps({"id": ident, "sent": True}) if args.json else text)
        return DONE
    if args.json:
        names = ("id", "accepted", "message", "decision", "step")
        print(json.dumps({name: getattr(answer, name) for name in names}))
    else:
        word = "done" if answer.accepted else "refused"
        text = f"{word} at step {answer.step}, after decision {answer.decision}: {answer.message}"
        print(printable(text), file=sys.stdout if answer.accepted else sys.stderr)
    return DONE if answer.accepted else REFUSED


def _freeze(args: Namespace) -> int:
    """Shut outside commands out, or let them in; exit 0 when it is so."""
    from gptune.run_directory import control
    from gptune.run_directory.file_system import Disk

    named, words = split_run(args.words, 1)
    state = words[0]
    if len(args.words) > 2 or state not in ("production", "off"):
        raise UsageError(f"freeze: must be production or off, got {' '.join(args.words)!r}")
    directory = run_of(args, named)
    try:
        control.freeze(Disk(), directory, on=state == "production")
    except OSError as error:
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: cannot be written ({error}); check its permissions"
        ) from error
    said = {"run": str(directory), "freeze": state}
    print(json.dumps(said) if args.json else f"{directory}: freeze {state}")
    return DONE


# What each verb takes from its words; the run that was named is left in ``args.named``.


def _split(args: Namespace, count: int, needs: str) -> list[str]:
    args.named, words = split_run(args.words, count)
    if len(words) != count:
        raise UsageError(
            f"{args.verb}: needs {needs}, got {' '.join(args.words) or 'nothing'}; "
            f"see gptune {args.verb} --help"
        )
    return words


def _nothing(args: Namespace) -> dict[str, Any]:
    _split(args, 0, "at most the run")
    return {}


def _mode(args: Namespace) -> dict[str, Any]:
    return _nothing(args) | {"mode": args.mode}


def _decisions(args: Namespace) -> dict[str, Any]:
    return _nothing(args) | {"decisions": args.decisions}


def _to(args: Namespace) -> dict[str, Any]:
    return _nothing(args) | {"to": args.to}


def _family(args: Namespace) -> dict[str, Any]:
    return {"family": _split(args, 1, "one FAMILY")[0]}


def _moves(args: Namespace) -> dict[str, Any]:
    return {"moves": _assignments(args, "FAMILY=VALUE, such as opt.lr=0.5")}


def _changes(args: Namespace) -> dict[str, Any]:
    return {"changes": _assignments(args, "SECTION.FIELD=VALUE, such as acceptance.epsilon=0.002")}


def _assignments(args: Namespace, needs: str) -> dict[str, Any]:
    """Read ``name=value`` words; each value as YAML reads it."""
    from gptune.configs.text import parse

    first = 1 if args.words and "=" not in args.words[0] else 0
    args.named = args.words[0] if first else None
    made: dict[str, Any] = {}
    for word in args.words[first:]:
        name, sign, text = word.partition("=")
        if not sign or not name or name in made:
            what = "stands twice" if name in made else "is none"
            raise UsageError(f"{args.verb}: needs {needs}; {word!r} {what}")
        try:
            made[name] = parse(text, name)
        except GptuneError as error:
            raise UsageError(f"{name}: {text!r} is no value: {error}") from error
        if isinstance(made[name], float) and not math.isfinite(made[name]):
            raise UsageError(f"{name}: must be finite, got {text!r}")
    if not made:
        raise UsageError(f"{args.verb}: needs {needs}, got nothing")
    return made
