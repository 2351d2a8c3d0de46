"""Tune a run of the Hugging Face Trainer while it trains: one callback, and nothing else changes.

A tiny transformer, made at random, learns to say which of two tokens comes more often.

    pip install 'gptune-torch[huggingface]'
    python -m examples.train_with_transformers
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

from gptune.adapters.huggingface import GptuneCallback

LENGTH = 9


def examples(count: int, seed: int) -> list[dict[str, Any]]:
    """Make sequences of ones and twos, and whether there are more twos."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 3, (count, LENGTH), generator=chance)
    labels = (ids.sum(1) > 1.5 * LENGTH).long()
    return [{"input_ids": one, "labels": label} for one, label in zip(ids, labels, strict=True)]


def main(arguments: list[str] | None = None) -> GptuneCallback:
    """Train; gives the callback, whose Tuner knows where the run is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--run-dir", type=Path, help="where gptune's log goes")
    args = parser.parse_args(arguments)
    set_seed(0)
    config = BertConfig(
        vocab_size=3,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    model = BertForSequenceClassification(config)
    rows = examples(200, seed=1)
    held_out = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    gptune = GptuneCallback(
        evaluate=lambda: model(**held_out).loss,  # with it, the rate is calibrated first
        space={"lr": (0.2, 20.0)},
        run_dir=args.run_dir,
    )
    with tempfile.TemporaryDirectory() as place:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=place,
                num_train_epochs=args.epochs,
                per_device_train_batch_size=16,
                learning_rate=5e-4,
                lr_scheduler_type="cosine",
                eval_strategy="steps",
                eval_steps=10,
                logging_steps=10,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=examples(640, seed=0),
            eval_dataset=rows,
            callbacks=[gptune],  # all that gptune needs
        )
        trainer.train()
        loss = trainer.evaluate()["eval_loss"]
    tuner = gptune.tuner
    assert tuner is not None
    print(f"eval_loss {loss:.4f} after {tuner.steps} steps")
    print(f"the multiplier of the rate is {tuner.values['opt.lr']:.3g}; see gptune report")
    return gptune


if __name__ == "__main__":
    main()
