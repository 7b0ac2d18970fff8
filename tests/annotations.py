"""In the test run arrays are held against their annotations (jaxtyping, beartype): shapes, dtypes, sizes that are tied.

`switch_on` hooks the import of PACKAGES. Checked is every function whose annotations name an array of jaxtyping, at
each call, and every dataclass and NamedTuple with such a field, once it is made: what it holds, not what it was given,
since some take more and refuse the rest by themselves. Device functions are left alone: Taichi reads their annotations.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import sys
import zlib
from pathlib import Path
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.door import is_bearable
from jaxtyping import _import_hook

PACKAGES = ("endorender.ct", "endorender.scene", "endorender.dataset", "training")
# Where an int is a float: PEP 484.
CONF = BeartypeConf(is_pep484_tower=True)
TAICHI = ("func", "kernel", "real_func", "dataclass")
# What annotations are made of, where it is imported for mypy's eyes only: jaxtyping always is.
NAMES_OF = ("jaxtyping", "torch", "endorender.ct", "endorender.scene")


# By this text a module that was compiled with checks is told from others: it changes with this file.
CHECKER = f"tests.annotations.checker({zlib.crc32(Path(__file__).read_bytes())})"


def switch_on() -> None:
    """To be called before any of PACKAGES is imported."""
    _import_hook.JaxtypingTransformer = Checks
    jaxtyping.install_import_hook(list(PACKAGES), CHECKER)


def checker(version: int) -> Any:
    """What jaxtyping has a function's arguments and result checked with."""

    def checked(function: Any) -> Any:
        check = beartype(conf=CONF)(function)

        @functools.wraps(function)
        def unless_traced(*args: Any, **named: Any) -> Any:
            # Where torch traces a network, sizes are symbols: to compare them would fix them.
            torch = sys.modules.get("torch")
            return None if torch and torch.compiler.is_compiling() else check(*args, **named)

        return unless_traced

    return checked


def arrays_of(tree: ast.Module) -> set[str]:
    """Names that a module imports from jaxtyping."""
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "jaxtyping"]
    return {alias.asname or alias.name for n in imports for alias in n.names}


def hoisted(node: ast.stmt) -> bool:
    """Whether an import for mypy's eyes is done by the hook as well."""
    return isinstance(node, ast.ImportFrom) and node.module in NAMES_OF


def names_in(annotation: ast.expr) -> set[str]:
    """Names within an annotation, which may be a string as a whole."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    return {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)}


class Checks(_import_hook.JaxtypingTransformer):
    """Decorates what names arrays, and nothing else."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.arrays = arrays_of(node)
        self._import_names(node)
        return super().visit_Module(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if any(isinstance(d, ast.Attribute) and d.attr in TAICHI for d in node.decorator_list):
            return node
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        if self._names_arrays(node.returns, *(a.annotation for a in every if a)):
            return super().visit_FunctionDef(node)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        # Fields of a pydantic model are pydantic's matter; `holds` lets them be.
        if self._names_arrays(*(n.annotation for n in node.body if isinstance(n, ast.AnnAssign))):
            holds = ast.parse(f"__import__({__name__!r}, fromlist=['holds']).holds", mode="eval").body
            node.decorator_list.insert(0, ast.copy_location(holds, node))
        return node

    def _names_arrays(self, *annotations: ast.expr | None) -> bool:
        return any(not self.arrays.isdisjoint(names_in(a)) for a in annotations if a)

    def _import_names(self, node: ast.Module) -> None:
        """What only mypy sees otherwise."""
        for i, block in reversed(list(enumerate(node.body))):
            if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
                node.body[i:i] = filter(hoisted, block.body) if self.arrays else []


def holds(cls: type) -> type:
    """Class decorator: a new object's arrays are what the fields' annotations say, and fit one another."""
    if dataclasses.is_dataclass(cls):
        made, name = cls.__init__, "__init__"
    elif hasattr(cls, "_fields"):
        made, name = cls.__new__, "__new__"
    else:
        return cls

    @functools.wraps(made)
    def make(self: Any, *args: Any, **named: Any) -> Any:
        made_one = made(self, *args, **named)
        check(self if made_one is None else made_one, cls)
        return made_one

    setattr(cls, name, make)
    return cls


def check(one: Any, cls: type) -> None:
    """Raise TypeCheckError for a field that is not as annotated."""
    with jaxtyping.jaxtyped("context"):
        for name, hint in hints(cls).items():
            value = one[name] if isinstance(one, dict) else getattr(one, name)
            if not is_bearable(value, hint, conf=CONF):
                raise jaxtyping.TypeCheckError(f"{cls.__name__}.{name} is no {hint}: {_short(value)}")


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Of the fields that hold arrays of jaxtyping."""
    module = importlib.import_module(cls.__module__)
    told = {name: str(getattr(a, "__forward_arg__", a)) for name, a in cls.__annotations__.items()}
    arrays = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == "jaxtyping"}
    return {
        name: eval(text, vars(module))
        for name, text in told.items()
        if arrays & names_in(ast.parse(text, mode="eval").body)
    }


def _short(value: Any) -> str:
    return f"{type(value).__name__} {getattr(value, 'dtype', '')} {getattr(value, 'shape', '')}".strip()
