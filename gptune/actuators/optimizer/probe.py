"""Watches the steps of optimizers from inside: how each gradient lies to the update before it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gptune.actuators.optimizer.places import BETA1, MOMENTUM, number, parameters_of


class StepProbe:
    """Sees each step before it happens, and before any multiplier scales it.

    A step that is given a closure computes its gradients within it, maybe more than once.
    `compare` keeps a copy of the parameters, and waits for the device.

    Args:
        optimizer: Whose steps.
        before: Called first of all hooks.
        seen: Called when there are gradients: then, or each time that a closure has ended.
    """

    def __init__(
        self, optimizer: Optimizer, before: Callable[[], None], seen: Callable[[], None]
    ) -> None:
        self.optimizer = optimizer
        self.alignment: float | None = None  # of the step that is going on, or was taken last
        self._before, self._seen = before, seen
        self._parameters: list[Tensor] = []
        self._then: list[Tensor] = []
        self._handle: Any = None

    @property
    def is_attached(self) -> bool:
        """Say whether it watches."""
        return self._handle is not None

    def attach(self) -> None:
        """Install the hook, in front of all others."""
        if self._handle is None:
            self._handle = self.optimizer.register_step_pre_hook(self._see)
            self._handle.hooks_dict_ref().move_to_end(self._handle.id, last=False)

    def detach(self) -> None:
        """Remove the hook, and give the copy back."""
        if self._handle is not None:
            self._handle.remove()
        self._handle, self.alignment = None, None
        self.forget()

    def forget(self) -> None:
        """Start anew: the parameters were moved by something else than a step."""
        self._then = []

    def inertia(self) -> float:
        """Give what part of an update is the updates before it: the momentum, or the first beta."""
        group = self.optimizer.param_groups[0]
        there = [place.get(group) for place in (MOMENTUM, BETA1) if place.is_in(group)]
        return number(there[0]) if there else 0.0

    @torch.compiler.disable
    def _see(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        self._before()
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._watched(args[1]), *args[2:]), kwargs
        if callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._watched(kwargs["closure"])}
        self._seen()
        return None

    def _watched(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def watched() -> Any:
            loss = closure()
            self._seen()
            return loss

        return watched

    @torch.no_grad()
    def compare(self) -> None:
        """Compare the gradient of the step to come with the update before it."""
        trained = [p for p in parameters_of(self.optimizer) if p.grad is not None]
        trained = [p for p in trained if not p.grad.is_sparse]  # type: ignore[union-attr]
        same = 0 < len(trained) == len(self._parameters) == len(self._then)
        if same and all(map(_is, trained, self._parameters)):
            self.alignment = _cosine(trained, self._then)
            torch._foreach_copy_(self._then, trained)
        else:
            self.alignment = None
            self._parameters, self._then = trained, [p.detach().clone() for p in trained]


def _is(one: object, other: object) -> bool:
    return one is other


def _cosine(parameters: Sequence[Tensor], before: Sequence[Tensor]) -> float | None:
    """Cosine between the gradients of now and the update since ``before``; ``None`` if undefined.

    ``<g, u> / (|g| |u|)`` over all parameters; no scale of the gradient changes it.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    updates = torch._foreach_sub(list(parameters), list(before))
    inner = _total([(g * u).sum() for g, u in zip(gradients, updates, strict=True)])
    size = _length(gradients) * _length(updates)
    return inner / size if 0 < size < float("inf") and inner == inner else None


def _length(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(_total(torch._foreach_norm(list(tensors), 2), power=2))


def _total(parts: Sequence[Tensor], power: int = 1) -> float:
    """Add numbers that may lie on several devices [one wait for each]."""
    return sum(float(part) ** power for part in parts)
