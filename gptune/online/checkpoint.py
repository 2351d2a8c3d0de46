"""What ``state_dict`` holds: plain data, versioned, without weights; the only source of resume."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gptune.configs import Knob, Mode, Recipe
from gptune.configs.overrides import override
from gptune.core.proposer import ProposerState
from gptune.errors import RecipeError, StateError
from gptune.events import Moment
from gptune.online.decision import Hand, KernelConfig, KernelState, Saved, is_same
from gptune.records import Categorical, Parameter, Scalar
from gptune.run_directory.event_log import EventLog


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
    for family, knob in read.knobs.items():
        moves = [read.kernel.point.get(family), *(c.old for c in changes if c.family == family)]
        mine = config.knobs.get(family, knob)
        same = _is_alike(knob, mine)
        if not same or not all(_allows(knob.space, move) for move in moves):
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


def _allows(space: Parameter, move: Scalar | None) -> bool:
    if isinstance(space, Categorical):
        return move in space.choices
    is_number = isinstance(move, int | float) and not isinstance(move, bool)
    return is_number and space.low <= move <= space.high  # type: ignore[operator]


def rewind(log: EventLog, mark: Mark | None, moment: Moment) -> bool:
    """Supersede what a log holds beyond a checkpoint; a fresh log has nothing to supersede.

    Returns:
        Whether the checkpoint was made with this log.

    Raises:
        StateError: If a used log is not the one that the checkpoint was made with.
    """
    if mark is not None and log.holds(mark.seq, mark.checksum):
        log.rewind(mark.seq, moment)
        return True
    if log.was_used:
        raise StateError(
            "state_dict: does not belong to the log of this run directory; "
            "open the run_dir that it was saved with, or a new one"
        )
    return False


def put_values(kernel: KernelState, hands: Mapping[str, Hand]) -> dict[str, Saved]:
    """Put every knob where a state says, so that its open change can still be undone.

    Returns:
        Family -> what undoes the open change.
    """
    changes = kernel.pending.changes if kernel.pending else ()
    before = {**kernel.point, **{change.family: change.old for change in changes}}
    for family, hand in hands.items():
        value = hand.knob.native(before[family])
        if not is_same(hand.actuator.read(), value):
            hand.actuator.apply(value)
    saved = {}
    for change in changes:
        hand = hands[change.family]
        saved[change.family] = Saved(hand.actuator.snapshot(), hand.actuator.read())
        hand.actuator.apply(hand.knob.native(change.new))
    return saved


def _first_difference(one: Recipe, other: Recipe) -> str:
    for name in Recipe.__struct_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs and name != "mode":
            return f"{name}: {mine!r} there, {theirs!r} here"
    return "mode"
