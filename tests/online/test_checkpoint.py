"""What a checkpoint holds, and what it is refused for."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from gptune.configs import Mutation, Recipe
from gptune.errors import StateError
from gptune.online.checkpoint import Checkpoint, Mark, put_values, read_checkpoint
from gptune.online.decision import KernelState, Pending
from gptune.records import Change
from tests.doubles import FakeKnob, config_of, hands_of

CONFIG = config_of(hands_of(FakeKnob()))


def checkpoint() -> dict[str, Any]:
    hands = hands_of(FakeKnob())
    return Checkpoint(
        seed=1,
        steps=7,
        recipe=Recipe().to_dict(),
        knobs={family: hand.knob for family, hand in hands.items()},
        kernel=KernelState(decision=3, point={"loss.aux": 1.5}),
        proposer=None,
        total_steps=None,
        log=Mark(seq=9, checksum="0123"),
    ).to_dict()


def test_it_is_plain_data_that_reads_back_equal() -> None:
    plain = checkpoint()
    assert json.loads(json.dumps(plain)) == plain
    read = read_checkpoint(plain, CONFIG)
    assert read.to_dict() == plain
    assert read.kernel.point == {"loss.aux": 1.5}


def test_another_recipe_is_refused_by_the_name_of_the_section() -> None:
    other = Recipe.from_dict({"safety": {"patience": 5}})
    with pytest.raises(StateError, match=r"another recipe \(safety"):
        read_checkpoint(checkpoint(), replace(CONFIG, recipe=other))


def test_another_mode_is_no_other_recipe() -> None:
    observing = replace(CONFIG, recipe=Recipe.from_dict({"mode": "observe"}))
    read_checkpoint(checkpoint(), observing)


@pytest.mark.parametrize("state", [{}, {"version": 2}, {**checkpoint(), "steps": "7"}, {"a": 1}])
def test_anything_else_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(StateError, match="state_dict"):
        read_checkpoint(state, CONFIG)


def test_other_knobs_are_refused_by_name() -> None:
    with pytest.raises(StateError, match=r"loss\.kl"):
        read_checkpoint(checkpoint(), config_of(hands_of(FakeKnob(), FakeKnob(name="loss.kl"))))


def test_another_length_is_refused() -> None:
    with pytest.raises(StateError, match="total_steps"):
        read_checkpoint(checkpoint(), replace(CONFIG, total_steps=100))


@pytest.mark.parametrize("move", [1e6, -1.0, True, "1", None])
def test_a_value_out_of_bounds_is_refused_by_the_name_of_its_knob(move: Any) -> None:
    state = checkpoint()
    state["kernel"]["point"]["loss.aux"] = move
    with pytest.raises(StateError, match="state_dict"):
        read_checkpoint(state, CONFIG)


def test_a_narrower_range_on_resume_is_refused() -> None:
    narrow = hands_of(FakeKnob(), mutation=Mutation(bounds=(0.9, 1.1)))
    with pytest.raises(StateError, match=r"loss\.aux"):
        read_checkpoint(checkpoint(), config_of(narrow))


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
