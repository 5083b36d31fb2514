"""How the documentation is built: ``python -m sphinx doc doc/_build/html``."""

import importlib.util
import re
from pathlib import Path

import pointinteract

project = "pointinteract"
author = "The pointinteract developers"
copyright = "2026, The pointinteract developers"
version = release = pointinteract.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
]
exclude_patterns = ["_build", "auto_examples/**/*.ipynb"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Learn from 3-D point clouds with few labels, and explain what was learned.",
    "fixed_sidebar": True,
    "page_width": "1100px",
}

autosummary_generate = True
autodoc_typehints = "none"
# Methods that scikit-learn or torch bring along are documented there.
numpydoc_show_inherited_class_members = False
numpydoc_class_members_toctree = False
default_role = "literal"

# The gallery runs the examples. It is left out where sphinx-gallery is not installed or there
# is nothing to run, so that the text can be built quickly; switch it off by
# -D plot_gallery=0.
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
has_gallery = (
    importlib.util.find_spec("sphinx_gallery") is not None and (EXAMPLES / "README.rst").exists()
)
if has_gallery:
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": [str(EXAMPLES)],
        "gallery_dirs": ["auto_examples"],
        "filename_pattern": r"plot_",
        "download_all_examples": False,
        "remove_config_comments": True,
    }
else:
    suppress_warnings = ["toc.not_readable"]


def escape_bars(app, what, name, obj, options, lines):
    """Let docstrings write |S| for the size of a set, which to reST is a substitution."""
    lines[:] = [re.sub(r"(?<!\\)\|", r"\\|", line) for line in lines]


def setup(app):
    """Let index.rst ask whether there is a gallery."""
    if has_gallery:
        app.tags.add("gallery")
    app.connect("autodoc-process-docstring", escape_bars, priority=100)
