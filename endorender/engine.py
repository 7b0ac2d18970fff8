"""The one place where Taichi is imported: `from endorender.engine import ti`.

Importing this module takes more than a second. Nothing that a listing, `--help` or a dataset reader
touches may import it at module level.
"""

import os
import warnings
from typing import Any

os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")
with warnings.catch_warnings():
    # Taichi 1.7.4 asks the locale with a call that Python 3.11 deprecates.
    warnings.filterwarnings("ignore", message=".*getdefaultlocale.*", category=DeprecationWarning)
    import taichi as ti
    from taichi.lang.ast import ast_transformer_utils as _reading


def _place(self: Any, node: Any) -> str:
    """Where a node of a kernel's source stands, for Taichi's complaints: file, line and the line's text.

    Taichi 1.7.4 words this for every node that it reads, whether or not there is something to complain about. Its own
    wording, wrapped and underlined, takes 45 % of the time in which a kernel is read.
    """
    line = self.src[node.lineno - 1].rstrip()
    return f'File "{self.file}", line {node.lineno + self.lineno_offset}, in {self.func.func.__name__}:\n{line}\n'


_reading.ASTTransformerContext.get_pos_info = _place

__all__ = ["ti"]
