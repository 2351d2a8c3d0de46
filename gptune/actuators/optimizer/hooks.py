"""The pair of hooks that scales an optimizer's values for the time of one step, and no longer.

A pre-hook scales the values, a post-hook puts the schedule's own back, also when a closure raises.
Outside of the step neither schedulers, nor ``state_dict()``, nor user code see the change, so it
is exact under any schedule: writing ``group["lr"]`` fails under most of them.
"""

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gptune.actuators.optimizer.places import DECAY, RATE, Number, Place, decays_apart
from gptune.errors import ActuatorError
from gptune.records import Reason


@dataclass(frozen=True, slots=True)
class Lever:
    """What one multiplier scales: a place, in one parameter group or in all of them."""

    place: Place
    group: int | None = None


# One value that a step uses in place of the schedule's: group, place, before, scaled, factor.
# A plain tuple: this is made anew at every step.
Held = tuple[dict[str, Any], Place, Any, Any, float]
Active = tuple[tuple[Place, int | None, float], ...]  # what is scaled: place, group or all, factor

# Which hooks are installed in an optimizer; weak, so that this table keeps nothing alive.
_AT_WORK: "weakref.WeakKeyDictionary[Optimizer, weakref.ref[StepHooks]]"
_AT_WORK = weakref.WeakKeyDictionary()


class StepHooks:
    """The hooks of one optimizer, shared by its knobs.

    A copy, by ``copy.deepcopy`` or pickle, belongs to the copied optimizer, holds the same
    multipliers, and acts again once it is attached.

    Args:
        optimizer: A torch optimizer.
        compensate: Divide the weight decay by the learning rate's multiplier, so that the decay
            in force, rate x weight decay, stays the schedule's.

    Raises:
        ActuatorError: If it is something else, has no parameters, or its decay is no product of
            rate and weight decay although ``compensate`` asks for it.
    """

    def __init__(self, optimizer: Optimizer, *, compensate: bool = False) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ActuatorError(
                f"optimizer: must be a torch.optim.Optimizer, got {type(optimizer).__name__}; "
                "pass the torch optimizer that the wrapper holds"
            )
        if not isinstance(getattr(optimizer, "_optimizer_step_pre_hooks", None), dict):
            raise ActuatorError(
                f"optimizer: {type(optimizer).__name__} was made without torch's own __init__, so "
                "it takes no hooks; pass the torch optimizer that it wraps"
            )
        if not any(group["params"] for group in optimizer.param_groups):
            raise ActuatorError("optimizer: has no parameters; pass it after it was given some")
        if compensate and not decays_apart(optimizer):
            raise ActuatorError(
                f"optimizer: compensate_weight_decay needs a decay of rate x weight_decay, which "
                f"{type(optimizer).__name__} has not here; use AdamW, or leave it out"
            )
        self.optimizer = optimizer
        self.fired = 0  # steps seen
        self.last: dict[Lever, Number] = {}  # what the first group concerned used in its last step
        self.faults: dict[Place, Reason] = {}  # why that was not multiplier x schedule, if so
        self._compensate = compensate
        self._factors: dict[Lever, float] = {}  # only those that are not 1
        self._active: Active = ()
        self._in_step: Active = ()
        self._watched: list[Lever] = []
        self._held: list[Held] = []
        self._inside = 0  # closures that run now
        self._depth = 0  # steps within a step, of an optimizer that calls another one's
        self._handles: list[Any] = []
        self._untraced: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": [], "_untraced": None, "_inside": 0, "_depth": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.heal()  # the optimizer may have been copied within a step, or after a failed one

    def factor(self, lever: Lever) -> float:
        """Give a multiplier in force."""
        return self._factors.get(lever, 1.0)

    def put(self, lever: Lever, factor: float) -> None:
        """Put a multiplier in force from the next step on."""
        if factor == 1.0:  # nothing is held then: the run is bit-identical to an untuned one
            self._factors.pop(lever, None)
        else:
            self._factors[lever] = factor
        active = [(one.place, one.group, value) for one, value in self._factors.items()]
        if self._compensate:
            rates = {one: value for one, value in self._factors.items() if one.place == RATE}
            active += [(DECAY, one.group, 1.0 / value) for one, value in rates.items()]
        self._active = tuple(active)

    def watch(self, lever: Lever) -> None:
        """Note from now on what each step uses there."""
        if lever not in self._watched:
            self._watched.append(lever)

    def attach(self) -> None:
        """Install the hooks, once.

        Raises:
            ActuatorError: If another Tuner is at work on the optimizer: two would compound.
        """
        if not self._is_installed():
            self.detach()
            other = _AT_WORK.get(self.optimizer, lambda: None)()
            if other is not None and other is not self and other._handles:
                raise ActuatorError(
                    "optimizer: another Tuner, or another list of its knobs, is attached to it; "
                    "close that one first, for two would scale each other's values"
                )
            _AT_WORK[self.optimizer] = weakref.ref(self)
            disable = torch.compiler.disable  # here, for it loads a compiler; so did the optimizer
            self._untraced = disable(self._scale), disable(self._unscale)  # type: ignore[no-untyped-call]
            self._handles = [
                self.optimizer.register_step_pre_hook(self._before),
                self.optimizer.register_step_post_hook(self._after),
                self.optimizer.register_state_dict_pre_hook(self._before_saving),
                self.optimizer.register_state_dict_post_hook(self._after_saving),
            ]
            # First of all hooks: another one may step a scheduler, which must see its own rate.
            _, after, *_ = self._handles
            after.hooks_dict_ref().move_to_end(after.id, last=False)

    def _is_installed(self) -> bool:
        """Say whether the hooks are there; somebody may have cleared them."""
        hooks = [(handle.id, handle.hooks_dict_ref()) for handle in self._handles]
        return bool(hooks) and all(number in (there or {}) for number, there in hooks)

    def detach(self) -> None:
        """Remove the hooks, and whatever they hold."""
        self.heal()
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def heal(self) -> None:
        """Put back what a step that raised had left scaled, unless somebody wrote there since.

        Within a closure nothing is put back, for its step is still going on.
        """
        if not self._inside:
            self._depth = 0
            self._put_back()

    def _put_back(self) -> None:
        for group, place, before, scaled, factor in reversed(self._held):
            live = place.get(group)
            if not isinstance(before, Tensor):
                if live == scaled:
                    place.put(group, before)
            elif isinstance(live, Tensor) and torch.equal(live.detach(), before * factor):
                live.detach().copy_(before)
        self._held = []

    # A compiled step must call the hooks, not trace them: each multiplier would make a graph of
    # its own. Disabling costs 10 us a call, so only a step that is being compiled pays for it.

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if torch.compiler.is_compiling() and self._untraced is not None:
            return self._untraced[0](args, kwargs)
        return self._scale(args, kwargs)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if torch.compiler.is_compiling() and self._untraced is not None:
            self._untraced[1]()
        else:
            self._unscale()

    # A state that is saved shows the schedule, also within a closure, whose step goes on scaled.

    def _before_saving(self, optimizer: Optimizer) -> None:
        self._put_back()

    def _after_saving(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        if not self._inside:
            return
        for place in {place for place, _, _ in self._in_step}:
            for group in state["param_groups"]:  # a tensor there is the live one
                value = place.get(group)
                place.put(group, value.clone() if isinstance(value, Tensor) else value)
        self._hold(optimizer.param_groups, self._in_step)

    def _scale(self, args: Any, kwargs: Any) -> Any:
        if self._held and not self._enter():
            return None
        self.faults.clear()
        self.fired += 1
        groups = self.optimizer.param_groups
        self._in_step = self._active  # a closure may change what is in force from the next step on
        if self._active:
            self._hold(groups, self._active)
        self._note(groups)
        # A closure may raise; then the post-hook is never called, and healing must not wait.
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._healing(args[1]), *args[2:]), kwargs
        if callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._healing(kwargs["closure"])}
        return None

    def _enter(self) -> bool:
        """Say whether a step begins, not one within another, while values are still scaled."""
        if self._inside or _nests(self.optimizer):
            self._depth += 1
            return False
        self.heal()  # the step before has raised
        return True

    def _healing(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def healing() -> Any:
            ended = False
            self._inside += 1
            try:
                loss = closure()
                ended = True
                return loss
            finally:
                self._inside -= 1
                if not ended:
                    self.heal()

        return healing

    def _note(self, groups: list[dict[str, Any]]) -> None:
        last = self.last
        for lever in self._watched:
            value = lever.place.get(groups[lever.group or 0])
            last[lever] = value.detach().clone() if isinstance(value, Tensor) else value

    def _hold(self, groups: list[dict[str, Any]], active: Active) -> None:
        for place, only, factor in active:
            seen: set[int] = set()  # a tensor rate may be shared by all groups: scale it once
            for group in groups if only is None else groups[only : only + 1]:
                value = place.get(group)
                if not isinstance(value, Tensor):
                    scaled = value * factor
                    if scaled < place.below:
                        place.put(group, scaled)
                        self._held.append((group, place, value, scaled, factor))
                    else:  # a schedule has risen since it was validated
                        self.faults[place] = Reason.BOUNDS
                elif id(value) not in seen:
                    seen.add(id(value))
                    live = value.detach()  # shares its memory; a rate may want a gradient
                    before = live.clone()
                    self._held.append((group, place, before, live, factor))
                    live.mul_(factor)
                    if place.below < math.inf:  # no comparison in Python: it would wait for a GPU
                        live.copy_(torch.where(live < place.below, live, before))

    def _unscale(self) -> None:
        """Put back after a step that ended well; no comparison of tensors, so no device sync."""
        if self._depth:
            self._depth -= 1
            return
        for group, place, before, scaled, _ in reversed(self._held):
            if isinstance(before, Tensor):
                scaled.copy_(before)
            elif place.get(group) is scaled:
                place.put(group, before)
            else:
                self.faults[place] = Reason.OVERWRITTEN
        self._held.clear()


def _nests(optimizer: Optimizer) -> bool:
    """Say whether a step of this kind of optimizer calls another's, whose hooks fire too."""
    steps = [vars(kind).get("step") for kind in type(optimizer).__mro__]
    return sum(getattr(step, "hooked", False) is True for step in steps) > 1
