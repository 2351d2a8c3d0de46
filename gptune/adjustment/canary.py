"""A candidate on trial: made, run beside what runs, and taken away again. Never raises."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gptune.adjustment.course import Rules
from gptune.adjustment.duel import Duel, Verdict, compare, verdict
from gptune.foreign import foreign_call
from gptune.records import Scalar

AT_ONCE = 1000  # pairs that one look takes at most [pairs]
ENDED = object()
Params = Mapping[str, Scalar]
Pairs = Iterable[tuple[float, float] | None]


class Canary:
    """Calls what the user gave for it.

    Args:
        retrain: ``(params) -> candidate``.
        run: ``(candidate) -> pairs`` of what the running model and the candidate came to.
    """

    def __init__(self, retrain: Callable[[Params], Any], run: Callable[[Any], Pairs]) -> None:
        self.candidate: Any = None
        self._retrain, self._run = retrain, run
        self._pairs: Iterator[Any] | None = None

    @property
    def is_out(self) -> bool:
        """Whether a candidate is being tried."""
        return self._pairs is not None

    def send(self, params: Params) -> str:
        """Make a candidate, and begin to try it; gives a complaint, empty if all is well."""
        made = foreign_call(lambda: self._retrain(params))
        if made.error is not None:
            return f"retrain raised {made.message}"
        self.candidate = made.value
        pairs = foreign_call(lambda: iter(self._run(self.candidate)))
        self._pairs = pairs.value
        return "" if pairs.value is not None else f"canary raised {pairs.message}"

    def look(
        self, rules: Rules, duel: Duel, stopped: Callable[[], bool] = bool
    ) -> tuple[Duel, str]:
        """Take the pairs that are there, until it is sure; and a complaint, if one is due."""
        for _ in range(AT_ONCE):
            if stopped() or verdict(rules.terms, duel) is not Verdict.OPEN:
                break
            pair, complaint = self._next()
            if complaint or pair is None:
                return duel, complaint
            duel = compare(rules.terms, duel, *(rules.sign * value for value in pair))
        return duel, ""

    def call_back(self) -> str:
        """Take it away; gives a complaint, empty if all is well."""
        pairs, self._pairs = self._pairs, None
        done = foreign_call(getattr(pairs, "close", lambda: None))
        return "" if done.error is None else f"canary could not be closed: {done.message}"

    def _next(self) -> tuple[tuple[float, float] | None, str]:
        """Give a pair; none where nothing is new; and what is wrong."""
        pairs = self._pairs
        assert pairs is not None
        given = foreign_call(lambda: next(pairs, ENDED))
        if given.error is not None:
            return None, f"canary raised {given.message}"
        if given.value is ENDED or given.value is None:
            return None, "canary ended before it was sure" if given.value is ENDED else ""
        pair = _numbers(given.value)
        kind = type(given.value).__name__
        return pair, "" if pair is not None else f"canary must give pairs of numbers, got {kind}"


def _numbers(given: Any) -> tuple[float, float] | None:
    read = foreign_call(lambda: tuple(float(one) for one in given)).value
    return (read[0], read[1]) if read is not None and len(read) == 2 else None
