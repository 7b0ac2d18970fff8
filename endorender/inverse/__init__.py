"""Fitting scenes to pictures: rendering as a torch function, the camera's response behind it, and fits of both."""

from endorender.inverse.autograd import render
from endorender.inverse.calibrate import Calibrated, calibrate
from endorender.inverse.fit import Fit, Plan, fit
from endorender.inverse.parameters import names as parameter_names
from endorender.inverse.response import Response

__all__ = ["Calibrated", "Fit", "Plan", "Response", "calibrate", "fit", "parameter_names", "render"]
