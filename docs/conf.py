"""How Sphinx builds the site: Markdown (MyST), the API from docstrings, nothing fetched."""

from __future__ import annotations

import sys
from pathlib import Path

import safeatomic

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "safeatomic"
author = "The safeatomic developers"
copyright = author  # noqa: A001 - Sphinx's name for it
version = release = safeatomic.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "site_pages",
]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_*", "performance/*"]

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

# Python. Single backticks in docstrings are names; one that is not a public name stays plain code.
default_role = "py:obj"
add_module_names = False
toc_object_entries = False  # each name has a heading already
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {
    name: name for name in ("StrPath", "Buffer", "Concurrency", "Safety", "Level")
}
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Example", "example")]
suppress_warnings = ["autosummary"]

# The page itself
html_theme = "furo"
html_title = f"safeatomic {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
