"""Metrics under one name each, whatever a framework or its user calls them.

Each name on the left is taken from the first on the right that is there:

- train/loss: train_loss, train_loss_epoch, training_loss, loss, loss_epoch, train_loss_step
- val/loss: val_loss, eval_loss, valid_loss, validation_loss, each also with ``/`` or ``_epoch``
- val/score: the same with score, accuracy, acc, f1 in the place of loss
- lr: learning_rate
- grad/norm: grad_norm, gradient_norm, grad_2.0_norm_total
- time/step_sec, system/gpu_mem_mb: measured by the adapters

A name on the left that is reported is left as it is, and so are all other metrics.
"""

from collections.abc import Iterator, Mapping
from typing import Any

TRAIN_LOSS, VALIDATION_LOSS = "train/loss", "val/loss"
RATE, STEP_SECONDS, DEVICE_MEMORY = "lr", "time/step_sec", "system/gpu_mem_mb"
HELD_OUT = ("val", "eval", "valid", "validation")  # what people call data that is not trained on
SCORES = ("score", "accuracy", "acc", "f1")
FIRST_LOADER = "/dataloader_idx_0"  # what Lightning adds to names if there are several loaders


def _held_out(measure: str) -> Iterator[str]:
    for part in HELD_OUT:
        yield from (f"{part}/{measure}", f"{part}_{measure}", f"{part}_{measure}_epoch")


ALIASES: dict[str, tuple[str, ...]] = {
    TRAIN_LOSS: (
        *("train_loss", "train_loss_epoch", "train/loss_epoch", "training_loss"),
        *("loss", "loss_epoch", "train_loss_step", "loss_step"),
    ),
    VALIDATION_LOSS: tuple(_held_out("loss")),
    "val/score": tuple(name for score in SCORES for name in _held_out(score)),
    RATE: ("learning_rate",),
    "grad/norm": ("grad_norm", "gradient_norm", "grad_2.0_norm_total"),
}


def normalise(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Give all metrics as they are, and those that have a usual name under that one too.

    Args:
        metrics: Name -> value; values are passed on as they are.

    Example:
        >>> normalise({"eval_loss": 0.5, "eval_accuracy": 0.8, "mine": 1})["val/loss"]
        0.5
    """
    found = dict(metrics)
    for name, aliases in ALIASES.items():
        for known in (name, *aliases):
            given = next((n for n in (known, known + FIRST_LOADER) if n in metrics), None)
            if given is not None:
                found[name] = metrics[given]
                break
    return found
