"""The course as web pages: ``make site``. Notebooks are shown with their saved outputs, nothing is run."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "site")]  # the package beside this file, not an installed one

_package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
repository = _package["urls"]["Repository"]

project = "Flowing MNIST"
release = _package["version"]
language = "en"
extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "pages",
]
root_doc = "README"
include_patterns = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md", "notebooks/[0-9]*.ipynb", "studies/*.md",
    "vidlib/pretrained/*.md", "site/api/*.rst",
]  # fmt: skip
# The what-if lab is made before the pages, where npm is there to fetch what runs its models.
lab_folder = str(ROOT / "build" / "lab")
if Path(lab_folder, "lab.json").is_file():
    include_patterns.append("site/lab.md")

nb_execution_mode = "off"
# Without a kernel a widget is a box of dead controls; beside it stands the picture that it begins with.
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None), ("html", "text/html", 0)]
nb_ipywidgets_js = {}
nb_render_markdown_format = "myst"  # with tables
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 4
html_math_renderer = "mathml"  # drawn by the browser, with no script from elsewhere

# One page for each module. What a module imports is described at home.
apidoc_modules = [
    {
        "path": "../vidlib",
        "destination": "site/api",
        "separate_modules": True,
        "module_first": True,
        "automodule_options": {"members", "ignore-module-all"},
    }
]
autodoc_typehints = "none"  # docstrings say shapes and units, which types do not
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True  # as they are written: the value of a path is this machine's
napoleon_use_rtype = False
napoleon_use_ivar = True
viewcode_follow_imported_members = False
# A link that leads nowhere stops the build (sphinx -W).
nitpicky = True

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["course.css"]
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_show_copyright = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "repository_url": repository,
    "repository_branch": "main",
    "use_repository_button": True,
    "use_download_button": False,
    "footer_content_items": [],
    "navbar_persistent": [],
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
}
