"""The recipe: all that a user can choose, in one frozen struct."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gptune.configs.knobs import LEARNING_RATE, Group, Mutation
from gptune.configs.reading import build, need
from gptune.configs.sections import (
    Acceptance,
    Calibration,
    Guard,
    Objective,
    Phase,
    Safety,
    Search,
)
from gptune.errors import RecipeError

if TYPE_CHECKING:
    from _typeshed import StrPath


class Mode(StrEnum):
    """What gptune may do to a run."""

    OFF = "off"
    OBSERVE = "observe"
    SUGGEST = "suggest"
    GUARD = "guard"
    ACTIVE = "active"
    REPLAY = "replay"


PHASES = {
    "early": Phase(start_frac=0.0, end_frac=0.2),
    "mid": Phase(start_frac=0.2, end_frac=0.7),
    "late": Phase(start_frac=0.7, end_frac=1.0),
}


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """All that the user chose. The defaults move the learning rate alone.

    Sections are filled up field by field; ``phases`` and ``actuators``, which are lists of the
    user's own names, replace the defaults as a whole.

    Attributes:
        version: Of this schema.
        mode: What gptune may do: off | observe | suggest | guard | active | replay.
        objective: The metric to improve.
        phases: Name -> part of the run; together they tile it without a gap.
        actuators: Name of a group -> what may move in it: ``opt`` is the optimizer, ``loss`` the
            weights of a loss, others are named by the user.
        search: What proposes, and how often.
        acceptance: When a change stays.
        safety: When nothing may be changed, and what happens after rejects.
        guard: Restoring the training state when a run goes wrong.
        calibration: Finding the learning rate at the start of the run.

    Example:
        >>> recipe = Recipe.from_dict({"objective": {"primary": "reward", "mode": "max"}})
        >>> recipe.objective.primary, recipe.acceptance.probability
        ('reward', 0.95)
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
    """

    version: Literal[1] = 1
    mode: Mode = Mode.ACTIVE
    objective: Objective = Objective()
    phases: dict[str, Phase] = msgspec.field(default_factory=lambda: dict(PHASES))
    actuators: dict[str, Group] = msgspec.field(
        default_factory=lambda: {"opt": Group(mutations={"lr": LEARNING_RATE}), "loss": Group()}
    )
    search: Search = Search()
    acceptance: Acceptance = Acceptance()
    safety: Safety = Safety()
    guard: Guard = Guard()
    calibration: Calibration = Calibration()

    def __post_init__(self) -> None:
        parts = sorted(self.phases.values(), key=lambda phase: phase.start_frac)
        edges = [0.0, *(part.end_frac for part in parts)]
        starts = [*(part.start_frac for part in parts), 1.0]
        what = "must tile [0, 1]: each phase starts where the one before ends"
        need(
            bool(parts) and edges == starts, "phases", what, dict(self.phases), do="close the gaps"
        )
        for group, knobs in self.actuators.items():
            self._check_phases(f"actuators.{group}.mutations", knobs.mutations)
            self._check_phases(f"actuators.{group}.keys", knobs.keys)

    def _check_phases(self, path: str, mutations: dict[str, Mutation]) -> None:
        what = f"must name phases of {list(self.phases)}"
        for name, mutation in mutations.items():
            named = {"phases": mutation.phases, "prior_center": mutation.prior_center}
            for field, phases in named.items():
                listed = phases if isinstance(phases, dict | tuple) else ()
                unknown = sorted(set(listed) - self.phases.keys())
                need(not unknown, f"{path}.{name}.{field}", what, unknown, do="rename")

    def mutations(self) -> dict[str, Mutation]:
        """List what may move: family -> how, of the groups that are enabled."""
        return {
            f"{group}.{name}": mutation
            for group, knobs in self.actuators.items()
            if knobs.enabled
            for name, mutation in {**knobs.mutations, **knobs.keys}.items()
        }

    def phase_at(self, step: int, total_steps: int | None) -> str:
        """Name the phase of a step.

        An unknown total gives the phase that contains one half; past the end, the last one.
        """
        fraction = 0.5 if total_steps is None else step / total_steps
        inside = [name for name, part in self.phases.items() if fraction >= part.start_frac]
        return max(inside, key=lambda name: self.phases[name].start_frac)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Recipe":
        """Read a recipe from plain data, as JSON or YAML would give it. Nothing is coerced.

        Raises:
            RecipeError: Naming the path, the rule, what was given, and the nearest valid key.
        """
        return build(cls, data, "")

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that `from_dict` reads back to an equal recipe."""
        plain: dict[str, Any] = _lists(msgspec.to_builtins(self))
        return plain

    @classmethod
    def load(cls, path: "StrPath") -> "Recipe":
        """Read a recipe from a ``.yaml``, ``.yml`` or ``.json`` file.

        Raises:
            RecipeError: Naming the file, the line or the path in the recipe, and what to do.
        """
        from gptune.configs.text import read_file

        data = read_file(path)
        try:
            return cls.from_dict(data)
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from error

    def save(self, path: "StrPath", comments: str = "") -> None:
        """Write the whole recipe, defaults filled in, to a file that `load` reads back equal.

        Args:
            path: Ends in ``.yaml``, ``.yml`` or ``.json``. What stands there is overwritten.
            comments: Lines to put on top, each behind a ``#``; JSON has no room for them.

        Raises:
            RecipeError: Naming the file, if it cannot be written.
        """
        from gptune.configs.text import write_file

        write_file(path, self.to_dict(), comments)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value
