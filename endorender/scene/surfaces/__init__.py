"""Surfaces beside `endorender.scene.surface`'s own: a file here that registers a `Coat` is found by itself."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
