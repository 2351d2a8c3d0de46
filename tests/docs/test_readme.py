"""The README and the page on security, taken at their word; their blocks run in test_pages."""

import re
from pathlib import Path

from gptune import audit
from gptune.audit import chain
from gptune.configs import text
from gptune.configs.overrides import BLOCKERS
from gptune.online.playing import POLL
from gptune.run_directory import control, summary_file
from tests.pages import PAGES

README = Path("README.md").read_text()


def test_it_holds_exactly_the_two_commands() -> None:
    commands = [line for line in README.splitlines() if line.startswith("pip install")]
    assert commands == [
        "pip install -c .ci/constraints.txt -e '.[demo]' && gptune demo",
        "pip install -c .ci/constraints.txt -e '.[test]' && pytest -q",
    ]


def test_every_file_that_the_pages_name_is_there() -> None:
    named = {
        (page.name, path)
        for page in PAGES
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
