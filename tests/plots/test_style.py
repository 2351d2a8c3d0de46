"""Texts are escaped and short, too many points are thinned, and Plotly is loaded when needed."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.plots import history
from gptune.plots.style import (
    LONGEST,
    MARKS,
    PARAMETERS,
    dress,
    hover,
    is_wide,
    note_of,
    plain,
    plotly,
    scale_of,
    thinned,
)
from gptune.plots.subject import subject_of
from gptune.records import Scalar
from gptune.study.records import TrialRecord, TrialState
from tests.plots.studies import check_figure, line


def test_without_plotly_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "plotly"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ImportError, match=r"pip install 'gptune-torch\[plot\]'"):
        history(line([1.0]), "minimize")


def test_what_plotly_itself_lacks_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> None:
        raise ModuleNotFoundError("No module named 'narwhals'", name="narwhals")

    monkeypatch.setattr("importlib.import_module", lacking)
    with pytest.raises(ModuleNotFoundError, match="narwhals"):
        plotly()


def test_importing_the_plots_loads_neither_plotly_nor_torch() -> None:
    code = "import sys, gptune.plots; print({'plotly', 'torch'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_figures_that_need_no_model_load_no_torch() -> None:
    code = (
        "import sys, gptune; from gptune import plots\n"
        "study = gptune.Study('one', sampler=gptune.RandomSampler())\n"
        "def it(trial):\n"
        "    trial.report(1.0, 0)\n"
        "    return trial.suggest_float('x', 0.0, 1.0)\n"
        "study.optimize(it, n_trials=3)\n"
        "plots.history(study), plots.slices(study), plots.learning_curves(study)\n"
        "plots.parallel_coordinates(study)\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_every_state_has_a_mark_and_those_that_end_differ_in_colour_and_shape() -> None:
    assert set(MARKS) == set(TrialState)
    ends = [MARKS[state] for state in TrialState if state.is_finished]
    assert len({mark["color"] for mark in ends}) == len({mark["symbol"] for mark in ends}) == 3


def test_a_hover_text_has_four_digits_and_no_markup_of_the_users() -> None:
    trial = TrialRecord(
        number=7,
        state=TrialState.FAILED,
        params={"rate": 0.123456789, "n": 16384, "kind": "<b>bold</b>", "deep": True},
        error="ValueError: a <i>bad</i> value\nand its traceback",
    )
    assert hover(trial).split("<br>") == [
        "trial 7, failed",
        "ValueError: a &lt;i&gt;bad&lt;/i&gt; value",
        "rate = 0.1235",
        "n = 16384",
        "kind = &lt;b&gt;bold&lt;/b&gt;",
        "deep = True",
    ]


def test_a_hover_text_stays_small() -> None:
    params: dict[str, Scalar] = {f"p{i}": "long" * 1000 for i in range(500)}
    trial = TrialRecord(number=0, state=TrialState.COMPLETE, value=1 / 3, params=params)
    lines = hover(trial).split("<br>")
    assert lines[:2] == ["trial 0, complete", "value 0.3333"]
    assert lines[-1] == f"and {500 - PARAMETERS} more"
    assert len(lines) == PARAMETERS + 3
    assert max(map(len, lines)) < 2 * LONGEST


def test_a_figure_shows_the_name_of_its_study_as_it_is_and_the_note() -> None:
    subject = subject_of("history", line([1.0]), "minimize")
    bare = dress(plotly().Figure(), subject, "History", note_of(1, 5))
    assert bare.layout.title.text == "History"
    assert bare.layout.title.subtitle.text == "1 of 5 trials are drawn"
    check_figure(bare)
    assert plain("a & b </script>") == "a &amp; b &lt;/script&gt;"


@pytest.mark.parametrize(
    ("values", "wide"),
    [
        ([1.0, 101.0], True),
        ([1.0, 100.0], False),
        ([0.0, 1000.0], False),
        ([-1.0, 1000.0], False),
        ([5.0], False),
        ([], False),
        ([1e-300, 1e300], True),
    ],
)
def test_positive_values_over_two_decades_get_a_logarithmic_axis(
    values: list[float], wide: bool
) -> None:
    assert is_wide(values) is wide
    assert scale_of(values) == ("log" if wide else "linear")


@given(st.integers(0, 3000), st.integers(2, 300), st.lists(st.integers(0, 2999), max_size=3))
def test_thinning_keeps_the_ends_the_order_and_what_is_to_be_kept(
    count: int, most: int, keep: list[int]
) -> None:
    items, kept = list(range(count)), [index for index in keep if index < count]
    found = thinned(items, most, kept)
    assert found == sorted(set(found))
    assert set(kept) <= set(found)
    assert len(found) <= most + len(set(kept))
    if count > most:
        assert len(found) >= most
        assert {0, count - 1} <= set(found)
    else:
        assert found == items
