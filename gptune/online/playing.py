"""Makes the recorded changes of a replay when they are due."""

from gptune.configs import Mode
from gptune.events import Blocked
from gptune.online.replay import live_faults, news
from gptune.online.session import Session
from gptune.records import Reason

POLL = 64  # steps between two looks for commands, beside those at decisions [steps]


def play(session: Session) -> None:
    """Make the recorded changes that are due; one that is not allowed now is told and left out."""
    for group in session.score.due(session.steps):
        moves, state = news(group, session.state.point), session.state
        if session.log is None or not moves:
            continue
        faults = live_faults(group, session.config.knobs, state.point, state.safety)
        if state.mode is not Mode.REPLAY:
            faults = (Reason.LEFT_REPLAY,)
        if faults:
            said = f"{', '.join(moves)} is not moved as recorded at step {session.steps}"
            session.log.append(session.now(), Blocked(reasons=faults, message=said))
            session.say(f"{said}: {', '.join(faults)}")
        else:
            session.move(moves, source="replay", tag=f"replay-{session.log.seq}")


def next_look(session: Session) -> int:
    """Say after which step commands or recorded changes are looked for again [steps]."""
    regular = (session.steps // POLL + 1) * POLL
    recorded = session.score.step
    return regular if recorded is None else min(regular, recorded)
