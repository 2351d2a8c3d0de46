"""When a proposal is asked for; the rest is tested through `plan`."""

from msgspec.structs import replace

from gptune.configs import Mode
from gptune.online.decision.request import free_knobs, guarded_rates, request_for, why_not
from gptune.records import Reason
from tests.doubles import FakeKnob, config_of, first_state, hands_of, seen_at

CONFIG = config_of(hands_of(FakeKnob("loss.aux"), FakeKnob("opt.lr")))


def test_what_is_free_may_be_asked_for_within_its_step() -> None:
    state, moment = first_state(CONFIG), CONFIG.moment(1, 10)
    free, reasons = free_knobs(CONFIG, state, seen_at(10, 1.0), moment)
    assert free == tuple(CONFIG.knobs)
    assert reasons == ()
    request = request_for(CONFIG, state, moment, free)
    assert request.free == free
    for family, (low, high) in request.limits.items():
        assert low <= state.point[family] <= high  # type: ignore[operator]


def test_modes_that_do_not_search_ask_for_nothing() -> None:
    for mode in Mode:
        state = replace(first_state(CONFIG), mode=mode)
        asks = Reason.NOTHING_TO_TUNE not in why_not(CONFIG, state, CONFIG.moment(1, 10))
        assert asks is (mode in (Mode.ACTIVE, Mode.SUGGEST))


def test_rates_are_guarded_once_training_is_past_its_start() -> None:
    assert guarded_rates(CONFIG, 10**9) == tuple(
        family for family, knob in CONFIG.knobs.items() if knob.is_rate
    )
