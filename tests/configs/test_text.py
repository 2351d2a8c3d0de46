"""Text becomes plain data and back; what no recipe needs is refused, in bounded time."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.configs.text import DEEPEST, LONGEST, MOST, parse, read_file, write, write_file
from gptune.errors import RecipeError

WORDS = (
    "off on Yes n null ~ true 1 1e-4 0x1f 1:30 2026-01-02 .inf --- ... << = | > - ? : # a: "
    "#x !x &x *x %x @x `x { } [ ] , ' \" \\ é 日本 \U0001f600"
)
AWKWARD = [
    *WORDS.split(),
    *["", " ", " x", "x ", "a b", "a: b", "a #b", "- a", "? a", "\n", "a\n\nb\n", "\t"],
    *["\x00", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "\ud800", "\ud83d\ude00"],
    *["k" * 500, "k " * 600, "\n" * 300],
]
strings = st.text(max_size=12) | st.sampled_from(AWKWARD)
singles = st.none() | st.booleans() | st.integers() | st.floats() | strings
plain = st.recursive(
    singles,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=25,
)


def same(one: Any, other: Any) -> bool:
    """Compare to the type and the sign of zero; NaN is NaN."""
    return repr(one) == repr(other)


@given(plain, st.text(max_size=40))
@settings(deadline=None, max_examples=400)
def test_what_is_written_is_read_back_equal(data: Any, comments: str) -> None:
    assert same(parse(write(data, comments), "x.yaml"), data)


@given(plain)
@settings(deadline=None, max_examples=100)
def test_every_line_ends_and_says_nothing_twice(data: Any) -> None:
    text = write(data)
    assert text.endswith("\n")
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}


json_strings = st.text(max_size=8)
json_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | json_strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_strings, inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(json_strings, json_data), st.sampled_from([None, 2, "\t"]), st.booleans())
@settings(deadline=None, max_examples=200)
def test_json_is_read_as_json(data: dict[str, Any], indent: Any, ascii_only: bool) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only)
    assert same(parse(text, "x.json"), data)
    assert same(parse(f"\n {text}", "x.yaml"), data)


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=400)
def test_any_text_is_read_or_refused(text: str) -> None:
    for name in ("x.yaml", "x.json"):
        try:
            made = parse(text, name)
        except RecipeError as error:
            made = str(error).removeprefix(f"{name}: ")
            assert made != str(error)  # noqa: PT017  either outcome will do
        assert same(parse(write(made), "x.yaml"), made)


@given(st.text(alphabet="{}[]:,-?&*!|>'\"#%@`ab1 \n\t", max_size=30))
@settings(deadline=None, max_examples=600)
def test_any_mess_of_signs_is_read_or_refused(text: str) -> None:
    test_any_text_is_read_or_refused.hypothesis.inner_test(text)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        *[(word, False) for word in ("false", "False", "FALSE")],
        *[
            (word, word)
            for word in ("off", "Off", "on", "ON", "yes", "no", "y", "n", "nUll", "tRue")
        ],
        *[("0", 0), ("-0", 0), ("+7", 7), ("010", 10), ("-12", -12)],
        *[("1e-4", 1e-4), ("1e4", 1e4), ("1E+4", 1e4), ("-1.5e3", -1500.0), ("1.", 1.0)],
        *[(".5", 0.5), ("+.5", 0.5), ("0.1", 0.1), ("-0.0", -0.0), ("1e400", math.inf)],
        *[(".inf", math.inf), ("+.Inf", math.inf), ("-.INF", -math.inf), (".nan", math.nan)],
        *[(word, word) for word in (".", "e5", "1e", "1_000", "0x1f", "0o17", "1:30", "1:30:00")],
        *[(word, word) for word in ("2026-01-02", "inf", "nan", "NaN", "=", "<<", "\u0661", "1,5")],
    ],
)
def test_words_mean_what_they_mean_in_yaml_1_2(word: str, meaning: Any) -> None:
    assert same(parse(f"a: {word}", "x.yaml"), {"a": meaning})
    assert parse(f"a: '{word}'", "x.yaml") == {"a": word}
    assert parse(f'a: "{word}"', "x.yaml") == {"a": word}


@pytest.mark.parametrize(
    ("text", "where", "rule"),
    [
        ("a: 1\nb: &x 2", "line 2, column 4: b: ", "anchors and aliases are not read"),
        ("a: [1, *x]", "line 1, column 8: a.1: ", "anchors and aliases are not read"),
        ("&x a: 1", "line 1, column 1: ", "anchors and aliases are not read"),
        ("a: {b: &x [1]}", "line 1, column 8: a.b: ", "anchors and aliases are not read"),
        ("*x : 1", "line 1, column 1: ", "anchors and aliases are not read"),
        ("a: !!python/object/apply:os.system [ls]", "line 1, column 4: a: ", "tags are not read"),
        ("a:\n  b: !!float 1", "line 2, column 6: a.b: ", "tags are not read"),
        ("a: ! 1", "line 1, column 4: a: ", "tags are not read"),
        ("!!map {a: 1}", "line 1, column 1: ", "tags are not read"),
        ("!!str a: 1", "line 1, column 1: ", "tags are not read"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: a: ", "stands twice"),
        ("s: {b: 1, 'b': 2}", "line 1, column 11: s.b: ", "stands twice"),
        ("1: a", "line 1, column 1: ", "a key must be a word, got 1"),
        ("s:\n  true: a", "line 2, column 3: s: ", "a key must be a word, got True"),
        ("~: a", "line 1, column 1: ", "a key must be a word, got None"),
        ("? [a]\n: 1", "line 1, column 3: ", "a key must be a word"),
        ("a: 1\n---\nb: 2", "line 2, column 1: ", "a second document begins"),
        ("--- a\n--- b\n", "line 2, column 1: ", "a second document begins"),
        ("a: [1", "line 1, column 6: ", "is not YAML: "),
        ("a: 1\n b: 2", "line 2, column 3: ", "is not YAML: "),
        ("a:\n\tb: 1", "line 2, column 1: ", "indent with spaces"),
        ("a: 'x", "line 1, column 6: ", "is not YAML: "),
        ("a: b: c", "line 1, column 5: ", "is not YAML: "),
        ("%YAML 9.1\n---\na: 1", "line 1, column 1: ", "is not YAML: "),
        ("a: \x00", "", "is not YAML: "),
        (f"a: {'9' * 500}", "line 1, column 4: a: ", "a number of 500 digits"),
    ],
)
def test_what_no_recipe_needs_is_refused_where_it_stands(text: str, where: str, rule: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(text, "x.yaml")
    assert str(caught.value).startswith(f"x.yaml: {where}")
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "x.json: b.c: stands twice; keep one"),
        ('{"a": 1} {"b": 2}', "x.json: is not JSON: Extra data: line 1 column 10"),
        ("a: 1", "x.json: is not JSON: Expecting value: line 1 column 1"),
        ('{"a": 1,}', "x.json: is not JSON: "),
        ('{"a": NaN}', "x.json: is not JSON: NaN is no number of JSON"),
        ('{"a": -Infinity}', "x.json: is not JSON: -Infinity is no number of JSON"),
        (f'{{"a": {"9" * 5000}}}', "x.json: is not JSON: a number of 5000 digits"),
        ('{"a": "\t"}', "x.json: is not JSON: Invalid control character"),
        ("", "x.json: is not JSON: Expecting value"),
    ],
)
def test_json_is_refused_likewise(text: str, rule: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(text, "x.json")
    assert str(caught.value).startswith(rule)


LAUGHS = "\n".join(
    [
        "a0: &a0 [lol, lol]",
        *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)),
    ]
)
FULL = LONGEST - 40
HOSTILE = {
    "exploding aliases": LAUGHS,
    "lists in lists": "[" * FULL,
    "lists in lists, line by line": "[\n" * (FULL // 2),
    "mappings in mappings": "{a: " * (FULL // 4),
    "JSON in JSON": '{"a":' * (FULL // 5),
    "JSON lists": '{"a":' + "[" * FULL,
    "blocks in blocks": "\n".join(f"{' ' * i}a:" for i in range(1400)),
    "dashes": "- " * (FULL // 2),
    "questions": "? " * (FULL // 2),
    "many documents": "---\na\n" * (FULL // 6),
    "many keys": "\n".join(f"k{i}: 1" for i in range(FULL // 10)),
    "many values": f"a: [{'1,' * (FULL // 2)}]",
    "too long": "a" * (LONGEST + 1),
    "tags": "!a " * (FULL // 3),
    "directives": "%A b\n" * (FULL // 5),
    "a number": "a: " + "1" * FULL,
    "an open quote": "a: '" + "x\n" * (FULL // 2),
    "colons": "a:" * (FULL // 2),
}
HARMLESS = {
    "a word": "a: " + "x" * FULL,
    "a quoted word": "a: '" + "x " * (FULL // 2) + "'",
    "a block": "a: |\n" + "  x\n" * (FULL // 4),
    "comments": "#\n" * (FULL // 2),
    "spaces": " " * FULL,
    "lines": "\n" * FULL,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*HOSTILE, *HARMLESS])
def test_hostile_text_ends_in_bounded_time(kind: str) -> None:
    text = {**HOSTILE, **HARMLESS}[kind]
    start = time.process_time()
    if kind in HOSTILE:
        with pytest.raises(RecipeError, match=r"^x\.yaml: "):
            parse(text, "x.yaml")
    else:
        parse(text, "x.yaml")
    assert time.process_time() - start < 20.0  # a tenth of it on a quiet machine


def nested(depth: int, kind: str) -> str:
    return {"list": "[" * depth + "]" * depth, "mapping": "{a: " * depth + "1" + "}" * depth}[kind]


@pytest.mark.parametrize("kind", ["list", "mapping"])
def test_nesting_is_read_up_to_its_limit(kind: str) -> None:
    parse(nested(DEEPEST, kind), "x.yaml")
    with pytest.raises(RecipeError, match=f"is nested more than {DEEPEST} deep"):
        parse(nested(DEEPEST + 1, kind), "x.yaml")


def test_json_nests_as_deep() -> None:
    for depth in (DEEPEST, DEEPEST + 1):
        text = '{"a":' * depth + "1" + "}" * depth
        if depth == DEEPEST:
            assert parse(text, "x.json") == parse(nested(depth, "mapping"), "x.yaml")
        else:
            with pytest.raises(RecipeError, match=r"^x\.json: a\.a\..*is nested more than"):
                parse(text, "x.json")


def test_values_are_read_up_to_their_number() -> None:
    assert len(parse("[" + "1," * (MOST - 1) + "]", "x.yaml")) == MOST - 1
    with pytest.raises(RecipeError, match=f"more than {MOST} values"):
        parse("[" + "1," * MOST + "]", "x.yaml")


def test_a_text_without_a_document_is_nothing() -> None:
    for text in ("", "\n", "# only this\n", "\ufeff"):
        assert parse(text, "x.yaml") is None


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert parse("\ufeffa: 1", "x.yaml") == parse('\ufeff{"a": 1}', "x.json") == {"a": 1}


def test_what_begins_like_json_and_is_none_is_read_as_yaml() -> None:
    assert parse("{a: 1, b: off}  # flow", "x.yaml") == {"a": 1, "b": "off"}


def test_it_is_written_for_a_reader() -> None:
    data = {
        "mode": "off",
        "opt": {"enabled": True, "lr": {"bounds": [1e-05, 100.0], "risk": "low"}},
        "empty": {},
        "note": "two words",
    }
    assert write(data, "why\nand how") == (
        "# why\n# and how\n"
        'mode: "off"\n'
        "opt:\n  enabled: true\n  lr: {bounds: [1.0e-05, 100.0], risk: low}\n"
        "empty: {}\n"
        'note: "two words"\n'
    )


def test_what_is_long_or_deep_takes_a_line_an_entry() -> None:
    long = {f"key{i}": 1.0 for i in range(12)}
    assert write({"a": {"b": {"c": {"d": 1}}}}) == "a:\n  b:\n    c: {d: 1}\n"
    assert write({"a": {"b": long}}).count("\n") == 14


@given(plain)
@settings(deadline=None, max_examples=100)
def test_other_readers_of_yaml_read_the_same(data: Any) -> None:
    """PyYAML's own loader speaks YAML 1.1, where ``off`` and ``1e-4`` are something else."""
    assert same(yaml.safe_load(write(data)), data)


def test_values_of_other_types_are_a_bug_of_the_caller() -> None:
    with pytest.raises(TypeError):
        write({"a": {1, 2}})


# --- files --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r.yaml", "r.yml", "r.json", "R.YAML", "r.JSON"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_is_written_and_read_as_its_name_says(tmp_path: Path, name: str, kind: Any) -> None:
    data = {"a": [1, 2.5, "é", "off", None], "b": {"c": True}}
    write_file(kind(tmp_path / name), data, "two\nlines")
    assert read_file(kind(tmp_path / name)) == data
    text = (tmp_path / name).read_text()
    assert text.startswith("{" if "json" in name.lower() else "# two\n# lines\n")
    assert text.endswith("\n")


def test_a_file_written_on_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: off\r\n")
    assert read_file(tmp_path / "r.yaml") == {"a": 1, "b": {"c": "off"}}


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("r.txt", b"a: 1", "must end in .yaml, .yml or .json"),
        ("recipe", b"a: 1", "must end in .yaml, .yml or .json"),
        ("r.yaml", None, "cannot be read: No such file or directory"),
        ("r.yaml", b"a: \xff", "is not UTF-8 text, at byte 3"),
        ("r.yaml", b"\x7fELF\x02\x01\x00", "is not YAML: "),
        ("r.json", b"\x00\x01", "is not JSON: "),
        ("r.yaml", b"a" * (LONGEST + 1), "is longer than"),
        ("r.yaml", b"a: [", "line 1, column 5: is not YAML: "),
    ],
)
def test_a_file_that_is_no_such_text_is_named(
    tmp_path: Path, name: str, content: bytes | None, rule: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_file(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {rule}")


def test_a_directory_and_a_name_that_no_file_has_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").mkdir()
    for path in (tmp_path / "d.yaml", "a\x00b.yaml"):
        with pytest.raises(RecipeError, match=r"\.yaml: cannot be read: "):
            read_file(path)
        with pytest.raises(RecipeError, match=r"\.yaml: cannot be written: "):
            write_file(path, {})


def test_a_file_is_not_written_under_a_name_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"must end in \.yaml"):
        write_file(tmp_path / "recipe", {})
    assert not list(tmp_path.iterdir())
