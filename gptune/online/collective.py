"""One decision for all ranks."""

from typing import Protocol

from gptune.online.decision.state import Plan


class Broadcast(Protocol):
    """Hands rank 0's plan to every rank."""

    def __call__(self, plan: Plan) -> Plan:
        """Give the plan that all ranks carry out."""
        ...


def alone(plan: Plan) -> Plan:
    """The default: there is one process, and its plan is the plan."""
    return plan
