"""gptune in the loop: the real Tuner, in a run directory that is read and thrown away."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.benchmarks.online.loop import Costs, Hooks, Method, Start
from gptune import Tuner
from gptune.errors import StateError
from gptune.events import Accepted, LookAhead, Restored
from gptune.records import Reason
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk

NO_SEARCH: dict[str, Any] = {"search": {"algorithm": "none"}}
VARIANTS: dict[str, dict[str, Any]] = {
    "guard": {"mode": "guard"},
    "calibrate": NO_SEARCH,  # and guard
    "race": {**NO_SEARCH, "calibration": {"enabled": True, "method": "race"}},
    "active": {},  # all defaults: calibration, guard, search of what was not calibrated
    "restless": {"calibration": {"then": "search"}},
    "search": {"calibration": {"enabled": False}},
}


def variant(name: str, prior: tuple[Path, ...] = (), keep: Path | None = None) -> Method:
    """Give a variant of gptune as a method.

    Args:
        name: A key of `VARIANTS`.
        prior: Run directories to learn from.
        keep: Where the run directory stays; thrown away if ``None``.
    """

    def method(start: Start) -> Hooks:
        optimizer = start.problem.optimizer(start.rate)
        scheduler = start.scheduler(optimizer)
        place = keep or Path(tempfile.mkdtemp(prefix="gptune-benchmark-")) / "run"
        recipe = {"objective": {"primary": "validation"}, **VARIANTS[name]}
        if prior:
            runs = [str(one) for one in prior]
            recipe["search"] = {**recipe.get("search", {}), "prior_runs": runs}
        tuner = Tuner(
            optimizer,
            recipe=recipe,
            model=start.problem.model,
            scheduler=scheduler,
            evaluate=start.problem.validation_losses,
            total_steps=start.setting.task.steps,
            run_dir=place,
            seed=start.setting.seed,
        )
        return Hooks(
            optimizer=optimizer,
            scheduler=scheduler,
            batches=tuner.batches,
            step=tuner.step,
            report=tuner.report,
            close=_closing(tuner, place, kept=keep is not None),
        )

    return method


def _closing(tuner: Tuner, place: Path, *, kept: bool) -> Callable[[], Costs]:
    def close() -> Costs:
        tuner.close()
        if not tuner.log_ok:
            raise StateError("the log of a benchmarked run could not be written")
        events = [line.event for line in read_events(place, Disk())]
        if not kept:
            shutil.rmtree(place.parent)
        judged = [event for event in events if isinstance(event, Accepted)]
        return Costs(
            restores=sum(isinstance(event, Restored) for event in events),
            wasted=sum(event.steps for event in events if isinstance(event, LookAhead)),
            notes={
                "multiplier": float(tuner.values["opt.lr"]),
                "accepted": float(sum(Reason.MEASURED not in event.reasons for event in judged)),
            },
        )

    return close
