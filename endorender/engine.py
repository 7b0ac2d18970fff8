"""The one place where Taichi is imported: `from endorender.engine import ti`.

Importing this module takes more than a second. Nothing that a listing, `--help` or a dataset reader
touches may import it at module level.

ENDORENDER_ENGINE=quadrants takes Quadrants, the maintained fork of Taichi, in its place.
"""

import contextlib
import importlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from endorender.generator import absent, engine_name

NAME = engine_name()
OWN_SETTINGS = ("ARCH", "OFFLINE_CACHE_FILE_PATH")  # of the engine's variables, those that `init` says itself

# A progress bar replaces sys.stdout. Taichi would take that for a notebook's, and say so in the middle of the bar.
os.environ.setdefault("TI_ENABLE_PYBUF", "0")
os.environ.setdefault("QD_ENABLE_PYBUF", "0")
for _variable in ("ENABLE_TAICHI_HEADER_PRINT", "ENABLE_QUADRANTS_HEADER_PRINT"):
    os.environ.setdefault(_variable, "0")
# Every week Taichi 1.7.4 tells a server that it is used. A hospital's machine does not.
os.environ.setdefault("TI_SKIP_VERSION_CHECK", "ON")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Around what starts or ends the engine: without a home both abort the process, and variables may overrule us."""
    changed: dict[str, str | None] = {f"{short}_{name}": None for short in ("TI", "QD") for name in OWN_SETTINGS}
    if not {"HOME", "XDG_CACHE_HOME"} & set(os.environ):
        changed["XDG_CACHE_HOME"] = tempfile.gettempdir()
    before = {name: os.environ.pop(name, None) for name in changed}
    os.environ.update({name: value for name, value in changed.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _imported() -> Any:
    with undisturbed(), warnings.catch_warnings():
        # Taichi 1.7.4 asks the locale with a call that Python 3.11 deprecates; 3.11.2 does not name it.
        warnings.filterwarnings("ignore", message=".*getlocale\\(\\) instead", category=DeprecationWarning)
        try:
            return importlib.import_module(NAME)
        except ModuleNotFoundError as error:
            if error.name != NAME:
                raise
            raise absent(NAME) from None


if TYPE_CHECKING:
    import taichi as ti
else:
    ti = _imported()
VERSION = ".".join(map(str, ti.__version__))
CompilationError = getattr(ti, "TaichiCompilationError", None) or ti.QuadrantsCompilationError

if (NAME, VERSION) == ("taichi", "1.7.4"):
    from endorender.taichi_174 import patch

    patch()


def runtime() -> Any:
    """What the engine's last start made; each start makes another one."""
    return ti.lang.impl.get_runtime()


def started() -> bool:
    """Whether the engine runs, whoever started it."""
    made = runtime()
    return (made._prog if hasattr(made, "_prog") else made.prog) is not None


__all__ = ["CompilationError", "runtime", "started", "ti", "undisturbed"]
