"""A predicted depth in the forms that others read. Equal depth gives equal bytes; each file is whole or not there."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset import exr
from endorender.errors import UserError
from endorender.outputs import temporary
from training.files import write_atomic

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Integer, Shaped, UInt8, UInt16

PNG_UNIT_MM = 0.01  # of a level of the 16-bit PNG: up to 655.35 mm
MOST = 65535
H264 = {"crf": "18", "preset": "veryfast"}
GREY = 70  # of pixels without a depth in previews, as in contact sheets


def png(pixels: Integer[np.ndarray, "H W *channels"]) -> bytes:
    """(H, W) uint8 or uint16, or (H, W, 3) uint8, as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def levels(z_depth: Float[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
    """(H, W) mm -> uint16 of 0.01 mm; 0 where there is none. What is nearer or farther is held at 1 and 65535."""
    with np.errstate(invalid="ignore"):
        held = np.clip(np.rint(z_depth / PNG_UNIT_MM), 1, MOST)
    return np.where(np.isfinite(z_depth), held, 0).astype(np.uint16)


def read_levels(path: Path) -> Float32[np.ndarray, "H W"]:
    """(H, W) float32 mm of a 16-bit PNG of ours, NaN where there is none."""
    from endorender import pictures

    try:
        with pictures.opened(path) as picture:
            found = np.asarray(picture).astype(np.float32)
    except pictures.Broken:
        raise UserError(
            f"{path.name} of the predictions is damaged: delete it and its JSON, and --resume", "DAMAGED"
        ) from None
    return np.where(found > 0, found * np.float32(PNG_UNIT_MM), np.float32(np.nan))


def write_exr(path: Path, layers: dict[str, Float[np.ndarray, "H W"]], header: dict[str, Any]) -> None:
    """Float32 channels: Z in mm, and confidence."""
    names = {"z_depth": "Z", "confidence": "confidence"}
    part = temporary(path)
    try:
        exr.write(part, {names[key]: value for key, value in layers.items() if key in names}, header)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def npz(layers: dict[str, Shaped[np.ndarray, "H W *channels"]]) -> bytes:
    """A compressed npz, byte for byte the same for the same arrays."""
    file = io.BytesIO()
    settings: dict[str, Any] = dict(layers)
    np.savez_compressed(file, **settings)
    return file.getvalue()


def ply(
    points: Float[np.ndarray, "N 3"], colours: UInt8[np.ndarray, "N 3"], confidence: Float[np.ndarray, " N"] | None
) -> bytes:
    """Binary little-endian PLY. points: (N, 3) mm, camera frame; colours: (N, 3) uint8; confidence: (N,) or None."""
    fields: list[Any] = [(axis, "<f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")]
    if confidence is not None:
        fields.append(("confidence", "<f4"))
    rows = np.empty(len(points), fields)
    for k, (axis, colour) in enumerate(zip("xyz", ("red", "green", "blue"))):
        rows[axis], rows[colour] = points[:, k], colours[:, k]
    if confidence is not None:
        rows["confidence"] = confidence
    words = {"<f4": "float", "u1": "uchar"}
    head = [
        "ply",
        "format binary_little_endian 1.0",
        "comment mm; camera frame: x right, y down, z forward",
        f"element vertex {len(rows)}",
        *(f"property {words[kind]} {name}" for name, kind in fields),
        "end_header\n",
    ]
    return "\n".join(head).encode() + rows.tobytes()


def coloured(z_depth: Float[np.ndarray, "H W"], top: float) -> UInt8[np.ndarray, "H W 3"]:
    """(H, W) mm -> (H, W, 3) uint8, as in contact sheets: viridis from 0 to `top` mm, grey where there is none."""
    from endorender.dataset.sheet import colour_depth

    return colour_depth(z_depth, top)


class SideBySide:
    """An MP4 (H.264) of pictures beside their depth, written beside its place and renamed by `close`.

    size: (height, width) of each half, which is cut to even numbers of pixels. One thread: the bytes depend on nothing
    but the pictures.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction):
        import av

        self._path, self._part = path, temporary(path)
        self._size = (size[0] // 2 * 2, size[1] // 2 * 2)
        self._av = av
        self._container: Any = av.open(str(self._part), "w", format="mp4", options={"fflags": "+bitexact"})
        name = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream: Any = self._container.add_stream(name, rate=rate, options=H264 if name == "libx264" else {})
        stream.height, stream.width = self._size[0], 2 * self._size[1]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= int(av.codec.context.Flags.bitexact)
        self._stream = stream

    def add(self, image: UInt8[np.ndarray, "H W 3"], preview: UInt8[np.ndarray, "h w 3"]) -> None:
        """(H, W, 3) uint8 each; a picture of another size is left grey."""
        height, width = self._size
        halves = [half[:height, :width] for half in (image, preview)]
        if any(half.shape != (height, width, 3) for half in halves):
            halves = [np.full((height, width, 3), GREY, np.uint8)] * 2
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(np.concatenate(halves, 1)), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """The last frames, and the name."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        """What was begun is removed; nothing happens after `close`."""
        try:
            self._container.close()
        finally:
            self._part.unlink(missing_ok=True)


def text(value: Any) -> str:
    """Indented JSON; NaN is refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write(path: Path, content: bytes | str) -> None:
    """Whole, in a folder that is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
