"""Sphinx: `make docs` builds the pages of this folder into build/docs, with warnings as errors."""

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "easydel-dpo"
author = "the authors of easydel-dpo"
copyright = "the authors of easydel-dpo, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "settings_tables"]
exclude_patterns = ["_extensions", "_static"]
nitpicky = False
default_role = "code"  # docstrings are written with single backticks, as Markdown is

html_theme = "furo"
html_title = "easydel-dpo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# The README and the folders beside this one are no pages here.
myst_url_schemes = ["http", "https", "mailto"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False


def plain_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escapes the bars of |y|, a length in our docstrings and a substitution in reStructuredText."""
    for at, line in enumerate(lines):
        pieces = re.split(r"(`[^`]*`)", line)
        lines[at] = "".join(piece if piece.startswith("`") else piece.replace("|", r"\|") for piece in pieces)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", plain_bars)
