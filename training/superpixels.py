"""Superpixels of an image, who borders whom, and what each looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Integer

LBP_CODES = 10  # uniform patterns of 8 neighbours


class Superpixels(NamedTuple):
    """labels: (H, W) int64, 0 … N − 1. pairs: (E, 2) int64, each pair of neighbours once.

    features: what the CRF compares, each (N, C) float32: mean colour (display values), colour histogram
    and histogram of local binary patterns (shares, so that each sums to 1, or to 1 for each channel).
    """

    labels: Integer[np.ndarray, "H W"]
    pairs: Integer[np.ndarray, "E 2"]
    features: tuple[Float32[np.ndarray, "N _"], Float32[np.ndarray, "N _"], Float32[np.ndarray, "N _"]]

    @property
    def number(self) -> int:
        return len(self.features[0])


def superpixels(image: Float[np.ndarray, "H W 3"], count: int, compactness: float, bins: int) -> Superpixels:
    """SLIC (Achanta 2012) of a display image (H, W, 3) in 0..1, into about `count` superpixels.

    Small images get fewer, so that one has at least about four pixels to be described by.
    The same image gives the same superpixels. Local binary patterns: Ojala 2002, uniform, radius 1.
    """
    from skimage.feature import local_binary_pattern
    from skimage.segmentation import slic

    image = np.ascontiguousarray(image, np.float64)
    wanted = max(1, min(count, image.shape[0] * image.shape[1] // 4))
    # A little smoothing: on noise SLIC's pieces are small and scattered, and are merged into one.
    found = slic(image, wanted, compactness, sigma=1, start_label=0, channel_axis=-1)
    _, labels = np.unique(found, return_inverse=True)
    labels = labels.reshape(found.shape)
    grey = np.round(255 * image.mean(-1)).astype(np.uint8)  # whole numbers: no ties decided by rounding
    codes = local_binary_pattern(grey, 8, 1, "uniform").astype(int)
    flat, n = labels.ravel(), int(labels.max()) + 1
    size = np.bincount(flat, minlength=n).astype(float)
    colour = np.stack([np.bincount(flat, image[..., c].ravel(), n) / size for c in range(3)], axis=1)
    level = np.minimum((image * bins).astype(int), bins - 1)
    histogram = np.concatenate([_shares(flat, level[..., c].ravel(), n, bins, size) for c in range(3)], axis=1)
    texture = _shares(flat, codes.ravel(), n, LBP_CODES, size)
    features = (colour.astype(np.float32), histogram.astype(np.float32), texture.astype(np.float32))
    return Superpixels(labels, _neighbours(labels), features)


def _shares(labels: np.ndarray, values: np.ndarray, count: int, bins: int, size: np.ndarray) -> np.ndarray:
    table = np.bincount(labels * bins + values, minlength=count * bins).reshape(count, bins)
    return table / size[:, None]


def _neighbours(labels: np.ndarray) -> np.ndarray:
    """(E, 2): labels that touch along a pixel's side, smaller first, sorted."""
    right = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1)
    down = np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1)
    pairs = np.concatenate([right, down])
    less, more, n = pairs.min(1), pairs.max(1), int(labels.max()) + 1
    found = np.unique((less * n + more)[less != more])  # of whole numbers: a tenth of the time of sorting rows
    return np.stack([found // n, found % n], axis=1)
