"""Figures of how pictures look, to hold beside those of real endoscopes.

`python tests/benchmarks/appearance.py DATASET ...`, folders of `endorender render`. For each condition, medians over
its frames: luminance in percentiles, saturation (HSV) of five equal groups of pixels from dark to bright, hue of what
lies in shade and of what is lit, and glints: how many, how large, how compact. Pixels behind the camera's mask do not
count.
"""

from __future__ import annotations

import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

PERCENTILES = (2, 10, 50, 90, 98)
WHITE = 0.84  # all channels above this share of full scale are near white (sRGB 214)
RISE = 25  # levels by which a glint's weakest channel stands above what lies around it
AROUND = 11 / 80  # of the picture's width, over which that is the median
RIM = 4  # pixels inside of a mask's rim that are not looked at for glints
LEAST_PX = 4.0  # area of a glint in a picture 320 pixels wide: less is noise


@dataclass(frozen=True)
class Appearance:
    """Figures of a picture, or their medians over several.

    luminance: at PERCENTILES, 8-bit BT.709. saturation: HSV, of five equal groups of pixels from dark to bright.
    shade, lit: hue in degrees of the second darkest and of the fourth group, -180..180. glints: specks whiter than what
    lies around. size: their median diameter in a picture 320 pixels wide. filled: see `fill`, their median. burnt:
    share of pixels that are near white and no glint.
    """

    luminance: np.ndarray
    saturation: np.ndarray
    shade: float
    lit: float
    glints: float
    size: float
    filled: float
    burnt: float


def hsv(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) in 0..1 -> saturation, and hue in degrees, -180..180."""
    top, low = pixels.max(-1), pixels.min(-1)
    spread = np.maximum(top - low, 1e-9)
    r, g, b = pixels.T
    hue = np.where(top == r, (g - b) / spread, np.where(top == g, 2 + (b - r) / spread, 4 + (r - g) / spread))
    return np.where(top > 0, (top - low) / np.maximum(top, 1e-9), 0), (60 * hue + 180) % 360 - 180


def diameter(pixels: np.ndarray) -> float:
    """Of the disk of the same area."""
    return float(2 * np.sqrt(len(pixels) / np.pi))


def fill(pixels: np.ndarray) -> float:
    """(N, 2) pixels -> their area over that of the ellipse with their second moments: 1 for a disk, less for lace."""
    moments = np.cov(pixels.T, bias=True) + np.eye(2) / 12  # of a pixel itself
    return float(len(pixels) / (4 * np.pi * np.sqrt(np.linalg.det(moments))))


def around(level: np.ndarray) -> np.ndarray:
    """(H, W) -> the median about each pixel or its neighbours, found on every n-th pixel and interpolated.

    The greatest of neighbours, so that the edge of a bright fold does not stand above what it belongs to.
    """
    from scipy.ndimage import map_coordinates, maximum_filter, median_filter

    step = max(1, round(level.shape[1] / 80))
    coarse = median_filter(level[step // 2 :: step, step // 2 :: step], round(AROUND * level.shape[1] / step))
    coarse = maximum_filter(coarse, 3)
    at = np.indices(level.shape) / step - (step // 2) / step
    return np.asarray(map_coordinates(coarse, at, order=1, mode="nearest"))


def measure(picture: np.ndarray, seen: np.ndarray | None = None) -> Appearance:
    """Figures of one (H, W, 3) uint8 picture. seen: (H, W) bool, what counts."""
    from scipy.ndimage import binary_erosion, distance_transform_edt, label

    from endorender.scene.response import LUMA

    seen = np.ones(picture.shape[:2], bool) if seen is None else seen
    pixels = picture[seen] / 255.0
    luma = pixels @ LUMA
    groups = np.array_split(np.argsort(luma, kind="stable"), 5)
    saturation = np.array([hsv(pixels[g])[0].mean() for g in groups])
    # Of the mean colour: the hue of a pixel that is nearly grey is noise.
    shade, lit = (float(hsv(pixels[groups[n]].mean(0)[None])[1][0]) for n in (1, 3))
    weakest = picture.min(-1).astype(float)
    scale = 320 / picture.shape[1]
    if not seen.all():  # the rim of a mask is a step, and JPEG frays it: go on with what is seen some pixels inside
        inner = binary_erosion(seen, iterations=RIM, border_value=1)
        weakest = weakest[tuple(distance_transform_edt(~inner, return_distances=False, return_indices=True))]
    named, count = label((weakest - around(weakest) >= RISE) & seen, np.ones((3, 3)))
    specks = [np.argwhere(named == n) for n in range(1, count + 1)]
    glints = [s for s in specks if len(s) >= max(2, LEAST_PX / scale**2)]
    burnt = ((weakest >= WHITE * 255) & (named == 0) & seen).sum()
    size, filled = np.median([(scale * diameter(s), fill(s)) for s in glints], 0) if glints else (np.nan, np.nan)
    return Appearance(
        np.percentile(luma * 255, PERCENTILES),
        saturation,
        shade,
        lit,
        len(glints),
        float(size),
        float(filled),
        float(burnt / max(1, seen.sum())),
    )


def median(several: list[Appearance]) -> Appearance:
    """Of each figure, over the pictures that have it."""
    columns = [np.array(column) for column in zip(*(astuple(a) for a in several))]
    kept = [c if np.isnan(c).all() else np.nanmedian(c, axis=0) for c in columns]
    return Appearance(*(k if k.ndim == 1 and n < 2 else float(np.ravel(k)[0]) for n, k in enumerate(kept)))


def told(name: str, count: int, a: Appearance) -> str:
    """A line of the table."""
    return (
        f"{name:22} {count:3d}  {' '.join(f'{v:4.0f}' for v in a.luminance)}  "
        f"{' '.join(f'{v:.2f}' for v in a.saturation)}  {a.shade:5.0f} {a.lit:5.0f}  "
        f"{a.glints:5.1f} {a.size:5.1f} {a.filled:5.2f}  {a.burnt:6.1%}"
    )


HEAD = (
    f"{'condition':22} {'n':>3}  {'luminance at 2 10 50 90 98 %':24}  {'saturation, dark to bright':24}  "
    f"hue: shade lit  glints: n px fill   burnt"
)


def main(folders: list[str]) -> None:
    """Print the table: a line for each condition of each dataset, and each patient's."""
    from endorender.dataset import open_dataset
    from endorender.scene.camera import cameras

    print(HEAD)
    for folder in folders:
        found: dict[str, list[Appearance]] = {}
        for frame in open_dataset(folder).frames:
            measured = measure(frame.image(), cameras.build(frame.camera).visible())
            for name in (frame.variation, f"  {frame.variation} {frame.patient}"):
                found.setdefault(name, []).append(measured)
        for name, several in found.items():
            print(told(name, len(several), median(several)))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(sys.argv[1:])
