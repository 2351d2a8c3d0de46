"""The proposer: inside the limits and the trust region, repeatable, and a good guest of torch."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from botorch.acquisition import ProbabilityOfImprovement, qLogExpectedImprovement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from linear_operator.utils.errors import NanError, NotPSDError
from msgspec.structs import replace
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from gptune.configs import STUDY, Decay, Search, TrustRegion
from gptune.core import proposer as room
from gptune.core.closed_form import ClosedForm
from gptune.core.criteria import UpperConfidenceBound
from gptune.core.proposer import SLICE_POINTS, Proposer, Seeded, whole
from gptune.core.space import SearchSpace
from gptune.core.trust_region import MOST
from gptune.errors import CriterionError, SpaceError
from gptune.records import (
    Categorical,
    Float,
    Integer,
    Observation,
    Proposal,
    Request,
    Scalar,
    Told,
)
from tests.strategies import any_float, points_of, spaces

ACQUISITIONS = ["auto", "log_ei", "log_nei", "pi", "ucb", "thompson"]
SPACE = SearchSpace({"lr": Float(0.1, 10.0, log=True), "aux": Float(0.1, 10.0, log=True)})
HERE: dict[str, Scalar] = {"lr": 1.0, "aux": 1.0}
WIDE = {"lr": (0.5, 2.0), "aux": (0.5, 2.0)}
EAGER = Search(startup_trials=0)
AT_ONCE = Search(startup_trials=0, joint=True)


def ask_for(number: int, **fields: Any) -> Request:
    made: dict[str, Any] = {"point": HERE, "limits": WIDE, "free": ("lr", "aux"), **fields}
    return Request(number=number, **made)


def told(lr: float, aux: float, value: float, success: bool | None = None) -> Told:
    return Told(observation=Observation(point={"lr": lr, "aux": aux}, value=value), success=success)


TALE = [
    told(1.0, 1.0, 0.0),
    told(1.5, 1.0, 0.3),
    told(1.0, 1.6, -0.2),
    told(0.7, 0.8, -0.4),
    told(1.8, 0.6, 0.5),
]


def proposer_of(
    config: Search = EAGER, seed: int = 0, tale: list[Told] | None = None, **rest: Any
) -> Proposer:
    made = Proposer(SPACE, config, randomness=Seeded(seed), **rest)
    for one in TALE if tale is None else tale:
        made.tell(one)
    return made


def length_of(proposer: Proposer) -> float:
    return float(proposer.state_dict()["region"]["length"])


# --- inside the limits, whatever happened ---------------------------------------------------


@st.composite
def searches(draw: st.DrawFn) -> Search:
    kinds = ["none", "weights", "kernel"]
    return Search(
        algorithm=draw(st.sampled_from(["gp", "gp", "random"])),
        acquisition=draw(st.sampled_from(ACQUISITIONS)),
        startup_trials=draw(st.integers(0, 2)),
        joint=draw(st.booleans()),
        kernel=draw(st.sampled_from(["matern52", "rbf"])),
        warp=draw(st.sampled_from(["auto", "none"])),
        decay=Decay(kind=draw(st.sampled_from(kinds)), detrend=draw(st.booleans())),
        trust_region=TrustRegion(enabled=draw(st.booleans())),
    )


@st.composite
def requests(draw: st.DrawFn, space: SearchSpace, *, joint: bool) -> Request:
    point = draw(points_of(space))
    free = draw(st.lists(st.sampled_from(sorted(space.parameters)), min_size=1, unique=True))
    limits = {}
    for name in free:
        parameter, value = space.parameters[name], point[name]
        if not isinstance(parameter, Categorical):
            assert isinstance(value, int | float)
            step = draw(st.floats(0.01, 1.0)) * (parameter.high - parameter.low)
            limits[name] = (
                max(float(parameter.low), value - step),
                min(float(parameter.high), value + step),
            )
    return Request(
        number=draw(st.integers(1, 10**6)),
        point=point,
        limits=limits,
        free=tuple(free),
        joint=joint,
        centers={n: draw(st.floats(*limits[n])) for n in limits if draw(st.booleans())},
        upward=tuple(n for n in limits if draw(st.booleans())),
    )


def assert_inside(space: SearchSpace, request: Request, proposal: Proposal, length: float) -> None:
    assert proposal.point
    assert set(proposal.point) <= set(request.free)
    assert request.joint or len(proposal.point) == 1
    whole = {**request.point, **proposal.point}
    x, center = space.encode(whole), space.encode(request.point)  # raises outside the space
    for name, parameter, part in space.columns():
        if name not in proposal.point or isinstance(parameter, Categorical):
            continue
        move = proposal.point[name]
        assert type(move) is (int if isinstance(parameter, Integer) else float)
        low, high = request.limits[name]
        assert low <= move <= high, (name, move, request.limits[name])
        if proposal.source != "startup" or not request.centers:
            rounding = 1e-9
            if isinstance(parameter, Integer):  # to the nearest whole number
                ends = [
                    float(space.encode({**whole, name: e})[part]) for e in near(parameter, move)
                ]
                rounding += max(abs(float(x[part]) - end) for end in ends)
            assert float((x[part] - center[part]).abs()) <= MOST * length / 2 + rounding


def near(parameter: Integer, move: Scalar) -> list[int]:
    assert isinstance(move, int)
    return [max(parameter.low, move - 1), min(parameter.high, move + 1)]


@given(st.data())
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_proposal_lies_within_the_limits_and_the_trust_region_and_moves_free_knobs_only(
    data: st.DataObject,
) -> None:
    space, config = data.draw(spaces(max_size=3)), data.draw(searches())
    proposer = Proposer(space, config, randomness=Seeded(data.draw(st.integers(0, 99))))
    for _ in range(data.draw(st.integers(1, 3))):
        for _ in range(data.draw(st.integers(0, 3))):
            seen = Observation(point=data.draw(points_of(space)), value=data.draw(any_float))
            proposer.tell(Told(observation=seen, success=data.draw(st.none() | st.booleans())))
        request = data.draw(requests(space, joint=config.joint))
        length = length_of(proposer) if config.trust_region.enabled else 2.0
        assert_inside(space, request, proposer.ask(request), length)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("algorithm", ["gp", "random"])
def test_whole_numbers_keep_limits_that_are_no_whole_numbers(joint: bool, algorithm: Any) -> None:
    space = SearchSpace({"n": Integer(-9, 9)})
    config = Search(algorithm=algorithm, startup_trials=3, joint=joint)
    proposer = Proposer(space, config)
    for number in range(12):
        value = number % 5 - 2
        seen = Observation(point={"n": value}, value=float(value))
        proposer.tell(Told(observation=seen, success=bool(number % 2)))
        limits = {"n": (value - 1.6, value + 1.6)}
        request = Request(
            number=number, point={"n": value}, limits=limits, free=("n",), joint=joint
        )
        move = proposer.ask(request).point["n"]
        assert type(move) is int
        assert abs(move - value) <= 1


def test_one_knob_at_a_time_unless_all_move_together() -> None:
    for joint, most in ((False, 1), (True, 2)):
        proposer = proposer_of(Search(startup_trials=2, joint=joint))
        moved = {len(proposer.ask(ask_for(n, joint=joint)).point) for n in range(1, 6)}
        assert max(moved) == most


@pytest.mark.parametrize("config", [EAGER, Search(algorithm="random"), Search()])
def test_a_knob_that_is_not_free_stays(config: Search) -> None:
    proposer = proposer_of(config)
    for number in range(1, 6):
        request = ask_for(number, free=("aux",), limits={"aux": (0.5, 2.0)})
        assert set(proposer.ask(request).point) == {"aux"}


def test_a_shrunk_trust_region_keeps_proposals_near() -> None:
    proposer = proposer_of(tale=[told(1.0, 1.0, float(n), success=False) for n in range(6)])
    assert length_of(proposer) == pytest.approx(0.05)
    for number in range(1, 6):
        for name, move in proposer.ask(ask_for(number)).point.items():
            assert isinstance(move, float)
            assert abs(SPACE.place(name, move) - 0.5) <= MOST * 0.025 + 1e-12


def test_a_trust_region_that_collapsed_starts_anew() -> None:
    proposer = proposer_of(tale=[told(1.0, 1.0, float(n), success=False) for n in range(8)])
    assert length_of(proposer) == 0.4
    assert proposer.state_dict()["region"]["restarts"] == 1


def test_a_trust_region_that_is_off_leaves_the_limits_alone() -> None:
    config = Search(startup_trials=0, trust_region=TrustRegion(enabled=False))
    proposer = proposer_of(config, acquisition=corner(1.0, 1.0))
    wide = {"lr": (0.1, 10.0), "aux": (0.1, 10.0)}
    (move,) = proposer.ask(ask_for(1, limits=wide)).point.values()
    assert isinstance(move, float)
    assert move > 9.0


# --- repeatable -----------------------------------------------------------------------------


@pytest.mark.parametrize("config", [EAGER, AT_ONCE, Search(), Search(algorithm="random")])
@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_the_same_seed_history_and_number_give_the_same_proposal(
    config: Search, acquisition: Any
) -> None:
    plain = {name: getattr(config, name) for name in ("algorithm", "startup_trials", "joint")}
    chosen = Search(**plain, acquisition=acquisition)
    torch.manual_seed(1)
    first = proposer_of(chosen).ask(ask_for(7, joint=chosen.joint))
    torch.manual_seed(2)
    second = proposer_of(chosen).ask(ask_for(7, joint=chosen.joint))
    assert first == second


@pytest.mark.parametrize(
    "config",
    [
        Search(startup_trials=0, joint=True, acquisition="thompson"),
        Search(joint=True),
        Search(algorithm="random"),
    ],
)
def test_another_seed_gives_another_proposal(config: Search) -> None:
    one, other = (proposer_of(config, seed).ask(ask_for(7, joint=True)) for seed in (0, 1))
    assert one.point != other.point


def test_another_number_gives_another_proposal() -> None:
    config = Search(algorithm="random")
    one, other = (proposer_of(config).ask(ask_for(number)) for number in (1, 2))
    assert one.point != other.point


@given(st.integers(-(2**70), 2**70), st.integers(0, 10**9))
@settings(deadline=None)
def test_a_seed_is_one_that_torch_takes_and_the_same_each_time(seed: int, number: int) -> None:
    given_ = Seeded(seed).seed(number)
    assert 0 <= given_ < 2**31
    assert Seeded(seed).seed(number) == given_


def test_neighbouring_seeds_and_numbers_share_no_randomness() -> None:
    drawn = [Seeded(seed).seed(number) for seed in range(40) for number in range(40)]
    assert len(set(drawn)) == len(drawn)


def test_what_was_told_drives_the_gp_and_not_only_where() -> None:
    values = [one.observation.value for one in TALE]
    shuffled = [*values[2:], *values[:2]]
    other = [
        Told(observation=Observation(point=one.observation.point, value=value))
        for one, value in zip(TALE, shuffled, strict=True)
    ]
    points = [proposer_of(AT_ONCE, tale=t).ask(ask_for(3, joint=True)).point for t in (TALE, other)]
    assert points[0] != points[1]


def test_a_random_search_does_not_listen() -> None:
    config = Search(algorithm="random")
    points = [proposer_of(config, tale=t).ask(ask_for(3)).point for t in (TALE, TALE[::-1])]
    assert points[0] == points[1]


@pytest.mark.parametrize("config", [EAGER, Search(startup_trials=2), Search(algorithm="random")])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_state_that_went_through_json_goes_on_identically(config: Search, after: int) -> None:
    original = proposer_of(config)
    for number in range(after):
        original.ask(ask_for(number))
        original.tell(told(1.2, 0.9, math.nan, success=bool(number % 2)))
    resumed = Proposer(SPACE, config, randomness=Seeded(0))
    resumed.load_state_dict(json.loads(json.dumps(original.state_dict(), allow_nan=False)))
    assert resumed.state_dict() == original.state_dict()
    for number in range(after, after + 4):
        request = ask_for(number)
        assert resumed.ask(request) == original.ask(request)
        for one in (resumed, original):
            one.tell(told(1.0 + number / 10, 1.0, math.sin(number), success=bool(number % 2)))
    assert resumed.state_dict() == original.state_dict()


def test_taking_a_state_replaces_what_was_known() -> None:
    fresh, used = Proposer(SPACE, EAGER), proposer_of()
    used.ask(ask_for(1))
    used.load_state_dict(fresh.state_dict())
    assert used.state_dict() == fresh.state_dict()


# --- a good guest ---------------------------------------------------------------------------


@pytest.mark.parametrize("config", [EAGER, Search(), Search(algorithm="random")])
@pytest.mark.parametrize("acquisition", ["log_ei", "thompson"])
def test_torchs_random_state_and_threads_are_left_alone(config: Search, acquisition: Any) -> None:
    chosen = Search(
        algorithm=config.algorithm,
        startup_trials=config.startup_trials,
        acquisition=acquisition,
    )
    proposer, threads = proposer_of(chosen), torch.get_num_threads()
    torch.manual_seed(12)
    before = [torch.get_rng_state(), *accelerator_states()]
    torch.set_num_threads(2)
    try:
        proposer.ask(ask_for(1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    after = [torch.get_rng_state(), *accelerator_states()]
    assert all(map(torch.equal, after, before))
    assert torch.initial_seed() == 12


def accelerator_states() -> list[Tensor]:
    return list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else []


def test_the_random_state_of_accelerators_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's generator draws the dropout of the run: to seed it is to change the training."""
    seeded: list[str] = []
    for name in ("cuda", "mps", "xpu"):
        module = getattr(torch, name)
        for function in ("manual_seed", "manual_seed_all", "seed", "seed_all"):
            if hasattr(module, function):
                label = f"torch.{name}.{function}"
                monkeypatch.setattr(module, function, lambda *_, label=label: seeded.append(label))
    for config in (EAGER, Search(), Search(algorithm="random")):
        proposer_of(config).ask(ask_for(1))
    assert seeded == []


def test_threads_and_random_state_come_back_when_the_criterion_raises() -> None:
    proposer, threads = proposer_of(acquisition=broken), torch.get_num_threads()
    before = torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            proposer.ask(ask_for(1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    before = torch.get_default_device()
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(before)


WEATHER: dict[str, Callable[[], Any]] = {
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "grad": torch.enable_grad,
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "another default device": lambda: default_device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": nullcontext,
}


@pytest.mark.parametrize("weather", WEATHER)
@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_the_weather_of_the_training_changes_no_proposal(weather: str, acquisition: Any) -> None:
    config = Search(startup_trials=1, acquisition=acquisition)

    def proposals() -> list[Proposal]:
        proposer = proposer_of(config)
        return [proposer.ask(ask_for(number)) for number in range(3)]

    wanted = proposals()
    with WEATHER[weather]():
        found = proposals()
    assert found == wanted


def test_a_surrogate_told_in_inference_mode_can_be_asked_outside_it() -> None:
    proposer = proposer_of()
    with torch.inference_mode():
        proposer.tell(told(1.1, 1.1, 0.2))
        first = proposer.ask(ask_for(1))
    assert first.source == "gp"
    assert proposer.ask(ask_for(2)).source == "gp"
    with torch.inference_mode():
        assert proposer.ask(ask_for(3)).source == "gp"


# --- start-up -------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["gp", "random"])
@pytest.mark.parametrize("joint", [False, True])
def test_the_prior_center_is_proposed_first(algorithm: Any, joint: bool) -> None:
    proposer = proposer_of(Search(algorithm=algorithm, startup_trials=0, joint=joint))
    centers = {"lr": 1.3, "aux": 0.8}
    first = proposer.ask(ask_for(1, centers=centers, joint=joint))
    assert first.source == "startup"
    assert first.point == (centers if joint else {"lr": 1.3})
    assert proposer.ask(ask_for(2, centers=centers, joint=joint)).source != "startup"


def test_a_center_is_headed_for_whatever_earlier_runs_have_tried() -> None:
    proposer = proposer_of()
    past = [Observation(point={**HERE, "lr": 1.0 + n / 10}, value=0.1 * n) for n in range(8)]
    proposer.learn(past)
    request = ask_for(1, centers={"lr": 1.9})
    assert proposer.ask(request).point == {"lr": 1.9}
    again = proposer_of()
    again.load_state_dict(proposer.state_dict())
    assert again.state == proposer.state


def test_a_center_beyond_the_limits_is_approached() -> None:
    first = proposer_of().ask(ask_for(1, centers={"lr": 5.0}))
    assert first.point == {"lr": 2.0}


def test_a_center_is_headed_for_by_steps_while_these_are_kept() -> None:
    proposer, at, seen = proposer_of(Search(startup_trials=4), tale=[]), 1.0, []
    for number in range(1, 4):
        limits = {"lr": (at / 2.0, at * 2.0)}
        point = {**HERE, "lr": at}
        request = ask_for(number, point=point, limits=limits, free=("lr",), centers={"lr": 7.0})
        proposal = proposer.ask(request)
        at = float(proposal.point["lr"])
        seen.append((proposal.source, at))
        proposer.tell(told(at, 1.0, 0.1, success=True))
    assert seen == [("startup", 2.0), ("startup", 4.0), ("startup", 7.0)]


def test_a_center_is_not_headed_for_any_more_once_a_move_was_rejected() -> None:
    proposer = proposer_of(Search(startup_trials=6), tale=[])
    request = {"limits": {"lr": (0.5, 2.0)}, "free": ("lr",), "centers": {"lr": 1.9}}
    for number in range(1, 7):
        move = proposer.ask(ask_for(number, **request)).point["lr"]
        assert (move == 1.9) == (number == 1)
        proposer.tell(told(float(move), 1.0, -0.1, success=False))


def test_a_center_is_not_headed_for_after_the_start() -> None:
    proposer = proposer_of(Search(startup_trials=2), tale=TALE)
    request = {"limits": {"lr": (0.5, 2.0)}, "free": ("lr",), "centers": {"lr": 1.9}}
    points = [proposer.ask(ask_for(number, **request)).point for number in range(4)]
    assert [point == {"lr": 1.9} for point in points] == [True, True, False, False]


def test_a_center_where_the_knob_already_is_is_no_proposal() -> None:
    first = proposer_of().ask(ask_for(1, centers=dict(HERE)))
    assert first.source == "gp"
    assert first.point not in ({"lr": 1.0}, {"aux": 1.0})


def test_a_center_of_a_knob_that_is_not_free_waits() -> None:
    request = ask_for(1, free=("aux",), limits={"aux": (0.5, 2.0)}, centers={"lr": 1.5})
    assert set(proposer_of().ask(request).point) == {"aux"}


@given(st.integers(0, 999), st.booleans())
@settings(deadline=None, max_examples=15)
def test_upward_startup_trials_never_go_down(seed: int, joint: bool) -> None:
    proposer = proposer_of(Search(startup_trials=6, joint=joint), seed)
    for number in range(1, 7):
        proposal = proposer.ask(ask_for(number, upward=("lr",), joint=joint))
        assert proposal.source == "startup"
        move = proposal.point.get("lr", 1.0)
        assert isinstance(move, float)
        assert move >= 1.0


def test_startup_trials_that_are_not_upward_go_both_ways() -> None:
    proposer = proposer_of(Search(startup_trials=12, joint=True))
    asked = [proposer.ask(ask_for(n, upward=("lr",), joint=True)).point for n in range(1, 13)]
    moves = [point["aux"] for point in asked]
    assert any(isinstance(move, float) and move < 1.0 for move in moves)
    assert any(isinstance(move, float) and move > 1.0 for move in moves)


def test_after_the_start_an_upward_knob_may_be_lowered() -> None:
    tale = [told(0.7, 1.0, 1.0), told(1.0, 1.0, 0.0), told(1.5, 1.0, -1.0)]
    proposer = proposer_of(tale=tale, acquisition=UpperConfidenceBound(0.0))
    request = ask_for(1, upward=("lr",), free=("lr",), limits={"lr": (0.5, 2.0)})
    move = proposer.ask(request).point["lr"]
    assert isinstance(move, float)
    assert move < 1.0


@given(st.integers(0, 6))
@settings(deadline=None, max_examples=7)
def test_the_gp_takes_over_after_the_startup_trials(count: int) -> None:
    proposer = proposer_of(Search(startup_trials=count))
    sources = [proposer.ask(ask_for(number)).source for number in range(1, count + 3)]
    assert sources == ["startup"] * count + ["gp"] * 2


def test_startup_trials_are_all_different_and_fill_the_box() -> None:
    proposer = proposer_of(Search(startup_trials=8), tale=[])
    request = {"free": ("lr",), "limits": {"lr": (0.5, 2.0)}}
    moves = [proposer.ask(ask_for(n, **request)).point["lr"] for n in range(1, 9)]
    numbers = [move for move in moves if isinstance(move, float)]
    assert len(set(numbers)) == 8
    assert min(numbers) < 0.8
    assert max(numbers) > 1.25


def test_a_random_search_says_that_it_is_random() -> None:
    proposer = proposer_of(Search(algorithm="random"))
    assert {proposer.ask(ask_for(number)).source for number in range(8)} == {"random"}


@pytest.mark.parametrize("tale", [[], TALE[:1]])
def test_too_little_seen_is_a_fallback_inside_the_limits(tale: list[Told]) -> None:
    proposal = proposer_of(tale=tale).ask(ask_for(1))
    assert proposal.source == "fallback"
    assert_inside(SPACE, ask_for(1), proposal, 0.4)


def test_a_fit_that_fails_is_a_fallback_inside_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "fit", lambda *_, **__: None)
    proposal = proposer_of().ask(ask_for(1))
    assert proposal.source == "fallback"
    assert proposal.mean is None
    assert_inside(SPACE, ask_for(1), proposal, 0.4)


# --- what a proposal believes ---------------------------------------------------------------


def test_a_gp_proposal_says_what_it_believed() -> None:
    proposer = proposer_of()
    proposal = proposer.ask(ask_for(1))
    assert proposal.source == "gp"
    for number in (proposal.mean, proposal.deviation, proposal.criterion):
        assert number is not None
        assert math.isfinite(number)
    theta = proposer.state_dict()["fitted"]["theta"]
    said = proposal.hyperparameters
    assert list(said) == ["lengthscale", "noise", "half_life"]
    numbers = [*said["lengthscale"], *said["noise"], *said["half_life"]]
    assert numbers == pytest.approx([math.exp(value) for value in theta])
    assert set(proposal.slices) == set(SPACE.parameters)
    for one in proposal.slices.values():
        assert len(one.at) == len(one.mean) == len(one.deviation) == SLICE_POINTS == 33
        assert (one.at[0], one.at[-1]) == (0.0, 1.0)
        assert all(map(math.isfinite, (*one.mean, *one.deviation)))
        assert min(one.deviation) > 0


def test_a_startup_proposal_believes_nothing() -> None:
    proposal = proposer_of(Search()).ask(ask_for(1))
    assert proposal.mean is None
    assert proposal.deviation is None
    assert proposal.criterion is None
    assert proposal.slices == {}


def test_a_choice_has_no_slice() -> None:
    space = SearchSpace({"c": Categorical(("a", "b")), "x": Float(0.0, 1.0)})
    proposer = Proposer(space, EAGER)
    for i in range(4):
        point: dict[str, Scalar] = {"c": "ab"[i % 2], "x": i / 4}
        proposer.tell(Told(observation=Observation(point=point, value=float(i))))
    request = Request(
        number=1, point={"c": "a", "x": 0.5}, limits={"x": (0.0, 1.0)}, free=("c", "x")
    )
    assert set(proposer.ask(request).slices) == {"x"}


def test_the_better_choice_is_proposed() -> None:
    space = SearchSpace({"c": Categorical(("a", "b", "c"))})
    proposer = Proposer(space, EAGER, acquisition=UpperConfidenceBound(0.0))
    for i in range(9):
        value = {"a": 0.0, "b": 1.0, "c": -1.0}["abc"[i % 3]]
        proposer.tell(Told(observation=Observation(point={"c": "abc"[i % 3]}, value=value)))
    request = Request(number=1, point={"c": "a"}, limits={}, free=("c",))
    assert proposer.ask(request).point == {"c": "b"}


def test_the_gp_climbs_towards_what_was_better() -> None:
    proposer = proposer_of(tale=[told(m, 1.0, math.log(m)) for m in (0.5, 0.7, 1.0, 1.4, 2.0)])
    request = ask_for(1, free=("lr",), limits={"lr": (0.5, 2.0)})
    move = proposer.ask(request).point["lr"]
    assert isinstance(move, float)
    assert move > 1.4


# --- criteria of the user's own ---------------------------------------------------------------


def corner(*signs: float) -> Callable[..., Any]:
    """Make a criterion that prefers one corner of the cube, whatever the model says."""
    pull = torch.tensor(signs, dtype=torch.float64)

    def acquisition(model: Any, best: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: (x.squeeze(-2) * pull).sum(-1)

    return acquisition


def broken(model: Any, best: Tensor) -> Any:
    return 1 / 0


@pytest.mark.parametrize("signs", [(1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0)])
def test_a_criterion_that_prefers_a_corner_drives_the_proposals_there(
    signs: tuple[float, float],
) -> None:
    proposer = proposer_of(AT_ONCE, acquisition=corner(*signs))
    point = dict(HERE)
    for number in range(1, 12):
        limits = {n: (max(0.1, float(m) / 2), min(10.0, float(m) * 2)) for n, m in point.items()}
        request = ask_for(number, point=point, limits=limits, joint=True)
        point.update(proposer.ask(request).point)
    for sign, (name, move) in zip(signs, point.items(), strict=True):
        assert isinstance(move, float)
        assert SPACE.place(name, move) == pytest.approx(1.0 if sign > 0 else 0.0, abs=0.05)


def test_a_criterion_hears_the_best_posterior_mean() -> None:
    heard: list[float] = []

    def listening(model: Any, best: Tensor) -> Any:
        assert best.shape == ()
        assert best.dtype == torch.float64
        means = model.posterior(model.data.x.unsqueeze(-2)).mean.flatten()
        assert float(best) == float(means.max())
        heard.append(float(best))
        return corner(1.0, 1.0)(model, best)

    proposer_of(acquisition=listening).ask(ask_for(1))
    assert len(heard) == 1


def test_an_exception_of_a_criterion_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        proposer_of(acquisition=broken).ask(ask_for(1))


@pytest.mark.parametrize(
    ("score", "rule"),
    [
        (lambda x: x.sum((-1, -2)) * math.nan, "are NaN"),
        (lambda x: x.sum(), "must give shape"),
    ],
)
def test_a_criterion_that_scores_nothing_is_refused(score: Any, rule: str) -> None:
    proposer = proposer_of(acquisition=lambda model, best: score)
    with pytest.raises(CriterionError, match=rule):
        proposer.ask(ask_for(1))


# --- telling and inheriting -------------------------------------------------------------------


@pytest.mark.parametrize("point", [{"lr": 1.0}, {"lr": 99.0, "aux": 1.0}, {"lr": "a", "aux": 1.0}])
def test_a_point_outside_the_space_is_refused_and_teaches_nothing(point: dict[str, Any]) -> None:
    proposer = proposer_of()
    before = proposer.state_dict()
    with pytest.raises(SpaceError):
        proposer.tell(Told(observation=Observation(point=point, value=1.0), success=True))
    assert proposer.state_dict() == before


def test_only_a_judged_change_moves_the_trust_region() -> None:
    proposer = proposer_of()
    assert length_of(proposer) == 0.4
    for success, length in ((None, 0.4), (True, 0.4), (True, 0.8), (False, 0.8), (False, 0.4)):
        proposer.tell(told(1.0, 1.0, 0.0, success))
        assert length_of(proposer) == pytest.approx(length)


def test_no_more_than_the_limit_is_remembered() -> None:
    proposer = proposer_of(Search(max_observations=4), tale=TALE * 3)
    state = proposer.state_dict()
    assert len(state["observations"]) == 4
    assert state["count"] == 15


def test_what_earlier_runs_measured_is_known_and_stands_for_trials() -> None:
    past = [one.observation for one in TALE]
    proposer = proposer_of(Search(startup_trials=3), tale=[])
    assert proposer.ask(ask_for(1)).source == "startup"
    informed = proposer_of(Search(startup_trials=3), tale=[])
    informed.learn(iter(past))
    state = informed.state_dict()
    assert (len(state["observations"]), state["trials"]) == (len(TALE), len(TALE))
    assert state["region"] == proposer.state_dict()["region"], "they are no verdicts of this run"
    assert informed.ask(ask_for(1)).source == "gp"


def test_what_was_learnt_of_earlier_runs_fades_first() -> None:
    proposer = proposer_of(Search(max_observations=4), tale=[])
    proposer.learn(one.observation for one in TALE)
    for one in TALE[:4]:
        proposer.tell(one)
    kept = [(row["point"], row["value"]) for row in proposer.state_dict()["observations"]]
    assert kept == [(one.observation.point, one.observation.value) for one in TALE[:4]]


def test_an_earlier_point_outside_the_space_is_refused() -> None:
    with pytest.raises(SpaceError):
        proposer_of().learn([Observation(point={"lr": 99.0, "aux": 1.0}, value=1.0)])


def test_a_new_knob_inherits_what_was_learnt_without_it() -> None:
    wider = SearchSpace({**SPACE.parameters, "new": Float(0.0, 1.0)})
    before = proposer_of(Search(startup_trials=2))
    before.ask(ask_for(1))
    before.tell(told(1.0, 1.0, 0.0, success=True))
    before.tell(told(1.0, 1.0, 0.0, success=True))
    after = Proposer(wider, Search(startup_trials=2))
    after.inherit(before, {"new": 0.5})
    old, new = before.state_dict(), after.state_dict()
    assert new["trials"] == old["trials"] == 1
    assert new["region"] == old["region"]
    assert len(new["observations"]) == len(old["observations"])
    for one, other in zip(old["observations"], new["observations"], strict=True):
        assert other["point"] == {**one["point"], "new": 0.5}
        assert other["value"] == one["value"]
    request = Request(
        number=2,
        point={**HERE, "new": 0.5},
        limits={**WIDE, "new": (0.0, 1.0)},
        free=("lr", "aux", "new"),
    )
    assert [after.ask(request).source for _ in range(2)] == ["startup", "gp"]


# --- trials of a study: the whole space, points in parallel, time that runs out ----------------

LATTICE = SearchSpace({"n": Integer(0, 5), "c": Categorical(("a", "b", "c"))})
TRIALS = replace(STUDY, startup_trials=3)


def study_of(space: SearchSpace, config: Search = TRIALS, **rest: Any) -> Proposer:
    return Proposer(space, config, **rest)


def run_trials(proposer: Proposer, count: int, score: Callable[[Any], float]) -> list[Any]:
    """Ask, score and tell, one point after the other."""
    points = []
    for number in range(count):
        request = whole(proposer.space, number)
        points.append({**request.point, **proposer.ask(request).point})
        value = score(points[-1])
        proposer.tell(Told(observation=Observation(point=points[-1], value=value)))
    return points


def test_a_study_of_a_finite_space_measures_no_point_twice_while_there_are_others() -> None:
    proposer = study_of(LATTICE, replace(STUDY, startup_trials=0))
    points = run_trials(proposer, 18, lambda p: -abs(p["n"] - 3) + (p["c"] == "b"))
    assert len({tuple(point.items()) for point in points}) == 18
    again = run_trials(proposer, 1, lambda p: 0.0)
    assert again[0] in points


@given(st.integers(0, 99), st.integers(1, 5), spaces(max_size=3))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_points_asked_for_at_once_are_as_many_as_wanted_and_lie_in_the_space(
    seed: int, count: int, space: SearchSpace
) -> None:
    proposer = study_of(space, randomness=Seeded(seed))
    run_trials(proposer, 5, lambda p: float(len(repr(p)) % 7))
    request = whole(space, 5)
    made = proposer.ask_many(request, count)
    assert len(made) == count
    for proposal in made:
        space.encode({**request.point, **proposal.point})


@pytest.mark.parametrize("acquisition", [*ACQUISITIONS, "mine"])
def test_points_asked_for_at_once_know_of_each_other(acquisition: str) -> None:
    mine = {"acquisition": monte_carlo} if acquisition == "mine" else {}
    named: Any = "log_ei" if mine else acquisition
    proposer = study_of(SPACE, replace(TRIALS, acquisition=named), **mine)
    run_trials(proposer, 8, lambda p: -abs(math.log(float(p["lr"]))) - float(p["aux"]) / 9)
    made = proposer.ask_many(whole(SPACE, 8), 4)
    x = torch.stack([SPACE.encode({**HERE, **proposal.point}) for proposal in made])
    assert float(torch.pdist(x).min()) > 1e-6
    assert {proposal.source for proposal in made} == {"gp"}


def monte_carlo(model: Any, best: Tensor) -> Any:
    return qLogExpectedImprovement(model, best_f=best)


def test_a_botorch_criterion_that_has_no_pending_points_takes_part_too() -> None:
    proposer = study_of(SPACE, acquisition=lambda m, best: ProbabilityOfImprovement(m, best_f=best))
    run_trials(proposer, 8, lambda p: -abs(math.log(float(p["lr"]))))
    made = proposer.ask_many(whole(SPACE, 8), 3)
    assert len({tuple(proposal.point.items()) for proposal in made}) == 3


def test_trials_of_a_study_repeat_from_seed_and_number() -> None:
    def score(point: Any) -> float:
        return -abs(math.log(float(point["lr"]))) - float(point["aux"])

    one, other = (run_trials(study_of(SPACE), 14, score) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("looks", [0, 1, 3, 12])
def test_a_proposal_that_runs_out_of_time_says_so_and_lies_in_the_space(looks: int) -> None:
    left = [10**9]

    def expired() -> bool:
        left[0] -= 1
        return left[0] < 0

    proposer = study_of(SPACE, expired=expired)
    run_trials(proposer, 6, lambda p: -abs(math.log(float(p["lr"]))))
    left[0] = looks
    request = whole(SPACE, 6)
    proposal = proposer.ask(request)
    assert proposal.source == "deadline"
    SPACE.encode({**request.point, **proposal.point})


@given(
    st.lists(any_float, min_size=0, max_size=12),
    st.sampled_from([STUDY, EAGER, AT_ONCE]),
    st.sampled_from(ACQUISITIONS),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_no_values_told_keep_a_point_from_being_proposed(
    values: list[float], config: Search, acquisition: Any
) -> None:
    proposer = Proposer(SPACE, replace(config, startup_trials=0, acquisition=acquisition))
    for i, value in enumerate(values):
        proposer.tell(told((0.3, 1.0, 3.0)[i % 3], (0.5, 2.0)[i % 2], value))
    request = whole(SPACE, len(values))
    proposal = proposer.ask(request)
    assert proposal.source in ("gp", "fallback")
    SPACE.encode({**request.point, **proposal.point})


def test_numbers_that_a_built_in_criterion_cannot_bear_are_a_fallback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nowhere = lambda self, x: torch.full_like(x[:, 0], math.nan)  # noqa: E731
    monkeypatch.setattr(ClosedForm, "values", nowhere)
    proposal = proposer_of().ask(ask_for(1))
    assert proposal.source == "fallback"
    assert_inside(SPACE, ask_for(1), proposal, 0.4)


@pytest.mark.parametrize("error", [NotPSDError("k"), NanError("k"), LinAlgError("k")])
def test_linear_algebra_that_fails_under_any_criterion_is_a_fallback(error: Exception) -> None:
    def failing(model: Any, best: Tensor) -> Any:
        raise error

    assert proposer_of(acquisition=failing).ask(ask_for(1)).source == "fallback"


def test_many_observations_are_proposed_from_and_remembered_within_the_limit() -> None:
    proposer = study_of(SPACE, replace(STUDY, startup_trials=0, max_observations=400))
    generator = torch.Generator().manual_seed(0)
    for row in torch.rand(450, 2, generator=generator, dtype=torch.float64):
        point = SPACE.decode(row)
        proposer.tell(told(float(point["lr"]), float(point["aux"]), -float((row - 0.3).norm())))
    proposal = proposer.ask(whole(SPACE, 0))
    assert proposal.source == "gp"
    place = SPACE.encode({**HERE, **proposal.point})
    assert float((place - 0.3).norm()) < 0.05


@pytest.mark.parametrize(
    "parameter",
    [
        Integer(0, 2**63 - 1),
        Integer(-(2**63) + 1, 2**63 - 1),
        Integer(2**60, 2**60 + 7),
        Integer(1, 2**63 - 1, log=True),
    ],
)
def test_the_largest_whole_numbers_are_searched_to_their_ends(parameter: Integer) -> None:
    proposer = study_of(SearchSpace({"n": parameter}), replace(STUDY, startup_trials=3))
    width = parameter.high - parameter.low
    points = run_trials(proposer, 9, lambda p: (p["n"] - parameter.low) / width)
    assert all(type(point["n"]) is int for point in points)
    assert all(parameter.low <= point["n"] <= parameter.high for point in points)
    assert max(point["n"] for point in points) == parameter.high


# --- constraints ----------------------------------------------------------------------------

MIXED = SearchSpace(
    {
        "d_model": Integer(16, 256),
        "heads": Categorical((1, 2, 3, 4, 6, 8)),
        "lr": Float(1e-4, 1.0, log=True),
    }
)


def divides(point: Any) -> bool:
    return bool(point["d_model"] % point["heads"] == 0)


def size_of(point: Any) -> float:
    return -abs(math.log(float(point["d_model"]) / 100)) - abs(float(point["heads"]) - 6) / 4


@given(st.integers(0, 999))
@settings(deadline=None, max_examples=6)
def test_proposals_meet_a_constraint_at_the_start_and_after(seed: int) -> None:
    proposer = study_of(MIXED, allows=divides, randomness=Seeded(seed))
    points = run_trials(proposer, 12, size_of)
    assert all(divides(point) for point in points)
    assert max(map(size_of, points)) > -1.0


@pytest.mark.parametrize("acquisition", [*ACQUISITIONS, "mine"])
def test_proposals_meet_a_constraint_under_any_criterion(acquisition: str) -> None:
    def allows(point: Any) -> bool:
        return bool(point["lr"] + point["aux"] < 4.0)

    mine = {"acquisition": monte_carlo} if acquisition == "mine" else {}
    named: Any = "log_ei" if mine else acquisition
    proposer = study_of(SPACE, replace(TRIALS, acquisition=named), allows=allows, **mine)
    points = run_trials(proposer, 9, lambda p: float(p["lr"]) + float(p["aux"]))
    assert all(allows(point) for point in points)
    for proposal in proposer.ask_many(whole(SPACE, 9), 3):
        assert allows({**HERE, **proposal.point})


def test_a_constraint_holds_while_the_time_runs_out_and_where_numbers_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = study_of(MIXED, allows=divides, expired=lambda: True)
    assert all(divides(point) for point in run_trials(late, 6, size_of))
    monkeypatch.setattr(room, "fit", lambda *args, **rest: None)
    failing = study_of(MIXED, allows=divides)
    assert all(divides(point) for point in run_trials(failing, 6, size_of))


def test_a_constraint_that_nothing_meets_still_gives_a_point_of_the_space() -> None:
    points = run_trials(study_of(MIXED, allows=lambda point: False), 6, size_of)
    for point in points:
        MIXED.encode(point)


@pytest.mark.parametrize("startup", [2, 20])
def test_a_point_that_is_allowed_is_proposed_again_before_one_that_is_not(startup: int) -> None:
    space = SearchSpace({"n": Integer(0, 3)})
    config = replace(STUDY, startup_trials=startup)
    proposer = study_of(space, config, allows=lambda point: point["n"] < 2)
    points = run_trials(proposer, 8, lambda point: float(point["n"]))
    assert {point["n"] for point in points[:2]} == {0, 1}
    assert {point["n"] for point in points} == {0, 1}


@given(spaces(max_size=3), st.integers(0, 999))
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_a_constraint_that_all_points_meet_changes_no_bit(space: SearchSpace, seed: int) -> None:
    def score(point: Any) -> float:
        return float(len(repr(point)) % 7)

    free = study_of(space, randomness=Seeded(seed))
    held = study_of(space, randomness=Seeded(seed), allows=lambda point: True)
    none = study_of(space, randomness=Seeded(seed), allows=None)
    wanted = run_trials(free, 7, score)
    assert run_trials(held, 7, score) == wanted
    assert run_trials(none, 7, score) == wanted
    assert held.state_dict() == free.state_dict() == none.state_dict()


def test_a_constraint_sees_whole_points_of_the_space() -> None:
    asked: list[Any] = []

    def allows(point: Any) -> bool:
        asked.append(point)
        return True

    run_trials(study_of(MIXED, allows=allows), 5, size_of)
    assert asked
    for point in asked:
        assert list(point) == list(MIXED.parameters)
        MIXED.encode(point)


def test_an_exception_of_a_constraint_passes_through() -> None:
    def odd(point: Any) -> bool:
        raise KeyError("m")

    with pytest.raises(KeyError, match="'m'"):
        study_of(SPACE, allows=odd).ask(whole(SPACE, 0))
