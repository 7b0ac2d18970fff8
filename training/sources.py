"""Where pictures come from, a folder or a video, and which part of them a scope lets through.

Pictures are known by their number from 0, never by a name: names and paths are patient data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from endorender import pictures
from endorender.dataset.photograph import SUFFIXES, fault, listed
from endorender.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8

# The rule of the mask, our choice. It is found on pictures of one size together, taken to come from one scope.
DARK = 16  # brightest channel, 8 bits: a 3 x 3 median up to this is black
OPENED = 0.02  # of the longer side: what is lit and thinner is text or noise, no view
CORNER = 0.02  # of the shorter side: corner squares; two of them must be black, or there is no surround
LEAST = 0.01  # share of the picture below which what lies outside the hull is no surround
LOOKED_AT = 16  # pictures of each size, evenly spread; a pixel is seen where most of them see it
GRID = 512  # cells of the longer side at most on which it is sought


class Picture(NamedTuple):
    """number: from 0. image: (H, W, 3) uint8, None where it cannot be read. wrong: code and words, or None."""

    number: int
    image: UInt8[np.ndarray, "H W 3"] | None
    wrong: tuple[str, str] | None


@dataclass(frozen=True)
class Folder:
    """The pictures of a folder, in the order of their names."""

    files: tuple[Path, ...]
    rate: None = None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, wanted: set[int]) -> Iterator[Picture]:
        """Those of these numbers, one after the other."""
        for number in sorted(wanted):
            try:
                with pictures.opened(self.files[number]) as opened:
                    image = np.asarray(opened.convert("RGB"))
            except pictures.Broken:
                yield Picture(number, None, ("DAMAGED", "cannot be read"))
                continue
            yield Picture(number, image, fault(image))

    def identity(self) -> str:
        """Changes when the pictures do, but for changes deep inside a file that keep its size."""
        return _identity(self.files)


@dataclass(frozen=True)
class Video:
    """A video's frames in the order in which they are shown. broken: whether it ends before its end."""

    file: Path
    count: int
    rate: Fraction
    broken: bool

    def __len__(self) -> int:
        return self.count

    def read(self, wanted: set[int]) -> Iterator[Picture]:
        """As `Folder.read`. What lies before a frame is decoded, since a video cannot be entered anywhere."""
        import av

        last, number = min(max(wanted, default=-1), self.count - 1), -1
        try:
            for number, frame in enumerate(_decoded(self.file)):
                if number in wanted:
                    image = frame.to_ndarray(format="rgb24")
                    yield Picture(number, image, fault(image))
                if number >= last:
                    return
        except av.FFmpegError:
            raise UserError(f"the video does not decode after frame {number}: save it anew", "VIDEO") from None

    def identity(self) -> str:
        """As `Folder.identity`."""
        return _identity((self.file,))


def source(images: str | Path, say: Callable[[str], None] | None = None) -> Folder | Video:
    """A folder of pictures, one picture, or a video, which is decoded once to count its frames.

    say: told how far that is. Errors (UserError): NOT_FOUND, NO_IMAGES, MISSING_EXTRA, VIDEO."""
    path = Path(images)
    if path.is_dir():
        return Folder(tuple(listed(path)))
    if not path.is_file():
        raise UserError("neither a folder of pictures nor a video is there: check --images", "NOT_FOUND")
    if path.suffix.lower() in SUFFIXES:
        return Folder((path,))
    try:
        import av
    except ImportError:
        raise UserError(
            "videos need av; install it with: pip install 'endorender[video]', or give a folder of frames",
            "MISSING_EXTRA",
        ) from None
    count, broken, rate = 0, False, Fraction(25)
    try:
        with _opened(path) as container:
            if container.streams.video:
                rate = Fraction(container.streams.video[0].average_rate or rate)
        for _ in _decoded(path):
            count += 1
            if say and count % 100 == 1:
                say(f"looking through the video: {count} frames")
    except (av.FFmpegError, OSError, ValueError):
        broken = True  # what comes before is whole
    if not count:
        raise UserError("the video does not decode: save it anew, or give a folder of frames", "VIDEO")
    return Video(path, count, rate, broken)


def _opened(path: Path) -> Any:
    import av

    av.logging.set_level(None)  # it would write the file's name to stderr
    # A playlist that calls itself a video opens nothing beyond this machine.
    return av.open(str(path.absolute()), options={"protocol_whitelist": "file"})


def _decoded(path: Path) -> Iterator[Any]:
    with _opened(path) as container:
        if container.streams.video:
            container.streams.video[0].thread_type = "AUTO"
            yield from container.decode(container.streams.video[0])


def _identity(files: tuple[Path, ...]) -> str:
    total = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                total.update(f"{os.fstat(file.fileno()).st_size} ".encode() + file.read(1 << 16))
        except OSError:
            total.update(b"unread")  # it is said when its turn comes
    return total.hexdigest()[:16]


def spread_out(count: int, most: int) -> list[int]:
    """At most `most` of `count` numbers, evenly spread."""
    return sorted({(2 * k + 1) * count // (2 * min(count, most)) for k in range(min(count, most))})


def masks(frames: Folder | Video) -> dict[tuple[int, int], Bool[np.ndarray, "H W"]]:
    """(height, width) -> (H, W) bool: what the scope lets through, for the sizes of the pictures looked at.

    By majority over those that show a lumen.
    """
    votes: dict[tuple[int, int], list[np.ndarray]] = {}
    for picture in frames.read(set(spread_out(len(frames), LOOKED_AT))):
        if picture.image is not None and picture.wrong is None:
            height, width = picture.image.shape[:2]
            votes.setdefault((height, width), []).append(seen_through(picture.image))
    return {size: np.mean(found, axis=0) >= 0.5 for size, found in votes.items()}


def seen_through(image: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"]:
    """(H, W) bool: inside the black surround of one picture, (H, W, 3) uint8; everything where there is none.

    What is lit is opened, so that text beside the view falls away; the convex hull of its largest piece is what the
    scope lets through, for scopes' masks are convex and a dark lumen at their rim is a dent. One cell of the rim, into
    which compression smears, is left out.
    """
    from scipy import ndimage
    from skimage.morphology import convex_hull_image

    height, width = image.shape[:2]
    everything = np.ones((height, width), bool)
    step = -(-max(height, width) // GRID)
    level = image[::step, ::step].max(-1)
    lit = ndimage.median_filter(level, 3, mode="nearest") > DARK
    side = max(1, round(CORNER * min(lit.shape)))
    corners = [lit[y, x] for y in (slice(side), slice(-side, None)) for x in (slice(side), slice(-side, None))]
    if sum(not corner.any() for corner in corners) < 2:
        return everything
    around = max(3, round(OPENED * max(lit.shape)))
    # Beyond the picture's edge the view goes on.
    padded = np.pad(lit, around, mode="edge")
    opened = ndimage.binary_opening(padded, np.ones((around, around), bool))[around:-around, around:-around]
    pieces, count = ndimage.label(opened)
    if not count:
        return everything
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    hull = np.pad(convex_hull_image(largest, offset_coordinates=False), 1, mode="edge")
    hull = ndimage.binary_erosion(hull, np.ones((3, 3), bool))[1:-1, 1:-1]
    found = hull.repeat(step, 0).repeat(step, 1)[:height, :width]
    return found if 0 < found.mean() < 1 - LEAST else everything
