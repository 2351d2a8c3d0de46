"""The README, taken at its word."""

import re
from pathlib import Path

import pytest

from gptune import audit
from gptune.audit import chain
from gptune.configs import text
from gptune.configs.overrides import BLOCKERS
from gptune.online.playing import POLL
from gptune.run_directory import control, summary_file
from gptune.run_directory.event_log import read_events

README = Path("README.md").read_text()
PYTHON = r"```python\n(.*?)```"
BLOCKS = re.findall(PYTHON, README, flags=re.DOTALL)


@pytest.mark.slow
def test_the_quick_start_runs_as_it_stands_and_really_tunes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert printed.count("decision") == 41
    first = min((tmp_path / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    kinds = [line.event.__struct_config__.tag for line in read_events(first)]
    assert kinds.count("applied") >= 1
    assert kinds.count("accepted") + kinds.count("rolled_back") == kinds.count("applied")


def test_it_holds_exactly_the_two_commands() -> None:
    commands = [line for line in README.splitlines() if line.startswith("pip install")]
    assert commands == [
        "pip install -c .ci/constraints.txt -e '.[demo]' && gptune demo",
        "pip install -c .ci/constraints.txt -e '.[test]' && pytest -q",
    ]


def test_every_page_that_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert all(Path(link).exists() for link in links if "://" not in link), links


def test_every_file_that_the_pages_name_is_there() -> None:
    pages = [Path("README.md"), *Path("docs").glob("*.md")]
    named = {
        (page.name, path)
        for page in pages
        for path in re.findall(r"`((?:tests|examples|docs|gptune)/[\w/.]+)`", page.read_text())
    }
    assert named
    assert not [(page, path) for page, path in named if not Path(path).exists()]


def test_the_page_on_security_gives_the_limits_that_the_code_has() -> None:
    page = Path("docs/security.md").read_text()
    limits = [
        f"| a command | {control.LONGEST} bytes; numbers below {control.BIGGEST};",
        f"| commands taken at one look | {control.MOST}; a run looks at decisions and "
        f"every {POLL} steps |",
        f"| a recipe | {text.LONGEST} bytes, {text.DEEPEST} levels, {text.MOST} values, "
        f"numbers of {text.LONGEST_NUMBER} characters |",
        f"| a summary | {summary_file.LONGEST} bytes |",
        f"| a line of a log, for `gptune verify` | {chain.LONGEST} bytes, {chain.DEEPEST} levels |",
        f"| a whole log, and a summary, for `gptune verify` | {audit.LARGEST_LOG} bytes, "
        f"{audit.LARGEST_SUMMARY} bytes |",
    ]
    assert not [limit for limit in limits if limit not in page]
    assert all(f"`{name}`" in page for name in BLOCKERS)


def test_the_page_on_knobs_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, object] = {}
    for block in re.findall(PYTHON, Path("docs/knobs.md").read_text(), flags=re.DOTALL):
        exec(compile(block, "docs/knobs.md", "exec"), scope)
    assert capsys.readouterr().out == "['opt.lr', 'opt.weight_decay', 'opt.eps', 'opt.betas']\n"
