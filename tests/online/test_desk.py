"""Commands arrive, are done at most once, and are answered; a bad disk hurts nobody."""

from pathlib import Path

from gptune.events import Command, Envelope, Line, Moment
from gptune.online.desk import AGAIN, Desk
from gptune.run_directory import control, names
from gptune.run_directory.control import Message
from tests.fakes import Fault, MemoryDisk

RUN = Path("run")
NOW = Moment(decision=3, step=40, phase="mid")


class Office:
    """A desk, and what it was told to do."""

    def __init__(self, past: tuple[str, ...] = ()) -> None:
        self.disk, self.done, self.said = MemoryDisk(), list[Message](), list[str]()
        lines = [_line(ident) for ident in past]
        self.desk = Desk(self.disk, RUN, lines, self.said.append)

    def obey(self, message: Message) -> tuple[bool, str]:
        self.done.append(message)
        return not message.fault, message.fault or "old -> new"

    def serve(self) -> int:
        """Do what waits; gives how many commands there were to do."""
        done = 0
        for message in self.desk.take(lambda: NOW):
            self.desk.answer(message, NOW, self.obey(message))
            done += 1
        return done

    def put(self, ident: str, data: bytes = b'{"verb": "pause", "arguments": {}}') -> None:
        self.disk.replace(RUN / names.COMMANDS / f"{ident}.json", data)


def _line(ident: str) -> Line:
    envelope = Envelope(seq=1, generation=0, decision=0, step=0, phase="mid")
    event = Command(id=ident, verb="pause", arguments={}, accepted=True, message="")
    return Line(envelope=envelope, event=event, wall={}, checksum="")


def test_a_command_is_done_once_and_answered_with_the_moment() -> None:
    office = Office()
    ident = control.send(office.disk, RUN, "pin", {"family": "opt.lr"})
    assert (office.serve(), office.serve()) == (1, 0)
    assert [(m.verb, m.arguments) for m in office.done] == [("pin", {"family": "opt.lr"})]
    answer = control.read_answer(office.disk, RUN, ident)
    assert answer == control.Answer(
        id=ident, accepted=True, message="old -> new", decision=3, step=40
    )


def test_a_command_that_the_log_knows_is_not_done_again() -> None:
    office = Office(past=("1-a",))
    office.put("1-a")
    office.put("2-b")
    office.serve()
    assert [message.id for message in office.done] == ["2-b"]
    answer = control.read_answer(office.disk, RUN, "1-a")
    assert answer is not None
    assert (answer.accepted, answer.message) == (False, AGAIN)


def test_a_command_that_cannot_be_taken_away_is_not_done() -> None:
    office = Office()
    office.put("1-a")
    office.disk.break_at("remove")
    assert office.serve() == 0
    assert office.done == []
    assert "cannot be taken or answered" in office.said[0]
    assert office.serve() == 1
    assert len(office.done) == 1


def test_an_answer_that_cannot_be_written_does_not_make_it_be_done_twice() -> None:
    office = Office()
    office.put("1-a")
    office.disk.break_at("replace")
    office.serve()
    office.serve()
    assert len(office.done) == 1


def test_a_command_that_comes_back_is_not_done_again() -> None:
    office = Office()
    for _ in range(3):
        office.put("1-a")
        office.serve()
    assert len(office.done) == 1


def test_one_that_cannot_be_taken_does_not_stop_the_others() -> None:
    office = Office()
    office.put("1-a")
    office.put("2-b")
    office.disk.break_at("remove")
    assert office.serve() == 1
    assert [message.id for message in office.done] == ["2-b"]


def test_a_directory_that_cannot_be_read_is_no_commands() -> None:
    office = Office()
    office.disk.break_for_ever("names", Fault.FAIL)
    assert office.serve() == 0
    assert office.said


def test_what_cannot_be_read_is_refused_by_who_obeys() -> None:
    office = Office()
    office.put("1-a", b"42")
    office.serve()
    answer = control.read_answer(office.disk, RUN, "1-a")
    assert answer is not None
    assert not answer.accepted
    assert "verb" in answer.message


def test_a_frozen_desk_says_so() -> None:
    office = Office()
    assert office.desk.frozen() == ""
    control.freeze(office.disk, RUN, on=True)
    assert office.desk.frozen() == "it is frozen"
