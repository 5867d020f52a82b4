"""Memory of patches from run to run: attributes, entries and variables their code writes to.

A cache, a counter or a momentum changes with every picture and says nothing of the model. Which
names a patch writes when it is called stands in its source: functions are read, from those that the
host calls to those that they call, and every name in them is looked up among the objects that the
patch holds at the moment. Nothing is run.

    def wrap(apply, kw):             # closure: memory = {"calls": 3, "limit": 0.2}
        memory["calls"] += 1         # "calls" is state of runs, "limit" is a setting

Where the source does not say which entry is written, all of the object counts as state.
"""

from __future__ import annotations

import ast
import collections
import functools
import types
from collections.abc import Mapping
from typing import Any

import torch

from .attributes import attribute, attributes_of, elements, is_of_host, of_class
from .sources import definition, may_write, stored_variables

__all__ = ["ANYTHING", "RunState"]

ANYTHING = object()  # written in a way that does not say what
CONTAINERS = dict, list, set, collections.deque, bytearray
CHANGE = {
    "append", "appendleft", "add", "extend", "insert", "update", "clear", "remove", "discard",
    "pop", "popitem", "popleft", "setdefault", "sort", "reverse", "rotate",
}  # fmt: skip
KEYED = {"pop", "setdefault", "__setitem__", "__delitem__"}  # whose first argument is a key
# What the host hands to every function of a patch, under these names.
HANDED = {"transformer_options", "extra_options", "model_options"}
CALLED = "__call__", "sample", "predict_noise"
MOST_READ, DEEPEST_CALL = 4000, 40  # functions read of one model, and one within the other
MEANINGS = 256  # of a name


class RunState:
    """Objects that the functions of one model's patches write to.

    options: the model's `model_options`, which the host hands to them

    written: object by id -> names of the attributes or keys, or ANYTHING
    writers: object by id -> name of a function that writes to it
    cells:   ids of the variables that functions share and write to
    loose:   attributes written on objects that the patches do not hold, as the network
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.written: dict[int, set[Any]] = {}
        self.writers: dict[int, str] = {}
        self.cells: set[int] = set()
        self.loose: set[str] = set()
        self.unread: set[str] = set()  # functions without a source that may write to anything
        self._read: set[Any] = set()
        self._depth = 0
        self._alive: list[Any] = []  # of bound methods, while their ids are used
        self._found: set[int] = set()

    def look_into(self, value: Any, depth: int = 0) -> None:
        """Read every function in a value, wherever in it."""
        if depth > 32 or id(value) in self._found or value is None:
            return
        if isinstance(value, str | bytes | int | float | torch.Tensor | types.ModuleType):
            return
        self._found.add(id(value))
        self._alive.append(value)
        if isinstance(value, types.FunctionType | types.MethodType | functools.partial):
            self.read(value)
        elif isinstance(value, Mapping | list | tuple | set | frozenset | collections.deque):
            for inner in elements(value):
                self.look_into(inner, depth + 1)
        elif not isinstance(value, type | torch.nn.Module) and not hasattr(value, "model_options"):
            self.read_methods(value)
            for inner in attributes_of(value).values():
                self.look_into(inner, depth + 1)

    def read_methods(self, value: Any) -> None:
        """Read what the host calls of an object: a patch, a sampler, a guider."""
        for name in CALLED:
            function = of_class(type(value), name)
            if function is not None:
                self.read(function, [value])

    def read(self, called: Any, *given: list[Any], **named: list[Any]) -> None:
        """Read a function, method or callable object; given: the objects that may be passed."""
        if isinstance(called, functools.partial):
            before = [[value] for value in called.args]
            by_name = {key: [value] for key, value in called.keywords.items()}
            return self.read(called.func, *before, *given, **{**by_name, **named})
        if isinstance(called, types.MethodType):
            return self.read(called.__func__, [called.__self__], *given, **named)
        if not isinstance(called, types.FunctionType):
            name = "forward" if isinstance(called, torch.nn.Module) else "__call__"
            function = of_class(type(called), name)
            if function is not None and not isinstance(called, type):
                self.read(function, [called], *given, **named)
            return None
        key = called.__code__, *(tuple(map(id, objects)) for objects in (*given, *named.values()))
        if key in self._read or len(self._read) >= MOST_READ or self._depth >= DEEPEST_CALL:
            return None
        self._read.add(key)
        self._alive.append((called, given, named))
        self._cells_of(called)
        if is_of_host(called):
            return None
        source = definition(called.__code__)
        names = _arguments(called, given, named)
        if source is None:
            self._unread(called, names)
            return None
        self._depth += 1
        _Reader(self, called, names).read(source)
        self._depth -= 1
        return None

    def write(self, value: Any, name: Any, by: Any) -> None:
        """Note a write to an object's attribute or entry, by a function."""
        shared = value is self.options or value is self.options.get("transformer_options")
        if shared and (name is ANYTHING or _holds_functions(value.get(name))):
            return  # what the host itself reads there is no memory of a patch
        self._alive.append(value)
        self.written.setdefault(id(value), set()).add(name)
        self.writers[id(value)] = by.__qualname__

    def _cells_of(self, function: types.FunctionType) -> None:
        stored = set(stored_variables(function.__code__))
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            if name in stored:
                self.cells.add(id(cell))

    def _unread(self, function: types.FunctionType, names: dict[str, list[Any]]) -> None:
        """Take all that a function without a source holds for state, if it writes at all."""
        if not may_write(function.__code__):
            return
        self.unread.add(function.__qualname__)
        for objects in names.values():
            for value in objects:
                plain = isinstance(value, torch.Tensor | torch.nn.Module | types.FunctionType)
                if isinstance(value, CONTAINERS) or (not plain and attributes_of(value)):
                    self.write(value, ANYTHING, function)


class _Reader:
    """One function's source, with the objects that its names may stand for."""

    def __init__(self, state: RunState, function: Any, names: dict[str, list[Any]]) -> None:
        self.state, self.function, self.names = state, function, names

    def read(self, source: ast.AST) -> None:
        nodes = list(ast.walk(source))
        for _ in range(2):  # a name may be used above the line that gives it its last meaning
            for node in nodes:
                self._assign(node)
        for node in nodes:
            self._write(node)
            if isinstance(node, ast.Call):
                self._call(node)
            elif isinstance(node, ast.Name | ast.Attribute):
                self._mention(node)
            elif isinstance(node, ast.Subscript):
                for value in self.of(node.value):
                    for method in ("__getitem__", "__setitem__", "__delitem__"):
                        self._method(value, method)
            elif isinstance(node, ast.With | ast.AsyncWith):
                for item in node.items:
                    for value in self.of(item.context_expr):
                        self._method(value, "__enter__")
                        self._method(value, "__exit__")

    def of(self, node: ast.AST | None) -> list[Any]:
        """The objects that an expression may stand for; none if that is not known."""
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Attribute):
            if _is_super(node.value):
                return self._inherited(node.attr)
            bases = self.of(node.value)
            if not bases and node.attr in HANDED:
                return self._handed(node.attr)
            return [found for base in bases for found in attribute(base, node.attr)]
        if isinstance(node, ast.Subscript):
            return self._entries(node.value, node.slice)
        if isinstance(node, ast.IfExp):
            return [*self.of(node.body), *self.of(node.orelse)]
        if isinstance(node, ast.BoolOp):
            return [found for value in node.values for found in self.of(value)]
        if isinstance(node, ast.NamedExpr):
            return self.of(node.value)
        if isinstance(node, ast.Call):
            return self._returned(node)
        return []

    def _named(self, name: str) -> list[Any]:
        if name in self.names:
            return self.names[name]
        if name in self.function.__globals__:
            return [self.function.__globals__[name]]
        return self._handed(name)

    def _inherited(self, name: str) -> list[Any]:
        """Objects that `super().name` may be: the methods of that name of all bases."""
        own = self.function.__code__.co_varnames[:1]
        found = []
        for value in self.names.get(own[0], []) if own else []:
            for base in type(value).__mro__:
                member = vars(base).get(name)
                if isinstance(member, types.FunctionType) and not is_of_host(base):
                    found.append(types.MethodType(member, value))
        return found

    def _handed(self, name: Any) -> list[Any]:
        options = self.state.options
        if name == "model_options":
            return [options]
        if name in ("transformer_options", "extra_options") and "transformer_options" in options:
            return [options["transformer_options"]]
        return []

    def _entries(self, base: ast.AST, key: ast.AST) -> list[Any]:
        bases, name = self.of(base), _constant(key)
        if not bases:
            return self._handed(name)
        found: list[Any] = []
        for value in bases:
            if isinstance(value, Mapping) and name is not ANYTHING:
                found += [value[name]] if name in value else []
            elif isinstance(value, Mapping | list | tuple):
                found += elements(value)
        return found

    def _returned(self, node: ast.Call) -> list[Any]:
        """Objects that `getattr`, `iter`, `.get`, `.values` and the like give out of an object."""
        function, arguments = node.func, node.args
        if isinstance(function, ast.Name) and arguments:
            if function.id == "getattr" and len(arguments) > 1:
                name = _constant(arguments[1])
                return [v for base in self.of(arguments[0]) for v in attribute(base, name)]
            if function.id == "vars":
                return [vars(v) for v in self.of(arguments[0]) if hasattr(v, "__dict__")]
            if function.id in ("iter", "reversed", "list", "tuple", "enumerate"):
                return self.of(arguments[0])
        if isinstance(function, ast.Attribute):
            if function.attr in ("get", "setdefault", "pop") and arguments:
                return self._entries(function.value, arguments[0])
            if function.attr in ("values", "items"):
                return self.of(function.value)
        return []

    def _assign(self, node: ast.AST) -> None:
        """Give a local name what is assigned to it."""
        if isinstance(node, ast.Assign):
            targets, values = node.targets, self.of(node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            targets, values = [node.target], self.of(node.value)
        elif isinstance(node, ast.For | ast.comprehension):
            targets = [node.target]
            values = [v for value in self.of(node.iter) for v in elements(value)]
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets, values = [node.optional_vars], self.of(node.context_expr)
        else:
            return
        for target in targets:
            inner = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            for name in inner:
                if isinstance(name, ast.Name) and values:
                    known = self.names.get(name.id, [])
                    new = [v for v in values if not any(v is k for k in known)]
                    self.names[name.id] = [*known, *new][:MEANINGS]

    def _write(self, node: ast.AST) -> None:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            self._note(self.of(node.value), node.attr)
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            for value in self.of(node.value):
                if isinstance(value, (torch.Tensor, Mapping, *CONTAINERS)):
                    keyed = isinstance(value, Mapping)
                    name = _constant(node.slice) if keyed else ANYTHING
                    self.state.write(value, name, self.function)
        elif isinstance(node, ast.AugAssign):
            for value in self.of(node.target):
                if isinstance(value, (torch.Tensor, *CONTAINERS)):
                    self.state.write(value, ANYTHING, self.function)

    def _note(self, values: list[Any], name: Any) -> None:
        for value in values:
            self.state.write(value, name, self.function)
            if isinstance(value, torch.nn.Module):
                self.state.loose.add(name)
        if not values:
            self.state.loose.add(name)

    def _call(self, node: ast.Call) -> None:
        function, arguments = node.func, node.args
        if isinstance(function, ast.Name) and arguments:
            if function.id in ("setattr", "delattr") and len(arguments) > 1:
                self._note(self.of(arguments[0]), _constant(arguments[1]))
            elif function.id == "next":
                self._note(self.of(arguments[0]), ANYTHING)
        if isinstance(function, ast.Attribute):
            for value in self.of(function.value):
                self._change(value, function.attr, node)
        given = [self.of(argument) for argument in arguments if not _is_starred(argument)]
        named = {k.arg: self.of(k.value) for k in node.keywords if k.arg is not None}
        for called in self.of(function):
            self.state.read(called, *given, **named)

    def _change(self, value: Any, method: str, node: ast.Call) -> None:
        """Note what a method of a container or a tensor changes."""
        if isinstance(value, torch.Tensor):
            if method.endswith("_") and not method.endswith("__"):
                self.state.write(value, ANYTHING, self.function)
        elif isinstance(value, CONTAINERS) and method in CHANGE | KEYED:
            names: list[Any] = [ANYTHING]
            if isinstance(value, dict) and method in KEYED and node.args:
                names = [_constant(node.args[0])]
            elif isinstance(value, dict) and method == "update":
                names = [k.arg if k.arg is not None else ANYTHING for k in node.keywords]
                for argument in node.args:
                    keys = argument.keys if isinstance(argument, ast.Dict) else [None]
                    names += [ANYTHING if key is None else _constant(key) for key in keys]
            for name in names:
                self.state.write(value, name, self.function)

    def _mention(self, node: ast.Name | ast.Attribute) -> None:
        """Read a function that is passed on, and a property."""
        for found in self.of(node):
            if isinstance(found, types.FunctionType | types.MethodType) and not is_of_host(found):
                self.state.read(found)
        if isinstance(node, ast.Attribute):
            for base in self.of(node.value):
                member = of_class(type(base), node.attr, property)
                if member is not None and member.fget is not None:
                    self.state.read(member.fget, [base])

    def _method(self, value: Any, name: str) -> None:
        if not isinstance(value, Mapping | list | tuple | torch.Tensor | type):
            function = of_class(type(value), name)
            if function is not None:
                self.state.read(function, [value])


def _constant(node: ast.AST | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else ANYTHING


def _is_super(node: ast.AST) -> bool:
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == "super"


def _is_starred(node: ast.AST) -> bool:
    return isinstance(node, ast.Starred)


def _holds_functions(value: Any) -> bool:
    if isinstance(value, Mapping | list | tuple):
        return any(map(_holds_functions, elements(value)))
    return callable(value)


def _arguments(
    function: types.FunctionType, given: tuple[list[Any], ...], named: dict[str, list[Any]]
) -> dict[str, list[Any]]:
    """Objects behind a function's parameters, their defaults and its closure's variables."""
    code = function.__code__
    names: dict[str, list[Any]] = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            names[name] = [cell.cell_contents]
        except ValueError:  # never filled
            continue
    positional = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    for name, default in zip(reversed(positional), reversed(defaults), strict=False):
        names[name] = [default]
    for name, default in (function.__kwdefaults__ or {}).items():
        names[name] = [default]
    for name, objects in [*zip(positional, given, strict=False), *named.items()]:
        if objects:
            names[name] = objects
    return names
