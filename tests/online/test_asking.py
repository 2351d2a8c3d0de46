"""The talk with the proposer: tell, then ask; whatever goes wrong is contained."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gptune.online.asking import consult
from gptune.records import Observation, Proposal, Request, Slice, Told

TOLD = Told(observation=Observation(point={"opt.lr": 1.0}, value=0.1), success=True)
REQUEST = Request(number=3, point={"opt.lr": 1.0}, limits={"opt.lr": (0.5, 2.0)}, free=("opt.lr",))
FULL = Proposal(
    point={"opt.lr": 1.5, "loss.kind": "mae", "loss.layers": 3, "loss.on": True},
    source="gp",
    mean=0.1,
    deviation=0.2,
    criterion=-3.0,
    hyperparameters={"lengthscale": [0.5, 0.25]},
    slices={"opt.lr": Slice(at=(0.0, 1.0), mean=(0.1, 0.2), deviation=(0.3, 0.4))},
)


class AdviserError(Exception):
    """Raised by a broken proposer."""


class Adviser:
    """Notes the talk, and answers what it is told to."""

    def __init__(self, answer: Any = FULL, fails: str = "") -> None:
        self.answer, self.fails = answer, fails
        self.heard: list[object] = []

    def tell(self, told: Told) -> None:
        self.heard.append(told)
        if self.fails == "tell":
            raise AdviserError("cannot hear")

    def ask(self, request: Request) -> Any:
        self.heard.append(request)
        if self.fails == "ask":
            raise AdviserError("cannot speak")
        return self.answer


@pytest.mark.parametrize("told", [None, TOLD])
@pytest.mark.parametrize("request_", [None, REQUEST])
def test_what_was_measured_is_told_before_the_next_is_asked_and_either_may_be_left_out(
    told: Told | None, request_: Request | None
) -> None:
    adviser = Adviser()
    answer = consult(adviser, told, request_)
    assert adviser.heard == [said for said in (told, request_) if said is not None]
    assert answer.error is None
    assert answer.value == (FULL if request_ is not None else None)


@pytest.mark.parametrize("fails", ["tell", "ask"])
def test_what_a_proposer_raises_is_contained(fails: str) -> None:
    answer = consult(Adviser(fails=fails), TOLD, REQUEST)
    assert answer.value is None
    assert isinstance(answer.error, AdviserError)


def test_a_proposer_that_could_not_hear_is_not_asked() -> None:
    adviser = Adviser(fails="tell")
    consult(adviser, TOLD, REQUEST)
    assert adviser.heard == [TOLD]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        7,
        "opt.lr",
        [],
        object(),
        {"opt.lr": 1.5},
        {"point": {"opt.lr": 1.5}},
        Proposal(point={"opt.lr": None}, source="gp"),  # type: ignore[dict-item]
        Proposal(point={"opt.lr": [1.5]}, source="gp"),  # type: ignore[dict-item]
        Proposal(point={"opt.lr": torch.tensor(1.5)}, source="gp"),  # type: ignore[dict-item]
        Proposal(point={1: 1.5}, source="gp"),  # type: ignore[dict-item]
        Proposal(point=7, source="gp"),  # type: ignore[arg-type]
        Proposal(point={"opt.lr": 1.5}, source=None),  # type: ignore[arg-type]
        Proposal(point={"opt.lr": 1.5}, source="gp", mean="high"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_a_malformed_answer_is_contained(answer: object) -> None:
    made = consult(Adviser(answer), None, REQUEST)
    assert made.value is None
    assert made.error is not None
    assert made.message


def test_an_answer_is_read_back_as_plain_data_so_that_nobody_else_can_edit_it() -> None:
    point = {"opt.lr": 1.5}
    proposal = Proposal(point=point, source="gp")  # type: ignore[arg-type]
    made = consult(Adviser(proposal), None, REQUEST).value
    assert made == proposal
    assert made is not None
    point["opt.lr"] = 100.0
    assert made.point == {"opt.lr": 1.5}


def test_plain_data_of_a_proposal_is_one() -> None:
    made = consult(Adviser({"point": {"opt.lr": 1.5}, "source": "human"}), None, REQUEST)
    assert made.value == Proposal(point={"opt.lr": 1.5}, source="human")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_users_wish_to_stop_passes(stop: type[BaseException]) -> None:
    class Stopping(Adviser):
        def ask(self, request: Request) -> Any:
            raise stop

    call: Callable[[], object] = lambda: consult(Stopping(), None, REQUEST)  # noqa: E731
    with pytest.raises(stop):
        call()
