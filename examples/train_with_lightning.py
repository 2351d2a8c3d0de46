"""Tune a Lightning run while it trains: one callback, and nothing else changes.

gptune tries other rates, keeps what helps, puts back what does not, and guards the run.

    pip install 'gptune-torch[lightning]'
    python -m examples.train_with_lightning
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gptune.adapters.lightning import GptuneCallback


class Regression(pl.LightningModule):
    """A small network under a cosine schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 8, generator=chance)
    y = x.sum(1, keepdim=True).sin() + 0.1 * torch.randn(1000, 1, generator=chance)
    held_out = TensorDataset(x[800:], y[800:])
    return DataLoader(TensorDataset(x[:800], y[:800]), 20, shuffle=True), DataLoader(held_out, 200)


def main(arguments: list[str] | None = None) -> GptuneCallback:
    """Train; gives the callback, whose Tuner knows where the run is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--run-dir", type=Path, help="where gptune's log goes")
    args = parser.parse_args(arguments)
    pl.seed_everything(0, verbose=False)
    gptune = GptuneCallback(space={"lr": (0.2, 20.0)}, run_dir=args.run_dir)
    with tempfile.TemporaryDirectory() as place:
        trainer = pl.Trainer(
            max_epochs=args.epochs,
            val_check_interval=0.25,
            callbacks=[gptune],  # all that gptune needs
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=place,
        )
        trainer.fit(Regression(), *loaders())
    tuner = gptune.tuner
    assert tuner is not None
    print(f"val_loss {float(trainer.callback_metrics['val_loss']):.4f} after {tuner.steps} steps")
    print(f"the multiplier of the rate is {tuner.values['opt.lr']:.3g}; see gptune report")
    return gptune


if __name__ == "__main__":
    main()
