"""The example runs from end to end: the service recovers, and a bad candidate is put back."""

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import adjust_an_autoscaler as example
from examples import autoscaling as simulator
from examples.adjust_an_autoscaler import Service, main, rate
from examples.autoscaling import RUNNING, Window, cost, noisy, pattern, scale, serve
from gptune.presets import AGENT
from gptune.run_directory.file_system import Disk
from gptune.study.storage import Storage

LOADS = st.floats(0.0, 1e4)
FLEETS = st.integers(1, 1000)
AGENTS = st.fixed_dictionaries({name: st.floats(d.low, d.high) for name, d in AGENT.items()})  # type: ignore[union-attr]
BUSY, IDLE = Window(95.0, 10), Window(20.0, 10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3])
def test_the_load_shifts_the_service_fails_and_the_adjustment_mends_it(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course = main(["--seed", str(seed), "--directory", str(tmp_path)])
    before, failing, during, after = course.phases.values()
    assert rate(before) >= 0.85
    assert rate(failing) < 0.8
    assert rate(during) < 0.8, "until it is sure, the old agent stays"
    assert rate(after) > rate(failing + during) + 0.1
    assert cost(after) < 0.85 * cost(failing + during)
    (report,) = course.reports
    assert (report["trigger"], report["verdict"]) == ("low_success", "kept")
    assert report["before"] == RUNNING
    assert course.applied == [report["candidate"]]
    printed = capsys.readouterr().out
    for name, windows in course.phases.items():
        assert f"│ {name}" in printed
        assert f"{rate(windows):.1%}" in printed
        assert f"{cost(windows):.0f}" in printed
    assert "adjustment 1: kept, it won 7 of 7 pairs" in printed
    assert "in charge at the end: a new agent" in printed
    storage = Storage(tmp_path / "studies.db")
    assert storage.find("autoscaler/1") is not None, "it is kept where it was asked for"
    storage.close()


def test_a_bad_candidate_is_put_back_and_the_old_agent_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    course = main(["--bad", "--days", "5"])
    _, failing, during, after = course.phases.values()
    assert {report["verdict"] for report in course.reports} == {"put_back"}
    assert "it won 0 of" in course.reports[0]["why"]
    assert course.applied == []
    stayed = failing + during + after
    assert all(w.replicas == scale(RUNNING, seen) for seen, w in pairwise(stayed))
    assert rate(after) < 0.8
    printed = capsys.readouterr().out
    assert "adjustment 1: put back" in printed
    assert "in charge at the end: the old agent" in printed


def test_all_follows_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "TRIALS", 12)
    one, again, other = (main(["--days", "2", "--seed", seed]).phases for seed in "112")
    assert one == again != other


@given(LOADS, FLEETS, FLEETS)
def test_more_replicas_never_slow_a_window(load: float, some: int, more: int) -> None:
    few, many = Window(load, some), Window(load, some + more)
    assert many.response <= few.response
    assert many.success >= few.success


@given(LOADS, LOADS, FLEETS)
def test_more_load_never_speeds_a_window_up(load: float, more: float, fleet: int) -> None:
    assert Window(load + more, fleet).response >= Window(load, fleet).response


@given(st.lists(st.tuples(LOADS, FLEETS), min_size=1, max_size=200))
def test_the_cost_adds_up_and_knows_nothing_of_the_agent(asked: list[tuple[float, int]]) -> None:
    windows = [Window(*one) for one in asked]
    hours = sum(window.replicas for window in windows) * 24 / simulator.WINDOWS
    slow = sum(window.response > simulator.LIMIT for window in windows)
    days = len(windows) / simulator.WINDOWS
    total = simulator.REPLICA * hours + simulator.SLOW * slow
    assert cost(windows) == pytest.approx(total / days)


@given(AGENTS, LOADS, st.integers(simulator.FEWEST, 1000))
def test_an_agent_scales_up_under_strain_only_and_leaves_a_few(
    agent: dict[str, float], load: float, fleet: int
) -> None:
    next_ = scale(agent, Window(load, fleet))
    assert next_ >= simulator.FEWEST
    if load >= 2 * fleet * simulator.CAPACITY:
        assert next_ > fleet
    if load <= 0.1 * fleet * simulator.CAPACITY:
        assert next_ <= fleet


@pytest.mark.parametrize(
    ("name", "seen", "changed"),
    [
        ("cpu_weight", BUSY, 2.0),
        ("memory_weight", BUSY, 2.0),
        ("response_time_weight", BUSY, 0.9),
        ("under_provision_penalty", BUSY, 5.0),
        ("scale_up_cpu_threshold", BUSY, 0.6),
        ("over_provision_penalty", IDLE, 1.0),
        ("scale_down_cpu_threshold", IDLE, 0.2),
    ],
)
def test_every_parameter_matters(name: str, seen: Window, changed: float) -> None:
    assert scale({**RUNNING, name: changed}, seen) != scale(RUNNING, seen)


def test_the_agent_in_the_beginning_could_have_been_found() -> None:
    assert RUNNING.keys() == AGENT.keys()
    for name, domain in AGENT.items():
        assert domain.low <= RUNNING[name] <= domain.high  # type: ignore[union-attr]


def test_a_shadow_run_is_over_the_windows_that_were_served_a_pair_a_day() -> None:
    service = Service(0)
    service.day(shifted=True)
    pairs = service.shadow(RUNNING)
    assert next(pairs) is None, "nothing was served since"
    for _ in range(3):
        service.day(shifted=True)
        pair: Any = next(pairs)
        assert pair[0] == pair[1] == -cost(service.windows[-simulator.WINDOWS :]), "the same agent"
        assert next(pairs) is None


def test_each_window_is_told_of_once() -> None:
    service = Service(0)
    assert service.collect() == []
    told: list[dict[str, bool]] = []
    for _ in range(3):
        service.day(shifted=False)
        told += service.collect()
    assert told == [{"success": window.success} for window in service.windows]
    assert service.now() == 3 * 86400


def test_a_new_agent_takes_over_the_fleet_and_a_replay_leaves_the_service_alone() -> None:
    service = Service(0)
    service.day(shifted=True)
    last, windows = service.windows[-1], list(service.windows)
    new = {**RUNNING, "scale_up_cpu_threshold": 0.6}
    assert service.replay(new, 7) == service.replay(new, 7) != service.replay(new, 8)
    assert service.windows == windows
    service.apply(new)
    service.day(shifted=True)
    assert service.windows[simulator.WINDOWS].replicas == scale(new, last)


def test_the_shift_is_in_the_shape_and_what_suited_the_old_day_fails() -> None:
    smooth, sharp = pattern(shifted=False), pattern(shifted=True)
    assert max(sharp) > 2 * max(smooth)
    steps = [max(abs(b - a) for a, b in pairwise(day)) for day in (smooth, sharp)]
    assert steps[1] > 10 * steps[0]
    chance = Random(0)
    old, new = ([load for _ in range(20) for load in noisy(day, chance)] for day in (smooth, sharp))
    assert rate(serve(RUNNING, old)) > 0.85
    assert rate(serve(RUNNING, new)) < 0.8


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--days", "0"], "--days: must be at least 1, got 0"),
        (["--days", "many"], "argument --days: invalid int value: 'many'"),
        (["--seed", "-1"], "--seed: must be at least 0, got -1"),
        (["--directory", "tests"], "--directory: must be new or empty, got 'tests'"),
        (["--directory", "pyproject.toml"], "pyproject.toml"),
    ],
)
def test_wrong_arguments_are_told(
    wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_directory_that_is_in_use_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Disk, "lock", lambda *_: None)
    with pytest.raises(SystemExit):
        main(["--directory", str(tmp_path)])
    assert "another live process" in capsys.readouterr().err


def test_it_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--directory DIR" in capsys.readouterr().out
