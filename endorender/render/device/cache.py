"""What is prepared once and used for many frames: volumes with their cells, tables, kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

_per_object: list[WeakKeyDictionary] = []
_kernels: list[Any] = []


def per_object(function: Callable[..., Any]) -> Callable[..., Any]:
    """Memoise f(object, *hashable) for as long as the object lives, sixteen results an object."""
    memory: WeakKeyDictionary = WeakKeyDictionary()
    _per_object.append(memory)

    @functools.wraps(function)
    def call(obj: Any, *args: Any) -> Any:
        results = memory.setdefault(obj, {})
        if args not in results:
            while len(results) >= 16:
                results.pop(next(iter(results)))
            results[args] = function(obj, *args)
        return results[args]

    return call


def kernels(function: Callable[..., Any]) -> Callable[..., Any]:
    """Memoise a factory of kernels until Taichi is started again."""
    cached = functools.cache(function)
    _kernels.append(cached)
    return cached


def forget() -> None:
    """Drop everything that belongs to the Taichi run that has ended."""
    for memory in _per_object:
        memory.clear()
    for factory in _kernels:
        factory.cache_clear()
