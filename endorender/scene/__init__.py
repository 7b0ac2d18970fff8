"""What there is to see: tissue, phase functions, surface, lights, cameras, and the scene that holds them."""

from endorender.scene import lamps, lenses, surfaces  # what stands there registers itself: a file is all that it takes
from endorender.scene.camera import Pinhole, ThinLens, cameras
from endorender.scene.environment import Constant, EnvironmentMap
from endorender.scene.lamps.area import Disk, Rectangle, Ring
from endorender.scene.lamps.directional import Directional
from endorender.scene.lamps.endoscope import Endoscope
from endorender.scene.lamps.point import Point, Spot
from endorender.scene.lenses.brown_conrady import BrownConrady
from endorender.scene.lenses.fisheye import Fisheye
from endorender.scene.lenses.scaramuzza import Scaramuzza
from endorender.scene.light import lights
from endorender.scene.looks import LOOKS, Look
from endorender.scene.mucosa import Mucosa, mucosas
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
from endorender.scene.physical import MucosaPhysical
from endorender.scene.posefile import pose_files
from endorender.scene.response import Response
from endorender.scene.scene import GridMedium, Scene
from endorender.scene.scope import Scope, scopes
from endorender.scene.slicer import SlicerPreset
from endorender.scene.surface import Coat, WetGGX, coats
from endorender.scene.tissue import Tissue, tissues

__all__ = [
    "LOOKS",
    "BrownConrady",
    "Coat",
    "Constant",
    "CornetteShanks",
    "Directional",
    "Disk",
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
    "Mucosa",
    "MucosaPhysical",
    "Pinhole",
    "Point",
    "Rayleigh",
    "Rectangle",
    "Response",
    "Ring",
    "Scaramuzza",
    "Scene",
    "Schlick",
    "Scope",
    "SlicerPreset",
    "Spot",
    "Tabulated",
    "ThinLens",
    "Tissue",
    "VonMisesFisher",
    "WetGGX",
    "cameras",
    "coats",
    "lamps",
    "lenses",
    "lights",
    "mucosas",
    "phase_functions",
    "pose_files",
    "scopes",
    "surfaces",
    "tissues",
]
