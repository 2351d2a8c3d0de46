"""The Tuner through its public face."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition import AcquisitionFunction, ProbabilityOfImprovement, UpperConfidenceBound
from botorch.models.model import Model
from torch import Tensor, nn

import gptune
from gptune.audit import audit
from gptune.errors import ActuatorError, RecipeError, RunDirectoryError, StateError
from gptune.events import (
    Applied,
    Blocked,
    Failed,
    ModeChanged,
    Observed,
    Opened,
    Paused,
    Proposed,
    RolledBack,
    Suggested,
)
from gptune.records import Action, Decision, Reason
from gptune.run_directory.event_log import read_events
from tests.doubles import BrokenError, FakeKnob
from tests.training import Training, run_decisions

LAST: dict[str, Any] = {"acceptance": {"reference": "last"}, "search": {"startup_trials": 0}}
QUICK: dict[str, Any] = {**LAST, "safety": {"global_cooldown": 0}}


def made(tmp_path: Path, **chosen: Any) -> tuple[Training, gptune.Tuner]:
    training = Training()
    chosen.setdefault("recipe", QUICK)
    return training, gptune.Tuner(training.optimizer, run_dir=tmp_path / "run", **chosen)


def events(tmp_path: Path, kind: type) -> list[Any]:
    lines = read_events(tmp_path / "run")
    return [line.event for line in lines if isinstance(line.event, kind)]


class Raises:
    def __float__(self) -> float:
        raise BrokenError("no float")


def raising(name: str, default: object) -> object:
    raise BrokenError("accessor")


BAD_METRICS: list[tuple[Any, Reason]] = [
    (math.nan, Reason.NOT_FINITE),
    (math.inf, Reason.NOT_FINITE),
    (-math.inf, Reason.NOT_FINITE),
    (torch.tensor(math.nan), Reason.NOT_FINITE),
    (None, Reason.MISSING),
    ("0.5", Reason.NOT_A_NUMBER),
    (True, Reason.NOT_A_NUMBER),
    (torch.tensor(True), Reason.NOT_A_NUMBER),
    (torch.zeros(2), Reason.NOT_A_NUMBER),
    (np.zeros(3), Reason.NOT_A_NUMBER),
    ([0.5, 0.6], Reason.NOT_A_NUMBER),
    (1j, Reason.NOT_A_NUMBER),
    (Raises(), Reason.NOT_A_NUMBER),
]


@pytest.mark.parametrize(("value", "reason"), BAD_METRICS, ids=lambda value: str(value)[:20])
def test_a_metric_that_is_no_number_blocks_and_undoes_what_is_unjudged(
    value: Any, reason: Reason, tmp_path: Path
) -> None:
    training, tuner = made(tmp_path)
    with tuner:
        assert run_decisions(training, tuner, [1.0])[0].verdict is Action.APPLIED
        decision = tuner.report({"val/loss": value})
        assert decision.verdict is Action.BLOCKED
        assert decision.reasons == (reason,)
        assert decision.restored
        assert tuner.values == {"opt.lr": 1.0}
        training.step(tuner.step)  # training goes on
    assert [event.reasons for event in events(tmp_path, Blocked)] == [(reason,)]
    assert [event.reasons for event in events(tmp_path, RolledBack)] == [(reason,)]


@pytest.mark.parametrize(
    ("reported", "reason"),
    [
        ({}, Reason.MISSING),
        ({"val_loss": 1.0}, Reason.MISSING),
        (raising, Reason.METRIC_RAISED),
        (0.5, Reason.MISSING),
        ({"val/loss": 1.0, "anomaly": True}, Reason.ANOMALY),
        ({"val/loss": 1.0, "anomaly": torch.zeros(3)}, Reason.ANOMALY),
        ({"val/loss": 1.0, "grad/norm": math.nan}, Reason.BACKUP_NOT_FINITE),
        ({"val/loss": 1.0, "grad/norm": "large"}, Reason.BACKUP_NOT_FINITE),
    ],
    ids=str,
)
def test_a_report_that_cannot_be_trusted_blocks(
    reported: Any, reason: Reason, tmp_path: Path
) -> None:
    training, tuner = made(tmp_path)
    with tuner:
        run_decisions(training, tuner, [1.0])
        decision = tuner.report(reported)
    assert decision.verdict is Action.BLOCKED
    assert reason in decision.reasons
    assert decision.restored


def test_a_callable_and_numbers_of_any_kind_are_read(tmp_path: Path) -> None:
    _, tuner = made(tmp_path)
    source = {"val/loss": torch.tensor([0.5]), "grad/norm": np.float32(2.0)}
    with tuner:
        assert tuner.report(source.get).metric == 0.5
        assert tuner.report({"val/loss": 3}).metric == 3.0
        assert tuner.report({"val/loss": np.array(0.25)}).metric == 0.25


def test_a_loop_that_counts_no_steps_is_told_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, tuner = made(tmp_path)
    with tuner, caplog.at_level(logging.WARNING):
        tuner.report({"val/loss": 1.0})  # before training begins; nothing is wrong yet
        assert not caplog.records
        for _ in range(3):
            tuner.report({"val/loss": 1.0})
    (record,) = caplog.records
    assert "tuner.step(loss)" in record.getMessage()


def test_an_objective_that_is_never_reported_is_warned_of_once_with_the_nearest_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, tuner = made(tmp_path)
    with tuner, caplog.at_level(logging.WARNING):
        for _ in range(3):
            tuner.report({"val_loss": 1.0, "train_loss": 2.0})
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "val_loss, train_loss" in message
    assert "did you mean 'val_loss'?" in message


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"mode": "Active"}, RecipeError, "mode: .*did you mean 'active'"),
        ({"mode": "guard"}, RecipeError, "mode: 'guard' restores the training state"),
        ({"objective": "x", "recipe": {}}, RecipeError, "objective: must not stand beside recipe="),
        ({"recipe": {"saftey": {}}}, RecipeError, "saftey: unknown key; did you mean 'safety'"),
        ({"recipe": "recipe.yaml"}, RecipeError, "recipe.yaml: cannot be read"),
        ({"direction": "down", "recipe": None}, RecipeError, "direction: must be minimize or"),
        ({"objective": 3, "recipe": None}, RecipeError, "objective: must name a metric"),
        ({"space": {"lr": (2.0, 5.0)}, "recipe": None}, RecipeError, "space.lr.bounds: must cont"),
        ({"space": {"lr": (5.0, 0.2)}, "recipe": None}, RecipeError, "space.lr.bounds: low must"),
        ({"space": {"lr": (math.nan, 2)}, "recipe": None}, RecipeError, "space.lr.bounds: must be"),
        ({"space": {"lr": 3}, "recipe": None}, RecipeError, "space.lr: must be .low, high."),
        ({"space": {"lr": ("a", "b")}, "recipe": None}, RecipeError, "space.lr: must be .low, hi"),
        ({"space": {}, "recipe": None}, RecipeError, "space: must map names"),
        ({"space": {"lrr": (0.5, 2.0)}, "recipe": None}, RecipeError, "opt.lrr: no such knob.*lr'"),
        (
            {"space": {"lr": gptune.Float(0.1, 1.0)}, "recipe": None},
            RecipeError,
            "must contain",
        ),
        ({"acquisition": "ei"}, RecipeError, "acquisition: must be one of"),
        ({"acquisition": ProbabilityOfImprovement}, RecipeError, "acquisition: must be one of"),
        ({"total_steps": 0}, RecipeError, "total_steps: must be a count"),
        ({"seed": 1.5}, RecipeError, "seed: must be a whole number"),
        ({"seed": True}, RecipeError, "seed: must be a whole number"),
        ({"evaluate": 3}, RecipeError, "evaluate: must be a function"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_at_construction_and_named(
    chosen: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        made(tmp_path, **chosen)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [None, 3, "opt", {"lr": 1}, nn.Linear(2, 1)], ids=str)
def test_what_is_no_optimizer_and_no_actuator_is_refused(given: Any, tmp_path: Path) -> None:
    with pytest.raises((ActuatorError, TypeError), match=r"optimizer|actuator"):
        gptune.Tuner(given, run_dir=tmp_path / "run")


def test_two_knobs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ActuatorError, match=r"two actuators are called 'loss.aux'"):
        gptune.Tuner([FakeKnob(), FakeKnob()], run_dir=tmp_path / "run")


def test_an_optimizer_without_parameters_is_refused(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    optimizer.param_groups[0]["params"].clear()
    with pytest.raises(ActuatorError, match="has no parameters"):
        gptune.Tuner(optimizer, run_dir=tmp_path / "run")


def test_a_run_directory_that_is_owned_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    training, tuner = made(tmp_path)
    with tuner, pytest.raises(RunDirectoryError, match="live process"):
        gptune.Tuner(training.optimizer, run_dir=tmp_path / "run")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        gptune.Tuner(training.optimizer, run_dir=tmp_path / "file" / "run")


def test_mode_off_leaves_no_hook_no_directory_and_no_decision(tmp_path: Path) -> None:
    training, tuner = made(tmp_path, mode="off")
    with tuner:
        decisions = run_decisions(training, tuner, [1.0, 2.0])
        assert not training.optimizer._optimizer_step_pre_hooks
        assert not training.optimizer._optimizer_step_post_hooks
        assert [decision.number for decision in decisions] == [0, 0]
        assert tuner.run_dir is None
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", ["observe", "suggest"])
def test_observe_and_suggest_change_nothing(mode: str, tmp_path: Path) -> None:
    values = [3.0, 2.0, 1.5, 1.2, 1.0, 0.9]
    training, tuner = made(tmp_path, mode=mode)
    plain = Training()
    with tuner:
        run_decisions(training, tuner, values)
        for _ in range(3 * len(values)):
            plain.step()
        assert tuner.values == {"opt.lr": 1.0}
    assert not events(tmp_path, Applied)
    assert bool(events(tmp_path, Suggested)) is (mode == "suggest")
    assert all(torch.equal(a, b) for a, b in zip(training.weights(), plain.weights(), strict=True))


def test_leaving_active_puts_the_unjudged_change_back(tmp_path: Path) -> None:
    training, tuner = made(tmp_path)
    with tuner:
        run_decisions(training, tuner, [1.0])
        assert tuner.values["opt.lr"] != 1.0
        tuner.set_mode("observe")
        assert tuner.values == {"opt.lr": 1.0}
        tuner.set_mode("active")
        tuner.set_mode("off")
        assert not training.optimizer._optimizer_step_pre_hooks
        with pytest.raises(RecipeError, match="mode"):
            tuner.set_mode("on")
    assert [event.reasons for event in events(tmp_path, RolledBack)] == [(Reason.LEFT_ACTIVE,)]
    assert [event.new for event in events(tmp_path, ModeChanged)] == ["observe", "active", "off"]


def test_closing_puts_back_removes_hooks_and_may_be_done_twice(tmp_path: Path) -> None:
    training, tuner = made(tmp_path)
    run_decisions(training, tuner, [1.0])
    tuner.close()
    size = (tmp_path / "run" / "events.jsonl").stat().st_size
    tuner.close()
    assert (tmp_path / "run" / "events.jsonl").stat().st_size == size
    assert not training.optimizer._optimizer_step_pre_hooks
    assert [event.reasons for event in events(tmp_path, RolledBack)] == [(Reason.CLOSED,)]
    with pytest.raises(StateError, match="closed"):
        tuner.report({"val/loss": 1.0})


def test_exceptions_of_the_loop_pass_and_the_change_is_put_back(tmp_path: Path) -> None:
    training, tuner = made(tmp_path)

    def loop() -> None:
        with tuner:
            run_decisions(training, tuner, [1.0])
            raise BrokenError("mine")

    with pytest.raises(BrokenError, match="mine"):
        loop()
    assert not training.optimizer._optimizer_step_pre_hooks


def test_an_interrupt_in_foreign_code_passes(tmp_path: Path) -> None:
    def interrupted(name: str, default: object) -> object:
        raise KeyboardInterrupt

    _, tuner = made(tmp_path)
    with pytest.raises(KeyboardInterrupt), tuner:
        tuner.report(interrupted)


def test_batches_come_through_as_they_are(tmp_path: Path) -> None:
    _, tuner = made(tmp_path)
    with tuner:
        assert list(tuner.batches([1, 2, 3])) == [1, 2, 3]


def test_evaluate_gives_the_objective_without_gradients_and_keeps_the_mode(tmp_path: Path) -> None:
    training = Training()
    training.model.train()
    training.model[0].eval()

    def losses() -> Tensor:
        assert not torch.is_grad_enabled()
        training.model.eval()
        output = training.model(training.inputs)
        per_example: Tensor = (output - training.targets).square().squeeze(1)
        return per_example

    with gptune.Tuner(
        training.optimizer, evaluate=losses, model=training.model, run_dir=tmp_path / "run"
    ) as tuner:
        decision = tuner.report()
    assert decision.metric == pytest.approx(training.loss())
    assert [module.training for module in training.model] == [False, True, True]


def test_an_evaluate_that_raises_blocks(tmp_path: Path) -> None:
    def evaluate() -> float:
        raise BrokenError("evaluate")

    training = Training()
    with gptune.Tuner(training.optimizer, evaluate=evaluate, run_dir=tmp_path / "run") as tuner:
        assert tuner.report().reasons == (Reason.METRIC_RAISED,)


def test_a_report_of_nothing_without_evaluate_is_a_misuse(tmp_path: Path) -> None:
    _, tuner = made(tmp_path)
    with tuner, pytest.raises(StateError, match="evaluate"):
        tuner.report()


def falling(count: int) -> list[float]:
    return [10.0 * 0.9**i for i in range(count)]


Criterion = Callable[[Model, Tensor], AcquisitionFunction]


class Corner(AcquisitionFunction):
    """Prefers one end of the cube, whatever the model says."""

    def __init__(self, model: Model, sign: float) -> None:
        super().__init__(model=model)
        self.sign = sign

    def forward(self, X: Tensor) -> Tensor:
        return torch.mul(X.squeeze(-2).sum(-1), self.sign)


@pytest.mark.parametrize(("sign", "end"), [(1.0, 100.0), (-1.0, 0.01)])
def test_a_criterion_that_prefers_one_corner_drives_the_run_there(
    sign: float, end: float, tmp_path: Path
) -> None:
    training, tuner = made(tmp_path, acquisition=lambda model, best: Corner(model, sign))
    with tuner:
        run_decisions(training, tuner, falling(40), every=1)
        assert tuner.values["opt.lr"] == pytest.approx(end)


@pytest.mark.parametrize(
    "criterion",
    [
        "log_ei",
        "ucb",
        "thompson",
        gptune.UpperConfidenceBound(3.0),
        gptune.ThompsonSampling(),
        lambda model, best: ProbabilityOfImprovement(model, best_f=best),
        lambda model, best: UpperConfidenceBound(model, beta=4.0),
    ],
)
def test_every_kind_of_criterion_drives_a_run(criterion: Any, tmp_path: Path) -> None:
    training, tuner = made(tmp_path, acquisition=criterion)
    with tuner:
        run_decisions(training, tuner, falling(12))
    sources = [event.source for event in events(tmp_path, Proposed)]
    assert sources.count("gp") >= 3


@pytest.mark.parametrize("policy", ["log", "raise", "disable"])
def test_a_criterion_that_raises_never_reaches_the_loop_unless_asked(
    policy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(model: Model, best: Tensor) -> AcquisitionFunction:
        raise BrokenError("criterion")

    recipe = {**LAST, "safety": {"on_error": policy}}
    training, tuner = made(tmp_path, recipe=recipe, acquisition=broken)
    decisions: list[Decision] = []
    with tuner:
        for value in falling(6):
            training.step(tuner.step)
            try:
                decisions.append(tuner.report({"val/loss": value}))
            except BrokenError:
                assert policy == "raise"
        raised = len(decisions) < 6
        assert raised is (policy == "raise")
        assert tuner.mode == ("observe" if policy == "disable" else "active")
    blocked = events(tmp_path, Blocked)
    assert blocked
    assert blocked[0].reasons == (Reason.PROPOSER_FAILED,)
    assert "criterion" in blocked[0].message


def test_a_knob_that_breaks_is_left_alone_and_the_others_go_on(tmp_path: Path) -> None:
    broken, sound = FakeKnob(name="loss.bad"), FakeKnob(name="loss.good")
    recipe = {
        **QUICK,
        "safety": {"global_cooldown": 0, "pause_decisions": 1},
        "actuators": {
            "loss": {
                "keys": {
                    "bad": {"bounds": [0.5, 2.0], "cooldown": 0},
                    "good": {"bounds": [0.5, 2.0], "cooldown": 0},
                }
            }
        },
    }
    tuner = gptune.Tuner([broken, sound], recipe=recipe, run_dir=tmp_path / "run")
    broken.fails = {"apply"}
    with tuner:
        for value in falling(30):
            tuner.step()
            tuner.report({"val/loss": value})
        assert tuner.values["loss.bad"] == 1.0
        assert tuner.values["loss.good"] != 1.0
    assert broken.value == 1.0
    tried = [c.family for event in events(tmp_path, Applied) for c in event.changes]
    assert set(tried) == {"loss.good"}


def test_values_that_are_handed_over_move_within_their_range(tmp_path: Path) -> None:
    weights = {"aux": 0.5}
    training = Training()
    knobs = gptune.optimizer_actuators(training.optimizer) + gptune.value_actuators(
        weights, {"aux": gptune.Float(0.1, 2.0)}
    )
    seen = set()
    with gptune.Tuner(knobs, recipe=QUICK, run_dir=tmp_path / "run") as tuner:
        for value in falling(30):
            training.step(tuner.step)
            tuner.report({"val/loss": value})
            seen.add(weights["aux"])
            assert 0.1 <= weights["aux"] <= 2.0
    assert len(seen) > 2


def test_only_what_the_space_names_moves(tmp_path: Path) -> None:
    training = Training()
    space = {"weight_decay": (0.5, 2.0)}
    with gptune.Tuner(training.optimizer, space=space, run_dir=tmp_path / "run") as tuner:
        assert list(tuner.values) == ["opt.weight_decay"]


def test_several_knobs_that_are_set_as_one_may_be_registered_later(tmp_path: Path) -> None:
    training, weights = Training(), {"low": 0.5, "high": 2.0}
    with gptune.Tuner(training.optimizer, run_dir=tmp_path / "run") as tuner:
        tuner.register(gptune.Together("clip.range", gptune.value_actuators(weights, name="clip")))
        assert tuner.values == {"opt.lr": 1.0, "clip.low": 0.5, "clip.high": 2.0}
        (betas,) = (k for k in gptune.optimizer_actuators(training.optimizer) if "betas" in k.name)
        tuner.register(betas)  # the default recipe moves the rate alone
        assert "opt.momentum" not in tuner.values


def test_a_knob_registered_later_is_tuned_too_and_what_was_learnt_is_kept(tmp_path: Path) -> None:
    training, tuner = made(tmp_path)
    weights = {"aux": 0.5}
    with tuner:
        run_decisions(training, tuner, falling(9))
        assert tuner._session._proposer is not None
        known = tuner._session._proposer.state_dict()["count"]
        (knob,) = gptune.value_actuators(weights, {"aux": gptune.Float(0.1, 2.0)})
        tuner.register(knob)
        assert tuner._session._proposer.state_dict()["count"] == known > 0
        run_decisions(training, tuner, falling(20))
        with pytest.raises(ActuatorError, match="two actuators"):
            tuner.register(knob)
        with pytest.raises(ActuatorError, match="lacks"):
            tuner.register(object())  # type: ignore[arg-type]
    moved = {c.family for event in events(tmp_path, Applied) for c in event.changes}
    assert moved == {"opt.lr", "loss.aux"}


def test_without_knobs_it_says_so_and_observes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with gptune.Tuner([], run_dir=tmp_path / "run") as tuner:
        decision = tuner.report({"val/loss": 1.0})
    assert decision.verdict is Action.OBSERVED
    assert "no knob is attached" in caplog.text


def test_a_failing_disk_stops_tuning_but_never_training(tmp_path: Path) -> None:
    training, tuner = made(tmp_path)
    with tuner:
        run_decisions(training, tuner, [1.0])
        assert tuner._session.log is not None
        tuner._session.log._files = FullDisk()  # type: ignore[assignment]
        decisions = run_decisions(training, tuner, [0.5, 0.4, 0.3, 0.2])
        assert not tuner.log_ok
        assert all(decision.verdict is not Action.APPLIED for decision in decisions)
        assert tuner._session.state.pending is None
        assert tuner._session.state.log_failed


class FullDisk:
    """A disk on which nothing more can be written."""

    def write(self, handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def close(self, handle: int) -> None:
        """Nothing to do."""


def test_the_log_tells_the_schedules_value_and_what_was_really_used(tmp_path: Path) -> None:
    training, tuner = made(tmp_path)
    with tuner:
        run_decisions(training, tuner, [1.0, 0.9])
    reading = events(tmp_path, Observed)[1].knobs["opt.lr"]
    assert reading.scheduled == 1e-3
    assert reading.effective == 1e-3 * reading.move
    assert reading.move != 1.0


def test_equal_runs_write_equal_logs_and_other_seeds_other_ones(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> list[Any]:
        training, tuner = made(tmp_path / name, seed=seed)
        with tuner:
            run_decisions(training, tuner, falling(12))
        return [line.event for line in read_events(tmp_path / name / "run")]

    assert run("one", 1) == run("two", 1)
    assert run("one-more", 1)[1:] != run("other", 2)[1:]


def test_no_clock_is_read_for_a_decision(tmp_path: Path) -> None:
    class Backwards:
        def __init__(self) -> None:
            self.time = 1e9

        def now(self) -> float:
            self.time -= 1000.0
            return self.time

        elapsed = now

    def verdicts(name: str, clock: Any) -> list[Any]:
        training, tuner = made(tmp_path / name, clock=clock)
        with tuner:
            return [(d.verdict, d.changes) for d in run_decisions(training, tuner, falling(9))]

    assert verdicts("one", None) == verdicts("two", Backwards())


def test_torchs_own_random_state_is_left_alone(tmp_path: Path) -> None:
    training, tuner = made(tmp_path, acquisition="thompson")
    before = torch.get_rng_state()
    with tuner:
        run_decisions(training, tuner, falling(9))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_metric_mapping_of_another_type_is_read(tmp_path: Path) -> None:
    class Metrics(Mapping[str, float]):
        def __getitem__(self, key: str) -> float:
            return {"val/loss": 0.5}[key]

        def __iter__(self) -> Any:
            return iter(["val/loss"])

        def __len__(self) -> int:
            return 1

    _, tuner = made(tmp_path)
    with tuner:
        assert tuner.report(Metrics()).metric == 0.5


def test_a_second_tuner_on_one_optimizer_is_refused_until_the_first_is_closed(
    tmp_path: Path,
) -> None:
    training, tuner = made(tmp_path)
    with tuner, pytest.raises(ActuatorError, match="close that one first"):
        gptune.Tuner(training.optimizer, run_dir=tmp_path / "other")
    with gptune.Tuner(training.optimizer, run_dir=tmp_path / "third"):
        training.step()
    assert training.optimizer.param_groups[0]["lr"] == 1e-3


def test_a_mode_that_cannot_be_entered_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    training = Training()
    tuner = gptune.Tuner(training.optimizer, mode="off", run_dir=tmp_path / "file" / "run")
    with pytest.raises(RunDirectoryError):
        tuner.set_mode("active")
    assert tuner.mode == "off"
    assert tuner.report({"val/loss": 1.0}).number == 0


@pytest.mark.parametrize("value", [torch.tensor(0.5), np.float64(0.5), np.float32(0.5), object()])
def test_a_value_that_turns_into_another_kind_never_reaches_the_loop(
    value: Any, tmp_path: Path
) -> None:
    weights: dict[str, Any] = {"aux": 0.5}
    knobs = gptune.value_actuators(weights, {"aux": gptune.Float(0.1, 2.0)})
    with gptune.Tuner(knobs, recipe=QUICK, run_dir=tmp_path / "run") as tuner:
        for step, metric in enumerate(falling(8)):
            if step == 3:
                weights["aux"] = value
            tuner.report({"val/loss": metric})


def test_a_mapping_that_raises_in_every_way_blocks(tmp_path: Path) -> None:
    class Hostile(Mapping[str, float]):
        def __getitem__(self, key: str) -> float:
            raise BrokenError("item")

        def get(self, key: str, default: Any = None) -> Any:
            return default

        def __iter__(self) -> Any:
            raise BrokenError("iter")

        def __len__(self) -> int:
            raise BrokenError("len")

    _, tuner = made(tmp_path)
    with tuner:
        assert tuner.report(Hostile()).reasons == (Reason.MISSING,)


def test_the_range_that_the_user_gave_is_the_range(tmp_path: Path) -> None:
    class Model:
        penalty = "l1"
        negatives = 3
        aux = 0.5

    own: dict[str, Any] = {
        "penalty": gptune.Categorical(("l1", "l2", "huber")),
        "negatives": gptune.Integer(1, 8),
        "aux": gptune.Float(0.1, 2.0),
    }
    given: dict[str, Any] = {
        "model.penalty": gptune.Categorical(("l1", "l2")),
        "model.negatives": gptune.Integer(2, 4),
        "model.aux": gptune.Float(0.2, 1.0, log=True),
    }
    with gptune.Tuner(
        gptune.value_actuators(Model(), own, name="model"), space=given, run_dir=tmp_path / "run"
    ) as tuner:
        assert {f: knob.space for f, knob in tuner._session.config.knobs.items()} == given
    wrong = {"model.penalty": gptune.Categorical(("l1", "none"))}
    with pytest.raises(RecipeError, match=r"space\.model\.penalty: must lie within"):
        gptune.Tuner(gptune.value_actuators(Model(), own, name="model"), space=wrong)
    for bad in (gptune.Float(1.0, 4.0), gptune.Integer(1, 9)):
        with pytest.raises(RecipeError, match=r"space\.model\.negatives: must lie within"):
            gptune.Tuner(
                gptune.value_actuators(Model(), own, name="model"), space={"model.negatives": bad}
            )


def test_an_interrupt_while_a_change_is_made_leaves_nothing_applied(tmp_path: Path) -> None:
    training, tuner = made(tmp_path)
    assert tuner._session.log is not None
    written = tuner._session.log.append

    def interrupted(moment: Any, event: Any, *, durable: bool = False) -> bool:
        if isinstance(event, Applied):
            raise KeyboardInterrupt
        return written(moment, event, durable=durable)

    tuner._session.log.append = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run_decisions(training, tuner, [1.0])
    tuner._session.log.append = written  # type: ignore[method-assign]
    assert tuner._session.hands["opt.lr"].actuator.read() == 1.0
    tuner.close()
    assert [event.message for event in events(tmp_path, Failed)] == ["interrupted"]
    assert audit(tmp_path / "run").holds


@pytest.mark.parametrize("where", ["fresh", "its own"])
def test_a_state_that_is_loaded_in_mode_off_is_in_force_once_the_mode_is_on(
    where: str, tmp_path: Path
) -> None:
    training, tuner = made(tmp_path)
    run_decisions(training, tuner, [1.0, 0.9, 0.8, 0.7])
    tuner.set_mode("observe")  # puts back what is open; what was kept stays
    state = tuner.state_dict()
    tuner.close()
    place = tmp_path / "run" if where == "its own" else tmp_path / "other"
    again = gptune.Tuner(Training().optimizer, recipe=QUICK, run_dir=place, mode="off", resume=True)
    again.load_state_dict(state)
    again.step()
    assert (again.mode, again.run_dir) == ("off", None)
    again.set_mode("active")
    again.step()  # waits for no other state
    again.report({"val/loss": 0.6})
    assert again.values.keys() == tuner.values.keys()
    again.close()
    assert again.steps == tuner.steps + 2
    assert audit(place).holds


def test_a_state_that_is_loaded_in_mode_off_leaves_the_log_of_another_run_alone(
    tmp_path: Path,
) -> None:
    training, tuner = made(tmp_path)
    run_decisions(training, tuner, [1.0, 0.9])
    state = tuner.state_dict()
    tuner.close()
    place = tmp_path / "other"
    gptune.Tuner(Training().optimizer, recipe=QUICK, run_dir=place, seed=9).close()
    before = (place / "events.jsonl").read_bytes()
    again = gptune.Tuner(Training().optimizer, recipe=QUICK, run_dir=place, mode="off", resume=True)
    again.load_state_dict(state)
    with pytest.raises(StateError, match="does not belong"):
        again.set_mode("active")
    assert again.mode == "off"
    assert (place / "events.jsonl").read_bytes() == before


def test_a_named_criterion_and_the_length_stand_in_the_log(tmp_path: Path) -> None:
    _, tuner = made(tmp_path, acquisition="ucb", total_steps=70)
    tuner.close()
    (opened,) = events(tmp_path, Opened)
    assert opened.recipe["search"]["acquisition"] == "ucb"
    assert opened.total_steps == 70


def test_a_knob_that_is_quarantined_pauses_tuning_and_the_log_says_so(tmp_path: Path) -> None:
    knob = FakeKnob()
    tuner = gptune.Tuner([knob], recipe=QUICK, run_dir=tmp_path / "run")
    knob.fails = {"apply"}
    with tuner:
        tuner.report({"val/loss": 1.0})
    assert [event.reasons for event in events(tmp_path, Paused)] == [(Reason.QUARANTINED,)]
