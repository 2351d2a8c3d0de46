"""Where an optimizer keeps what can be tuned: kinds of knobs, and their places in its groups."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor
from torch.optim import SGD, Adafactor, Muon, Optimizer

from gptune.records import Float

Number = float | Tensor


@dataclass(frozen=True, slots=True)
class Place:
    """Where a knob's value stands in a parameter group: a key, or one element of a tuple there."""

    key: str
    index: int | None = None
    below: float = math.inf  # what the value must stay below, whatever the schedule does

    def get(self, group: dict[str, Any]) -> Number:
        """Read the value from a group."""
        value = group[self.key]
        number: Number = value if self.index is None else value[self.index]
        return number

    def put(self, group: dict[str, Any], value: Number) -> None:
        """Write the value into a group."""
        if self.index is None:
            group[self.key] = value
        else:
            whole = list(group[self.key])
            whole[self.index] = value
            group[self.key] = type(group[self.key])(whole)

    def is_in(self, group: dict[str, Any]) -> bool:
        """Say whether a group has one number there: Adafactor's ``eps`` is a pair, so no."""
        value = group.get(self.key)
        if self.index is not None:
            is_pair = isinstance(value, tuple | list) and len(value) > self.index
            value = value[self.index] if is_pair else None  # type: ignore[index]
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        return is_number or (isinstance(value, Tensor) and value.numel() == 1)


@dataclass(frozen=True, slots=True)
class Kind:
    """A knob of an optimizer: its name, where it may stand, its range, unit and risk."""

    name: str
    places: tuple[Place, ...]  # the first that the optimizer has
    space: Float  # of the multiplier
    unit: str
    risk: str


RATE, DECAY = Place("lr"), Place("weight_decay")
MOMENTUM = Place("momentum", below=1.0)
BETA1, BETA2 = Place("betas", 0, 1.0), Place("betas", 1, 1.0)

KINDS = (
    Kind("lr", (RATE,), Float(0.01, 100.0, log=True), "1/step", "low"),
    # Its effect shows long after: a short look cannot judge it (design, section 7).
    Kind("weight_decay", (DECAY,), Float(0.1, 10.0, log=True), "1/step", "medium"),
    Kind("momentum", (MOMENTUM, BETA1), Float(0.8, 1.1, log=True), "kept a step", "medium"),
    Kind("beta2", (BETA2,), Float(0.9, 1.01, log=True), "kept a step", "medium"),
    Kind("eps", (Place("eps"),), Float(0.01, 100.0, log=True), "gradient units", "medium"),
)


def present(optimizer: Optimizer) -> Iterator[tuple[Kind, Place]]:
    """List the knobs that an optimizer has, with their places.

    A value that is 0 in every group is left out, for a multiplier cannot move it; but a schedule
    may start at 0 and rise, so a rate of 0 is still a knob.
    """
    groups = optimizer.param_groups
    for kind in KINDS:
        for place in kind.places:
            if all(place.is_in(group) for group in groups):
                if kind.name == "lr" or any(number(place.get(g)) != 0 for g in groups):
                    yield kind, place
                break


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """List what an optimizer trains, group by group."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def highest(place: Place, group: dict[str, Any]) -> float:
    """Give the highest value that is known of a schedule: of a rate, that before any warm-up."""
    known = [place.get(group)]
    if place == RATE:
        known += [group[key] for key in ("initial_lr", "max_lr") if key in group]
    return max(map(number, known))


def decays_apart(optimizer: Optimizer) -> bool:
    """Say whether an optimizer's decay is rate x weight decay, apart from the gradient.

    True for AdamW, and for Adam, NAdam and RAdam with ``decoupled_weight_decay``; for Adafactor,
    Muon; and for plain SGD, whose penalty comes to the same.
    """
    if isinstance(optimizer, Adafactor | Muon):
        return True
    if isinstance(optimizer, SGD):
        return all(group["momentum"] == 0 for group in optimizer.param_groups)
    return all(group.get("decoupled_weight_decay") is True for group in optimizer.param_groups)


def number(value: Number) -> float:
    """Read a number that may be a tensor."""
    return float(value.detach() if isinstance(value, Tensor) else value)


# What schedules and knobs move, and what describes them: never put back, time moves forward.
SCHEDULED = frozenset(
    {"params", "param_names", "lr", "weight_decay", "momentum", "betas", "eps", "initial_lr"}
    | {"max_lr", "min_lr", "base_lr", "swa_lr", "max_momentum", "base_momentum"}
)


def own_entries(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Give what an optimizer itself keeps in its groups: counters, estimates; no schedule's values.

    Torch's own keep their state by parameter; others (Prodigy, schedule-free) count in the groups.
    """
    return [
        {key: value for key, value in group.items() if key not in SCHEDULED}
        for group in optimizer.param_groups
    ]


def put_own_entries(optimizer: Optimizer, entries: list[dict[str, Any]]) -> None:
    """Put back what `own_entries` gave; groups that were added since are left alone."""
    for group, own in zip(optimizer.param_groups, entries, strict=False):
        group.update(own)


def load_exactly(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's ``state_dict`` without an alias and without a loss.

    Torch makes the loaded tensors the live ones, so it gets copies; and it casts them to the dtype
    of their parameter, which a few (NAdam's, ASGD's) do not have.
    """
    optimizer.load_state_dict(copy.deepcopy(dict(state)))
    parameters = parameters_of(optimizer)
    numbers = [n for group in state["param_groups"] for n in group["params"]]
    for parameter, number in zip(parameters, numbers, strict=True):
        live = optimizer.state.get(parameter, {})
        for key, saved in state["state"].get(number, {}).items():
            is_cast = isinstance(saved, Tensor) and saved.dtype != live[key].dtype
            if is_cast:
                live[key] = saved.to(live[key].device, copy=True)
