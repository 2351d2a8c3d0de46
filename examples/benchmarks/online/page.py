"""Writes the tables of figures.json into a page: each under the header that stands there already.

python -m examples.benchmarks.online.page docs/benchmarks/online/figures.json docs/benchmarks.md
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.benchmarks.online.figures import geomean

MEANS = "digits_ln + teacher + digits_conv + characters"
TASKS = ("digits_ln", "teacher", "digits_conv", "characters")
FAULTS = ("spike", "nan", "label_noise", "gradient_noise")

Rows = list[list[str]]


def main(arguments: Sequence[str]) -> int:
    """Write the tables of one file into another."""
    figures, page = (Path(one) for one in arguments)
    tables = json.loads(figures.read_text())["tables"]
    text = page.read_text()
    for header, rows in made(tables).items():
        text = put(text, header, rows)
    page.write_text(text)
    return 0


def made(tables: dict[str, Any]) -> dict[str, Rows]:
    """Give the header of each table, and its rows."""
    return {
        "| method | x1 | x0.3 | x3 | x0.1 | x0.01 | x10 | all rates |": by_rate(tables["ratios"]),
        "| method | digits_ln | teacher | digits_conv | characters | nqm |": by_task(
            tables["ratios"]
        ),
        "| mode | mean of four | 95 % interval |": harm(tables["harm"]),
        "| method | spike | nan | label noise | gradient noise |": faults(tables["faults"]),
        "| rule | x0.1 | x0.32 | no change |": [
            [rule, *(f"{share:.2f}" for share in shares)]
            for rule, shares in tables["accept"].items()
        ],
    }


def by_rate(ratios: dict[str, Any]) -> Rows:
    rows = []
    for name, (*rates, whole, interval) in _of(ratios, MEANS).items():
        low, high = interval
        rows.append([name, *map(_pair, rates), f"{whole[0]:.3f} [{low:.2f}, {high:.2f}]"])
    return rows


def by_task(ratios: dict[str, Any]) -> Rows:
    found = {task: _of(ratios, task) for task in (*TASKS, "nqm")}
    return [[name, *(_pair(found[task][name][-2]) for task in found)] for name in found["nqm"]]


def harm(table: dict[str, Any]) -> Rows:
    rows = []
    for mode, cell in table.items():
        low, high = cell["interval"]
        means = [f"{geomean(cell['by_task'][task]):.3f}" for task in (*TASKS, "nqm")]
        worst = max(max(cell["by_task"][task]) for task in TASKS)
        rows.append(
            [mode, f"{cell['mean']:.3f}", f"{low:.3f} - {high:.3f}", *means, f"{worst:.2f}"]
        )
    return rows


def faults(table: dict[str, Any]) -> Rows:
    names = list(dict.fromkeys(key.partition(":")[0] for key in table))
    return [
        ["cosine" if name == "plain" else name]
        + [_hit(table[f"{name}: {fault}"]) for fault in FAULTS]
        for name in names
    ]


def put(text: str, header: str, rows: Rows) -> str:
    """Put rows under the header of a table.

    Raises:
        ValueError: If there is no such table.
    """
    lines = text.splitlines(keepends=True)
    at = next((n for n, line in enumerate(lines) if line.startswith(header)), None)
    if at is None:
        raise ValueError(f"{header!r}: there is no such table on the page")
    end = at + 2
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    new = [f"| {' | '.join(row)} |\n" for row in rows]
    return "".join([*lines[: at + 2], *new, *lines[end:]])


def _of(ratios: dict[str, Any], task: str) -> dict[str, Any]:
    start = f"{task}: "
    return {
        key.removeprefix(start): cells for key, cells in ratios.items() if key.startswith(start)
    }


def _hit(cell: Sequence[float]) -> str:
    counts = [evaluations for evaluations in cell[2:] if evaluations is not None]
    return "; ".join([_pair(cell), *(f"{evaluations:.1f}" for evaluations in counts)])


def _pair(cell: Sequence[float]) -> str:
    return f"{cell[0]:.2f} ({cell[1]:.2f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
