"""Signs say without colour what they say with it, and ASCII says what braille says."""

import pytest
from rich.cells import cell_len

from gptune.cli.live.glyphs import COARSE, FINE, MEANINGS, TONES, Glyphs, glyphs_of, ink
from gptune.cli.live.view import MARKS


@pytest.mark.parametrize("glyphs", [FINE, COARSE], ids=["fine", "coarse"])
def test_every_sign_is_one_column_wide_and_marks_differ(glyphs: Glyphs) -> None:
    signs = [*glyphs.marks.values(), *glyphs.bar, *glyphs.rail, *glyphs.blocks, glyphs.knob]
    assert {cell_len(sign) for sign in signs} == {1}
    assert len({glyphs.marks[name] for name in MARKS}) == len(MARKS)
    assert len({glyphs.knob, glyphs.was, glyphs.own, glyphs.rail[1]}) == 4


def test_every_mark_has_a_tone_and_a_meaning() -> None:
    assert set(MARKS) == TONES.keys() == MEANINGS.keys()
    assert FINE.marks.keys() == COARSE.marks.keys()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "no such"])
def test_an_encoding_without_them_gets_ascii(encoding: str) -> None:
    assert glyphs_of(encoding) is COARSE
    everything = "".join(str(getattr(COARSE, name)) for name in COARSE.__struct_fields__)
    assert everything.isascii()


def test_utf8_gets_all_of_them() -> None:
    assert glyphs_of("utf-8") is FINE


def test_what_is_appended_has_its_own_tone() -> None:
    assert [span.style for span in ink("a", "bold").append("b", "dim").spans] == ["bold", "dim"]
