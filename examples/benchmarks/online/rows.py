"""Rows: one run each, kept as soon as it is there, so that a stopped comparison goes on."""

import ast
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import gptune
from examples.benchmarks.online import ours, rivals
from examples.benchmarks.online.loop import Costs, Outcome, Setting, run
from examples.benchmarks.online.pool import start_pool
from examples.benchmarks.online.tasks import find

HERE = Path(__file__).parent
COMMON = ("tasks.py", "data.py", "loop.py", "faults.py")


@dataclass(frozen=True, slots=True)
class Job:
    """What one row measures: the key that it is found by."""

    method: str
    version: str
    task: str  # a task's key
    schedule: str
    factor: float
    fault: str
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One run, and how it ended."""

    job: Job
    outcome: Outcome


def job(method: str, task: str, schedule: str, *, factor: float, seed: int, fault: str = "") -> Job:
    """Name a run; what a method pays no heed to is left out of its name."""
    if method in rivals.RIVALS and method not in rivals.FOLLOWS_SCHEDULE:
        schedule = "own"
    if method in rivals.IGNORES_RATE:
        factor = 1.0
    return Job(method, version_of(method), task, schedule, factor, fault, seed)


def is_there(method: str) -> bool:
    """Say whether a method can be run here."""
    return method in ours.VARIANTS or bool(rivals.version_of(method))


@cache
def version_of(method: str) -> str:
    """Name what a method's rows depend on: its package, and a digest of the code at work."""
    common = [HERE / name for name in COMMON]
    if method in ours.VARIANTS:
        package = Path(gptune.__file__).parent
        rooms = ("online", "actuators", "core", "safety", "configs")
        files = [file for room in rooms for file in sorted((package / room).rglob("*.py"))]
        return f"{gptune.__version__}+{digest([*common, HERE / 'ours.py', *files])}"
    if method == "plain":
        return digest(common)
    return f"{rivals.version_of(method)}+{digest([*common, HERE / 'rivals.py'])}"


def digest(files: Iterable[Path]) -> str:
    """Digest code, comments and docstrings apart."""
    made = hashlib.blake2b(digest_size=4)
    for file in files:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and ast.get_docstring(node, clean=False):  # type: ignore[arg-type]
                node.body[0] = ast.Pass()  # type: ignore[attr-defined]
        made.update(ast.dump(tree).encode())
    return made.hexdigest()


def measure(one: Job) -> Row:
    """Run a job."""
    rivals.quiet()
    setting = Setting(
        task=find(one.task),
        seed=one.seed,
        schedule="constant" if one.schedule == "own" else one.schedule,
        factor=one.factor,
        fault=one.fault,
    )
    is_ours = one.method in ours.VARIANTS
    method = ours.variant(one.method) if is_ours else rivals.RIVALS[one.method][1]
    return Row(one, run(setting, method))


def read(file: Path) -> dict[Job, Row]:
    """Read the rows that were kept; a line that a crash has cut short is left out."""
    rows: dict[Job, Row] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            plain = json.loads(line)
        except ValueError:
            continue
        outcome = {**plain["outcome"], "costs": Costs(**plain["outcome"]["costs"])}
        row = Row(Job(**plain["job"]), Outcome(**outcome))
        rows[row.job] = row
    return rows


def fill(jobs: Sequence[Job], file: Path | None, note: Callable[[str], None]) -> dict[Job, Row]:
    """Run the jobs that have no row yet, two at a time; gives the rows of all.

    Args:
        jobs: What is wanted.
        file: Where rows are kept; rows of an older version of what is wanted are dropped.
        note: Told of progress.
    """
    wanted = list(dict.fromkeys(jobs))
    rows = read(file) if file is not None else {}
    versions = {one.method: one.version for one in wanted}
    rows = {j: r for j, r in rows.items() if versions.get(j.method, j.version) == j.version}
    missing = [one for one in wanted if one not in rows]
    if file is not None:
        write(file, rows.values())
    with start_pool() as pool:
        running = [pool.submit(measure, one) for one in missing]
        for done, future in enumerate(as_completed(running), start=1):
            row = future.result()
            rows[row.job] = row
            if file is not None:
                with file.open("a") as out:
                    out.write(json.dumps(asdict(row)) + "\n")
            note(f"{done}/{len(missing)}  {_shown(row)}")
    if file is not None and missing:
        write(file, rows.values())
    return {one: rows[one] for one in wanted}


def _shown(row: Row) -> str:
    one, outcome = row.job, row.outcome
    fault = f" {one.fault}" if one.fault else ""
    return (
        f"{one.task:<14} {one.method:<13} {one.schedule:<8} x{one.factor:<6g} seed {one.seed:<4}"
        f"{fault}  {outcome.loss:.4g}  ({outcome.seconds:.1f} s)"
    )


def write(file: Path, rows: Iterable[Row]) -> None:
    """Write all rows in order, so that a file's difference is easy to read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(rows, key=lambda row: tuple(map(str, asdict(row.job).values())))
    file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in ordered))
