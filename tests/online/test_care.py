"""What looks after the training state, seen from the Tuner: how often, and at what cost."""

from pathlib import Path

from gptune.online.care import NEVER
from gptune.online.playing import POLL
from gptune.online.rescue import EVERY
from tests.living import CALIBRATED, Living


def looks(run: Living) -> int:
    return run.tuner._look_at - run.tuner.steps


def test_every_step_is_looked_at_during_a_calibration_and_few_afterwards(tmp_path: Path) -> None:
    run = Living(tmp_path / "run")
    run.train(10, every=0)
    assert looks(run) == 1
    run.train(CALIBRATED, every=0)
    assert 1 <= looks(run) <= EVERY


def test_without_a_model_nothing_is_kept_or_looked_at(tmp_path: Path) -> None:
    run = Living(tmp_path / "run", evaluate=None, mode="observe")
    run.train(3, every=0)
    assert run.tuner._losses is None
    assert looks(run) <= POLL
    run.tuner.close()
    assert run.tuner._care.next_look(5) in (NEVER, EVERY)


def test_losses_do_not_pile_up(tmp_path: Path) -> None:
    run = Living(tmp_path / "run", mode="guard")
    most = 0
    for _ in range(100):
        run.train(1, every=0)
        most = max(most, len(run.tuner._losses or []))
    assert most < EVERY
    assert all(not loss.requires_grad for loss in run.tuner._losses or [])
    run.tuner.set_mode("observe")
    run.train(100, every=0)
    assert run.tuner._losses is None
