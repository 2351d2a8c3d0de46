"""Learning rate, weight decay, momentum, betas and eps of a torch optimizer, as multipliers."""

import sys
from collections.abc import Collection
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, CyclicLR, OneCycleLR, SequentialLR

from gptune.actuators.optimizer.hooks import Lever, StepHooks
from gptune.actuators.optimizer.places import (
    BETA1,
    DECAY,
    MOMENTUM,
    RATE,
    Kind,
    Place,
    highest,
    number,
    present,
)
from gptune.actuators.together import Together
from gptune.errors import ActuatorError
from gptune.records import Float, Reason, Scalar


class OptimizerKnob:
    """One hyperparameter of an optimizer as a multiplier on the user's schedule.

    Its value is the multiplier; 1 leaves the optimizer alone. A knob of all groups keeps the
    ratios between them.
    """

    def __init__(self, hooks: StepHooks, kind: Kind, lever: Lever, name: str) -> None:
        self._hooks, self._kind, self._lever, self._name = hooks, kind, lever, name
        self._owner: str | None = None
        self._whole = name

    @property
    def name(self) -> str:
        """Its family, e.g. ``opt.lr``; of one parameter group, ``opt.lr[0]``."""
        return self._name

    @property
    def aliases(self) -> tuple[str, ...]:
        """What a recipe may call it, the closest first: its name, or that of more than itself."""
        names = (self._name, self._whole, *(n.partition("[")[0] for n in (self._name, self._whole)))
        return tuple(dict.fromkeys(names))

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer that it belongs to."""
        return self._hooks.optimizer

    @property
    def group(self) -> int | None:
        """The parameter group that it moves; ``None`` for all."""
        return self._lever.group

    @property
    def unit(self) -> str:
        """Unit of the scheduled and effective value; the multiplier itself has none."""
        return self._kind.unit

    @property
    def risk(self) -> str:
        """How dangerous a change is: low | medium | high."""
        return self._kind.risk

    @property
    def owner(self) -> str | None:
        """The scheduler that moves this value too, if it is not the learning rate."""
        return self._owner

    def describe_space(self) -> Float:
        """Give the range of the multiplier."""
        return self._kind.space

    def read(self) -> float:
        """Give the multiplier in force."""
        return self._hooks.factor(self._lever)

    def snapshot(self) -> float:
        """Give what `restore` needs: the multiplier; the optimizer itself is never changed."""
        return self.read()

    def validate(self, value: Scalar) -> str | None:
        """Complain about a multiplier that is no positive number, or whose effect is impossible."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{self._name}: must be a number, got {value!r}"
        if not 0 < value <= sys.float_info.max:
            return f"{self._name}: must be finite and positive, got {value!r}"
        below, largest = self._lever.place.below, max(self._scheduled())
        if not largest * value < below:
            return f"{self._name}: {largest:g} x {value:g} must stay below {below:g}"
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

    def multiplier_for(self, target: float) -> float:
        """Give the multiplier that makes the schedule's value of now the target.

        Raises:
            ActuatorError: If the target is no positive number, if that value is 0, or if a
                scheduler cycles it.
        """
        scheduled = self.scheduled()
        is_number = isinstance(target, int | float) and not isinstance(target, bool)
        if not is_number or not 0 < target <= sys.float_info.max:
            raise ActuatorError(f"{self._name}: a target must be a positive number, got {target!r}")
        if self._owner is not None:
            raise ActuatorError(
                f"{self._name}: {self._owner} cycles it, so {target!r} would not last; "
                "give a multiplier"
            )
        if scheduled == 0:
            raise ActuatorError(
                f"{self._name}: the schedule's value is 0 now, which no multiplier turns into "
                f"{target!r}; wait until the schedule has risen, or give a multiplier"
            )
        factor = target / scheduled
        complaint = self.validate(factor)
        if complaint:
            raise ActuatorError(complaint)
        return factor

    def restore(self, snapshot: object) -> None:
        """Put a multiplier back in force."""
        self._hooks.put(self._lever, float(snapshot))  # type: ignore[arg-type]

    def attach(self) -> None:
        """Install the optimizer's hooks, and note what each step uses."""
        self._hooks.attach()
        self._hooks.watch(self._lever)

    def detach(self) -> None:
        """Remove the optimizer's hooks."""
        self._hooks.detach()

    def heal(self) -> None:
        """Put back what a step that raised had left scaled."""
        self._hooks.heal()

    def scheduled(self) -> float:
        """Give the schedule's value, in the first group that the knob moves."""
        return self._scheduled()[0]

    def effective(self) -> float | None:
        """Give what that group used in the last step; ``None`` before the first."""
        last = self._hooks.last.get(self._lever)
        return None if last is None else float(last)

    def fired(self) -> int:
        """Count the optimizer's steps since the hooks were made [steps]."""
        return self._hooks.fired

    def fault(self) -> Reason | None:
        """Say why the last step did not use multiplier x schedule; ``None`` if it did."""
        return self._hooks.faults.get(self._lever.place)

    def reference(self) -> float:
        """Give the highest value of the schedule that is known, in the first group that it moves.

        Of a rate that is what the optimizer was made with, or the peak of a cycle; absolute
        targets are relative to it.
        """
        return highest(self._lever.place, self._groups()[0])

    def joins(self, whole: str) -> None:
        """Take note that it is set together with others."""
        self._whole = whole

    def cycled_by(self, scheduler: object) -> None:
        """Take note of the user's scheduler: one that cycles momentum owns that value."""
        if self._lever.place in (MOMENTUM, BETA1):
            owner = momentum_owner(scheduler, self._hooks.optimizer)
            self._owner = owner or self._owner

    def _scheduled(self) -> list[float]:
        return [number(self._lever.place.get(group)) for group in self._groups()]

    def _groups(self) -> list[dict[str, Any]]:
        groups, only = self._hooks.optimizer.param_groups, self._lever.group
        return groups if only is None else groups[only : only + 1]


OptimizerActuator = OptimizerKnob | Together[OptimizerKnob]


def optimizer_actuators(
    optimizer: Optimizer,
    name: str = "opt",
    *,
    per_group: Collection[str] = (),
    scheduler: object = None,
    compensate_weight_decay: bool = False,
) -> list[OptimizerActuator]:
    """Make the knobs of an optimizer: ``lr``, ``weight_decay``, ``momentum`` or ``betas``, ``eps``.

    Knobs that the optimizer does not have, or whose value is 0 everywhere (a multiplier cannot
    move it), are left out. ``betas`` sets both betas at once; a Tuner moves them one by one, as
    ``opt.momentum`` (the first beta is Adam's momentum) and ``opt.beta2``.

    AdamW's decay is ``lr * weight_decay``, so scaling the rate scales it too, unless
    ``compensate_weight_decay`` divides the weight decay by the rate's multiplier.

    Args:
        optimizer: A torch optimizer.
        name: The first part of the families: ``opt.lr`` and so on.
        per_group: Names of knobs to be made for each parameter group: ``opt.lr[0]`` and so on.
            Groups that are added later are not among them.
        scheduler: The learning-rate scheduler, or a list of several: one that cycles momentum, as
            `OneCycleLR` does, is noted as that knob's owner.
        compensate_weight_decay: Keep the product of rate and weight decay on the schedule.

    Raises:
        ActuatorError: If it is no torch optimizer, has no parameters, lacks a knob of
            ``per_group``, or shares one tensor among the groups that are to differ.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> [k.name for k in optimizer_actuators(torch.optim.Adam(model.parameters()))]
        ['opt.lr', 'opt.eps', 'opt.betas']
    """
    hooks = StepHooks(optimizer, compensate=compensate_weight_decay)
    there = list(present(optimizer))
    _check_split(optimizer, there, per_group, compensate=compensate_weight_decay)
    made: list[OptimizerActuator] = []
    betas: list[list[OptimizerKnob]] = []
    for kind, place in there:
        splits = _public_name(kind, place) in per_group
        groups = range(len(optimizer.param_groups)) if splits else [None]
        knobs = [
            OptimizerKnob(hooks, kind, Lever(place, group), f"{name}.{kind.name}{_suffix(group)}")
            for group in groups
        ]
        for knob in knobs:
            knob.cycled_by(scheduler)
        if place.key == "betas":
            betas.append(knobs)
        else:
            made.extend(knobs)
    return made + [_join(name, parts) for parts in zip(*betas, strict=True)]


def _suffix(group: int | None) -> str:
    return "" if group is None else f"[{group}]"


def _public_name(kind: Kind, place: Place) -> str:
    return "betas" if place.key == "betas" else kind.name


def _join(name: str, parts: tuple[OptimizerKnob, ...]) -> OptimizerActuator:
    """Make one knob of both betas; one that is 0 is not there, and then the other is alone."""
    if len(parts) == 1:
        return parts[0]
    whole = f"{name}.betas{_suffix(parts[0].group)}"
    for part in parts:
        part.joins(whole)
    return Together(whole, parts)


def _check_split(
    optimizer: Optimizer,
    there: list[tuple[Kind, Place]],
    per_group: Collection[str],
    *,
    compensate: bool,
) -> None:
    names = list(dict.fromkeys(_public_name(kind, place) for kind, place in there))
    is_list = isinstance(per_group, Collection) and not isinstance(per_group, str)
    if not is_list or set(per_group) - set(names):
        raise ActuatorError(
            f"per_group: must list knobs of this optimizer ({', '.join(names)}), got {per_group!r}"
        )
    split = {place for kind, place in there if _public_name(kind, place) in per_group}
    if compensate and RATE in split:
        split.add(DECAY)  # each group's rate divides that group's decay
    for place in (place for _, place in there if place in split):
        values = [place.get(group) for group in optimizer.param_groups]
        tensors = [id(value) for value in values if isinstance(value, Tensor)]
        if len(set(tensors)) < len(tensors):
            raise ActuatorError(
                f"per_group: the groups share one tensor as {place.key!r}, so they cannot differ; "
                "give each group a tensor of its own, or tune all groups together"
            )


def momentum_owner(scheduler: object, optimizer: Optimizer) -> str | None:
    """Name the scheduler that cycles an optimizer's momentum, one inside another included."""
    if isinstance(scheduler, SequentialLR | ChainedScheduler):
        scheduler = scheduler._schedulers
    if isinstance(scheduler, list | tuple):
        owners = (momentum_owner(inner, optimizer) for inner in scheduler)
        return next((owner for owner in owners if owner), None)
    if isinstance(scheduler, OneCycleLR | CyclicLR) and scheduler.optimizer is optimizer:
        return type(scheduler).__name__ if scheduler.cycle_momentum else None
    return None
