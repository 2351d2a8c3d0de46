"""Rows of long comparisons: kept in a file, so that a stopped comparison goes on."""

import ast
import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import gptune

DIGITS = 7  # of what is kept


@dataclass(frozen=True, slots=True)
class Job:
    """What one row measures: the key that it is found by."""

    method: str
    version: str
    task: str
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One run: a number after each evaluation, and what it cost."""

    job: Job
    trace: list[float]
    seconds: float  # of CPU time, asking and telling only

    @property
    def final(self) -> float:
        """The number after the last evaluation."""
        return self.trace[-1]


def engine_version(*rooms: str) -> str:
    """Name the engine by its version and a digest of its code, comments and docstrings apart.

    Args:
        rooms: Packages that count, beside ``core``.
    """
    home = Path(gptune.__file__).parent
    digest = hashlib.blake2b(digest_size=3)
    modules = [path for room in ("core", *rooms) for path in sorted((home / room).rglob("*.py"))]
    for module in modules:
        digest.update(ast.dump(_without_docstrings(ast.parse(module.read_text()))).encode())
    return f"{gptune.__version__}+{digest.hexdigest()}"


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body[0] = ast.Pass()
    return tree


def read_rows(file: Path) -> dict[Job, Row]:
    """Read the rows that were kept."""
    if not file.exists():
        return {}
    rows = {}
    for line in file.read_text().splitlines():
        plain = json.loads(line)
        row = Row(Job(**plain.pop("job")), **plain)
        rows[row.job] = row
    return rows


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write all rows in order, so that a file's difference is easy to read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(rows, key=lambda r: (r.job.task, r.job.method, r.job.version, r.job.seed))
    file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in ordered))


def fill(
    file: Path,
    jobs: list[Job],
    run: Callable[[Job], Row],
    note: Callable[[str], None],
) -> dict[Job, Row]:
    """Run the jobs that have no row yet, each kept as soon as it is there; give the rows of all.

    Rows of other versions of a method that is asked for are dropped.
    """
    rows = read_rows(file)
    wanted = {(job.method, job.task): job.version for job in jobs}
    rows = {j: r for j, r in rows.items() if wanted.get((j.method, j.task), j.version) == j.version}
    missing = [job for job in jobs if job not in rows]
    with ProcessPoolExecutor() as pool:
        running = [pool.submit(run, job) for job in missing]
        for done, future in enumerate(as_completed(running), start=1):
            row = future.result()
            rows[row.job] = row
            write_rows(file, rows.values())
            note(
                f"{done}/{len(missing)}  {row.job.task:<18} {row.job.method:<14} seed "
                f"{row.job.seed:<4} {row.final:.5g}  ({row.seconds:.1f} s)"
            )
    return {job: rows[job] for job in jobs}
