"""How the suite runs: the same examples every time, two workers, each on one thread.

``--hypothesis-profile=thorough`` looks at fresh examples, and at more of them; ``planted`` is for
`tests.planted`, which only wants to know whether a test fails. ``-n 0`` runs in this process, for
a debugger or for a single test.
"""

import os
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import Phase, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for what the workers and the tests start
torch.set_num_threads(1)  # on tensors this small, waiting for a busy core costs ten times more
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.register_profile(
    "planted", deadline=None, derandomize=True, max_examples=500, phases=[Phase.generate]
)
settings.load_profile("ci")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Keep addresses out of the tests' names: all workers must collect the same ones."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        name = mark.kwargs.get("ids")
        if callable(name):
            mark.kwargs["ids"] = without_address(name)  # type: ignore[index]


def without_address(name: Callable[[object], object]) -> Callable[[object], object]:
    """Give a maker of names that leaves out where in memory a value lies."""

    def named(value: object) -> object:
        made = name(value)
        return re.sub(r" at 0x[0-9a-f]+", "", made) if isinstance(made, str) else made

    return named
