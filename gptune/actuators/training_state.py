"""The whole training state: a copy in memory to go back to, and a form to resume from.

Two kinds of going back. *In a run* (`TrainingState.restore`) model, optimizers, scaler and extras
go back to a snapshot; the schedule, the step count, the data and the chance do not: time only
moves forward, so a schedule of ``total_steps`` still ends at its end. *Resuming* in a new process
(`TrainingState.load_state_dict`) puts everything back.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from gptune.actuators import copies
from gptune.actuators.chance import get_chance, set_chance
from gptune.actuators.optimizer.places import own_entries, put_own_entries
from gptune.actuators.plain_state import check_plain
from gptune.actuators.protocol import Actuator
from gptune.errors import ActuatorError, StateError

MB = 10**6
SLOTS = ("last", "best")  # the ring: the newest good state, and the best


@runtime_checkable
class Stateful(Protocol):
    """What can be saved and put back: an averaged model, a loss with memory, a scheduler."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state."""
        ...

    def load_state_dict(self, state_dict: Any) -> object:
        """Put a state back."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the training state in memory.

    Attributes:
        modules: Parameters, buffers and extra state of the model and of extras that are modules.
        optimizers: State by parameter, and what an optimizer keeps in its groups.
        others: The scaler's state, and that of other extras.
    """

    modules: copies.Copy
    optimizers: copies.Copy
    others: copies.Copy

    @property
    def nbytes(self) -> int:
        """Size [bytes]."""
        return self.modules.nbytes + self.optimizers.nbytes + self.others.nbytes


class TrainingState:
    """All that a training step changes: model, optimizers, scaler, extras.

    Args:
        model: The model; several as an `nn.ModuleList`.
        optimizers: Its optimizer, or several.
        scheduler: Part of the form to resume from alone.
        scaler: The gradient scaler, if there is one.
        extras: Name -> whatever else learns and has ``state_dict`` and ``load_state_dict``: an
            averaged model, a criterion with weights.
        budget_mb: Most memory that the snapshots together may take [10^6 bytes]; no limit if
            ``None``.

    Raises:
        StateError: If one of them is of another kind, or the budget is not positive.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1)
        >>> state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> state.save("last")
        >>> nn.init.constant_(model.weight, float("nan")).isnan().item()
        True
        >>> state.restore("last")
        >>> model.weight.isnan().item()
        False
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizer | Iterable[Optimizer],
        *,
        scheduler: Stateful | None = None,
        scaler: GradScaler | None = None,
        extras: Mapping[str, Stateful] | None = None,
        budget_mb: float | None = None,
    ) -> None:
        given = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)
        self.model, self.optimizers, self.scheduler = model, given, scheduler
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.extras = dict(extras or {})
        self._budget = budget_mb
        self._snapshots: dict[str, Snapshot] = {}
        _check_kinds(self)

    @property
    def nbytes(self) -> int:
        """Size of a snapshot made now [bytes]."""
        return sum(copies.size(part) for part in self._live())

    @property
    def saved(self) -> tuple[str, ...]:
        """The snapshots that are there."""
        return tuple(self._snapshots)

    def save(self, slot: str = "last") -> None:
        """Copy the state into a slot of the ring; what was there before is written over.

        Args:
            slot: ``last`` or ``best``.

        Raises:
            StateError: If the snapshots would exceed the budget, or the model was never run;
                what the slot held is kept.
        """
        _check_slot(slot)
        _check_initialised(self._modules())
        self._check_budget(slot)
        old = self._snapshots.get(slot)
        before = (old.modules, old.optimizers, old.others) if old else (None, None, None)
        made = [copies.take(live, into) for live, into in zip(self._live(), before, strict=True)]
        self._snapshots[slot] = Snapshot(*made)

    def restore(self, slot: str = "last", knobs: Iterable[Actuator] = ()) -> None:
        """Go back to a snapshot, in place; it stays as it is, so that it serves again.

        Not put back: scheduler, step count, chance, data, and what schedules move in the
        optimizer's groups. The knobs keep the values that they have now, also where they live in
        the model, and are read back.

        Args:
            slot: ``last`` or ``best``.
            knobs: The actuators at work.

        Raises:
            StateError: If there is no such snapshot, or the model has other parameters by now;
                nothing is changed then.
            ActuatorError: If a knob did not keep its value; the state is restored all the same.
        """
        _check_slot(slot)
        if slot not in self._snapshots:
            raise StateError(f"restore: there is no snapshot {slot!r}; call save({slot!r}) before")
        snapshot = self._snapshots[slot]
        _check_parameters(snapshot.modules, self._modules())
        held = [(knob, knob.read(), knob.snapshot()) for knob in knobs]
        self._put(snapshot)
        lost = [knob.name for knob, value, saved in held if not _keep(knob, value, saved)]
        if lost:
            raise ActuatorError(f"restore: {', '.join(lost)} did not keep the value in force")

    def forget(self) -> None:
        """Give the memory of all snapshots back."""
        self._snapshots.clear()

    def state_dict(self) -> dict[str, Any]:
        """Give everything that a new process needs, the scheduler and all chance included.

        Save it at once with ``torch.save``: as torch's own, it shares memory with the live state.
        It loads with ``torch.load(..., weights_only=True)``.

        Raises:
            StateError: If a part of it is no plain data, naming the part.
        """
        checked: dict[str, Any] = check_plain("state_dict", self._everything())
        return checked

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put everything back that `state_dict` gave.

        The optimizers' hooks, and so the multipliers in force, stay. Should a part refuse its
        state, all others are put back as they were.

        Raises:
            StateError: If it is of another version, or lacks a part, or has one too many.
        """
        expected = {"version", "model", "optimizers", "chance", *(n for n, _ in self._parts())}
        if not isinstance(state, Mapping) or state.get("version") != 1 or set(state) != expected:
            found = sorted(state) if isinstance(state, Mapping) else state
            raise StateError(
                f"load_state_dict: must be what TrainingState.state_dict gave, version 1 with "
                f"{sorted(expected)}, got {found!r}; make this TrainingState as that one was made"
            )
        if len(state["optimizers"]) != len(self.optimizers):
            raise StateError(
                f"load_state_dict: has {len(state['optimizers'])} optimizers, here there are "
                f"{len(self.optimizers)}; pass the same ones, in the same order"
            )
        before, done = copies.take(self._everything()), False
        try:
            self._load(state)
            done = True
        finally:
            if not done:
                self._load(copies.put(before, None))

    def _everything(self) -> dict[str, Any]:
        return {
            "version": 1,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "chance": get_chance(),
            **{name: part.state_dict() for name, part in self._parts()},
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            # Torch makes the loaded tensors the live ones, so it gets a copy.
            optimizer.load_state_dict(copy.deepcopy(own))
        for name, part in self._parts():
            part.load_state_dict(copy.deepcopy(state[name]))
        set_chance(state["chance"])

    def _parts(self) -> Iterator[tuple[str, Stateful]]:
        """List what has a state of its own beside model and optimizers, by its key when saved."""
        if self.scheduler is not None:
            yield "scheduler", self.scheduler
        if self.scaler is not None:
            yield "scaler", self.scaler
        for name, extra in self.extras.items():
            yield f"extras.{name}", extra

    def _modules(self) -> dict[str, nn.Module]:
        modules = {n: extra for n, extra in self.extras.items() if isinstance(extra, nn.Module)}
        return {"": self.model, **modules}

    def _live(self) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
        """Give the live state: modules, optimizers, others."""
        modules = {name: _module_state(module) for name, module in self._modules().items()}
        optimizers = [(dict(o.state), own_entries(o)) for o in self.optimizers]
        others = {name: part.state_dict() for name, part in self._others()}
        return modules, optimizers, others

    def _others(self) -> Iterator[tuple[str, Stateful]]:
        for name, part in self._parts():
            if name != "scheduler" and not isinstance(part, nn.Module):
                yield name, part

    def _put(self, snapshot: Snapshot) -> None:
        modules, optimizers, _ = self._live()
        wanted = copies.put(snapshot.modules, modules)
        for name, module in self._modules().items():
            _put_module_state(module, wanted[name])
        for optimizer, (state, own) in zip(
            self.optimizers, copies.put(snapshot.optimizers, optimizers), strict=True
        ):
            optimizer.state.clear()
            optimizer.state.update(state)
            put_own_entries(optimizer, own)
        others = copies.put(snapshot.others, None)
        for name, part in self._others():
            part.load_state_dict(others[name])

    def _check_budget(self, slot: str) -> None:
        if self._budget is None:
            return
        kept = sum(old.nbytes for name, old in self._snapshots.items() if name != slot)
        needed = self.nbytes
        if kept + needed > self._budget * MB:
            raise StateError(
                f"snapshot {slot!r}: needs {needed / MB:.1f} MB beside {kept / MB:.1f} MB, but "
                f"budget_mb is {self._budget:g}; raise it, or keep fewer snapshots"
            )


def _module_state(module: nn.Module) -> dict[str, Any]:
    """Give a module's parameters, its buffers by owner (persistent or not), and extra state."""
    owners = dict(module.named_modules())
    return {
        "parameters": dict(module.named_parameters()),
        "buffers": {name: dict(owner._buffers) for name, owner in owners.items()},
        "extra": {
            name: owner.get_extra_state()
            for name, owner in owners.items()
            if type(owner).get_extra_state is not nn.Module.get_extra_state
        },
    }


def _put_module_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Put back what did not go back in place: buffers that were replaced, and extra state."""
    owners = dict(module.named_modules())
    for name, buffers in state["buffers"].items():
        live = owners[name]._buffers
        for key in [key for key in live if key not in buffers]:
            del live[key]
        live.update(buffers)
    for name, extra in state["extra"].items():
        owners[name].set_extra_state(extra)


def _keep(knob: Actuator, value: object, saved: object) -> bool:
    """Assert a knob's value again if the restore moved it; says whether it holds."""
    if _is_same(knob.read(), value):
        return True
    knob.restore(saved)
    return _is_same(knob.read(), value)


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _check_slot(slot: str) -> None:
    if slot not in SLOTS:
        raise StateError(f"snapshot: must be one of {SLOTS}, got {slot!r}")


def _check_initialised(modules: Mapping[str, nn.Module]) -> None:
    lazy = [n for m in modules.values() for n, p in m.named_parameters() if is_lazy(p)]
    if lazy:
        raise StateError(f"save: {lazy[:5]} have no shape yet; run the model once before")


def _check_parameters(saved: copies.Copy, modules: Mapping[str, nn.Module]) -> None:
    for name, module in modules.items():
        then, live = saved.layout[name], dict(module.named_parameters())
        odd = then["parameters"].keys() ^ live.keys()
        odd |= then["buffers"].keys() - {owner for owner, _ in module.named_modules()}
        for key in then["parameters"].keys() & live.keys():
            copied = saved.tensors[then["parameters"][key].number]
            if (copied.shape, copied.dtype) != (live[key].shape, live[key].dtype):
                odd.add(key)
        if odd:
            raise StateError(
                f"restore: the model is another one than was saved, it differs in "
                f"{sorted(odd)[:5]}; save again after a model is changed"
            )


def _check_kinds(state: TrainingState) -> None:
    if not isinstance(state.model, nn.Module):
        raise StateError(f"model: must be a torch.nn.Module, got {type(state.model).__name__}")
    if not state.optimizers or not all(isinstance(o, Optimizer) for o in state.optimizers):
        kinds = [type(optimizer).__name__ for optimizer in state.optimizers]
        raise StateError(f"optimizers: must be one torch optimizer or more, got {kinds}")
    for name, part in state._parts():
        if not isinstance(part, Stateful):
            raise StateError(
                f"{name}: must have state_dict and load_state_dict, got {type(part).__name__}"
            )
    if state._budget is not None and not 0 < state._budget < float("inf"):
        raise StateError(f"budget_mb: must be positive [10^6 bytes], got {state._budget!r}")
