"""The scene: everything a picture depends on but its noise."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from endorender.ct.volume import Volume, checked_affine, matrix, refuse_no_array
from endorender.errors import UserError
from endorender.scene.camera import cameras
from endorender.scene.halfspace import Wall
from endorender.scene.light import lights
from endorender.scene.mucosa import Mucosa, mucosas
from endorender.scene.phase import HenyeyGreenstein, phase_functions
from endorender.scene.surface import WetGGX, coats
from endorender.scene.tissue import Tissue, tissues

if TYPE_CHECKING:
    from jaxtyping import Real, Shaped, UInt8

Surface = Literal["interface", "hybrid", "volume"]
Boundary = Literal["straight", "refracting"]
# Mean free paths to a voxel's edge beyond which float32 no longer resolves the medium; docs/rendering.md has what was
# measured. A path starts again a thousandth of a voxel beyond a wall, and what lies between is skipped.
WET = WetGGX()
DENSEST = {"interface": 100.0, "hybrid": 1000.0, "volume": 1000.0}


@dataclass(frozen=True, eq=False)
class Mask:
    """An array that counts as equal to itself alone, so that what depends on it can be cached."""

    values: Shaped[np.ndarray, " ..."]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and other.values is self.values

    def __hash__(self) -> int:
        return id(self.values)


@dataclass(frozen=True)
class Labelling:
    """Tissues by label. mask: (I, J, K) uint8. tissues: (label, its tissue), by rising label."""

    mask: Mask
    tissues: tuple[tuple[int, Tissue], ...]


@dataclass(frozen=True, eq=False)
class GridMedium:
    """Optics given directly on a grid, for reference scenes and for fitting. It fills its voxels' full extent.

    sigma_t: (I, J, K) float32 mm⁻¹. albedo: (I, J, K, 3) float32. affine: (4, 4) world_from_voxel, mm.
    phase: one phase function for the whole grid. Raises UserError for numbers that are no optics.
    """

    sigma_t: Real[np.ndarray, "I J K"]
    albedo: Real[np.ndarray, "I J K 3"]
    affine: Real[np.ndarray, "4 4"]
    phase: Any = dataclasses.field(default_factory=HenyeyGreenstein)

    def __post_init__(self) -> None:
        refuse_no_array(self.sigma_t, "sigma_t", "(I, J, K)")
        refuse_no_array(self.albedo, "albedo", "(I, J, K, 3)")
        if self.sigma_t.ndim != 3 or not self.sigma_t.size or self.albedo.shape != (*self.sigma_t.shape, 3):
            raise UserError(
                f"sigma_t must be (I, J, K) and albedo (I, J, K, 3), got {self.sigma_t.shape} and {self.albedo.shape}",
                "INVALID_VALUE",
            )
        # The smallest and the greatest are NaN where any voxel is, and a comparison with NaN is false.
        if not (self.sigma_t.min() >= 0 and self.sigma_t.max() <= np.finfo(np.float32).max):
            raise UserError("sigma_t must be >= 0 and finite everywhere", "INVALID_VALUE")
        if not (self.albedo.min() >= 0 and self.albedo.max() <= 1):
            raise UserError("albedo must be in [0, 1] everywhere", "INVALID_VALUE")
        object.__setattr__(self, "affine", checked_affine(self.affine))
        object.__setattr__(self, "phase", phase_functions.build(self.phase))


def checked_pose(pose: Any) -> Real[np.ndarray, "4 4"]:
    """A world_from_camera: (4, 4), a rotation without mirror, the last row 0 0 0 1. Raises UserError for others."""
    pose = matrix(pose, "world_from_camera must be a (4, 4) rigid transform of finite numbers")
    turn = pose[:3, :3]
    if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-5) or not np.allclose(pose[3], (0, 0, 0, 1), atol=1e-6):
        raise UserError(
            "world_from_camera must be a (4, 4) rigid transform: columns of length 1 at right angles, the last row "
            "0 0 0 1",
            "INVALID_VALUE",
        )
    if np.linalg.det(turn) < 0:
        raise UserError(
            "world_from_camera mirrors: camera axes are x right, y down, z forward (OpenCV)", "INVALID_VALUE"
        )
    return pose


@dataclass(frozen=True, eq=False)
class Scene:
    """One view of one volume under one condition.

    medium: a CT `Volume`, seen through `tissue`, or a `GridMedium`.
    threshold: HU of the lumen's wall (the iso-surface that is the geometry); unused for a GridMedium.
    world_from_camera: (4, 4), RAS mm, OpenCV camera axes.
    surface: what happens at the wall: `interface` (a wet GGX coat on the root-found iso-surface), `hybrid` (BSDF or
    phase by gradient at each collision; Kroes et al. 2012), `volume` (no surface events).
    boundary: what the wall of `interface` does to light that passes: `straight` (it goes on undeviated, and what would
    be reflected back into the tissue is lost), `refracting` (Snell's law, internal reflection).
    coat: what the wall does to light, or a surface of `hybrid` (see `scene.surface`): what it mirrors, and, where it is
    a cover or a border, what becomes of the rest.
    mucosa: vessels, mottling and a wavy film (`interface` only), or None. Appearance only.
    max_scatterings: the longest path; the default never binds in tissue. Some 200 000 are traced at most.
    labels: (I, J, K) uint8 on the medium's grid, or None. label_tissues: {label: tissue}: in voxels of that label
    (nearest voxel) all optics are those of its tissue; any other label counts as 0, which is `tissue`. Geometry does
    not depend on labels. All tissues of a scene have one class of phase function and one `similarity_after`.

    Raises UserError for what is no scene, and (TOO_DENSE) for extinctions above `densest()`.
    """

    medium: Volume | GridMedium
    camera: Any
    world_from_camera: Real[np.ndarray, "4 4"]
    lights: tuple[Any, ...]
    tissue: Tissue = dataclasses.field(default_factory=Tissue)
    threshold: float = -550.0
    surface: Surface = "interface"
    mucosa: Mucosa | None = None
    max_scatterings: int = 10_000
    labels: UInt8[np.ndarray, "I J K"] | None = None
    label_tissues: Mapping[int, Tissue] = dataclasses.field(default_factory=dict)
    boundary: Boundary = "straight"
    coat: Any = WET

    def __post_init__(self) -> None:
        if not isinstance(self.medium, (Volume, GridMedium)):
            raise UserError("the medium of a scene is a Volume or a GridMedium", "INVALID_VALUE")
        object.__setattr__(self, "camera", cameras.build(self.camera))
        object.__setattr__(self, "world_from_camera", checked_pose(self.world_from_camera))
        if not isinstance(self.threshold, numbers.Real) or not np.isfinite(self.threshold):
            raise UserError(f"the threshold must be a finite HU, got {self.threshold}", "INVALID_VALUE")
        if (
            not isinstance(self.max_scatterings, numbers.Real)
            or not 0 <= self.max_scatterings < 1 << 24
            or self.max_scatterings != int(self.max_scatterings)
        ):
            raise UserError(
                f"max_scatterings must be a whole number from 0 to 16777215, got {self.max_scatterings}",
                "INVALID_VALUE",
            )
        if self.surface not in ("interface", "hybrid", "volume"):
            raise UserError(f"surface is interface, hybrid or volume, got {self.surface!r}", "INVALID_VALUE")
        if self.boundary not in ("straight", "refracting"):
            raise UserError(f"boundary is straight or refracting, got {self.boundary!r}", "INVALID_VALUE")
        if self.boundary == "refracting" and self.surface != "interface":
            raise UserError("light refracts at a wall: boundary refracting needs surface interface", "INVALID_VALUE")
        if isinstance(self.medium, GridMedium) and self.surface != "volume":
            raise UserError("a GridMedium has no wall: its surface mode is 'volume'", "INVALID_VALUE")
        if self.mucosa is not None and self.surface != "interface":
            raise UserError("the mucosa layer lies on a wall: it needs the surface mode 'interface'", "INVALID_VALUE")
        if not isinstance(self.lights, (list, tuple)) or not self.lights:
            raise UserError("a scene needs a light: lights is a list of them, as [Endoscope()]", "INVALID_VALUE")
        object.__setattr__(self, "coat", coats.build(self.coat))
        if self.surface != "volume" and (reason := self.coat.clash(self.surface, self.boundary)):
            raise UserError(reason, "INVALID_VALUE")
        object.__setattr__(self, "lights", tuple(lights.build(light) for light in self.lights))
        if self.mucosa is not None:
            object.__setattr__(self, "mucosa", mucosas.build(self.mucosa))
        wall: Wall = self.boundary if self.surface == "interface" else "open"
        object.__setattr__(self, "tissue", tissues.build(self.tissue).behind(wall))
        if self.labels is not None:
            object.__setattr__(self, "labels", self._checked_labels(self.labels))
        if not isinstance(self.label_tissues, Mapping) or not all(
            isinstance(n, numbers.Integral) for n in self.label_tissues
        ):
            raise UserError("label_tissues is a mapping from labels, whole numbers, to tissues", "INVALID_VALUE")
        listed = sorted((label, tissues.build(tissue).behind(wall)) for label, tissue in self.label_tissues.items())
        object.__setattr__(self, "label_tissues", dict(listed))
        if listed and self.labels is None:
            raise UserError("tissues by label need a mask of labels", "INVALID_VALUE")
        for label, tissue in listed:
            self._refuse_label(label, tissue)
        if self.surface != "volume":
            for tissue in self.tissues:
                roughness, _, ior = tissue.coats().min(0).tolist()
                if reason := self.coat.unfit(roughness, ior):
                    raise UserError(reason, "INVALID_VALUE")
        self._refuse_dense()

    def __repr__(self) -> str:
        camera, shown = self.camera, ", ".join(lights.name_of(type(light)) for light in self.lights)
        at = ", ".join(f"{x:.4g}" for x in self.world_from_camera[:3, 3])
        medium = repr(self.medium) if isinstance(self.medium, Volume) else f"GridMedium{self.medium.sigma_t.shape}"
        kind = cameras.name_of(type(camera))
        return f"Scene({medium}, {kind} {camera.width}x{camera.height} at ({at}) mm, {shown}, {self.surface})"

    def _repr_png_(self) -> bytes | None:
        """Where it is seen from, for notebooks; None of optics on a grid, and of a camera outside the volume."""
        from endorender.scene.map import map_png

        return map_png(self.medium, self.world_from_camera) if isinstance(self.medium, Volume) else None

    def _checked_labels(self, labels: Any) -> np.ndarray:
        try:
            labels = np.asarray(labels)
        except ValueError:  # lists of several lengths
            raise UserError("labels must be an array (I, J, K) of whole numbers", "INVALID_VALUE") from None
        if isinstance(self.medium, GridMedium):
            raise UserError("labels choose tissues: a GridMedium has none", "INVALID_VALUE")
        if labels.shape != self.medium.hu.shape:
            raise UserError(f"labels are {labels.shape}, the volume is {self.medium.hu.shape}", "INVALID_VALUE")
        if labels.dtype.kind not in "bui" or (
            labels.dtype != np.uint8 and not (labels.min() >= 0 and labels.max() <= 255)
        ):
            raise UserError("labels must be whole numbers from 0 to 255", "INVALID_VALUE")
        return labels.astype(np.uint8, copy=False)

    def densest(self) -> float:
        """The highest extinction that the medium's grid resolves, mm⁻¹."""
        edges = np.linalg.norm(np.asarray(self.medium.affine, float)[:3, :3], axis=0)
        # A wall's nudge is a share of the shortest edge; rounding is worst, in mm, along the longest.
        return DENSEST[self.surface] / float(edges.min() if self.surface == "interface" else edges.max())

    def _refuse_dense(self) -> None:
        medium, most = self.medium, self.densest()
        if isinstance(medium, GridMedium):
            found, way_out = float(medium.sigma_t.max()), "lower it"
        else:
            found = max(max(t.sigma_t) for t in self.tissues)
            way_out = "lower sigma_t (or density), or refine the grid"
        if found > most:
            raise UserError(
                f"sigma_t is {found:.4g} mm⁻¹, and voxels of this size resolve up to {most:.4g} "
                f"({DENSEST[self.surface]:g} mean free paths to a voxel): {way_out}",
                "TOO_DENSE",
            )

    def _refuse_label(self, label: int, tissue: Tissue) -> None:
        if not 1 <= label <= 255:
            raise UserError(f"a label is from 1 to 255, got {label}; 0 is the scene's own tissue", "INVALID_VALUE")
        if reason := tissue.clash(self.tissue):
            raise UserError(f"label {label}: {reason}", "INVALID_VALUE")

    @property
    def phase(self) -> Any:
        """The phase function at every collision."""
        return self.medium.phase if isinstance(self.medium, GridMedium) else self.tissue.phase

    @property
    def labelling(self) -> Labelling | None:
        """Labels and their tissues where there are any; hashable."""
        if self.labels is None or not self.label_tissues:
            return None
        return Labelling(Mask(self.labels), tuple(self.label_tissues.items()))

    @property
    def tissues(self) -> tuple[Tissue, ...]:
        """The scene's tissue, then those of the labels."""
        return (self.tissue, *self.label_tissues.values())

    def with_(self, **changes: Any) -> Scene:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """All but the medium and the mask of labels on its grid, as JSON-ready values."""
        # Scenes from before there were several coats name none.
        coat = {} if self.coat == WET else {"coat": coats.dump(self.coat)}
        return {
            "camera": cameras.dump(self.camera),
            "world_from_camera": np.asarray(self.world_from_camera, float).tolist(),
            "lights": [lights.dump(light) for light in self.lights],
            "tissue": tissues.dump(self.tissue),
            "threshold": float(self.threshold),
            "surface": self.surface,
            "boundary": self.boundary,
            "mucosa": None if self.mucosa is None else mucosas.dump(self.mucosa),
            "max_scatterings": self.max_scatterings,
            "label_tissues": {str(label): tissues.dump(tissue) for label, tissue in self.label_tissues.items()},
            **coat,
        }

    @classmethod
    def from_dict(
        cls, medium: Volume | GridMedium, values: Mapping[str, Any], labels: Shaped[np.ndarray, "I J K"] | None = None
    ) -> Scene:
        """Inverse of `to_dict`; unknown keys are refused."""
        known = {f.name for f in dataclasses.fields(cls)} - {"medium", "labels"}
        if unknown := set(values) - known:
            raise UserError(f"scene: unknown key {sorted(unknown)[0]!r}", "INVALID_VALUE")
        built = dict(values)
        built["camera"] = cameras.build(values["camera"])
        built["lights"] = tuple(lights.build(light) for light in values["lights"])
        built["world_from_camera"] = np.asarray(values["world_from_camera"], float)
        if "tissue" in values:
            built["tissue"] = tissues.build(values["tissue"])
        if values.get("mucosa") is not None:
            built["mucosa"] = mucosas.build(values["mucosa"])
        if "label_tissues" in values:
            built["label_tissues"] = {int(label): tissues.build(t) for label, t in values["label_tissues"].items()}
        return cls(medium, **built, labels=labels)
