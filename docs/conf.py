"""The site (`make site`): this folder's Markdown; reference and gallery are made while it is built."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.highlighting import lexers  # noqa: E402

import endorender  # noqa: E402

lexers["mermaid"] = TextLexer()  # drawn by GitHub; here the text, which reads as well, and nothing is loaded for it

project, author = "endorender", "The endorender developers"
copyright = "The endorender developers, Apache-2.0"
release = endorender.__version__
extensions = ["myst_parser", "sphinxcontrib.bibtex", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["examples/*", "gallery/*.ipynb", "gallery/*.md5", "gallery/*.py"]
html_theme = "furo"
html_title = f"endorender {release}"
html_static_path = ["_static"]
html_show_sourcelink = False
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath", "attrs_inline"]
bibtex_bibfiles = ["references.bib", "../endorender/citations.bib"]
# Links that leave the site lead to files of the repository, which GitHub shows and a page does not.
suppress_warnings = ["myst.xref_missing", "config.cache"]
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "show_signature": False,
    "remove_config_comments": True,
}


def setup(app):
    """Write the reference before pages are read."""
    import make_reference

    app.connect("builder-inited", lambda app: make_reference.write(HERE / "reference"))
