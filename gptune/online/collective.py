"""One decision for all ranks."""

from typing import Protocol

from torch import distributed

from gptune.online.decision.state import Plan


class Broadcast(Protocol):
    """Hands rank 0's plan to every rank."""

    def __call__(self, plan: Plan) -> Plan:
        """Give the plan that all ranks carry out."""
        ...


def alone(plan: Plan) -> Plan:
    """The default: there is one process, and its plan is the plan."""
    return plan


def is_alone() -> bool:
    """Say whether no other process of torch's takes part."""
    initialised = distributed.is_available() and distributed.is_initialized()
    return not initialised or distributed.get_world_size() == 1
