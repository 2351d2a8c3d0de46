"""Every call that a short run makes of its disk goes wrong once, in every way.

The sweep is SQLite's: fail the first call, then the second, and so on until nothing fails any more.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from gptune import Tuner
from gptune.audit import audit_data
from gptune.errors import GptuneError, RecipeError, RunDirectoryError
from gptune.events import Opened
from gptune.records import Action, Decision
from gptune.run_directory.event_log import effective, read_events
from gptune.run_directory.names import EVENTS, SUMMARY
from tests.fakes import ANY, Death, Fault, MemoryDisk, ToldClock
from tests.training import Training

RUN = Path("/runs/one")
METRICS = [3.0, 2.6, 2.5, 2.4, 2.0, 1.98, 1.97, 1.5, 1.6, 1.2, 1.3, 0.9]
EVERY, SAVES = 2, 3  # steps of a decision, decisions of a checkpoint
SEARCH: dict[str, Any] = {
    "random": {"algorithm": "random", "startup_trials": 0},
    "gp": {"startup_trials": 1},
}
DEATHS, FAULTS = (Fault.KILL, Fault.CUT), (Fault.FAIL, Fault.SHORT, Fault.TEAR)


@dataclass
class Process:
    """A training process on a disk: it saves a checkpoint now and then, and may die anywhere."""

    disk: MemoryDisk
    search: str = "random"
    clock: ToldClock = field(default_factory=ToldClock)
    saved: dict[str, Any] | None = None
    decisions: dict[int, Decision] = field(default_factory=dict)
    weights: list[Tensor] = field(default_factory=list)
    log_ok: bool = True
    stops_at_failure: bool = True  # makes no checkpoint once the log has failed

    def run(self, run_dir: Path = RUN) -> None:
        """Train to the end: from the last checkpoint if there is one, else from the beginning."""
        training, saved = Training(), self.saved
        chosen: dict[str, Any] = {"file_system": self.disk, "clock": self.clock, "seed": 4}
        recipe = {"search": SEARCH[self.search], "acceptance": {"reference": "last"}}
        tuner = Tuner(
            training.optimizer, recipe=recipe, run_dir=run_dir, resume=saved is not None, **chosen
        )
        with tuner:
            if saved is not None:
                training.load(copy.deepcopy(saved["training"]))
                tuner.load_state_dict(json.loads(saved["gptune"]))
            done = 0 if saved is None else saved["done"]
            for number, value in enumerate(METRICS[done:], start=done):
                if number % SAVES == 0:
                    self._save(training, tuner, number)
                for _ in range(EVERY):
                    training.step(tuner.step)
                self.decisions[number] = tuner.report({"val/loss": value})
        self.log_ok, self.weights = tuner.log_ok, training.weights()

    def _save(self, training: Training, tuner: Tuner, done: int) -> None:
        if tuner.log_ok or not self.stops_at_failure:
            state = copy.deepcopy(training.checkpoint())
            text = json.dumps(tuner.state_dict())
            self.saved = {"done": done, "training": state, "gptune": text}

    def story(self) -> list[Any]:
        """Tell all that must be equal in a run that was never interrupted."""
        lines = effective(read_events(RUN, self.disk))
        events = [
            (line.envelope.decision, line.envelope.step, line.event)
            for line in lines
            if not isinstance(line.event, Opened)
        ]
        told = [(d.number, d.step, d.verdict, d.changes) for d in self.decisions.values()]
        return [events, told, [weights.tolist() for weights in self.weights]]


def restart(process: Process) -> None:
    """Do what a user does after a death: start again, from the checkpoint if there is one."""
    process.disk.die()
    events = process.disk.files.get(RUN / EVENTS, b"")
    if process.saved is None and b"\n" in events:  # something was written, and there is no state
        with pytest.raises(RunDirectoryError, match="resume=True"):
            process.run()
        del process.disk.files[RUN / EVENTS]
    process.run()


def calls_of(search: str) -> tuple[int, list[Any]]:
    """Count the calls of a run in which nothing goes wrong, and tell its story."""
    process = Process(MemoryDisk(), search)
    process.run()
    return process.disk.calls[ANY], process.story()


def is_sound(process: Process) -> bool:
    """Audit the run's log with rules that share no code with what wrote it."""
    files = process.disk.files
    report = audit_data(files[RUN / EVENTS], files.get(RUN / SUMMARY) or None)
    broken = [finding for finding in report.findings if not finding.holds]
    assert not broken, broken
    return report.holds


Check = Callable[[Process, list[Any]], None]


def sweep(search: str, faults: tuple[Fault, ...], check: Check) -> int:
    """Let every call go wrong in every way; gives the number of injection points."""
    calls, expected = calls_of(search)
    points = [(fault, nth) for fault in faults for nth in range(1, calls + 1)]
    for fault, nth in points:
        process = Process(MemoryDisk(), search)
        process.disk.break_any(nth, fault)
        check(process, expected)
    return len(points)


def _dies_and_is_resumed(process: Process, expected: list[Any]) -> None:
    with pytest.raises(Death):
        process.run()
    restart(process)
    assert process.story() == expected
    assert is_sound(process)


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCH)
def test_a_run_that_dies_at_any_call_and_is_resumed_equals_one_that_never_died(search: str) -> None:
    assert sweep(search, DEATHS, _dies_and_is_resumed) >= 178


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 33])
def test_a_loss_of_power_at_any_call_leaves_a_run_that_is_resumed_equal(kept: int) -> None:
    def check(process: Process, expected: list[Any]) -> None:
        with pytest.raises(Death):
            process.run()
        process.disk.lose_power(kept)
        restart(process)
        assert process.story() == expected
        assert is_sound(process)

    assert sweep("random", (Fault.KILL,), check) >= 89


@pytest.mark.slow
def test_a_death_in_the_middle_of_a_recovery_is_recovered_from() -> None:
    calls, expected = calls_of("random")
    points = 0
    for first in range(8, calls, 34):
        nth, died = 0, True
        while died:
            nth += 1
            process = Process(MemoryDisk())
            process.disk.break_any(first, Fault.CUT)
            with pytest.raises(Death):
                process.run()
            process.disk.die()
            process.disk.break_any(nth, DEATHS[nth % 2])
            try:
                restart(process)
                died = False
            except Death:
                restart(process)
                points += 1
            process.disk.repair()
            assert process.story() == expected
            assert is_sound(process)
    assert points >= 170


@pytest.mark.slow
def test_a_disk_that_fails_at_any_call_never_stops_training_and_is_resumed_equal() -> None:
    def check(process: Process, expected: list[Any]) -> None:
        try:
            process.run()
        except (RecipeError, RunDirectoryError):  # at the start: a new run says what is wrong
            assert process.saved is None
        else:
            assert len(process.weights) == 4, "training went on to its end"
        if not process.log_ok or not process.weights:
            process.disk.repair()
            restart(process)
        assert process.story() == expected
        assert is_sound(process)

    assert sweep("random", FAULTS, check) >= 267


def test_a_disk_that_fails_at_any_call_of_a_recovery_is_named_and_the_next_try_succeeds() -> None:
    calls, expected = calls_of("random")
    refused = points = 0
    for fault in FAULTS:
        for nth in range(1, 15):
            process = Process(MemoryDisk())
            process.disk.break_any(calls // 2, Fault.CUT)
            with pytest.raises(Death):
                process.run()
            process.disk.die()
            process.disk.break_any(nth, fault)
            points += 1
            try:
                process.run()
            except GptuneError as error:
                names_it = "/runs/one" in str(error) or "run_dir" in str(error)
                process.log_ok, refused = not names_it, refused + 1
            if not process.log_ok:
                process.disk.repair()
                restart(process)
            assert process.story() == expected
            assert is_sound(process)
    assert points > refused > 10


def test_a_checkpoint_of_a_run_whose_disk_had_failed_goes_on_tuning_in_the_same_directory() -> None:
    _, expected = calls_of("random")
    for nth in range(1, 40):
        process = Process(MemoryDisk(), stops_at_failure=False)
        process.disk.break_at("write", nth, Fault.TEAR)
        try:
            process.run()
        except RunDirectoryError:
            continue
        process.disk.repair()
        process.disk.die()
        process.decisions.clear()
        process.run()
        assert process.log_ok
        assert is_sound(process)
        done = process.saved["done"] if process.saved else 0
        assert [d.number for d in process.decisions.values()] == list(range(done + 1, 13))
        assert any(d.verdict is Action.APPLIED for d in process.decisions.values())
    assert len(expected[1]) == 12


def test_a_clock_that_runs_backwards_changes_nothing() -> None:
    _, expected = calls_of("random")
    process = Process(MemoryDisk(), clock=ToldClock(tick=-1000.0))
    process.run()
    assert process.story() == expected
    assert is_sound(process)
