"""How Sphinx builds the documentation.

``python -m sphinx -W --keep-going -b html docs docs/_build/html`` in the root of the
repository, without a network; warnings are errors. What is built needs none either.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# the package beside these pages is the one that they describe
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
# one thread for each library: the examples are small, and builders share machines
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from dalmax_sk._version import __version__  # noqa: E402

project = "dalmax_sk"
author = "The dalmax_sk developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    # from _ext
    "gallery_links",
    "mathml",
    "outside_links",
    "own_members",
    "plain_summaries",
    "shapes",
]
exclude_patterns = ["_build", "_ext", "examples"]
templates_path = ["_templates"]
root_doc = "index"
default_role = "literal"
highlight_language = "text"
# a reference that leads nowhere is an error, except to
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"torch\..*"),  # what has no page of its own there
    ("py:meth", r"_\w+"),  # what subclasses of a strategy write
    # functions beside a public one, in its module, that the package does not offer
    ("py:func", "torchvision_names|nearest_by_class|neighbour_distance|split_batch"),
]
smartquotes = False

# -- Markdown: pages stay readable where only CommonMark and tables are known --------
myst_heading_anchors = 3
suppress_warnings = [
    # sections of an included file (the changelog) begin below the page's own title
    "myst.header",
]

# -- API reference ---------------------------------------------------------------------
autosummary_generate = True
autodoc_typehints = "none"  # types stand in the docstrings
extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}
autodoc_default_options = {"member-order": "bysource"}
numpydoc_show_class_members = False  # the template lists them, once
numpydoc_validation_checks = {
    "PR02",  # a description without a parameter
    "PR03",  # another order than the signature's
}

# -- gallery ---------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "ExampleTitleSortKey",
    "doc_module": ("dalmax_sk",),
    "backreferences_dir": "api/generated/backreferences",
    "inspect_global_variables": False,
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_signature": False,
    "download_all_examples": False,
    # their page would load scripts from elsewhere; the log has the times
    "write_computation_times": False,
    "thumbnail_size": (320, 224),
}

# -- pages -----------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"dalmax_sk {version}"
html_static_path = ["_static"]
html_css_files = ["dalmax_sk.css"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "dalmax_sk"},
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "navigation_depth": 3,
    "show_toc_level": 2,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_context = {"default_mode": "auto"}
# pages without pages below them have nothing to navigate
html_sidebars = {
    page: []
    for page in (
        "index",
        "getting_started",
        "results",
        "faq",
        "design",
        "CHANGELOG",
        "contributing",
    )
}
