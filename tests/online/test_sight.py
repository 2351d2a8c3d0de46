"""What a decision sees."""

from typing import Any

from gptune.configs import Objective
from gptune.events import KnobReading
from gptune.online.sight import Sight, absence, look
from gptune.records import Reason

OBJECTIVE = Objective(primary="val/loss", backup_metrics=("grad/norm", "norm/weights"))


def test_objective_backups_flag_and_knobs_are_each_read_once() -> None:
    asked: list[str] = []

    def source(name: str, default: Any) -> Any:
        asked.append(name)
        return {"val/loss": 0.5, "grad/norm": float("nan")}.get(name, default)

    readings = {"loss.aux": KnobReading(1.0, None, 1.0)}
    seen = look(Sight(OBJECTIVE), readings, (source, 12))
    assert sorted(asked) == ["anomaly", "grad/norm", "norm/weights", "val/loss"]
    assert seen.step == 12
    assert seen.objective.value == 0.5
    assert seen.backups["grad/norm"].fault is Reason.NOT_FINITE
    assert seen.backups["norm/weights"].fault is Reason.MISSING
    assert seen.knobs == readings
    assert not seen.anomaly


def test_without_a_report_evaluate_gives_the_objective_alone() -> None:
    seen = look(Sight(OBJECTIVE, evaluate=lambda: 0.25), {}, (None, 1))
    assert seen.objective.value == 0.25
    assert seen.backups["grad/norm"].fault is Reason.MISSING


def test_an_absent_objective_is_told_with_what_was_meant() -> None:
    assert "did you mean 'val_loss'?" in absence("val/loss", {"val_loss": 1.0})
    assert "pass it to report()" in absence("val/loss", None)
