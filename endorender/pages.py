"""Pages and cards, made from a package's templates."""

from __future__ import annotations

import base64
from typing import Any


def template(package: str, name: str, trim: bool = True) -> Any:
    """The template `name` of PACKAGE/templates: what it lacks is an error, and HTML is escaped.

    trim: lines that hold nothing but a block leave none, nor does the end of the last one.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=trim,
        lstrip_blocks=trim,
        keep_trailing_newline=not trim,
    )
    environment.filters["figures3"] = three_figures
    return environment.get_template(name)


def three_figures(value: float) -> str:
    """A number as a page shows it; what is not known is a dash."""
    if value != value:
        return "–"
    return f"{value:#.3g}" if abs(value) < 1000 else f"{value:.0f}"


def inlined(png: bytes) -> str:
    """A PNG as the source of a picture that lies in the page itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
