"""Let the guard rescue a run that diverges, beside its twin without one.

A small classifier is trained on scikit-learn's digits. The user's schedule holds a mistake: for
twenty steps the learning rate is thirty times too high. The same run, with the same seed, data and
mistake, is trained with ``gptune.Tuner(mode="guard")`` and without; and once more without the
mistake, for comparison.

    python -m examples.rescue_a_diverging_run --seeds 10 --svg docs/rescue.svg
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import gptune
from gptune.demo import Digits, load_digits
from gptune.events import Restored
from gptune.run_directory.event_log import read_events

STEPS, EVERY, BATCH = 600, 10, 100
RATE, FACTOR, FROM, UNTIL = 0.1, 30.0, 0.4, 0.4 + 20 / 600  # the mistake, in fractions of the run
WAYS = {"undisturbed": "without the mistake", "unguarded": "unguarded", "guarded": "guarded"}


@dataclass(frozen=True)
class Run:
    """The validation loss every `EVERY` steps, and the steps at which the run was put back."""

    curve: list[float]
    put_back: list[int]

    @property
    def final(self) -> float:
        return self.curve[-1]


def train(seed: int, way: str, steps: int, run_dir: Path) -> Run:
    """Train one of the three runs of a seed."""
    data, mistake = load_digits(seed), way != "undisturbed"
    torch.manual_seed(seed)
    inner = (nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    model = nn.Sequential(*inner, nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=1e-3)

    def schedule(step: int) -> float:
        wrong = mistake and FROM * steps <= step < UNTIL * steps
        return 0.5 * (1 + math.cos(math.pi * step / steps)) * (FACTOR if wrong else 1.0)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    tuner = None
    if way == "guarded":
        chosen: Any = {"model": model, "scheduler": scheduler, "total_steps": steps}
        tuner = gptune.Tuner(optimizer, mode="guard", run_dir=run_dir, **chosen)
    curve, batches = [], draw(data, seed, steps)
    for step, (x, y) in enumerate(tuner.batches(batches) if tuner else batches, start=1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        if tuner:
            tuner.step(loss.detach())
        if step % EVERY == 0:
            curve.append(loss_of(model, data))
            if tuner:
                tuner.report({"val/loss": curve[-1]})
    if tuner:
        tuner.close()
    lines = read_events(run_dir) if tuner else []
    return Run(curve, [line.envelope.step for line in lines if isinstance(line.event, Restored)])


def draw(data: Digits, seed: int, steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    (x, y), chance = data.training, torch.Generator().manual_seed(seed)
    rows = (torch.randint(0, len(x), (BATCH,), generator=chance) for _ in range(steps))
    return [(x[row], y[row]) for row in rows]


@torch.no_grad()
def loss_of(model: nn.Module, data: Digits) -> float:
    x, y = data.validation
    return nn.functional.cross_entropy(model(x), y).item()


def spread(losses: Iterable[float]) -> str:
    values = sorted(losses)
    return f"{statistics.median(values):.3g} ({values[0]:.3g} to {values[-1]:.3g})"


# The picture: a curve a seed, faint, and one of them strong; by hand, in neutral colours.

WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 760, 340, 56, 180, 44, 40
STYLE = """text{fill:#6e7781;font:13px system-ui,sans-serif}.t{font-size:15px;font-weight:600}
.g{stroke:#8b949e;stroke-opacity:.3}.f{fill:#d4a72c;fill-opacity:.25}
.guarded{stroke:#1f883d}text.guarded,.m{fill:#1f883d;stroke:none}
.unguarded{stroke:#d1363f;stroke-dasharray:6 4}text.unguarded{fill:#d1363f;stroke:none}
@media(prefers-color-scheme:dark){text{fill:#9198a1}.t{fill:#f0f6fc}.guarded{stroke:#3fb950}
text.guarded,.m{fill:#3fb950}.unguarded{stroke:#ff7b72}text.unguarded{fill:#ff7b72}}"""
NAMES = {"unguarded": "the same run without", "guarded": "gptune, mode guard"}


@dataclass(frozen=True)
class Axes:
    """Steps, and losses on a logarithmic axis; what is no number lies at its upper end."""

    steps: int
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + (WIDE - LEFT - RIGHT) * step / self.steps

    def y(self, loss: float) -> float:
        shown = min(max(loss, self.low), self.high) if math.isfinite(loss) else self.high
        return TOP + (HIGH - TOP - BOTTOM) * math.log(self.high / shown, self.high / self.low)


def picture(runs: dict[str, list[Run]], steps: int) -> str:
    """Draw the guarded runs and their twins."""
    drawn = [value for way in NAMES for run in runs[way] for value in run.curve]
    finite = [value for value in drawn if 0 < value < 1e6]
    axes = Axes(steps, min(finite) / 1.2, max(finite) * 1.2)
    parts = [*frame(axes), *(part for way in NAMES for part in curves(axes, way, runs[way]))]
    first = runs["guarded"][0]
    for step in first.put_back:
        x, y = axes.x(step), axes.y(first.curve[step // EVERY - 1])
        parts.append(f'<circle class="m" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
    parts += [text(x + 10, y + 18, "put back", "guarded")] if first.put_back else []
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img">'
    title = "<title>A run that diverges, put back by the guard, beside its twin</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *parts, "</svg>\n"])


def frame(axes: Axes) -> list[str]:
    """Draw the axes, and where the mistake is."""
    left, right = axes.x(FROM * axes.steps), axes.x(UNTIL * axes.steps)
    parts = [text(LEFT, 20, "Validation loss: one mistake, with and without the guard", "t")]
    parts.append(f'<path class="f" d="M{left:.1f} {TOP}V{HIGH - BOTTOM}H{right:.1f}V{TOP}Z"/>')
    parts.append(text(WIDE - RIGHT + 20, HIGH - 14, "steps"))
    parts.append(text(left - 8, TOP + 12, f"learning rate {FACTOR:g} times too high", at="end"))
    for tick in (m * 10**e for e in range(-4, 7) for m in (1, 2, 5)):
        if axes.low <= tick <= axes.high:
            parts.append(f'<path class="g" d="M{LEFT} {axes.y(tick):.1f}H{WIDE - RIGHT}"/>')
            parts.append(text(LEFT - 8, axes.y(tick) + 4, f"{tick:g}", at="end"))
    ends = ((step, f"{step}") for step in (0, axes.steps // 2, axes.steps))
    return [*parts, *(text(axes.x(step), HIGH - 14, said, at="middle") for step, said in ends)]


def curves(axes: Axes, way: str, runs: list[Run]) -> list[str]:
    """Draw one curve a seed, the first of them strong, and name them at their end."""
    parts = []
    for number, run in reversed(list(enumerate(runs))):
        at = [f"{axes.x((n + 1) * EVERY):.1f} {axes.y(v):.1f}" for n, v in enumerate(run.curve)]
        look = 'stroke-width="2.2"' if number == 0 else 'stroke-opacity=".25"'
        parts.append(f'<path class="{way}" fill="none" {look} d="M{"L".join(at)}"/>')
    end = axes.y(statistics.median(run.final for run in runs))
    return [*parts, text(WIDE - RIGHT + 8, end + 4, NAMES[way], way)]


def text(x: float, y: float, said: str, look: str = "", *, at: str = "start") -> str:
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{at}">{said}</text>'


def main(arguments: Sequence[str] | None = None) -> dict[str, list[Run]]:
    """Train, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 (3)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps a run ({STEPS})")
    parser.add_argument("--svg", type=Path, help="where the picture goes (default: nowhere)")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        for seed in range(args.seeds):
            for way, made in runs.items():
                made.append(train(seed, way, args.steps, Path(place) / f"{way}-{seed}"))
    table = Table("seed", *WAYS.values(), "put back at", title="final validation loss")
    for seed, three in enumerate(zip(*runs.values(), strict=True)):
        losses = (f"{run.final:.4g}" for run in three)
        table.add_row(str(seed), *losses, ", ".join(map(str, three[-1].put_back)))
    Console().print(table, "median (lowest to highest)")
    for way, made in runs.items():
        print(f"{WAYS[way]:<20} {spread(run.final for run in made)}")
    if args.svg is not None:
        args.svg.write_text(picture(runs, args.steps), encoding="utf-8")
    return runs


if __name__ == "__main__":
    main()
