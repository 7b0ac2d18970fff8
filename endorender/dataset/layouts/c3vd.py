"""C3VD (Bobrow et al. 2023): a registered phantom colon, 16-bit z-depth and an omnidirectional camera."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from endorender.dataset.flow import optical_flow
from endorender.dataset.frame import Frame
from endorender.dataset.layouts.layout import (
    ForeignFrame,
    Layout,
    Split,
    camera_refused,
    damaged,
    layouts,
    marks,
    numbered,
    one_camera,
    quantised,
    read_names,
    read_png,
    read_table,
    read_tiff,
    refuse_stretched,
    rigid,
    sequences,
    size_of,
    write_names,
    write_table,
    write_tiff,
)
from endorender.dataset.negative import write_png
from endorender.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float64

LEVELS_PER_MM = 65535 / 100
FLOW_REACH = 20.0  # px in both directions
LAST = np.array([0.0, 0, 0, 1])
INTRINSICS = ("a0", "a2", "a3", "a4", "c", "d", "e", "cx", "cy")
PUBLISHED = (1350, 1080)  # px, of the camera that is known without a file
CAMERA_FILE = "camera_intrinsics.txt"


class Scaramuzzas(Layout):
    """What both editions share: the camera's traps, depth and normals in 16 bits, pose.txt (frames have no pose without
    it)."""

    READS: ClassVar[bool] = True
    NEEDS_CAMERA: ClassVar[bool] = False

    transposed: bool = Field(
        False, description="read the stretch matrix as [[c, e], [d, 1]] instead of [[c, d], [e, 1]]"
    )
    one_based: bool = Field(False, description="the centre counts the first pixel as 1, as in copies from MATLAB")

    def folders(self, root: Path) -> set[Path]:
        """Sequences at any depth: folders that hold depth."""
        raise TypeError("an edition defines where its files are")  # pragma: no cover

    def places(self, folder: Path) -> dict[str, dict[int, Path]]:
        """Files by kind (image, depth, normal) and number."""
        raise TypeError("an edition defines where its files are")  # pragma: no cover

    def place(self, folder: Path, kind: str, number: int) -> Path:
        """Where a new file goes."""
        raise TypeError("an edition defines where its files go")  # pragma: no cover

    def _made(self, folder: Path, kind: str, number: int) -> Path:
        """The same, in a folder that is there."""
        path = self.place(folder, kind, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def patient(self, name: str) -> str:
        """Whom a sequence shows, by its folder's name."""
        raise TypeError("an edition defines what its names mean")  # pragma: no cover

    def write(self, splits: Sequence[Split], out: Path) -> None:
        """See Layout."""
        names: dict[str, Frame] = {}
        for patient, variation, frames in sequences(splits):
            folder = out / f"{patient}.{variation}"
            names[folder.name] = frames[0]
            intrinsics = one_camera(layouts.name_of(type(self)), frames, _intrinsics)
            for number, frame in enumerate(frames):
                geometry = frame.geometry()
                mask = geometry["mask"]
                place = partial(self._made, folder, number=number)
                write_png(place("image"), frame.image())
                write_tiff(place("depth"), quantised(geometry["z_depth"], LEVELS_PER_MM, 65535, mask))
                normal = quantised(geometry["normal"] + 1, 32767.5, 65535, mask[..., None])
                write_tiff(place("normal"), normal)
                if "hides" in geometry:
                    write_png(place("occlusion"), np.where(geometry["hides"], 255, 0).astype(np.uint8))
                if number and frame.view == frames[number - 1].view + 1:
                    write_tiff(place("flow"), _flow(frame, frames[number - 1], geometry["distance"]))
            poses = np.array([f.world_from_camera for f in frames])
            write_table(folder / "pose.txt", poses.transpose(0, 2, 1).reshape(-1, 16), ",")
            lines = [f"{name} {value:.17g}\n" for name, value in intrinsics.items()]
            (folder / CAMERA_FILE).write_text("".join(lines), encoding="utf-8")
        write_names(out, names)

    def read(self, root: Path) -> list[ForeignFrame]:
        """See Layout. `root` is a sequence or holds sequences at any depth."""
        found: list[ForeignFrame] = []
        count: dict[str, int] = {}
        for folder in sorted(self.folders(root)):
            name, _, variation = folder.name.partition(".")
            patient = name if variation else self.patient(name)
            places, file = self.places(folder), folder / "pose.txt"
            volume = marks(read_names(folder.parent).get(folder.name, {}))
            poses = read_poses(file) if file.is_file() else None
            for number in sorted(set(places["image"]) & set(places["depth"])):
                if poses is not None and number >= len(poses):
                    raise UserError(f"{folder.name}: frame {number} has no pose in pose.txt", "LAYOUT_POSE")
                image, depth, normal = (places[kind].get(number) for kind in ("image", "depth", "normal"))
                assert image is not None
                assert depth is not None
                view = count.setdefault(patient, 0)
                count[patient] += 1
                found.append(
                    ForeignFrame(
                        id=f"{patient}/{variation or name}/{number:04d}",
                        patient=patient,
                        view=view,
                        variation=variation or name,
                        camera=self._camera(root, folder, *size_of(image)),
                        world_from_camera=None
                        if poses is None
                        else rigid(poses[number], f"pose {number} of {folder.name}"),
                        paths={"image": image, "geometry": depth},
                        load_image=partial(read_png, image),
                        load_depth=partial(_depth, depth),
                        load_normal=None if normal is None else partial(_normal, normal),
                        volume=volume,
                    )
                )
        return found

    def _camera(self, root: Path, folder: Path, width: int, height: int) -> dict[str, Any]:
        """The camera of the nearest camera_intrinsics.txt, up to `root` and the folder that holds it."""
        camera: dict[str, Any] = {"type": "scaramuzza", "width": width, "height": height, "transposed": self.transposed}
        inside = [p for p in (folder, *folder.parents) if p == root.parent or p.is_relative_to(root)]
        file = next((p / CAMERA_FILE for p in inside if (p / CAMERA_FILE).is_file()), None)
        if file is not None:
            camera |= read_intrinsics(file)
        elif self.NEEDS_CAMERA:
            raise UserError(
                f"no {CAMERA_FILE} beside the sequences: put the file that came with the data there", "LAYOUT_CAMERA"
            )
        if self.one_based:
            from endorender.scene.camera import cameras

            built = cameras.build(camera)
            camera |= {name: getattr(built, name) for name in INTRINSICS}
            camera |= {"cx": built.cx - 1, "cy": built.cy - 1, "calibrated": built.calibrated}
        refuse_stretched((width, height), tuple(camera.get("calibrated", PUBLISHED)), CAMERA_FILE)
        return camera


@layouts.register("c3vd", cases=[{}])
class C3VD(Scaramuzzas):
    """SEQUENCE/0000_{color.png,depth.tiff,normals.tiff,flow.tiff,occlusion.png}, pose.txt; ours: camera_intrinsics.txt.

    z-depth: uint16 / 65535 * 100 mm; 0 and 65535 (100 mm and more) are invalid. Normals: (n + 1) * 32767.5, camera
    frame. pose.txt: 16 values a line, world_from_camera transposed (translation in the last row, mm); which edge is
    0 0 0 1 is looked at, since copies differ; without it frames have no pose. Without camera_intrinsics.txt the
    camera is the published Olympus CF-HQ190L, 0-based. It is scaled with pictures of its shape; others are refused.
    Flow: to the previous frame, in red and green, value / 65535 * 40 - 20 px, cut at both ends, 0 where nothing is
    seen; the first frame has none. occlusion.png: 255 where a wall hides more of the lumen within 100 mm of the camera,
    else 0; not for datasets that do not hold it.
    """

    def folders(self, root: Path) -> set[Path]:
        """See Scaramuzzas."""
        return {p.parent for p in root.rglob("*_depth.tiff")}

    def places(self, folder: Path) -> dict[str, dict[int, Path]]:
        """See Scaramuzzas. Some copies do not pad the numbers of colour frames."""
        return {
            "image": numbered(folder, r"(\d+)_color\.png"),
            "depth": numbered(folder, r"(\d+)_depth\.tiff"),
            "normal": numbered(folder, r"(\d+)_normals\.tiff"),
        }

    def place(self, folder: Path, kind: str, number: int) -> Path:
        """See Scaramuzzas."""
        endings = {
            "image": "color.png",
            "depth": "depth.tiff",
            "normal": "normals.tiff",
            "flow": "flow.tiff",
            "occlusion": "occlusion.png",
        }
        return folder / f"{number:04d}_{endings[kind]}"

    def patient(self, name: str) -> str:
        """The segment of the colon: `cecum` of `cecum_t1_a`."""
        return re.sub(r"_t\d+_\w+$", "", name)


@layouts.register("c3vdv2", cases=[{}])
class C3VDv2(Scaramuzzas):
    """SEQUENCE/{rgb,depth,normals}/0000..., pose.txt; camera_intrinsics.txt there or above. Encodings as in c3vd.

    camera_intrinsics.txt: `name value` lines or bare numbers: width, height, cx, cy, a0 to a4 (a1 may be left out),
    c, d, e. Flow lies in optical_flow, occlusion in occlusions. Diffuse pictures are not written.
    """

    NEEDS_CAMERA: ClassVar[bool] = True

    def folders(self, root: Path) -> set[Path]:
        """See Scaramuzzas."""
        return {p.parent for p in (root / "depth", *root.rglob("depth")) if p.is_dir()}

    def places(self, folder: Path) -> dict[str, dict[int, Path]]:
        """See Scaramuzzas."""
        return {
            "image": numbered(folder / "rgb", r"(\d+)(?:_\w+)?\.(?:png|jpg|jpeg)"),
            "depth": numbered(folder / "depth", r"(\d+)(?:_\w+)?\.tiff?"),
            "normal": numbered(folder / "normals", r"(\d+)(?:_\w+)?\.tiff?"),
        }

    def place(self, folder: Path, kind: str, number: int) -> Path:
        """See Scaramuzzas."""
        name = {
            "image": f"rgb/{number:04d}.png",
            "depth": f"depth/{number:04d}_depth.tiff",
            "normal": f"normals/{number:04d}_normals.tiff",
            "flow": f"optical_flow/{number:04d}_flow.tiff",
            "occlusion": f"occlusions/{number:04d}_occlusion.png",
        }[kind]
        return folder / name

    def patient(self, name: str) -> str:
        """The colon: `c1` of `c1_descending_t2_v2`."""
        return name.split("_")[0]


def read_poses(path: Path) -> Float64[np.ndarray, "N 4 4"]:
    """pose.txt -> (N, 4, 4) world_from_camera, mm, whichever way round its rows were written.

    The edge that is 0 0 0 1 in every row decides. Where both are (a camera that stays at the origin), the published
    order holds: transposed.
    """
    rows = read_table(path, 16).reshape(-1, 4, 4)
    published = np.allclose(rows[:, :, 3], LAST, atol=1e-6)
    if not published and not np.allclose(rows[:, 3], LAST, atol=1e-6):
        raise UserError("pose.txt: neither the last row nor the last column of its poses is 0 0 0 1", "LAYOUT_POSE")
    return rows.transpose(0, 2, 1) if published else rows


def read_intrinsics(path: Path) -> dict[str, Any]:
    """Parameters of `scaramuzza` from camera_intrinsics.txt, with the size that they are for as `calibrated`."""
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise damaged(path) from None
    named = {k.lower(): float(v) for k, v in re.findall(rf"\b([A-Za-z]\w*)\W*?[\s:=,]\s*({number})(?![\w.])", text)}
    if not {"cx", "cy", "a0"} <= set(named):
        bare = [float(x) for x in re.findall(rf"(?<![\w.]){number}(?![\w.])", text)]
        names = ("width", "height", "cx", "cy", "a0", "a1", "a2", "a3", "a4", "c", "d", "e")
        named = dict(zip(names if len(bare) == 12 else [n for n in names if n != "a1"], bare))
        if len(bare) not in (11, 12):
            named = {}
    missing = [name for name in (*INTRINSICS, "width", "height") if name not in named]
    if missing or named.get("a1", 0):
        raise UserError(f"{path.name} must give {', '.join(missing) or 'a1 as 0'}", "LAYOUT_CAMERA")
    return {
        **{name: named[name] for name in INTRINSICS},
        "calibrated": [round(named["width"]), round(named["height"])],
    }


def _intrinsics(frame: Frame) -> dict[str, float]:
    """Numbers of camera_intrinsics.txt. A pinhole is the omnidirectional camera whose z does not vary."""
    from endorender.scene.camera import cameras

    camera = cameras.build(frame.camera)
    size = {"width": camera.width, "height": camera.height}
    kind = frame.camera["type"]
    if kind in ("pinhole", "thin_lens"):
        k = camera.K
        own = {"a0": k[1, 1], "a2": 0.0, "a3": 0.0, "a4": 0.0, "c": k[0, 0] / k[1, 1], "d": 0.0, "e": 0.0}
        return {**size, "cx": k[0, 2], "cy": k[1, 2], **own}
    if kind != "scaramuzza":
        raise camera_refused("c3vd", kind, "--camera scaramuzza or pinhole")
    width, height = camera.calibrated or (camera.width, camera.height)
    own = {name: getattr(camera, name) for name in INTRINSICS}
    if camera.transposed:
        own["d"], own["e"] = own["e"], own["d"]
    return {"width": width, "height": height, **own}


def _flow(frame: Frame, before: Frame, distance: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint16: flow to the frame before, as C3VD encodes it."""
    from endorender.scene.camera import cameras

    one, two = cameras.build(frame.camera), cameras.build(before.camera)
    flow = optical_flow(distance.astype(float), one, frame.world_from_camera, two, before.world_from_camera)
    levels = np.zeros((*flow.shape[:2], 3), np.uint16)
    levels[..., :2] = quantised(flow + FLOW_REACH, 65535 / (2 * FLOW_REACH), 65535, np.isfinite(flow))
    return levels


def _depth(path: Path) -> np.ndarray:
    """(H, W) z-depth in mm, NaN where invalid."""
    levels = read_tiff(path)
    if levels.dtype != np.uint16 or levels.ndim != 2:
        raise UserError(f"{path.name} must hold one channel of 16 bits", "LAYOUT_DAMAGED")
    return np.where((levels > 0) & (levels < 65535), levels / LEVELS_PER_MM, np.nan)


def _normal(path: Path) -> np.ndarray:
    """(H, W, 3) unit normals, camera frame."""
    n = read_tiff(path).astype(float) / 32767.5 - 1
    return n / np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-9)
