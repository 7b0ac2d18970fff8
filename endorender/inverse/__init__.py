"""Fitting scenes to pictures: rendering as a torch function, with the camera's response behind it."""

from endorender.inverse.autograd import render
from endorender.inverse.parameters import names as parameter_names
from endorender.inverse.response import Response

__all__ = ["Response", "parameter_names", "render"]
