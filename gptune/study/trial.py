"""One trial, as an objective sees it: it suggests values, takes reports, and says when to stop."""

import logging
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from gptune.configs.reading import BIGGEST, shown
from gptune.errors import StudyError
from gptune.records import Scalar
from gptune.study.domains import (
    Domain,
    choice_domain,
    draw,
    holds,
    number_domain,
    plain,
    show_point,
)
from gptune.study.records import StudyRecord, TrialRecord
from gptune.study.samplers import chance_of

logger = logging.getLogger("gptune")
REDRAWS = 200  # by chance, until a constraint is met


def always(params: Mapping[str, Scalar]) -> bool:
    """Allow every point."""
    return True


class Paper(Protocol):
    """Where trials write down what happens to them; a trial is named by its number."""

    def write(
        self,
        trial: int,
        params: Mapping[str, Scalar],
        space: Mapping[str, Domain],
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what was suggested, from what, and what the sampler wants to know again."""
        ...

    def report(self, trial: int, step: int, value: float) -> None:
        """Write an intermediate value down."""
        ...

    def prunes(self, trial: int) -> bool:
        """Say whether the trial should end now."""
        ...


class Trial:
    """One run of an objective; a study makes it.

    Args:
        desk: Where it writes down what happens to it.
        record: The trial as it was begun.
        study: The study.
        proposed: What its sampler has proposed.
        allows: Whether the constraints are met by a point, which may lack what was not suggested
            yet; what is not enqueued is drawn until they are.

    Attributes:
        number: 0, 1, 2 ...
        record: The trial as it was begun.
        proposed: What its sampler has proposed; or with a space that was given up front, what it
            has come to.
    """

    def __init__(
        self,
        desk: Paper,
        record: TrialRecord,
        study: StudyRecord,
        proposed: Mapping[str, Scalar],
        *,
        allows: Callable[[Mapping[str, Scalar]], bool] = always,
    ) -> None:
        self.number, self.record, self.proposed = record.number, record, proposed
        self.desk, self._study, self._allows = desk, study, allows
        self._fixed = {**record.params, **record.fixed}  # what was begun goes on as it was
        self._params: dict[str, Scalar] = {}
        self._space: dict[str, Domain] = {}
        self._reports: dict[int, float] = {}

    @property
    def seed(self) -> int:
        """A number for the objective's own chance, the same each time the trial is begun."""
        return chance_of(self._study.seed, self.number, "objective").getrandbits(31)

    @property
    def is_given(self) -> bool:
        """Whether its space was given up front."""
        return self._study.space is not None

    @property
    def params(self) -> dict[str, Scalar]:
        """What was suggested so far."""
        return dict(self._params)

    @property
    def space(self) -> dict[str, Domain]:
        """What it was suggested from."""
        return dict(self._space)

    @property
    def reports(self) -> dict[int, float]:
        """Step -> value that was reported there."""
        return dict(self._reports)

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False, step: float | None = None
    ) -> float:
        """Suggest a real number in ``[low, high]``; the same each time it is asked.

        Args:
            name: The parameter's.
            low: Smallest value.
            high: Largest value.
            log: Search on a logarithmic scale.
            step: Only ``low, low + step, ...``.

        Raises:
            SpaceError: Naming the field that is wrong.
            StudyError: If the trial was asked for the same name before, with another range.
        """
        return float(self._suggest(name, lambda: number_domain(low, high, log=log, step=step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = False, step: int | None = None
    ) -> int:
        """Suggest a whole number in ``[low, high]``, both ends included; as `suggest_float`."""
        made = self._suggest(name, lambda: number_domain(low, high, log=log, step=step, whole=True))
        return int(made)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Suggest one of several plain values; else as `suggest_float`."""
        return self._suggest(name, lambda: choice_domain(choices))

    def report(self, value: float, step: int) -> None:
        """Report how good the trial is by now, in the objective's own units.

        Args:
            value: A number; one that is not finite is kept as such.
            step: How far it has come, such as the epoch, an ``int`` or one of NumPy's [steps].

        Raises:
            StudyError: If one is no number.
        """
        at, number = _as_step(step), as_number(value)
        if at is None:
            raise StudyError(
                f"report: step must be a whole number >= 0 and below 2**63, got {shown(step)}"
            )
        if number is None:
            raise StudyError(f"report: value must be a number, got {shown(value)}")
        self._reports[at] = number
        self.desk.report(self.number, at, number)

    def should_prune(self) -> bool:
        """Say whether it is not worth going on; then raise `TrialPruned`."""
        return bool(self._reports) and self.desk.prunes(self.number)

    def load(self, space: Mapping[str, Domain]) -> dict[str, Scalar]:
        """Choose values for a whole space that was given up front.

        Raises:
            StudyError: If no point meets the constraints; but where some values were enqueued,
                they are tried all the same.
        """
        known = {name: self._fixed_in(name, domain) for name, domain in space.items()}
        given = {name: value for name, value in known.items() if value is not None}
        free = {n: self._candidates(n, domain) for n, domain in space.items() if n not in given}
        chosen = self._choose_all(given, free)
        self._params = {name: chosen[name] for name in space}
        self._space = dict(space)
        self.proposed = {**self.proposed, **self._params}  # which travels to other processes
        return self.params

    def __str__(self) -> str:
        return f"trial {self.number}: {show_point(self._params)}"

    def _suggest(self, name: str, make: Callable[[], Domain]) -> Any:
        if not isinstance(name, str) or not name:
            raise StudyError(f"suggest: a parameter's name must be a word, got {name!r}")
        try:
            domain = make()
        except StudyError:
            raise
        except ValueError as error:
            raise type(error)(f"parameter {name!r}: {error}") from None
        known = self._space.get(name)
        if known is not None and known != domain:
            raise StudyError(
                f"parameter {name!r}: was suggested from {known!r} in this trial, and is now asked "
                f"from {domain!r}; give the second one another name"
            )
        if known is None:
            self._params[name] = self._choose(name, domain)
            self._space[name] = domain
            self.desk.write(self.number, self._params, self._space)
        return self._params[name]

    def _choose(self, name: str, domain: Domain) -> Scalar:
        """Choose a value: what is fixed, or what meets the constraints with all before it."""
        fixed = self._fixed_in(name, domain)
        if fixed is not None:
            return fixed
        for value in self._candidates(name, domain):
            if self._allows({**self._params, name: value}):
                return value
        raise StudyError(
            f"parameter {name!r}: none of {REDRAWS} values drawn from {domain!r} meets the "
            f"constraints beside {show_point(self._params)}; widen its range, or loosen them"
        )

    def _choose_all(
        self, given: dict[str, Scalar], free: Mapping[str, Iterator[Scalar]]
    ) -> dict[str, Scalar]:
        """Choose the values that are free, together."""
        first = given
        for values in zip(*free.values(), strict=False):
            point = {**given, **dict(zip(free, values, strict=True))}
            if self._allows(point):
                return point
            first = point if first is given else first
        if free and not given:
            raise StudyError(
                f"constraints: none of {REDRAWS} points drawn by chance meets them; widen the "
                "space, or loosen them"
            )
        if free:
            logger.warning(
                "gptune: trial %d: no point with %s meets the constraints; it is tried",
                self.number,
                show_point(given),
            )
        return first

    def _fixed_in(self, name: str, domain: Domain) -> Scalar | None:
        """Give the value that is fixed, if one is; one of another range is chosen anew.

        Raises:
            StudyError: If it was enqueued and does not lie in the domain.
        """
        if name in self._fixed and holds(domain, self._fixed[name]):
            value: Scalar = plain(self._fixed[name])
            return value
        if name in self.record.fixed:
            raise StudyError(
                f"parameter {name!r}: {self._fixed[name]!r} was enqueued and does not lie in "
                f"{domain!r}; enqueue another value, or widen the range"
            )
        return None

    def _candidates(self, name: str, domain: Domain) -> Iterator[Scalar]:
        """Go through what may be chosen: what was proposed, and then what chance gives."""
        if name in self.proposed and holds(domain, self.proposed[name]):
            yield plain(self.proposed[name])
        chance = chance_of(self._study.seed, self.number, name)
        for _ in range(REDRAWS):
            yield draw(domain, chance)


def as_number(value: object) -> float | None:
    """Read a number, also one of NumPy's or torch's that holds a single value; else ``None``.

    Example:
        >>> as_number(2), as_number("2"), as_number(True), as_number([1.0])
        (2.0, None, None, None)
    """
    if isinstance(value, bool | str | bytes) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e308 or isinstance(value, float) else math.inf
    shape = getattr(value, "shape", None)
    if shape is None or tuple(shape) not in {(), (1,)} or not hasattr(value, "item"):
        return None
    return as_number(value.item())


def _as_step(value: Any) -> int | None:
    """Read a count of steps; ``None`` if it is none."""
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return None if isinstance(plain(value), bool) or not 0 <= number < BIGGEST else number
