"""Real runs, made once, that are audited and forged."""

from pathlib import Path

import pytest

from tests.audit.steered import go_on, steer
from tests.cli.runs import make_run
from tests.living import Living


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which a search moves a knob."""
    place = tmp_path_factory.mktemp("audit") / "run"
    make_run(place)
    return place


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is calibrated, poisoned once, and put back."""
    place = tmp_path_factory.mktemp("audit") / "run"
    living = Living(place)
    living.poison(300)
    living.train()
    living.tuner.close()
    return place


@pytest.fixture(scope="session")
def steered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose knobs an operator moves."""
    place = tmp_path_factory.mktemp("audit") / "run"
    steer(place)
    return place


@pytest.fixture(scope="session")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, gone on in another directory."""
    place = tmp_path_factory.mktemp("audit") / "run"
    tuner = steer(place, close=False)
    state = tuner.state_dict()
    tuner.close()
    go_on(place.with_name("other"), state)
    return place.with_name("other")
