"""A log that grows is folded line by line, and as its effective lines say after a rewind."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.errors import EventLogError, RunDirectoryError
from gptune.events import Line, ModeChanged, Rewind
from gptune.run_directory import following
from gptune.run_directory.event_log import EventLog, effective, read_events
from gptune.run_directory.following import follow
from gptune.run_directory.names import EVENTS
from gptune.run_directory.tail import tail
from tests.logs import moment

State = tuple[tuple[int, ...], tuple[int, ...]]  # numbers of lines that count, and of those lost
EMPTY: State = ((), ())


def take(state: State, line: Line) -> State:
    return (*state[0], line.envelope.seq), state[1]


def skip(state: State, line: Line) -> State:
    return state[0], (*state[1], line.envelope.seq)


def catch_up(feed, most: int = 1000) -> State:  # type: ignore[no-untyped-def]
    for _ in range(most):
        seen = next(feed)
        if not seen.behind:
            return seen.state  # type: ignore[no-any-return]
    raise AssertionError("it never catches up")


def expected(directory: Path) -> State:
    counting = tuple(line.envelope.seq for line in effective(read_events(directory)))
    every = [line.envelope.seq for line in read_events(directory)]
    return counting, tuple(seq for seq in every if seq not in counting)


@given(
    st.lists(st.none() | st.floats(0, 1), max_size=30), st.integers(1, 400), st.sets(st.integers(0))
)
def test_at_every_look_it_is_the_fold_of_the_effective_log(
    plan: list[float | None], chunk: int, looks: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        log = EventLog(directory)
        feed = follow(directory, EMPTY, take, skip, chunk=chunk)
        for number, back in enumerate(plan):
            if back is None:
                assert log.append(moment(number, number), ModeChanged(old="a", new="b"))
            else:
                assert log.rewind(int(back * log.seq), moment())
            if number in looks or number % 3 == 0:
                assert catch_up(feed) == expected(directory)
        log.close()
        assert catch_up(feed) == expected(directory)


def write(log: EventLog, count: int) -> None:
    for _ in range(count):
        assert log.append(moment(1, 1), ModeChanged(old="a", new="b"))


def test_the_log_is_read_from_its_beginning_after_a_rewind_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []

    def counted(directory: Path, most: int | None = None):  # type: ignore[no-untyped-def]
        begun.append(directory)
        return tail(directory, most)

    monkeypatch.setattr(following, "tail", counted)
    log = EventLog(tmp_path)
    feed = follow(tmp_path, EMPTY, take, skip)
    for _ in range(5):
        write(log, 3)
        catch_up(feed)
    assert len(begun) == 1
    assert log.rewind(4, moment())
    write(log, 1)
    assert catch_up(feed) == ((1, 2, 3, 4, 17), tuple(range(5, 17)))
    assert len(begun) == 2
    write(log, 1)
    catch_up(feed)
    assert len(begun) == 2
    log.close()


def test_a_long_log_is_read_piece_by_piece(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write(log, 20)
    log.close()
    feed = follow(tmp_path, EMPTY, take, skip, chunk=600)
    looks = [next(feed) for _ in range(40)]
    assert [seen.behind for seen in looks].index(False) > 4
    assert len(looks[-1].state[0]) == 20


def test_a_rewind_that_points_ahead_takes_nothing_back() -> None:
    assert following._superseded({5: 100}) == [(100, 5)]
    assert not following._holds([(100, 5)], 3)


def test_what_is_broken_or_gone_is_refused(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write(log, 2)
    log.close()
    feed = follow(tmp_path, EMPTY, take, skip)
    catch_up(feed)
    with (tmp_path / EVENTS).open("a") as file:
        file.write("{}\n")
    with pytest.raises(EventLogError, match="line 3"):
        catch_up(feed)
    feed = follow(tmp_path / "missing", EMPTY, take, skip)
    with pytest.raises(RunDirectoryError, match="none any more"):
        catch_up(feed)


def test_a_rewind_line_is_one_that_is_skipped(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write(log, 1)
    assert log.rewind(0, moment())
    assert isinstance(read_events(tmp_path)[-1].event, Rewind)
    log.close()
    assert catch_up(follow(tmp_path, EMPTY, take, skip)) == ((), (1, 2))
