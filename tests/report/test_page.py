"""Pages: one document, its own script, and no address."""

import base64
import hashlib
import re

from gptune.report.page import MARK, percent, render
from tests.report.pages import check

EMPTY: dict[str, object] = {
    **{"name": "n", "subtitle": "", "headlines": [], "facts": [], "best": [], "importance": []},
    **{"why_not": "", "slices": [], "coordinates": None, "curves": None, "rows": [], "there": 0},
    **{"columns": [], "recipe": []},
}


def page(**given: object) -> str:
    from gptune.report.panel import Panel

    return render("study.html", **{**EMPTY, "history": Panel(title="h"), **given})


def test_a_page_carries_its_mark_at_its_head() -> None:
    assert MARK in page()[:1000]


def test_only_the_script_that_stands_in_the_page_may_run_and_nothing_may_be_loaded() -> None:
    made = page()
    (script,) = re.findall(r"<script>(.*?)</script>", made, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', made)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert "http" not in policy


def test_what_a_user_wrote_is_shown_and_not_obeyed() -> None:
    hostile = '</script><script>alert(1)</script><img src="//x.example/y" onerror=alert(1)>'
    made = page(name=hostile, headlines=[hostile], recipe=[(hostile, hostile)])
    reader = check(made)
    assert "img" not in {tag for tag, _ in reader.tags}
    assert hostile in reader.text


def test_places_are_written_short() -> None:
    assert [percent(v) for v in (0.0, 1 / 3, 1.0)] == ["0%", "33.33%", "100%"]


def test_what_a_browser_would_obey_or_could_not_show_is_escaped() -> None:
    made = page(name="a\x00b\x1b[2J\u202ec\udcffd")
    assert not set(made) & {"\x00", "\x1b", "\u202e", "\udcff"}
    assert r"a\u0000b\u001b[2J\u202ec\udcffd" in check(made).text
    made.encode()
