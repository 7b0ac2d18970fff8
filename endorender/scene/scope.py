"""Endoscopes as bodies: the room that an instrument takes at its lens and behind it.

The lens sits in the middle of the tip's face, our choice. A name is the maker's; the diameter is that of the outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from endorender.ct.anatomy.lumen import Lumen, sample
from endorender.ct.volume import Volume
from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

scopes = Registry("scope")
AROUND = np.linspace(0, 2 * np.pi, 24, endpoint=False)
FACE = np.array([0.0, 0.25, 0.5, 0.75])  # of the radius, where the face is looked at besides its rim


class Scope(Model):
    """A stiff cylinder behind the lens; what follows bends."""

    diameter: float = Field(gt=0, le=40, description="outside, mm")
    rigid: float = Field(10.0, ge=0, le=100, description="length of the stiff end behind the lens, mm; our choice")

    @property
    def radius(self) -> float:
        """mm."""
        return self.diameter / 2

    def fits(self, volume: Volume, lumen: Lumen, poses: Float[np.ndarray, "V 4 4"]) -> Bool[np.ndarray, " V"]:
        """(V,) bool: whether the stiff end is free of tissue at world_from_camera (V, 4, 4).

        Its outside, the face first, lies in air on the trilinear HU field, and its axis keeps from the wall, as the
        lumen's map has it, what of the radius lies behind the face, to a voxel. The wall before the lens may be as near
        as one likes.
        """
        back = np.linspace(0, self.rigid, 2 + int(self.rigid))
        axis = np.stack([0 * back, 0 * back, -back], -1)
        rim = self.radius * np.stack([np.cos(AROUND), np.sin(AROUND), 0 * AROUND], -1)
        skin = np.concatenate([(FACE[:, None, None] * rim).reshape(-1, 3), (axis[:, None] + rim).reshape(-1, 3)])
        turn, at = poses[:, None, :3, :3], poses[:, None, :3, 3]
        room = sample(volume, lumen.clearance, (turn @ axis[..., None])[..., 0] + at)
        hu = sample(volume, volume.hu, (turn @ skin[..., None])[..., 0] + at)
        # Beyond the scan's edge `sample` is 0 HU: tissue.
        free = (room >= np.minimum(back, self.radius) - np.max(volume.spacing)).all(1)
        return np.asarray(free & (room[:, 0] > 0) & (hu < lumen.threshold).all(1))


@scopes.register("own", cases=[{"diameter": 8.0}, {"diameter": 2.8, "rigid": 5.0}])
class Own(Scope):
    """An instrument of one's own; `--scope 8` is short for it."""


@scopes.register("cf-hq190l")
class CFHQ190L(Scope):
    """Olympus CF-HQ190L, colonoscope: the one of C3VD. Tip of 13.2 mm, as listed with its calibrations."""

    diameter: float = Field(13.2, gt=0, le=40, description="outside, mm")


@scopes.register("pcf-ph190l")
class PCFPH190L(Scope):
    """Olympus PCF-PH190L, ultraslim colonoscope, also for children. Cureus 2019, article 17807: 9.7 mm."""

    diameter: float = Field(9.7, gt=0, le=40, description="outside, mm")


@scopes.register("eb-1570k")
class EB1570K(Scope):
    """Pentax EB-1570K, bronchoscope. University of Toronto, Perioperative Interactive Education: 5.5 mm."""

    diameter: float = Field(5.5, gt=0, le=40, description="outside, mm")


@scopes.register("bf-p160")
class BFP160(Scope):
    """Olympus BF-P160, bronchoscope. The same source: 4.9 mm."""

    diameter: float = Field(4.9, gt=0, le=40, description="outside, mm")


@scopes.register("lf-v")
class LFV(Scope):
    """Olympus LF-V, thin scope for intubation. The same source: 4.1 mm."""

    diameter: float = Field(4.1, gt=0, le=40, description="outside, mm")
