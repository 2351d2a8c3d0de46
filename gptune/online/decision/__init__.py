"""The decision kernel: `plan` is pure, `carry_out` acts, `settle` takes note of what came of it."""

from gptune.online.decision.carry_out import Hand, Saved, carry_out, is_same, restore
from gptune.online.decision.describe import describe
from gptune.online.decision.plan import Propose, leave, plan, settle, start_point
from gptune.online.decision.state import KernelConfig, KernelState, Outcome, Pending, Plan, Seen

__all__ = [
    "Hand",
    "KernelConfig",
    "KernelState",
    "Outcome",
    "Pending",
    "Plan",
    "Propose",
    "Saved",
    "Seen",
    "carry_out",
    "describe",
    "is_same",
    "leave",
    "plan",
    "restore",
    "settle",
    "start_point",
]
