"""Pages: templates filled in, with all that they need inside of them."""

import base64
import functools
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gptune.printable import printable
from gptune.report.drawing import SIDE
from gptune.version import VERSION

MARK = '<meta name="generator" content="gptune'  # by which a report is known
SCRIPTS = ("page.js",)


def render(template: str, **content: Any) -> str:
    """Fill a template in.

    The page may load nothing: its Content-Security-Policy allows the script that stands in it, by
    its hash, and no address at all.

    Args:
        template: Its name.
        content: What it is filled with; texts are escaped.
    """
    script, style = _asset("page.js"), _asset("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(script=script, style=style, digest=digest, side=SIDE, version=VERSION, **content)
    )


def percent(share: float) -> str:
    """Write a place for the style sheet.

    Example:
        >>> percent(0.123456), percent(1.0)
        ('12.35%', '100%')
    """
    return f"{round(share * 100, 2):g}%"


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("gptune.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["percent"] = percent
    return made


def _shown(value: object) -> object:
    """Escape what a browser would obey or could not show in a text that some user wrote."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return printable(value) if is_text else value  # type: ignore[arg-type]


def _asset(name: str) -> str:
    return (files("gptune.report") / "templates" / name).read_text(encoding="utf-8")
