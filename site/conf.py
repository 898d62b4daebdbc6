"""The course as web pages: ``make site``. Notebooks are shown with their saved outputs, nothing is run."""

project = "Flowing MNIST"
extensions = ["myst_nb"]
root_doc = "site/index"
include_patterns = ["site/index.md", "notebooks/0*.ipynb"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["myst.xref_missing"]  # the README links to files that are no pages
html_theme = "sphinx_book_theme"
html_title = project
