"""One of several processes that a framework trains one model with, as torchrun starts them.

python tests/framework_ranks.py lightning|huggingface|loop|dying DIRECTORY [pruned]

With ``pruned`` rank 0 holds a trial of a study, which its pruner ends.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from tests.adapters.framed import BATCH, EVERY, RECIPE, data, network

PARTS = slice(0, 416), slice(416, 480)  # rows that are trained on, and that are held out


def a_trial(directory: Path) -> Any:
    """Give rank 0 a trial that is ended at its third report."""
    from gptune import Study, ThresholdPruner
    from gptune.study.samplers import RandomSampler

    if sys.argv[3:] != ["pruned"] or os.environ["RANK"] != "0":
        return None
    pruner = ThresholdPruner(upper=-1.0, warmup_steps=3 * EVERY)
    study = Study("one", storage=directory / "study.db", sampler=RandomSampler(), pruner=pruner)
    return study.ask()


def train_with_lightning(directory: Path) -> tuple[nn.Module, Any]:
    import lightning.pytorch as pl

    from gptune.adapters.lightning import GptuneCallback, PruningCallback

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return nn.functional.mse_loss(self.net(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return SGD(self.parameters(), lr=0.02)

    x, y = data()
    callback = GptuneCallback(recipe=RECIPE, run_dir=directory / "run")
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        callbacks=[callback, PruningCallback(a_trial(directory))],
        val_check_interval=EVERY,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
    )
    module = Module()
    train, held_out = (DataLoader(TensorDataset(x[rows], y[rows]), BATCH) for rows in PARTS)
    trainer.fit(module, train, held_out)
    return module.net, callback.tuner


class Model(nn.Module):
    """What the Trainer expects: a mapping with the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        out = self.net(x)
        return {"loss": nn.functional.mse_loss(out, labels), "logits": out}


def train_with_huggingface(directory: Path) -> tuple[nn.Module, Any]:
    from transformers import Trainer, TrainingArguments

    from gptune.adapters.huggingface import GptuneCallback, PruningCallback

    x, y = data()
    every: Any = [{"x": one, "labels": label} for one, label in zip(x, y, strict=True)]
    callback = GptuneCallback(recipe=RECIPE, run_dir=directory / "run")
    arguments = TrainingArguments(
        output_dir=str(directory / "out"),
        num_train_epochs=2,
        per_device_train_batch_size=BATCH,
        learning_rate=0.02,
        eval_strategy="steps",
        eval_steps=EVERY,
        save_strategy="steps",
        save_steps=EVERY * 2,
        report_to="none",
        use_cpu=True,
        ddp_backend="gloo",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    model = Model()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=every[PARTS[0]],
        eval_dataset=every[PARTS[1]],
        callbacks=[callback, PruningCallback(a_trial(directory))],
    )
    trainer.train()
    return model.net, callback.tuner


def train_with_loop(directory: Path, epochs: int = 2) -> tuple[nn.Module, Any]:
    import gptune
    from gptune.adapters.sinks import Csv

    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    torch.manual_seed(rank)  # each draws its own batches, and its own noise
    x, y = data()
    train, held_out = (TensorDataset(x[rows], y[rows]) for rows in PARTS)
    net = nn.Sequential(nn.Dropout(0.1), network())
    model = nn.parallel.DistributedDataParallel(net)
    done = gptune.fit(
        model,
        SGD(model.parameters(), lr=0.02),
        nn.functional.mse_loss,
        DataLoader(train, 2 * BATCH, shuffle=True),
        DataLoader(held_out, BATCH * (1 + rank)),  # no two of them have equally many batches
        epochs=epochs,
        evaluate_every=EVERY,
        tuner={"recipe": RECIPE, "run_dir": directory / "run"},
        checkpoint=directory / "saved.pt",
        resume=True,
        sinks=[Csv(directory / "rows.csv")],
        progress=True,
        trial=a_trial(directory),
    )
    (directory / f"history-{rank}.json").write_text(json.dumps([one.step for one in done.history]))
    return net, done.tuner


def die(directory: Path) -> tuple[nn.Module, Any]:
    """Be killed in the second epoch."""
    from gptune.adapters import loop

    class Dying(loop._Run):
        def update(self) -> None:
            super().update()
            if self.step == 60:
                os._exit(9)

    loop._Run = Dying  # type: ignore[misc]
    return train_with_loop(directory)


def main(framework: str, directory: Path) -> None:
    torch.manual_seed(0)
    ways = {"lightning": train_with_lightning, "huggingface": train_with_huggingface}
    ways |= {"loop": train_with_loop, "dying": die}
    network_, tuner = ways[framework](directory)
    weights = [value for p in network_.parameters() for value in p.detach().flatten().tolist()]
    found = {"weights": weights, "values": tuner.values, "steps": tuner.steps}
    (directory / f"result-{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    from gptune import TrialPruned

    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except TrialPruned:
        (Path(sys.argv[2]) / f"pruned-{os.environ['RANK']}").touch()
        os._exit(0)  # what a framework leaves open after an exception is not the matter here
    torch.distributed.destroy_process_group()
