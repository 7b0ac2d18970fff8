"""HDF5: one file a split, arrays that can be sliced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from endorender.dataset.frame import Frame
from endorender.dataset.layouts.layout import Layout, Split, layouts


@layouts.register("hdf5")
class HDF5(Layout):
    """train.h5, val.h5, test.h5. Of N frames: image (N, H, W, 3) uint8, id, patient, variation (N,), and geometry (N,).

    geometry says which of the V views is a frame's: z_depth, distance (V, H, W) float32 mm, normal (V, H, W, 3) camera
    frame, NaN where invalid; K (V, 3, 3) pixels; world_from_camera (V, 4, 4) OpenCV axes, RAS mm; camera (V,) JSON.
    """

    EXTRA: ClassVar[tuple[str, ...]] = ("h5py",)

    def write(self, splits: Sequence[Split], out: Path) -> None:
        """See Layout."""
        import h5py

        for split, frames in splits:
            with h5py.File(out / f"{split}.h5", "w", track_order=True) as file:
                file.attrs["about"] = HDF5.__doc__ or ""
                if frames:
                    _fill(file, frames)


def _fill(file: Any, frames: list[Frame]) -> None:
    """Frame by frame, so that memory does not grow with their number."""
    import h5py

    views: dict[tuple[str, int], int] = {}
    index = [views.setdefault((f.patient, f.view), len(views)) for f in frames]
    first = [index.index(v) for v in range(len(views))]
    height, width, _ = frames[0].image().shape
    text = h5py.string_dtype()

    def array(name: str, count: int, *shape: int, kind: Any = np.float32) -> Any:
        chunks = (1, *shape) if len(shape) > 1 else None
        packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if chunks else {}
        return file.create_dataset(name, (count, *shape), kind, chunks=chunks, track_times=False, **packed)

    images = array("image", len(frames), height, width, 3, kind=np.uint8)
    for n, frame in enumerate(frames):
        images[n] = frame.image()
    for name in ("id", "patient", "variation"):
        array(name, len(frames), kind=text)[:] = [getattr(f, name) for f in frames]
    array("geometry", len(frames), kind=np.int64)[:] = index
    shapes = {"z_depth": (), "distance": (), "normal": (3,)}
    layers = {name: array(name, len(views), height, width, *shape) for name, shape in shapes.items()}
    for v, n in enumerate(first):
        geometry = frames[n].geometry()
        for name, layer in layers.items():
            layer[v] = geometry[name]
    array("K", len(views), 3, 3, kind=np.float64)[:] = [frames[n].K for n in first]
    array("world_from_camera", len(views), 4, 4, kind=np.float64)[:] = [frames[n].world_from_camera for n in first]
    array("camera", len(views), kind=text)[:] = [json.dumps(frames[n].camera) for n in first]
