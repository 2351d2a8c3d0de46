"""What happened, in words: verdicts with their effects, restores, pauses, commands."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from gptune.cli.live.glyphs import BAD, DULL, GOOD, HAND, MEANINGS, PLAIN, TONES, TRIAL, Glyphs
from gptune.cli.live.view import Happening, View, setting
from gptune.events import (
    Applied,
    Blocked,
    Command,
    Event,
    Failed,
    LookAhead,
    ModeChanged,
    Opened,
    Paused,
    Restored,
    RollbackFailed,
    Suggested,
    Unpaused,
)
from gptune.printable import printable
from gptune.records import Change, Evidence, Reason, Scalar, show
from gptune.run_directory.changes import Ending
from gptune.run_directory.effects import effect_of
from gptune.run_directory.words import MEANINGS as WHY
from gptune.run_directory.words import words

LONGEST = 400  # letters of a foreign text; no row is longer


class Sentence(Struct, frozen=True):
    """One thing that happened.

    Attributes:
        sign: Name of its sign.
        verdict: A word or two.
        text: The rest.
        tone: Its colour; grey where there is no measurable effect.
    """

    sign: str
    verdict: str
    text: str
    tone: str = PLAIN


def foreign(text: object) -> str:
    r"""Make a text that comes from outside harmless, short, and one line.

    Example:
        >>> print(foreign("val\x1b[2J\nloss"))
        val\u001b[2J loss
    """
    return printable(" ".join(str(text)[:LONGEST].split()))


def tell(view: View, happening: Happening, glyphs: Glyphs) -> Sentence:
    """Say what happened."""
    said = _tell(view, happening, glyphs)
    if happening.times == 1:
        return said
    text = f"{said.text}, {happening.times} times in a row"
    return Sentence(said.sign, said.verdict, text, said.tone)


def shown_moves(view: View, changes: Iterable[Change], glyphs: Glyphs) -> str:
    """Write how knobs moved."""
    return ", ".join(
        f"{foreign(c.family)} {shown_move(view, c.family, c.old, glyphs)} "
        f"{glyphs.arrow} {shown_move(view, c.family, c.new, glyphs)}"
        for c in changes
    )


def shown_move(view: View, family: str, move: Scalar, glyphs: Glyphs) -> str:
    """Write a move; a multiplier with its sign."""
    rail = view.rails.get(family)
    sign = glyphs.times if rail is not None and rail.mode == "mult" else ""
    return sign + foreign(show(move))


def effect(evidence: Evidence | None, reference: object, glyphs: Glyphs) -> tuple[str, str]:
    """Say what a change brought, and whether that is good; grey if nothing can be told."""
    found = effect_of(evidence, reference)
    if found is None or found.wide is None:
        return "", DULL
    spread = f"{glyphs.about} {found.wide:.2g}"
    if found.sign == "none":
        sign = glyphs.minus if found.size < 0 else "+"
        return f"no measurable effect ({sign}{abs(found.size):.3g} {spread})", DULL
    said = f"{found.sign} by {abs(found.size):.3g} {spread}"
    return said, GOOD if found.sign == "better" else BAD


def chance(probability: float | None) -> str:
    """Write the probability of a gain.

    Example:
        >>> chance(0.123), chance(None)
        ('P(gain) 0.12', '')
    """
    return "" if probability is None else f"P(gain) {probability:.2f}"


def _tell(view: View, happening: Happening, glyphs: Glyphs) -> Sentence:
    ending, event = happening.ending, happening.event
    if ending is not None and not isinstance(event, RollbackFailed):
        return _told_ending(view, happening, ending, glyphs)
    rule = _RULES.get(type(event))
    if rule is not None:
        return rule(event)
    return _moved(view, happening, glyphs)


def _moved(view: View, happening: Happening, glyphs: Glyphs) -> Sentence:
    """Say what was moved, or would have been, and is judged by nobody."""
    event = happening.event
    moves = shown_moves(view, getattr(event, "changes", ()), glyphs)
    if isinstance(event, Suggested):
        return Sentence("suggested", "suggested", f"{moves}, and not applied", TRIAL)
    how = "replayed" if happening.source == "replay" else MEANINGS["hand"]
    return Sentence("hand", how if isinstance(event, Applied) else "put back", moves, HAND)


def _told_ending(view: View, happening: Happening, ending: Ending, glyphs: Glyphs) -> Sentence:
    moves = shown_moves(view, ending.trial.changes, glyphs)
    if not ending.judged:
        back = [Change(c.family, c.new, c.old) for c in ending.trial.changes]
        is_back = ending.verdict == "rejected"
        return _unjudged(ending, shown_moves(view, back, glyphs) if is_back else moves)
    kept = ending.verdict == "accepted"
    name = {"accepted": "kept", "rejected": "undone"}.get(ending.verdict, "left")
    said, tone = effect(happening.evidence, setting(view, "acceptance", "reference"), glyphs)
    left = "" if ending.verdict != "abandoned" else "it stays all the same"
    whys = [] if kept else [_why(r) for r in ending.reasons if not (said and r == Reason.NO_GAIN)]
    text = _joined(f"{moves}:" if said or whys else moves, said)
    text = "; ".join(part for part in (text, *whys, left, chance(ending.probability)) if part)
    return Sentence(name, name, text.replace(":;", ":"), tone)


def _unjudged(ending: Ending, moves: str) -> Sentence:
    why = "; ".join(_why(reason) for reason in ending.reasons)
    text = f"{moves}: {why}" if why else moves
    by_hand = Reason.OPERATOR in ending.reasons
    if ending.verdict == "accepted" and not by_hand:
        return Sentence("found", "set", text, TONES["found"])
    verdict = {"accepted": "kept", "rejected": "put back"}.get(ending.verdict, "left")
    return Sentence("hand" if by_hand else "told", verdict, text, HAND if by_hand else DULL)


def _why(reason: Reason) -> str:
    return WHY.get(reason, reason.value.replace("_", " "))


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _restored(event: Restored) -> Sentence:
    known = [reason for reason in Reason if reason.value == event.symptom]
    why = _why(known[0]) if known else foreign(event.symptom)
    return Sentence("restored", "put back", f"to step {event.to_step}: {why}", BAD)


def _looked(event: LookAhead) -> Sentence:
    return Sentence("found", "looked", foreign(words(event)), DULL if event.stopped else GOOD)


def _blocked(event: Blocked) -> Sentence:
    why = "; ".join(map(_why, event.reasons))
    text = "; ".join(part for part in (why, foreign(event.message)) if part)
    return Sentence("wrong", "blocked", text, BAD)


def _paused(event: Paused) -> Sentence:
    until = "until resumed" if event.decisions is None else f"for {event.decisions} decisions"
    why = "; ".join(map(_why, event.reasons))
    return Sentence("paused", "paused", f"{until}: {why}" if why else until, TRIAL)


def _commanded(event: Command) -> Sentence:
    sign, tone = ("hand", HAND) if event.accepted else ("wrong", BAD)
    text = foreign(_joined(event.verb, _given(event.arguments)))
    verdict = "done" if event.accepted else "refused"
    return Sentence(sign, verdict, f"{text}: {foreign(event.message)}", tone)


def _given(arguments: Mapping[str, Any]) -> str:
    """Write what a command was given as on the command line; what it was given none of, not."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return " ".join(f"{name}={value}" for name, value in flat.items() if value is not None)


_RULES: dict[type[Event], Callable[[Any], Sentence]] = {
    Restored: _restored,
    LookAhead: _looked,
    Blocked: _blocked,
    Paused: _paused,
    Command: _commanded,
    Failed: lambda e: Sentence("failed", "failed", foreign(words(e)), BAD),
    RollbackFailed: lambda e: Sentence(
        "stuck", "stuck", f"could not be put back, left alone: {foreign(e.message)}", BAD
    ),
    ModeChanged: lambda e: Sentence("told", "mode", foreign(words(e)), TRIAL),
    Unpaused: lambda e: Sentence("told", "goes on", f"the pause ended, {foreign(words(e))}", DULL),
    Opened: lambda e: Sentence("told", "resumed", "a process resumed the run", DULL),
}
