"""The promises of docs/safety.md, the tests that it names, and the faults planted against them."""

import ast
import re
from pathlib import Path

import pytest

from tests.planted import Planted, faults, how_it_survived

PAGE = Path("docs/safety.md")
INVARIANTS = [f"I{number}" for number in range(1, 39)] + ["I9'"]
ROW = re.compile(r"^\| (I\d+'?) \| (.+?) \| (.+) \|$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\(\.\./(tests/[^)]+)\)")
LISTED = {name: LINK.findall(tests) for name, _, tests in ROW.findall(PAGE.read_text())}
FAULTS = faults()


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_invariant_stands_on_the_page_once() -> None:
    rows = [name for name, _, _ in ROW.findall(PAGE.read_text())]
    assert sorted(rows) == sorted(INVARIANTS)


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_what_proves_an_invariant_is_there_by_its_sentence(invariant: str) -> None:
    assert LISTED[invariant]
    for sentence, file in LISTED[invariant]:
        name = sentence.replace(" ", "_")
        assert {name, f"test_{name}"} & names_in(Path(file)), f"{file} has no {sentence!r}"


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_every_invariant_has_a_planted_fault_that_a_listed_property_catches(invariant: str) -> None:
    planted = [fault for fault in FAULTS if fault.breaks == invariant]
    assert planted
    for fault in planted:
        caught_by = fault.caught_by.partition("[")[0]
        assert (caught_by, fault.test) in LISTED[invariant]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_can_be_planted_at_one_place_and_its_property_is_there(fault: Planted) -> None:
    source = Path(fault.file).read_text()
    assert source.count(fault.old) == 1
    ast.parse(source.replace(fault.old, fault.new))
    assert {fault.name, f"test_{fault.name}"} & names_in(Path(fault.test))


def test_only_the_propertys_own_failure_counts_as_caught() -> None:
    fault = FAULTS[0]
    failed = f"  File x, line 1, in {fault.name}\n    assert ...\nAssertionError"
    assert how_it_survived(fault, 1, failed) == ""
    assert "SURVIVED" in how_it_survived(fault, 0, "1 passed")
    assert "NOT TRIED" in how_it_survived(fault, 2, "error while collecting")
    assert "SOMETHING ELSE" in how_it_survived(fault, 1, "in another_test\n")
