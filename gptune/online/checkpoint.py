"""What ``state_dict`` holds: plain data, versioned, without weights; the only source of resume."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gptune.configs import Knob, Mode, Recipe
from gptune.configs.overrides import override
from gptune.core.proposer import ProposerState
from gptune.errors import RecipeError, StateError
from gptune.foreign import foreign_call
from gptune.online.collective import Vote
from gptune.online.decision import Hand, KernelConfig, KernelState, Saved, is_same, restore
from gptune.records import Categorical, Scalar
from gptune.run_directory.event_log import EventLog
from gptune.safety.blockers import place_faults


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log had come: its last line, and that line's checksum."""

    seq: int
    checksum: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """All that a Tuner needs to go on as if never interrupted."""

    version: Literal[1] = 1
    seed: int
    steps: int
    recipe: dict[str, Any]
    knobs: dict[str, Knob]
    kernel: KernelState
    proposer: ProposerState | None
    total_steps: int | None
    log: Mark | None

    def to_dict(self) -> dict[str, Any]:
        """Give plain data: JSON-able, and loadable with ``weights_only=True``."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return plain


def refusal(call: str, *, closed: bool) -> StateError:
    """Give the error of a call that comes too late, or before ``load_state_dict``."""
    if closed:
        return StateError(f"{call}: the Tuner is closed; make a new one to go on")
    return StateError(
        f"{call}: the run directory holds a run that is to be resumed; "
        "call load_state_dict first, or choose another run_dir"
    )


def read_checkpoint(state: Mapping[str, Any], config: KernelConfig) -> Checkpoint:
    """Read what ``Tuner.state_dict`` gave, and check that it fits this Tuner.

    Raises:
        StateError: If it is something else, or of another version, recipe, length or set of
            knobs, or if it would put a value in force that these knobs do not allow.
    """
    try:
        read = msgspec.convert(dict(state), Checkpoint)
        theirs = Recipe.from_dict(read.recipe)
        override(theirs, read.kernel.overrides)
    except (msgspec.ValidationError, RecipeError, TypeError, ValueError) as error:
        raise StateError(
            f"state_dict: is not what this version of Tuner.state_dict gave ({error}); "
            "pass the object that was saved, unchanged"
        ) from error
    recipe = config.recipe
    if msgspec.structs.replace(theirs, mode=recipe.mode) != recipe:
        raise StateError(
            f"state_dict: was made with another recipe ({_first_difference(theirs, recipe)}); "
            "resume with the recipe of the run, or start a new run_dir"
        )
    if min(read.steps, read.kernel.decision) < 0:
        raise StateError(
            f"state_dict: counts {read.steps} steps and {read.kernel.decision} decisions, which "
            "no run can; pass the object that was saved"
        )
    if read.kernel.mode is Mode.REPLAY and recipe.mode is Mode.ACTIVE:
        raise StateError(
            "state_dict: is that of a run in mode replay; resume with mode='replay' and the same "
            "replay=, or with another mode than active"
        )
    if read.total_steps != config.total_steps:
        raise StateError(
            f"state_dict: was made with total_steps={read.total_steps!r}, here it is "
            f"{config.total_steps!r}; resume with the same, or start a new run_dir"
        )
    _check_knobs(read, config)
    return read


def _check_knobs(read: Checkpoint, config: KernelConfig) -> None:
    """Check that a checkpoint's knobs are the attached ones, and its values within their space.

    Raises:
        StateError: Naming the knob.
    """
    odd = (read.knobs.keys() ^ config.knobs.keys()) | (read.kernel.point.keys() ^ read.knobs.keys())
    pending = read.kernel.pending
    changes = pending.changes if pending else ()
    odd |= {change.family for change in changes} - read.knobs.keys()
    point = read.kernel.point
    odd |= {c.family for c in changes if not is_same(point.get(c.family), c.new)}
    for family, knob in read.knobs.items():
        moves = [point.get(family), *(c.old for c in changes if c.family == family)]
        mine = config.knobs.get(family, knob)
        if not _is_alike(knob, mine) or any(place_faults(knob, move) for move in moves):
            odd.add(family)
    if odd:
        raise StateError(
            f"state_dict: knobs {sorted(odd)} are not here, or were saved with another range or a "
            "value outside of it; attach the same actuators before load_state_dict"
        )


def _is_alike(saved: Knob, mine: Knob) -> bool:
    """Compare two knobs; a range that follows from the value at attach is the saved one's."""
    guessed = mine.mutation.bounds is None and type(saved.space) is type(mine.space)
    space = mine.space if guessed and not isinstance(mine.space, Categorical) else saved.space
    return msgspec.structs.replace(saved, base=mine.base, space=space) == mine


def belongs(log: EventLog, mark: Mark | None) -> bool:
    """Say whether a checkpoint was made with this log; with a fresh one it was not.

    Raises:
        StateError: If a used log is not the one that the checkpoint was made with, or cannot be
            read.
    """
    try:
        if mark is not None and log.holds(mark.seq, mark.checksum):
            return True
    except OSError as error:
        raise StateError(
            f"state_dict: the log of this run directory cannot be read ({error}); mend the disk "
            "and load the state again, or open a new run_dir"
        ) from error
    if log.was_used:
        raise StateError(
            "state_dict: does not belong to the log of this run directory; "
            "open the run_dir that it was saved with, or a new one"
        )
    return False


def ballot(log: EventLog | None, read: Checkpoint, *, rank: int) -> Vote:
    """Say what a process would do with a checkpoint; rank 0's log is the run's, others may be lost.

    Args:
        log: The log of its run directory, if there is one.
        read: The checkpoint.
        rank: Its number.
    """
    try:
        held = log is not None and belongs(log, read.log)
    except StateError as error:
        return Vote(goes_on=False, refusal="" if rank else str(error))
    return Vote(goes_on=held and not read.kernel.log_failed)


def put_values(kernel: KernelState, hands: Mapping[str, Hand]) -> dict[str, Saved]:
    """Put every knob where a state says, so that its open change can still be undone.

    Returns:
        Family -> what undoes the open change.

    Raises:
        StateError: If a knob refuses, fails or lies; those before it are put back.
    """
    changes = kernel.pending.changes if kernel.pending else ()
    before = {**kernel.point, **{change.family: change.old for change in changes}}
    done: list[tuple[Hand, Saved]] = []
    for family, hand in hands.items():
        _put(hand, before[family], done)
    saved = {change.family: _put(hands[change.family], change.new, done) for change in changes}
    return {family: undo for family, undo in saved.items() if undo is not None}


def _put(hand: Hand, move: Scalar, done: list[tuple[Hand, Saved]]) -> Saved | None:
    """Put one knob at a move, if it is not there; gives what undoes that.

    Raises:
        StateError: If it cannot be put there; all that is done is undone then.
    """
    actuator, value = hand.actuator, hand.knob.native(move)

    def change() -> Saved:
        saved = Saved(actuator.snapshot(), actuator.read())
        if not is_same(saved.value, value):
            refused = actuator.validate(value)
            if refused is not None:
                raise StateError(refused)
            done.append((hand, saved))
            actuator.apply(value)
            if not is_same(actuator.read(), value):
                raise StateError(f"was given {value!r} but reads {actuator.read()!r}")
        return saved

    made = foreign_call(change)
    if made.error is not None:
        for earlier, saved in reversed(done):
            restore(earlier, saved)
        raise StateError(
            f"state_dict: {hand.knob.family} cannot be put to {value!r} ({made.message}); the "
            "knobs are as they were: mend the actuator, or start a new run_dir"
        ) from made.error
    return made.value


def _first_difference(one: Recipe, other: Recipe) -> str:
    for name in Recipe.__struct_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs and name != "mode":
            return f"{name}: {mine!r} there, {theirs!r} here"
    return "mode"
