"""summary.json is kept up to date, and only ever informs."""

from pathlib import Path

import msgspec
import pytest

from gptune.events import Closed, Moment
from gptune.online import bulletin as room
from gptune.online.bulletin import Bulletin
from gptune.run_directory.event_log import EventLog, read_events
from gptune.run_directory.summary import summarize, to_plain
from tests.fakes import Fault, MemoryDisk

RUN = Path("run")
NOW = Moment(decision=1, step=10, phase="mid")


def shown(disk: MemoryDisk) -> dict[str, object]:
    return dict(msgspec.json.decode(disk.files[RUN / "summary.json"]))


def opened() -> tuple[MemoryDisk, EventLog, Bulletin, list[str]]:
    disk, said = MemoryDisk(), list[str]()
    log = EventLog(RUN, disk)
    bulletin = Bulletin(disk, RUN, [], said.append)
    log.listen = bulletin.hear
    return disk, log, bulletin, said


def test_what_is_shown_is_what_the_whole_log_says() -> None:
    disk, log, bulletin, said = opened()
    for number in range(5):
        log.append(NOW, Closed(decisions=number))
        bulletin.publish()
        assert shown(disk) == to_plain(summarize(read_events(RUN, disk)))
    assert not said


def test_what_a_rewind_takes_back_is_not_shown() -> None:
    disk, log, bulletin, _ = opened()
    for number in range(5):
        log.append(NOW, Closed(decisions=number))
    log.rewind(2, NOW)
    bulletin.publish()
    assert shown(disk)["counts"] == {"closed": 2}


def test_nothing_new_is_not_written_again() -> None:
    disk, log, bulletin, _ = opened()
    log.append(NOW, Closed(decisions=1))
    bulletin.publish()
    bulletin.publish()
    assert disk.calls["replace"] == 1


def test_a_write_that_fails_is_tried_again_with_one_warning() -> None:
    disk, log, bulletin, said = opened()
    disk.break_for_ever("replace", Fault.FAIL)
    for number in range(3):
        assert log.append(NOW, Closed(decisions=number))
        bulletin.publish()
    assert len(set(said)) == 1
    assert "summary.json cannot be written" in said[0]
    disk.repair()
    bulletin.publish()
    assert shown(disk) == to_plain(summarize(read_events(RUN, disk)))


def test_where_folding_fails_the_stale_file_goes_and_the_log_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, log, bulletin, said = opened()
    log.append(NOW, Closed(decisions=1))
    bulletin.publish()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(room, "fold", broken)
    assert log.append(NOW, Closed(decisions=2))
    bulletin.publish()
    assert RUN / "summary.json" not in disk.files
    assert "summary.json is not kept any more" in said[0]
