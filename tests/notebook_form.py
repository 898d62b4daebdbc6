"""Reads a notebook and lists what is wrong with its form, one sentence per fault.

The skeleton: title with badges, objectives, `parameters`, set-up, sections, exercises, recap, further reading,
provenance. A notebook without a fault gives an empty list.
"""

from __future__ import annotations

import ast
import io
import itertools
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from papermill.translators import PythonTranslator

MAX_BYTES = 3_000_000
MIN_CHECKED_CELLS = 3
MAX_SETUP_LINES = 6

# Headings and marks in the order in which a reader meets them.
SKELETON = (
    ("a heading 'Objectives'", re.compile(r"^#+ .*objectives", re.I | re.M)),
    ("a heading or line on what to know first", re.compile(r"know first|prerequisites|before you start", re.I)),
    ("minutes on named hardware", re.compile(r"\d\s*(min\b|minutes?\b)", re.I)),
    ("the parameters cell", None),
    ("the set-up cell", None),
    ("a heading 'Exercise'", re.compile(r"^#+ .*exercise", re.I | re.M)),
    ("a heading 'Recap'", re.compile(r"^#+ .*recap", re.I | re.M)),
    ("a heading 'Further reading'", re.compile(r"^#+ .*further reading", re.I | re.M)),
    ("a heading 'Provenance'", re.compile(r"^#+ .*provenance", re.I | re.M)),
)
_MACHINE_PATH = re.compile(
    r"(?:(?<![\w.:/-])|file://)/(?:root|home|work|tmp|Users)(?:/[\w.-]+|(?![\w/-]))|[A-Z]:\\\\?Users"
)
_ADDRESS = re.compile(r"(?:<|&lt;).{0,80}? at 0x[0-9a-fA-F]+")
_MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(")
_HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.I)
_HTML_ALT = re.compile(r"""\balt\s*=\s*(["'])\s*[^"'\s]""", re.I)
_EMBEDDED = re.compile(r"base64,[A-Za-z0-9+/=\s\\]+")


def text_of(page: Path) -> str:
    """A page's text; of a notebook, that of its Markdown cells."""
    if page.suffix != ".ipynb":
        return page.read_text(encoding="utf-8")
    return "\n".join(c.source for c in nbformat.read(page, as_version=4).cells if c.cell_type == "markdown")


def faults_of_file(path: Path) -> list[str]:
    """All faults of a notebook file."""
    found = faults(nbformat.read(path, as_version=4))
    if path.stat().st_size > MAX_BYTES:
        found.append(f"the file has {path.stat().st_size:,} bytes, at most {MAX_BYTES:,} are allowed")
    return found


def faults(notebook: NotebookNode) -> list[str]:
    """All faults of a notebook except its size on disk."""
    return [fault for reader in _READERS for fault in reader(notebook)]


def images_without_alt(markdown: str) -> list[str]:
    """The images of a Markdown text that say nothing to a reader who cannot see them."""
    silent = [found[0] for found in _MARKDOWN_IMAGE.finditer(markdown) if not found[1].strip()]
    return silent + [tag for tag in _HTML_IMAGE.findall(markdown) if not _HTML_ALT.search(tag)]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def tagged(notebook: NotebookNode, tag: str) -> list[int]:
    return [index for index, cell in enumerate(notebook.cells) if tag in tags(cell)]


def code_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    return ((i, c) for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source.strip())


def setup_index(notebook: NotebookNode) -> int | None:
    """The set-up cell: the first code cell after the parameters."""
    after = tagged(notebook, "parameters")
    return next((i for i, _ in code_cells(notebook) if after and i > after[0]), None)


def _kernel(notebook: NotebookNode) -> Iterator[str]:
    name = notebook.metadata.get("kernelspec", {}).get("name")
    if name != "python3":
        yield f"the kernel is {name!r}, expected 'python3', which every Jupyter has"


def _title(notebook: NotebookNode) -> Iterator[str]:
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell is not a Markdown title ('# ...')"
        return
    for name, host in (("Colab", "colab.research.google.com"), ("Binder", "mybinder.org")):
        if host not in first.source:
            yield f"the title cell has no {name} badge"
    prose = [
        line for line in first.source.splitlines()[1:] if line.strip() and not line.lstrip().startswith(("[!", "<"))
    ]
    if not prose:
        yield "the title cell has no sentence of promise"


def _skeleton(notebook: NotebookNode) -> Iterator[str]:
    parameters = tagged(notebook, "parameters")
    fixed = {
        "the parameters cell": parameters[0] if parameters else None,
        "the set-up cell": setup_index(notebook),
    }
    reached, previous = -1, "the title"
    for name, pattern in SKELETON:
        place = fixed[name] if name in fixed else _first(notebook, pattern)
        if place is None:
            yield f"there is no place for {name}" if name in fixed else f"there is no {name.removeprefix('a ')}"
            continue
        if place < reached:
            yield f"{name} (cell {place}) comes before {previous} (cell {reached})"
        reached, previous = max(reached, place), name
    setup, exercise = fixed["the set-up cell"], _first(notebook, dict(SKELETON)["a heading 'Exercise'"])
    if setup is not None and exercise is not None:
        sections = [
            c for c in notebook.cells[setup:exercise] if c.cell_type == "markdown" and c.source.startswith("## ")
        ]
        if len(sections) < 3:
            yield f"{len(sections)} sections ('## ...') stand between set-up and first exercise, expected at least 3"


def _first(notebook: NotebookNode, pattern: re.Pattern) -> int | None:
    return next(
        (i for i, c in enumerate(notebook.cells) if c.cell_type == "markdown" and pattern.search(c.source)), None
    )


def _folds(notebook: NotebookNode) -> Iterator[str]:
    """Markdown takes a line right below a folded part for HTML."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and (found := re.search(r"</details>\n(?!\n)(.+)", cell.source)):
            yield f"cell {index}: no empty line between a folded part and {found[1]!r}"


def _parameters(notebook: NotebookNode) -> Iterator[str]:
    places = tagged(notebook, "parameters")
    if len(places) != 1:
        yield f"{len(places)} cells are tagged 'parameters', expected exactly 1"
    for place in places:
        yield from _declarations(notebook.cells[place].source)


def _declarations(source: str) -> Iterator[str]:
    try:
        statements = ast.parse(source).body
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError) as error:
        yield f"the parameters cell is not Python: {error}"
        return
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT and token.string.strip("# ")}
    if not statements:
        yield "the parameters cell declares nothing"
    understood = {parameter.name for parameter in PythonTranslator.inspect({"source": source})}
    for statement in statements:
        text = ast.unparse(statement)
        if not (isinstance(statement, ast.AnnAssign) and statement.value is not None):
            yield f"{text!r} in the parameters cell is not 'NAME: type = value'"
            continue
        if ast.unparse(statement.target) not in understood:
            yield f"papermill does not understand parameter {text!r}: write a type without '|', '.' or quotes"
        if statement.lineno not in commented:
            yield f"parameter {text!r} has no comment on its line"
        try:
            ast.literal_eval(statement.value)
        except ValueError:
            yield f"parameter {text!r} has no plain value"


def _setup(notebook: NotebookNode) -> Iterator[str]:
    place = setup_index(notebook)
    if place is None:
        return
    source = notebook.cells[place].source
    lines = [line for line in source.splitlines() if line.strip()]
    if "setup(" not in source:
        yield f"the set-up cell (cell {place}) does not call setup()"
    if len(lines) > MAX_SETUP_LINES:
        yield f"the set-up cell (cell {place}) has {len(lines)} lines, at most {MAX_SETUP_LINES} are allowed"


def _exercises(notebook: NotebookNode) -> Iterator[str]:
    heading = dict(SKELETON)["a heading 'Exercise'"]
    places = [i for i, c in enumerate(notebook.cells) if c.cell_type == "markdown" and heading.search(c.source)]
    for place, end in itertools.pairwise([*places, len(notebook.cells)]):
        if not any("check(" in c.source for c in notebook.cells[place:end] if c.cell_type == "code"):
            yield f"the exercise in cell {place} has no check()"


def _counts(notebook: NotebookNode) -> Iterator[str]:
    expected = 1
    for place, cell in code_cells(notebook):
        if "skip-execution" in tags(cell):
            continue
        count = cell.execution_count
        if count != expected:
            yield f"cell {place} has execution count {count}, expected {expected}: run all cells in order"
            return
        expected += 1


def _outputs(notebook: NotebookNode) -> Iterator[str]:
    for place, cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {place} ended in {output.ename}: {output.evalue}"
            elif output.output_type == "stream" and output.name == "stderr":
                yield f"cell {place} wrote to stderr: {output.text.strip()[:80]!r}"


def _alt_texts(notebook: NotebookNode) -> Iterator[str]:
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            yield from (f"cell {place} has {image!r} without alt text" for image in images_without_alt(cell.source))
        for output in cell.get("outputs", []):
            for kind, data in output.get("data", {}).items():
                if kind.startswith("image/") and not output.metadata.get(kind, {}).get("alt", "").strip():
                    yield f"cell {place} shows an {kind} without alt text"
                if kind in ("text/html", "text/markdown"):
                    silent = images_without_alt(_EMBEDDED.sub("", _joined(data)))
                    yield from (f"cell {place} shows {image[:60]!r} without alt text" for image in silent)


def _tags(notebook: NotebookNode) -> Iterator[str]:
    checked = tagged(notebook, "nbval-check-output")
    if len(checked) < MIN_CHECKED_CELLS:
        yield f"{len(checked)} cells are tagged 'nbval-check-output', expected at least {MIN_CHECKED_CELLS}"
    for place in checked:
        cell = notebook.cells[place]
        if cell.get("execution_count") is None or not _compared(cell):
            yield f"cell {place} is tagged 'nbval-check-output' but has no saved text: nothing would be compared"
        if {"nbval-ignore-output", "nbval-skip"} & set(tags(cell)):
            yield f"cell {place} is tagged both to be compared and to be ignored"
    for place in tagged(notebook, "nbval-skip"):
        if "skip-execution" not in tags(notebook.cells[place]):
            yield f"cell {place} is tagged 'nbval-skip' but not 'skip-execution': papermill would run it"


def _compared(cell: NotebookNode) -> bool:
    """Whether the cell holds output that nbval compares: text, not pictures."""
    return any(o.get("text", "").strip() or o.get("data", {}).get("text/plain", "").strip() for o in cell.outputs)


def _paths(notebook: NotebookNode) -> Iterator[str]:
    if "papermill" in notebook.metadata:
        yield "the notebook's metadata are those of a papermill run: it names files of one machine"
    for place, cell in enumerate(notebook.cells):
        texts = [cell.source]
        for output in cell.get("outputs", []):
            texts.append(_joined(output.get("text", "")))
            texts += [_joined(d) for kind, d in output.get("data", {}).items() if not kind.startswith("image/")]
        for found in filter(None, (_MACHINE_PATH.search(_EMBEDDED.sub("", text)) for text in texts)):
            yield f"cell {place} names a path of one machine: {found[0]!r}"
        for found in filter(None, map(_ADDRESS.search, texts)):
            yield f"cell {place} names an object by its place in memory: {found[0]!r}"


def _joined(data: object) -> str:
    return data if isinstance(data, str) else json.dumps(data)


_READERS = (
    _kernel,
    _title,
    _skeleton,
    _folds,
    _parameters,
    _setup,
    _exercises,
    _counts,
    _outputs,
    _alt_texts,
    _tags,
    _paths,
)
