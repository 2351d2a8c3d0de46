"""What the kernel knows is plain data: it survives a round trip through JSON."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gptune.online.decision import KernelState, Plan, plan
from gptune.online.decision.state import KernelConfig
from gptune.records import Change
from tests.doubles import FakeKnob, always, config_of, first_state, hands_of, seen_at

CONFIG = config_of(hands_of(FakeKnob()), {"acceptance": {"reference": "last"}})


@given(st.lists(st.floats(-1e6, 1e6), max_size=12))
def test_state_and_plan_survive_a_round_trip_through_json(values: list[float]) -> None:
    state: KernelState = first_state(CONFIG)
    for step, value in enumerate(values):
        state, made = plan(CONFIG, state, seen_at(step, value), always(1.5))
        assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made
    assert msgspec.json.decode(msgspec.json.encode(state), type=KernelState) == state


def test_a_mutations_id_names_the_decision_and_its_families() -> None:
    _, made = plan(CONFIG, first_state(CONFIG), seen_at(3, 1.0), always(1.5))
    assert made.id == "1:loss.aux"
    both = msgspec.structs.replace(
        made, changes=(Change("opt.lr", 1.0, 2.0), Change("loss.aux", 1.0, 2.0))
    )
    assert both.id == "1:opt.lr+loss.aux"


def test_the_sign_makes_larger_better() -> None:
    hands = hands_of(FakeKnob())
    assert config_of(hands).sign == -1.0
    assert config_of(hands, {"objective": {"mode": "max"}}).sign == 1.0


def test_a_moment_names_the_phase_of_its_step() -> None:
    config: KernelConfig = config_of(hands_of(FakeKnob()), total_steps=100)
    phases = [config.moment(1, step).phase for step in (0, 20, 70, 100, 1000)]
    assert phases == ["early", "mid", "late", "late", "late"]
