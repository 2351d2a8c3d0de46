"""The signs of the drawing, and their colours; each sign says without colour what it says with it.

Colours are the terminal's own sixteen, so that they suit a light one and a dark one.
"""

from collections.abc import Mapping

from msgspec import Struct
from rich.text import Text

GOOD, BAD, HAND, TRIAL, DULL, BOLD, PLAIN = "green", "red", "magenta", "cyan", "dim", "bold", ""
TONES = {
    **{"kept": GOOD, "found": GOOD, "undone": PLAIN, "left": PLAIN, "hand": HAND},
    **{"restored": BAD, "stuck": BAD},
}
MEANINGS = {
    "kept": "kept",
    "undone": "undone",
    "left": "left as it was",
    "stuck": "could not be undone",
    "found": "calibrated",
    "hand": "by hand",
    "restored": "put back",
}


class Glyphs(Struct, frozen=True, kw_only=True):
    """The signs.

    Attributes:
        marks: Name -> its sign.
        bar: A bar: what is done, and what is left.
        rail: A rail: its left end, the rail, its right end.
        knob: Where a knob is.
        was: Where it was before the test.
        own: Where the user's own value is.
        blocks: A sparkline's signs, from low to high.
        dots: Dots of a plot's cell, across and down; braille if there are several.
        times: Before a multiplier.
        arrow: From a move to another.
        about: Between a number and its deviation.
        minus: Before a negative effect.
        gap: Between hints.
        edge: Between a plot and the labels of its axis.
        fine: Whether they are more than ASCII.
    """

    marks: Mapping[str, str]
    bar: tuple[str, str]
    rail: tuple[str, str, str]
    knob: str
    was: str
    own: str
    blocks: str
    dots: tuple[int, int]
    times: str
    arrow: str
    about: str
    minus: str
    gap: str
    edge: str
    fine: bool


FINE = Glyphs(
    marks={
        **{"kept": "✓", "undone": "✗", "found": "◎", "hand": "◆", "restored": "↺"},
        **{"failed": "!", "paused": "‖", "running": "●", "closed": "■", "told": "·"},
        **{"suggested": "○", "wrong": "!", "left": "~", "stuck": "!"},
    },
    bar=("━", "─"),
    rail=("├", "─", "┤"),
    knob="●",
    was="○",
    own="┼",
    blocks="▁▂▃▄▅▆▇█",
    dots=(2, 4),
    times="×",  # noqa: RUF001
    arrow="→",
    about="±",
    minus="−",  # noqa: RUF001
    gap=" · ",
    edge="│",
    fine=True,
)
COARSE = Glyphs(
    marks={
        **{"kept": "+", "undone": "x", "found": "@", "hand": "#", "restored": "<"},
        **{"failed": "!", "paused": "=", "running": "*", "closed": "-", "told": "."},
        **{"suggested": "o", "wrong": "!", "left": "~", "stuck": "!"},
    },
    bar=("#", "."),
    rail=("|", "-", "|"),
    knob="O",
    was="o",
    own="+",
    blocks="_.-=*#",
    dots=(1, 1),
    times="x",
    arrow="->",
    about="+/-",
    minus="-",
    gap=" | ",
    edge="|",
    fine=False,
)


def ink(text: str, tone: str = PLAIN) -> Text:
    """Write a text in a tone; what is appended to it has its own.

    Example:
        >>> ink("loss", BOLD).append(" 0.1").spans
        [Span(0, 4, 'bold')]
    """
    return Text().append(text, tone)


def glyphs_of(encoding: str) -> Glyphs:
    """Give the signs that an encoding can write.

    Example:
        >>> glyphs_of("utf-8").arrow, glyphs_of("ascii").arrow
        ('→', '->')
    """
    signs = "".join(
        (*FINE.marks.values(), *FINE.bar, FINE.knob, FINE.blocks, FINE.arrow, FINE.edge, "⣿…")
    )
    try:
        signs.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return COARSE
    return FINE
