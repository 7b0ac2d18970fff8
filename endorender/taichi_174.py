"""What is replaced in Taichi 1.7.4, and in no other version: reading kernels takes less than half the time.

A kernel is read (its Python traced) in every process, even where the compiled one is found in Taichi's cache. The
replacements give the same kernels and the same places in complaints.
"""

import functools
import linecache
import sys
import textwrap
from types import SimpleNamespace
from typing import Any

from taichi.lang import kernel_impl as _kernels
from taichi.lang.ast import ast_transformer_utils as _reading


def _place(self: Any, node: Any) -> str:
    """Where a node of a kernel's source stands, for Taichi's complaints: file, line and the line's text.

    Taichi 1.7.4 words this for every node that it reads, whether or not there is something to complain about. Its own
    wording, wrapped and underlined, takes 45 % of the time in which a kernel is read.
    """
    line = self.src[node.lineno - 1].rstrip()
    return f'File "{self.file}", line {node.lineno + self.lineno_offset}, in {self.func.func.__name__}:\n{line}\n'


def _once_per_code(find: Any) -> Any:
    """A search for a function's source that is made once for its code, however many closures share that.

    Taichi searches at each call of a function that it inlines: a path tracer calls 150 functions a thousand times.
    """
    known: dict[Any, Any] = {}

    def found(function: Any) -> Any:
        if function.__code__ not in known:
            known[function.__code__] = find(function)
        return known[function.__code__]

    return found


def _inside_class(level_of_class_stackframe: int) -> bool:
    """Whether a decorator stands in a class: Taichi's own test of the line, which it finds 4 ms slower."""
    try:
        frame = sys._getframe(level_of_class_stackframe)
    except ValueError:  # at the top of a script nothing is further out
        return False
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return any(pattern.match(line) for pattern in _kernels._KERNEL_CLASS_STACKFRAME_STMT_RES)


def patch() -> None:
    """Replace."""
    _reading.ASTTransformerContext.get_pos_info = _place
    _kernels.getsourcelines = _once_per_code(_kernels.getsourcelines)
    _kernels.getsourcefile = _once_per_code(_kernels.getsourcefile)
    _kernels.textwrap = SimpleNamespace(fill=functools.cache(textwrap.fill), dedent=functools.cache(textwrap.dedent))
    _kernels._inside_class = _inside_class
