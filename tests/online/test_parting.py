"""The way back to what the user gave, on one knob; of ranks in `test_collective`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune import Tuner
from gptune.online.parting import WayBack, go_home
from tests.doubles import FakeKnob
from tests.fakes import MemoryDisk

MOVES: dict[str, Any] = {"bounds": [0.1, 10.0], "max_step": 10.0, "cooldown": 0}
RECIPE: dict[str, Any] = {"actuators": {"loss": {"keys": {"aux": MOVES, "kl": MOVES}}}}


def away(*moves: float) -> tuple[Tuner, list[FakeKnob], dict[str, object]]:
    """Make a run whose knobs were moved by hand."""
    knobs = [FakeKnob("loss.aux"), FakeKnob("loss.kl")]
    tuner = Tuner(list(knobs), recipe=RECIPE, run_dir="/runs/one", file_system=MemoryDisk())
    given: dict[str, object] = {knob.name: knob.snapshot() for knob in knobs}
    families = [knob.name for knob in knobs]
    tuner._session.move(dict(zip(families, moves, strict=True)), source="human", tag="by-hand")
    return tuner, knobs, given


@given(
    st.tuples(st.floats(0.2, 5.0), st.floats(0.2, 5.0)),
    st.sampled_from(["", "apply", "snapshot", "validate", "lies", "once", "disk"]),
)
def test_every_knob_goes_home_on_its_own_whatever_is_broken(
    moves: tuple[float, float], how: str
) -> None:
    tuner, knobs, given = away(*moves)
    knobs[0].fails, knobs[0].lies, knobs[0].once = {how}, how == "lies", how == "once"
    if how == "disk":
        tuner._session.files.break_for_ever("write")  # type: ignore[attr-defined]
    go_home(tuner._session, given, ())
    assert [knob.value for knob in knobs] == [1.0, 1.0]
    assert tuner.values == {"loss.aux": 1.0, "loss.kl": 1.0}
    assert [hand.actuator for hand in tuner._session.hands.values()] == knobs


@pytest.mark.parametrize("quarantined", [True, False])
def test_what_something_else_has_written_is_left_alone_unless_gptune_failed_to_undo_it(
    quarantined: bool,
) -> None:
    tuner, knobs, given = away(2.0, 2.0)
    if quarantined:
        knobs[0].once, knobs[0].lies = True, True
        tuner._session.move({"loss.aux": 4.0}, source="human", tag="again")
    else:
        knobs[0].value = 7.0
    strays = ("loss.aux",)
    assert ("loss.aux" in tuner._session.state.safety.quarantined) is quarantined
    knobs[0].lies = False
    go_home(tuner._session, given, strays)
    assert [knob.value for knob in knobs] == [1.0 if quarantined else 7.0, 1.0]


def test_one_that_does_not_go_back_is_named(caplog: pytest.LogCaptureFixture) -> None:
    tuner, knobs, given = away(2.0, 2.0)
    knobs[0].fails = {"restore"}
    go_home(tuner._session, given, ())
    assert "loss.aux does not go back to the value that you gave; end the run" in caplog.text
    assert (knobs[0].value, knobs[1].value) == (2.0, 1.0)
    assert tuner.values["loss.aux"] == 2.0, "it says where it stands"


def test_without_a_snapshot_the_users_value_is_applied() -> None:
    tuner, knobs, given = away(2.0, 2.0)
    del given["loss.aux"]
    go_home(tuner._session, given, ())
    assert [knob.value for knob in knobs] == [1.0, 1.0]


def test_a_way_back_only_restores() -> None:
    knob = FakeKnob("loss.aux")
    back = WayBack(knob, knob.snapshot())
    knob.value = 5.0
    assert (back.name, back.describe_space(), back.read()) == (
        knob.name,
        knob.describe_space(),
        5.0,
    )
    assert back.validate(3.0) is None  # type: ignore[func-returns-value]
    back.apply(3.0)
    assert knob.value == 1.0
    knob.value = 5.0
    back.restore(back.snapshot())
    assert knob.value == 1.0
