"""Do depth, poses and cameras of a dataset fit together? Frames are carried into their neighbours."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.dataset import exr
from endorender.dataset.flow import in_picture, points_of, project
from endorender.dataset.frame import Dataset, Frame
from endorender.dataset.sheet import views_of
from endorender.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Real

TOLERANCE = 0.25  # mm of median residual that a patient's views may have
APART = 1.0  # mm of median residual beyond which a single pair does not fit
FLOW_PX = 0.25  # px, median, by which flow from poses and depth may differ from the flow that was stored
FEWEST = 50  # pixels seen twice, below which nothing is said
BESIDE = 2.0  # mm from the neighbour's plane at which a point counts as one that something hides
SHARE = 0.5  # of the pairs, or with a CT of the views, that must have been checked before anything is called sound
NAMED = 8  # of what does not fit, told one by one

Against = Callable[[str, list[Frame]], dict[str, Any]]


def check_geometry(
    dataset: Dataset, patients: Sequence[str] | None = None, share: float = SHARE, against: Against | None = None
) -> dict[str, Any]:
    """Reproject every view into the next one of its patient, and hold every pose against what its own files say.

    Per patient: `views`; `pairs` of views in a row, `checked`, those that see at least 50 pixels of one wall, and
    `unchecked`, the others: a pose that is far off sees nothing of its neighbour, so they acquit nobody.
    `overlap`, the share of pixels that land in the next picture; `hidden`, the share of those that something hides
    there, by the dataset's occlusion (without one, those 2 mm beside the surface); of the others `depth_mm`, median and
    95th percentile of how far a point lies from the plane of the nearest pixel there, None below 50 pixels;
    `photometric`, by variation the median difference of display images in 8-bit levels along the flow, and `still`, the
    same without any: light moves with the camera, so the first is not zero, but it should be the smaller one.
    `faults`, by kind: `pose`, views whose rows, or whose geometry file and rows, tell different poses; `flow`, pairs
    whose stored flow is not that of poses and depth (median above 0.25 px), overlap or none; `depth`, pairs whose
    residual has a median above 1 mm.

    against: compares views with the CT (`against_ct.against`); what it finds stands under `ct`.
    `verdict`: "does not fit" with any fault, with a patient's median above 0.25 mm, or a view that is not the CT's;
    "fits" if the share of what could be checked (pairs, or with a CT views) is at least `share`; else "undecided".
    `ok`: it fits. Raises UserError NO_POSES, NO_PAIRS, NO_OVERLAP where there is nothing to say at all.
    """
    if any(frame.world_from_camera is None for frame in dataset.frames):
        raise UserError("the dataset holds frames without a pose: there is nothing to check", "NO_POSES")
    found: dict[str, Any] = {}
    for patient in patients or dataset.info["patients"]:
        rows = views_of(dataset.select(patients=[patient]))
        if rows:
            found[patient] = _patient(rows)
            if against:
                found[patient]["ct"] = against(patient, [_first(row) for row in rows])
    pairs, checked = (sum(p[key] for p in found.values()) for key in ("pairs", "checked"))
    whole = {"pairs": pairs, "checked": checked, "unchecked": pairs - checked}
    views = sum(p["views"] for p in found.values())
    held = sum(p["ct"]["checked"] for p in found.values()) if against else 0
    if against:
        whole |= {"views": views, "checked_against_ct": held}
    faulty = any(_faulty(p) for p in found.values())
    if not pairs and not against and not faulty:
        raise UserError("no patient has two views in a row: render at least two, or give the CT with --ct", "NO_PAIRS")
    if not checked and not held and not faulty:
        raise UserError(
            "no two views in a row see the same wall: render more views of a patient, or give the CT with --ct",
            "NO_OVERLAP",
        )
    enough = max(checked / max(1, pairs), held / max(1, views)) >= share
    verdict = "does not fit" if faulty else "fits" if enough else "undecided"
    return {"ok": verdict == "fits", "verdict": verdict, "share_needed": share, **whole, "patients": found}


def _faulty(patient: dict[str, Any]) -> bool:
    depth = patient["depth_mm"]
    off = patient.get("ct", {}).get("off", 0)
    return bool(patient["faults"] or off or (depth and depth["median"] >= TOLERANCE))


def _first(row: dict[str, Frame]) -> Frame:
    return next(iter(row.values()))


def _patient(rows: list[dict[str, Frame]]) -> dict[str, Any]:
    pairs = [(a, b) for a, b in itertools.pairwise(rows) if _first(b).view == _first(a).view + 1]
    residuals, overlap, visible, checked = [], [], [], 0
    faults: dict[str, list[str]] = {"pose": [_named(row) for row in rows if _moved(row)], "flow": [], "depth": []}
    along: dict[str, list[np.ndarray]] = {}
    still: dict[str, list[np.ndarray]] = {}
    for row, after in pairs:
        residual, landed, uv = reproject(_first(row), _first(after))
        overlap.append(landed.mean())
        seen = landed & (np.abs(residual) < BESIDE if (hidden := _hidden(_first(row))) is None else ~hidden)
        visible.append(seen.sum() / max(1, landed.sum()))
        residuals.append(np.abs(residual[seen]))
        if seen.sum() >= FEWEST:
            checked += 1
            if np.median(residuals[-1]) > APART:
                faults["depth"].append(f"{_named(row)} to {_first(after).view}")
        if _flows_elsewhere(_first(row), uv):
            faults["flow"].append(f"{_named(row)} to {_first(after).view}")
        for name in (n for n in row if n in after):
            one, two = (r[name].image().astype(float) for r in (row, after))
            along.setdefault(name, []).append(np.abs(one[seen] - sample(two, uv[seen])).ravel())
            still.setdefault(name, []).append(np.abs(one[seen] - two[seen]).ravel())
    depth = np.concatenate(residuals) if residuals else np.empty(0)
    median, most = np.percentile(depth, [50, 95]) if len(depth) else (0.0, 0.0)
    told = {"median": round(float(median), 5), "p95": round(float(most), 5)}
    return {
        "views": len(rows),
        "pairs": len(pairs),
        "checked": checked,
        "unchecked": len(pairs) - checked,
        "overlap": round(float(np.mean(overlap)), 4) if pairs else None,
        "hidden": round(1 - float(np.mean(visible)), 4) if pairs else None,
        "depth_mm": told if len(depth) >= FEWEST else None,
        "photometric": {k: _median(v) for k, v in along.items()},
        "still": {k: _median(v) for k, v in still.items()},
        "faults": {kind: listed(which) for kind, which in faults.items() if which},
    }


def listed(which: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    more = len(which) - NAMED
    return [*which[:NAMED], f"{more} more"] if more > 0 else which


def _named(row: dict[str, Frame]) -> str:
    return f"view {_first(row).view}"


def _moved(row: dict[str, Frame]) -> bool:
    """Whether the rows of a view, or they and the header of its geometry, tell different poses or cameras."""
    frame = _first(row)
    if any((f.world_from_camera, f.camera) != (frame.world_from_camera, frame.camera) for f in row.values()):
        return True
    _, header = exr.read(frame.path("geometry"))
    if not isinstance(written := header.get("worldFromCamera"), str):
        return False
    return not np.allclose(json.loads(written), frame.world_from_camera, rtol=0, atol=1e-6)


def _flows_elsewhere(frame: Frame, uv: np.ndarray) -> bool:
    """Whether the stored flow differs from the one to (H, W, 2) pixels uv; False where none was stored."""
    try:
        stored = frame.flow()["flow"]
    except UserError:
        return False
    off = np.linalg.norm(stored + _grid(stored.shape[:2]) - uv, axis=-1)
    off = off[np.isfinite(stored).all(-1)]
    # A pixel that leads nowhere by one and somewhere by the other is off as well.
    return len(off) >= FEWEST and bool(np.median(np.where(np.isfinite(off), off, np.inf)) > FLOW_PX)


def _grid(shape: tuple[int, ...]) -> np.ndarray:
    """(H, W, 2) coordinates (u, v)."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    return np.stack([u, v], -1)


def _hidden(frame: Frame) -> np.ndarray | None:
    """(H, W) bool: what the dataset itself says of occlusion; None where it was rendered before there was any."""
    try:
        return frame.flow()["occlusion"]
    except UserError:
        return None


def _median(parts: list[np.ndarray]) -> float | None:
    values = np.concatenate(parts)
    return round(float(np.median(values)), 2) if len(values) else None


def reproject(
    frame: Frame, after: Frame
) -> tuple[Float[np.ndarray, "H W"], Bool[np.ndarray, "H W"], Float[np.ndarray, "H W 2"]]:
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


def sample(image: Real[np.ndarray, "H W C"], uv: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N C"]:
    """(H, W, C) at (N, 2) pixels, bilinear, held at the edges -> (N, C)."""
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(c, uv.T[::-1], order=1, mode="nearest") for c in np.moveaxis(image, -1, 0)], -1)
