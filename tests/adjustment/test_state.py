"""The state on the disk: whole, or an error that says what to do."""

from pathlib import Path

import pytest

from gptune.adjustment.detection import Alarm
from gptune.adjustment.state import FILE, Order, Phase, State, Trigger, read_state, write_state
from gptune.errors import StateError
from gptune.run_directory.file_system import Disk


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_state(Disk(), tmp_path) is None
    state = State(
        number=3,
        phase=Phase.APPLYING,
        trigger=Trigger.DEGRADED,
        order=Order(method="random"),
        running={"x": 1.5, "kind": "a", "n": 3, "on": True},
        success=Alarm(level=0.8, every=100.0, evidence=(1.0,) * 5, seen=7),
        reference=(1.0, 2.0),
        position={"any": [1, 2]},
    )
    write_state(Disk(), tmp_path, state)
    assert read_state(Disk(), tmp_path) == state


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 2}', "\x00"])
def test_what_is_no_state_is_an_error_that_says_what_to_do(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StateError, match=r"state.json.* cannot be read .*; mend the disk, or move"):
        read_state(Disk(), tmp_path)
