"""Statistics of a lumen as a camera finds it: its calibre, its folds, and the depths of views."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, signal

from endorender.ct import Prepared, lumen
from endorender.dataset import RenderConfig
from endorender.dataset.patient import outline
from endorender.dataset.variation import seed_of
from endorender.render.depth.exact import geometry
from endorender.scene import cameras
from endorender.scene.trajectory import _frames, poses, suitable

RAYS, FARTHEST, STEP = 48, 45.0, 0.4  # around; mm; mm


def walls(ready: Prepared) -> np.ndarray:
    """(N, RAYS) mm from every point of the way (1 mm apart), across it, to the wall; NaN where it lies beyond."""
    frames, mm = _frames(ready.path.points), np.arange(0, FARTHEST, STEP)
    a = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    rays = np.stack([np.cos(a), np.sin(a)], -1) @ np.swapaxes(frames[:, :, :2], 1, 2)
    out = np.full(rays.shape[:2], np.nan)
    for n, point in enumerate(ready.path.points):
        hu = lumen.sample(ready.volume, ready.volume.hu, point + mm[:, None, None] * rays[n])
        beyond = hu >= ready.lumen.threshold
        first = beyond.argmax(0)
        hit = np.flatnonzero(beyond.any(0) & (first > 0))
        k = first[hit]
        low, high = hu[k - 1, hit].astype(float), hu[k, hit].astype(float)
        out[n, hit] = STEP * (k - 1 + (ready.lumen.threshold - low) / (high - low))
    return out


def radii(wall: np.ndarray, mm: float) -> np.ndarray:
    """(N,) mm between folds: of the circle of a section's area, as wide as it gets within 2 cm. mm: of one row."""
    area = np.sqrt(np.nanmean(wall**2, axis=1))
    around = max(1, round(20 / mm))
    return np.asarray(ndimage.uniform_filter1d(ndimage.maximum_filter1d(area, around), around))


def folds(wall: np.ndarray, mm: float, least: float = 0.08) -> tuple[np.ndarray, np.ndarray]:
    """Depths, parts of the radius, and distances (mm) of the folds that lines along the wall cross, least: depth."""
    radius, depths, apart = radii(wall, mm), [], []
    ends = round(float(np.nanmedian(radius)) / mm)
    for line in wall.T[:: max(1, wall.shape[1] // 24)]:
        known = np.isfinite(line)
        known[:ends] = known[-ends:] = False  # the rounded ends are no folds
        if known.sum() < 20 / mm:
            continue
        into = ndimage.gaussian_filter1d(-(line / radius)[known], 0.6 / mm)
        tops, found = signal.find_peaks(into, prominence=least, wlen=round(50 / mm))
        depths.append(found["prominences"])
        apart.append(np.diff(tops) * mm)
    return np.concatenate(depths), np.concatenate(apart)


def views(ready: Prepared, config: RenderConfig, alias: str) -> np.ndarray:
    """(views, 3) of a patient, exact and nothing traced: the 95th percentile of z-depth over the median, and in mm the
    nearest (the first percentile) and the median."""
    drawn = [config.draw_view(alias, n) for n in range(config.views)]
    flown = {name: np.array([view["trajectory"][name] for view in drawn]) for name in drawn[0]["trajectory"]}
    seed = seed_of(config.seed, alias, "poses")
    flight = poses(*ready, config.views, seed, scope=suitable(*ready), **flown)
    scene = outline(config, config.ct[0], ready.volume, flight[0], ready.lumen.threshold)
    found = []
    for pose, view in zip(flight, drawn):
        z = geometry(scene.with_(world_from_camera=pose, camera=cameras.build(view["camera"]))).z_depth
        near, middle, far = np.percentile(z[np.isfinite(z)], [1, 50, 95])
        found.append((far / middle, near, middle))
    return np.array(found)
