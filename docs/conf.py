"""How the pages are built: ``sphinx-build -W docs OUT``, with the extra ``docs``, no network."""

import importlib
from typing import Any

from docutils.nodes import Element, Node
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

import gptune

project = "gptune"
author = "The gptune authors"
copyright = "The gptune authors"
release = version = gptune.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nitpicky = True
# Types of others that stand in signatures. There is no inventory of theirs to look them up in:
# the build asks no network.
THEIRS = "accelerate|argparse|botorch|collections|concurrent|contextlib|enum|lightning|msgspec"
THEIRS += "|numpy|os|pathlib|plotly|pytorch_lightning|random|ray|torch|transformers|types|typing"
nitpick_ignore_regex = [("py:.*", rf"({THEIRS})\..*")]
nitpick_ignore = [  # the same, where a name is imported for the type checker alone
    ("py:class", "Figure"),  # plotly.graph_objects
    ("py:class", "StrPath"),  # str, or a path of the standard library's
]

myst_heading_anchors = 4  # the same anchors as on the forges

default_role = "py:obj"  # `name` in a docstring: a link if it is ours, else code; see `find`
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "special-members": "__call__"}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"gptune {release}"
html_static_path, html_css_files = ["_static"], ["pages.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

PUBLIC = {id(getattr(gptune, name)) for name in gptune.__all__}


def skip(app: Sphinx, *said: Any) -> bool | None:
    """Show what is public as `gptune.<name>` alone, not once more in the room that it lives in."""
    _, _, found, _, _ = said
    return True if id(found) in PUBLIC and app.env.docname != "api/gptune" else None


def find(app: Sphinx, env: Any, node: Element, inner: Element) -> Node | None:
    """Find what is named without its module, if one alone is called so.

    What a docstring names in single backticks is code if it is no name of ours; a type in a
    signature may be one of a room that has no page, if it is there.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    name = target.removeprefix("gptune.")
    objects = env.get_domain("py").objects
    found = [full for full in objects if full == name or full.endswith(f".{name}")]
    places = {(objects[full].docname, objects[full].node_id) for full in found}
    if len(places) == 1:
        document, anchor = places.pop()
        return make_refnode(app.builder, node["refdoc"], document, anchor, inner, name)
    return inner if node["reftype"] == "obj" or is_inside(target) else None


def is_inside(target: str) -> bool:
    """Say whether a name is one of gptune's that can be imported."""
    module, _, name = target.rpartition(".")
    return module.startswith("gptune.") and hasattr(importlib.import_module(module), name)


def repair(app: Sphinx, *said: Any) -> tuple[str, str | None] | None:
    """Write a struct's default that is made anew each time as Python would read it."""
    *_, signature, returns = said
    return (signature.replace("<factory>", "..."), returns) if signature else None


def describe(app: Sphinx, kind: str, *said: Any) -> None:
    """Keep Napoleon from taking the words before a property's first colon for its type."""
    lines = said[-1]
    if kind in ("property", "attribute", "data"):
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> None:
    """Join these to the build."""
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", repair)
    app.connect("autodoc-process-docstring", describe, priority=400)  # before Napoleon's
    app.connect("missing-reference", find)
