"""The book knows what the storage knows, whatever happens in which order."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.records import Float, Integer
from gptune.study.book import Book
from gptune.study.domains import Domain
from gptune.study.records import StudyRecord, TrialRecord, TrialState
from gptune.study.storage import Storage

DEAD = "elsewhere:1:1"
SPACE: dict[str, Domain] = {"x": Float(0.0, 1.0)}
Step = tuple[str, int, Any]
ends = st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED])
steps = st.one_of(
    st.tuples(st.just("begin"), st.just(0), st.none()),
    st.tuples(st.just("enqueue"), st.just(0), st.none()),
    st.tuples(st.just("suggest"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.just("report"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.just("finish"), st.integers(0, 9), st.tuples(ends, st.integers(-2, 2))),
    st.tuples(st.just("withdraw"), st.integers(0, 9), st.none()),
    st.tuples(st.just("refresh"), st.just(0), st.none()),
)
OPENING: list[Step] = [("begin", 0, None)] * 3 + [("suggest", which, 1) for which in range(3)]
histories = st.lists(steps, max_size=40).map(lambda more: OPENING + more)
directions = st.sampled_from(["minimize", "maximize"])


class Played:
    """A study, its book, and what is done to it."""

    def __init__(self, direction: str, space: dict[str, Domain] | None = None) -> None:
        self.storage = Storage(":memory:", clock=lambda: 0.0)
        self.study: StudyRecord = self.storage.create("s", direction, space, 0)[0]
        self.book = Book(self.storage, self.study)
        self.running: list[int] = []

    def fresh(self) -> Book:
        made = Book(self.storage, self.study)
        made.refresh()
        return made

    def trials(self) -> list[TrialRecord]:
        return list(self.storage.changes(self.study.id, 0).trials)

    def play(self, history: list[Step]) -> "Played":
        for kind, which, what in history:
            if kind in ("begin", "enqueue", "refresh"):
                getattr(self, kind)()
            elif self.running:
                number = self.running[which % len(self.running)]
                getattr(self, kind)((self.study.id, number), what)
        self.book.refresh()
        return self

    def begin(self) -> None:
        trial = self.storage.begin(self.study.id, DEAD)
        assert trial is not None
        self.running.append(trial.number)

    def enqueue(self) -> None:
        self.storage.enqueue(self.study.id, {"x": 0.5})

    def refresh(self) -> None:
        self.book.refresh()

    def suggest(self, trial: tuple[int, int], what: int) -> None:
        """Write a parameter down, or nothing yet but what the sampler remembers."""
        space: dict[str, Domain] = {f"p{what}": Integer(0, 10 + trial[1])} if what else {}
        memory = {"known": trial[1]} if what != 1 else None
        self.storage.suggest(trial, dict.fromkeys(space, what), space, memory)

    def report(self, trial: tuple[int, int], step: int) -> None:
        self.storage.report(trial, step, 0.5)

    def finish(self, trial: tuple[int, int], what: tuple[TrialState, int]) -> None:
        state, value = what
        given_ = float(value) if state is TrialState.COMPLETE else None
        self.storage.finish(trial, state, value=given_)
        self.running.remove(trial[1])

    def withdraw(self, trial: tuple[int, int], _: None) -> None:
        self.storage.withdraw(trial)
        self.running.remove(trial[1])


@given(histories, directions)
@settings(deadline=None, max_examples=100)
def test_the_book_is_what_the_storage_holds(history: list[Step], direction: str) -> None:
    played = Played(direction).play(history)
    trials, book = played.trials(), played.book
    assert book.trials == trials
    assert book.finished == [one for one in trials if one.state.is_finished]
    assert book.running == {one.number: one for one in trials if one.state == "running"}
    assert book.reported == {one.number: one for one in trials if one.reports}
    assert [book[one.number] for one in trials] == trials


@given(histories, directions)
@settings(deadline=None, max_examples=100)
def test_the_best_is_the_first_of_the_best_complete_ones(
    history: list[Step], direction: str
) -> None:
    played = Played(direction).play(history)
    complete = [one for one in played.trials() if one.state is TrialState.COMPLETE]
    sign = played.study.sign
    best = max(complete, key=lambda one: (sign * (one.value or 0.0), -one.number), default=None)
    assert played.book.best == best


@given(histories, directions)
@settings(deadline=None, max_examples=100)
def test_what_is_read_bit_by_bit_is_what_is_read_at_once(
    history: list[Step], direction: str
) -> None:
    played = Played(direction).play(history)
    book, fresh = played.book, played.fresh()
    for name in ("trials", "finished", "running", "reported", "space", "best"):
        assert getattr(book, name) == getattr(fresh, name), name
    for number in range(len(book.trials) + 2):
        assert book.memory(number) == fresh.memory(number)


@given(histories)
@settings(deadline=None, max_examples=100)
def test_each_parameter_has_the_domain_of_the_newest_trial_that_had_it(
    history: list[Step],
) -> None:
    book = Played("minimize").play(history).book
    wanted: dict[str, Domain] = {}
    for trial in book.finished:
        wanted.update(trial.space)
    assert book.space == wanted


@given(histories)
@settings(deadline=None, max_examples=30)
def test_a_space_that_was_given_stays_what_it_was(history: list[Step]) -> None:
    assert Played("minimize", SPACE).play(history).book.space == SPACE


@given(histories)
@settings(deadline=None, max_examples=60)
def test_what_a_sampler_remembers_is_that_of_the_newest_trial_before(
    history: list[Step],
) -> None:
    book = Played("minimize").play(history).book
    for number in range(len(book.trials) + 2):
        before = [one.memory for one in book.trials if one.number < number and one.memory]
        assert book.memory(number) == (before[-1] if before else {})


@given(histories)
@settings(deadline=None, max_examples=60)
def test_what_is_being_tried_is_known_of_the_others(history: list[Step]) -> None:
    book = Played("minimize").play(history).book
    for number in range(len(book.trials) + 1):
        others = [one for one in book.trials if one.state == "running" and one.number != number]
        assert book.values_of_running(number) == [one.params for one in others if one.params]


def test_trials_that_end_in_another_order_are_known_in_that_of_their_numbers() -> None:
    """Two workers: the second trial ends first, and is the best of equals no more after that."""
    played = Played("minimize")
    for number, names in enumerate((["a", "b"], ["b", "c"])):
        played.begin()
        space: dict[str, Domain] = {name: Integer(0, 1 + number) for name in names}
        played.storage.suggest((played.study.id, number), dict.fromkeys(names, 1), space)
    for number in (1, 0):
        played.finish((played.study.id, number), (TrialState.COMPLETE, 2))
        played.refresh()
    assert [one.number for one in played.book.finished] == [0, 1]
    assert played.book.best == played.book[0]
    assert played.book.space == {"a": Integer(0, 1), "b": Integer(0, 2), "c": Integer(0, 2)}


@given(
    st.lists(st.lists(st.sampled_from("abcd"), unique=True, max_size=4), min_size=1, max_size=5),
    st.data(),
)
@settings(deadline=None, max_examples=80)
def test_who_ends_first_changes_nothing_in_the_order_of_parameters(
    suggested: list[list[str]], data: st.DataObject
) -> None:
    """They stand by the trial that had them first, and in it as it suggested them."""
    played = Played("minimize")
    for number, names in enumerate(suggested):
        played.begin()
        space: dict[str, Domain] = {name: Integer(0, 1 + number) for name in names}
        played.storage.suggest((played.study.id, number), dict.fromkeys(names, 1), space)
    for number in data.draw(st.permutations(range(len(suggested)))):
        played.finish((played.study.id, number), (TrialState.COMPLETE, 0))
        played.refresh()
    wanted = list(dict.fromkeys(name for names in suggested for name in names))
    assert list(played.book.space) == wanted
    assert list(played.fresh().space) == wanted


def test_what_was_remembered_by_a_trial_that_was_withdrawn_is_forgotten() -> None:
    played = Played("minimize")
    for number in range(2):
        played.begin()
        played.suggest((played.study.id, number), 0)
        played.refresh()
    assert played.book.memory(2) == {"known": 1}
    played.storage.withdraw((played.study.id, 1))
    played.refresh()
    assert len(played.book.trials) == 1
    assert played.book.memory(2) == {"known": 0}


def test_nothing_is_read_twice() -> None:
    played = Played("minimize")
    for _ in range(3):
        played.begin()
    played.refresh()
    asked: list[int] = []
    changes: Callable[..., Any] = played.storage.changes

    def watched(study: int, since: int) -> Any:
        found = changes(study, since)
        asked.append(len(found.trials))
        return found

    played.storage.changes = watched  # type: ignore[method-assign]
    played.refresh()
    played.report((played.study.id, 1), 0)
    played.refresh()
    played.refresh()
    assert asked == [0, 1, 0]


def test_a_trial_that_is_begun_again_has_reported_nothing() -> None:
    """Its process died; what it had said is told anew, or not at all."""
    played = Played("minimize")
    played.begin()
    trial = (played.study.id, 0)
    played.suggest(trial, 2)
    played.report(trial, 3)
    played.refresh()
    assert list(played.book.reported) == [0]
    played.storage.withdraw(trial)
    played.refresh()
    assert (played.book.running, list(played.book.reported)) == ({}, [0])
    played.begin()
    played.refresh()
    assert (list(played.book.running), played.book.reported) == ([0], {})
