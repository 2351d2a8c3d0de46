"""How a run stands, in words: its head, what is being tried, and what can be done."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from rich.text import Text

from gptune.cli.live.glyphs import BAD, BOLD, DULL, GOOD, TRIAL, Glyphs, ink
from gptune.cli.live.sentences import chance, effect, foreign, shown_moves
from gptune.cli.live.view import View, rests_until, setting
from gptune.events import LookAhead
from gptune.printable import printable
from gptune.records import Reason, show
from gptune.run_directory.changes import Trial
from gptune.run_directory.summary import Summary, seconds
from gptune.run_directory.words import MEANINGS

WATCHING = {
    "observe": "mode observe: everything is logged, nothing is changed",
    "guard": "mode guard: nothing is tuned; the model is put back when the run goes wrong",
    "off": "mode off: gptune does nothing",
    "replay": "mode replay: recorded changes are made when they are due",
}


class Standing(Struct, frozen=True, kw_only=True):
    """What the log of a run does not say.

    Attributes:
        name: The run's.
        owner: The process that owns it; ``None``: nobody.
        now: The time [s since 1970].
        spelled: How the command line names the run; empty for the newest.
        behind: Whether its log is still being read.
    """

    name: str
    owner: str | None = None
    now: float = 0.0
    spelled: str = ""
    behind: bool = False


def header(view: View, where: Standing, width: int, glyphs: Glyphs) -> list[Text]:
    """Give two rows: which run, in which state; and how far it is."""
    run, state = view.summary, _state(view, where, glyphs)
    if state.cell_len > width // 3:
        state.truncate(state.cell_len if "," not in state.plain else state.plain.find(","))
    parts = [ink(foreign(where.name), BOLD), ink(foreign(run.mode or "no mode yet"))]
    parts.append(ink(f"decision {run.decision}", DULL))
    parts += [ink(f"phase {foreign(run.phase)}", DULL)] if run.phase else []
    left = fill(parts, width - state.cell_len - 3)
    gap = " " * max(3, width - left.cell_len - state.cell_len)
    return [left.append(gap).append_text(state), _progress(view, where, width, glyphs)]


def now(view: View, where: Standing, glyphs: Glyphs) -> list[Text]:
    """Say what is being judged, since when, and what it has shown; or why nothing is."""
    trial = view.summary.course.trial
    if where.owner is None:
        closed = "the run was closed" if view.summary.closed else "its process is gone"
        said = ink(f"ended: {closed}", BOLD)
        left = f"; {shown_moves(view, trial.changes, glyphs)} was not judged" if trial else ""
        return [said.append(left, DULL)]
    if trial is None:
        return [ink("now  ", BOLD).append(_idle(view), DULL)]
    return _testing(view, trial, glyphs)


def hints(view: View, where: Standing, width: int, glyphs: Glyphs) -> Text:
    """Name commands that fit how the run stands, as many as there is room for."""
    run = f" {where.spelled}" if where.spelled else ""
    words = (
        _steering(view, run)
        if where.owner is not None
        else [f"gptune report{run}", f"gptune verify{run}"]
    )
    last = next((h for h in reversed(view.happenings) if h.decision), None)
    if last is not None:
        words.append(f"gptune explain{run} {last.decision}")
    sound = [word for word in words if word == printable(word) and len(word) <= width]
    return fill([ink(word, DULL) for word in sound], width, glyphs.gap)


def fill(parts: Sequence[Text], width: int, gap: str = "   ") -> Text:
    """Put the first part, and all others for which there is room, into one row.

    Example:
        >>> fill([ink("a loss"), ink("much too long"), ink("ok")], 12).plain
        'a loss   ok'
    """
    text = parts[0].copy() if parts else Text()
    for part in parts[1:]:
        if text.cell_len + len(gap) + part.cell_len <= width:
            text.append(gap, DULL).append_text(part)
    return text


def span(seconds: float) -> str:
    """Write a time span with its two largest units.

    Example:
        >>> span(3.2), span(4000)
        ('3 s', '1 h 6 min')
    """
    minutes, rest = divmod(round(min(max(seconds, 0.0), 1e10)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join([f"{count} {unit}" for count, unit in parts if count][:2]) or "0 s"


def time_left(view: View, now: float) -> float | None:
    """Say how long a run will take yet [s], by the pace of its last reports."""
    run = view.summary
    if run.total_steps is None or len(view.pace) < 2:
        return None
    (first, began), (last, ended) = view.pace[0], view.pace[-1]
    if last <= first or ended <= began:
        return None
    left = (run.total_steps - last) * (ended - began) / (last - first)
    return max(0.0, left - max(0.0, now - ended))


def _state(view: View, where: Standing, glyphs: Glyphs) -> Text:
    run, marks = view.summary, glyphs.marks
    if where.behind:
        return ink(f"{marks['told']} reading the log", DULL)
    return _state_of(run, where, marks)


def _state_of(run: Summary, where: Standing, marks: Mapping[str, str]) -> Text:
    if where.owner is None and run.closed:
        return ink(f"{marks['closed']} closed", DULL)
    if where.owner is None:
        return ink(f"{marks['failed']} ended without close", BAD)
    if run.paused:
        return ink(f"{marks['paused']} paused, and running", TRIAL)
    return ink(f"{marks['running']} running, process {foreign(where.owner)}", GOOD)


def _progress(view: View, where: Standing, width: int, glyphs: Glyphs) -> Text:
    run, total = view.summary, view.summary.total_steps
    text = ink(f"step {run.step}")
    text.append(f" of {total}" if total else "")
    times = [ink(said, DULL) for said in _times(view, where)]
    share = min(1.0, run.step / total) if total else None
    percent = f" {int(share * 100):>3} %" if share is not None else ""
    room = width - text.cell_len - len(percent) - sum(t.cell_len + 3 for t in times) - 2
    room = min(60, max(room, 20 if width >= 60 else 8))
    if share is not None and text.cell_len + room + len(percent) + 2 <= width:
        done = round(share * room)
        text.append("  ").append(glyphs.bar[0] * done, TRIAL)
        text.append(glyphs.bar[1] * (room - done), DULL)
    return fill([text.append(percent, BOLD), *times], width)


def _times(view: View, where: Standing) -> list[str]:
    """Say how long a run takes: what it took, what is left, and when it last wrote."""
    times, said = view.summary.times, []
    if times.first is None or times.last is None:
        return []
    took = span(seconds(times))
    if where.owner is None:
        return [f"took {took}"]
    left = time_left(view, where.now)
    said += [f"about {span(left)} left"] if left is not None else []
    return [*said, f"{took} so far", f"written {span(where.now - times.last)} ago"]


def _testing(view: View, trial: Trial, glyphs: Glyphs) -> list[Text]:
    run = view.summary
    first = ink("now  ", BOLD).append(f"testing {shown_moves(view, trial.changes, glyphs)}", TRIAL)
    first.append(f"  since decision {trial.decision}, step {trial.step}", DULL)
    horizon = setting(view, "acceptance", "horizon")
    waits = run.decision - trial.decision
    of = f" of {horizon}" if isinstance(horizon, int) and not isinstance(horizon, bool) else ""
    said = f"     {waits}{of} decisions, {run.step - trial.step} steps so far"
    evidence = view.observed.evidence if view.observed and waits > 0 else None
    reference = setting(view, "acceptance", "reference")
    shown, tone = effect(evidence, reference, glyphs)
    second = ink(said, DULL)
    if evidence is not None:
        second.append(f": {shown}" if shown else "", tone)
        said = chance(evidence.probability)
        second.append(f"; {said}" if said else "", DULL)
    needed = setting(view, "acceptance", "probability")
    is_guarded = evidence is not None and evidence.lowers_guarded_rate
    if is_guarded:
        second.append("; a lower rate needs more proof", DULL)
    elif isinstance(needed, float) and reference != "last":
        second.append(f"; kept from P(gain) {show(needed)} on", DULL)
    return [first, second]


def _idle(view: View) -> str:
    """Say why nothing is being tried."""
    if view.looking is not None:
        return _looking(view.looking)
    run, until = view.summary, view.summary.paused_until
    if run.paused:
        end = "until resumed" if until is None else f"through decision {until}"
        return f"tuning is paused {end}"
    blocked = "; ".join(MEANINGS.get(reason, reason.value) for reason in view.blocked)
    return WATCHING.get(run.mode) or blocked or _resting(view)


def _looking(event: LookAhead) -> str:
    ends = f" from {show(event.low)} to {show(event.high)}" if event.low and event.high else ""
    what = foreign(event.purpose or "a look ahead")
    return f"{what} tries multipliers{ends}, and goes back to where it began"


def _resting(view: View) -> str:
    run, free = view.summary, [f for f, rail in view.rails.items() if rail.risk != "high"]
    held = {*run.pinned, *run.quarantined}
    rest = setting(view, "calibration", "then") == "rest"
    found = {*view.found, *held} if rest else held
    reasons = {
        "there is nothing to tune": not free,
        "every knob is pinned or has failed": held.issuperset(free),
        MEANINGS[Reason.CALIBRATED].replace("left", "leaves"): found.issuperset(free),
        "nothing was reported yet": view.observed is None,
        "there is no forecast yet": view.observed
        and view.observed.forecast is None
        and setting(view, "acceptance", "reference") != "last",
        "the knobs rest": all(run.decision < rests_until(view, f) for f in free),
    }
    return next((said for said, holds in reasons.items() if holds), "nothing is being tried")


def _steering(view: View, run: str) -> list[str]:
    summary = view.summary
    if summary.mode in WATCHING:
        return [f"gptune log{run} --follow"]
    if summary.course.trial is not None:
        return [f"gptune accept{run}", f"gptune reject{run}", f"gptune pause{run}"]
    return [f"gptune resume{run}" if summary.paused else f"gptune pause{run}"]
