"""Raw metric -> one checked float."""

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptune.foreign import foreign_call
from gptune.records import Reading, Reason, Scalar

Source = Mapping[str, Any] | Callable[[str, Any], Any]
SHOWN = 80  # characters of a value that is not a number

_ABSENT = object()


def read_metric(value: object) -> Reading:
    """Read one reported value; it is one finite number, or the reading says what is wrong.

    Real numbers and tensors or arrays of one element count; ``bool``, ``str``, complex numbers
    and everything longer do not. A device tensor is read once.

    Example:
        >>> read_metric(0.5).value, read_metric("high").fault, read_metric(float("nan")).fault
        (0.5, <Reason.NOT_A_NUMBER: 'not_a_number'>, <Reason.NOT_FINITE: 'not_finite'>)
    """
    if value is None:
        return Reading(fault=Reason.MISSING, raw="None")
    answer = foreign_call(lambda: _number(value))
    if answer.error is not None or answer.value is None:
        return Reading(fault=Reason.NOT_A_NUMBER, raw=_shown(value))
    if not math.isfinite(answer.value):
        return Reading(value=answer.value, fault=Reason.NOT_FINITE, raw=str(answer.value))
    return Reading(value=answer.value)


def collect(source: Source, name: str) -> Reading:
    """Look one metric up in a mapping or a callable ``(name, default) -> value``, and read it."""
    answer = foreign_call(lambda: _look_up(source, name))
    if answer.error is not None:
        return Reading(fault=Reason.METRIC_RAISED, raw=answer.message[:SHOWN])
    if answer.value is _ABSENT:
        return Reading(fault=Reason.MISSING)
    return read_metric(answer.value)


def is_set(source: Source, name: str) -> bool:
    """Say whether a flag is reported and true; one that cannot be read counts as true."""
    answer = foreign_call(lambda: _look_up(source, name))
    if answer.value is _ABSENT:
        return False
    truth = foreign_call(lambda: bool(answer.value))
    return answer.error is not None or truth.error is not None or bool(truth.value)


def plain(value: object) -> Scalar | None:
    """Give a value as plain data for the log; ``None`` if it is something else."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else None


def _look_up(source: Source, name: str) -> Any:
    if isinstance(source, Mapping):
        return source.get(name, _ABSENT)
    return source(name, _ABSENT) if callable(source) else _ABSENT


def _number(value: object) -> float | None:
    if isinstance(value, bool | str | bytes | np.bool_):
        return None
    if isinstance(value, Tensor):
        is_one = value.numel() == 1 and value.dim() <= 1
        is_real = not value.is_complex() and value.dtype != torch.bool
        return float(value.detach().item()) if is_one and is_real else None
    if isinstance(value, np.ndarray):
        is_one = value.size == 1 and value.ndim <= 1 and value.dtype.kind in "iuf"
        return float(value.reshape(()).item()) if is_one else None
    return _float(value) if isinstance(value, numbers.Real) else None


def _float(value: numbers.Real) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond 1e308
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def _shown(value: object) -> str:
    text = foreign_call(lambda: repr(value)).value or type(value).__name__
    text = text.encode(errors="replace").decode()
    # An address differs between equal runs, so an object is shown by its type.
    return type(value).__name__ if " at 0x" in text else text[:SHOWN]
