"""Studies that are ready to run."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune import presets
from gptune.errors import StudyError
from gptune.study.objective import Measured
from gptune.study.records import TrialRecord


def score(params: dict[str, Any]) -> float:
    return float(-abs(math.log10(params["learning_rate"]) + 3) - abs(params["gamma"] - 0.95))


@pytest.mark.parametrize("algorithm", ["dqn", "DQN", "ppo", "PPO"])
def test_an_algorithm_is_tuned_by_any_of_its_names(algorithm: str) -> None:
    study = presets.tune_rl(algorithm, score, direction="maximize", n_trials=20)
    assert study.name == algorithm.lower()
    assert len(study.trials) == 20
    assert study.best_value > -0.6
    assert study.best_params.keys() == presets.ALGORITHMS[algorithm.lower()].keys()


def test_q_learning_goes_by_its_usual_name() -> None:
    study = presets.tune_rl(
        "Q-learning", lambda p: p["epsilon"], direction="minimize", n_trials=2, method="random"
    )
    assert study.name == "q_learning"


def test_a_named_study_goes_on_up_to_its_total(tmp_path: Path) -> None:
    made: dict[str, Any] = {"direction": "maximize", "agent_name": "mine", "method": "random"}
    file = tmp_path / "study.db"
    for total in (3, 5, 4):
        with presets.tune_rl("dqn", score, storage=file, n_trials=total, **made) as study:
            count = len(study.trials)
    assert count == 5


def test_noisy_scores_are_repeated_with_seeds_of_their_own_and_their_noise_is_known() -> None:
    seeds: list[int] = []

    def noisy(params: dict[str, Any], seed: int) -> float:
        seeds.append(seed)
        return float(seed % 7)

    study = presets.tune_rl(
        "dqn", noisy, direction="maximize", n_trials=3, replicates=4, method="random"
    )
    assert len(set(seeds)) == 12
    first = [float(seed % 7) for seed in seeds[:4]]
    mean = sum(first) / 4
    trial = study.trials[0]
    assert trial.value == pytest.approx(mean)
    assert trial.noise == pytest.approx(sum((one - mean) ** 2 for one in first) / 3 / 4)


def test_an_agent_is_tuned_within_its_constraint() -> None:
    def cost(params: dict[str, Any]) -> float:
        return float(params["cpu_weight"] + params["scale_up_cpu_threshold"])

    study = presets.tune_agent(cost, direction="minimize", n_trials=20)
    assert study.best_value < 1.3
    for trial in study.trials:
        assert trial.params["scale_down_cpu_threshold"] < trial.params["scale_up_cpu_threshold"]  # type: ignore[operator]


def test_a_grid_has_three_values_of_each_number() -> None:
    study = presets.tune_rl("q_learning", lambda p: 1.0, direction="minimize", method="grid")
    assert len(study.trials) == 3**4


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"algorithm": "a3c"}, "algorithm"),
        ({"method": "magic"}, "method"),
        ({"direction": "up"}, "direction"),
        ({"replicates": 0}, "replicates"),
        ({"n_trials": -1}, "total"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], named: str) -> None:
    chosen = {"algorithm": "dqn", "direction": "maximize", **wrong}
    with pytest.raises(StudyError, match=named):
        presets.tune_rl(chosen.pop("algorithm"), score, **chosen)


def test_a_score_that_is_no_number_makes_a_failed_trial() -> None:
    study = presets.tune_rl(
        "dqn",
        lambda params: "good",
        direction="maximize",
        n_trials=1,
        replicates=3,
        method="random",
    )
    assert study.trials[0].state == "failed"


def scored(*scores: Any, replicates: int | None = None) -> TrialRecord:
    """Give the trial whose replicates come to these scores."""
    left = list(scores)
    study = presets.tune_rl(
        "dqn",
        lambda params: left.pop(0),
        direction="maximize",
        n_trials=1,
        replicates=replicates or len(scores),
        method="random",
    )
    return study.trials[0]


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan, pytest.param(10**400, id="10^400")])
@pytest.mark.parametrize("place", [0, 1])
def test_a_score_that_is_not_finite_makes_a_failed_trial_that_shows_it(
    odd: float, place: int
) -> None:
    trial = scored(*[1.0] * place, odd, replicates=3)
    assert trial.state == "failed"
    assert trial.error.startswith("the objective must give a finite number, and gave ")
    if isinstance(odd, float):
        assert trial.error.endswith(f" {odd}")
    assert scored(Measured(odd), replicates=2).state == "failed"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=5))
@settings(deadline=None, max_examples=40)
def test_every_finite_score_has_a_mean_and_a_noise_if_that_can_be_written(
    scores: list[float],
) -> None:
    trial = scored(*scores)
    assert trial.state == "complete"
    assert trial.value is not None
    assert min(scores) <= trial.value <= max(scores)
    assert trial.noise is None or 0 <= trial.noise < math.inf


def test_huge_scores_have_a_mean_and_no_noise() -> None:
    trial = scored(1.5e308, 1.5e308, -1.5e308)
    assert trial.value == pytest.approx(0.5e308)
    assert trial.noise is None


def test_scores_that_say_how_sure_they_are_are_averaged_too() -> None:
    trial = scored(Measured(1.0, noise=9.0), Measured(2.0, noise=9.0), 6.0)
    assert trial.value == 3.0
    assert trial.noise == pytest.approx(7.0 / 3)
    assert scored(Measured(1.0), Measured("good"), 1.0).state == "failed"  # type: ignore[arg-type]


def test_a_score_that_is_not_repeated_keeps_the_noise_that_it_says() -> None:
    trial = scored(Measured(1.0, noise=0.25))
    assert (trial.value, trial.noise) == (1.0, 0.25)
    assert scored(1.0).noise is None
