"""A run that is killed and resumed from its checkpoint decides as one that was never killed."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gptune import Tuner
from gptune.errors import RunDirectoryError, StateError
from gptune.events import Observed, Opened
from gptune.records import Decision
from gptune.run_directory.event_log import effective, read_events
from tests.training import Training

METRICS = [3.0, 2.6, 2.5, 2.4, 2.0, 1.98, 1.97, 1.5, 1.49, 1.45, 1.46, 1.1, 1.3, 1.0, 0.9, 0.7]
RECIPE: dict[str, Any] = {"search": {"startup_trials": 1}, "acceptance": {"probability": 0.6}}


def advance(training: Training, tuner: Tuner, metrics: list[float]) -> list[Decision]:
    decisions = []
    for value in metrics:
        for _ in range(5):
            training.step(tuner.step)
        decisions.append(tuner.report({"val/loss": value}))
    return decisions


def told(decisions: list[Decision]) -> list[tuple[Any, ...]]:
    return [(d.number, d.step, d.verdict, d.changes, d.probability, d.source) for d in decisions]


def essence(run_dir: Path) -> list[tuple[Any, ...]]:
    lines = effective(read_events(run_dir))
    kept = [line for line in lines if not isinstance(line.event, Opened)]
    return [(line.envelope.decision, line.envelope.step, line.event) for line in kept]


@pytest.mark.parametrize("kill_at", range(1, len(METRICS)))
def test_a_resumed_run_equals_the_uninterrupted_one(kill_at: int, tmp_path: Path) -> None:
    whole = Training()
    with Tuner(whole.optimizer, recipe=RECIPE, run_dir=tmp_path / "whole", seed=4) as tuner:
        expected = advance(whole, tuner, METRICS)
    # The checkpoint is older than the death: decisions after it are made again.
    first = Training()
    tuner = Tuner(first.optimizer, recipe=RECIPE, run_dir=tmp_path / "killed", seed=4)
    advance(first, tuner, METRICS[:kill_at])
    path = tmp_path / "checkpoint.pt"
    torch.save({"training": first.checkpoint(), "gptune": tuner.state_dict()}, path)
    advance(first, tuner, METRICS[kill_at : kill_at + 2])
    assert tuner._session.log is not None
    tuner._session.log.close()  # what the kernel does for a process that dies
    second = Training()
    saved = torch.load(path, weights_only=True)
    second.load(saved["training"])
    with Tuner(
        second.optimizer, recipe=RECIPE, run_dir=tmp_path / "killed", seed=4, resume=True
    ) as tuner:
        tuner.load_state_dict(saved["gptune"])
        decisions = advance(second, tuner, METRICS[kill_at:])
    assert told(decisions) == told(expected[kill_at:])
    same = zip(second.weights(), whole.weights(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)
    assert essence(tmp_path / "killed") == essence(tmp_path / "whole")


def test_a_state_survives_json_and_holds_no_weights(tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, run_dir=tmp_path / "run") as tuner:
        advance(training, tuner, METRICS[:6])
        state = tuner.state_dict()
        assert state["version"] == 1
        assert json.loads(json.dumps(state)) == state
        tuner.load_state_dict(json.loads(json.dumps(state)))
        assert tuner.state_dict()["kernel"] == state["kernel"]


def test_a_used_run_directory_demands_its_state(tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, run_dir=tmp_path / "run") as tuner:
        advance(training, tuner, METRICS[:3])
        state = tuner.state_dict()
    with pytest.raises(RunDirectoryError, match="resume=True"):
        Tuner(training.optimizer, run_dir=tmp_path / "run")
    with Tuner(training.optimizer, run_dir=tmp_path / "run", resume=True) as tuner:
        with pytest.raises(StateError, match="load_state_dict"):
            tuner.step()
        with pytest.raises(StateError, match="load_state_dict"):
            tuner.report({"val/loss": 1.0})
        tuner.load_state_dict(state)
        tuner.step()
        assert tuner.steps == 16


def test_a_checkpoint_loaded_in_the_same_process_rewinds_the_log(tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        advance(training, tuner, METRICS[:6])
        state, weights = tuner.state_dict(), copy.deepcopy(training.checkpoint())
        first = advance(training, tuner, METRICS[6:10])
        tuner.load_state_dict(state)
        training.load(weights)
        assert told(advance(training, tuner, METRICS[6:10])) == told(first)
    events = [event for _, _, event in essence(tmp_path / "run")]
    assert len([event for event in events if isinstance(event, Observed)]) == 10


@pytest.mark.parametrize("mode", ["observe", "suggest", "off"])
def test_a_mode_that_is_asked_for_on_resume_is_never_widened(mode: str, tmp_path: Path) -> None:
    recipe = {**RECIPE, "acceptance": {"reference": "last"}}
    training = Training()
    tuner = Tuner(training.optimizer, recipe=recipe, run_dir=tmp_path / "run")
    advance(training, tuner, METRICS[:1])
    state = tuner.state_dict()
    assert state["kernel"]["pending"] is not None
    tuner.close()
    with Tuner(
        training.optimizer, recipe=recipe, run_dir=tmp_path / "run", resume=True, mode=mode
    ) as resumed:
        resumed.load_state_dict(state)
        assert resumed.mode == mode
        assert resumed.values == {"opt.lr": 1.0}
        advance(training, resumed, METRICS[1:8])
        assert resumed.values == {"opt.lr": 1.0}
        assert resumed._session.hands["opt.lr"].actuator.read() == 1.0


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    training = Training()
    with Tuner(training.optimizer, run_dir=tmp_path / "one", seed=1) as tuner:
        advance(training, tuner, METRICS[:3])
        state = tuner.state_dict()
    with Tuner(training.optimizer, run_dir=tmp_path / "other", seed=2) as tuner:
        advance(training, tuner, METRICS[:5])
    resumed = Tuner(training.optimizer, run_dir=tmp_path / "other", resume=True)
    with resumed, pytest.raises(StateError, match="does not belong"):
        resumed.load_state_dict(state)
    with Tuner(training.optimizer, run_dir=tmp_path / "fresh") as tuner:
        tuner.load_state_dict(state)  # a new directory: the log begins here
        assert tuner.steps == 15


def broken(state: dict[str, Any], change: str) -> Any:
    state = copy.deepcopy(state)
    if change == "version":
        state["version"] = 2
    elif change == "recipe":
        state["recipe"]["acceptance"]["epsilon"] = 0.5
    elif change == "knobs":
        state["knobs"] = {}
    elif change == "future":
        state["log"]["seq"] = 10_000
    elif change == "list":
        return [state]
    else:
        del state[change]
    return state


@pytest.mark.parametrize(
    "change", ["version", "recipe", "knobs", "kernel", "steps", "future", "list"]
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    change: str, tmp_path: Path
) -> None:
    training = Training()
    with Tuner(training.optimizer, run_dir=tmp_path / "run") as tuner:
        advance(training, tuner, METRICS[:6])
        good = tuner.state_dict()
    with Tuner(training.optimizer, run_dir=tmp_path / "run", resume=True) as tuner:
        with pytest.raises(StateError, match="state_dict"):
            tuner.load_state_dict(broken(good, change))
        with pytest.raises(StateError):
            tuner.step()
        tuner.load_state_dict(good)
