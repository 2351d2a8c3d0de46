"""Promises about two runs: what must make no difference makes none."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune import Tuner
from gptune.configs import Mode
from gptune.events import Opened
from gptune.foreign import Answer
from gptune.online.decision import plan
from gptune.records import Proposal, Scalar
from gptune.run_directory.event_log import effective, read_events
from tests.doubles import FakeKnob, seen_at
from tests.fakes import MemoryDisk, ToldClock
from tests.logs import KernelRun, kernel_runs

RUN = Path("/runs/one")
FEW = settings(max_examples=max(8, settings().max_examples // 4))  # for the slower ones
METRICS = st.lists(  # exact in floats, also after adding or taking away 64
    st.integers(-(2**24), 2**24).map(lambda n: n / 2**22), min_size=1, max_size=14, unique=True
)
RECIPE: dict[str, Any] = {
    "search": {"startup_trials": 2},
    "acceptance": {"probability": 0.6},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 3, "pause_decisions": 2},
}
CHANCE: dict[str, Any] = {**RECIPE, "search": {"algorithm": "random", "startup_trials": 0}}
GIVEN: dict[str, Any] = {"recipe": RECIPE, "seed": 4, "total_steps": 200}


class Run:
    """A short run with two knobs on a disk in memory."""

    def __init__(self, disk: MemoryDisk | None = None, **chosen: Any) -> None:
        self.disk = disk or MemoryDisk()
        self.knobs = [FakeKnob("loss.aux"), FakeKnob("loss.kl")]
        chosen = {"clock": ToldClock(), **GIVEN, **chosen}
        self.tuner = Tuner(list(self.knobs), run_dir=RUN, file_system=self.disk, **chosen)
        self.told: list[Any] = []

    def report(self, metrics: Iterable[float]) -> "Run":
        for value in metrics:
            self.tuner.step()
            made = self.tuner.report({"val/loss": value})
            self.told.append(replace(made, seconds={}, metric=None))
        return self

    def verdicts(self) -> list[Any]:
        return [(made.verdict, made.changes, made.opened) for made in self.told]

    def story(self) -> list[Any]:
        lines = effective(read_events(RUN, self.disk))
        events = [e for e in lines if not isinstance(e.event, Opened)]
        values = [knob.value for knob in self.knobs]
        return [
            self.told,
            values,
            [(e.envelope.decision, e.envelope.step, e.event) for e in events],
        ]


@given(METRICS)
def test_the_same_seed_and_metrics_give_the_same_run(metrics: list[float]) -> None:
    assert Run().report(metrics).story() == Run().report(metrics).story()


@FEW
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_another_seed_gives_other_proposals(one: int, other: int) -> None:
    assume(one != other)
    first = Run(seed=one).report([1.0] * 6).tuner.values
    assert Run(seed=other).report([1.0] * 6).tuner.values != first


@FEW
@given(METRICS, st.floats(-1e9, 1e9), st.floats(-1e6, 1e6))
def test_the_clock_decides_nothing(metrics: list[float], time: float, tick: float) -> None:
    odd = Run(clock=ToldClock(time=time, tick=tick)).report(metrics)
    assert odd.story() == Run().report(metrics).story()


@FEW
@given(METRICS, METRICS, st.integers(0, 3))
def test_a_state_that_went_through_json_goes_on_as_if_it_had_never_been_saved(
    before: list[float], after: list[float], lost: int
) -> None:
    whole = Run().report([*before, *after])
    first = Run().report(before)
    saved = json.dumps(first.tuner.state_dict())
    assert json.dumps(json.loads(saved)) == saved
    first.report(after[:lost])  # what came after the checkpoint is made again
    first.disk.die()
    second = Run(first.disk, resume=True)
    second.tuner.load_state_dict(json.loads(saved))
    second.told = first.told[: len(before)]
    assert second.report(after).story() == whole.story()


@given(METRICS, st.sampled_from([-64.0, 0.0, 64.0]))
def test_the_direction_of_the_metric_and_a_constant_change_no_decision(
    metrics: list[float], shift: float
) -> None:
    plain = Run(recipe=CHANCE).report(metrics).verdicts()
    upward = {**CHANCE, "objective": {"mode": "max"}}
    assert Run(recipe=upward).report(-value for value in metrics).verdicts() == plain
    assert Run(recipe=CHANCE).report(value + shift for value in metrics).verdicts() == plain


@given(kernel_runs(), st.floats(-2, 2), st.floats(0.6, 1.6))
def test_suggest_names_what_active_would_apply(run: KernelRun, value: float, factor: float) -> None:
    def propose(told: Any, request: Any) -> Any:
        names = request.free[:1] if request else ()
        moves: dict[str, Scalar] = {name: float(request.point[name]) * factor for name in names}
        return Answer(value=Proposal(point=moves, source="gp")) if request else None

    seen = seen_at(run.step + 5, value)
    plans = [
        plan(run.config, replace(run.state, mode=mode), seen, propose)[1]
        for mode in (Mode.ACTIVE, Mode.SUGGEST)
    ]
    assert plans[0].changes == plans[1].changes
    assert plans[0].draft.reasons == plans[1].draft.reasons


@given(
    st.sampled_from(["read", "snapshot", "validate", "apply", "restore"]),
    st.booleans(),
    st.lists(st.integers(-99, 99).map(lambda n: n / 64), min_size=40, max_size=40),
)
def test_one_broken_knob_does_not_stop_the_other(
    call: str, lies: bool, metrics: list[float]
) -> None:
    run = Run(recipe={**CHANCE, "acceptance": {"reference": "last"}})
    run.knobs[0].fails.add(call)
    run.knobs[0].lies = lies
    run.report(metrics)
    applied = [call for call, _ in run.knobs[1].calls if call == "apply"]
    assert applied, "the sound knob was never moved"
    assert run.tuner.log_ok


@FEW
@given(METRICS)
def test_what_a_run_remembers_does_not_grow_with_its_length(metrics: list[float]) -> None:
    recipe = {**CHANCE, "search": {**CHANCE["search"], "max_observations": 8}}
    sizes = []
    run = Run(recipe=recipe)
    for _ in range(6):
        run.report((metrics * 60)[:60])
        sizes.append(len(json.dumps(run.tuner.state_dict())))
    assert max(sizes[2:]) < 1.1 * max(sizes[:2])
