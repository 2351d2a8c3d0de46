"""The example runs from end to end: what it tunes is better than the textbook, on fresh seeds."""

import statistics
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import tune_q_learning as example
from examples.tune_q_learning import FRESH, TEXTBOOK, greedy_return, main, move, score, train
from gptune.presets import ALGORITHMS
from gptune.study.study import Study

CELLS = st.integers(0, example.WIDTH * example.HEIGHT - 1)
WAYS = st.integers(0, len(example.MOVES) - 1)
UP, RIGHT, DOWN = 0, 1, 2


def policy(*ways: tuple[int, int]) -> list[list[float]]:
    """Give values whose greedy policy goes up, but in some cells another way."""
    values = [[1.0, 0.0, 0.0, 0.0] for _ in range(example.WIDTH * example.HEIGHT)]
    for cell, way in ways:
        values[cell][way] = 2.0
    return values


def along_the_edge() -> list[list[float]]:
    """Up once, then right along the cliff, then down to the goal."""
    row = example.START - example.WIDTH
    right = [(row + x, RIGHT) for x in range(example.WIDTH - 1)]
    return policy(*right, (row + example.WIDTH - 1, DOWN))


def episode(values: list[list[float]], chance: Random) -> float:
    """Walk once, and count; written anew, to check what is expected."""
    cell, total = example.START, 0.0
    for _ in range(example.LONGEST):
        way = max(range(4), key=values[cell].__getitem__)
        if chance.random() < example.SLIP:
            way += chance.choice((-1, 1))
        step = move(cell, way % 4)
        total += step.reward
        if step.ends:
            break
        cell = step.cell
    return total


@pytest.mark.slow
def test_tuned_beats_the_default_on_fresh_seeds_and_the_study_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "q.db")
    main(["--trials", "10", "--storage", file])
    assert "10 trials, 10 of them new" in capsys.readouterr().out
    scores = main(["--storage", file])
    printed = capsys.readouterr().out
    assert "50 trials, 40 of them new" in printed
    assert "+/-" in printed
    assert "of default: +" in printed
    fresh = {name: statistics.fmean(of[:FRESH]) for name, of in scores.items()}
    further = {name: statistics.fmean(of[FRESH:]) for name, of in scores.items()}
    assert fresh["tuned"] > fresh["default"] + 5
    assert further["tuned"] > further["default"] + 5
    study = Study.load("cliff-0", file)
    assert len(study.trials) == example.TRIALS
    assert all(trial.noise is not None for trial in study.trials)
    study.close()


def test_fresh_seeds_were_never_seen_by_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def noted(params: dict[str, Any], seed: int) -> float:
        seen.append(seed)
        return float(seed % 7)

    monkeypatch.setattr(example, "score", noted)
    main(["--trials", "3"])
    count = 3 * example.REPLICATES
    assert len(set(seen[:count])) == count
    assert max(seen[:count]) < example.ABOVE
    fresh = seen[count:]
    assert min(fresh) >= example.ABOVE
    assert {fresh.count(seed) for seed in fresh} == {len(TEXTBOOK) + 1}, "all on the same ones"
    main(["--trials", "1", "--seed", "1"])
    assert not set(fresh) & set(seen[count + len(fresh) :]), "another seed, other fresh ones"


def test_the_default_could_have_been_found() -> None:
    assert TEXTBOOK["default"].keys() == ALGORITHMS["q_learning"].keys()
    for name, domain in ALGORITHMS["q_learning"].items():
        assert domain.low <= TEXTBOOK["default"][name] <= domain.high  # type: ignore[union-attr]


@given(CELLS, WAYS)
def test_a_move_stays_in_the_grid_and_goes_one_cell_at_most(cell: int, way: int) -> None:
    there = move(cell, way).cell
    assert 0 <= there < example.WIDTH * example.HEIGHT
    (x, y), (to_x, to_y) = (divmod(one, example.WIDTH)[::-1] for one in (cell, there))
    right, down = example.MOVES[way]
    assert (to_x - x, to_y - y) in {(right, down), (0, 0)}
    if there == cell:
        inside = 0 <= x + right < example.WIDTH and 0 <= y + down < example.HEIGHT
        assert not inside, "only a wall stops"


@given(CELLS, WAYS)
def test_rewards_are_those_of_a_cliff(cell: int, way: int) -> None:
    there, reward, ends = move(cell, way)
    if there == example.GOAL:
        assert (reward, ends) == (0, True)
    elif there // example.WIDTH == example.HEIGHT - 1 and there != example.START:
        assert (reward, ends) == (-100, True)
    else:
        assert (reward, ends) == (-1, False)


def test_the_expected_return_is_what_episodes_come_to() -> None:
    chance, values = Random(0), along_the_edge()
    returns = [episode(values, chance) for _ in range(4000)]
    error = statistics.stdev(returns) / len(returns) ** 0.5
    assert greedy_return(values) == pytest.approx(statistics.fmean(returns), abs=4 * error)


def test_without_slips_the_shortest_way_is_counted_step_by_step_and_is_learnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(example, "SLIP", 0.0)
    shortest = -(example.WIDTH - 1 + 1)  # up, and right; the last step, to the goal, costs nothing
    assert greedy_return(along_the_edge()) == shortest
    assert greedy_return(policy()) == -example.LONGEST, "up for ever"
    assert greedy_return(policy((example.START, RIGHT))) == example.FALL
    params = {**TEXTBOOK["default"], "epsilon": 0.1}
    assert greedy_return(train(params, seed=0, episodes=2000)) == shortest


def test_a_score_follows_from_the_seed_alone() -> None:
    scores = [score(TEXTBOOK["default"], seed) for seed in (1, 2, 1)]
    assert scores[0] == scores[2] != scores[1]


@pytest.mark.parametrize("name", TEXTBOOK["default"])
def test_every_parameter_matters(name: str) -> None:
    default = TEXTBOOK["default"]
    assert train({**default, name: 0.5}, seed=0) != train(default, seed=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--trials", "0"], "--trials: must be at least 1, got 0"),
        (["--trials", "many"], "argument --trials: invalid int value: 'many'"),
        (["--seed", "-1"], "seed: must be a whole number"),
        (["--storage", "/nowhere/q.db"], "its folder '/nowhere' does not exist"),
    ],
)
def test_wrong_arguments_are_told(
    wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_it_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--storage FILE" in capsys.readouterr().out
