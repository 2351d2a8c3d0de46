"""Figures of a study, for notebooks and for the browser: each function gives one of Plotly's.

    from gptune import plots

    plots.history(study).show()
    plots.slices(study).write_html("slices.html")

Plotly is loaded when the first figure is made: ``pip install 'gptune-torch[plot]'``.
"""

from gptune.plots.courses import history, learning_curves
from gptune.plots.landscapes import contour, importance
from gptune.plots.spaces import parallel_coordinates, slices

__all__ = [
    "contour",
    "history",
    "importance",
    "learning_curves",
    "parallel_coordinates",
    "slices",
]
