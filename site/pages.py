"""What the pages need beyond Sphinx: links into the repository, pictures as files, formulas as MathML, a front page."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import posixpath
import re
import shutil
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

PICTURES = {".png", ".gif", ".svg", ".jpg", ".jpeg"}
_LINK = re.compile(r"""(?P<before>\]\(|\b(?:src|href)=["'])(?P<path>[^\s)"'#:]+)(?P<anchor>#[^\s)"']*)?(?=[)"'\s])""")
_EMBEDDED = re.compile(r'<img(?P<rest>[^>]*?) src="data:image/(?P<kind>\w+);base64,(?P<data>[^"]+)"')
_NARROW = re.compile(r'srcset="data:image/(?P<kind>\w+);base64,(?P<data>[^"]+)"')

LAB = """

```{toctree}
:hidden:
:caption: Try it

What-if lab <site/lab>
```
"""
CONTENTS = """

```{toctree}
:hidden:
:caption: Lessons
:glob:

notebooks/*
```

```{toctree}
:hidden:
:caption: Beside them
:glob:

docs/*
```

```{toctree}
:hidden:
:caption: Reference
:maxdepth: 1

Package <site/api/modules>
CONTRIBUTING
CHANGELOG
```

```{toctree}
:hidden:
:caption: Studies and model cards
:glob:

studies/*
vidlib/pretrained/*
```
"""


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("lab_folder", "", "html")
    app.connect("source-read", read_page)
    app.connect("autodoc-skip-member", only_at_home)
    app.connect("missing-reference", find_name)
    app.connect("build-finished", finish)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# --- what a page says ---


def read_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Prepare the text of a page or the cells of a notebook."""
    path = Path(app.env.doc2path(page))
    if path.suffix == ".md":
        source[0] = _with_links(app, page, source[0])
    elif path.suffix == ".ipynb":
        notebook = json.loads(source[0])
        notebook["metadata"].pop("widgets", None)  # what a kernel would need to bring them to life
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = _with_links(app, page, "".join(cell["source"]))
            for output in cell.get("outputs", []):
                if "text/html" in output.get("data", {}):
                    _as_page(app, page, output["data"])
        source[0] = json.dumps(notebook)
    if page == app.config.root_doc:
        source[0] += (LAB if "site/lab" in app.env.found_docs else "") + CONTENTS


def _with_links(app: Sphinx, page: str, text: str) -> str:
    """The text, with links to files that are no pages leading to the repository."""

    def link(found: re.Match) -> str:
        before, path, anchor = found["before"], found["path"], found["anchor"] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
        file = Path(app.srcdir) / target
        if not file.exists() or target.startswith(".."):
            return found[0]  # elsewhere, or nowhere: Sphinx says so
        in_markdown = before == "]("
        if file.suffix in PICTURES:
            if not in_markdown:
                _copied(app).add(target)
            return found[0]
        if posixpath.splitext(target)[0] in app.env.found_docs:
            return found[0] if in_markdown else f"{before}{posixpath.splitext(path)[0]}.html{anchor}"
        kind = "tree" if file.is_dir() else "blob"
        return f"{before}{app.config.html_theme_options['repository_url']}/{kind}/main/{target}{anchor}"

    return _LINK.sub(link, text)


def _as_page(app: Sphinx, page: str, data: dict[str, Any]) -> None:
    """An output's HTML for readers without a kernel: its pictures as files, with their size, loaded when seen."""
    up = "../" * page.count("/")

    def file(found: re.Match) -> tuple[str, bytes]:
        content = base64.b64decode(found["data"])
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{found['kind']}"
        folder = Path(app.outdir) / "_images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return f"{up}_images/{name}", content

    def picture(found: re.Match) -> str:
        source, content = file(found)
        wide, high = Image.open(io.BytesIO(content)).size
        shown = re.search(r' width="(\d+)"', found["rest"])
        wide_on_a_phone = ' class="wide"' if shown and int(shown[1]) > 600 else ""
        size = f' height="{round(int(shown[1]) * high / wide)}"' if shown else f' width="{wide}" height="{high}"'
        return f'<img{found["rest"]}{size}{wide_on_a_phone} loading="lazy" src="{source}"'

    shown = _EMBEDDED.sub(picture, "".join(data["text/html"]))
    data["text/html"] = _NARROW.sub(lambda found: f'srcset="{file(found)[0]}"', shown)


def _copied(app: Sphinx) -> set[str]:
    """Pictures that HTML shows, which Sphinx doesn't look into."""
    if not hasattr(app.env, "pictures_in_html"):
        app.env.pictures_in_html = set()
    return app.env.pictures_in_html


def finish(app: Sphinx, error: Exception | None) -> None:
    """Add the pictures that HTML shows, the lab, and the page that a browser asks for first."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    for path in sorted(_copied(app)):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(app.srcdir) / path, out / path)
    if "site/lab" in app.env.found_docs:
        shutil.copytree(
            app.config.lab_folder, out / "lab", ignore=shutil.ignore_patterns("*.made-of"), dirs_exist_ok=True
        )
    shutil.copyfile(out / f"{app.config.root_doc}.html", out / "index.html")
    (out / ".nojekyll").touch()  # GitHub Pages would leave out the folders that begin with _


# --- the package ---


def only_at_home(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Describe a function or class in the module that it is written in, nowhere else."""
    home = getattr(thing, "__module__", None)
    return True if what == "module" and home and home != app.env.current_document.autodoc_module else None


def find_name(app: Sphinx, env: Any, node: Any, shown: nodes.Node) -> nodes.Node | None:
    """The link for a bare name in a docstring. A name that Python finds and no page describes stays plain text."""
    if node.get("refdomain") != "py":
        return None
    entries, name = env.domains.python_domain.objects, node["reftarget"]
    thing = _thing(name, node.get("py:module"))
    home = f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', None)}"
    alike = [full for full in entries if full == home or full.endswith(f".{name}")]
    if len(alike) == 1:
        entry = entries[alike[0]]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, shown)
    return shown if thing is not None else None


def _thing(name: str, here: str | None) -> Any:
    """What a dotted name stands for, in a module or anywhere; None for nothing."""
    for full in ([f"{here}.{name}"] if here else []) + [name]:
        with suppress(ImportError, AttributeError):
            return resolve_name(full)
    return None


# --- formulas ---


def inline_math(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def display_math(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{_mathml(node.astext(), block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(formula: str, block: bool) -> str:
    return tex2mathml(formula, as_block=block).replace("<math", f'<math alttext="{html.escape(formula)}"', 1)
