"""Every promise, while an adversary proposes, and metric, knobs, disk, operator and death do harm.

One machine over the whole Tuner: its rules are what can happen, its invariants are the promises,
each by its sentence. docs/safety.md lists which test proves which promise.
"""

import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gptune.audit import audit_data
from gptune.errors import GptuneError
from gptune.events import (
    Abandoned,
    Accepted,
    Applied,
    Command,
    Failed,
    Intent,
    Observed,
    Opened,
    Paused,
    RollbackFailed,
    RolledBack,
    Unpaused,
)
from gptune.online.playing import POLL
from gptune.run_directory.summary import summarize
from tests.fakes import Death, Fault
from tests.online.machine import FAMILIES, HIGH, LOW, NAMES, STEP, World

ENDS = (Accepted, RolledBack, Failed, RollbackFailed, Abandoned)
ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NO_NUMBERS = st.sampled_from([math.nan, math.inf, -math.inf, None, "0.5", True, [0.5], 1j])
FIELDS = ["acceptance.epsilon", "safety.block_on_nan", "safety.on_error", "actuators.opt.lr"]
BRAKES = [{"safety.block_on_nan": False}, {"safety.on_error": "raise"}, {"mode": "active"}]
ORDERS = st.one_of(
    st.tuples(st.sampled_from(["disable", "resume", "accept", "reject", "nonsense"]), st.just({})),
    st.tuples(
        st.just("enable"),
        st.builds(dict, mode=st.sampled_from(["active", "observe", "suggest", "off", "replay"])),
    ),
    st.tuples(st.just("pause"), st.builds(dict, decisions=st.integers(-1, 3))),
    st.tuples(
        st.sampled_from(["pin", "unpin"]),
        st.builds(dict, family=st.sampled_from([*FAMILIES, "no.such"])),
    ),
    st.tuples(st.just("rollback"), st.builds(dict, to=st.none() | st.integers(-1, 9))),
    st.tuples(
        st.just("apply"),
        st.builds(
            dict,
            moves=st.dictionaries(
                st.sampled_from(FAMILIES), ANY | st.floats(LOW, HIGH) | st.floats(LOW / 5, HIGH * 5)
            ),
        ),
    ),
    st.tuples(
        st.just("apply"),
        st.builds(
            lambda family, move: {"moves": {family: move}},
            st.sampled_from(FAMILIES),
            st.floats(LOW / 5, HIGH * 5) | st.sampled_from([LOW / 2, HIGH * 2]),
        ),
    ),
    st.tuples(st.just("set"), st.sampled_from([{"changes": one} for one in BRAKES])),
    st.tuples(
        st.just("set"),
        st.builds(dict, changes=st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=2)),
    ),
)
CALLS = st.sampled_from(["read", "validate", "apply", "snapshot", "restore"])
DISK = st.sampled_from(["write", "sync", "replace", "remove", "names", "read"])


class Promises(RuleBasedStateMachine):
    """A run, and all that can happen to it."""

    @initialize(
        cooldown=st.integers(0, 2),
        streak=st.integers(1, 4),
        pause=st.integers(1, 3),
        horizon=st.integers(1, 2),
        everywhere=st.integers(0, 1),
        seed=st.integers(0, 99),
    )
    def a_run_begins(self, seed: int, **rules: int) -> None:
        self.world = World(rules, seed)
        self.world.open(resume=False)
        self.world.save()
        self.orders = 0
        self.told = b""  # the log at the last look
        self.wild = set[str]()  # knobs that cannot be read or restored, or that others wrote
        self.closed: list[Any] | None = None  # where all stood when it was closed
        self.left_open = self.left_active_open = self.moved_in_calm = False
        self.owners, self.houses = 1, 0
        self.tried, self.failed = 0, False  # values given to knobs; whether a write has failed

    @property
    def tuner(self) -> Any:
        return self.world.tuner

    @property
    def state(self) -> Any:
        return self.world.tuner._session.state

    def is_open(self) -> bool:
        return self.closed is None

    # what can happen --------------------------------------------------------------------------

    @rule(steps=st.integers(1, 20))
    def it_trains(self, steps: int) -> None:
        self.world.train(steps)

    @precondition(is_open)
    @rule(values=st.lists(st.floats(-2, 2), min_size=1, max_size=6), steps=st.integers(0, 2))
    def it_reports(self, values: list[float], steps: int) -> None:
        for value in values:
            self.world.train(steps)
            self.tuner.report({"val/loss": value})

    @precondition(is_open)
    @rule(value=NO_NUMBERS)
    def it_reports_what_is_no_number(self, value: object) -> None:
        self.world.train(POLL)  # orders that wait are done before
        pending, before = self.state.pending, self.tuner.values
        changes = pending.changes if pending else ()
        self.tuner.report({"val/loss": value})
        due = {**before, **{c.family: c.old for c in changes}}
        is_back = self.state.pending is None and (self.tuner.values == due or bool(self.wild))
        self.left_open |= not is_back

    @precondition(is_open)
    @rule()
    def the_metric_raises(self) -> None:
        def source(name: str, default: object = None) -> object:
            raise ZeroDivisionError(name)

        self.tuner.report(source)

    @precondition(is_open)
    @rule(value=st.floats(-2, 2), mode=st.sampled_from(["observe", "suggest"]))
    def it_decides_in_a_mode_that_only_looks(self, value: float, mode: str) -> None:
        self.tuner.set_mode(mode)
        self.left_active_open |= self.state.pending is not None
        self.world.train(POLL)
        before, is_calm = self.tuner.values, self.tuner.mode == mode
        self.tuner.report({"val/loss": value})
        self.moved_in_calm |= self.tuner.values != before and is_calm
        self.tuner.set_mode("active")

    @precondition(is_open)
    @rule(mode=st.sampled_from(["active", "active", "active", "observe", "off"]))
    def the_mode_changes(self, mode: str) -> None:
        self.tuner.set_mode(mode)

    @rule(order=ORDERS)
    def an_operator_orders(self, order: tuple[str, dict[str, Any]]) -> None:
        self.orders += 1
        self.world.order(order[0], order[1], f"{self.orders:04}")

    @precondition(lambda self: self.orders > 0)
    @rule(order=ORDERS)
    def an_order_comes_again_under_its_old_name(self, order: tuple[str, dict[str, Any]]) -> None:
        self.world.order(order[0], order[1], f"{self.orders:04}")

    @rule(who=st.sampled_from(NAMES), what=CALLS)
    def a_knob_breaks(self, who: str, what: str) -> None:
        self.world.knobs[who].fails.add(what)
        self.wild |= {who} if what in ("read", "restore") else set()

    @precondition(is_open)
    @rule(what=st.sampled_from(["apply", "validate", "snapshot"]), value=st.floats(-2, 2))
    def it_reports_while_both_knobs_are_broken(self, what: str, value: float) -> None:
        for knob in self.world.knobs.values():
            knob.fails.add(what)
        self.tuner.report({"val/loss": value})

    @precondition(is_open)
    @rule(values=st.lists(st.floats(-2, 2), min_size=1, max_size=3))
    def it_reports_while_the_knobs_lie(self, values: list[float]) -> None:
        for knob in self.world.knobs.values():
            knob.lies = True
        for value in values:
            self.tuner.report({"val/loss": value})

    @rule(who=st.sampled_from(NAMES), value=st.floats(LOW, HIGH))
    def somebody_else_writes_a_value(self, who: str, value: float) -> None:
        self.world.knobs[who].value = value
        self.wild.add(who)

    @rule()
    def the_knobs_are_mended(self) -> None:
        self._mend()

    @precondition(is_open)
    @rule()
    def another_process_wants_the_run(self) -> None:
        try:
            World(self.world.rules, disk=self.world.disk, run=self.world.run).open(resume=True)
        except GptuneError:
            return
        self.owners += 1

    @rule(call=DISK, nth=st.integers(1, 40), fault=st.sampled_from([Fault.FAIL, Fault.TEAR]))
    def the_disk_fails(self, call: str, nth: int, fault: Fault) -> None:
        self.world.disk.break_at(call, nth, fault)

    @precondition(is_open)
    @rule(
        call=st.sampled_from(["write", "sync"]),
        nth=st.integers(1, 8),
        fault=st.sampled_from([Fault.FAIL, Fault.TEAR]),
    )
    def it_reports_while_the_disk_fails(self, call: str, nth: int, fault: Fault) -> None:
        self.world.disk.break_at(call, nth, fault)
        for value in (0.2, 0.1):
            self.tuner.report({"val/loss": value})

    @rule()
    def the_clock_jumps_back(self) -> None:
        self.world.clock.time -= 1e6

    @precondition(is_open)
    @rule()
    def a_checkpoint_is_made(self) -> None:
        self.world.save()

    @precondition(is_open)
    @rule(mode=st.sampled_from(["off", "observe", "suggest", "active"]))
    def it_is_saved_in_some_mode_and_resumed(self, mode: str) -> None:
        self.tuner.set_mode(mode)
        self.world.save()
        self._resume()

    @rule(nth=st.integers(1, 12), fault=st.sampled_from([Fault.KILL, Fault.CUT]))
    def the_process_dies_and_is_resumed(self, nth: int, fault: Fault) -> None:
        disk = self.world.disk
        disk.repair()
        disk.break_any(nth, fault)
        try:
            for value in (0.3, 0.2, 0.1) if self.is_open() else ():
                self.world.train(1)
                self.tuner.report({"val/loss": value})
        except Death:
            pass
        self._resume()

    @precondition(is_open)
    @rule()
    def a_state_is_loaded_again(self) -> None:
        self.world.disk.repair()
        self._mend()
        self.world.load()
        self.wild, self.failed = set(), False

    @precondition(is_open)
    @rule(then=st.sampled_from(["observe", "active"]), steps=st.integers(0, 2))
    def a_state_is_loaded_in_mode_off(self, then: str, steps: int) -> None:
        self.world.disk.repair()
        self._mend()
        self.tuner.set_mode("off")
        self.world.load()
        assert self.tuner.mode == "off"
        self.world.train(steps)
        self.tuner.set_mode(then)
        self.wild, self.failed = set(), False

    @rule()
    def it_goes_on_in_another_directory(self) -> None:
        self.houses += 1
        self.world.disk.die()
        self.world.move_house(f"house-{self.houses}")
        self.world.save()
        self.told = b""
        self.wild, self.closed, self.failed = set(), None, False

    @precondition(is_open)
    @rule(mode=st.sampled_from(["observe", "suggest", "active"]), calls=st.integers(1, 3))
    def a_line_is_lost_and_the_state_saved_and_resumed(self, mode: str, calls: int) -> None:
        self.world.disk.break_at("write", calls, Fault.FAIL)
        self.tuner.set_mode(mode)
        self.tuner.set_mode("active")
        self.world.save()
        self._resume()

    def _mend(self) -> None:
        for knob in self.world.knobs.values():
            knob.fails, knob.lies = set(), False

    def _resume(self) -> None:
        self.world.disk.die()
        self.world.resume()
        self.wild, self.closed, self.failed = set(), None, False

    @precondition(lambda self: self.is_open() and len(self.world.data()) > 3000)
    @rule()
    def it_is_closed(self) -> None:
        self.tuner.close()
        self.closed = self._all()

    def _all(self) -> list[Any]:
        world, data = self.world, self.world.data()
        knobs = [knob.calls[-1:] for knob in world.knobs.values()]
        return [self.tuner.values, knobs, data, world.disk.handles, world.disk.locks]

    # the promises -----------------------------------------------------------------------------

    @invariant()
    def no_value_outside_of_the_bounds_is_ever_given_to_a_knob(self) -> None:
        for knob in self.world.knobs.values():
            given = [value for call, value in knob.calls if call == "apply"]
            assert all(LOW <= value <= HIGH for value in given)

    @invariant()
    def nothing_comes_into_force_that_was_not_durably_written_before(self) -> None:
        assert not self.world.unwritten

    @invariant()
    def no_search_moves_a_knob_by_more_than_its_largest_step(self) -> None:
        for _, event in self.world.searched():
            for change in event.changes:
                old, new = float(change.old), float(change.new)
                assert max(new / old, old / new) <= STEP * (1 + 1e-12)

    @invariant()
    def no_change_is_made_on_a_metric_that_is_no_number(self) -> None:
        sound = self._sound()
        assert all(decision in sound for decision, _ in self.world.searched())

    @invariant()
    def a_metric_that_is_no_number_puts_an_open_change_back(self) -> None:
        assert not self.left_open

    @invariant()
    def a_mode_that_only_looks_moves_nothing(self) -> None:
        assert not self.moved_in_calm

    @invariant()
    def leaving_mode_active_puts_an_open_change_back_first(self) -> None:
        assert not self.left_active_open

    @invariant()
    def closing_puts_an_open_change_back_and_every_change_has_an_end(self) -> None:
        if self.closed is not None:
            assert self.state.pending is None
            ends = {one.event.id for one in self.world.lines() if isinstance(one.event, ENDS)}
            begun = {one.event.id for one in self.world.lines() if isinstance(one.event, Applied)}
            assert begun <= ends or not self.tuner.log_ok

    @invariant()
    def a_run_has_one_owner(self) -> None:
        assert self.owners == 1

    @invariant()
    def nothing_is_accepted_on_a_metric_that_is_no_number(self) -> None:
        sound = self._sound()
        for line in self.world.lines():
            if isinstance(line.event, Accepted) and not line.event.reasons:
                assert line.envelope.decision in sound

    def _sound(self) -> set[int]:
        return {
            line.envelope.decision
            for line in self.world.lines()
            if isinstance(line.event, Observed)
            and isinstance(line.event.metric, float)
            and math.isfinite(line.event.metric)
        }

    @invariant()
    def at_most_one_change_is_open_and_each_has_one_intent_and_one_end(self) -> None:
        begun, applied, ended = set[str](), set[str](), set[str]()
        for line in self.world.lines():
            event = line.event
            if isinstance(event, Intent):
                assert event.id not in begun
                begun.add(event.id)
            elif isinstance(event, Applied):
                assert event.id in begun - applied - ended
                applied.add(event.id)
            elif isinstance(event, ENDS):
                assert event.id in begun - ended
                ended.add(event.id)
            assert len(applied - ended) <= 1

    @invariant()
    def two_moves_of_a_knob_are_more_than_its_cooldown_apart(self) -> None:
        last: dict[str, int] = {}
        for decision, event in self.world.searched():
            for change in event.changes:
                before = last.get(change.family)
                assert before is None or decision - before > self.world.rules["cooldown"]
                last[change.family] = decision

    @invariant()
    def in_a_pause_nothing_is_tried_until_it_is_over(self) -> None:
        paused = False
        for line in self.world.lines():
            if isinstance(line.event, Paused | Unpaused):
                paused = isinstance(line.event, Paused)
            if isinstance(line.event, Opened) and line.event.carried is not None:
                paused = line.event.carried.paused
            tried = isinstance(line.event, Intent) and "@" not in line.event.id
            assert not (paused and tried)

    @invariant()
    def a_streak_of_rejects_pauses_tuning_at_its_limit(self) -> None:
        safety = self.state.safety
        assert safety.paused or safety.rejects < self.world.rules["streak"]

    @invariant()
    def what_is_said_to_be_in_force_is_in_force(self) -> None:
        for name, knob in self.world.knobs.items():
            assert name in self.wild or knob.value == self.tuner.values[name]

    @invariant()
    def the_rate_that_training_uses_is_the_schedules_times_the_move(self) -> None:
        self.world.train(1)
        assert not self.world.astray

    @invariant()
    def nobody_sees_a_multiplier_outside_of_a_step(self) -> None:
        assert not self.world.seen

    @invariant()
    def no_state_dict_ever_holds_a_multiplier(self) -> None:
        saved = self.world.optimizer.state_dict()["param_groups"]
        assert [group["lr"] for group in saved] == self.world.optimizer.scheduled()

    @invariant()
    def the_log_only_grows(self) -> None:
        whole = self.told[: self.told.rfind(b"\n") + 1]
        assert self.world.data().startswith(whole)
        self.told = self.world.data()

    @invariant()
    def replaying_the_log_gives_the_moves_in_force(self) -> None:
        if self.tuner.log_ok and self.is_open():
            summary = summarize(self.world.lines())
            assert summary.point == self.tuner.values
            assert (summary.decision, summary.mode) == (self.state.decision, self.state.mode)
            assert summary.paused == self.state.safety.paused

    @invariant()
    def after_a_failed_write_nothing_is_tried(self) -> None:
        tried = sum(call == "apply" for knob in self.world.knobs.values() for call, _ in knob.calls)
        assert tried == self.tried or not self.failed
        self.tried = tried
        self.failed = not self.tuner.log_ok

    @invariant()
    def an_order_is_done_at_most_once(self) -> None:
        done = [e.event.id for e in self.world.all_lines() if isinstance(e.event, Command)]
        assert len(done) == len(set(done))

    @invariant()
    def no_order_reaches_beyond_what_may_be_ordered(self) -> None:
        recipe = self.tuner.recipe
        assert recipe.safety.block_on_nan
        assert recipe.safety.on_error == "log"
        assert recipe.mutations()["opt.lr"].bounds == (LOW, HIGH)

    @invariant()
    def nothing_changes_after_closing(self) -> None:
        if self.closed is not None:
            self.tuner.close()
            assert self._all() == self.closed

    @invariant()
    def an_audit_that_shares_no_code_finds_every_promise_kept(self) -> None:
        report = audit_data(self.world.data(), self.world.summary())
        broken = [finding for finding in report.findings if not finding.holds]
        assert not broken, broken


TestPromises = Promises.TestCase
TestPromises.settings = settings(stateful_step_count=30)
