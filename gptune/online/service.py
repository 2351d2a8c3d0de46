"""Does what another terminal orders: each command is written down first, then done."""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from gptune.errors import GptuneError
from gptune.events import Command
from gptune.foreign import foreign_call
from gptune.online.decision import Outcome
from gptune.online.desk import Desk
from gptune.online.session import Session
from gptune.online.steering import Steered, read_order, steer
from gptune.recipe.recorded import Movement, own_movements
from gptune.records import Reason
from gptune.run_directory.control import Message

PARTED = "the processes that train one model have parted; restart all of them"


class Service:
    """Takes the orders that have arrived, and carries them out on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def serve(self) -> None:
        """Do what another terminal has ordered since the last look.

        One of several processes does nothing between decisions, which all ranks make alike; at its
        end each answers for itself.
        """
        session = self._session
        if session.together.ranks.count > 1 and not session.closed:
            return
        if session.desk is not None and not session.waits_for_state:
            self._do_all(session.desk.take(session.now), session.desk)

    def serve_together(self) -> None:
        """Do it at a decision: what rank 0 was ordered, all ranks do."""
        session = self._session
        if session.together.ranks.count == 1:
            self.serve()
        else:
            desk = session.desk if session.together.ranks.number == 0 else None
            taken = list(desk.take(session.now)) if desk else []
            why = desk.frozen() if desk and taken else ""  # asked once, for all ranks
            orders = [replace(one, fault=one.fault or why) for one in taken]
            self._do_all(session.meet(orders), desk)

    def _do_all(self, orders: Iterable[Message], desk: Desk | None) -> None:
        session, done = self._session, 0
        for message in orders:
            moment, said = session.now(), self._obey(message)
            if desk is not None:
                desk.answer(message, moment, said)
            done += 1
        if done:
            session.publish()

    def _obey(self, message: Message) -> tuple[bool, str]:
        done = foreign_call(lambda: self._do(message))
        if done.value is None:
            self._session.caught.extend([] if done.error is None else [done.error])
            return False, f"failed: {done.message}"
        return done.value

    def _do(self, message: Message) -> tuple[bool, str]:
        """Write a command down, then do it: a command that the log does not know is not done."""
        session = self._session
        assert session.log is not None
        assert session.desk is not None
        alone = session.together.ranks.count == 1
        refusal = message.fault or (session.desk.frozen() if alone else "")
        refusal = refusal or ("the run has ended" if session.closed else "")
        refusal = refusal or (PARTED if session.together.parted else "")
        steered, arguments = None, dict[str, Any]()
        if not refusal:
            try:
                order = read_order(message.verb, message.arguments)
                arguments = message.arguments  # only what has a known shape is logged
                steered = steer(session.config, session.state, order, self._past())
            except GptuneError as error:
                refusal = str(error)
        event = Command(
            id=message.id,
            verb=message.verb,
            arguments=arguments,
            accepted=steered is not None,
            message=steered.message if steered else refusal,
        )
        written = session.log.append(session.now(), event, durable=True)
        if steered is None:
            return False, refusal
        if not written:
            return False, f"the log cannot be written ({session.log.failure}), so nothing is done"
        return self._follow(steered, message.id)

    def _follow(self, steered: Steered, tag: str) -> tuple[bool, str]:
        session = self._session
        self._take(steered)
        outcome = Outcome()
        if steered.ends is not None:
            outcome = session.resolve(Reason.OPERATOR, steered.ends)
        if steered.moves and not outcome.unrestored:
            outcome = session.move(steered.moves, source="human", tag=tag)
        if steered.mode is not None:
            outcome = session.set_mode(steered.mode, by="command")
        if not (outcome.failed or outcome.unrestored):
            return True, steered.message
        why = "; ".join(outcome.messages)
        if outcome.failed:
            return False, f"could not be made, and is undone: {why}"
        return False, f"{steered.message}; but what was open could not be put back: {why}"

    def _take(self, steered: Steered) -> None:
        """Take what an order says of the state."""
        session = self._session
        if steered.moves or steered.safety is not None:
            session.interrupt("an operator had an order")
        state = session.state
        session.adopt(
            replace(
                state,
                safety=steered.safety or state.safety,
                overrides=state.overrides if steered.overrides is None else steered.overrides,
            )
        )
        for notice in steered.notices:
            if session.log is not None:
                session.log.append(session.now(), notice)

    def _past(self) -> Iterator[Movement]:
        """Read every movement so far, once somebody asks."""
        session = self._session
        if session.log is not None:
            yield from own_movements(session.log.directory, session.files)
