"""What every layout shares: the registry, frames that come from other people's files, numbers in 16 bits."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from endorender import pictures
from endorender.dataset.frame import MARKS, Dataset, File, Frame
from endorender.errors import UserError
from endorender.registry import Model, Registry

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Integer, Real, Shaped, UInt8, UInt16

layouts = Registry("layout")
NAMES = "sequences.json"  # ours
Split = tuple[str, list[Frame]]  # name, its frames in the manifest's order


class Layout(Model):
    """How somebody arranges frames on disk. Its fields are what the format leaves open."""

    EXTRA: ClassVar[tuple[str, ...]] = ()  # modules of the extra `export` that writing or reading needs
    READS: ClassVar[bool] = False  # whether `read` is there
    WRITES: ClassVar[bool] = True  # whether `write` is

    def write(self, splits: Sequence[Split], out: Path) -> None:
        """Write the frames into the empty folder `out`."""
        raise TypeError("a layout defines how it writes")  # pragma: no cover

    def read(self, root: Path) -> list[ForeignFrame]:
        """The frames below `root`."""
        raise TypeError("a layout that reads defines how")  # pragma: no cover


@dataclass(frozen=True)
class ForeignFrame:
    """A frame in another layout, with the interface of `endorender.dataset.Frame` that training and checks use.

    camera: a model of `endorender.scene.cameras` as a mapping, None where no intrinsics are known: then there is no
    distance along the ray. world_from_camera: None where no pose is known.
    paths: the files behind image and depth, by kind.
    load_image: -> (H, W, 3) uint8. load_depth: -> (H, W) float z-depth in mm, NaN where invalid.
    load_normal: -> (H, W, 3) unit, camera frame, or None where the layout holds none.
    volume: of frames that endorender exported, hashes of the CT as in a manifest; else empty, for no CT is known.
    home: as `Frame.home`; set by `foreign_dataset`.
    """

    id: str
    patient: str
    view: int
    variation: str
    camera: dict[str, Any] | None
    world_from_camera: tuple[tuple[float, ...], ...] | None
    paths: dict[str, Path]
    load_image: Callable[[], UInt8[np.ndarray, "H W 3"]]
    load_depth: Callable[[], Float[np.ndarray, "H W"]]
    load_normal: Callable[[], Float[np.ndarray, "H W 3"]] | None = None
    volume: dict[str, Any] = field(default_factory=dict)
    home: tuple[str, ...] = ()

    @property
    def K(self) -> tuple[tuple[float, ...], ...] | None:
        """(3, 3) intrinsics in pixels; of a distorted camera the part without distortion. None: not known."""
        if self.camera is None:
            return None
        return tuple(map(tuple, _camera(json.dumps(self.camera)).K.tolist()))

    @property
    def files(self) -> dict[str, File]:
        """Name and SHA-256 of the files behind image and depth."""
        from endorender.dataset.writer import sha256

        return {kind: File(path=path.name, sha256=sha256(path)) for kind, path in self.paths.items()}

    def path(self, kind: str) -> Path:
        """Where the file of this kind ("image", "geometry") lies."""
        return self.paths[kind]

    def image(self) -> UInt8[np.ndarray, "H W 3"]:
        """(H, W, 3) uint8: the display image."""
        return self.load_image()

    def geometry(self) -> dict[str, Shaped[np.ndarray, "H W *channels"]]:
        """z_depth, distance: (H, W) float32 mm, NaN where invalid; mask: (H, W) bool; normal if the layout holds it."""
        z = self.load_depth().astype(np.float32)
        if self.camera is None:
            return {"z_depth": z, "mask": np.isfinite(z)}
        cosine = _cosines(json.dumps(self.camera))
        if z.shape != cosine.shape:
            raise UserError(
                f"frame {self.id}: depth of {z.shape[1]}x{z.shape[0]} px under a camera of "
                f"{cosine.shape[1]}x{cosine.shape[0]}: image and depth must have one size",
                "LAYOUT_SIZE",
            )
        # No z-depth belongs to a ray that looks sideways, as those of C3VD's corners do.
        distance = (z / cosine).astype(np.float32)
        mask = np.isfinite(distance)
        found = {"z_depth": np.where(mask, z, np.float32(np.nan)), "distance": distance, "mask": mask}
        if self.load_normal is not None:
            found["normal"] = np.where(found["mask"][..., None], self.load_normal(), np.nan).astype(np.float32)
        return found

    def depth(self, name: str = "surface") -> dict[str, Float32[np.ndarray, "H W"]]:
        """z_depth and distance of the surface, the only definition that other layouts hold."""
        if name != "surface":
            raise UserError(f"{self.id} holds no {name} depth", "NO_DEPTH")
        geometry = self.geometry()
        return {key: geometry[key] for key in ("z_depth", "distance") if key in geometry}


@functools.lru_cache(maxsize=64)
def _camera(spec: str) -> Any:
    from endorender.scene.camera import cameras

    return cameras.build(json.loads(spec))


@functools.lru_cache(maxsize=4)
def _cosines(spec: str) -> np.ndarray:
    """(H, W) z of each pixel's unit ray: z-depth / distance. NaN where a ray looks sideways or back."""
    camera = _camera(spec)
    z = camera.unproject(camera.pixels())[..., 2]
    return np.where(z > 1e-6, z, np.nan)


def foreign_dataset(root: Path, frames: list[ForeignFrame], split: str) -> Dataset:
    """Frames of another layout as a dataset; all patients lie in one split."""
    patients = list(dict.fromkeys(f.patient for f in frames))
    info = {
        "patients": patients,
        "variations": list(dict.fromkeys(f.variation for f in frames)),
        "frames": len(frames),
        "splits": {name: patients if name == split else [] for name in ("train", "val", "test")},
    }
    here = str(root.resolve())
    frames = [dataclasses.replace(frame, home=(here, frame.patient)) for frame in frames]
    return Dataset(root, info, frames)  # type: ignore[arg-type]  # the same interface


def sequences(splits: Sequence[Split]) -> list[tuple[str, str, list[Frame]]]:
    """(patient, variation, frames by view) of all frames: one folder each in layouts of videos."""
    found: dict[tuple[str, str], list[Frame]] = {}
    for _, frames in splits:
        for frame in frames:
            found.setdefault((frame.patient, frame.variation), []).append(frame)
    return [(p, v, sorted(frames, key=lambda f: f.view)) for (p, v), frames in found.items()]


def write_names(out: Path, folders: Mapping[str, Frame]) -> None:
    """sequences.json: whom each folder below `out` shows, in which variation and size, and the hashes of the CT."""
    told = {
        folder: {
            "patient": frame.patient,
            "variation": frame.variation,
            "size": [int(frame.camera[side]) for side in ("width", "height")],
            "volume": {key: frame.volume[key] for key in MARKS if key in frame.volume},
        }
        for folder, frame in folders.items()
    }
    (out / NAMES).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def read_names(root: Path) -> dict[str, dict[str, Any]]:
    """What `write_names` wrote; empty where there is no such file, as in data that others made."""
    try:
        told = json.loads((root / NAMES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        raise damaged(root / NAMES) from None
    if not isinstance(told, dict) or not all(isinstance(own, dict) for own in told.values()):
        raise damaged(root / NAMES)
    return told


def marks(own: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the CT in an entry of `read_names`."""
    told = own.get("volume")
    return {key: str(told[key]) for key in MARKS if key in told} if isinstance(told, dict) else {}


def one_camera(layout: str, frames: Sequence[Frame], told: Callable[[Frame], Any]) -> Any:
    """What a layout says of the camera, once for all of these frames. told: what it says for one of them.

    Raises UserError LAYOUT_CAMERA where frames differ in it: written once, it would be wrong for all but one.
    """
    first = told(frames[0])
    other = next((f for f in frames if f.camera != frames[0].camera and told(f) != first), None)
    if other is not None:
        raise UserError(
            f"{layout} holds one camera for all views of a patient, and {frames[0].id} and {other.id} have different "
            "ones: export as webdataset, hdf5 or huggingface (as nerfstudio if they are of one model), or render with "
            "a --camera that does not vary",
            "LAYOUT_CAMERA",
        )
    return first


def refuse_stretched(size: tuple[int, int], calibrated: tuple[int, int], file: str) -> None:
    """Pictures of another size than a camera was calibrated for are seen by it scaled, if they are a scaled copy.

    Both (width, height). Raises UserError LAYOUT_SIZE where they have another shape, by more than rounding to a pixel:
    cropped or stretched, which their size does not tell. file: where the right camera would be read from.
    """
    (width, height), (w, h) = size, calibrated
    if min(abs(width - w * height / h), abs(height - h * width / w)) > 1:
        raise UserError(
            f"the pictures are {width}x{height}, and their camera was calibrated for {w}x{h}, another shape: were they "
            f"cropped or stretched? Give the camera of these pictures in {file}",
            "LAYOUT_SIZE",
        )


def quantised(
    values: Real[np.ndarray, "*n"], scale: float, top: int, valid: Bool[np.ndarray, "*#n"]
) -> UInt16[np.ndarray, "*n"]:
    """(...) -> uint16 round(values * scale), held within 1..top where valid; 0 elsewhere."""
    levels = np.clip(np.round(np.nan_to_num(values) * scale), 1, top)
    return np.where(valid, levels, 0).astype(np.uint16)


def read_png(path: Path) -> Integer[np.ndarray, "H W *channels"]:
    """(H, W, 3) uint8, or (H, W) in the stored depth for grey pictures of 16 bits."""
    try:
        with pictures.opened(path) as picture:
            if picture.mode.startswith("I"):
                return np.asarray(picture).astype(np.uint16)
            return np.asarray(picture.convert("RGB"))
    except pictures.Broken:
        raise damaged(path) from None


def write_png16(path: Path, levels: UInt16[np.ndarray, "H W"]) -> None:
    """(H, W) uint16 as a grey PNG."""
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(levels, np.uint16)).save(path, format="PNG")


def read_tiff(path: Path) -> Real[np.ndarray, "H W *channels"]:
    """The array of a TIFF."""
    import tifffile

    try:
        return np.asarray(tifffile.imread(path))
    except Exception:  # as with other pictures: whatever a damaged file makes of it
        raise damaged(path) from None


def write_tiff(path: Path, levels: UInt16[np.ndarray, "H W *channels"]) -> None:
    """uint16 (H, W) or (H, W, 3) as TIFF without a word about software or time."""
    import tifffile

    kind = "rgb" if levels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, levels, photometric=kind, software="", datetime=None, metadata=None)


def read_table(path: Path, columns: int) -> Float64[np.ndarray, "N {columns}"]:
    """(N, columns) numbers of a text file, separated by commas or white space."""
    try:
        rows = [line.replace(",", " ").split() for line in path.read_text(encoding="utf-8").splitlines()]
        table = np.array([[float(x) for x in row] for row in rows if row])
    except (OSError, ValueError):
        raise damaged(path) from None
    if table.ndim != 2 or table.shape[1] != columns or not np.isfinite(table).all():
        raise UserError(f"{path.name} must hold {columns} numbers in each line", "LAYOUT_DAMAGED")
    return table


def write_table(path: Path, rows: Real[np.ndarray, "N columns"], separator: str) -> None:
    """Numbers that read back as the same float64."""
    lines = [separator.join(f"{x:.17g}" for x in row) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture, without decoding it."""
    try:
        with pictures.opened(path) as picture:
            width, height = picture.size
            return width, height
    except pictures.Broken:
        raise damaged(path) from None


def numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """Files of a folder by the number that leads their name (however it is padded). pattern: regular expression."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if match := re.fullmatch(pattern, path.name):
            found[int(match[1])] = path
    return found


def rigid(pose: Real[np.ndarray, "4 4"], what: str) -> tuple[tuple[float, ...], ...]:
    """(4, 4) -> rows, if it is a rotation and a translation."""
    r = pose[:3, :3]
    if not np.allclose(r @ r.T, np.eye(3), atol=1e-3) or np.linalg.det(r) < 0:
        raise UserError(f"{what} is no rotation and translation: is it another file's?", "LAYOUT_POSE")
    return tuple(map(tuple, pose.tolist()))


def damaged(path: Path) -> UserError:
    """A file that cannot be read."""
    return UserError(f"{path.name} is missing or cannot be read: get the data again", "LAYOUT_DAMAGED")


def camera_refused(layout: str, camera: str, able: str) -> UserError:
    """A camera that the layout has no words for."""
    return UserError(f"{layout} cannot hold the camera {camera}: render with {able}", "LAYOUT_CAMERA")
