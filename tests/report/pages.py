"""What every report must be, and runs to report of."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from gptune.report.run import Run, tell
from gptune.run_directory.event_log import read_run
from tests.cli.runs import make_run
from tests.logs import KernelRun, make_lines, moment

LIMIT = 1_000_000  # bytes of a report
EMPTY = {"meta", "link", "path", "rect", "circle", "use", "input", "br"}


class Reader(HTMLParser):
    """Reads a page as a browser would: what is open must be closed, in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name == "href" and value]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def check(page: str) -> Reader:
    """Check what holds for every report; gives the page, read."""
    assert len(page.encode()) < LIMIT
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    assert len(set(reader.ids)) == len(reader.ids)
    inner = {link[1:] for link in reader.links if link.startswith("#")}
    assert inner <= set(reader.ids)
    assert all(link.startswith("#") or link == "data:," for link in reader.links)
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", page)
    scripts = [given for tag, given in reader.tags if tag == "script"]
    assert sum("type" not in given for given in scripts) == 1  # the page's own
    for content in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S):
        json.loads(content)
    paths = " ".join(given["d"] or "" for tag, given in reader.tags if tag == "path")
    assert re.fullmatch(r"[MLHVhlvZ0-9 .\-]*", paths), "a path holds what is no number"
    return reader


def real_run(directory: Path, **given: Any) -> Run:
    """Tune a tiny run for real, and read it back."""
    make_run(directory, **given)
    return tell(directory.name, read_run(directory))


def run_of(*events: tuple[int, Any], name: str = "made") -> Run:
    """Make a run of events, each at the decision that stands before it, ten steps apart."""
    return tell(name, make_lines((moment(d, 10 * d), event) for d, event in events))


def kernel_run(made: KernelRun) -> Run:
    return tell("kernel", made.lines)
