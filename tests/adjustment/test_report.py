"""What is written of an adjustment, and how it reads."""

from pathlib import Path

from msgspec.structs import replace

from gptune.adjustment.course import Rules, start
from gptune.adjustment.duel import Duel
from gptune.adjustment.report import made_of, read_reports, words, write_report
from gptune.adjustment.state import Trigger
from gptune.adjustment.tuning import Tuned
from gptune.run_directory.file_system import Disk


def test_a_report_says_why_what_and_how_much(tmp_path: Path) -> None:
    rules = Rules(success_threshold=0.75)
    state = replace(
        start(rules, 1e9, {"x": 1.0}),
        number=3,
        trigger=Trigger.LOW_SUCCESS,
        candidate={"x": 2.0},
        duel=Duel(pairs=40, wins=30.0),
    )
    tuned = Tuned(study="a/3", best={"x": 2.0}, value=0.1, before=0.4, trials={"complete": 8})
    made = made_of(rules, state, tuned=tuned, verdict="kept", why="it won 30 of 40", now=1e9 + 60)
    assert made["because"] == "the success rate is below 75%, beyond doubt"
    assert made["comparison"] == {"pairs": 40, "wins": 30.0, "share": 0.75}
    assert made["ended"] == "2001-09-09T01:47:40+00:00"
    assert words(made).splitlines() == [
        "adjustment 3: kept, it won 30 of 40",
        "  because the success rate is below 75%, beyond doubt",
        "  8 trials: the best came to 0.1, what ran came to 0.4",
        "  x: 1 -> 2",
    ]
    assert read_reports(Disk(), tmp_path) == []
    write_report(Disk(), tmp_path, made)
    write_report(Disk(), tmp_path, made)
    assert read_reports(Disk(), tmp_path) == [made]
