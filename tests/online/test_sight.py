"""What a decision sees."""

from typing import Any

from gptune.actuators import optimizer_actuators
from gptune.configs import Objective, Recipe
from gptune.online.setup import make_hands
from gptune.online.sight import Sight, absence, look
from gptune.records import Reason
from tests.doubles import FakeKnob, hands_of
from tests.training import Training

OBJECTIVE = Objective(primary="val/loss", backup_metrics=("grad/norm", "norm/weights"))


def test_objective_backups_flag_and_knobs_are_each_read_once() -> None:
    asked: list[str] = []

    def source(name: str, default: Any) -> Any:
        asked.append(name)
        return {"val/loss": 0.5, "grad/norm": float("nan")}.get(name, default)

    knob = FakeKnob()
    seen = look(Sight(OBJECTIVE), hands_of(knob), {"loss.aux": 1.0}, (source, 12))
    assert sorted(asked) == ["anomaly", "grad/norm", "norm/weights", "val/loss"]
    assert seen.step == 12
    assert seen.objective.value == 0.5
    assert seen.backups["grad/norm"].fault is Reason.NOT_FINITE
    assert seen.backups["norm/weights"].fault is Reason.MISSING
    assert seen.knobs["loss.aux"].effective == 1.0
    assert not seen.anomaly


def test_without_a_report_evaluate_gives_the_objective_alone() -> None:
    seen = look(Sight(OBJECTIVE, evaluate=lambda: 0.25), {}, {}, (None, 1))
    assert seen.objective.value == 0.25
    assert seen.backups["grad/norm"].fault is Reason.MISSING


def test_a_knob_that_cannot_be_read_is_shown_as_unknown() -> None:
    knob = FakeKnob()
    hands = hands_of(knob)
    knob.fails = {"read"}
    seen = look(Sight(OBJECTIVE), hands, {"loss.aux": 1.0}, ({"val/loss": 1.0}, 1))
    assert seen.knobs["loss.aux"].effective is None


def test_what_a_failed_step_left_scaled_is_healed_first() -> None:
    training = Training()
    (lr, *_) = optimizer_actuators(training.optimizer)
    hands = make_hands(Recipe(), [lr])
    lr.attach()
    lr.apply(3.0)
    lr._hooks._scale(training.optimizer, (), {})  # a step that began and never ended
    assert training.optimizer.param_groups[0]["lr"] == 3e-3
    seen = look(Sight(OBJECTIVE), hands, {"opt.lr": 3.0}, ({"val/loss": 1.0}, 1))
    assert training.optimizer.param_groups[0]["lr"] == 1e-3
    assert seen.knobs["opt.lr"].scheduled == 1e-3


def test_an_absent_objective_is_told_with_what_was_meant() -> None:
    assert "did you mean 'val_loss'?" in absence("val/loss", {"val_loss": 1.0})
    assert "pass it to report()" in absence("val/loss", None)
