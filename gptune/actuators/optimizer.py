"""Learning rate, weight decay and momentum of a torch optimizer, as multipliers in step hooks.

A pre-hook scales the values for the time of one ``optimizer.step()``, a post-hook puts the
schedule's own values back, also when a closure raises. Outside of the step neither schedulers, nor
``state_dict()``, nor user code see the change, so it is exact under any schedule: writing
``group["lr"]`` fails under most of them. This file is the only one that writes parameter groups.

What to know: ``group["lr"]`` outside of ``step()`` is the schedule's value; ask the knob for the
effective one. AdamW's decay is ``lr * weight_decay``, so scaling the rate scales it too.
"""

import math
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gptune.errors import ActuatorError
from gptune.records import Float, Scalar

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


# One value that a step uses in place of the schedule's: group, place, before, scaled, factor.
# A plain tuple: this is made anew at every step.
Held = tuple[dict[str, Any], Place, Any, Any, float]


@dataclass(frozen=True, slots=True)
class Kind:
    """A knob of an optimizer: its name, where it may stand, its range, what the value must obey."""

    name: str
    places: tuple[Place, ...]  # the first that the optimizer has
    space: Float


KINDS = (
    Kind("lr", (Place("lr"),), Float(0.01, 100.0, log=True)),
    Kind("weight_decay", (Place("weight_decay"),), Float(0.1, 10.0, log=True)),
    Kind(
        "momentum",
        (Place("momentum", below=1.0), Place("betas", 0, 1.0)),
        Float(0.8, 1.1, log=True),
    ),
    Kind("beta2", (Place("betas", 1, 1.0),), Float(0.9, 1.01, log=True)),
)


# Which hooks are installed in an optimizer. Weak both ways: it keeps nothing alive.
_AT_WORK: "weakref.WeakKeyDictionary[Optimizer, weakref.ref[StepHooks]]"
_AT_WORK = weakref.WeakKeyDictionary()


class StepHooks:
    """The pair of hooks of one optimizer, shared by its knobs.

    Args:
        optimizer: A torch optimizer.

    Raises:
        ActuatorError: If it is something else, or has no parameters.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ActuatorError(
                f"optimizer: must be a torch.optim.Optimizer, got {type(optimizer).__name__}; "
                "pass the torch optimizer that the wrapper holds"
            )
        if not any(group["params"] for group in optimizer.param_groups):
            raise ActuatorError("optimizer: has no parameters; pass it after it was given some")
        self.optimizer = optimizer
        self.factors: dict[Place, float] = {}  # only those that are not 1
        self.watched: list[Place] = []
        self.last: dict[Place, Number] = {}  # what the first group used in its last step
        self._held: list[Held] = []
        self._handles: list[Any] = []

    def attach(self) -> None:
        """Install the hooks, once.

        Raises:
            ActuatorError: If another Tuner is at work on the optimizer: two would compound.
        """
        if not self._handles:
            other = _AT_WORK.get(self.optimizer, lambda: None)()
            if other is not None and other._handles:
                raise ActuatorError(
                    "optimizer: another Tuner, or another list of its knobs, is attached to it; "
                    "close that one first, for two would scale each other's values"
                )
            _AT_WORK[self.optimizer] = weakref.ref(self)
            before = self.optimizer.register_step_pre_hook(self._scale)
            self._handles = [before, self.optimizer.register_step_post_hook(self._unscale)]

    def detach(self) -> None:
        """Remove the hooks, and whatever they hold."""
        self.heal()
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def heal(self) -> None:
        """Put back what a step that raised had left scaled, unless somebody wrote there since."""
        for group, place, before, scaled, factor in reversed(self._held):
            if isinstance(before, Tensor):
                if torch.equal(scaled, before * factor):
                    scaled.copy_(before)
            elif place.get(group) is scaled:
                place.put(group, before)
        self._held = []

    def _scale(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if self._held:
            self.heal()
        groups = optimizer.param_groups
        if self.factors:
            self._hold(groups)
        self._watch(groups)
        # A closure may raise; then the post-hook is never called, and healing must not wait.
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._healing(args[1]), *args[2:]), kwargs
        if callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._healing(kwargs["closure"])}
        return None

    def _healing(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def healing() -> Any:
            ended = False
            try:
                loss = closure()
                ended = True
                return loss
            finally:
                if not ended:
                    self.heal()

        return healing

    def _watch(self, groups: list[dict[str, Any]]) -> None:
        first, last = groups[0], self.last
        for place in self.watched:
            value = place.get(first)
            last[place] = value.detach().clone() if isinstance(value, Tensor) else value

    def _hold(self, groups: list[dict[str, Any]]) -> None:
        seen: set[int] = set()  # a tensor rate may be shared by all groups: scale it once
        for place, factor in self.factors.items():
            for group in groups:
                value = place.get(group)
                if not isinstance(value, Tensor):
                    scaled = value * factor
                    if scaled < place.below:  # a schedule may have risen since it was validated
                        place.put(group, scaled)
                        self._held.append((group, place, value, scaled, factor))
                elif id(value) not in seen:
                    seen.add(id(value))
                    live = value.detach()  # shares its memory; a rate may want a gradient
                    self._held.append((group, place, live.clone(), live, factor))
                    live.mul_(factor)

    def _unscale(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Put back after a step that ended well; no comparison of tensors, so no device sync."""
        for group, place, before, scaled, _ in reversed(self._held):
            if isinstance(before, Tensor):
                scaled.copy_(before)
            elif place.get(group) is scaled:
                place.put(group, before)
        self._held.clear()


class OptimizerKnob:
    """One hyperparameter of an optimizer, in all its groups, as a multiplier on the schedule.

    Its value is the multiplier; 1 leaves the optimizer alone. The ratios between the groups stay.
    """

    def __init__(self, hooks: StepHooks, kind: Kind, place: Place, family: str) -> None:
        self._hooks, self._kind, self._place = hooks, kind, place
        self._name = family
        hooks.watched.append(place)

    @property
    def name(self) -> str:
        """Its family, e.g. ``opt.lr``."""
        return self._name

    def describe_space(self) -> Float:
        """Give the range of the multiplier."""
        return self._kind.space

    def read(self) -> float:
        """Give the multiplier in force."""
        return self._hooks.factors.get(self._place, 1.0)

    def snapshot(self) -> float:
        """Give what `restore` needs: the multiplier; the optimizer itself is never changed."""
        return self.read()

    def validate(self, value: Scalar) -> str | None:
        """Complain about a multiplier that is no positive number, or whose effect is impossible."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{self._name}: must be a number, got {value!r}"
        if not 0 < value <= sys.float_info.max:
            return f"{self._name}: must be finite and positive, got {value!r}"
        largest = max(_float(self._place.get(g)) for g in self._hooks.optimizer.param_groups)
        if not largest * value < self._place.below:
            return f"{self._name}: {largest:g} x {value:g} must stay below {self._place.below:g}"
        return None

    def apply(self, value: Scalar) -> None:
        """Put a multiplier in force from the next step on.

        Raises:
            ActuatorError: If `validate` complains.
        """
        complaint = self.validate(value)
        if complaint:
            raise ActuatorError(complaint)
        self.restore(value)

    def restore(self, snapshot: object) -> None:
        """Put a multiplier back in force."""
        factor = float(snapshot)  # type: ignore[arg-type]
        if factor == 1.0:  # nothing is held then: the run is bit-identical to an untuned one
            self._hooks.factors.pop(self._place, None)
        else:
            self._hooks.factors[self._place] = factor

    def attach(self) -> None:
        """Install the optimizer's hooks."""
        self._hooks.attach()

    def detach(self) -> None:
        """Remove the optimizer's hooks."""
        self._hooks.detach()

    def heal(self) -> None:
        """Put back what a step that raised had left scaled."""
        self._hooks.heal()

    def scheduled(self) -> float:
        """Give the schedule's value in the first group."""
        return _float(self._place.get(self._hooks.optimizer.param_groups[0]))

    def effective(self) -> float | None:
        """Give the first group's value in the last step; ``None`` before the first."""
        last = self._hooks.last.get(self._place)
        return None if last is None else float(last)


def optimizer_actuators(optimizer: Optimizer, name: str = "opt") -> list[OptimizerKnob]:
    """Make the knobs of an optimizer: ``lr``, ``weight_decay``, ``momentum``, ``beta2``.

    Knobs that the optimizer does not have, or whose value is 0 everywhere (a multiplier cannot
    move it), are left out. ``momentum`` is the first beta where there are betas.

    Args:
        optimizer: A torch optimizer.
        name: The first part of the families: ``opt.lr`` and so on.

    Raises:
        ActuatorError: If it is no torch optimizer, or has no parameters.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> [k.name for k in optimizer_actuators(torch.optim.Adam(model.parameters()))]
        ['opt.lr', 'opt.momentum', 'opt.beta2']
    """
    hooks = StepHooks(optimizer)
    return [
        OptimizerKnob(hooks, kind, place, f"{name}.{kind.name}")
        for kind, place in _present(optimizer)
    ]


def _present(optimizer: Optimizer) -> Iterator[tuple[Kind, Place]]:
    for kind in KINDS:
        for place in kind.places:
            groups = optimizer.param_groups
            if all(place.key in group for group in groups):
                # A schedule may start at 0 and rise, so a rate of 0 is still a knob.
                if kind.name == "lr" or any(_float(place.get(g)) != 0 for g in groups):
                    yield kind, place
                break


def _float(value: Number) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)
