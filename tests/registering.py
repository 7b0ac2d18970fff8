"""Classes that are registered from outside, for as long as a test needs them."""

import contextlib


@contextlib.contextmanager
def registered(registry, name, cls):
    """Within, the class is known under this name."""
    before = registry._classes, registry._cases
    registry._classes, registry._cases = dict(before[0]), dict(before[1])
    registry.register(name)(cls)
    try:
        yield
    finally:
        registry._classes, registry._cases = before
