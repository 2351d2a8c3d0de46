"""The demo: repeatable, and honest about the run that it is compared with."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gptune import demo as room
from gptune.demo import LABEL_NOISE, TRAINING, Learner, Run, Settings, demo, load_digits
from gptune.errors import RecipeError
from gptune.run_directory.names import EVENTS, TWIN

TINY = 60


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """A hundredth of the demo's work; what it prints and writes is of the same kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "WIDTH", 32)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # two threads wait for each other on a busy machine
        yield
        torch.set_num_threads(threads)


def quiet(path: Path | None, **choices: object) -> tuple[Run, Run]:
    settings = Settings(steps=TINY, run_dir=path, quiet=True, **choices)  # type: ignore[arg-type]
    return demo(settings, Console(file=io.StringIO()))


def lines_without_wall(path: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (path / EVENTS).read_bytes().splitlines()]
    assert all(line.pop("wall") for line in lines)
    return lines


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Run, Run]]:
    paths = [tmp_path_factory.mktemp("demo") / name for name in ("one", "two")]
    return [(path, *quiet(path, seed=3)) for path in paths]


def test_two_runs_with_one_seed_write_identical_logs_but_for_wall(
    twins: list[tuple[Path, Run, Run]],
) -> None:
    one, two = (lines_without_wall(path) for path, _, _ in twins)
    assert one == two
    assert len(one) > TINY // 20


def test_two_runs_with_one_seed_end_alike_to_the_bit(twins: list[tuple[Path, Run, Run]]) -> None:
    (_, tuned, untuned), (_, tuned_again, untuned_again) = twins
    assert (tuned.loss, tuned.accuracy) == (tuned_again.loss, tuned_again.accuracy)
    assert (untuned.loss, untuned.accuracy) == (untuned_again.loss, untuned_again.accuracy)
    assert tuned.counts == tuned_again.counts


def test_the_untuned_run_is_the_tuned_one_with_mode_off(
    twins: list[tuple[Path, Run, Run]],
) -> None:
    off, untuned = quiet(None, seed=3, mode="off")
    assert (off.loss, off.accuracy) == (untuned.loss, untuned.accuracy)
    assert off.run_dir is None
    assert not off.counts.total()
    _, _, beside_active = twins[0]
    assert (untuned.loss, untuned.accuracy) == (beside_active.loss, beside_active.accuracy)


@pytest.mark.parametrize("mode", ["observe", "suggest"])
def test_a_run_that_is_only_watched_ends_as_the_untuned_one(mode: str, tmp_path: Path) -> None:
    watched, untuned = quiet(tmp_path, seed=3, mode=mode)
    assert (watched.loss, watched.accuracy) == (untuned.loss, untuned.accuracy)
    assert watched.counts["restored"] == 0
    kinds = {line["kind"] for line in lines_without_wall(tmp_path)}
    assert not kinds & {"intent", "applied"}


def test_another_seed_is_another_run(twins: list[tuple[Path, Run, Run]]) -> None:
    _, other = quiet(None, seed=4, mode="off")
    assert other.loss != twins[0][2].loss


def test_torchs_own_chance_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    quiet(None, mode="off")
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_label_noise_is_fixed_by_the_seed_and_the_images_by_nothing() -> None:
    one, again, other = load_digits(0), load_digits(0), load_digits(1)
    for part in ("training", "validation"):
        for mine, same in zip(getattr(one, part), getattr(again, part), strict=True):
            assert torch.equal(mine, same)
    assert torch.equal(one.training[0], other.training[0])
    assert torch.equal(one.validation[0], other.validation[0])
    assert torch.equal(one.validation[1], other.validation[1]), "validation has no noise"
    differ = (one.training[1] != other.training[1]).double().mean().item()
    assert 0.5 * LABEL_NOISE < differ < 2.5 * LABEL_NOISE


def test_the_digits_are_what_the_docstring_says() -> None:
    data = load_digits(0)
    x, y = data.training
    assert x.shape == (TRAINING, 64)
    assert y.shape == (TRAINING,)
    assert data.validation[0].shape == (1797 - TRAINING, 64)
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    assert set(y.tolist()) == set(range(10))


def test_the_learner_learns_and_knows_nothing_of_gptune() -> None:
    settings = Settings(steps=TINY, lr=0.05)
    learner = Learner(settings, load_digits(0))
    before, seen = learner.loss(), list[int]()
    learner.train(learner.batches(), lambda step, loss: seen.append(step))
    assert learner.loss() < before
    assert seen == list(range(1, TINY + 1))
    assert not learner.optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_no_positive_number_is_refused(lr: float) -> None:
    with pytest.raises(RecipeError, match=r"^lr: must be finite and positive"):
        Settings(lr=lr)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_run_without_steps_is_refused(steps: int) -> None:
    with pytest.raises(RecipeError, match=r"^steps: must be >= 1"):
        Settings(steps=steps)


def test_one_step_is_enough(tmp_path: Path) -> None:
    tuned, untuned = demo(
        Settings(steps=1, run_dir=tmp_path, quiet=True), Console(file=io.StringIO())
    )
    assert tuned.loss == untuned.loss


def test_what_is_printed_tells_both_runs_apart(tmp_path: Path) -> None:
    out = io.StringIO()
    settings = Settings(steps=TINY, run_dir=tmp_path, lr=0.02)
    tuned, untuned = demo(settings, Console(file=out, width=120))
    text = out.getvalue()
    assert f"{tuned.loss:.4f}" in text
    assert f"{untuned.loss:.4f}" in text
    assert "decision   1" in text
    assert "rate 0.02" in text


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'gptune-torch\[demo\]'"):
        load_digits(0)


def test_the_twin_is_logged_in_the_tuned_runs_directory_and_nothing_was_changed_in_it(
    twins: list[tuple[Path, Run, Run]],
) -> None:
    path, tuned, untuned = twins[0]
    lines = lines_without_wall(path / TWIN)
    kinds = {str(line["kind"]) for line in lines}
    assert kinds == {"opened", "observed", "closed"}
    assert [line["metric"] for line in lines if line["kind"] == "observed"][-1] == untuned.loss
    own = [line for line in lines_without_wall(path) if line["kind"] == "observed"]
    assert own[-1]["step"] == TINY
    assert tuned.run_dir == path


def test_a_recipe_without_a_learning_rate_is_no_trouble(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("actuators: {opt: {mutations: {momentum: {mode: set, bounds: [0.5, 0.99]}}}}")
    tuned, _ = quiet(tmp_path / "run", recipe=recipe)
    assert tuned.multiplier == 1.0
