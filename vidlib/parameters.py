"""What a notebook's parameters may be: the same rules for batch runs and for the set-up call of the notebooks."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vidlib.checks import check_choice, check_counts, check_numbers, did_you_mean
from vidlib.files import user_path

_DIGIT_SOURCES = ("mnist", "builtin", "auto")
_BACKBONES = ("digits", "vgg16", "vgg19")
_PATHS = ("DIGITS", "WEIGHTS", "FOLDER", "FILE", "PATH", "VIDEO", "VIDEOS")  # how the names of path parameters end
_TRAINED_ON = ("TRAIN_SEQUENCES", "FINE_TUNE_SEQUENCES")  # an epoch of them holds at least one batch


class Declared(NamedTuple):
    """A parameter as its notebook declares it: ``EPOCHS: int = 2  # passes over the clips``."""

    annotation: str
    default: str
    meaning: str = ""


def check_parameters(declared: Mapping[str, Declared], given: Mapping[str, Any], place: str) -> None:
    """Raise unless every given parameter is declared, has a value of its type, and one that is possible.

    The default that a notebook declares is always possible, ``EPOCHS: int = None`` too.

    Args:
        place: where they are declared, for the sentence, such as ``"02_convlstm.ipynb"``.

    Raises:
        ValueError: the sentence names the first that is not.
    """
    defaults = {name: _literal(parameter.default) for name, parameter in declared.items()}
    for name, value in given.items():
        if name not in declared:
            raise ValueError(unknown(name, declared, place))
        if type(value) is type(defaults[name]) and value == defaults[name]:
            continue
        annotation, _, meaning = declared[name]
        if not fits(value, annotation):
            raise ValueError(_mistyped(name, value, annotation, meaning))
        _check_value(name, value, annotation)
    _check_together(defaults | dict(given), given)


def check_notebook(names: Mapping[str, Any]) -> None:
    """Check the parameters of a running notebook, whoever has changed them: papermill by itself checks none.

    Args:
        names: the notebook's ``globals()``. Its cells so far (``In``) say what it declares and what papermill has
            injected; where there are none, only parameters that are the same in every notebook are checked.

    Raises:
        ValueError: as :func:`check_parameters`.
    """
    declared: dict[str, Declared] = {}
    injected: list[str] = []
    for source in names.get("In", ()):
        statements = _statements(source)
        if not declared:
            declared = {
                s.target.id: Declared(ast.unparse(s.annotation), ast.unparse(s.value) if s.value else "")
                for s in statements
                if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
            }
        elif source.startswith("# Parameters"):  # as papermill begins the cell that it injects
            injected += [t.id for s in statements if isinstance(s, ast.Assign) for t in s.targets]
    if declared:
        check_parameters(declared, {n: names[n] for n in {**declared, **dict.fromkeys(injected)} if n in names}, "here")
        return
    for name in _RULES.keys() & names.keys():
        _check_value(name, names[name], "")


def absolute_paths(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with those that name a file or folder as whole paths: a kernel works in another folder."""
    return {name: _absolute(name, value) for name, value in parameters.items()}


def unknown(name: object, known: Iterable[str], place: str) -> str:
    """The sentence for a parameter that nobody declares."""
    return f"unknown parameter {name!r} ({did_you_mean(name, known).rstrip('.')}) in {place}."


def fits(value: Any, annotation: str) -> bool:
    """Whether a value suits an annotation; one that is more than a built-in type is left to the notebook.

    >>> fits([1, 2.5], "list[float]"), fits(True, "int"), fits(None, "int | None")
    (True, False, True)
    """
    if "|" in annotation and "[" not in annotation:
        return any(fits(value, kind.strip()) for kind in annotation.split("|"))
    kind, _, inner = annotation.strip().partition("[")  # such as "int" or "list[float]"
    if kind in ("int", "float"):  # True is an int to Python, and 1 is a fine learning rate
        return isinstance(value, int if kind == "int" else (int, float)) and not isinstance(value, bool)
    if kind == "list":
        return isinstance(value, list) and all(fits(item, inner.removesuffix("]")) for item in value)
    return isinstance(value, {"str": str, "bool": bool, "dict": dict, "None": type(None)}.get(kind, object))


def _mistyped(name: str, value: Any, annotation: str, meaning: str) -> str:
    sentence = f"parameter {name!r} is {value!r} ({type(value).__name__}), expected {annotation}"
    if meaning:
        sentence += f" ({meaning.strip()})"
    if annotation == "float" and isinstance(value, str) and isinstance(_literal(value), float):
        sentence += ": YAML reads 1e-3 as text, write 1.0e-3"
    return f"{sentence}."


def _check_value(name: str, value: Any, annotation: str) -> None:
    if value is None:
        return
    if isinstance(value, list) and not value:
        raise ValueError(f"{name} is [], expected at least one value.")
    rule = _RULES.get(name) or _kind_rule(annotation)
    for item in value if isinstance(value, list) else [value]:
        rule(**{name: item})


def _kind_rule(annotation: str) -> Callable[..., None]:
    """What holds for a parameter of which no more than its type is known: whole numbers are counts."""
    kinds = annotation.replace("[", " ").replace("]", " ").replace("|", " ").split()
    if "float" in kinds:
        return check_numbers
    return check_counts if "int" in kinds else lambda **_: None


def _check_together(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for clips in _TRAINED_ON:
        pair = {clips, "BATCH_SIZE"}
        known = all(values.get(name) is not None for name in pair)
        if known and pair & given.keys() and values["BATCH_SIZE"] > values[clips]:
            raise ValueError(
                f"BATCH_SIZE is {values['BATCH_SIZE']} and {clips} is {values[clips]}, "
                "expected at least one batch in an epoch."
            )


def _check_digits(**values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, (str, Path)) or (str(value) not in _DIGIT_SOURCES and not _exists(value)):
            raise ValueError(f"{name} is {value!r}, expected {', '.join(_DIGIT_SOURCES)} or a folder of images.")


def _check_file(**values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, (str, Path)) or (str(value) and not _exists(value)):
            raise ValueError(f"{name} is {value!r}, expected a file that is there, or nothing.")


def _exists(value: str | Path) -> bool:
    return bool(str(value).strip()) and "\0" not in str(value) and user_path(value).exists()


# What is known of single parameters, the same in every notebook that has them.
_RULES: dict[str, Callable[..., None]] = {
    "PROFILE": partial(check_choice, ("smoke", "laptop", "full")),
    "DIGITS": _check_digits,
    "SEED": partial(check_counts, 0, highest=2**32 - 1),
    "BACKBONE": partial(check_choice, _BACKBONES),
    "VGG_WEIGHTS": _check_file,
    "LR": partial(check_numbers, 0, open=True),
    "PERCEPTUAL_WEIGHT": partial(check_numbers, 0),
    "CHUNKS": partial(check_counts, 1, highest=10),  # frames kept of a prediction of ten
}


def _absolute(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(name, item) for item in value]
    if not (isinstance(value, (str, Path)) and str(name).endswith(_PATHS)):
        return value
    if str(value) in _DIGIT_SOURCES or not _exists(value):
        return str(value)
    return str(user_path(value))


def _literal(text: str) -> Any:
    with suppress(ValueError, SyntaxError, TypeError):
        return ast.literal_eval(text)
    return None


def _statements(source: str) -> list[ast.stmt]:
    with suppress(SyntaxError):  # a cell with a magic declares nothing
        return ast.parse(source).body
    return []
