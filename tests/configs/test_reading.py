"""Plain data becomes structs, and an error names the path, the rule and the nearest key."""

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.configs.reading import LONGEST, build, join, nearest, need, shown
from gptune.errors import RecipeError
from tests.strategies import anything, names


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    count: int = 0
    share: float = 0.5
    flag: bool = False
    word: str = ""
    kind: Literal["a", "b"] = "a"
    maybe: float | None = None
    either: float | Literal["auto"] = "auto"
    pair: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        need(self.count >= 0, "count", "must be >= 0", self.count, do="e.g. 1")


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    required: int
    leaf: Leaf = Leaf()
    leaves: dict[str, Leaf] = {}


# Name -> the types that it takes; an int is also a real number.
TAKES: dict[str, tuple[type, ...]] = {
    "count": (int,),
    "share": (int, float),
    "flag": (bool,),
    "word": (str,),
}


@given(st.sampled_from(sorted(TAKES)), anything)
@settings(deadline=None, max_examples=200)
def test_a_value_of_another_type_is_never_coerced(name: str, value: Any) -> None:
    fits = type(value) in TAKES[name] and (name != "count" or value >= 0)
    if fits and type(value) is int and not -(2**63) <= value < 2**63:
        return  # whole numbers beyond 64 bits: msgspec's own limit
    if fits:
        made = getattr(build(Leaf, {name: value}, ""), name)
        assert made == value or value != value
        assert type(made) is TAKES[name][-1]
    else:
        with pytest.raises(RecipeError, match=f"^{name}: "):
            build(Leaf, {name: value}, "")


big = st.integers(min_value=2**63) | st.integers(max_value=-(2**63)) | st.just(10**5000)


@given(big, st.sampled_from(["count", "share", "maybe", "either"]))
@settings(deadline=None)
def test_a_whole_number_that_no_log_can_hold_is_refused(number: int, name: str) -> None:
    with pytest.raises(RecipeError, match=rf"^top\.{name}: must be a whole number of at most 64"):
        build(Leaf, {name: number}, "top")


halves = st.characters(categories=["Cs"])  # of surrogate pairs: no encoding can write them


@given(st.text(max_size=3), halves, st.text(max_size=3))
@settings(deadline=None)
def test_text_that_cannot_be_written_is_refused_in_a_message_that_can(
    before: str, half: str, after: str
) -> None:
    word = before + half + after
    for data in ({"word": word}, {"pair": [1.0, word]}, {"kind": word}):
        (name,) = data
        with pytest.raises(RecipeError, match=rf"^{name}: must be text that can be written") as got:
            build(Leaf, data, "")
        assert str(got.value).isascii()


@pytest.mark.parametrize(
    ("name", "text"),
    [("count", "1"), ("share", "0.5"), ("flag", "true"), ("maybe", "1"), ("either", "1.0")],
)
def test_a_string_is_never_read_as_something_else(name: str, text: str) -> None:
    with pytest.raises(RecipeError, match=rf"^top\.{name}: .*{text}"):
        build(Leaf, {name: text}, "top")


@pytest.mark.parametrize("name", ["count", "share", "maybe", "either"])
def test_a_truth_value_is_never_a_number(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"^{name}: .*True"):
        build(Leaf, {name: True}, "")


@given(st.lists(names, min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_an_error_names_the_whole_path(path: list[str]) -> None:
    where = ".".join(path)
    with pytest.raises(RecipeError) as caught:
        build(Tree, {"required": 1, "leaves": {path[0]: {"count": -1}}}, where)
    assert str(caught.value) == f"{where}.leaves.{path[0]}.count: must be >= 0, got -1; e.g. 1"


@pytest.mark.parametrize("data", [None, 1, "text", [], [("required", 1)]])
def test_what_is_no_mapping_is_refused(data: object) -> None:
    with pytest.raises(RecipeError, match=r"^recipe: must be a mapping"):
        build(Tree, data, "")
    with pytest.raises(RecipeError, match=r"^a\.b: must be a mapping"):
        build(Tree, data, "a.b")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(RecipeError, match=r"^a\.b: .*required"):
        build(Tree, {}, "a.b")
    with pytest.raises(RecipeError, match=r"^recipe: .*required"):
        build(Tree, {}, "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"requird": 1}, r"^requird: unknown key; did you mean 'required'\?"),
        ({"leaf": {"cuont": 1}}, r"^leaf\.cuont: unknown key; did you mean 'count'\?"),
        ({"leaves": {"x": {"shar": 1}}}, r"^leaves\.x\.shar: unknown key; did you mean 'share'"),
        ({"leaf": {"zzzzz": 1}}, r"^leaf\.zzzzz: unknown key; valid: count, either, flag"),
        ({1: 2}, r"^1: unknown key; valid: "),
        ({"leaves": {1: {}}}, r"^leaves: must be a mapping of names"),
        ({"leaves": []}, r"^leaves: must be a mapping of names"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(data: dict[Any, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build(Tree, data, "")


def test_a_struct_that_is_already_made_is_taken_as_it_is() -> None:
    leaf = Leaf(count=3)
    assert build(Tree, {"required": 1, "leaf": leaf}, "").leaf is leaf


@given(st.lists(names, min_size=1, max_size=5), st.data())
@settings(deadline=None)
def test_a_valid_name_is_its_own_nearest(valid: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(valid))
    assert nearest(name, valid) == f"did you mean {name!r}?"


@given(st.lists(names, max_size=5))
@settings(deadline=None)
def test_a_name_unlike_all_gets_the_whole_list(valid: list[str]) -> None:
    assert nearest("ZZZZZZZZ", valid) == f"valid: {', '.join(sorted(valid))}"


@given(names, names)
@settings(deadline=None, max_examples=20)
def test_a_path_is_joined_by_dots(path: str, key: str) -> None:
    assert join(path, key) == f"{path}.{key}"
    assert join("", key) == key


@given(anything)
@settings(deadline=None, max_examples=30)
def test_a_rule_that_holds_says_nothing_and_a_broken_one_says_all(given_: object) -> None:
    need(True, "field", "rule", given_, do="this")
    with pytest.raises(RecipeError) as caught:
        need(False, "field", "rule", given_, do="this")
    assert str(caught.value) == f"field: rule, got {given_!r}; this"


@given(anything | st.text(min_size=LONGEST) | st.just(10**5000))
@settings(deadline=None)
def test_whatever_was_given_is_shown_briefly(given_: object) -> None:
    text = shown(given_)
    if given_ == 10**5000:
        assert text == "a number too long to be written"
    elif len(repr(given_)) <= LONGEST:
        assert text == repr(given_)
    else:
        assert text == f"{repr(given_)[:LONGEST]}..."
