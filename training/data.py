"""Frames as the networks see them, in an order that depends on the seed alone."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from endorender.dataset import Frame
from endorender.dataset.frame import MARKS
from endorender.dataset.info import SPLITS
from endorender.dataset.layouts import open_data
from endorender.errors import UserError
from training.developed import Developed, refuse_without_radiance

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32


class Batch(TypedDict):
    """What networks, losses and metrics are fed with.

    image: (B, 3, H, W) float32, display values in 0..1; z_depth: (B, 1, H, W) float32 mm, 0 where invalid;
    mask: (B, 1, H, W) bool, where z_depth holds; K: (B, 3, 3) float32, pixel centres at integers, NaN where unknown;
    id: the frames' names.
    """

    image: Float32[Tensor, "B 3 H W"]
    z_depth: Float32[Tensor, "B 1 H W"]
    mask: Bool[Tensor, "B 1 H W"]
    K: Float32[Tensor, "B 3 3"]
    id: list[str]


def marks(frame: Any) -> tuple[str, ...]:
    """What a person is known by: the hashes of the CT as it was read and of its voxels in whatever format (old datasets
    hold the first alone). Two frames with a mark in common show one person. Other people's data tell of no CT: there it
    is the published name."""
    held = tuple(str(frame.volume[key]) for key in MARKS if key in frame.volume)
    return held or (home(frame)[-1],)


def home(frame: Any) -> tuple[str, ...]:
    """What tells a frame's patient in its dataset from all others; see `endorender.dataset.Frame.home`."""
    return getattr(frame, "home", ()) or (str(frame.volume.get("ct_sha256", "")), frame.patient)


def view_of(frame: Any) -> tuple[Any, ...]:
    """What shares one geometry: all variations of a view of a patient of a dataset. Of our own frames it is what their
    file holds, whoever rendered it."""
    return (frame.files["geometry"].sha256,) if isinstance(frame, Frame) else (*home(frame), frame.view)


def people(frames: Sequence[Any], own: bool = False) -> dict[str, str]:
    """Patients of the frames: each one's marks -> the alias (an alias may differ between datasets). own: that of the
    dataset, also where `joined` has found one person in several."""
    return {mark: frame.id.split("/")[0] if own else frame.patient for frame in frames for mark in marks(frame)}


def aliases(frames: Sequence[Any]) -> list[str]:
    """Names of the frames' patients, sorted."""
    return sorted({frame.patient for frame in frames})


def refuse_shared_patients(splits: Mapping[str, Mapping[str, str]]) -> None:
    """splits: name -> `people`. Raises UserError when one patient stands in two splits, under whatever alias."""
    home: dict[str, tuple[str, str]] = {}
    for split, patients in splits.items():
        for person, alias in patients.items():
            other, name = home.setdefault(person, (split, alias))
            if other != split:
                who = alias if alias == name else f"{name} alias {alias} (the same CT)"
                raise UserError(
                    f"patient {who} is in two splits, {other} and {split}: splits are by patient; "
                    "take it out of one of them",
                    "PATIENT_IN_TWO_SPLITS",
                )


@dataclass(frozen=True)
class FrameSet:
    """Frames chosen one by one, of one dataset or several, as `train` and `evaluate` take a dataset. rest: in no
    split."""

    train: Sequence[Any] = ()
    val: Sequence[Any] = ()
    test: Sequence[Any] = ()
    rest: Sequence[Any] = ()

    @property
    def frames(self) -> list[Any]:
        return [*self.train, *self.val, *self.test, *self.rest]

    def select(
        self, split: str | None = None, patients: Iterable[str] | None = None, variations: Iterable[str] | None = None
    ) -> list[Any]:
        """As endorender.dataset.Dataset.select. Patients go by their names here or in the dataset of a frame."""
        who, what = (None if chosen is None else set(chosen) for chosen in (patients, variations))
        return [
            frame
            for frame in (self.frames if split is None else getattr(self, split))
            if (who is None or {frame.patient, frame.id.split("/")[0]} & who)
            and (what is None or frame.variation in what)
        ]


def opened(data: Any, split: str) -> Any:
    """A dataset, or several as one `FrameSet` (`joined`). data: a folder, "LAYOUT@FOLDER", an open dataset, or a list
    of these. split: in which patients of other people's layouts lie."""
    several = data if isinstance(data, (list, tuple)) else [data]
    if not several:
        raise UserError("give a dataset", "NO_FRAMES")
    found = [open_data(one, split) if isinstance(one, (str, Path)) else one for one in several]
    return found[0] if len(found) == 1 else joined(found)


def joined(datasets: Sequence[Any]) -> FrameSet:
    """Frames of several datasets, each in its own split.

    Patients are called by the number of the dataset and the alias there, `2:p001`: every dataset has a first patient.
    Who is in several goes by the first of these names everywhere. Raises UserError where a dataset is given twice.
    """
    known: dict[str, str] = {}
    seen: dict[tuple[Any, ...], int] = {}
    splits: dict[str, list[Any]] = {name: [] for name in (*SPLITS, "rest")}
    for number, dataset in enumerate(datasets, 1):
        inside = {id(frame): name for name in SPLITS for frame in dataset.select(split=name)}
        for frame in dataset.frames:
            place = (*view_of(frame), frame.variation)
            if seen.setdefault(place, number) != number:
                raise UserError(f"datasets {seen[place]} and {number} are one: give each once", "SAME_DATASET")
            own = f"{number}:{frame.patient}"
            name = next((known[mark] for mark in marks(frame) if mark in known), own)
            known |= dict.fromkeys(marks(frame), name)
            splits[inside.get(id(frame), "rest")].append(_renamed(frame, f"{number}:{frame.id}", name))
    return FrameSet(**splits)


def _renamed(frame: Any, name: str, patient: str) -> Any:
    """The same frame under other names; what it is known by stays."""
    if isinstance(frame, Frame):
        return frame.model_copy(update={"id": name, "patient": patient})
    return dataclasses.replace(frame, id=name, patient=patient)


class DepthFrames(Dataset):
    """Frames of a dataset as tensors.

    frames: `endorender.dataset.Frame`s of one size. They are decoded once, here, and kept as uint8 and
    float32 (7 bytes a pixel; a view's depth is shared by its variations) if they fit in `cache_mb`;
    otherwise each is decoded when it is asked for. response, seed: pictures are developed anew at each reading
    (`training.developed`) from the radiance, which is then kept in half floats in the place of the pictures.
    Errors (UserError): no frame, frames of several sizes, a frame without one valid pixel, or without radiance.
    """

    kind: str = "image"
    developed: Developed | None = None

    def __init__(
        self, frames: Sequence[Any], cache_mb: float = 2048, response: dict[str, Any] | None = None, seed: int = 0
    ):
        if not frames:
            raise UserError("no frame was selected: check the patients and the variations", "NO_FRAMES")
        self.frames = list(frames)
        self._whole: set[Any] = set()
        if response is not None:
            refuse_without_radiance(self.frames)
        self.kind = "image" if response is None else "radiance"
        self._verify(self.frames[0], (self.kind,))
        first = _planes(self.frames[0], self.kind)
        self.size: tuple[int, int] = (first.shape[1], first.shape[2])
        self.developed = None if response is None else Developed(response, seed, self.size)
        views = len({view_of(frame) for frame in self.frames})
        a_pixel = 3 * first.element_size()
        megabytes = (a_pixel * len(self.frames) + 4 * views) * self.size[0] * self.size[1] / 2**20
        self.cached = megabytes <= cache_mb
        self._depths: dict[tuple[Any, ...], Tensor] = {}
        self._images: list[Tensor] = []
        if self.cached:
            for index, frame in enumerate(self.frames):
                image, depth = self._decode(index)
                self._images.append(image)
                self._depths[view_of(frame)] = depth

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        """One frame: as Batch, without the first axis. index: its number, and with a response that of the reading."""
        return {key: value[0] for key, value in self.batch([index]).items()}

    def batch(self, indices: Sequence[int | tuple[int, int]]) -> dict[str, Any]:
        """As Batch, of the frames of these numbers; see `__getitem__`."""
        images, depths, frames = [], [], []
        for both in indices:
            index, reading = both if isinstance(both, tuple) else (both, both)
            frame = self.frames[index]
            if self.cached:
                image, depth = self._images[index], self._depths[view_of(frame)]
            else:
                image, depth = self._decode(index)
            if self.developed is not None:
                picture, seen = self.developed(frame, reading, image.float().numpy(), depth[0].numpy())
                image = torch.from_numpy(picture)
                depth = depth if seen is None else torch.from_numpy(depth.numpy() * seen)
            images.append(image)
            depths.append(depth)
            frames.append(frame)
        z_depth = torch.stack(depths)
        k = np.array([np.full((3, 3), np.nan) if f.K is None else f.K for f in frames], np.float32)
        return {
            "image": torch.stack(images).to(torch.float32) / 255,
            "z_depth": z_depth,
            "mask": z_depth > 0,
            "K": torch.from_numpy(k),
            "id": [f.id for f in frames],
        }

    def _decode(self, index: int) -> tuple[Tensor, Tensor]:
        """Image (3, H, W) uint8 or radiance float16, and z-depth (1, H, W) float32 mm, 0 where invalid."""
        frame = self.frames[index]
        depth = self._depths.get(view_of(frame))
        self._verify(frame, (self.kind,) if depth is not None else (self.kind, "geometry"))
        image = _planes(frame, self.kind)
        if depth is None:
            depth = _depth(frame)
        for what, shape in ((self.kind, image.shape[1:]), ("depth", depth.shape[1:])):
            if tuple(shape) != self.size:
                raise UserError(
                    f"the {what} of frame {frame.id} has {shape[1]}x{shape[0]} pixels, the first frame has "
                    f"{self.size[1]}x{self.size[0]}: choose patients whose frames have one size",
                    "MIXED_SIZES",
                )
        return image, depth

    def _verify(self, frame: Any, kinds: Sequence[str]) -> None:
        """Each file once; see `refuse_changed`."""
        for kind in kinds:
            if isinstance(frame, Frame) and frame.path(kind) not in self._whole:
                refuse_changed(frame, kind)
                self._whole.add(frame.path(kind))


def refuse_changed(frame: Any, kind: str) -> None:
    """A file against the manifest's hash: a flipped bit can decode to a wrong depth without a word."""
    if not isinstance(frame, Frame):
        return  # other people's layouts keep no hashes
    file = frame.files[kind]
    try:
        found = hashlib.sha256(frame.path(kind).read_bytes()).hexdigest()
    except OSError:
        found = ""
    if found != file.sha256:
        own = frame.id.split(":")[-1]  # without the number of one of several datasets
        raise UserError(
            f"{file.path} is not what was written (frame {frame.id}): render it again with --only {own}",
            "DATASET_DAMAGED",
        )


def frame_size(frame: Any) -> tuple[int, int]:
    """(height, width) of a frame's picture, which is decoded for it."""
    refuse_changed(frame, "image")
    height, width = np.shape(frame.image())[:2]
    return height, width


def _planes(frame: Any, kind: str) -> Tensor:
    """(3, H, W) uint8 of "image", whose grey ones become three equal channels, or float16 of "radiance"."""
    pixels = np.asarray(frame.image() if kind == "image" else frame.radiance().astype(np.float16))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _depth(frame: Any) -> Tensor:
    """(1, H, W) float32 mm, 0 where there is none."""
    geometry = frame.geometry()
    z = np.asarray(geometry["z_depth"], np.float32)
    valid = np.asarray(geometry["mask"], bool) & np.isfinite(z) & (z > 0)
    if not valid.any():
        raise UserError(f"frame {frame.id} has no pixel with a depth: remove its view from the dataset", "EMPTY_MASK")
    return torch.from_numpy(np.where(valid, z, np.float32(0)))[None]
