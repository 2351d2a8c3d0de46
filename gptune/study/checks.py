"""What a study refuses, and what a trial's end is taken for. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping

from gptune.configs import nearest
from gptune.configs.reading import shown
from gptune.errors import StudyError
from gptune.foreign import foreign_call
from gptune.records import Scalar
from gptune.study.domains import Domain, holds, show_point
from gptune.study.records import StudyRecord, TrialState

Constraint = Callable[[Mapping[str, Scalar]], bool]
Callback = Callable[..., object]
DIRECTIONS = ("minimize", "maximize")


def ending(
    state: TrialState | str | None, value: object, read: float | None
) -> tuple[TrialState, str]:
    """Say how a trial ends, and why it failed.

    Args:
        state: What was asked for, if anything.
        value: What was given.
        read: The number that it is, if it is one.

    Raises:
        StudyError: If the state is no end.
    """
    if state is not None:
        if not isinstance(state, str) or state not in {"complete", "pruned", "failed"}:
            raise StudyError(f"tell: state must be complete, pruned or failed, got {shown(state)}")
        if state != "complete":
            return TrialState(state), ""
    if read is not None and math.isfinite(read):
        return TrialState.COMPLETE, ""
    return TrialState.FAILED, f"the objective must give a finite number, and gave {_short(value)}"


def _short(value: object) -> str:
    """Write a value of the user's for people, whatever its ``__repr__`` does."""
    text = foreign_call(lambda: shown(value)).value or f"an object of {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}... ({type(value).__name__})"


def check_study(name: str, direction: str, seed: int) -> None:
    """Check what a study is made with.

    Raises:
        StudyError: Naming the argument.
    """
    if not isinstance(name, str) or not name or len(name) > 200 or not name.isprintable():
        raise StudyError(f"name: must be a word of at most 200 printable characters, got {name!r}")
    if direction not in DIRECTIONS:
        raise StudyError(f"direction: must be minimize or maximize, got {direction!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise StudyError(f"seed: must be a whole number in [0, 2**63), got {seed!r}")


def check_count(name: str, value: object) -> None:
    """Check that something is a number of things.

    Raises:
        StudyError: Naming it.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise StudyError(f"{name}: must be a whole number >= 1, got {shown(value)}")


def is_met(constraint: Constraint, params: Mapping[str, Scalar], known: Iterable[str] = ()) -> bool:
    """Say whether a constraint is met; one that needs what is not there is taken to be.

    Args:
        constraint: The user's.
        params: A point.
        known: Every parameter, where the space was given up front and the point is a whole one.

    Raises:
        StudyError: If it needs what no point has.
    """
    try:
        return bool(constraint(params))
    except KeyError as error:
        names = list(known)
        if names and params.keys() >= set(names):
            hint = nearest(str(error.args[0]), names)
            raise StudyError(
                f"constraints: one needs {error}, which is no parameter; {hint}"
            ) from None
        return True


def exceptions(given: object) -> tuple[type[Exception], ...]:
    """Read which exceptions are to be caught: one, or several.

    Raises:
        StudyError: If one of them is none.
    """
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    listed = tuple(several)
    for one in listed:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise StudyError(f"catch: must be exceptions, such as (ValueError,), got {shown(one)}")
    return listed


def functions(name: str, given: object) -> tuple[Callable[..., object], ...]:
    """Read functions that are to be called.

    Raises:
        StudyError: If one of them is none.
    """
    listed = tuple(given) if isinstance(given, Iterable) else (given,)
    for one in listed:
        if not callable(one):
            raise StudyError(f"{name}: must be a list of functions, got {shown(one)}")
    return listed


def check_point(
    known: Mapping[str, Domain] | None,
    params: Mapping[str, Scalar],
    allows: Callable[[Mapping[str, Scalar]], bool],
) -> None:
    """Check values that are to be tried, as far as the space is known.

    Raises:
        StudyError: If one does not lie in the space, or all of them against a constraint.
    """
    if known is None:
        return
    for name, value in params.items():
        if name not in known:
            raise StudyError(f"enqueue: {name!r} is no parameter; {nearest(name, known)}")
        if not holds(known[name], value):
            raise StudyError(
                f"enqueue: {name}={value!r} does not lie in the space {known.get(name)!r}"
            )
    if params.keys() == known.keys() and not allows(params):
        raise StudyError(f"enqueue: {show_point(params)} does not meet the constraints")


def check_same(
    record: StudyRecord, direction: str, space: dict[str, Domain] | None, *, resume: bool
) -> None:
    """Check that a study which is there already may go on, with these things.

    Raises:
        StudyError: Naming what differs.
    """
    name = record.name
    if not resume:
        raise StudyError(
            f"study {name!r}: exists already; pass resume=True to go on with it, or choose "
            "another name"
        )
    if direction != record.direction:
        raise StudyError(f"study {name!r}: is to {record.direction}, got direction {direction!r}")
    if space is not None and space != record.space:
        there = record.space or {}
        odd = sorted(n for n in space.keys() | there.keys() if space.get(n) != there.get(n))
        raise StudyError(
            f"study {name!r}: its space differs in {', '.join(odd)}: "
            f"{there.get(odd[0])!r} there, {space.get(odd[0])!r} given; give the new one another "
            "name"
        )
