"""What there is to see: tissue, phase functions, surface, lights, cameras, and the scene that holds them."""

from endorender.scene.camera import Fisheye, Pinhole, cameras
from endorender.scene.environment import Constant, EnvironmentMap
from endorender.scene.light import Directional, Disk, Endoscope, Point, Rectangle, Ring, Spot, lights
from endorender.scene.looks import LOOKS, Look
from endorender.scene.phase import HenyeyGreenstein, Isotropic, phase_functions
from endorender.scene.response import Response
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.tissue import Tissue, tissues

__all__ = [
    "LOOKS",
    "Constant",
    "Directional",
    "Disk",
    "Endoscope",
    "EnvironmentMap",
    "Fisheye",
    "GridMedium",
    "HenyeyGreenstein",
    "Isotropic",
    "Look",
    "Pinhole",
    "Point",
    "Rectangle",
    "Response",
    "Ring",
    "Scene",
    "Spot",
    "Tissue",
    "cameras",
    "lights",
    "phase_functions",
    "tissues",
]
