"""``gptune adjust``: automatic adjustment of a deployed model, as a file describes it."""

import json
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptune.errors import UsageError
from gptune.printable import printable

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gptune.adjustment.adjustment import AutomaticAdjustment

    Commands = _SubParsersAction[ArgumentParser]

FUNCTIONS = ("retrain", "apply", "canary")
NEEDED = (*FUNCTIONS, "collect", "directory", "tuning")
POLL = 60.0  # [s]


def add_adjusting(commands: "Commands") -> None:
    """Add the verb and what it can do."""
    adjust = commands.add_parser(
        "adjust",
        help="watch a deployed model, and tune it again when it slips",
        description="Watches a deployed model, tunes it again when it slips, compares what was "
        "found with what runs, and hands over. A .yaml file names your functions as "
        "module:function, where records lie, and what may be tuned; see docs/adjustment.md.",
    )
    verbs = adjust.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, run, said in (
        ("run", run_on, "poll until Ctrl-C; what was begun goes on at the next start"),
        ("once", once, "poll once and go as far as it can, for cron"),
        ("status", status, "say where it stands; nothing is read or begun"),
        ("report", report, "say what came of each adjustment so far"),
    ):
        parser = verbs.add_parser(name, help=said, description=f"{said[0].upper()}{said[1:]}.")
        parser.add_argument("config", metavar="CONFIG", help="a .yaml or .json file")
        if name in ("status", "report"):
            parser.add_argument("--json", action="store_true", help="print JSON")
        if name == "once":
            parser.add_argument("--tune", action="store_true", help="begin an adjustment by hand")
            parser.add_argument("--trials", type=int, metavar="N", help="of it, with --tune")
        if name == "run":
            parser.add_argument(
                "--interval", type=float, default=POLL, metavar="S", help="of polls (default: 60)"
            )
        parser.set_defaults(run=run)


def run_on(args: Namespace) -> int:
    """Poll until somebody interrupts."""
    if not args.interval > 0:
        raise UsageError(f"--interval: must be positive [s], got {args.interval!r}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a canary is called back
    with made_of(read_config(args)) as adjustment:
        print(_line(adjustment.status()), file=sys.stderr)
        while True:
            before = adjustment.status()
            adjustment.poll()
            after = adjustment.status()
            if _line(before) != _line(after):
                print(_line(after), file=sys.stderr)
            time.sleep(args.interval)


def once(args: Namespace) -> int:
    """Poll once."""
    with made_of(read_config(args)) as adjustment:
        if args.tune:
            adjustment.manual_tune(n_trials=args.trials)
        adjustment.poll()
        print(_line(adjustment.status()))
    return 0


def status(args: Namespace) -> int:
    """Say where it stands."""
    from gptune.adjustment.report import status_of
    from gptune.adjustment.state import read_state
    from gptune.run_directory.file_system import Disk

    directory = Path(read_config(args)["directory"])
    state = read_state(Disk(), directory) if directory.is_dir() else None
    if state is None:
        print("null" if args.json else f"nothing was begun in {directory}")
        return 0
    said = status_of(state)
    print(json.dumps(said) if args.json else _line({**said, "complaint": ""}))
    return 0


def report(args: Namespace) -> int:
    """Say what came of each adjustment."""
    from gptune.adjustment.report import read_reports, words
    from gptune.run_directory.file_system import Disk

    found = read_reports(Disk(), Path(read_config(args)["directory"]))
    if args.json:
        print(json.dumps(found))
        return 0
    for one in found:
        print(printable(words(one)))
    if not found:
        print("no adjustments so far")
    return 0


def read_config(args: Namespace) -> dict[str, Any]:
    """Read the file.

    Raises:
        UsageError: If something is missing, or unknown.
    """
    from gptune.configs import nearest
    from gptune.configs.text import read_file

    if args.dir is not None:
        raise UsageError(f"--dir: names a run, got {args.dir!r}, and this is not about one")
    data = read_file(args.config)
    if not isinstance(data, dict):
        raise UsageError(f"{args.config}: must hold a mapping, got {type(data).__name__}")
    missing = [name for name in NEEDED if name not in data]
    if missing:
        raise UsageError(f"{args.config}: {missing[0]} is missing; it needs {', '.join(NEEDED)}")
    known = (*NEEDED, "rules", "running", "current")
    for name in data:
        if name not in known:
            raise UsageError(f"{args.config}: {name}: is unknown; {nearest(str(name), known)}")
    return data


def made_of(data: Mapping[str, Any]) -> "AutomaticAdjustment":
    """Make the adjustment that a file describes.

    Raises:
        UsageError: Naming what is wrong.
    """
    from msgspec import ValidationError, convert

    from gptune.adjustment.adjustment import AutomaticAdjustment
    from gptune.adjustment.course import Rules
    from gptune.cli.study_runs import find_objective as find

    calls: dict[str, Callable[..., Any]] = {name: find(str(data[name])) for name in FUNCTIONS}
    collect = str(data["collect"])
    is_file = collect.endswith(".jsonl") or collect.startswith("sqlite:///")
    current = None if data.get("current") is None else find(str(data["current"]))
    try:
        rules = convert(data.get("rules", {}), Rules)
    except ValidationError as error:
        raise UsageError(f"rules: {error}") from error
    return AutomaticAdjustment(
        collect if is_file else find(collect),
        calls["retrain"],
        calls["apply"],
        study=_tuning(data["tuning"]),
        canary=calls["canary"],
        directory=str(data["directory"]),
        rules=rules,
        running=data.get("running"),
        current=current,
    )


def _tuning(given: object) -> Any:
    from gptune.adjustment.tuning import Tuning
    from gptune.cli.study_runs import find_objective as find
    from gptune.configs import nearest
    from gptune.presets import AGENT, ALGORITHMS
    from gptune.presets.spaces import thresholds_are_apart

    if not isinstance(given, dict) or "objective" not in given:
        raise UsageError("tuning: must be a mapping with objective, and space or algorithm")
    chosen = {**given, "objective": find(str(given["objective"]))}
    known = {**ALGORITHMS, "agent": AGENT}
    name = chosen.pop("algorithm", None)
    if name is not None and name not in known:
        raise UsageError(f"tuning.algorithm: is unknown, got {name!r}; {nearest(str(name), known)}")
    if name is not None:
        chosen.setdefault("space", known[name])
    if name == "agent":
        chosen.setdefault("constraints", (thresholds_are_apart,))
    fields = Tuning.__slots__
    for field in chosen:
        if field not in fields:
            raise UsageError(f"tuning.{field}: is unknown; {nearest(str(field), fields)}")
    if "space" not in chosen:
        raise UsageError("tuning: needs space, or algorithm: q_learning, ppo, dqn or agent")
    return Tuning(**chosen)


def _line(status: Mapping[str, Any]) -> str:
    said = f"{status['phase']}, adjustment {status['number']}, applied {status['applied']}"
    pairs = f", {status['pairs']} pairs" if status["pairs"] else ""
    complaint = f"; {status['complaint']}" if status["complaint"] else ""
    return printable(f"{said}{pairs}{complaint}")
