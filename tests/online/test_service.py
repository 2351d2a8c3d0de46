"""Orders from another terminal; the rest of it is in `test_session`."""

from pathlib import Path

from gptune.events import Command
from gptune.run_directory import control
from gptune.run_directory.file_system import Disk
from tests.living import Living


def test_an_order_is_written_down_before_it_is_done_and_answered(tmp_path: Path) -> None:
    run = Living(tmp_path / "run", mode="observe")
    ident = control.send(Disk(), run.run_dir, "set", {"changes": {"safety.patience": 5}})
    run.tuner.report()
    (command,) = run.events(Command)
    assert (command.verb, command.accepted) == ("set", True)
    assert run.tuner.recipe.safety.patience == 5
    answer = control.read_answer(Disk(), run.run_dir, ident)
    assert answer is not None
    assert answer.accepted


def test_after_the_end_an_order_is_answered_but_not_done(tmp_path: Path) -> None:
    run = Living(tmp_path / "run", mode="observe")
    ident = control.send(Disk(), run.run_dir, "pin", {"family": "opt.lr"})
    run.tuner.close()
    answer = control.read_answer(Disk(), run.run_dir, ident)
    assert answer is not None
    assert (answer.accepted, answer.message) == (False, "the run has ended")
