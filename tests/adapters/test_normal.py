"""Usual names: found under what people call them, and nothing else is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.adapters.normal import ALIASES, normalise

names = st.sampled_from([n for name, more in ALIASES.items() for n in (name, *more)]) | st.text()


@pytest.mark.parametrize(
    ("called", "usual"),
    [
        ("val_loss", "val/loss"),
        ("eval_loss", "val/loss"),
        ("valid/loss", "val/loss"),
        ("validation_loss_epoch", "val/loss"),
        ("val_loss/dataloader_idx_0", "val/loss"),
        ("loss", "train/loss"),
        ("train_loss_epoch", "train/loss"),
        ("eval_accuracy", "val/score"),
        ("val_f1", "val/score"),
        ("learning_rate", "lr"),
        ("grad_norm", "grad/norm"),
    ],
)
def test_a_metric_is_found_under_its_usual_name(called: str, usual: str) -> None:
    assert normalise({called: 0.5, "mine": 1}) == {called: 0.5, "mine": 1, usual: 0.5}


def test_the_first_of_several_names_counts() -> None:
    found = normalise({"loss": 1.0, "train_loss_epoch": 2.0, "eval_loss": 3.0, "val_loss": 4.0})
    assert (found["train/loss"], found["val/loss"]) == (2.0, 4.0)


@given(st.dictionaries(names, st.integers(), max_size=6))
def test_what_was_reported_stays_and_doing_it_twice_is_doing_it_once(
    metrics: dict[str, int],
) -> None:
    found = normalise(metrics)
    assert {name: found[name] for name in metrics} == metrics
    assert set(found) <= {*metrics, *ALIASES}
    assert normalise(found) == found
