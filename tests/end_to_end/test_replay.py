"""A replayed run makes the recorded changes at their steps, and ends with the same weights."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

import gptune
from gptune import Tuner
from gptune.cli import main
from gptune.errors import ActuatorError, EventLogError, RecipeError
from gptune.events import Proposed
from gptune.recipe.export import export_schedule
from gptune.recipe.recorded import Movement, read_movements
from gptune.run_directory import control
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk
from gptune.run_directory.names import EVENTS

STEPS, EVERY = 130, 5
MOVES: dict[str, Any] = {"bounds": [0.2, 5.0], "max_step": 1.5, "cooldown": 0}
RECIPE: dict[str, Any] = {
    "actuators": {
        "opt": {"mutations": {"lr": MOVES, "weight_decay": MOVES}},
        "loss": {"keys": {"aux": MOVES}},
        "model": {"mutations": {"dropout": {"mode": "set", "bounds": [0.0, 0.5]}}},
    },
    "search": {"algorithm": "random", "startup_trials": 0},
    "acceptance": {"probability": 0.6},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 6, "pause_decisions": 3},
}
JOINT = {**RECIPE, "search": {**RECIPE["search"], "joint": True}}


class Run:
    """AdamW, a cosine, dropout, and a weighted loss: knobs of every kind, all of which matter."""

    def __init__(self, *, constant: bool = False) -> None:
        torch.manual_seed(11)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2, weight_decay=0.1)
        self.scheduler = None if constant else CosineAnnealingLR(self.optimizer, STEPS)
        self.weights = {"aux": 0.5}
        self.inputs = torch.randn(32, 6)
        self.targets = self.inputs[:, :2].sin()
        self.chance = random.Random(3)

    def knobs(self) -> list[Any]:
        values = gptune.value_actuators(self.weights)
        return [self.optimizer, *values, gptune.dropout_actuator(self.model)]

    def train(
        self, tuner: Tuner | None, steps: int = STEPS, scheduler: LambdaLR | None = None
    ) -> None:
        """Train to step ``steps``, and report every so often."""
        schedule = self.scheduler or scheduler
        for step in range(tuner.steps if tuner else 0, steps):
            self.optimizer.zero_grad()
            one, other = (self.model(self.inputs) - self.targets).square().mean(0)
            (one + self.weights["aux"] * other).backward()
            self.optimizer.step()
            if tuner is not None:
                tuner.step()
            if schedule is not None:
                schedule.step()
            if tuner is not None and (step + 1) % EVERY == 0:
                loss = 1 / (step + 20) + 0.001 * self.chance.random()
                tuner.report({"val/loss": loss})

    def result(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.model.parameters()]

    def checkpoint(self) -> dict[str, Any]:
        assert self.scheduler is not None
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "chance": torch.get_rng_state(),
        }

    def load(self, saved: dict[str, Any]) -> None:
        assert self.scheduler is not None
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        torch.set_rng_state(saved["chance"])


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def record(run_dir: Path, recipe: dict[str, Any] = RECIPE) -> list[Tensor]:
    run = Run()
    with Tuner(run.knobs(), recipe=recipe, run_dir=run_dir, total_steps=STEPS, seed=2) as tuner:
        run.train(tuner)
    return run.result()


def replaying(run: Run, run_dir: Path, source: Path, **more: Any) -> Tuner:
    chosen: dict[str, Any] = {"recipe": RECIPE, "total_steps": STEPS, "mode": "replay", **more}
    return Tuner(run.knobs(), run_dir=run_dir, replay=source, **chosen)


def replay(run_dir: Path, source: Path, **more: Any) -> list[Tensor]:
    run = Run()
    with replaying(run, run_dir, source, **more) as tuner:
        run.train(tuner)
    return run.result()


def made(run: Path) -> list[tuple[int, str, Any]]:
    """List step, knob and new move of everything that a run or a file says."""
    return [(m.step, m.family, m.new) for m in read_movements(run)]


def steer_while_training(run: Run, tuner: Tuner, run_dir: Path) -> None:
    """Move knobs by hand between two reports, and pin, and undo."""
    orders: dict[int, tuple[str, dict[str, Any]]] = {
        0: ("apply", {"moves": {"loss.aux": 2.0}}),
        63: ("apply", {"moves": {"opt.lr": 3.0, "opt.weight_decay": 0.25}}),
        100: ("pin", {"family": "opt.lr"}),
        127: ("rollback", {"to": 4}),
    }
    for at in (*orders, STEPS):
        run.train(tuner, at)
        if at in orders:
            control.send(Disk(), run_dir, *orders[at])


@pytest.mark.parametrize("recipe", [RECIPE, JOINT], ids=["single", "joint"])
def test_a_replay_makes_the_same_changes_and_ends_with_the_same_weights(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    expected = record(tmp_path / "one", recipe)
    rows = read_movements(tmp_path / "one")
    assert {m.family for m in rows} == {"opt.lr", "opt.weight_decay", "loss.aux", "model.dropout"}
    assert {m.status for m in rows} == {"applied", "rolled_back"}
    plain = Run()
    plain.train(None)
    assert not equal(plain.result(), expected), "the changes matter"
    assert equal(replay(tmp_path / "two", tmp_path / "one", recipe=recipe), expected)
    assert made(tmp_path / "two") == made(tmp_path / "one")
    events = [line.event for line in read_events(tmp_path / "two")]
    assert {e.source for e in events if isinstance(e, Proposed)} == {"replay"}


def test_what_people_did_is_replayed_too(tmp_path: Path) -> None:
    run = Run()
    with Tuner(
        run.knobs(), recipe=RECIPE, run_dir=tmp_path / "one", total_steps=STEPS, seed=2
    ) as tuner:
        steer_while_training(run, tuner, tmp_path / "one")
    rows = read_movements(tmp_path / "one")
    assert {m.step for m in rows if m.source == "human"} >= {5, 64, 128}
    assert equal(replay(tmp_path / "two", tmp_path / "one"), run.result())
    assert made(tmp_path / "two") == made(tmp_path / "one")


def test_a_replay_is_replayed_as_well(tmp_path: Path) -> None:
    expected = record(tmp_path / "one")
    replay(tmp_path / "two", tmp_path / "one")
    assert equal(replay(tmp_path / "three", tmp_path / "two"), expected)


def test_a_bare_file_of_movements_serves_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = record(tmp_path / "one")
    assert main(["--dir", str(tmp_path / "one"), "export", "--mutations"]) == 0
    file = tmp_path / "moves.jsonl"
    file.write_text(capsys.readouterr().out)
    assert made(file) == made(tmp_path / "one")
    assert equal(replay(tmp_path / "two", file), expected)


@pytest.mark.parametrize("stop", [1, 42, 64, 129])
def test_a_replay_that_is_killed_and_resumed_ends_with_the_same_weights(
    stop: int, tmp_path: Path
) -> None:
    expected = record(tmp_path / "one")
    first = Run()
    tuner = replaying(first, tmp_path / "two", tmp_path / "one")
    first.train(tuner, stop)
    path = tmp_path / "checkpoint.pt"
    torch.save({"training": first.checkpoint(), "gptune": tuner.state_dict()}, path)
    first.train(tuner, min(STEPS, stop + 20))
    assert tuner._session.log is not None
    tuner._session.log.close()  # what the kernel does for a process that dies
    second = Run()
    saved = torch.load(path, weights_only=True)
    with replaying(second, tmp_path / "two", tmp_path / "one", resume=True) as tuner:
        second.load(saved["training"])
        tuner.load_state_dict(saved["gptune"])
        second.train(tuner)
    assert equal(second.result(), expected)
    assert made(tmp_path / "two") == made(tmp_path / "one")


def test_a_replay_that_goes_back_in_the_same_process_makes_the_changes_again(
    tmp_path: Path,
) -> None:
    expected = record(tmp_path / "one")
    run = Run()
    with replaying(run, tmp_path / "two", tmp_path / "one") as tuner:
        run.train(tuner, 42)
        path = tmp_path / "checkpoint.pt"
        torch.save({"training": run.checkpoint(), "gptune": tuner.state_dict()}, path)
        run.train(tuner, 120)
        saved = torch.load(path, weights_only=True)
        run.load(saved["training"])
        tuner.load_state_dict(saved["gptune"])
        run.train(tuner)
    assert equal(run.result(), expected)
    assert made(tmp_path / "two") == made(tmp_path / "one")


def test_an_exported_schedule_does_the_same_to_the_rate_without_any_tuning(
    tmp_path: Path,
) -> None:
    tuned = Run(constant=True)
    recipe = {**RECIPE, "actuators": {"opt": RECIPE["actuators"]["opt"]}}
    recipe["actuators"]["opt"] = {"mutations": {"lr": MOVES}}
    with Tuner(tuned.optimizer, recipe=recipe, run_dir=tmp_path / "one", seed=2) as tuner:
        tuned.train(tuner)
    file = tmp_path / "one.schedule.json"
    file.write_text(json.dumps(export_schedule(tmp_path / "one")))
    factor = gptune.schedule.recorded(file)
    assert len(set(factor.factors)) > 3
    untuned = Run(constant=True)
    untuned.train(None, scheduler=LambdaLR(untuned.optimizer, factor))
    assert equal(untuned.result(), tuned.result())


# --- what is refused at the start -----------------------------------------------------------------


def row(**changes: Any) -> dict[str, Any]:
    first = Movement(step=5, family="opt.lr", new=1.5, old=1.0, decision=1, id="1:opt.lr")
    fields = {name: getattr(first, name) for name in Movement.__struct_fields__}
    return {**fields, **changes}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    return path


BAD_ROWS: list[tuple[list[dict[str, Any]], type[Exception], str]] = [
    (
        [row(family="opt.lrr")],
        ActuatorError,
        r"^replay: opt\.lrr moved in the recorded run and is not attached here; .*'opt\.lr'",
    ),
    ([row(new=6.0)], RecipeError, r"opt\.lr 1\.0 -> 6\.0 at step 5 .*\(bounds\)"),
    ([row(new=2.0)], RecipeError, r"opt\.lr 1\.0 -> 2\.0 at step 5 .*\(step\)"),
    ([row(new=1.0)], RecipeError, r"opt\.lr 1\.0 -> 1\.0 at step 5 .*\(no change\)"),
    ([row(new="much")], RecipeError, r"opt\.lr 1\.0 -> 'much' at step 5 .*\(bad value\)"),
    ([row(new=True)], RecipeError, r"opt\.lr 1\.0 -> True at step 5 .*\(bad value\)"),
    ([row(step=9), row(step=5, new=1.2)], RecipeError, r"^replay: steps must count up from 0"),
    ([row(step=-1)], RecipeError, r"^replay: steps must count up from 0"),
]


@pytest.mark.parametrize(("rows", "error", "message"), BAD_ROWS)
def test_what_cannot_be_made_here_is_refused_before_the_first_step(
    rows: list[dict[str, Any]], error: type[Exception], message: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "moves.jsonl", *rows)
    with pytest.raises(error, match=message):
        replaying(Run(), tmp_path / "two", file)
    assert not (tmp_path / "two").exists(), "nothing is left behind"


def test_a_person_may_have_gone_further_than_one_step(tmp_path: Path) -> None:
    file = write(tmp_path / "moves.jsonl", row(new=4.0, source="human"))
    run = Run()
    with replaying(run, tmp_path / "two", file) as tuner:
        run.train(tuner, 5)
        assert tuner.values["opt.lr"] == 4.0


def test_a_risky_knob_is_not_moved_by_a_replay(tmp_path: Path) -> None:
    file = write(tmp_path / "moves.jsonl", row())
    recipe = {**RECIPE, "actuators": {"opt": {"mutations": {"lr": {**MOVES, "risk": "high"}}}}}
    with pytest.raises(RecipeError, match=r"not allowed here \(risk\)"):
        replaying(Run(), tmp_path / "two", file, recipe=recipe)


def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def damaged_log(tmp_path: Path) -> Path:
    record(tmp_path / "one")
    log = tmp_path / "one" / EVENTS
    log.write_bytes(log.read_bytes().replace(b'"applied"', b'"bpplied"', 1))
    return tmp_path / "one"


def damaged_file(tmp_path: Path) -> Path:
    file = write(tmp_path / "moves.jsonl", row())
    file.write_bytes(file.read_bytes() + b'{"step": 7, "fam')
    return file


def binary(tmp_path: Path) -> Path:
    (tmp_path / "moves.jsonl").write_bytes(b"\x00\xff\xfe" * 9)
    return tmp_path / "moves.jsonl"


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (empty, RecipeError, r"^replay: '.*empty' holds no events\.jsonl"),
        (lambda path: path / "none", RecipeError, r"^replay: '.*none' cannot be read"),
        (damaged_log, EventLogError, r"events\.jsonl, line \d+: "),
        (damaged_file, RecipeError, r"^replay: '.*moves\.jsonl', line 2: "),
        (binary, RecipeError, r"^replay: '.*moves\.jsonl', line 1: "),
    ],
    ids=["not a run", "not there", "damaged log", "damaged file", "no text"],
)
def test_what_cannot_be_read_is_refused(
    source: Callable[[Path], Path], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        replaying(Run(), tmp_path / "two", source(tmp_path))
    assert not (tmp_path / "two").exists()


MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"mode": "replay"}, "^mode: 'replay' needs replay= beside it"),
    ({"mode": "active", "replay": "x"}, "^replay: needs mode 'replay', got 'active'"),
    ({"mode": "off", "replay": "x"}, "^replay: needs mode 'replay', got 'off'"),
    ({"replay": "x"}, "^replay: needs mode 'replay', got 'active'"),
]


@pytest.mark.parametrize(("chosen", "message"), MISFITS, ids=str)
def test_mode_and_source_belong_together(
    chosen: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        Tuner(Run().optimizer, run_dir=tmp_path / "run", **chosen)
    assert not (tmp_path / "run").exists()


def test_a_run_that_does_not_replay_cannot_begin_to(tmp_path: Path) -> None:
    with Tuner(Run().optimizer, run_dir=tmp_path / "run") as tuner:
        with pytest.raises(RecipeError, match=r"^mode: 'replay' needs replay="):
            tuner.set_mode("replay")
        assert tuner.mode == "active"
