"""What ``state_dict`` holds: plain data, versioned, without weights; the only source of resume."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gptune.configs import Knob, Recipe
from gptune.errors import RecipeError, StateError
from gptune.events import Moment
from gptune.online.decision import Hand, KernelState, Saved, is_same
from gptune.run_directory import EventLog


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
    proposer: dict[str, Any] | None
    log: Mark | None

    def to_dict(self) -> dict[str, Any]:
        """Give plain data: JSON-able, and loadable with ``weights_only=True``."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return plain


def read_checkpoint(state: Mapping[str, Any], recipe: Recipe, families: set[str]) -> Checkpoint:
    """Read what ``Tuner.state_dict`` gave, and check that it fits this Tuner.

    Raises:
        StateError: If it is something else, or of another version, recipe or set of knobs.
    """
    try:
        read = msgspec.convert(dict(state), Checkpoint)
        theirs = Recipe.from_dict(read.recipe)
    except (msgspec.ValidationError, RecipeError, TypeError, ValueError) as error:
        raise StateError(
            f"state_dict: is not what this version of Tuner.state_dict gave ({error}); "
            "pass the object that was saved, unchanged"
        ) from error
    if msgspec.structs.replace(theirs, mode=recipe.mode) != recipe:
        raise StateError(
            f"state_dict: was made with another recipe ({_first_difference(theirs, recipe)}); "
            "resume with the recipe of the run, or start a new run_dir"
        )
    if read.knobs.keys() != families:
        odd = sorted(read.knobs.keys() ^ families)
        raise StateError(
            f"state_dict: knobs {odd} are here or there but not in both; "
            "attach the same actuators before load_state_dict"
        )
    return read


def rewind(log: EventLog, mark: Mark | None, moment: Moment) -> None:
    """Supersede what a log holds beyond a checkpoint; a fresh log has nothing to supersede.

    Raises:
        StateError: If a used log is not the one that the checkpoint was made with.
    """
    if mark is not None and log.holds(mark.seq, mark.checksum):
        log.rewind(mark.seq, moment)
    elif log.was_used:
        raise StateError(
            "state_dict: does not belong to the log of this run directory; "
            "open the run_dir that it was saved with, or a new one"
        )


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
