"""``gptune study run``, ``resume``, ``validate``, ``importance`` and ``plot``."""

import importlib
import json
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gptune.errors import StudyError, UsageError
from gptune.foreign import foreign_call
from gptune.printable import printable
from gptune.study.executors import Executor, Here, Processes
from gptune.study.pruners import (
    NoPruner,
    PatiencePruner,
    PercentilePruner,
    Pruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    median_pruner,
)
from gptune.study.samplers import GridSampler, RandomSampler, Sampler, SobolSampler
from gptune.study.storage import Storage
from gptune.study.study import Study


def run(args: Namespace) -> int:
    """Run the first trials of a study."""
    storage = Storage(args.storage)
    there = storage.find(args.name)
    if there is not None and storage.changes(there.id, 0).begun:
        raise StudyError(
            f"study {args.name!r}: has trials already; go on with gptune study resume {args.name} "
            f"{args.objective}"
        )
    if there is not None and args.direction not in (None, there.direction):
        raise UsageError(f"--direction: the study is to {there.direction}, got {args.direction!r}")
    direction = there.direction if there is not None else args.direction or "minimize"
    return _optimize(args, storage, direction, resume=there is not None)


def resume(args: Namespace) -> int:
    """Run more trials of a study that is there."""
    with Study.load(args.name, args.storage) as there:
        direction = there.direction
    return _optimize(args, Storage(args.storage), direction, resume=True)


def validate(args: Namespace) -> int:
    """Measure the best trials again."""
    objective = find_objective(args.objective)
    with Study.load(args.name, args.storage) as there:
        direction = there.direction
    with Study(args.name, storage=args.storage, direction=direction, resume=True) as study:
        for one in study.validate(objective, top=args.top, repeats=args.repeats):
            print(printable(str(one)))
    return 0


def importance(args: Namespace) -> int:
    """Say how much each parameter matters."""
    with Study.load(args.name, args.storage) as study:
        found = study.importance()
    if args.json:
        print(json.dumps({name: asdict(one) for name, one in found.items()}))
        return 0
    for name, one in found.items():
        print(f"{one.total:6.1%}  {printable(name)}  (alone {one.first:.1%})")
    return 0


def plot(args: Namespace) -> int:
    """Draw a study."""
    from gptune import plots

    out = Path(args.out or f"{args.name}-{args.kind}.html".replace("/", "-"))
    with Study.load(args.name, args.storage) as study:
        figure = getattr(plots, args.kind)(study, **_drawn(args))
    figure.write_html(str(out), include_plotlyjs=True)
    print(out)
    return 0


def find_objective(named: str) -> Callable[..., Any]:
    """Import a function that is named ``module:function``; modules of this directory are found.

    Raises:
        UsageError: If it is named otherwise, is not there, or cannot be called.
        Exception: Whatever the module raises while it is imported.
    """
    module, _, name = named.partition(":")
    if not module or not name:
        raise UsageError(f"objective: must be module:function, got {named!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found = foreign_call(lambda: importlib.import_module(module))
    if found.error is not None:
        missing = found.error.name if isinstance(found.error, ModuleNotFoundError) else None
        if missing is not None and f"{module}.".startswith(f"{missing}."):
            raise UsageError(f"objective: there is no module {module!r} here or installed")
        raise found.error
    objective = getattr(found.value, name, None)
    if not callable(objective):
        raise UsageError(f"objective: {module!r} has no function {name!r}")
    return objective  # type: ignore[no-any-return]


def _optimize(args: Namespace, storage: Storage, direction: str, *, resume: bool) -> int:
    objective, executor = find_objective(args.objective), _executor(args.workers)
    limits = (args.trials, args.total, args.timeout)
    if args.sampler != "grid" and all(limit is None for limit in limits):
        raise UsageError("study: say how long, with --trials, --total or --timeout")
    with Study(
        args.name,
        storage=storage,
        direction=direction,
        sampler=_sampler(args.sampler),
        pruner=_pruner(args.pruner),
        resume=resume,
    ) as study:
        if args.sampler == "grid" and isinstance(study.sampler, GridSampler) and study.space:
            left = study.sampler.left(study.space, study.trials)
            print(f"a grid of {study.sampler.size(study.space)} points, {left} of them left")
        study.optimize(
            objective,
            args.trials,
            total=args.total,
            timeout=args.timeout,
            patience=args.patience,
            catch=Exception if args.keep_going else (),
            executor=executor,
        )
        _tell(study)
    return 0


def _tell(study: Study) -> None:
    states = [trial.state.value for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    print(f"{printable(study.name)}: {counts}")
    best = study.best
    if best is not None:
        print(f"best {best.value:.6g}, trial {best.number}")
        for name, value in best.params.items():
            print(f"  {printable(name)}: {printable(str(value))}")


def _executor(workers: int) -> Executor:
    return Here() if workers == 1 else Processes(workers)


def _sampler(name: str) -> Sampler | None:
    made: dict[str, Callable[[], Sampler | None]] = {
        "gp": lambda: None,  # the default
        "random": RandomSampler,
        "sobol": SobolSampler,
        "grid": GridSampler,
    }
    return made[name]()


def _pruner(name: str) -> Pruner:
    made: dict[str, Callable[[], Pruner]] = {
        "none": NoPruner,
        "median": median_pruner,
        "percentile": PercentilePruner,
        "halving": SuccessiveHalvingPruner,
        "patience": PatiencePruner,
        "threshold": ThresholdPruner,
    }
    return made[name]()


def _drawn(args: Namespace) -> dict[str, Any]:
    """Give what a plot is asked for beside the study.

    Raises:
        UsageError: If it cannot be.
    """
    named = args.params
    if args.kind == "contour":
        if named is None or len(named) != 2:
            raise UsageError("--params: a contour needs two parameters, e.g. --params rate width")
        return {"x": named[0], "y": named[1]}
    if named is not None and args.kind not in ("slices", "parallel_coordinates"):
        raise UsageError(f"--params: {args.kind} shows them all; leave it out")
    return {} if named is None else {"params": named}
