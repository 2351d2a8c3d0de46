"""Every knob inside its envelope: where it is, where it was, and where the user had it."""

import math
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from gptune.cli.chart import place
from gptune.cli.live.glyphs import BAD, BOLD, DULL, HAND, TRIAL, Glyphs, ink
from gptune.cli.live.sentences import foreign, shown_move
from gptune.cli.live.view import Rail, View, rests_until
from gptune.configs.knobs import NEUTRAL
from gptune.records import Categorical, Float, Integer, Scalar, show

NAME, SHORT, LONG = 24, 8, 60  # widest name; shortest and longest rail [columns]
Note = tuple[str, str]  # a text and its tone


def rails(view: View, width: int, rows: int, glyphs: Glyphs) -> list[Text]:
    """Draw the knobs; of more than there is room for those that moved last, and how many rest.

    Args:
        view: The run.
        width: Columns.
        rows: At most so many rows.
        glyphs: The signs.
    """
    families = _chosen(view, rows)
    label = min(NAME, max(1, width // 3), max((cell_len(foreign(f)) for f in families), default=1))
    cells = [_cells(view, family, glyphs) for family in families]
    notes = [_notes(view, family, glyphs) for family in families]
    widest = max((sum(cell_len(said) + 2 for said, _ in row) for row in notes), default=0)
    places = _places(cells, width - label - 2 - min(widest, width // 3))
    lines = [
        _line(view, family, ([label, *places], row), glyphs)
        for family, row in zip(families, cells, strict=True)
    ]
    hidden = len(view.rails) - len(families)
    more = hidden > 0 and len(lines) < rows
    return lines + ([ink(f"and {hidden} more", DULL)] if more else [])


def _chosen(view: View, rows: int) -> list[str]:
    """Name the knobs that are shown, in the run's own order."""
    names = list(view.rails)
    if len(names) <= rows:
        return names
    trial = view.summary.course.trial
    tried = {change.family for change in trial.changes} if trial else set()
    weights = {f: (f in tried, view.moved.get(f, -1), -n) for n, f in enumerate(names)}
    kept = set(sorted(names, key=weights.__getitem__, reverse=True)[: max(1, rows - 1)])
    return [family for family in names if family in kept]


def _cells(view: View, family: str, glyphs: Glyphs) -> list[str]:
    """Give low end, high end, move, schedule's and used value of a knob, as texts."""
    rail, move = view.rails[family], _move(view, family)
    reading = view.summary.knobs.get(family)
    ends = ["", ""]
    if not isinstance(rail.space, Categorical):
        ends = [show(float(rail.space.low)), show(float(rail.space.high))]
    scheduled = reading.scheduled if reading else None
    used = reading.effective if reading else None
    values = [
        f"{title} {foreign(show(value))}" if value is not None else ""
        for title, value in (("schedule", scheduled), ("used", used))
    ]
    return [*ends, shown_move(view, family, move, glyphs), *values]


def _places(cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Give the widths of low end, rail, high end, move, schedule and used; zero: left out."""
    low, high, move, scheduled, used = (
        max((min(NAME, cell_len(row[n])) for row in cells), default=0) for n in range(5)
    )
    move = min(move, max(1, room - 1))
    for ends, values in ((True, True), (True, False), (False, False)):
        taken = move + 2 + ((low + high + 2) if ends else 0)
        taken += (scheduled + used + 4) if values else 0
        if room - taken >= (2 * SHORT if values else SHORT):
            rail = min(LONG, room - taken)
            both = (low, high) if ends else (0, 0)
            return [both[0], rail, both[1], move, *((scheduled, used) if values else (0, 0))]
    return [0, 0, 0, move, 0, 0]


def _line(
    view: View, family: str, drawn: tuple[Sequence[int], Sequence[str]], glyphs: Glyphs
) -> Text:
    places, cells = drawn
    label, low, rail, high, move, scheduled, used = places
    text = ink(_fit(foreign(family), label), BOLD)
    text.append("  ")
    if low:
        text.append(cells[0].rjust(low) + " ", DULL)
    if rail:
        text.append_text(_rail(view, family, rail, glyphs))
    if high:
        text.append(" " + cells[1].ljust(high), DULL)
    text.append("  " if rail else "")
    text.append(_fit(cells[2], move), TRIAL if _tried(view, family) is not None else "")
    for cell, width in ((cells[3], scheduled), (cells[4], used)):
        if width:
            text.append("  " + _fit(cell, width), DULL)
    for said, tone in _notes(view, family, glyphs):
        text.append("  ")
        text.append(said, tone)
    return text


def _rail(view: View, family: str, width: int, glyphs: Glyphs) -> Text:
    rail, move = view.rails[family], _move(view, family)
    if isinstance(rail.space, Categorical):
        return _choices(rail, move, width)
    left, middle, right = glyphs.rail
    inner = max(1, width - 2)
    cells = [(middle, DULL)] * inner
    for sign, value, tone in (
        (glyphs.own, NEUTRAL.get(rail.mode, rail.base), DULL),
        (glyphs.was, _tried(view, family), TRIAL),
        (glyphs.knob, move, TRIAL if _tried(view, family) is not None else BOLD),
    ):
        share = _share(rail.space, value)
        if share is not None:
            cells[round(share * (inner - 1))] = (sign, tone)
    text = Text()
    for tone, signs in groupby([(left, DULL), *cells, (right, DULL)], key=itemgetter(1)):
        text.append("".join(sign for sign, _ in signs), tone)
    return text


def _share(space: Float | Integer, move: Scalar | None) -> float | None:
    """Give where on its rail a move lies, from 0 to 1; ``None`` if it is none that can."""
    if not isinstance(move, int | float) or (space.log and move <= 0):
        return None
    share = place(space, move)
    return share if math.isfinite(share) else None


def _choices(rail: Rail, move: Scalar, width: int) -> Text:
    assert isinstance(rail.space, Categorical)
    text = Text()
    for choice in rail.space.choices:
        same = choice == move and type(choice) is type(move)
        said = foreign(show(choice))
        text.append(f"[{said}] " if same else f" {said}  ", BOLD if same else DULL)
    text.truncate(width, pad=True)
    return text


def _notes(view: View, family: str, glyphs: Glyphs) -> list[Note]:
    """Say what holds a knob."""
    run = view.summary
    notes: list[Note] = []
    if family in run.quarantined:
        notes.append((f"{glyphs.marks['failed']} failed, left alone", BAD))
    if family in run.pinned:
        notes.append((f"{glyphs.marks['hand']} pinned", HAND))
    reading = run.knobs.get(family)
    if reading is not None and reading.lost is not None:
        why = reading.lost.value.replace("_", " ")
        notes.append((f"{glyphs.marks['wrong']} does not act: {why}", BAD))
    if view.rails[family].risk == "high":
        notes.append(("risk high: never moved", DULL))
    until = rests_until(view, family)
    idle = not run.closed and run.course.trial is None and run.mode in ("active", "suggest")
    if idle and run.decision < until:
        notes.append((f"rests through decision {until}", DULL))
    return notes


def _move(view: View, family: str) -> Scalar:
    return view.summary.point.get(family, view.rails[family].base)


def _tried(view: View, family: str) -> Scalar | None:
    """Give where a knob was before the change that is being judged."""
    trial = view.summary.course.trial
    return next((c.old for c in trial.changes if c.family == family), None) if trial else None


def _fit(text: str, width: int) -> str:
    return set_cell_size(text, width)
