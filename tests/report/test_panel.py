"""Figures as data."""

from gptune.report.drawing import Scale
from gptune.report.panel import Layer, Panel, axis, spread


def test_a_legend_names_each_name_once_and_no_other() -> None:
    layers = (
        Layer("used", "M0 0", name="used"),
        Layer("grid", "M0 0"),
        Layer("point", "M1 1h0", name="complete"),
        Layer("point", "M2 2h0", name="complete"),
    )
    legend = Panel(title="t", layers=layers).legend
    assert [layer.name for layer in legend] == ["used", "complete"]


def test_words_on_an_axis_are_left_out_evenly() -> None:
    shares = [(n / 10, str(n)) for n in range(11)]
    assert [text for _, text in spread(shares, 4)] == ["0", "3", "6", "9"]
    assert spread(shares, 20) == tuple(shares)
    assert spread([], 4) == ()


def test_an_axis_writes_its_scales_round_numbers() -> None:
    assert [text for _, text in axis(Scale(0.0, 1.0))] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
