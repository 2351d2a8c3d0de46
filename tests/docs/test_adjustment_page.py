"""The page on automatic adjustment: its file, and its defaults; its block runs in test_pages."""

import re
from pathlib import Path

from gptune.adjustment.course import Rules
from gptune.adjustment.duel import Terms
from gptune.adjustment.tuning import Tuning
from gptune.cli.adjusting import read_config

PAGE = Path("docs/adjustment.md")


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "config.yaml"
    path.write_text(text)

    class Words:
        dir, config = None, str(path)

    assert read_config(Words())["directory"] == "adjusting"  # type: ignore[arg-type]


def test_the_defaults_are_those_of_the_page() -> None:
    rules, terms = Rules(), Terms()
    assert (rules.success_threshold, rules.false_alarm_every, rules.reference) == (0.8, 1e4, 200)
    assert (rules.adjustment_interval, rules.cooldown) == (86400.0, 3600.0)
    assert (terms.gain, terms.false_keep, terms.missed) == (0.1, 0.05, 0.1)
    assert Tuning(objective=len, space={}).half_life == 7 * 86400.0
