"""Every field of the recipe has an effect: changing it alone changes what a run writes down.

What is compared are the lines of events.jsonl without ``opened``, which quotes the recipe, and
without ``wall`` and ``checksum``.
"""

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
import torch

from gptune import Recipe, Tuner
from gptune.run_directory.names import EVENTS
from tests.doubles import FakeKnob
from tests.living import CALIBRATED, Living

STEPS = 3  # optimizer steps before each report
Values = Mapping[str, Any]

# What acts on a model that trains: path -> another value.
ON_A_MODEL: Values = {
    "guard.enabled": False,
    "guard.spike": 1e9,
    "guard.lost_progress": 1.0,
    "guard.snapshots": 1,
    "guard.budget_mb": 1e-6,
    "guard.max_restores": 0,
    "calibration.enabled": False,
    "calibration.budget": 0.05,
    "calibration.method": "race",
    "calibration.then": "search",
}
ONE_VALUE = {"version"}  # there is no other value to change it to


# --- all the fields, by their types -------------------------------------------------------------


def fields_of(kind: Any, path: str = "") -> Iterator[str]:
    """List the fields of a struct by their paths; a ``*`` stands for a name of the user's own."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for part in msgspec.structs.fields(kind):
            yield from fields_of(part.type, f"{path}.{part.name}".lstrip("."))
    elif get_origin(kind) is dict and _is_struct(get_args(kind)[1]):
        yield from fields_of(get_args(kind)[1], f"{path}.*")
    else:
        yield path


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


ALL = sorted(fields_of(Recipe))


# --- what each is changed to, and where that matters ----------------------------------------------


@dataclass(frozen=True)
class Case:
    """A change of one field, beside a recipe and a run in which it matters."""

    change: Values
    beside: Values = field(default_factory=dict)
    metrics: str = "noisy"
    fails: bool = False  # loss.aux breaks when it is moved


def noisy() -> Iterator[dict[str, Any]]:
    chance = random.Random(4)
    for number in range(16):
        loss = 1 / (number + 3) + 0.02 * chance.random()
        yield {"val/loss": loss, "other": -loss, "grad/norm": 1.0 + chance.random()}


def falling() -> Iterator[dict[str, Any]]:
    """A loss that falls faster and faster: every change looks good."""
    return ({"val/loss": 10.0 - 0.01 * number**2} for number in range(12))


def rising() -> Iterator[dict[str, Any]]:
    """A loss that rises faster and faster: every change looks bad."""
    return ({"val/loss": 1.0 + 0.01 * number**2} for number in range(12))


def nan_backup() -> Iterator[dict[str, Any]]:
    return ({**row, "grad/norm": math.nan if n == 3 else 1.0} for n, row in enumerate(noisy()))


def anomaly() -> Iterator[dict[str, Any]]:
    return ({**row, "anomaly": n == 3} for n, row in enumerate(noisy()))


def jump() -> Iterator[dict[str, Any]]:
    """A noisy level that once jumps up."""
    return ({"val/loss": 1.0 + 0.01 * (-1) ** n + (0.2 if n == 9 else 0.0)} for n in range(12))


def well_below() -> Iterator[dict[str, Any]]:
    """A noisy level, and once in a while a loss that is rather surely better than its forecast."""
    return ({"val/loss": 1.0 - 0.003 * n + 0.004 * (-1) ** (n * n // 2)} for n in range(24))


RUNS = {
    run.__name__: run for run in (noisy, falling, rising, nan_backup, anomaly, jump, well_below)
}
BASE: Values = {
    "objective.backup_metrics": ["grad/norm"],
    "actuators.opt.mutations.lr": {"mode": "mult", "bounds": [0.5, 2.0], "max_step": 1.5},
    "actuators.loss.keys.aux": {"mode": "mult", "bounds": [0.5, 2.0], "max_step": 1.5},
    "search.algorithm": "random",
    "search.startup_trials": 0,
    "acceptance.reference": "last",
    "safety.global_cooldown": 0,
    "safety.max_global_reject_streak": 99,
}
GP: Values = {"search.algorithm": "gp"}
FORECAST: Values = {"acceptance.reference": "forecast"}
REGION = "search.trust_region"


def knob_cases(path: str) -> list[Case]:
    """Change each field of one knob's mutation."""
    changes: Values = {
        "mode": "set",
        "bounds": [0.9, 1.1],
        "max_step": 1.1,
        "prior_center": 1.4,
        "cooldown": 4,
        "risk": "high",
        "phases": ["late"],
    }
    return [Case({f"{path}.{name}": value}) for name, value in changes.items()]


CASES = [
    Case({"mode": "suggest"}),
    Case({"objective.primary": "other"}),
    Case({"objective.mode": "max"}),
    Case({"objective.backup_metrics": ["other"]}),
    # The phases tile the run, so where one ends the next one starts: two fields, one change.
    Case({"phases.early.end_frac": 0.4, "phases.mid.start_frac": 0.4}),
    Case({"actuators.opt.enabled": False}),
    Case({"actuators.loss.enabled": False}),
    *knob_cases("actuators.opt.mutations.lr"),
    *knob_cases("actuators.loss.keys.aux"),
    Case({"search.algorithm": "gp"}),
    Case({"search.algorithm": "none"}),
    Case({"search.acquisition": "ucb"}, GP),
    Case({"search.kernel": "rbf"}, GP),
    Case({"search.warp": "auto"}, GP, "rising"),
    Case({"search.startup_trials": 3}, GP),
    Case({"search.joint": True}),
    Case({"search.every": 2}),
    Case({"search.max_observations": 4}, GP),
    Case({"search.decay.kind": "none"}, GP),
    Case({"search.decay.half_life": 2.0}, GP),
    Case({"search.decay.window": 2}, {**GP, "search.decay": {"kind": "window", "window": 5}}),
    Case({"search.decay.detrend": True}, GP),
    Case({f"{REGION}.enabled": False}, {f"{REGION}.initial": 0.1}),
    Case({f"{REGION}.initial": 0.1}),
    Case({f"{REGION}.minimum": 0.3}, metrics="rising"),
    Case({f"{REGION}.maximum": 0.1}, {f"{REGION}.initial": 0.1}, "falling"),
    Case({f"{REGION}.expand": 1.5}, {f"{REGION}.initial": 0.1}, "falling"),
    Case({f"{REGION}.shrink": 0.3}, metrics="rising"),
    Case({f"{REGION}.successes": 1}, {f"{REGION}.initial": 0.1}, "falling"),
    Case({f"{REGION}.failures": 1}, metrics="rising"),
    Case({"search.prior_runs": ["earlier"]}, GP),
    Case({"acceptance.reference": "forecast"}),
    Case({"acceptance.epsilon": 0.05}),
    Case({"acceptance.probability": 0.6}, FORECAST, "well_below"),
    Case({"acceptance.horizon": 2}),
    Case({"acceptance.rollback_on_reject": False}, metrics="rising"),
    Case({"acceptance.lower_after_start": "free"}, FORECAST, "well_below"),
    Case({"safety.block_on_nan": False}, metrics="nan_backup"),
    Case({"safety.block_on_anomaly": False}, metrics="anomaly"),
    Case({"safety.max_regression": 1e3}, FORECAST, "jump"),
    Case({"safety.patience": 1}, FORECAST, "jump"),
    Case({"safety.warmup": 3}),
    Case({"safety.start_below": 0.2}),
    Case({"safety.max_global_reject_streak": 2}, metrics="rising"),
    Case({"safety.pause_decisions": 2}, {"safety.max_global_reject_streak": 2}, "rising"),
    Case({"safety.global_cooldown": 2}),
    Case({"safety.on_error": "disable"}, fails=True),
]


def named(path: str) -> str:
    """Put a ``*`` for the user's own names."""
    parts = path.split(".")
    own = {"phases": (1,), "actuators": (1, 3)}.get(parts[0], ())
    return ".".join("*" if i in own and i < len(parts) - 1 else p for i, p in enumerate(parts))


# --- running them ---------------------------------------------------------------------------------


def build(*changes: Values) -> dict[str, Any]:
    """Give the default recipe with fields changed, ``section.field`` -> value."""
    data = Recipe().to_dict()
    for path, value in ((p, v) for change in changes for p, v in change.items()):
        *sections, name = path.split(".")
        place = data
        for section in sections:
            place = place[section]
        place[name] = copy.deepcopy(value)
    return data


def run(run_dir: Path, recipe: dict[str, Any], case: Case) -> list[dict[str, Any]]:
    """Train nothing, report made-up metrics; give the lines but ``opened``."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    weight = FakeKnob("loss.aux", fails={"apply"} if case.fails else set())
    rows = list(RUNS[case.metrics]())
    total = STEPS * len(rows)
    with Tuner(
        [optimizer, weight], recipe=recipe, run_dir=run_dir, total_steps=total, seed=1
    ) as tuner:
        for row in rows:
            for _ in range(STEPS):
                optimizer.step()
                tuner.step()
            tuner.report(row)
    return essence(run_dir)


def essence(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / EVENTS).read_bytes().splitlines()]
    kept = [line for line in lines if line["kind"] != "opened"]
    return [{k: v for k, v in line.items() if k not in ("wall", "checksum")} for line in kept]


def test_every_field_is_changed_here_but_those_that_cannot_act() -> None:
    changed = {named(path) for case in CASES for path in case.change}
    assert sorted(changed | ONE_VALUE | ON_A_MODEL.keys()) == ALL
    assert not changed & (ONE_VALUE | ON_A_MODEL.keys())
    together = [set(map(named, case.change)) for case in CASES if len(case.change) > 1]
    assert together == [{"phases.*.start_frac", "phases.*.end_frac"}]


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], list[Any]]:
    """Run without the change; cases that differ in the change alone share that run."""
    made: dict[str, list[Any]] = {}

    def give(case: Case) -> list[Any]:
        key = repr((case.beside, case.metrics, case.fails))
        if key not in made:
            directory = tmp_path_factory.mktemp("unchanged")
            made[key] = run(directory, build(BASE, case.beside), case)
        return made[key]

    return give


@pytest.mark.parametrize("case", CASES, ids=lambda case: next(iter(case.change)))
def test_a_changed_field_changes_the_log(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unchanged: Callable[[Case], list[Any]],
) -> None:
    monkeypatch.chdir(tmp_path)  # a run that is named in a recipe lies beside it
    if "search.prior_runs" in case.change:
        run(tmp_path / "earlier", build(BASE), Case({}))
    given = build(BASE, case.beside, case.change)
    assert given != build(BASE, case.beside)
    assert run(tmp_path / "changed", given, case) != unchanged(case)


@pytest.mark.parametrize("beside", [{}, GP], ids=["random", "gp"])
def test_nothing_else_changes_it(
    beside: Values, tmp_path: Path, unchanged: Callable[[Case], list[Any]]
) -> None:
    case = Case({}, beside)
    assert run(tmp_path / "again", build(BASE, beside), case) == unchanged(case)


TROUBLED: Values = {"calibration.enabled": False, "search.algorithm": "none"}


def train(run_dir: Path, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Train a model that is calibrated, or that everything happens to."""
    is_troubled = recipe.get("calibration", {}).get("enabled") is False and "search" in recipe
    model = Living(run_dir, recipe=recipe, steps=1200)
    if is_troubled:
        model.train(160, every=0)
        have_trouble(model)
    else:
        model.train(2 * CALIBRATED)
    model.tuner.close()
    return essence(run_dir)


def have_trouble(model: Living) -> None:
    """Report progress, a spike, a slow loss of the progress; then lose the weights twice."""
    rising = [2.0 - 0.1 * n for n in range(16)]
    falling = [0.5 + 0.02 * n for n in range(1, 60)]
    for loss in [*rising, 9.0, *falling, math.nan, math.nan]:
        if math.isnan(loss):
            model.model.load_state_dict(
                {k: torch.full_like(v, math.nan) for k, v in model.model.state_dict().items()}
            )
        model.tuner.report({"val/loss": loss})
        model.train(5, every=0)


@pytest.mark.parametrize("path", ON_A_MODEL)
def test_a_changed_field_changes_what_happens_to_a_model(path: str, tmp_path: Path) -> None:
    beside = TROUBLED if path.startswith("guard.") else {}
    before = train(tmp_path / "before", build({}, beside))
    assert train(tmp_path / "again", build({}, beside)) == before
    given = build({}, beside, {path: ON_A_MODEL[path]})
    assert train(tmp_path / "after", given) != before
