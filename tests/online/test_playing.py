"""When recorded changes and orders are looked for; what becomes of them is in `test_replay`."""

from pathlib import Path

from gptune.online.playing import POLL, next_look, play
from tests.living import Living


def test_orders_are_looked_for_regularly_and_recorded_changes_at_their_steps(
    tmp_path: Path,
) -> None:
    run = Living(tmp_path / "run", mode="observe")
    session = run.tuner._session
    assert next_look(session) == POLL
    session.steps = POLL
    assert next_look(session) == 2 * POLL


def test_without_a_recording_nothing_is_played(tmp_path: Path) -> None:
    run = Living(tmp_path / "run", mode="observe")
    before = run.tuner._session.state
    play(run.tuner._session)
    assert run.tuner._session.state is before
