"""Plants faults in the package, one at a time, to prove that its properties can fail.

They are listed in `planted.toml`. Each is planted in a copy of the tree, and nothing but the
property that must catch it is run there. What survives ends the command with 1:

    python -m tests.planted           all of them
    python -m tests.planted I12 I19   those of some invariants
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

HERE = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".toml")
WORKERS, SECONDS = 2, 300
MACHINES = {  # files whose properties are rules and invariants of a state machine
    "tests/online/test_promises.py": "Promises",
    "tests/online/decision/test_plan.py": "Kernel",
}
ALONE = Path("tests/test_alone.py")
ONE = """from hypothesis import settings
from {module} import {machine}

silent = dict.fromkeys({others}, lambda self: None)
TestAlone = type("Alone", ({machine},), silent).TestCase
TestAlone.settings = settings(stateful_step_count=50)
"""
PYTEST = (sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider")
SHOWN = ("--tb=native", "--show-capture=no", "--hypothesis-profile=planted")


@dataclass(frozen=True, slots=True)
class Planted:
    """One fault.

    Attributes:
        breaks: The invariant.
        what: The fault, in words.
        file: Where it is planted.
        old: What stands there, once.
        new: What is put in its place.
        test: The file of the property that must catch it.
        caught_by: The property: a test, or a rule or an invariant of that file's machine.
    """

    breaks: str
    what: str
    file: str
    old: str
    new: str
    test: str
    caught_by: str

    @property
    def name(self) -> str:
        """The property's name in its file, its parameters left out."""
        return self.caught_by.partition("[")[0].replace(" ", "_")

    @property
    def node(self) -> str:
        """What pytest is asked to run."""
        if self.is_of_a_machine:
            return f"{ALONE}::TestAlone::runTest"
        return f"{self.test}::test_{self.caught_by.replace(' ', '_')}"

    @property
    def is_of_a_machine(self) -> bool:
        """Say whether the property is a rule or an invariant of a state machine."""
        return f"    def {self.name}(" in (HERE / self.test).read_text()

    def alone(self) -> str:
        """Give a test of a machine in which this invariant is the only one: others may fail too."""
        machine = MACHINES[self.test]
        module = self.test.removesuffix(".py").replace("/", ".")
        invariants = re.findall(r"@invariant\(\)\n    def (\w+)", (HERE / self.test).read_text())
        others = [name for name in invariants if name != self.name]
        return ONE.format(module=module, machine=machine, others=others)


def faults() -> list[Planted]:
    """Read the list."""
    return [Planted(**fault) for fault in tomllib.loads(LIST.read_text())["fault"]]


@contextmanager
def planted_in(tree: Path, fault: Planted) -> Iterator[None]:
    """Plant a fault in a copy of the tree, for a while."""
    file = tree / fault.file
    sound = file.read_text()
    file.write_text(sound.replace(fault.old, fault.new))
    try:
        yield
    finally:
        file.write_text(sound)


def copy_of_the_tree(to: Path) -> Path:
    """Copy what a test needs to run."""
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in ("gptune", "tests", "examples", "docs", ".ci"):
        shutil.copytree(HERE / name, to / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "ruff.toml"):
        shutil.copy(HERE / name, to / name)
    return to


def try_it(tree: Path, fault: Planted) -> str:
    """Run a fault's property on it; gives how it survived, empty if it was caught."""
    world = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    if fault.is_of_a_machine:
        (tree / ALONE).write_text(fault.alone())
    with planted_in(tree, fault):
        try:
            run = subprocess.run(
                [*PYTEST, *SHOWN, fault.node],
                cwd=tree,
                env=world,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {SECONDS} s"
    return how_it_survived(fault, run.returncode, run.stdout)


def how_it_survived(fault: Planted, code: int, said: str) -> str:
    """Read what pytest said: only a failure of the property itself counts as caught."""
    if code == 0:
        return "SURVIVED, its property holds"
    if code != 1:
        return f"NOT TRIED, pytest ended with {code}\n{said[-2000:]}"
    itself = any(f", in {prefix}{fault.name}\n" in said for prefix in ("", "test_"))
    return "" if itself else f"CAUGHT BY SOMETHING ELSE\n{said[-3000:]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant all faults, or those of some invariants, and say which survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted")
    parser.add_argument("invariants", nargs="*", help="such as I12; all by default")
    wanted = parser.parse_args(arguments).invariants
    chosen = [fault for fault in faults() if not wanted or fault.breaks in wanted]
    begin, survivors = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(WORKERS) as pool:
        trees: Queue[Path] = Queue()
        for number in range(WORKERS):
            trees.put(copy_of_the_tree(Path(place) / str(number)))

        def one(fault: Planted) -> str:
            tree = trees.get()
            try:
                return try_it(tree, fault)
            finally:
                trees.put(tree)

        for fault, complaint in zip(chosen, pool.map(one, chosen), strict=True):
            survivors += bool(complaint)
            verdict = complaint or f"caught by: {fault.caught_by}"
            print(f"{fault.breaks:<4} {fault.what}: {verdict}", flush=True)  # noqa: T201
    seconds = time.monotonic() - begin
    caught = len(chosen) - survivors
    print(f"{caught} of {len(chosen)} planted faults caught in {seconds:.0f} s")  # noqa: T201
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
