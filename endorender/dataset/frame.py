"""What a dataset says about itself: one manifest row per frame, and how to read it back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, ValidationError, field_validator

from endorender import pictures
from endorender.dataset.info import ALIAS, MOST_VIEWS, SPLITS, VARIATION, damaged, read_info, there
from endorender.errors import UserError, plain, unknown
from endorender.registry import Model, one_line

if TYPE_CHECKING:
    from jaxtyping import Float32, Shaped, UInt8

ID = rf"{ALIAS[:-1]}/[0-9]{{4,6}}/{VARIATION[1:]}"
PATH = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,127}){0,7}"  # never upwards, or to a root
MARKS = ("ct_sha256", "voxels_sha256")  # of a frame's `volume`, by which a person is known; the second since 0.2.0
HASHES = (*MARKS, "labels_sha256", "label_sha256")
SHOWN = 6  # views of a dataset in a notebook
Number = Annotated[float, Field(ge=-1e9, le=1e9)]  # mm or pixels: with larger ones nothing can be computed
Row = tuple[Number, Number, Number, Number]
Row3 = tuple[Number, Number, Number]


class File(Model):
    """A file of the dataset: its path relative to the dataset's root, and what it must hash to."""

    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        if not re.fullmatch(PATH, path):
            raise ValueError("must be a relative path inside the dataset, of letters and digits")
        return path


class Frame(Model):
    """One picture: a row of manifest.jsonl.

    id: "PATIENT/VIEW/VARIATION".  K: (3, 3) pixels, pixel centres at integers.
    world_from_camera: (4, 4) RAS mm from OpenCV camera axes (x right, y down, z forward).
    parameters: what was drawn for this variation (tissue, light) and the response as it was applied.
    seed: of the light paths; `traced_with` are the variations of the view that shared them.
    spp: samples per pixel (their mean, rounded up, where `noise` decided); 0: the synthetic renderer, which draws none.
    engine: what computed it, "taichi 1.7.4"; empty in datasets rendered before it was written down.
    volume: the grid that was rendered (shape, spacing in mm, resampling) and a hash of the CT as read.
    """

    id: str = Field(pattern=ID)
    patient: str = Field(pattern=ALIAS)
    scene: dict[str, Any]
    view: int = Field(ge=0, le=MOST_VIEWS)
    variation: str = Field(pattern=VARIATION)
    parameters: dict[str, Any]
    seed: int
    traced_with: tuple[str, ...] = ()
    K: tuple[Row3, Row3, Row3]
    camera: dict[str, Any]
    world_from_camera: tuple[Row, Row, Row, Row]
    volume: dict[str, Any]
    files: dict[str, File]
    spp: int = Field(ge=0)
    denoised: bool
    engine: str = Field("", pattern="^([a-z]{1,40} [0-9A-Za-z.+-]{1,40})?$")
    status: Literal["done"] = "done"

    @field_validator("volume")
    @classmethod
    def _hashed(cls, volume: dict[str, Any]) -> dict[str, Any]:
        if not all(isinstance(volume.get(key), (str, type(None))) for key in HASHES):
            raise ValueError("its hashes must be text")
        return volume

    @field_validator("files")
    @classmethod
    def _there(cls, files: dict[str, File]) -> dict[str, File]:
        if missing := {"image", "geometry"} - set(files):
            raise ValueError(f"must name {' and '.join(sorted(missing))}")
        return files

    _root: Path = PrivateAttr(default=Path())
    _fingerprint: str = PrivateAttr(default="")

    def at(self, root: Path, fingerprint: str = "") -> Frame:
        """The same frame, which now finds its files under `root`. fingerprint: of the dataset's configuration."""
        frame = self.model_copy()
        frame._root, frame._fingerprint = root, fingerprint
        return frame

    @property
    def home(self) -> tuple[str, ...]:
        """What tells this patient in this dataset from all others: the hashes of its CT, masks and configuration, and
        the alias, which alone tells nothing: every dataset has a first patient."""
        files = (str(self.volume.get(key, "")) for key in ("ct_sha256", "labels_sha256", "label_sha256"))
        return *files, self._fingerprint, self.patient

    def __repr__(self) -> str:
        return f"Frame({self.id})"

    __str__ = __repr__

    def _repr_png_(self) -> bytes:
        """Its picture, and its depth from 0 mm (dark) to the 98th percentile (yellow), for notebooks."""
        from endorender.dataset.sheet import colour_depth

        z = self.geometry()["z_depth"]
        met = z[np.isfinite(z)]
        return pictures.png([self.image(), colour_depth(z, float(np.percentile(met, 98)) if met.size else 1.0)])

    def path(self, kind: str) -> Path:
        """Where the file of this kind ("image", "radiance", "geometry") lies."""
        if kind not in self.files:
            raise UserError(f"{self.id} has no {kind}", "NO_FILE")
        return self._root / self.files[kind].path

    def _channels(self, kind: str) -> _Channels:
        """Those of the EXR of this kind, which have the size of the frame's camera."""
        from endorender.dataset import exr

        name, path = self.files[kind].path if kind in self.files else kind, self.path(kind)
        if not path.is_file():
            raise UserError(f"{name} is missing from the dataset", "DATASET_DAMAGED")
        if not self._fits(size := exr.size(path)):
            raise self._misfit(name, size)
        return _Channels(name, exr.read(path)[0])

    def _fits(self, size: tuple[int, int]) -> bool:
        """Whether a file of this width and height has the size of the frame's camera, where that has one."""
        wanted = (self.camera.get("width"), self.camera.get("height"))
        return None in wanted or size == wanted

    def _misfit(self, name: str, size: tuple[int, int]) -> UserError:
        camera = plain(f"{self.camera['width']}x{self.camera['height']}"[:40])
        return UserError(f"{name} is {size[0]}x{size[1]}, and its camera {camera}", "DATASET_DAMAGED")

    def image(self) -> UInt8[np.ndarray, "H W 3"]:
        """(H, W, 3) uint8: the display image."""
        try:
            with pictures.opened(self.path("image")) as picture:
                size = picture.size
                if self._fits(size):  # before it is decoded
                    return np.asarray(picture.convert("RGB"))
        except pictures.Broken as error:
            raise damaged(self.files["image"].path, error) from None
        raise self._misfit(self.files["image"].path, size)

    def geometry(self) -> dict[str, Shaped[np.ndarray, "H W *channels"]]:
        """The noise-free layer of the view.

        z_depth, distance: (H, W) float32 mm; normal: (H, W, 3) float32, camera frame, unit, facing the
        camera; mask: (H, W) bool. Where the mask is False these are NaN. tissue: (H, W) uint8, the label of
        `label_tissue` at the wall, 0 for the look's own tissue. hides: (H, W) bool, the lumen goes on behind that wall,
        within 100 mm of the camera; not there in datasets of 0.1.0.
        """
        c = self._channels("geometry")
        return {
            "z_depth": c["Z"],
            "distance": c["distance.V"],
            "normal": np.stack([c[f"normal.{axis}"] for axis in "XYZ"], axis=-1),
            "mask": c["mask.V"] > 0.5,
            "tissue": c.get("tissue.V", np.zeros_like(c["Z"])).astype(np.uint8),  # datasets of 0.1.0 have none
            **({"hides": c["hides.V"] > 0.5} if "hides.V" in c else {}),
        }

    def flow(self) -> dict[str, Shaped[np.ndarray, "H W *channels"]]:
        """To the next view of the patient. flow: (H, W, 2) float32 px, (u, v); occlusion: (H, W) bool, not seen there.

        The flow is NaN where nothing is seen and in the last view; the occlusion is True there.
        """
        c = self._channels("geometry")
        if "flow.U" not in c:
            raise UserError(f"{self.id} holds no flow: it was rendered before there was any", "NO_FLOW")
        return {
            "flow": np.stack([c["flow.U"], c["flow.V"]], axis=-1),
            "occlusion": ~(c["occlusion.V"] < 0.5),
        }

    def depth(self, name: str = "surface") -> dict[str, Float32[np.ndarray, "H W"]]:
        """z_depth and distance, (H, W) float32 mm, of one definition; NaN where undefined.

        "surface" is the view's; "median" and "expected" are the variation's own and there if they were asked for.
        """
        if name == "surface":
            geometry = self.geometry()
            return {key: geometry[key] for key in ("z_depth", "distance")}
        c = self._channels("radiance")
        if f"{name}.Z" not in c:
            raise UserError(f"{self.id} holds no {name} depth: render with --depth {name}", "NO_DEPTH")
        return {"z_depth": c[f"{name}.Z"], "distance": c[f"{name}.distance"]}

    def radiance(self) -> Float32[np.ndarray, "H W 3"]:
        """(H, W, 3) float32 linear radiance, as stored in half floats."""
        c = self._channels("radiance")
        return np.stack([c[k] for k in "RGB"], axis=-1).astype(np.float32)


class _Channels(dict[str, np.ndarray]):
    """Channels of a file by name; one that is not there is a fault of the file."""

    def __init__(self, name: str, channels: dict[str, np.ndarray]):
        super().__init__(channels)
        self._name = name

    def __missing__(self, key: str) -> np.ndarray:
        raise UserError(f"{self._name} has no channel {key}", "DATASET_DAMAGED")


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk.  info: dataset.json.  frames: the finished ones, in the order of the manifest."""

    root: Path
    info: dict[str, Any]
    frames: list[Frame]

    def split(self, name: str) -> list[str]:
        """Aliases of the patients in "train", "val" or "test"."""
        if name not in SPLITS:
            raise UserError(unknown("split", name, SPLITS), "UNKNOWN_SPLIT")
        return list(self.info["splits"][name])

    def select(
        self,
        split: str | None = None,
        patients: Iterable[str] | None = None,
        variations: Iterable[str] | None = None,
    ) -> list[Frame]:
        """Frames that lie in the split, belong to one of the patients and show one of the variations."""
        inside = None if split is None else set(self.split(split))
        who = None if patients is None else set(patients)
        what = None if variations is None else set(variations)
        return [
            f
            for f in self.frames
            if (inside is None or f.patient in inside)
            and (who is None or f.patient in who)
            and (what is None or f.variation in what)
        ]

    @property
    def complete(self) -> bool:
        """Whether every frame that the configuration asks for is there."""
        return len(self.frames) == self.info["frames"]

    def __repr__(self) -> str:
        i = self.info
        return (
            f"Dataset({len(self.frames)} of {i['frames']} frames, {len(i['patients'])} patients, "
            f"{i['configuration']['size']}, {', '.join(i['variations'])})"
        )

    def _repr_png_(self) -> bytes | None:
        """The contact sheet of some views, for notebooks; none where no frame is finished."""
        import io

        from endorender.dataset.sheet import contact_sheet, views_of

        rows = views_of(self.frames)
        some = [frame for row in rows[:: max(1, len(rows) // SHOWN)][:SHOWN] for frame in row.values()]
        if not some:
            return None
        file = io.BytesIO()
        contact_sheet(replace(self, frames=some)).save(file, format="PNG")
        return file.getvalue()


def frame_id(patient: str, view: int, variation: str) -> str:
    """`p001/0007/deep_red`."""
    return f"{patient}/{view:04d}/{variation}"


def open_dataset(path: str | Path) -> Dataset:
    """A dataset folder, finished or not. Raises UserError NOT_A_DATASET or DATASET_DAMAGED."""
    root = Path(path)
    info = read_info(root)
    return Dataset(root, info, [frame.at(root, str(info.get("fingerprint", ""))) for frame in read_manifest(root)])


def refuse_absent(
    frames: Iterable[Any], patients: Iterable[str] | None = None, variations: Iterable[str] | None = None
) -> None:
    """Raise UserError UNKNOWN_NAME for a patient or variation that was asked for by a name which no frame has.

    A patient goes by its frames' alias, or by its name in one of several datasets (`FrameSet`).
    """
    have = list(frames)
    who = {f.patient for f in have} | {f.id.split("/")[0] for f in have}
    for what, asked, known in (
        ("patient", patients, who),
        ("variation", variations, {f.variation for f in have}),
    ):
        for name in asked or ():
            if known and name not in known:
                raise UserError(unknown(f"{what} of the dataset", name, sorted(known)), "UNKNOWN_NAME")


def read_manifest(root: Path) -> list[Frame]:
    """Rows of manifest.jsonl. A row that was cut off by a crash (no newline at its end) does not count."""
    return list({frame.id: frame for _, frame in stream_manifest(root)}.values())


def stream_manifest(root: Path) -> Iterator[tuple[int, Frame]]:
    """(where its line begins in the file, row) one by one, in the file's order: a later row of an id replaces it."""
    if not there(root / "manifest.jsonl"):
        return
    try:
        file = (root / "manifest.jsonl").open("rb")
    except OSError as error:
        raise damaged("manifest.jsonl", error) from None
    with file:
        offset = 0
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                try:
                    yield offset, Frame.model_validate_json(line.decode("utf-8", "replace"))
                except ValidationError as error:
                    raise damaged(f"manifest.jsonl, line {number}", one_line(error)) from None
            offset += len(line)
