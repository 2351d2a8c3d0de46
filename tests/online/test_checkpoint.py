"""What a checkpoint holds, and what it is refused for."""

import json
from typing import Any

import pytest

from gptune.configs import Recipe
from gptune.errors import StateError
from gptune.online.checkpoint import Checkpoint, Mark, put_values, read_checkpoint
from gptune.online.decision import KernelState, Pending
from gptune.records import Change
from tests.doubles import FakeKnob, hands_of


def checkpoint() -> dict[str, Any]:
    hands = hands_of(FakeKnob())
    return Checkpoint(
        seed=1,
        steps=7,
        recipe=Recipe().to_dict(),
        knobs={family: hand.knob for family, hand in hands.items()},
        kernel=KernelState(decision=3, point={"loss.aux": 1.5}),
        proposer=None,
        log=Mark(seq=9, checksum="0123"),
    ).to_dict()


def test_it_is_plain_data_that_reads_back_equal() -> None:
    plain = checkpoint()
    assert json.loads(json.dumps(plain)) == plain
    read = read_checkpoint(plain, Recipe(), {"loss.aux"})
    assert read.to_dict() == plain
    assert read.kernel.point == {"loss.aux": 1.5}


def test_another_recipe_is_refused_by_the_name_of_the_section() -> None:
    other = Recipe.from_dict({"safety": {"patience": 5}})
    with pytest.raises(StateError, match=r"another recipe \(safety"):
        read_checkpoint(checkpoint(), other, {"loss.aux"})


def test_another_mode_is_no_other_recipe() -> None:
    read_checkpoint(checkpoint(), Recipe.from_dict({"mode": "observe"}), {"loss.aux"})


@pytest.mark.parametrize("state", [{}, {"version": 2}, {**checkpoint(), "steps": "7"}, {"a": 1}])
def test_anything_else_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(StateError, match="state_dict"):
        read_checkpoint(state, Recipe(), {"loss.aux"})


def test_other_knobs_are_refused_by_name() -> None:
    with pytest.raises(StateError, match=r"loss\.kl"):
        read_checkpoint(checkpoint(), Recipe(), {"loss.aux", "loss.kl"})


def test_an_open_change_is_put_in_force_such_that_it_can_be_undone() -> None:
    knob = FakeKnob()
    hands = hands_of(knob)
    pending = Pending(
        id="3:loss.aux",
        changes=(Change("loss.aux", 1.5, 2.0),),
        decision=3,
        step=7,
        reference=0.0,
    )
    saved = put_values(KernelState(point={"loss.aux": 2.0}, pending=pending), hands)
    assert knob.value == 2.0
    assert saved["loss.aux"].value == 1.5
    knob.restore(saved["loss.aux"].snapshot)
    assert knob.value == 1.5
