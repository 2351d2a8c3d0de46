"""One run in motion: the kernel's memory, the hands and the log. Plans come in, deeds go out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from gptune.configs import Mode
from gptune.configs.overrides import override
from gptune.core.proposer import Proposer
from gptune.errors import GptuneError
from gptune.events import Closed, KnobReading, ModeChanged, Moment, Paused
from gptune.foreign import Answer, foreign_call
from gptune.online import setup
from gptune.online.asking import consult
from gptune.online.bulletin import Bulletin
from gptune.online.checkpoint import Checkpoint, Mark, ballot, belongs, put_values
from gptune.online.choices import WIDTH
from gptune.online.decision import (
    Hand,
    KernelConfig,
    KernelState,
    Outcome,
    Plan,
    Saved,
    Seen,
    carry_out,
    describe,
    leave,
    plan,
    settle,
    start_point,
)
from gptune.online.desk import Desk
from gptune.online.look_ahead import LOADED
from gptune.online.notices import Notices
from gptune.online.opening import announce, carry_over, keep_recipe, opened, read_past
from gptune.online.parting import go_home
from gptune.online.replay import Score
from gptune.online.steering import by_hand
from gptune.online.together import Together, remembered
from gptune.online.watch import KnobStatus, Watch
from gptune.records import Action, Decision, Point, Proposal, Reason, Request, Scalar, Told
from gptune.run_directory.control import Message
from gptune.run_directory.event_log import EventLog
from gptune.run_directory.file_system import FileSystem

MakeProposer = Callable[[KernelConfig, int], Proposer | None]


class Session:
    """Holds what changes while a run is tuned, and acts on it.

    Args:
        config: The recipe as given, and the knobs.
        hands: Family -> actuator.
        seed: Of all chance.
        make_proposer: Makes a proposer for a config and a seed.
        files: The disk.
    """

    def __init__(
        self,
        config: KernelConfig,
        hands: dict[str, Hand],
        *,
        seed: int,
        make_proposer: MakeProposer,
        files: FileSystem,
    ) -> None:
        self.base = self.config = config  # as given; and with what an operator has set
        self.hands = hands
        self.steps, self.seed = 0, seed
        self.state = KernelState(mode=config.recipe.mode, point=start_point(config))
        self.score = Score(())
        self.log: EventLog | None = None
        self.waits_for_state = self.closed = False
        self.say = Notices().say
        self.caught: list[Exception] = []
        self.trial: Callable[[], Point] = dict  # moves that a look ahead has in force
        self.symptom: Reason | None = None  # what the guard saw at the last decision
        self.interrupt: Callable[[str], None] = lambda why: None  # no look ahead is at work
        self.blames_data = False  # what all saw at the last decision explains it by the data
        self.together = Together(self._part)
        self._make_proposer = make_proposer
        self.files = files
        self._proposer = make_proposer(config, seed)
        self._wanted: Mode | None = None  # at the next decision
        self._saved: dict[str, Saved] = {}
        self._given: dict[str, Any] = {}  # snapshots of the user's own values, where they may count
        self._loaded: Checkpoint | None = None
        self._watch = Watch(self.say)
        self.desk: Desk | None = None
        self._bulletin: Bulletin | None = None

    # life -------------------------------------------------------------------------------------

    def start(self, log: EventLog) -> None:
        """Say what will be tuned, and watch the optimizer; the log is given back on an error."""
        try:
            past = read_past(log, self.files)
            self._bulletin = Bulletin(self.files, log.directory, past, self.say)
            log.listen = self._bulletin.hear
            if self._loaded is not None and not self.together.ranks.number:
                belongs(log, self._loaded.log)  # it was loaded in mode off, before there was a log
            if self.together.ranks.count > 1:
                self._given = setup.snapshots(self.hands)
            announce(log, self.config, self.now(), seed=self.seed)
            if self._loaded is not None:
                self._supersede(log, None)
            setup.attach(self.hands, Mode.ACTIVE)
        except GptuneError:
            foreign_call(lambda: setup.attach(self.hands, Mode.OFF))
            log.close()
            raise
        self.log, self.waits_for_state = log, log.was_used and self._loaded is None
        self.desk = Desk(self.files, log.directory, past, self.say)
        complaint = keep_recipe(log, self.files, self.base.recipe)
        if complaint:
            self.say(complaint)
        if not self.hands:
            self.say("no knob is attached, so nothing will be tuned, only observed")
        self.publish()

    def close(self, last: Callable[[], None]) -> None:
        """Put back what is unjudged, remove all hooks, give the run directory back.

        Args:
            last: Done when nothing changes any more, and the log is still open.
        """
        if self.closed:
            return
        self.interrupt("the run was closed")
        if self.log is not None and not self.waits_for_state:
            self.resolve(Reason.CLOSED)
            self.closed = True
            last()
            self.log.append(self.now(), Closed(decisions=self.state.decision), durable=True)
        self.closed = True
        foreign_call(lambda: setup.release(self.hands))
        self.publish()
        if self.log is not None:
            self.log.close()

    def set_mode(self, new: Mode, by: str = "call") -> Outcome:
        """Change the mode; leaving active puts an unjudged change back first."""
        old, outcome = self.state.mode, Outcome()
        if self.closed or new is old:
            return outcome
        if self.together.parted and WIDTH[new] > WIDTH[Mode.OBSERVE]:
            self.say(f"mode {new.value}: not without the other processes; restart all of them")
            return outcome
        self.interrupt(f"the mode was changed to {new.value}")
        if old is Mode.ACTIVE:
            outcome = self.resolve(Reason.LEFT_ACTIVE)
        self.state = replace(self.state, mode=new)
        self._watch.start(self.hands, self.steps)
        if self.log is not None:
            self.log.append(self.now(), ModeChanged(old=old, new=new, by=by))
        setup.attach(self.hands, new)
        return outcome

    def want_mode(self, new: Mode) -> None:
        """Change the mode; of several processes all at the next decision: until then as it was."""
        if self.together.ranks.count == 1 or self.state.mode is Mode.OFF:
            self.set_mode(new)
        elif new is not self.state.mode:
            self._wanted = new
            self.say(f"mode {new.value}: from the next decision on, in all processes")

    def join(self, added: Mapping[str, Hand]) -> None:
        """Take more knobs; earlier observations count with the values that they have now."""
        setup.attach(added, self.state.mode)
        self.hands.update(added)
        self._given.update(setup.snapshots(added))
        knobs = {**self.config.knobs, **{name: hand.knob for name, hand in added.items()}}
        self.base = replace(self.base, knobs=knobs)
        self.adopt(self.state)
        start = {name: start_point(self.config)[name] for name in added}
        self.state = replace(self.state, point={**self.state.point, **start})
        old, self._proposer = self._proposer, self._make_proposer(self.config, self.seed)
        if old is not None and self._proposer is not None:
            self._proposer.inherit(old, start)
        if self.log is not None:
            self.log.append(self.now(), opened(self.config, self.seed, resumed=False))

    @property
    def point(self) -> dict[str, Scalar]:
        """The move in force of every knob, a trial's included."""
        return {**self.state.point, **self.trial()}

    def now(self) -> Moment:
        """Say when it is, in the run's own counts."""
        return self.config.moment(self.state.decision, self.steps)

    # decisions --------------------------------------------------------------------------------

    def meet(self, orders: Sequence[Message]) -> Sequence[Message]:
        """Begin a decision on all ranks: in one mode, with the orders that rank 0 has taken."""
        wanted, self._wanted = self._wanted or self.state.mode, None
        met = self.together.meet(orders, wanted)
        if met is None:
            return orders
        orders, mode = met
        self.set_mode(mode, by="ranks")
        return orders

    def decide(self, mine: Seen) -> Decision:
        """Make one decision of what was seen, and carry it out: on all ranks, alike.

        Where they differ, or cannot be reached, each goes back to the values that the user gave,
        and tuning stops.
        """
        seen = self.together.join(mine, lambda: remembered(self.state))
        planned: Answer[Any] = Answer() if seen is None else self._plan(seen)
        word = self.together.first(planned)
        if seen is None or word is None:
            decision = self._blocked(Reason.RANKS_DIFFER)
        elif word.state is None or word.plan is None:
            decision = self._stop(word.failure, planned.error)
        else:
            self.state, made = word.state, word.plan
            self.symptom, self.blames_data = made.draft.symptom, seen.blames_data
            decision = describe(made, self._carry_out(made), seen.objective)
            self.together.agree(self.stand)
        self.together.end()
        return decision

    def _plan(self, seen: Seen) -> Answer[tuple[KernelState, Plan]]:
        """Plan, on rank 0; the others do what it says."""
        if self.together.ranks.number:
            return Answer()
        return foreign_call(lambda: plan(self.config, self.state, seen, self._propose))

    def _part(self, why: Answer[object]) -> None:
        """Go on without the other ranks, with the values that the user gave: they do the same."""
        self.say(f"tuning stops in the processes that train one model: {why.message}")
        self.caught.extend([] if why.error is None else [why.error])
        self.resolve(Reason.RANKS_DIFFER)
        go_home(self, self._given, self._watch.strays(self.hands, self.point))
        if WIDTH[self.state.mode] > WIDTH[Mode.OBSERVE]:
            self.set_mode(Mode.OBSERVE, by="ranks")

    def stand(self) -> str:
        """Say where everything stands that must be equal on all ranks."""
        read = [foreign_call(hand.actuator.read).value for hand in self.hands.values()]
        return f"{remembered(self.state)} {read!r}"

    def resolve(self, reason: Reason, action: Action = Action.REJECTED) -> Outcome:
        """End the open segment, if there is one, between two decisions."""
        strays = self._watch.strays(self.hands, self.point)
        self.state, made = leave(
            self.config, self.state, self.steps, reason, action=action, strays=strays
        )
        return self._carry_out(made)

    def move(
        self, moves: Point, *, source: str, tag: str, reason: Reason = Reason.OPERATOR
    ) -> Outcome:
        """Make moves that no search proposed: applied as others are, and kept unjudged."""
        made = by_hand(self.config, self.state, self.steps, moves, source=source, tag=tag)
        outcome = self._carry_out(made)
        if outcome.applied:
            self.resolve(reason, Action.ACCEPTED)
        return outcome

    # inside and outside ------------------------------------------------------------------------

    def publish(self) -> None:
        """Let whoever looks from outside see where the run stands."""
        if self._bulletin is not None:
            self._bulletin.publish()

    def adopt(self, state: KernelState) -> None:
        """Take a state, and the recipe with what an operator has set of it."""
        self.state = state
        recipe = override(self.base.recipe, state.overrides)
        self.config = replace(self.base, recipe=recipe)

    # checkpoints ------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Give all that is needed to go on; the log as it is now outlives it, on any disk."""
        log = self.log
        failed = self.state.log_failed or (log is not None and log.failure is not None)
        if log is not None:
            log.sync()  # where this fails, the mark may still hold
        return Checkpoint(
            seed=self.seed,
            steps=self.steps,
            recipe=self.base.recipe.to_dict(),
            knobs=self.config.knobs,
            kernel=replace(self.state, log_failed=failed),
            proposer=self._proposer.state if self._proposer else None,
            total_steps=self.config.total_steps,
            log=Mark(seq=log.seq, checksum=log.checksum) if log else None,
        )

    def resume(self, read: Checkpoint) -> None:
        """Go on where `checkpoint` was made; lines of the log beyond it are superseded.

        Raises:
            StateError: If the log is another run's, or a knob cannot be put where it was; nothing
                is changed then.
        """
        own, log = self.state.mode, self.log
        mine = ballot(log, read, rank=self.together.ranks.number)
        ours, kernel = self.together.vote(mine), replace(read.kernel, log_failed=False)
        if not mine.goes_on:
            # Not the log that the open change was written to: it may not come into force here.
            kernel, _ = leave(self.base, kernel, read.steps, Reason.LEFT_ACTIVE)
        hands = {f: Hand(h.actuator, read.knobs[f]) for f, h in self.hands.items()}
        self.interrupt(LOADED)
        self._saved = put_values(kernel, hands)
        self.hands = hands
        self.base = replace(self.base, knobs=read.knobs)
        self.adopt(kernel)
        self.steps, self.seed, self._loaded = read.steps, read.seed, read
        if log is not None:
            self._supersede(log, read.log if mine.goes_on else None)
        setup.attach(self.hands, self.state.mode)  # a checkpoint of mode off has no hooks
        if not ours.goes_on:
            self.resolve(Reason.LEFT_ACTIVE)  # another rank's log does not know of it
        self._proposer = self._make_proposer(self.config, self.seed)
        if self._proposer is not None and read.proposer is not None:
            self._proposer.resume(read.proposer)
        self._watch.start(self.hands, self.steps)
        self.score.due(self.steps)  # made already
        self.waits_for_state = False
        replays = own is Mode.REPLAY and self.state.mode is Mode.ACTIVE
        if WIDTH[own] < WIDTH[self.state.mode] or replays:
            self.set_mode(own)  # neither what was asked for nor what an operator chose is widened

    def _supersede(self, log: EventLog, mark: Mark | None) -> None:
        """Let what came after a mark not count; without one, begin anew with where the run is."""
        log.rewind(mark.seq if mark else 0, self.now())
        if mark is None:
            carry_over(log, self.base, self.state, self.now(), seed=self.seed)

    # inside -----------------------------------------------------------------------------------

    def read_knobs(self) -> dict[str, KnobReading]:
        """Read where every knob stands at a decision."""
        return self._watch.read(self.hands, self.point, self.steps)

    def describe_knobs(self) -> dict[str, KnobStatus]:
        """Say where every knob stands, for people."""
        works = self.log is not None and not self.closed
        state = replace(self.state, point=self.point)
        state = state if works else replace(state, mode=Mode.OFF)
        return self._watch.describe(self.hands, self.config, state, self.steps)

    def answer_for_failures(self) -> None:
        """Do what ``safety.on_error`` says of failures that were contained since the last call."""
        caught, self.caught = self.caught, []
        policy = self.config.recipe.safety.on_error
        if caught and policy == "disable" and WIDTH[self.state.mode] > WIDTH[Mode.OBSERVE]:
            self.want_mode(Mode.OBSERVE)
            self.publish()
        elif caught and policy == "raise":
            raise caught[0]

    def _propose(self, told: Told | None, request: Request | None) -> Answer[Proposal] | None:
        if self._proposer is None:
            return None
        answer = consult(self._proposer, told, request)
        self.caught.extend([] if answer.error is None else [answer.error])
        return answer if request is not None else None

    def _carry_out(self, made: Plan) -> Outcome:
        if self.log is None:
            return Outcome()
        done, before = carry_out(made, self.log, self.hands, self._saved), self.state.safety
        self._saved = done.saved
        self.state = settle(self.config, self.state, made, done.outcome)
        if self.state.safety.paused and not before.paused:  # a knob was quarantined
            wait = self.config.recipe.safety.pause_decisions
            self.log.append(self.now(), Paused(decisions=wait, reasons=(Reason.QUARANTINED,)))
        self.caught.extend(done.errors)
        for message in (*done.outcome.messages, *([made.message] if made.message else [])):
            self.say(message)
        return done.outcome

    def _stop(self, why: str, error: Exception | None) -> Decision:
        """Stop tuning on account of gptune's own failure; training goes on."""
        self.say(f"tuning stops for a failure of its own: {why}")
        self.caught.extend([] if error is None else [error])
        self.set_mode(Mode.OBSERVE)
        return self._blocked(Reason.KERNEL_FAILED)

    def _blocked(self, why: Reason) -> Decision:
        blocked, number = Action.BLOCKED, self.state.decision
        return Decision(number=number, step=self.steps, verdict=blocked, reasons=(why,))
