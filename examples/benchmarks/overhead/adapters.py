"""What the callbacks of Lightning and of Hugging Face cost a step, in real runs of theirs.

python -m examples.benchmarks.overhead.adapters
"""

import contextlib
import io
import logging
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments

from examples.benchmarks.overhead.clock import US
from gptune.adapters import huggingface, lightning
from gptune.adapters.huggingface import Losses

CHUNK = 16  # steps whose mean is one measurement: the guard looks at the losses once in as many
WARM = 2  # chunks left out


class Stopwatch:
    """Adds up the time between its begin and its end."""

    def __init__(self) -> None:
        self.spent, self.steps, self.means = 0, 0, list[float]()

    @contextlib.contextmanager
    def running(self, *, step: bool) -> Iterator[None]:
        begin = perf_counter_ns()
        yield
        self.spent += perf_counter_ns() - begin
        self.steps += step
        if step and self.steps % CHUNK == 0:
            self.means.append(self.spent / CHUNK)
            self.spent = 0

    @property
    def median(self) -> float:
        """Median over the chunks of what a step costs [us]."""
        return statistics.median(self.means[WARM:]) * US


class TimedLightning(lightning.GptuneCallback):
    """The callback, with a stopwatch."""

    def __init__(self, clock: Stopwatch, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.clock = clock

    def on_train_batch_end(self, *given: Any) -> None:
        with self.clock.running(step=True):
            super().on_train_batch_end(*given)


class TimedLosses(Losses):
    """The hook in the model, with a stopwatch."""

    def __init__(self, clock: Stopwatch) -> None:
        super().__init__()
        self.clock = clock

    def _see(self, *given: Any) -> None:
        with self.clock.running(step=False):
            super()._see(*given)


class TimedHuggingFace(huggingface.GptuneCallback):
    """The callback, with a stopwatch."""

    def __init__(self, clock: Stopwatch, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.clock, self._losses = clock, TimedLosses(clock)

    def on_step_end(self, *given: Any, **kwargs: Any) -> None:
        with self.clock.running(step=True):
            super().on_step_end(*given, **kwargs)


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(8, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(8, 1)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": nn.functional.mse_loss(self.net(x), labels)}


def measure_lightning(directory: Path, steps: int) -> float:
    """Measure what the callback costs a step of Lightning's [us]."""
    watch = Stopwatch()
    callback = TimedLightning(watch, mode="guard", run_dir=directory / "lightning")
    data = TensorDataset(torch.randn(steps, 8), torch.randn(steps, 1))
    trainer = pl.Trainer(
        max_epochs=1,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
    )
    trainer.fit(Module(), DataLoader(data, 1))
    return watch.median


def measure_huggingface(directory: Path, steps: int) -> float:
    """Measure what the callback costs a step of the Trainer's, its hook in the model too [us]."""
    watch = Stopwatch()
    callback = TimedHuggingFace(watch, mode="guard", run_dir=directory / "huggingface")
    arguments = TrainingArguments(
        output_dir=str(directory / "out"),
        max_steps=steps,
        per_device_train_batch_size=1,
        logging_steps=steps,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    rows: Any = [{"x": torch.randn(8), "labels": torch.randn(1)} for _ in range(steps)]
    trainer = Trainer(model=Model(), args=arguments, train_dataset=rows, callbacks=[callback])
    trainer.train()
    return watch.median


def measure_adapters(directory: Path, steps: int = 1024) -> dict[str, float]:
    """Measure both [us]; logs go under the directory, and nothing is printed."""
    with torch.random.fork_rng(devices=[]), quiet():
        return {
            "adapter_us_lightning": measure_lightning(directory, steps),
            "adapter_us_huggingface": measure_huggingface(directory, steps),
        }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the frameworks print, log and warn of from the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # all: which loggers Lightning uses depends on its imports
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        for name, value in measure_adapters(Path(folder)).items():
            print(f"{name} {value:.3g} us")
