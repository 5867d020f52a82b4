"""The code of functions, and where there is one its source as a tree."""

from __future__ import annotations

import ast
import dis
import functools
import linecache
import types
from collections.abc import Iterator

__all__ = ["codes", "definition", "may_write", "stored_variables"]

STORES = {"STORE_SUBSCR", "STORE_ATTR", "DELETE_SUBSCR", "DELETE_ATTR"}
CHANGING = {"append", "appendleft", "add", "extend", "insert", "update", "clear", "pop", "setattr"}


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions within."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from codes(inner)


@functools.lru_cache(maxsize=4096)
def stored_variables(code: types.CodeType) -> frozenset[str]:
    """Names of outer variables that a function writes."""
    stored = ("STORE_DEREF", "DELETE_DEREF")
    found = (i for inner in codes(code) for i in dis.get_instructions(inner))
    return frozenset(i.argval for i in found if i.opname in stored) & frozenset(code.co_freevars)


@functools.lru_cache(maxsize=4096)
def may_write(code: types.CodeType) -> bool:
    """Tell whether a function's code may write to what it holds."""
    found = [i for inner in codes(code) for i in dis.get_instructions(inner)]
    names = {name for inner in codes(code) for name in inner.co_names}
    return any(i.opname in STORES for i in found) or bool(names & CHANGING)


@functools.lru_cache(maxsize=256)
def _definitions(file: str) -> dict[int, list[ast.AST]]:
    """The functions of a source file by their first line; none if it cannot be read."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found: dict[int, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(each.lineno for each in decorators)])
            found.setdefault(first, []).append(node)
    return found


def definition(code: types.CodeType) -> ast.AST | None:
    """The source of a function as a tree; of several lambdas on a line, all of them."""
    nodes = _definitions(code.co_filename).get(code.co_firstlineno, [])
    if code.co_name == "<lambda>":
        lambdas: list[ast.expr] = [node for node in nodes if isinstance(node, ast.Lambda)]
        return ast.Tuple(elts=lambdas, ctx=ast.Load()) if lambdas else None
    named = (n for n in nodes if getattr(n, "name", None) == code.co_name)
    return next(named, None)
