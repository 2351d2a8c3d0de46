"""``gptune status``, ``log``, ``ls`` and ``export``: a run, from what it wrote alone.

``status`` has to be quick: here only the standard library is imported, what reads events inside
of the verbs that need it.
"""

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptune.cli.place import add_run, read_log, run_of, runs, runs_root
from gptune.errors import EventLogError, RunDirectoryError, UsageError
from gptune.printable import printable
from gptune.run_directory.names import EVENTS, SUMMARY
from gptune.run_directory.owner import owner_of
from gptune.run_directory.summary_file import read_summary

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gptune.run_directory.tail import Entry

    Commands = _SubParsersAction[ArgumentParser]

PAUSED = 3  # exit code of status
POLL = 0.3  # how often log --follow looks [s]


def add_looking(commands: "Commands") -> None:
    """Add the verbs."""
    said = "where a run stands: its state, mode, metric, knobs and changes"
    parser = commands.add_parser(
        "status", help=said, description=f"Shows {said}. Exit code 3 when tuning is paused, else 0."
    )
    add_run(parser)
    _add(parser, status, "print one JSON object")
    _add_log(commands)
    parser = commands.add_parser(
        "explain",
        usage="gptune explain [RUN] N [--json]",
        help="why a decision came out as it did",
        description="Says why decision N came out as it did: what was observed, what the proposer "
        "knew and believed, the verdict and its reasons, and what was written when.",
    )
    parser.add_argument("words", nargs="+", metavar="[RUN] N", help="the decision's number")
    _add(parser, explain, "print one JSON object")
    where = "the runs under ./runs, or under $GPTUNE_RUNS, the newest first"
    parser = commands.add_parser("ls", help="list the runs", description=f"Lists {where}.")
    _add(parser, ls, "print one JSON list")
    _add_export(commands)
    said = "what would keep gptune from working here"
    parser = commands.add_parser(
        "doctor", help=said, description=f"Checks {said}. Exit code 2 if anything would, else 0."
    )
    add_run(parser)
    _add(parser, doctor, "print one JSON list")


def _add_log(commands: "Commands") -> None:
    parser = commands.add_parser(
        "log",
        usage="gptune log [RUN] [--follow] [--last N] [--json] [--kind K ...]",
        help="what a run did, one line an event",
        description="Shows what a run did, one line an event: number, time (UTC), decision, step, "
        "kind, and what it says.",
    )
    add_run(parser)
    parser.add_argument("--follow", action="store_true", help="go on until the run ends")
    parser.add_argument("--kind", nargs="+", metavar="K", help="these kinds of events only")
    parser.add_argument("--last", type=int, metavar="N", help="only the last N of them")
    _add(parser, log, "print the lines as they stand in events.jsonl")


def _add_export(commands: "Commands") -> None:
    parser = commands.add_parser(
        "export",
        help="a run as rows: its movements, or its judged changes",
        description="Writes a run as JSON lines, in the style of older tools.",
    )
    add_run(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--mutations", action="store_true", help="a row for every move of a knob")
    what.add_argument("--segments", action="store_true", help="a row for every judged change")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a new file, not the screen")
    _add(parser, export, "one JSON list instead of a row a line")


def _add(parser: ArgumentParser, verb: Any, json_help: str) -> None:
    parser.add_argument("--json", action="store_true", help=json_help)
    parser.set_defaults(run=verb)


def status(args: Namespace) -> int:
    """Show where a run stands, as of its last decision; exit 3 when tuning is paused, else 0."""
    run = run_of(args, args.named)
    plain = standing(run)
    try:
        print(json.dumps(plain) if args.json else printable(describe(plain)))
        return PAUSED if plain["paused"] else 0
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunDirectoryError(
            f"run directory {str(run)!r}: {SUMMARY} is not what gptune wrote ({error!r}); "
            "remove it, the log says the same"
        ) from error


def ls(args: Namespace) -> int:
    """List the runs."""
    rows = [_row(run) for run in runs()]
    if args.json:
        print(json.dumps(rows))
        return 0
    names = ("run", "state", "mode", "decision", "step", "best")
    table = [[_cell(row.get(n)) for n in names] + [_span(row["age"])] for row in rows]
    for line in _aligned([[*names, "age"], *table]) if rows else [f"no run under {runs_root()}"]:
        print(printable(line))
    return 0


def log(args: Namespace) -> int:
    """Show what a run did, line by line."""
    from gptune.events import KINDS

    unknown = sorted(set(args.kind or ()) - KINDS)
    if unknown:
        raise UsageError(f"--kind: {unknown[0]!r} is no kind of event; one of {sorted(KINDS)}")
    if args.last is not None and args.last < 1:
        raise UsageError(f"--last: must be >= 1 [lines], got {args.last}")
    run = run_of(args, args.named)
    return _print_all(_log_lines(run, args))


def export(args: Namespace) -> int:
    """Write a run as rows."""
    import msgspec

    from gptune.run_directory.exports import mutations, segments

    lines = read_log(run_of(args, args.named))
    rows = list(mutations(lines) if args.mutations else segments(lines))
    texts = [msgspec.json.encode(row).decode() for row in ([rows] if args.json else rows)]
    if args.out is None:
        return _print_all(texts)
    try:
        with args.out.open("x", encoding="utf-8") as file:
            file.writelines(f"{text}\n" for text in texts)
    except OSError as error:
        raise UsageError(
            f"--out: {str(args.out)!r} cannot be made ({error}); name a new file in a directory "
            "that is there"
        ) from error
    print(f"{len(rows)} rows in {args.out}")
    return 0


def explain(args: Namespace) -> int:
    """Say why a decision came out as it did."""
    from gptune.cli.explaining import explain

    return explain(args)


def doctor(args: Namespace) -> int:
    """Say what would keep gptune from working here; exit 2 if anything would."""
    from gptune.cli.doctor import doctor

    return doctor(args)


def standing(run: Path) -> dict[str, Any]:
    """Give a run's summary, its name, its state and its owner, as plain data.

    Raises:
        EventLogError: If there is no summary and the log is broken.
        RunDirectoryError: If it cannot be read.
    """
    plain = read_summary(run)
    if plain is None:
        from gptune.run_directory.summary import summarize, to_plain

        plain = to_plain(summarize(read_log(run)))
    owner = owner_of(run)
    ended = "closed" if plain.get("closed") else "ended"
    return {"run": str(run), "state": "running" if owner else ended, "owner": owner, **plain}


def describe(plain: dict[str, Any]) -> str:
    """Write where a run stands, for people."""
    best, total = plain["best"], plain["total_steps"]
    of_total = f" of {total}" if total else ""
    rows = [
        ["run", plain["run"]],
        ["state", _state(plain)],
        ["mode", plain["mode"] + _pause(plain)],
        ["objective", f"{plain['objective']} ({plain['direction']})"],
        ["decision", f"{plain['decision']} at step {plain['step']}{of_total}, {plain['phase']}"],
        ["metric", _cell(plain["metric"])],
        ["best", f"{_cell(best['metric'])} at decision {best['decision']}" if best else "-"],
        ["changes", _changes(plain)],
        ["time", _span(plain["seconds"])],
    ]
    for title in ("quarantined", "pinned"):
        rows += [[title, ", ".join(plain[title])]] if plain[title] else []
    knobs = [["knob", "move", "schedule", "used"]]
    for family, move in plain["point"].items():
        reading = plain["knobs"].get(family, {})
        used = (_cell(reading.get("scheduled")), _cell(reading.get("effective")))
        knobs.append([family, _cell(move), *used])
    return "\n".join([*_aligned(rows), "", *_aligned(knobs)])


def _state(plain: dict[str, Any]) -> str:
    if plain["state"] == "running":
        return f"running (process {plain['owner']})"
    return "closed" if plain["closed"] else "ended without close"


def _pause(plain: dict[str, Any]) -> str:
    if not plain["paused"]:
        return ""
    until = plain["paused_until"]
    return ", paused until resumed" if until is None else f", paused through decision {until}"


def _changes(plain: dict[str, Any]) -> str:
    rate = f" ({plain['accept_rate']:.0%})" if plain["judged"] else ""
    waiting = f"; {plain['open']} is being judged" if plain["open"] else ""
    return f"{plain['accepted']} of {plain['judged']} accepted{rate}{waiting}"


def _row(run: Path) -> dict[str, Any]:
    """Describe a run in a list; a broken one must not hide the others."""
    age = max(0.0, time.time() - (run / EVENTS).stat().st_mtime)
    row: dict[str, Any] = {"run": run.name, "age": age}
    try:
        plain = standing(run)
    except (EventLogError, RunDirectoryError) as error:
        return {**row, "state": "broken", "error": str(error)}
    best = plain.get("best")
    told = {name: plain.get(name) for name in ("state", "mode", "decision", "step")}
    return {**row, **told, "best": best["metric"] if best else None}


def _log_lines(run: Path, args: Namespace) -> Iterator[str]:
    from gptune.run_directory.tail import tail

    feed = tail(run)
    yield from _shown(next(feed), args)[-(args.last or 0) :]
    while args.follow and owner_of(run) is not None:
        time.sleep(POLL)
        yield from _shown(next(feed), args)
    if args.follow:
        yield from _shown(next(feed), args)


def _shown(entries: "list[Entry]", args: Namespace) -> list[str]:
    from gptune.run_directory.words import line_of

    chosen = [entry for entry in entries if not args.kind or entry.kind in args.kind]
    if args.json:
        return [entry.text for entry in chosen]
    return [line_of(entry.line) for entry in chosen if entry.line is not None]


def _print_all(lines: Iterable[str]) -> int:
    """Print line by line, until whoever reads has had enough: ``gptune log | head``."""
    for line in lines:
        print(printable(line), flush=True)
    return 0


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)) for row in rows]
    return [line.rstrip() for line in lines]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _span(seconds: float) -> str:
    """Write a time span with its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    said = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(said[:2]) or "0 s"
