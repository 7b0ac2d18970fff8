"""What there is to see: tissue, phase functions, surface, lights, cameras, and the scene that holds them."""

from endorender.scene.camera import Pinhole, ThinLens, cameras
from endorender.scene.distorted import BrownConrady, Fisheye, Scaramuzza
from endorender.scene.light import Constant, Endoscope, EnvironmentMap, Point, lights
from endorender.scene.looks import LOOKS, Look
from endorender.scene.phase import (
    DoubleHenyeyGreenstein,
    HenyeyGreenstein,
    Isotropic,
    Rayleigh,
    Schlick,
    VonMisesFisher,
    phase_functions,
)
from endorender.scene.phase_mie import CornetteShanks, Draine, HGDraine
from endorender.scene.phase_table import Tabulated
from endorender.scene.response import Response
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import Tissue, tissues

__all__ = [
    "LOOKS",
    "BrownConrady",
    "Constant",
    "CornetteShanks",
    "DoubleHenyeyGreenstein",
    "Draine",
    "Endoscope",
    "EnvironmentMap",
    "Fisheye",
    "GridMedium",
    "HGDraine",
    "HenyeyGreenstein",
    "Isotropic",
    "Look",
    "Pinhole",
    "Point",
    "Rayleigh",
    "Response",
    "Scaramuzza",
    "Scene",
    "Schlick",
    "Tabulated",
    "ThinLens",
    "Tissue",
    "VonMisesFisher",
    "cameras",
    "lights",
    "phase_functions",
    "tissues",
]
