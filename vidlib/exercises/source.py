"""What the source of a notebook says of its answers. It is read and compiled here, and never run."""

from __future__ import annotations

import ast
import inspect
import itertools
import linecache
import re
import symtable
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from types import CodeType, FunctionType
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

_ANSWERS = re.compile(r"vidlib\.exercises|\bEXERCISES\b|\.reference\b|solution_source|\bsolution\(")
_counted = itertools.count()


def functions_of(sources: Sequence[str]) -> dict[str, Callable]:
    """The functions that the cells define at their top level, as they stand last; also ``a = b`` and lambdas.

    They hold the byte code, for checks that look at how an answer is written. They know each other and nothing else.
    """
    found: dict[str, Any] = {"__name__": "notebook"}
    for source in sources:
        file = f"<submitted cell {next(_counted)}>"
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            python = TransformerManager().transform_cell(source)  # a cell may hold a %magic
            for node in ast.parse(python).body:
                _read(node, file, found)
            linecache.cache[file] = (len(python), None, python.splitlines(keepends=True), file)
    return {name: thing for name, thing in found.items() if isinstance(thing, FunctionType)}


def needed_cells(sources: Sequence[str], names: Iterable[str]) -> list[int]:
    """The cells that give these names a meaning, with the earlier cells that give one to a name that those use.

    A cell that changes a value which another has named is not found.
    """
    bound, used = zip(*map(_names, sources), strict=True) if sources else ((), ())
    waiting = [i for i, own in enumerate(bound) if own & set(names)]
    wanted: set[int] = set()
    while waiting:
        cell = waiting.pop()
        if cell not in wanted:
            wanted.add(cell)
            waiting += [i for i in range(cell) if bound[i] & used[cell]]
    return sorted(wanted)


def _names(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell gives a meaning at its top level, and those that it uses from outside its functions."""
    try:
        table = symtable.symtable(TransformerManager().transform_cell(source), "<cell>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(), set()
    top = table.get_symbols()
    bound = {s.get_name() for s in top if s.is_assigned() or s.is_imported() or s.is_namespace()}
    used, inner = {s.get_name() for s in top if s.is_referenced()}, table.get_children()
    while inner:
        table = inner.pop()
        inner += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    return bound, used


def _read(node: ast.stmt, file: str, found: dict[str, Any]) -> None:
    if isinstance(node, ast.FunctionDef):
        for argument in _arguments(node.args):
            argument.annotation = None
        node.decorator_list, node.returns = [], None
        found[node.name] = FunctionType(_code(node, file), found, node.name)
        return
    if not (isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)):
        return
    for target in node.targets:
        found.pop(target.id, None)
        if isinstance(node.value, ast.Lambda):
            found[target.id] = FunctionType(_code(ast.Expr(node.value), file), found, target.id)
        elif isinstance(node.value, ast.Name) and isinstance(found.get(node.value.id), FunctionType):
            found[target.id] = found[node.value.id]


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    single = [each for each in (arguments.vararg, arguments.kwarg) if each]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *single]


def _code(node: ast.stmt, file: str) -> CodeType:
    whole = compile(ast.fix_missing_locations(ast.Module([node], [])), file, "exec")
    codes = [constant for constant in whole.co_consts if isinstance(constant, CodeType)]
    return codes[-1]  # those of default values come before


def with_source(answer: Any, written: Callable | None) -> None:
    """Give a stand-in the byte code and the arguments of the function that it stands for."""
    if written is None:
        return
    answer.__code__, answer.__globals__, answer.__module__ = written.__code__, written.__globals__, written.__module__
    answer.__signature__ = inspect.signature(written)


def suspicious(sources: Sequence[str], own: Collection[str] = ()) -> list[str]:
    """What to look at with one's own eyes: cells that read the package's answers.

    Args:
        own: lines that the course's notebook itself has.
    """
    readers = [
        str(number)
        for number, source in enumerate(sources, 1)
        if any(_ANSWERS.search(line) for line in source.splitlines() if line not in own)
    ]
    return [f"reads the package's answers in cell {', '.join(readers)}"] if readers else []
