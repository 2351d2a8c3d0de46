"""The whole training state: a copy in memory to go back to, and a form to resume from.

Two kinds of going back. *In a run* (`TrainingState.restore`) model, optimizers, scaler and extras
go back to a snapshot; the schedule, the step count, the data and the chance do not: time only
moves forward, so a schedule of ``total_steps`` still ends at its end. *Resuming* in a new process
(`TrainingState.load_state_dict`) puts everything back.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from gptune.actuators import copies
from gptune.actuators.chance import get_chance, set_chance
from gptune.actuators.module_state import check_initialised, module_state, put_module_state
from gptune.actuators.optimizer.places import (
    load_exactly,
    own_entries,
    parameters_of,
    put_own_entries,
)
from gptune.actuators.parts import (
    Stateful,
    checked_budget,
    checked_extras,
    checked_knobs,
    checked_model,
    checked_optimizers,
    checked_scaler,
    checked_schedulers,
    named,
)
from gptune.actuators.plain_state import check_plain
from gptune.actuators.protocol import Actuator
from gptune.actuators.together import call_all
from gptune.errors import ActuatorError, StateError

MB = 10**6
LOOSE = "(optimizers)"  # where parameters stand that an optimizer trains and no module holds
RING = ("last", "best")  # the newest good state, and the best
SLOTS = (*RING, "origin", "ahead")  # and what a look ahead starts from, and would go on with


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the training state in memory.

    Attributes:
        parameters: Those of the model, and of extras that are modules.
        modules: Their buffers and extra state.
        optimizers: State by parameter, and what an optimizer keeps in its groups.
        others: The scaler's state, and that of other extras.
    """

    parameters: copies.Copy
    modules: copies.Copy
    optimizers: copies.Copy
    others: copies.Copy

    def parts(self) -> tuple[copies.Copy, copies.Copy, copies.Copy, copies.Copy]:
        """List the parts."""
        return self.parameters, self.modules, self.optimizers, self.others

    @property
    def nbytes(self) -> int:
        """Size [bytes]."""
        return sum(part.nbytes for part in self.parts())


class TrainingState:
    """All that a training step changes: model, optimizers, scaler, extras.

    Args:
        model: The model; several as an `nn.ModuleList`.
        optimizers: Its optimizer, or several.
        scheduler: The learning-rate scheduler, or several: part of the form to resume from alone.
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
        optimizers: Optimizer | Sequence[Optimizer],
        *,
        scheduler: Stateful | Sequence[Stateful] | None = None,
        scaler: GradScaler | None = None,
        extras: Mapping[str, Stateful] | None = None,
        budget_mb: float | None = None,
    ) -> None:
        self.model, self.schedulers = checked_model(model), checked_schedulers(scheduler)
        self.optimizers = checked_optimizers(optimizers)
        self.scaler = checked_scaler(scaler)
        self.extras = checked_extras(extras)
        self._budget = checked_budget(budget_mb)
        self._snapshots: dict[str, Snapshot] = {}

    @property
    def nbytes(self) -> int:
        """Size of a snapshot made now [bytes]."""
        return sum(copies.size(part) for part in self._live())

    @property
    def saved(self) -> tuple[str, ...]:
        """The snapshots that are there."""
        return tuple(self._snapshots)

    def save(self, slot: str = "last") -> None:
        """Copy the state into a slot; what was there before is written over.

        Args:
            slot: ``last`` or ``best``; ``origin`` and ``ahead`` serve a look ahead.

        Raises:
            StateError: If the snapshots would exceed the budget, or the model was never run;
                what the slot held is kept.
        """
        _check_slot(slot)
        for module in self._modules().values():
            check_initialised(module)
        parted = [copies.split(live) for live in self._live()]
        self._check_budget(slot, sum(part.nbytes for part in parted))
        old = self._snapshots.pop(slot, None)  # half written over, it would be no state at all
        before = old.parts() if old else (None, None, None, None)
        self._snapshots[slot] = Snapshot(*map(copies.store, parted, before))

    def restore(self, slot: str = "last", knobs: Iterable[Actuator] = ()) -> None:
        """Go back to a snapshot, in place; it stays as it is, so that it serves again.

        Not put back: scheduler, step count, chance, data, and what schedules move in the
        optimizer's groups. The knobs keep the values that they have now, also where they live in
        the model, and are read back.

        Args:
            slot: One that `save` filled.
            knobs: The actuators at work.

        Raises:
            StateError: If there is no such snapshot, or the model has other parameters by now;
                nothing is changed then.
            ActuatorError: If a knob did not keep its value. What a knob raises passes. The state is
                restored all the same, and the other knobs keep their values.
        """
        _check_slot(slot)
        if slot not in self._snapshots:
            raise StateError(f"restore: there is no snapshot {slot!r}; call save({slot!r}) before")
        snapshot = self._snapshots[slot]
        _check_same(snapshot, self._modules(), self._parameters())
        held = [(knob, knob.read(), knob.snapshot()) for knob in checked_knobs(knobs)]
        lost: list[str] = []
        keeping = [partial(_keep, knob, value, saved, lost) for knob, value, saved in held]
        call_all([partial(self._put, snapshot), *keeping])
        if lost:
            raise ActuatorError(f"restore: {', '.join(lost)} did not keep the value in force")

    def is_sound(self) -> bool:
        """Say whether parameters, buffers and optimizers are finite; waits for the device.

        An infinite number in a buffer may be meant so (a mask, a bound): there only NaN counts.
        """
        parameters, modules, optimizers, _ = map(copies.split, self._live())
        learnt = (*parameters.tensors, *optimizers.tensors)
        return copies.are_finite(learnt) and not copies.hold_nan(modules.tensors)

    def forget(self, slots: Iterable[str] = SLOTS) -> None:
        """Give the memory of snapshots back."""
        for slot in slots:
            self._snapshots.pop(slot, None)

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
            StateError: If it is of another version, or lacks a part, or has one too many; or if a
                part refuses its state, naming the part.
        """
        expected = set(self._everything())
        if not isinstance(state, Mapping) or state.get("version") != 1 or set(state) != expected:
            found = sorted(map(str, state)) if isinstance(state, Mapping) else state
            raise StateError(
                f"load_state_dict: must be what TrainingState.state_dict gave, version 1 with "
                f"{sorted(expected)}, got {found!r}; make this TrainingState as that one was made"
            )
        given = state["optimizers"]
        if not isinstance(given, list | tuple) or len(given) != len(self.optimizers):
            count = len(given) if isinstance(given, list | tuple) else repr(given)
            raise StateError(
                f"load_state_dict: has {count} optimizers, here there are "
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
        loose = {name: tensor.detach() for name, tensor in self._parameters()[LOOSE].items()}
        return {
            "version": 1,
            **({LOOSE: loose} if loose else {}),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "chance": get_chance(),
            **{name: part.state_dict() for name, part in self._parts()},
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        with named("model"):
            self.model.load_state_dict(state["model"])
        with named(LOOSE):
            copies.put(copies.take(state.get(LOOSE, {})), self._parameters()[LOOSE])
        for i, (one, own) in enumerate(zip(self.optimizers, state["optimizers"], strict=True)):
            with named(f"optimizers[{i}]"):
                load_exactly(one, own)
        for name, part in self._parts():
            with named(name):
                part.load_state_dict(copy.deepcopy(state[name]))
        with named("chance"):
            set_chance(state["chance"])

    def _parts(self) -> Iterator[tuple[str, Stateful]]:
        """List what has a state of its own beside model and optimizers, by its key when saved."""
        yield from self.schedulers.items()
        if self.scaler is not None:
            yield "scaler", self.scaler
        for name, extra in self.extras.items():
            yield f"extras.{name}", extra

    def _modules(self) -> dict[str, nn.Module]:
        modules = {n: extra for n, extra in self.extras.items() if isinstance(extra, nn.Module)}
        return {"": self.model, **modules}

    def _live(self) -> tuple[Any, Any, Any, Any]:
        """Give the live state, in the parts of a `Snapshot`."""
        modules = self._modules()
        return (
            self._parameters(),
            {name: module_state(module) for name, module in modules.items()},
            [(dict(o.state), own_entries(o)) for o in self.optimizers],
            {name: part.state_dict() for name, part in self._others()},
        )

    def _parameters(self) -> dict[str, dict[str, Tensor]]:
        """Give every parameter: those of the modules, and what the optimizers train beside them."""
        named: dict[str, dict[str, Tensor]] = {
            name: dict(module.named_parameters()) for name, module in self._modules().items()
        }
        known = {id(tensor) for tensors in named.values() for tensor in tensors.values()}
        return {**named, LOOSE: self._loose(known)}

    def _loose(self, known: set[int]) -> dict[str, Tensor]:
        return {
            f"{i}.{j}": tensor
            for i, optimizer in enumerate(self.optimizers)
            for j, tensor in enumerate(parameters_of(optimizer))
            if id(tensor) not in known
        }

    def _others(self) -> Iterator[tuple[str, Stateful]]:
        for name, part in self._parts():
            if name not in self.schedulers and not isinstance(part, nn.Module):
                yield name, part

    def _put(self, snapshot: Snapshot) -> None:
        parameters, modules, optimizers, _ = self._live()
        copies.put(snapshot.parameters, parameters)
        wanted = copies.put(snapshot.modules, modules, only_home=True)
        for name, module in self._modules().items():
            put_module_state(module, wanted[name])
        states = copies.put(snapshot.optimizers, optimizers, only_home=True)
        for optimizer, (state, own) in zip(self.optimizers, states, strict=True):
            for inner in _strangers(optimizer, state):
                inner.clear()  # what `optimizer.state_dict` gave meanwhile holds it too
            optimizer.state.clear()
            optimizer.state.update(state)
            put_own_entries(optimizer, own)
        others = copies.put(snapshot.others, None)
        call_all([partial(part.load_state_dict, others[name]) for name, part in self._others()])

    def _check_budget(self, slot: str, needed: int) -> None:
        if self._budget is None:
            return
        kept = sum(old.nbytes for name, old in self._snapshots.items() if name != slot)
        if kept + needed > self._budget * MB:
            raise StateError(
                f"snapshot {slot!r}: needs {needed / MB:.1f} MB beside {kept / MB:.1f} MB, but "
                f"budget_mb is {self._budget:g}; raise it, or keep fewer snapshots"
            )


def _keep(knob: Actuator, value: object, saved: object, lost: list[str]) -> None:
    """Assert a knob's value again if the restore moved it; notes if it does not hold."""
    if _is_same(knob.read(), value):
        return
    knob.restore(saved)
    if not _is_same(knob.read(), value):
        lost.append(knob.name)


def _strangers(optimizer: Optimizer, wanted: Mapping[Any, Any]) -> list[dict[Any, Any]]:
    """List the states of parameters that have come since, and are not wanted."""
    known = {id(inner) for inner in wanted.values()}
    states = optimizer.state.values()
    return [inner for inner in states if isinstance(inner, dict) and id(inner) not in known]


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _check_slot(slot: str) -> None:
    if slot not in SLOTS:
        raise StateError(f"snapshot: must be one of {SLOTS}, got {slot!r}")


def _check_same(
    saved: Snapshot,
    modules: Mapping[str, nn.Module],
    parameters: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Check that the parameters, and the parts of the modules, are those that were saved."""
    seen: dict[object, int] = {}
    odd: set[str] = set()
    for name, live in parameters.items():
        then = saved.parameters.layout[name]
        odd |= then.keys() ^ live.keys()
        for key in (key for key in then if key in live):
            copied, now = saved.parameters.tensors[then[key].number], live[key]
            form = (copied.shape, copied.dtype, then[key].device)
            shared = seen.setdefault(copies.memory_of(now), then[key].number) != then[key].number
            if form != (now.shape, now.dtype, now.device) or (shared and now.numel() > 0):
                odd.add(key)
    for name, module in modules.items():
        owners = {owner for owner, _ in module.named_modules()}
        odd |= saved.modules.layout[name]["buffers"].keys() - owners
    if odd:
        raise StateError(
            f"restore: the model is another one than was saved, it differs in "
            f"{sorted(odd)[:5]}; save again after a model is changed"
        )
