"""Do depth, poses and cameras of a dataset fit together? Frames are carried into their neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from endorender.dataset.flow import in_picture, points_of, project
from endorender.dataset.frame import Dataset, Frame
from endorender.dataset.sheet import views_of
from endorender.errors import UserError

TOLERANCE = 0.25  # mm of median residual that a dataset may have
FEWEST = 50  # pixels seen twice, below which nothing is said
BESIDE = 2.0  # mm from the neighbour's plane at which a point counts as one that something hides


def check_geometry(dataset: Dataset, patients: Sequence[str] | None = None) -> dict[str, Any]:
    """Reproject every view into the next one of its patient.

    Per patient: `pairs`; `overlap`, the share of pixels that land in the next picture; `hidden`, the share of those
    that something hides there, by the dataset's occlusion (without one, those 2 mm beside the surface); of the others
    `depth_mm`, median and 95th percentile of how far a point lies from the plane of the nearest pixel there;
    `photometric`, by variation the median difference of display images in 8-bit levels along the flow, and `still`, the
    same without any: light moves with the camera, so the first is not zero, but it should be the smaller one.
    `depth_mm` is None where fewer than 50 pixels are seen twice: views may be too far apart to say anything.
    `ok`: all medians of depth are below 0.25 mm.
    """
    if any(frame.world_from_camera is None for frame in dataset.frames):
        raise UserError("the dataset holds frames without a pose: there is nothing to check", "NO_POSES")
    found: dict[str, Any] = {}
    for patient in patients or dataset.info["patients"]:
        rows = views_of(dataset.select(patients=[patient]))
        pairs = [(a, b) for a, b in itertools.pairwise(rows) if _first(b).view == _first(a).view + 1]
        if pairs:
            found[patient] = _patient(pairs)
    if not found:
        raise UserError("no patient has two views in a row: render at least two", "NO_PAIRS")
    medians = [p["depth_mm"]["median"] for p in found.values() if p["depth_mm"]]
    if not medians:
        raise UserError("no two views in a row see the same wall: render more views of a patient", "NO_OVERLAP")
    return {"ok": all(m < TOLERANCE for m in medians), "patients": found}


def _first(row: dict[str, Frame]) -> Frame:
    return next(iter(row.values()))


def _patient(pairs: list[tuple[dict[str, Frame], dict[str, Frame]]]) -> dict[str, Any]:
    residuals, overlap, visible = [], [], []
    along: dict[str, list[np.ndarray]] = {}
    still: dict[str, list[np.ndarray]] = {}
    for row, after in pairs:
        residual, landed, uv = reproject(_first(row), _first(after))
        overlap.append(landed.mean())
        seen = landed & (np.abs(residual) < BESIDE if (hidden := _hidden(_first(row))) is None else ~hidden)
        visible.append(seen.sum() / max(1, landed.sum()))
        residuals.append(np.abs(residual[seen]))
        for name in (n for n in row if n in after):
            one, two = (r[name].image().astype(float) for r in (row, after))
            along.setdefault(name, []).append(np.abs(one[seen] - sample(two, uv[seen])).ravel())
            still.setdefault(name, []).append(np.abs(one[seen] - two[seen]).ravel())
    depth = np.concatenate(residuals)
    median, most = np.percentile(depth, [50, 95]) if len(depth) else (0.0, 0.0)
    told = {"median": round(float(median), 5), "p95": round(float(most), 5)}
    return {
        "pairs": len(pairs),
        "overlap": round(float(np.mean(overlap)), 4),
        "hidden": round(1 - float(np.mean(visible)), 4),
        "depth_mm": told if len(depth) >= FEWEST else None,
        "photometric": {k: _median(v) for k, v in along.items()},
        "still": {k: _median(v) for k, v in still.items()},
    }


def _hidden(frame: Frame) -> np.ndarray | None:
    """(H, W) bool: what the dataset itself says of occlusion; None where it was rendered before there was any."""
    try:
        return frame.flow()["occlusion"]
    except UserError:
        return None


def _median(parts: list[np.ndarray]) -> float | None:
    values = np.concatenate(parts)
    return round(float(np.median(values)), 2) if len(values) else None


def reproject(frame: Frame, after: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residual (H, W) mm, what landed in the next picture (H, W) bool, and where (H, W, 2) px.

    Residual: from a point to the plane through the nearest pixel's point there, along its normal. Free of the error
    that interpolating depth on a slanted wall would have.
    """
    from endorender.scene.camera import cameras

    one, two = frame.geometry(), after.geometry()
    cam, then = cameras.build(frame.camera), cameras.build(after.camera)
    points = points_of(one["distance"].astype(float), cam, frame.world_from_camera)
    uv = project(points, then, after.world_from_camera)
    landed = one["mask"] & in_picture(uv, then)
    nearest = np.where(landed[..., None], np.floor(uv + 0.5), 0).astype(int)
    there = points_of(two["distance"].astype(float), then, after.world_from_camera)[nearest[..., 1], nearest[..., 0]]
    normal = two["normal"].astype(float) @ np.array(after.world_from_camera)[:3, :3].T
    residual = ((points - there) * normal[nearest[..., 1], nearest[..., 0]]).sum(-1)
    landed &= np.isfinite(residual)
    return residual, landed, uv


def sample(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(H, W, C) at (N, 2) pixels, bilinear, held at the edges -> (N, C)."""
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(c, uv.T[::-1], order=1, mode="nearest") for c in np.moveaxis(image, -1, 0)], -1)
