"""How Sphinx builds the site: `make docs`. Some pages of the reference are made from the code, see `generated.py`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generated  # noqa: E402  it lies beside this file

generated.write_pages(HERE / "reference/generated")

project = "danmax_bluesky"
copyright = "2026, The danmax_bluesky developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design"]
exclude_patterns = ["explanations/decisions/README.md"]
html_theme = "pydata_sphinx_theme"
html_title = "danmax_bluesky"
html_theme_options = {"navigation_with_keys": False, "show_prev_next": True}
html_show_sourcelink = False

nb_execution_mode = "off"  # the tests run the notebooks
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links to files outside docs/, which tests/unit/test_docs.py follows

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
