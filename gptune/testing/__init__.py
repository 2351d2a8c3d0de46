"""Contracts that third parties run against their own extensions. No test framework is needed."""

from gptune.errors import ContractError
from gptune.testing.actuator_contract import ACTUATOR_CHECKS, check_actuator

__all__ = ["ACTUATOR_CHECKS", "ContractError", "check_actuator"]
