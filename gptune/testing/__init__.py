"""Contracts that third parties run against their own extensions. No test framework is needed."""

from gptune.testing.actuator_contract import ACTUATOR_CHECKS, ContractError, check_actuator

__all__ = ["ACTUATOR_CHECKS", "ContractError", "check_actuator"]
