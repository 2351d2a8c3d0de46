"""What the pages say is the reader's own."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset


def yours() -> dict[str, Any]:
    """Make what pages say is the reader's own: a model, its data, a step, a validation."""
    torch.manual_seed(0)
    x = torch.randn(640, 8)
    y = x.sum(1, keepdim=True).sin()
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = LambdaLR(optimizer, lambda step: 0.99**step)
    loss_fn = nn.functional.mse_loss

    def train_step(batch: Any) -> Tensor:
        optimizer.zero_grad()
        loss = loss_fn(model(batch[0]), batch[1])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        return loss

    def validate() -> float:
        with torch.no_grad():
            return float(loss_fn(model(x[512:]), y[512:]))

    return {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "loss_fn": loss_fn,
        "loader": DataLoader(TensorDataset(x[:512], y[:512]), 16, shuffle=True),
        "held_out": DataLoader(TensorDataset(x[512:], y[512:]), 64),
        "train_step": train_step,
        "validate": validate,
    }
