"""One decision for all ranks: alone, and with several that are simulated in one process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from gptune import Tuner
from gptune.online.collective import Alone, is_alone
from gptune.records import Action
from tests.doubles import FakeKnob
from tests.fakes import MemoryDisk

T = TypeVar("T")
SECONDS = 20.0  # after which a rank that waits for another is a failure
FEW = settings(max_examples=max(8, settings().max_examples // 4))
MOVES: dict[str, Any] = {"bounds": [0.1, 10.0], "max_step": 2.0, "cooldown": 0}
RECIPE: dict[str, Any] = {
    "actuators": {"loss": {"keys": {"aux": MOVES, "kl": MOVES}}},
    "search": {"algorithm": "random", "startup_trials": 0},
    "acceptance": {"reference": "last"},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 99},
}


@dataclass
class Board:
    """What ranks in threads tell each other."""

    barrier: Barrier
    values: dict[int, Any] = field(default_factory=dict)

    def tell(self, rank: int, value: Any) -> dict[int, Any]:
        """Give all ranks what each of them told."""
        self.values[rank] = value
        self.barrier.wait(SECONDS)
        told = dict(self.values)
        self.barrier.wait(SECONDS)
        return told


@dataclass
class Rank:
    """One of several."""

    number: int
    board: Board

    def first(self, value: T) -> T:
        given: T = self.board.tell(self.number, value)[0]
        return given

    def agree(self, value: Callable[[], str]) -> bool:
        return len(set(self.board.tell(self.number, value()).values())) == 1


class Processes:
    """Two ranks of one run, each with its own knobs, and its own directory."""

    def __init__(self) -> None:
        board = Board(Barrier(2))
        self.knobs = [[FakeKnob("loss.aux"), FakeKnob("loss.kl")] for _ in range(2)]
        self.tuners = [
            Tuner(
                list(self.knobs[number]),
                recipe=RECIPE,
                seed=number,
                run_dir=Path(f"/runs/{number}"),
                file_system=MemoryDisk(),
                ranks=Rank(number, board),
            )
            for number in range(2)
        ]

    def report(self, *values: Any) -> list[Any]:
        def one(number: int) -> Any:
            self.tuners[number].step()
            return self.tuners[number].report({"val/loss": values[number]})

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(one, range(2)))

    def stand(self, number: int) -> tuple[Any, ...]:
        tuner = self.tuners[number]
        live = [knob.value for knob in self.knobs[number]]
        return tuner.mode, tuner.values, live, tuner._session.state.decision


ANYTHING = st.floats(-2, 2) | st.sampled_from([float("nan"), None])


def test_alone_a_value_is_given_back_and_everybody_agrees() -> None:
    made = object()
    assert Alone().first(made) is made
    assert Alone().agree(lambda: "anything")
    assert is_alone()


@FEW
@given(st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1, max_size=8))
def test_all_ranks_stand_alike_after_every_decision_whatever_each_has_measured(
    metrics: list[tuple[Any, Any]],
) -> None:
    ranks = Processes()
    for pair in metrics:
        mine, theirs = ranks.report(*pair)
        assert ranks.stand(0) == ranks.stand(1)
        assert (mine.verdict, mine.changes) == (theirs.verdict, theirs.changes)


@FEW
@given(
    st.integers(0, 1),
    st.sampled_from(["apply", "snapshot", "validate", "lies"]),
    st.integers(0, 3),
)
def test_ranks_that_differ_put_everything_back_and_stop_tuning(
    who: int, how: str, sound: int
) -> None:
    ranks = Processes()
    for _ in range(sound):
        ranks.report(1.0, 1.0)
    for knob in ranks.knobs[who]:
        knob.lies = how == "lies"
        knob.fails = {how} - {"lies"}
    for _ in range(6):
        ranks.report(1.0, 1.0)
    before = [ranks.stand(number)[:3] for number in range(2)]
    assert before[0] == before[1]
    assert before[0][0] == "observe"
    assert not any(made.verdict is Action.APPLIED for made in ranks.report(0.5, 0.5))
    assert [ranks.stand(number)[:3] for number in range(2)] == before
