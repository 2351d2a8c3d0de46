"""The page on where to train, taken at its word: each of its blocks runs, and does what it says."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import BertConfig, BertForSequenceClassification

from examples.train_with_lightning import Regression
from examples.train_with_transformers import examples
from gptune.adapters.normal import ALIASES, DEVICE_MEMORY, HELD_OUT, SCORES, STEP_SECONDS
from gptune.audit import audit
from tests import pages
from tests.adapters.framed import counts
from tests.docs.readers import yours

PAGE = Path("docs/training.md").resolve()
TEXT = PAGE.read_text()


def run(section: str, scope: dict[str, Any]) -> Any:
    """Run the blocks of a section, one after another."""
    return pages.run(PAGE, scope, section)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(file: str) -> list[dict[str, str]]:
    with Path(file).open(newline="") as lines:
        return list(csv.DictReader(lines))


def newest_run() -> Path:
    return max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def test_every_block_of_the_page_is_run_here() -> None:
    assert {block.section for block in pages.blocks_of(PAGE) if block.language == "python"} == {
        "`gptune.fit`",
        "A loop of your own",
        "Lightning",
        "Hugging Face",
        "Accelerate",
        "Sinks",
    }


def test_fit_trains_and_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    first = run("`gptune.fit`", yours())
    rows = table("first.csv")
    assert [int(row["step"]) for row in rows] == [one.step for one in first["done"].history]
    assert float(rows[-1]["val/loss"]) == first["done"].history[-1].val_loss
    assert audit(Path("runs/first")).holds
    second = run("`gptune.fit`", yours())
    assert second["done"].history == first["done"].history, "it was over, and stays over"
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_loop_of_ones_own_trains_and_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    tuner = run("A loop of your own", yours())["tuner"]
    assert tuner.steps == 64
    tuner.close()
    assert capsys.readouterr().out.count("decision") == 2
    assert audit(Path("runs/second")).holds


def test_lightning_trains_logs_and_resumes() -> None:
    scope = run("Lightning", {**yours(), "module": Regression()})
    tuner = scope["trainer"].callbacks[0].tuner
    assert scope["trainer"].current_epoch == 4
    assert (tuner.steps, len(list(Path("runs").iterdir()))) == (128, 1)
    assert counts(newest_run())["Observed"] == 4
    events = EventAccumulator(str(Path("lightning_logs/version_0")))
    events.Reload()
    assert {"gptune/opt.lr", "gptune/effective/opt.lr"} <= set(events.Tags()["scalars"])
    assert audit(newest_run()).holds


def test_hugging_face_trains_logs_and_leaves_its_state() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=3,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    more = {
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    scope = {
        "transformer": BertForSequenceClassification(config),
        "rows": examples(160, seed=0),
        "held_out_rows": examples(40, seed=1),
        "more_arguments": more,
    }
    trainer = run("Hugging Face", scope)["trainer"]
    shown = [row for row in trainer.state.log_history if "gptune/opt.lr" in row]
    assert [row["step"] for row in shown if "eval_loss" in row] == [10, 20, 30, 40]
    assert Path("out/checkpoint-40/gptune.json").is_file()
    assert counts(newest_run())["Observed"] == 4
    assert audit(newest_run()).holds


def test_accelerate_trains_and_saves() -> None:
    scope = run("Accelerate", yours())
    assert scope["tuner"].steps == 16
    assert [row["step"] for row in table("third.csv")] == ["16"]
    assert Path("third/custom_checkpoint_0.pkl").is_file()
    assert audit(Path("runs/third")).holds


def test_sinks_show_what_the_table_of_names_says() -> None:
    run("Sinks", yours())
    (row,) = table("fourth.csv")
    names = TEXT.partition("| name, after `gptune/` |")[2].partition("\n\n")[0].splitlines()[2:]
    named = {name for line in names for name in re.findall(r"`([^`]+)`", line.split("|")[1])}
    shown = {name.replace("opt.lr", "<knob>") for name in row if name != "step"}
    assert shown == {f"gptune/{name}" for name in named}
    events = EventAccumulator("board")
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(row) - {"step"}


def test_the_names_of_metrics_are_those_that_are_looked_for() -> None:
    rows = {
        cells[1].strip(): cells[2]
        for cells in (line.split("|") for line in TEXT.splitlines())
        if len(cells) == 4 and cells[1].strip().startswith("`")
    }
    for name in ("train/loss", "lr", "grad/norm"):
        assert rows[f"`{name}`"].strip() == ", ".join(f"`{alias}`" for alias in ALIASES[name])
    assert f"`{STEP_SECONDS}`, `{DEVICE_MEMORY}`" in rows
    assert re.findall(r"`(\w+)_loss`", rows["`val/loss`"]) == list(HELD_OUT)
    assert tuple(re.findall(r"`(\w+)`", rows["`val/score`"]))[:-1] == SCORES
    assert len(ALIASES["val/loss"]) == 3 * len(HELD_OUT)
    assert set(ALIASES) <= {name.strip("`") for name in rows}
