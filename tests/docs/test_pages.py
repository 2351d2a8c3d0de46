"""Every page, taken at its word: its blocks run, its links lead somewhere, its commands are there.

What a page says is the reader's own is made here. Some pages have tests beside these, which look at
what their blocks did.
"""

import re
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gptune
from gptune.cli import FAMILIES, main
from gptune.run_directory.event_log import read_events
from tests.docs import test_studies_page as studies
from tests.docs import test_training_page as training
from tests.docs.readers import yours
from tests.pages import FENCE, PAGES, Block, blocks_of, run

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
STEPWISE = {training.PAGE, studies.PAGE}  # what each block did is looked at, in tests of their own
RUN = sorted({b.page for b in PYTHON if b.runs and b.page.resolve() not in STEPWISE})
LEAST = 0.9  # of the blocks
VERBS = {verb for verbs in FAMILIES.values() for verb in verbs}


def calibrating() -> dict[str, Any]:
    return {"gptune": gptune, **(mine := yours()), "validation_losses": mine["validate"]}


def after_a_run() -> dict[str, Any]:
    """Leave a run behind, and what was exported of it."""
    mine = yours()
    recipe = {"actuators": {"opt": {"mutations": {"lr": {"bounds": [0.1, 10.0]}}}}}
    with gptune.Tuner(mine["optimizer"], recipe=recipe, run_dir="runs/exp1") as tuner:
        for batch in mine["loader"]:
            tuner.step(mine["train_step"](batch))
            tuner.report({"val/loss": mine["validate"]()})
    assert main(["recipe", "export", "runs/exp1", "--out", "exp1.yaml"]) == 0
    return {"gptune": gptune, "torch": torch, "recipe": recipe, **yours()}


READER: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/calibration.md": calibrating,
    "docs/learning.md": after_a_run,
}
PRINTED = {"docs/knobs.md": "['opt.lr', 'opt.weight_decay', 'opt.eps', 'opt.betas']\n"}


def of_adjustment(names: dict[str, Any], printed: str) -> None:
    (report,) = names["adjustment"].reports
    assert (report["trigger"], report["verdict"]) == ("low_success", "kept")
    assert abs(names["world"]["running"] - 0.8) < 0.1


def of_the_readme(names: dict[str, Any], printed: str) -> None:
    assert printed.count("decision") == 41
    first = min(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    kinds = [line.event.__struct_config__.tag for line in read_events(first)]
    assert kinds.count("applied") >= 1
    assert kinds.count("accepted") + kinds.count("rolled_back") == kinds.count("applied")


def of_extending(names: dict[str, Any], printed: str) -> None:
    assert "applied    loss.smoothing" in printed  # a knob of the reader's own does move


def of_the_run_directory(names: dict[str, Any], printed: str) -> None:
    assert printed.splitlines()[0].split()[1] == "applied"


CHECKS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "README.md": of_the_readme,
    "docs/adjustment.md": of_adjustment,
    "docs/extending.md": of_extending,
    "docs/run_directory.md": of_the_run_directory,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=str)
def test_the_blocks_of_a_page_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = page.resolve()
    monkeypatch.chdir(tmp_path)
    scope = READER[str(page)]() if str(page) in READER else {}
    capsys.readouterr()
    names = run(there, scope)
    printed = capsys.readouterr().out
    assert printed == PRINTED.get(str(page), printed)
    if str(page) in CHECKS:
        CHECKS[str(page)](names, printed)


def test_nine_of_ten_blocks_run_and_the_others_say_why() -> None:
    ran = [block for block in PYTHON if block.runs]
    still = [block for block in PYTHON if not block.runs]
    assert len(ran) >= LEAST * len(PYTHON), f"{len(ran)} of {len(PYTHON)}"
    assert not [(str(block.page), block.line) for block in still if len(block.why) < 10]
    for block in still:
        compile(block.text, str(block.page), "exec")


def test_a_block_that_runs_gives_no_reason_why_not() -> None:
    assert not [(str(block.page), block.line) for block in BLOCKS if block.why and block.runs]


# --- commands -----------------------------------------------------------------------------


def commands(page: Path) -> Iterator[str]:
    """Give every command of gptune's that a page shows, in a block or in a line."""
    text = page.read_text()
    shown = [*re.findall(r"`(gptune [^`\n]+)`", text)]
    for block in blocks_of(page):
        if block.language in ("bash", "console", ""):
            lines = (line.removeprefix("$ ") for line in block.text.splitlines())
            shown += [line for line in lines if line.startswith("gptune ")]
            shown += re.findall(r"&& (gptune .*)", block.text)
    yield from shown


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_that_a_page_shows_has_a_verb_that_there_is(page: Path) -> None:
    for command in commands(page):
        words = command.split()[1:]
        words = words[2:] if words[0] == "--dir" else words
        named = set(words[0].split("|"))
        assert named <= VERBS | {"VERB", "--version", "--help"}, command


def typed(page: Path) -> list[list[str]]:
    """Give the words of every command that a page lets its reader type, in a block."""
    blocks = [block for block in blocks_of(page) if block.language in ("bash", "console")]
    lines = [line.removeprefix("$ ") for block in blocks for line in block.text.splitlines()]
    lines = [line.partition(" > ")[0] for line in lines]
    return [
        shlex.split(line, comments=True)[1:] for line in lines if re.match(r"gptune [a-z-]", line)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if typed(page)], ids=str)
def test_every_command_that_a_page_lets_one_type_is_understood(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = ArgumentParser.parse_args

    def parse_only(parser: ArgumentParser, words: list[str]) -> Namespace:
        parsed: Namespace = parse(parser, words)
        parsed.run = lambda _: 0
        return parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", parse_only)
    for words in typed(page):
        assert main(words) == 0, words


# --- links --------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Name the anchors that a forge gives a page's headings."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return set(found)


def links(page: Path) -> Iterator[str]:
    """Give every link of a page that stays in the repository."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    for link in re.findall(r"\]\(\s*([^)\s]+)\s*\)", text):
        if not re.match(r"[a-z]+:", link):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_and_anchor_of_a_page_is_there(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_a_link_or_an_anchor_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `heading`: of sorts\n[a](#a-heading-of-sorts) [b](no.md) ![c](c.svg#x)\n")
    assert anchors(page) == {"a-heading-of-sorts"}
    assert list(links(page)) == ["#a-heading-of-sorts", "no.md", "c.svg#x"]


def test_a_block_knows_where_it_stands_and_why_it_does_not_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# P\n\n```python\n# no heading\n```\n\n## S\n\n<!-- not run: a cluster -->\n"
        "```python no-run\nx = 1\n```\n"
    )
    first, second = blocks_of(page)
    assert first == Block(
        page=page, section="", line=4, language="python", runs=True, why="", text="# no heading\n"
    )
    assert (second.section, second.line, second.runs, second.why) == ("S", 11, False, "a cluster")
