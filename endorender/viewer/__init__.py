"""A page to look around in: a CT with its lumen, or a dataset with its frames. Needs the extra `view`."""

from endorender.viewer.page import view

__all__ = ["view"]
