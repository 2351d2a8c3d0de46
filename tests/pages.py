"""The pages as their readers take them: their blocks of code, run in order.

A python block runs unless its fence says ``python no-run``; then a comment right before the fence
says why: ``<!-- not run: needs a cluster -->``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGES = (Path("README.md"), *sorted(Path("docs").rglob("*.md")))
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<info>[^`\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        page: Where it stands.
        section: The heading of second rank that it stands under; empty before the first.
        line: Of its first line of code.
        language: What its fence says first.
        runs: Whether it is one of Python's that runs.
        why: Why it does not.
        text: The code.
    """

    page: Path
    section: str
    line: int
    language: str
    runs: bool
    why: str
    text: str


def blocks_of(page: Path) -> Iterator[Block]:
    """Give the blocks of a page, in order."""
    text = page.read_text()
    for found in FENCE.finditer(text):
        before = text[: found.start("text")]
        words = found["info"].split()
        headings = re.findall(r"^## (.+)$", FENCE.sub("", before), re.MULTILINE)
        yield Block(
            page=page,
            section=headings[-1] if headings else "",
            line=before.count("\n") + 1,
            language=words[0] if words else "",
            runs=words == ["python"],
            why=found["why"] or "",
            text=found["text"],
        )


def run(page: Path, scope: dict[str, Any] | None = None, section: str | None = None) -> Any:
    """Run a page's blocks, or those of one section, one after another; gives their names.

    Args:
        page: The page.
        scope: What the page says is the reader's own.
        section: A heading of second rank.
    """
    names = {"__name__": "page", **(scope or {})}
    chosen = [block for block in blocks_of(page) if block.runs and section in (None, block.section)]
    assert chosen, (page, section)
    for block in chosen:
        execute(block, names)
    return names


def execute(block: Block, names: dict[str, Any]) -> None:
    """Run one block; a traceback names the line of the page."""
    code = "\n" * (block.line - 1) + block.text
    exec(compile(code, str(block.page), "exec"), names)
