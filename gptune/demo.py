"""The demo: a small classifier on handwritten digits, tuned while it trains, beside its twin.

The tuned run goes first; then the same run, with the same seed, untuned: it is only watched, and
its log lies inside of the tuned one's run directory. Both follow a cosine schedule from the same
starting rate.
"""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from gptune.errors import RecipeError
from gptune.online.tuner import Tuner
from gptune.records import Action, Decision
from gptune.run_directory.names import TWIN

GOOD_RATE = 0.1  # for the default length; from 0.1 to 1 the final loss changes little
DECISIONS, LONGEST = 50, 20  # decisions a run, but never more steps apart than this [steps]
WIDTH, BATCH, LABEL_NOISE = 256, 1000, 0.1
CLIP = 0.5  # largest norm of the gradient
SLOWEST = 60.0  # pace [s]
TRAINING = 1000  # of the 1797 images; the others are for validation
COLOURS = {
    Action.ACCEPTED: "green",
    Action.REJECTED: "yellow",
    Action.APPLIED: "cyan",
    Action.SUGGESTED: "cyan",
    Action.BLOCKED: "red",
    Action.FAILED: "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be chosen.

    Attributes:
        lr: Starting learning rate; the default is a tenth of a good one.
        mode: off | observe | suggest | guard | active.
        seed: Of the model, the batches and the proposals.
        steps: Optimizer steps a run [steps].
        run_dir: Where the tuned run is logged.
        recipe: A recipe file for the tuned run; ``mode`` overrides the one in it.
        pace: Time to wait after each decision [s], for whoever watches or steers.
        quiet: Print the table alone.
    """

    lr: float = GOOD_RATE / 10
    mode: str = "active"
    seed: int = 0
    steps: int = 500
    run_dir: Path | None = None
    recipe: Path | None = None
    pace: float = 0.0
    quiet: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise RecipeError(f"lr: must be finite and positive, got {self.lr!r}; e.g. 0.1")
        if not 0 <= self.seed < 2**63:
            raise RecipeError(f"seed: must lie in [0, 2**63), got {self.seed!r}; e.g. 0")
        if self.steps < 1:
            raise RecipeError(f"steps: must be >= 1, got {self.steps!r}; e.g. 500")
        if not 0 <= self.pace <= SLOWEST:
            raise RecipeError(
                f"pace: must lie in [0, {SLOWEST:g}] [s], got {self.pace!r}; e.g. 0.5"
            )

    @property
    def every(self) -> int:
        """Steps from one decision to the next [steps]."""
        return max(1, min(LONGEST, self.steps // DECISIONS))


@dataclass(frozen=True, slots=True)
class Digits:
    """Images of shape ``(n, 64)`` in [0, 1], and their labels of shape ``(n,)``."""

    training: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Run:
    """How one run ended."""

    loss: float
    accuracy: float
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    run_dir: Path | None = None
    multiplier: float = 1.0  # of the learning rate, at the end


def demo(settings: Settings, console: Console | None = None) -> tuple[Run, Run]:
    """Train tuned, then untuned, and print what came of it.

    Args:
        settings: What was chosen.
        console: Where to print; the terminal by default.

    Returns:
        The tuned run and the untuned one.

    Raises:
        ImportError: Without scikit-learn, which holds the digits.
    """
    console = console or Console()
    data = load_digits(settings.seed)
    with (
        _one_thread(),
        Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=console,
            disable=settings.quiet,
        ) as progress,
    ):
        tuned = _tuned(settings, data, progress)
        untuned = _untuned(settings, data, progress, tuned.run_dir)
    console.print(_table(settings, tuned, untuned))
    if tuned.run_dir is not None:
        console.print(
            f"run directory: {tuned.run_dir}", soft_wrap=True, highlight=False, markup=False
        )
        said = f"to look at both: gptune report {shlex.quote(str(tuned.run_dir))}"
        console.print(said, soft_wrap=True, highlight=False, markup=False)
    return tuned, untuned


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch on one thread: equal results whatever the cores, and no waiting on busy ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def load_digits(seed: int) -> Digits:
    """Load scikit-learn's digits; a tenth of the training labels is drawn at random.

    Raises:
        ImportError: Without scikit-learn.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "the demo needs scikit-learn for its data: pip install 'gptune-torch[demo]'"
        ) from error
    images, labels = datasets.load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16.0, dtype=torch.float32), torch.tensor(labels).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2026))
    x, y = x[order], y[order]
    chance = torch.Generator().manual_seed(seed)
    noisy = torch.rand(TRAINING, generator=chance) < LABEL_NOISE
    drawn = torch.randint(0, 10, (TRAINING,), generator=chance)
    training = (x[:TRAINING], torch.where(noisy, drawn, y[:TRAINING]))
    return Digits(training, (x[TRAINING:], y[TRAINING:]))


def _tuned(settings: Settings, data: Digits, progress: Progress) -> Run:
    learner = Learner(settings, data)
    task = progress.add_task("tuned", total=settings.steps, loss="-")
    counts: Counter[str] = Counter()
    begin = perf_counter()
    with Tuner(
        learner.optimizer,
        recipe=settings.recipe,
        model=learner.model,
        scheduler=learner.scheduler,
        evaluate=learner.loss,
        total_steps=settings.steps,
        run_dir=settings.run_dir,
        mode=settings.mode,
        seed=settings.seed,
    ) as tuner:

        def after(step: int, loss: Tensor) -> None:
            tuner.step(loss)
            if step % settings.every == 0 and settings.mode != "off":
                decision = tuner.report()
                _count(counts, decision)
                progress.update(task, completed=step, loss=f"{decision.metric or math.nan:.4f}")
                _show(progress, decision)
                sleep(settings.pace)

        learner.train(tuner.batches(learner.batches()), after)
        run_dir = tuner.run_dir
    progress.update(task, completed=settings.steps)
    seconds, multiplier = perf_counter() - begin, float(tuner.values.get("opt.lr", 1.0))
    return Run(*learner.score(), seconds, counts, run_dir, multiplier)


def _untuned(settings: Settings, data: Digits, progress: Progress, run_dir: Path | None) -> Run:
    """Train the twin; ``run_dir`` is the tuned run's, in which it is logged, if there is one."""
    learner = Learner(settings, data)
    task = progress.add_task("untuned", total=settings.steps, loss="-")
    begin = perf_counter()
    with Tuner(
        learner.optimizer,
        recipe=settings.recipe,
        evaluate=learner.loss,
        total_steps=settings.steps,
        run_dir=None if run_dir is None else run_dir / TWIN,
        mode="off" if run_dir is None else "observe",
        seed=settings.seed,
    ) as watcher:

        def after(step: int, loss: Tensor) -> None:
            watcher.step(loss)
            if step % settings.every == 0 and run_dir is not None:
                seen = watcher.report().metric
                progress.update(task, completed=step, loss=f"{seen or math.nan:.4f}")

        learner.train(learner.batches(), after)
    progress.update(task, completed=settings.steps)
    return Run(*learner.score(), perf_counter() - begin)


class Learner:
    """An ordinary training run: model, optimizer, schedule, batches. It knows nothing of gptune."""

    def __init__(self, settings: Settings, data: Digits) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = nn.Sequential(
                nn.Linear(64, WIDTH),
                nn.ReLU(),
                nn.Linear(WIDTH, WIDTH),
                nn.ReLU(),
                nn.Linear(WIDTH, 10),
            )
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=settings.lr, momentum=0.9, weight_decay=1e-3
        )
        self.scheduler = CosineAnnealingLR(self.optimizer, settings.steps)
        self.chance = torch.Generator().manual_seed(settings.seed)
        self.data, self.steps = data, settings.steps

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw a minibatch for each step."""
        x, y = self.data.training
        for _ in range(self.steps):
            rows = torch.randint(0, len(x), (BATCH,), generator=self.chance)
            yield x[rows], y[rows]

    def train(
        self, batches: Iterable[tuple[Tensor, Tensor]], after: Callable[[int, Tensor], None]
    ) -> None:
        """Train; ``after`` is called with 1, 2, 3 ... and the loss after each step."""
        for step, (x, y) in enumerate(batches, start=1):
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self.scheduler.step()
            after(step, loss)

    def loss(self) -> float:
        """Mean loss on the validation images."""
        return self.score()[0]

    @torch.no_grad()
    def score(self) -> tuple[float, float]:
        """Loss and accuracy on the validation images."""
        x, y = self.data.validation
        output = self.model(x)
        accuracy = (output.argmax(-1) == y).double().mean()
        return float(nn.functional.cross_entropy(output, y)), float(accuracy)


def _count(counts: Counter[str], decision: Decision) -> None:
    counts[decision.verdict.value] += 1
    counts["restored"] += decision.restored


def _show(progress: Progress, decision: Decision) -> None:
    if not progress.disable:
        style = COLOURS.get(decision.verdict, "dim")
        progress.console.print(
            str(decision), style=style, highlight=False, markup=False, soft_wrap=True
        )


def _table(settings: Settings, tuned: Run, untuned: Run) -> Table:
    rate = f"{settings.lr:.4g}"
    table = Table(title=f"digits, {settings.steps} steps from rate {rate}, seed {settings.seed}")
    table.add_column("")
    table.add_column(f"tuned ({settings.mode})", justify="right")
    table.add_column("untuned", justify="right")
    table.add_row("validation loss", f"{tuned.loss:.4f}", f"{untuned.loss:.4f}")
    table.add_row("validation accuracy", f"{tuned.accuracy:.2%}", f"{untuned.accuracy:.2%}")
    table.add_row("loss, tuned / untuned", f"{tuned.loss / untuned.loss:.3f}", "1")
    table.add_row("learning rate, times", f"{tuned.multiplier:.3g}", "1")
    table.add_row("seconds", f"{tuned.seconds:.1f}", f"{untuned.seconds:.1f}")
    for name, count in (
        ("accepted", Action.ACCEPTED.value),
        ("rejected", Action.REJECTED.value),
        ("put back", "restored"),
    ):
        table.add_row(name, str(tuned.counts[count]), "-")
    return table
