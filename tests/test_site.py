"""The web pages: every link leads somewhere, a browser shows them without fault, the two pages for help hold true."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import redirect_stdout
from fnmatch import fnmatchcase
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import torch
import yaml

import badges
from notebook_form import text_of
from vidlib.batch.run import NotebookFailed, notebooks, run_notebook

ROOT = badges.ROOT
GLOSSARY, ERRORS = ROOT / "docs" / "glossary.md", ROOT / "docs" / "errors.md"
WIDTHS = (390, 820, 1400)  # a phone, a tablet, a desk
WIDGET = "application/vnd.jupyter.widget-view+json"


def slug(heading: str) -> str:
    """The anchor that GitHub and MyST give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path: Path) -> list[str]:
    """The anchors of a page's or notebook's headings."""
    text = re.sub(r"```.*?```", "", text_of(path), flags=re.S)
    return [slug(heading) for heading in re.findall(r"^#{1,4} (.+)$", text, re.M)]


def links_with_anchor(text: str) -> list[tuple[str, str]]:
    """Path and anchor of every Markdown link to a place in a file of this repository, or on the page itself."""
    found = re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", text)
    return [(path, anchor) for path, anchor in found if not path or path.endswith((".md", ".ipynb"))]


# --- the glossary ---


def terms() -> dict[str, str]:
    """Each term of the glossary with what stands under it."""
    parts = re.split(r"^## (.+)$", GLOSSARY.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_glossary_is_in_order_and_short():
    names = list(terms())
    assert len(names) > 60 and names == sorted(names, key=lambda name: name.lower().replace("-", " "))
    assert len(set(map(slug, names))) == len(names)
    for name, text in terms().items():
        meaning, _, used = text.partition("\n*Used in* ")
        assert used and "](" in used, f"{name} does not say where it is used"
        sentences = re.findall(r"[.!?](?=\s|$)", re.sub(r"\b(al|vs)\.", "", meaning))
        assert 1 <= len(sentences) <= 4 and len(meaning) < 420, f"{name} is no short text"


@pytest.mark.parametrize("page", [*notebooks(), *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.name)
def test_links_into_a_page_find_their_heading(page):
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
    for path, anchor in links_with_anchor(text):
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{page.name} links to {path}, which is not there"
        assert anchor in anchors(target), f"{page.name} links to {path}#{anchor}: no such heading"


# --- how to read an error ---


def causes() -> list[tuple[str, str, list[str]]]:
    """(heading, snippet, messages) of every snippet on the page of errors."""
    text, heading, found = ERRORS.read_text(encoding="utf-8"), "", []
    for title, kind, body in re.findall(r"^#{2,3} ([^\n]+)$|^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        if title:
            heading = title
        elif kind == "python":
            found.append((heading, body, []))
        else:
            found[-1][2].append(body.strip())
    return found


def alike(message: str, expected: str) -> bool:
    """Whether a message is the expected one, in which … stands for anything."""
    pattern = re.sub(r"([\[\]*?])", r"[\1]", expected).replace("…", "*")
    return fnmatchcase(message.strip(), pattern)


def in_this_python(snippet: str) -> str:
    """What a snippet prints, then its error as Python shows it."""
    printed = StringIO()
    try:
        with redirect_stdout(printed):
            exec(compile(snippet, "cell", "exec"), {})
    except Exception as error:
        return f"{printed.getvalue()}{type(error).__name__}: {error}"
    return printed.getvalue()


def test_the_reader_of_messages_sees_a_difference():
    assert alike("ValueError: [4] is 3.\n", "ValueError: [4] is ….") and alike("a (b) *", "a (b) *")
    assert not alike("ValueError: 4 is 3.", "ValueError: [4] is 3.") and not alike("ab", "a?")
    assert in_this_python("print(1)\nint('x')") == "1\nValueError: invalid literal for int() with base 10: 'x'"


def test_the_page_of_errors_has_what_goes_wrong_most():
    page = ERRORS.read_text(encoding="utf-8")
    for kind in ("Shapes", "Device", "Memory", "The kernel died", "A module is missing", "Not a number", "No network"):
        assert f"\n## {kind}" in page
    assert page.count("**What it means.**") == page.count("**What to do.**") == len(causes())
    assert all(messages for _, _, messages in causes())


@pytest.mark.parametrize(("heading", "snippet", "messages"), causes(), ids=lambda one: one if "\n" not in one else "")
def test_an_error_is_as_the_page_says(heading, snippet, messages, tmp_path, monkeypatch, refuse_network):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDLIB_DATA", str(tmp_path / "data"))
    if heading == "There is no GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    if heading == "A module is missing":  # a Python that has only itself
        run = subprocess.run([sys.executable, "-I", "-S", "-c", snippet], capture_output=True, text=True, timeout=60)
        seen = [run.stderr.strip().splitlines()[-1]]
    elif heading == "The kernel died":
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(snippet)])
        nbformat.write(notebook, tmp_path / "dead.ipynb")
        with pytest.raises(NotebookFailed) as died:
            run_notebook(tmp_path / "dead.ipynb", tmp_path / "out", progress=False)
        seen = [messages[0], str(died.value)]
    else:
        seen = [in_this_python(snippet)]
    for message, expected in zip(seen, messages, strict=True):
        assert alike(message, expected), f"the page says {expected!r}, Python says {message!r}"


def test_jupyterlab_says_what_the_page_says_of_a_dead_kernel():
    static = Path(sys.prefix, "share", "jupyter", "lab", "static")
    if not static.is_dir():
        pytest.skip("JupyterLab's pages are not beside this Python")
    (_, _, messages) = next(cause for cause in causes() if cause[0] == "The kernel died")
    sentence = messages[0].replace("…", "%1")
    assert any(sentence in script.read_text(encoding="utf-8") for script in static.glob("jlab_core.*.js"))


@pytest.fixture
def refuse_network(monkeypatch):
    def refuse(*address, **options):
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


# --- the pages ---

needs_sphinx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("myst_nb", "sphinx_book_theme")),
    reason='the pages are built with pip install -e ".[site]"',
)


def sphinx(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    """Build as `make site` does, with the command of the Makefile."""
    (command,) = re.findall(r"^\t\$\(PY\) (-m sphinx .*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    words = [
        {"build/doctrees": f"{out}-doctrees", ".": str(source), "_site": str(out)}.get(w, w) for w in command.split()
    ]
    return subprocess.run(
        [sys.executable, *words, *options], cwd=ROOT, capture_output=True, text=True, timeout=400,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pages") / "site"
    run = sphinx(ROOT, out)
    assert run.returncode == 0, run.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, object]:
    """Every page as a tree, without the theme's own templates."""
    soup = pytest.importorskip("bs4").BeautifulSoup
    # the lab's page of its own is none of the theme's, and tests/test_lab.py looks at it
    files = [path for path in site.rglob("*.html") if path.relative_to(site).parts[0] not in ("_static", "lab")]
    return {path: soup(path.read_text(encoding="utf-8"), "html.parser") for path in sorted(files)}


@needs_sphinx
def test_a_dead_link_stops_the_build(tmp_path):
    (tmp_path / "README.md").write_text("# Title\n\n[gone](gone.md) [there](#title) [nowhere](#nowhere)\n", "utf-8")
    run = sphinx(tmp_path, tmp_path / "out", "-D", "include_patterns=README.md", "-D", "apidoc_modules=")
    assert run.returncode != 0
    assert "'gone.md'" in run.stderr and "'nowhere'" in run.stderr and "'title'" not in run.stderr


@needs_sphinx
def test_the_site_has_its_pages(site, pages):
    names = {path.relative_to(site).as_posix() for path in pages}
    assert "index.html" in names
    written = [*ROOT.glob("docs/*.md"), *ROOT.glob("studies/*.md"), *notebooks(), ROOT / "CONTRIBUTING.md"]
    for source in written:
        assert source.relative_to(ROOT).with_suffix(".html").as_posix() in names
    for module in ("vidlib.models.convlstm", "vidlib.metrics", "vidlib.viz.widgets"):
        assert f"site/api/{module}.html" in names
    assert (site / "index.html").read_bytes() == (site / "README.html").read_bytes()
    contents = {unquote(a["href"]) for a in pages[site / "index.html"].select("nav.bd-links a[href]")}
    assert {"docs/glossary.html", "docs/errors.html", "site/api/modules.html"} <= contents
    assert {f"notebooks/{path.stem}.html" for path in notebooks()} <= contents


def broken(pages: dict, site: Path) -> tuple[list[str], int]:
    """The links, pictures and scripts of the pages that lead to no file or no place in it; how many there are."""
    places = {path: {tag["id"] for tag in tree.select("[id]")} for path, tree in pages.items()}
    faults, tried = [], 0
    for path, tree in pages.items():
        for tag in tree.select("[href], [src]"):
            link = urlsplit(tag.get("href") or tag.get("src") or "")
            if link.scheme or link.netloc:
                continue
            tried += 1
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            lost = link.fragment and target in places and unquote(link.fragment) not in places[target] | {"top"}
            if not target.is_file() or lost:
                faults.append(f"{path.relative_to(site)}: {link.geturl()!r}")
    return faults, tried


@needs_sphinx
def test_every_link_leads_somewhere(site, pages):
    faults, tried = broken(pages, site)
    assert not faults, faults[:20]
    assert tried > 5_000


@needs_sphinx
def test_the_search_for_broken_links_finds_them(tmp_path):
    soup = pytest.importorskip("bs4").BeautifulSoup
    page = tmp_path / "a.html"
    page.touch()
    text = '<p id="here"><a href="#here"></a><a href="#gone"></a><a href="b.html"></a><img src="c.png"><a href="https://x.org/">'
    faults, tried = broken({page: soup(text, "html.parser")}, tmp_path)
    assert tried == 4 and faults == ["a.html: '#gone'", "a.html: 'b.html'", "a.html: 'c.png'"]


@needs_sphinx
def test_what_is_no_page_is_shown_in_the_repository(pages):
    links = {a["href"] for tree in pages.values() for a in tree.select("a[href]")}
    repository = f"https://github.com/{badges.repository()}"
    inner = [
        link.partition("#")[0] for link in links if link.startswith((f"{repository}/blob/", f"{repository}/tree/"))
    ]
    assert f"{repository}/blob/main/LICENSE" in inner
    for link in inner:
        assert (ROOT / link.removeprefix(repository).split("/", 3)[3]).exists(), link
    assert not any(str(ROOT) in str(tree) for tree in pages.values())


@needs_sphinx
@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: path.stem)
def test_a_widget_without_a_kernel_is_its_picture(notebook, site, pages):
    outputs = [
        output
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
        if WIDGET in output.get("data", {})
    ]
    for output in outputs:
        assert "<img" in "".join(output["data"].get("text/html", "")), f"{notebook.name}: a widget without a picture"
    tree = pages[site / "notebooks" / f"{notebook.stem}.html"]
    notes = [note for note in tree.select(".output p") if note.get_text().startswith("A still picture: run this cell")]
    assert len(notes) == len(outputs) and all(note.find_previous("img") is not None for note in notes)
    assert not tree.select("script[type*='jupyter.widget'], script[src*='require.js']")


@needs_sphinx
def test_pictures_are_files_with_their_size(site, pages):
    for notebook in notebooks():
        page = site / "notebooks" / f"{notebook.stem}.html"
        assert page.stat().st_size < 1_500_000 and b"base64" not in page.read_bytes()
        drawn = pages[page].select(".cell_output img")
        assert drawn and all(picture.get("width") and picture.get("height") for picture in drawn)
    assert pages[site / "index.html"].select("img[src$='.gif']")


@needs_sphinx
def test_a_table_that_a_cell_shows_is_a_table(site, pages):
    shown = pages[site / "notebooks" / "03_vision_transformer.html"].select(".cell_output")
    assert any("MSE ↓" in head.text for output in shown for head in output.select("table th"))
    for path, tree in pages.items():
        assert not [text for text in tree.select("article p") if text.text.startswith("| ")], path.name


@needs_sphinx
def test_formulas_need_no_script_from_elsewhere(site, pages):
    assert len(pages[site / "notebooks" / "02_convlstm.html"].select("math[alttext]")) > 10
    for path, tree in pages.items():
        outside = [
            tag
            for tag in tree.select("script[src], link[rel=stylesheet]")
            if "//" in (tag.get("src") or tag.get("href"))
        ]
        assert outside == [], path


# --- in a browser ---


@pytest.fixture(scope="module")
def address(site):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *text):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


LOOK = """async () => {
  const images = [...document.images].filter(image => image.src.startsWith(location.origin));
  for (const image of images) image.loading = 'eager';
  await Promise.all(images.map(image => image.decode().catch(() => {})));
  const name = element => ['alt', 'aria-label', 'title'].map(key => element.getAttribute(key) || '').join('').trim();
  const nameless = element => !name(element);
  const drawn = [...document.querySelectorAll('img, canvas, svg[role=img]:not([aria-hidden=true]), video')];
  return {
    empty: images.filter(image => !image.naturalWidth).map(image => image.src),
    nameless: drawn.filter(nameless).map(element => element.outerHTML.slice(0, 200)),
  };
}"""


# Text that is hard to read on what lies behind it: a contrast below that of WCAG 2, level AA.
FAINT = """() => {
  const numbers = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = colour => numbers(colour).slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0.5) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('.bd-article :is(p, li, td, th, summary, figcaption, dd, pre)')]
    .filter(node => node.checkVisibility() && node.innerText.trim() && !node.closest('[data-what-if-lab]'))
    .filter(node => {
      const [one, two] = [light(getComputedStyle(node).color), light(behind(node))];
      return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05) < 4.5;
    })
    .map(node => node.innerText.slice(0, 60));
}"""


@needs_sphinx
def test_a_browser_shows_every_page_without_fault(site, pages, browser, address):
    api = [path for path in pages if "api" in path.parts or "_modules" in path.parts]
    largest = sorted(api, key=lambda path: path.stat().st_size)[-2:]
    shown = [path.relative_to(site).as_posix() for path in pages if path not in api] + [
        path.relative_to(site).as_posix() for path in largest
    ]
    context = browser.new_context(color_scheme="light", viewport={"width": WIDTHS[-1], "height": 900})
    context.route(lambda url: not url.startswith(address), lambda route: route.abort())  # badges of other hosts
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
    page.on(
        "console",
        lambda said: (
            said.type == "error"
            and said.location["url"].startswith(address)
            and not said.location["url"].endswith("webpack-macros.html")
            and faults.append(f"{page.url}: {said.text}")
        ),
    )
    for name in shown:
        page.emulate_media(color_scheme="light")
        page.goto(address + name)
        page.add_style_tag(content="* { transition: none !important }")  # widths and colours are read at once
        seen = page.evaluate(LOOK)
        faults += [f"{name}: {kind} {what}" for kind, found in seen.items() for what in found]
        backgrounds = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
            backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            faults += [f"{name}: faint in the {scheme}: {text}" for text in page.evaluate(FAINT)]
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                wide = page.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    faults.append(f"{name}: {wide} pixels wide in a window of {width}, {scheme}")
        if len(set(backgrounds)) != 2:
            faults.append(f"{name}: as bright in the dark as in the light")
    assert not faults, "\n".join(faults[:20])
    assert len(shown) > 15
    context.close()


# --- its publication ---


def test_a_workflow_publishes_what_make_site_builds():
    text = (ROOT / ".github" / "workflows" / "pages.yml").read_text(encoding="utf-8")
    used = [line.strip().removeprefix("- ") for line in text.splitlines() if "uses:" in line]
    for line in used:
        assert re.fullmatch(r"uses: actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), f"{line}: official and pinned"
    ours = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    for line in used:
        name = line.partition("@")[0]
        assert name not in ours or line in ours, f"{name} in two versions"
    jobs = yaml.safe_load(text)["jobs"]
    steps = jobs["build"]["steps"]
    assert any(step.get("run", "").startswith("make site") for step in steps)
    (upload,) = [step for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"]["path"] == "_site"
    assert jobs["deploy"]["needs"] == "build" and jobs["deploy"]["environment"]["name"] == "github-pages"
    assert jobs["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
