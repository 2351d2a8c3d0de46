"""Tune a loop of Accelerate's while it trains: one call after ``prepare``, and three in the loop.

A small network learns, from a rate that was chosen too low.

    pip install 'gptune-torch[huggingface]'
    python -m examples.train_with_accelerate
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gptune import Tuner
from gptune.adapters.accelerate import attach

ACCUMULATE, BATCH = 2, 10


def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(1000, 8)
    return x, x.sum(1, keepdim=True).sin() + 0.1 * torch.randn(1000, 1)


def main(arguments: list[str] | None = None) -> Tuner:
    """Train; gives the Tuner, which knows where the run is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--run-dir", type=Path, help="where gptune's log goes")
    args = parser.parse_args(arguments)
    torch.manual_seed(0)
    x, y = data()
    steps = args.epochs * 800 // (BATCH * ACCUMULATE)

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    loader = DataLoader(TensorDataset(x[:800], y[:800]), BATCH, shuffle=True)
    model, optimizer, scheduler, loader = accelerator.prepare(model, optimizer, scheduler, loader)

    def validate() -> float:
        with torch.no_grad():
            return float(nn.functional.mse_loss(model(x[800:]), y[800:]))

    tuner = attach(  # after prepare; accelerator.save_state keeps its state, too
        accelerator,
        optimizer,
        model=model,
        scheduler=scheduler,
        evaluate=validate,  # with it, the rate is calibrated first
        space={"lr": (0.2, 20.0)},
        total_steps=steps,
        run_dir=args.run_dir,
    )
    for _ in range(args.epochs):
        for inputs, targets in tuner.batches(loader):
            with accelerator.accumulate(model):
                loss = nn.functional.mse_loss(model(inputs), targets)
                accelerator.backward(loss)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:  # the optimizer has taken a step
                tuner.step(loss)
                if tuner.steps % 10 == 0:
                    tuner.report()
    tuner.close()
    print(f"val_loss {validate():.4f} after {tuner.steps} steps")
    print(f"the multiplier of the rate is {tuner.values['opt.lr']:.3g}; see gptune report")
    return tuner


if __name__ == "__main__":
    main()
