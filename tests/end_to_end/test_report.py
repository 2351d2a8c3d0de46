"""Reports in a real browser: silent, alone, and within their window.

How soon they are drawn is measured by ``python -m examples.benchmarks.report``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from selenium import webdriver
from selenium.webdriver.common.by import By

from examples.benchmarks.browser import MISSING, browser, is_installed, look, visit
from gptune import RandomSampler, Study, Trial, TrialPruned, median_pruner
from gptune.cli import main
from gptune.demo import Settings, demo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
]
WIDTHS = (1440, 390)  # [pixels]


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with browser() as made:
        yield made


def objective(trial: Trial) -> float:
    rate: float = trial.suggest_float("rate", 1e-4, 1.0, log=True)
    depth: int = trial.suggest_int("depth", 1, 12)
    kind = trial.suggest_categorical("kind", ["tree", "linear", "</script><b>"])
    loss: float = (rate - 0.01) ** 2 + 0.01 * abs(depth - 7) + 0.1 * (kind == "linear")
    for step in range(20):
        trial.report(loss + 1 / (step + 1), step)
        if trial.should_prune():
            raise TrialPruned
    return loss


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("reports")
    settings = Settings(run_dir=root / "demo", quiet=True)
    demo(settings, Console(quiet=True))
    pruner = median_pruner(warmup_steps=5)
    with Study("trees", storage=root / "s.db", sampler=RandomSampler(), pruner=pruner) as study:
        study.optimize(objective, n_trials=500)
    made = {name: root / f"{name}.html" for name in ("demo", "study", "both")}
    run = str(root / "demo")
    assert main(["report", run, "--out", str(made["demo"])]) == 0
    assert main(["report", str(root / "s.db"), "--out", str(made["study"])]) == 0
    assert main(["report", run, f"{run}/twin", "--out", str(made["both"])]) == 0
    return made


@pytest.mark.parametrize("name", ["demo", "study", "both"])
def test_a_report_is_small_and_silent_and_asks_nobody_for_anything(
    name: str, reports: dict[str, Path], driver: webdriver.Chrome
) -> None:
    assert reports[name].stat().st_size < 1_000_000
    seen = visit(driver, reports[name])
    assert not seen.complaints
    assert not seen.requests
    for width in WIDTHS:
        for dark in (False, True):
            assert look(driver, width, dark=dark) <= 0, f"wider than {width} pixels"


def test_the_demo_names_its_twin_and_a_film_follows_its_slider(
    reports: dict[str, Path], driver: webdriver.Chrome
) -> None:
    visit(driver, reports["demo"])
    assert "Its twin without gptune" in driver.find_element(By.ID, "verdict").text
    assert driver.find_elements(By.CSS_SELECTOR, ".sign.kept")


def test_cards_can_be_chosen_and_what_the_model_believed_moves_with_its_slider(
    driver: webdriver.Chrome, tmp_path: Path
) -> None:
    from tests.cli.runs import make_run

    make_run(tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 0
    assert not visit(driver, tmp_path / "run" / "report.html").complaints
    cards = driver.find_elements(By.CSS_SELECTOR, ".card")
    button = driver.find_element(By.CSS_SELECTOR, "button[data-kind=kept]")
    driver.execute_script("arguments[0].click()", button)
    shown = [card for card in cards if card.is_displayed()]
    assert 0 < len(shown) < len(cards)
    assert all("kept" in str(card.get_attribute("class")) for card in shown)
    mean = driver.find_element(By.CSS_SELECTOR, ".film .mean")
    says = driver.find_element(By.CSS_SELECTOR, ".film output")
    before = (mean.get_attribute("d"), says.text)
    driver.execute_script(
        "const s = document.querySelector('.film input'); s.value = 0;"
        "s.dispatchEvent(new Event('input'))"
    )
    assert (mean.get_attribute("d"), says.text) != before
    assert says.text.startswith("decision ")


def test_a_trial_is_marked_in_every_figure_and_the_table_is_sorted_and_searched(
    reports: dict[str, Path], driver: webdriver.Chrome
) -> None:
    visit(driver, reports["study"])
    look(driver, 1440, dark=False)
    row = driver.find_element(By.CSS_SELECTOR, "tr.top")
    driver.execute_script("arguments[0].click()", row)
    here = driver.find_elements(By.CSS_SELECTOR, ".here")
    assert len(here) >= 5  # the row, the history, three slices, coordinates, its curve
    heads = driver.find_elements(By.CSS_SELECTOR, ".trials th button")
    driver.execute_script("arguments[0].click()", heads[1])
    first = driver.find_element(By.CSS_SELECTOR, ".trials tbody tr")
    assert first.get_attribute("data-key") == row.get_attribute("data-key")
    field = driver.find_element(By.CSS_SELECTOR, "input[type=search]")
    field.send_keys("pruned")
    rows = driver.find_elements(By.CSS_SELECTOR, ".trials tbody tr")
    shown = [one for one in rows if not one.get_attribute("hidden")]
    assert 0 < len(shown) < len(rows)
    assert all("pruned" in str(one.get_attribute("textContent")) for one in shown)
    assert not driver.find_elements(By.CSS_SELECTOR, "td b")
