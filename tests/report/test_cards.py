"""A card for each change."""

from pathlib import Path

from hypothesis import given

from gptune.events import Accepted, Applied, Event, Failed, Observed, Proposed, RolledBack
from gptune.records import Change, Reason
from gptune.report.cards import MOST, cards_of
from tests.logs import KernelRun, kernel_runs, opened
from tests.report.pages import kernel_run, real_run, run_of
from tests.report.test_says import UNDONE, judged

CHANGE = (Change("loss.aux", 1.0, 2.0),)


@given(kernel_runs())
def test_every_change_has_a_card_and_cards_differ(made: KernelRun) -> None:
    run = kernel_run(made)
    cards = cards_of(run)
    assert [card.kind for card in cards] == [move.state for move in run.moves]
    assert len({card.id for card in cards}) == len(cards)
    assert all(card.title and card.when for card in cards)


def test_a_card_says_before_after_effect_probability_and_why() -> None:
    (card,) = cards_of(judged(0.1, 0.01))
    facts = dict(card.facts)
    assert (card.state, card.sign) == ("kept", "better")
    assert card.effect == "0.1 better \N{PLUS-MINUS SIGN} 0.0196"
    assert card.says == "before 0.5, next 0.4"
    assert facts["P(gain)"] == "0.990"
    assert facts["why"] == "a gain was probable enough"
    assert facts["proposed by"] == "the Gaussian process"
    assert facts["tested for"] == "10 steps, to decision 2 at step 20"
    assert {layer.kind for layer in card.layers} == {"now", "metric before", "metric"}


def test_the_forecast_is_drawn_where_there_was_one(tmp_path: Path) -> None:
    run = real_run(tmp_path)
    cards = [card for card in cards_of(run) if card.kind in ("kept", "undone")]
    assert all("forecast" in card.says and "after" in card.says for card in cards)
    assert all("forecast" in {one.kind for one in card.layers} for card in cards)


def test_of_a_failure_the_message_is_said_unless_it_is_endless() -> None:
    failed = Failed(id="1:x", reasons=(), message="no hands " * 1000)
    (card,) = cards_of(
        run_of((0, opened()), (1, Proposed(changes=CHANGE, source="gp")), (1, failed))
    )
    assert len(dict(card.facts)["why"]) <= 300
    known = Failed(id="1:x", reasons=(Reason.READ_BACK_DIFFERS,), message="m")
    (card,) = cards_of(
        run_of((0, opened()), (1, Proposed(changes=CHANGE, source="gp")), (1, known))
    )
    assert dict(card.facts)["why"] == "the knob did not hold what it was given"


def test_of_too_many_changes_the_newest_have_cards() -> None:
    told: list[tuple[int, Event]] = [(0, opened())]
    for n in range(1, MOST + 11):
        told += [(n, Observed(metric=1.0)), (n, Proposed(changes=CHANGE, source="human"))]
        told += [(n, Applied(id=str(n), changes=CHANGE, read_back={}))]
    cards = cards_of(run_of(*told))
    assert len(cards) == MOST
    assert cards[-1].when.startswith(f"decision {MOST + 10},")


def test_what_was_undone_says_why() -> None:
    (card,) = cards_of(judged(-0.1, 0.01, UNDONE))
    assert (card.kind, card.sign) == ("undone", "worse")
    assert dict(card.facts)["why"] == "a gain was not probable enough"


def test_what_was_done_by_hand_says_what_came_next() -> None:
    told: list[tuple[int, Event]] = [(0, opened()), (1, Observed(metric=0.5))]
    told += [(1, Proposed(changes=CHANGE, source="human"))]
    told += [(1, Applied(id="1", changes=CHANGE, read_back={})), (2, Observed(metric=0.25))]
    (card,) = cards_of(run_of(*told))
    assert card.says == "before 0.5, next 0.25"


def test_of_too_many_changes_what_was_kept_has_its_card() -> None:
    told: list[tuple[int, Event]] = [(0, opened())]
    for n in range(1, 3 * MOST):
        end = Accepted if n == 5 else RolledBack
        told += [(n, Observed(metric=1.0)), (n, Proposed(changes=CHANGE, source="gp"))]
        told += [(n, Applied(id=str(n), changes=CHANGE, read_back={}))]
        told += [(n, end(id=str(n), changes=CHANGE, reasons=()))]
    cards = cards_of(run_of(*told))
    assert len(cards) == MOST
    assert [card.kind for card in cards].count("kept") == 1
