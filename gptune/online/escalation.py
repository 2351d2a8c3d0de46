"""What the guard does where restoring alone does not help: it tries lower rates, then lowers it."""

from msgspec.structs import replace

from gptune.events import Blocked
from gptune.online import guard, look_ahead
from gptune.online.batches import Batches
from gptune.online.calibrating import rate_of
from gptune.online.calibration import LOOK, SHORTEST, Found, Program, Save, race
from gptune.online.decision import Hand
from gptune.online.look_ahead import Looking
from gptune.online.session import Session
from gptune.records import Float, Reason

DOWN = (0.0, -0.5, -1.0)  # rates that are tried [decades]
REGAINED = 0.25  # of the dip: by less a lower rate does not win, for any looks good for a while


class Escalation:
    """Tries lower rates the first time, lowers the rate the next, and keeps one not to blame.

    Args:
        session: The run.
        batches: What arms are trained on; it knows whether the data is to blame.
        looking: What tries lower rates, if that is possible.
    """

    def __init__(self, session: Session, batches: Batches, looking: Looking | None) -> None:
        self._session, self._batches, self._looking = session, batches, looking
        self._passed = 0  # batches that were not finite, by the last time

    @property
    def blames_data(self) -> bool:
        """Whether batches that are not finite came through since the last time."""
        return self._batches.passed > self._passed and self._batches.is_mostly_sound

    def go(
        self, before: guard.GuardState, symptom: Reason, fall: float, *, blames_data: bool
    ) -> None:
        """Do what is due after a restore: something, if it came soon after another one.

        Args:
            before: What the guard remembered before it.
            symptom: Why the training state was put back.
            fall: How far the objective lay below what was expected [metric units].
            blames_data: Whether batches that are not finite explain it, on any rank.
        """
        session, hand = self._session, self._movable()
        why = _excuse(before, symptom, blames_data=blames_data)
        self._passed = self._batches.passed
        if session.state.guard.repeats == 0:
            return
        if hand is None or why:
            self._keep(why or "there is none that may move")
            return
        session.state = replace(session.state, guard=guard.climbed(session.state.guard))
        if session.state.guard.rung > 1:
            self._move(hand, guard.LOWER)
        else:
            self._look(hand, fall)

    def _movable(self) -> Hand | None:
        safety, hand = self._session.state.safety, rate_of(self._session.hands)
        if hand is None or hand.knob.family in (*safety.pinned, *safety.quarantined):
            return None
        return hand

    def _keep(self, why: str) -> None:
        session, said = self._session, f"restoring did not help, and the rate stays: {why}"
        session.say(said)
        if session.log is not None:
            event = Blocked(reasons=(Reason.LOOK_AHEAD,), message=said)
            session.log.append(session.now(), event)

    def _move(self, hand: Hand, decades: float) -> None:
        session, family = self._session, hand.knob.family
        move = look_ahead.within(hand.knob, float(session.state.point[family]) * 10**decades)
        if move == session.state.point[family]:
            return self._keep("it is the lowest that is allowed")
        tag = f"guard-{session.state.guard.restores}"
        session.move({family: move}, source="guard", tag=tag, reason=Reason.MEASURED)
        return None

    # looking ahead ----------------------------------------------------------------------------

    def _look(self, hand: Hand, fall: float) -> None:
        """Try lower rates from the state that is in force.

        If the rate that is in force does well this time, it stays: then it was not the rate.
        """
        session, why = self._session, self._why_not()
        home = float(session.state.point[hand.knob.family])
        arms = tuple(x for x in DOWN if _holds(hand.knob.space, home * 10**x))
        if len(arms) < 2:
            why = "it is the lowest that is allowed"
        if self._looking is None or why:
            return self._keep(why)
        event = look_ahead.announced("guard", home, arms[-1], 0.0)
        if session.log is not None and session.log.append(session.now(), event, durable=True):
            self._batches.record()
            self._looking.begin(_downward(arms, self._length(), fall), home, self._end)
        return None

    def _why_not(self) -> str:
        """Say why no lower rate can be tried; empty if one can."""
        session, steps = self._session, self._length()
        total, state = session.config.total_steps or 0, session.state.guard
        if self._looking is None or not self._batches.used or not total:
            return "without evaluate, total_steps and batches no other can be tried"
        if steps < SHORTEST:
            return "the run is too short to try another"
        if not guard.may_look(state, session.steps, len(DOWN) * steps, total):
            return "there is no time left to try another"
        return ""

    def _length(self) -> int:
        return round(LOOK * (self._session.config.total_steps or 0))

    def _end(self, found: Found | None, why: str) -> None:
        session, hand, looking = self._session, rate_of(self._session.hands), self._looking
        assert hand is not None
        assert looking is not None
        home, sign = float(session.state.point[hand.knob.family]), session.config.sign
        event = look_ahead.told("guard", found, home, sign=sign, why=why, taken=looking.steps)
        after = guard.looked(session.state.guard, session.steps, event.steps)
        session.state = replace(session.state, guard=after)
        if session.log is not None:
            session.log.append(session.now(), event, durable=True)
        if found is not None and why:
            session.say(f"guard: {why}")
        if found is not None and found.decades:
            self._move(hand, found.decades)


def _excuse(before: guard.GuardState, symptom: Reason, *, blames_data: bool) -> str:
    """Say why the rate is not to blame; empty if it may be."""
    if symptom not in (Reason.STATE_NOT_FINITE, Reason.NOT_FINITE):
        return ""
    if blames_data:
        return "batches are not finite"
    return "training gets on in between" if guard.has_improved(before) else ""


def _downward(arms: tuple[float, ...], steps: int, fall: float) -> Program:
    yield Save("origin")
    found: Found = yield from race(arms, steps, least=REGAINED * fall)
    return found


def _holds(space: object, move: float) -> bool:
    return isinstance(space, Float) and space.low <= move <= space.high
