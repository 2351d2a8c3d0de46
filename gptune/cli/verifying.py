"""``gptune verify``: does a run's log keep what gptune promises?"""

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from gptune.cli.place import add_run, run_of
from gptune.printable import printable

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gptune.audit import Finding, Report

    Commands = _SubParsersAction[ArgumentParser]

BROKEN = 1  # exit code: a promise is broken
SHOWN = 5  # breaks of one promise


def add_verifying(commands: "Commands") -> None:
    """Add the verb."""
    parser = commands.add_parser(
        "verify",
        help="whether a run's log keeps every promise",
        description="Audits a finished, running or crashed run: reads its log and summary, and "
        "checks promise by promise what they show. Exit code 1 if one is broken, else 0.",
    )
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=verify)


def verify(args: Namespace) -> int:
    """Audit a run; gives 0 if every promise is kept, else 1."""
    from gptune.audit import audit

    report = audit(run_of(args, args.named))
    print(json.dumps(report.to_dict()) if args.json else printable("\n".join(_told(report))))
    return 0 if report.holds else BROKEN


def _told(report: "Report") -> list[str]:
    torn = f", {report.torn} bytes of a torn line behind them" if report.torn else ""
    back = report.lines - report.counting
    taken = f", {back} of them taken back by a resume" if back else ""
    told = [
        f"{report.lines} lines{taken}{torn}; {report.state}",
        f"{report.decisions} decisions, {report.changes} changes applied",
        "",
    ]
    for finding in report.findings:
        told += _finding(finding)
    broken = sum(not finding.holds for finding in report.findings)
    verdict = f"{broken} promises are broken" if broken else "every promise is kept"
    return [*told, "", verdict]


def _finding(finding: "Finding") -> list[str]:
    mark = "kept  " if finding.holds else "BROKEN"
    lines = "line" if finding.looked == 1 else "lines"
    told = [f"{mark}  {finding.name}: {finding.says} ({finding.looked} {lines})"]
    for one in finding.breaks[:SHOWN]:
        where = f"line {one.line}: " if one.line else ""
        told.append(f"          {where}{one.what}")
    more = len(finding.breaks) - SHOWN
    return [*told, f"          and {more} more"] if more > 0 else told
