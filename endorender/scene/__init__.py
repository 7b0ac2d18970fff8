"""What there is to see: tissue, phase functions, surface, lights, cameras, and the scene that holds them."""

from endorender.scene.camera import Fisheye, Pinhole, cameras
from endorender.scene.light import Constant, Endoscope, EnvironmentMap, Point, lights
from endorender.scene.looks import LOOKS, Look
from endorender.scene.mucosa import Mucosa, mucosas
from endorender.scene.phase import HenyeyGreenstein, Isotropic, phase_functions
from endorender.scene.physical import MucosaPhysical
from endorender.scene.response import Response
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import Tissue, tissues

__all__ = [
    "LOOKS",
    "Constant",
    "Endoscope",
    "EnvironmentMap",
    "Fisheye",
    "GridMedium",
    "HenyeyGreenstein",
    "Isotropic",
    "Look",
    "Mucosa",
    "MucosaPhysical",
    "Pinhole",
    "Point",
    "Response",
    "Scene",
    "Tissue",
    "cameras",
    "lights",
    "mucosas",
    "phase_functions",
    "tissues",
]
