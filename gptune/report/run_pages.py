"""The page of a run, and that of several runs side by side."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptune.configs import Recipe
from gptune.configs.text import write
from gptune.errors import UsageError
from gptune.plots.style import shortened
from gptune.records import show
from gptune.report.beliefs import films_of
from gptune.report.cards import cards_of
from gptune.report.ledger import counts_of, incidents_of, time_of
from gptune.report.page import render
from gptune.report.panel import Mark, Panel
from gptune.report.panels import Detail, knob_panel, metric_panel, overlay, steps_of
from gptune.report.run import Run, read
from gptune.report.says import STATES, counterfactual, headlines, tried, value_says
from gptune.run_directory.names import EVENTS, TWIN
from gptune.run_directory.summary import seconds

SIGNS = {**STATES, "restored": "training state put back", "nan": "metric not finite"}
KNOBS, RUNS = 24, 16  # that are drawn
LONGEST = 20_000  # letters of a recipe


def run_report(directory: Path, twin: Path | None = None) -> str:
    """Write the page of a run.

    Args:
        directory: The run directory.
        twin: That of the same run without gptune; by default ``twin`` in it, if that is there.

    Returns:
        One HTML document that needs nothing else.

    Raises:
        EventLogError: If a log is broken.
        RunDirectoryError: If a log cannot be read.
        UsageError: If the twin is none.
    """
    run = read(directory)
    if twin is None and (directory / TWIN / EVENTS).is_file():
        twin = directory / TWIN
    beside = None if twin is None else read(twin)
    if beside is not None:
        _check_twin(run, beside, str(twin))
    return render("run.html", **_content(run, beside))


def comparison(directories: Sequence[Path]) -> str:
    """Write the page of several runs side by side.

    Args:
        directories: Two run directories or more, of one objective.

    Raises:
        EventLogError: If a log is broken.
        RunDirectoryError: If a log cannot be read.
        UsageError: If their objectives differ.
    """
    names = [directory.resolve().name for directory in directories]
    runs = [
        replace(read(directory), name=_told_apart(directory, names)) for directory in directories
    ]
    if len(runs) > RUNS:
        raise UsageError(f"RUN: at most {RUNS} runs fit side by side, got {len(runs)}; name fewer")
    first = runs[0].summary
    for run in runs[1:]:
        mine = (run.summary.objective, run.summary.direction)
        if mine != (first.objective, first.direction):
            raise UsageError(
                f"RUN: {run.name!r} is about {mine[0]!r} ({mine[1]}), and {runs[0].name!r} about "
                f"{first.objective!r} ({first.direction}); compare runs of one objective"
            )
    return render(
        "comparison.html",
        runs=[_row(run) for run in runs],
        names=[run.name for run in runs],
        overlay=overlay(runs),
        figures_of=[(run.name, headlines(run), _panels(run, None, (), len(runs))) for run in runs],
        settings=_settings(runs),
        objective=runs[0].objective,
    )


def _content(run: Run, twin: Run | None) -> dict[str, Any]:
    cards, summary = cards_of(run), run.summary
    kinds = [(state, text, sum(c.kind == state for c in cards)) for state, text in STATES.items()]
    return {
        "run": run,
        "subtitle": _subtitle(run),
        "headlines": headlines(run),
        "against": counterfactual(run, twin),
        "facts": _facts(run),
        "keys": _keys(run),
        "panels": _panels(run, twin, {"ledger", *(card.id for card in cards)}),
        "cards": cards,
        "kinds": [kind for kind in kinds if kind[2]],
        "left_out": len(run.moves) - len(cards),
        "films": films_of(run),
        "counts": counts_of(run),
        "incidents": incidents_of(run),
        "times": time_of(run),
        "spent": seconds(summary.times),
        "versions": [("seed", str(summary.seed)), *sorted(summary.versions.items())],
        "differs": _text(_differing(run.opened.recipe, Recipe().to_dict())),
        "recipe": _text(run.opened.recipe),
    }


def _panels(run: Run, twin: Run | None, there: Collection[str], runs: int = 1) -> list[Panel]:
    """Draw one of some runs of a page; signs lead to what is there."""
    x = steps_of([run] if twin is None else [run, twin])
    families = [f for f in run.knobs if _is_seen(run, f)][: max(1, KNOBS // runs)]
    detail = Detail(runs * (1 + len(families)))
    drawn = [metric_panel(run, x, detail, twin)]
    drawn += [knob_panel(run, family, x, detail) for family in families]
    return [replace(one, marks=tuple(_linked(mark, there) for mark in one.marks)) for one in drawn]


def _linked(mark: Mark, there: Collection[str]) -> Mark:
    return mark if mark.link in there else replace(mark, link="")


def _is_seen(run: Run, family: str) -> bool:
    return any(family in sample.knobs for sample in run.samples)


def _keys(run: Run) -> list[tuple[str, str]]:
    there = {move.state for move in run.moves}
    there |= {"restored"} if run.restores else set()
    there |= {"nan"} if any(sample.metric is None for sample in run.samples) else set()
    return [(kind, text) for kind, text in SIGNS.items() if kind in there]


def _subtitle(run: Run) -> str:
    summary = run.summary
    began = summary.times.first
    when = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M UTC") if began else ""
    total = f" of {summary.total_steps}" if summary.total_steps else ""
    parts = [
        f"mode {summary.mode}",
        f"{run.objective} ({summary.direction})",
        f"step {summary.step}{total}",
        "closed" if summary.closed else "not closed: it runs, or was stopped",
        when,
    ]
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def _facts(run: Run) -> list[tuple[str, str]]:
    summary, best = run.summary, run.summary.best
    rows = [
        ("last", "-" if run.last is None else show(run.last)),
        ("best", "-" if best is None else show(best.metric)),
        ("decisions", str(len(run.samples))),
        ("changes kept", f"{sum(m.state == 'kept' for m in tried(run))} of {len(tried(run))}"),
        ("put back by the guard", str(len(run.restores))),
    ]
    for family in list(run.knobs)[:4]:
        move = summary.point.get(family)
        if move is not None:
            rows.append((f"{shortened(family)} in force", value_says(run.knobs[family], move)))
    return [*rows, ("wall time", f"{seconds(summary.times):.4g} s")]


def _row(run: Run) -> dict[str, str]:
    summary, best = run.summary, run.summary.best
    return {
        "run": run.name,
        "mode": summary.mode,
        "seed": str(summary.seed),
        "last": "-" if run.last is None else show(run.last),
        "best": "-" if best is None else show(best.metric),
        "steps": str(summary.step),
        "decisions": str(len(run.samples)),
        "kept": str(len(run.in_state("kept"))),
        "undone": str(len(run.in_state("undone"))),
        "put back": str(len(run.restores)),
        "not finite": str(sum(sample.metric is None for sample in run.samples)),
        "seconds": f"{seconds(summary.times):.4g}",
    }


def _told_apart(directory: Path, names: Sequence[str]) -> str:
    """Name a run, with the directory that it lies in if another one has the same name."""
    path = directory.resolve()
    return path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}"


def _check_twin(run: Run, twin: Run, named: str) -> None:
    """Refuse a twin that is none.

    Raises:
        UsageError: If its objective is another one, or gptune changed something in it.
    """
    mine = (run.summary.objective, run.summary.direction)
    other = (twin.summary.objective, twin.summary.direction)
    if mine != other:
        raise UsageError(
            f"--twin: {named!r} is about {other}, and the run about {mine}; give its own twin"
        )
    if any(move.state not in ("suggested", "failed") for move in twin.moves) or twin.restores:
        raise UsageError(
            f"--twin: in {named!r} something was changed; a twin is the same run in mode observe "
            "or suggest"
        )


def _settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """List what differs between the recipes, one row a field."""
    flat = [dict(_flat(run.opened.recipe)) for run in runs]
    names = dict.fromkeys(name for one in flat for name in one)
    rows = [(name, [_shown(one.get(name)) for one in flat]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def _flat(data: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(data, dict):
        return [(path, data)]
    inside = [_flat(value, f"{path}.{key}" if path else str(key)) for key, value in data.items()]
    return [pair for pairs in inside for pair in pairs]


def _shown(value: Any) -> str:
    return "-" if value is None else show(value) if isinstance(value, float) else str(value)


def _differing(given: Any, default: Any) -> Any:
    """Leave out of a mapping what is as in another one."""
    if not isinstance(given, dict) or not isinstance(default, dict):
        return given
    kept = {
        key: _differing(value, default.get(key))
        for key, value in given.items()
        if key not in default or value != default[key]
    }
    return {key: value for key, value in kept.items() if value != {}}


def _text(data: Any) -> str:
    text = write(data) if data else ""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n..."
