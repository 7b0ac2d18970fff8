"""From slices to a volume: order, gaps, tilt, and the place in the patient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.pixels import hounsfield
from endorender.ct.resample import straighten
from endorender.ct.values import MAX_VOXELS, check_grid, checked_hu, compact
from endorender.ct.volume import Volume

if TYPE_CHECKING:
    from endorender.ct.dicom import Slice

SHEAR_DEG = 0.1
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def assemble(stack: list[Slice], notes: list[str], resample: bool, assume_hu: bool) -> Volume:
    """Slices of one geometry in any order -> Volume in RAS mm.

    notes: what was noticed so far; it becomes the volume's warnings.
    Raises CTError (MISSING_SLICE, DUPLICATE_SLICE, IRREGULAR_SPACING, GANTRY_TILT, NOT_HU, ...).
    """
    first = stack[0]
    check_grid((first.cols, first.rows, max(2, len(stack))), np.array([*first.pitch, 1.0]))
    normal = first.normal
    stack = sorted(stack, key=lambda s: float(s.position @ normal))
    planes = hounsfield(stack, assume_hu, notes)
    stack, planes = _without_duplicates(stack, planes, normal, notes)
    if len(stack) < 2:
        raise CTError("one slice is no volume: give the whole series", "TOO_FEW_SLICES")
    tilt = _tilt(stack, normal)
    if tilt > SHEAR_DEG and not resample:
        raise CTError(
            f"slices are tilted by {tilt:.2f} degrees (gantry tilt): --resample straightens them", "GANTRY_TILT"
        )
    heights = np.array([float(s.position @ normal) for s in stack])
    even = _even_heights(heights, resample, notes)
    if len(even) * first.rows * first.cols > MAX_VOXELS:
        raise CTError(f"{len(even)} resampled slices are too many: crop the scan first", "TOO_LARGE")
    if even is not heights:
        planes = _between(planes, heights, even)
    hu, found = checked_hu(np.stack([p.T for p in planes], axis=-1), assume_hu)
    pitch = (even[-1] - even[0]) / (len(even) - 1)
    step = normal * pitch
    if tilt > SHEAR_DEG:
        rise = stack[-1].position - stack[0].position
        step = rise / float(rise @ normal) * pitch
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * first.pitch[0]
    affine[:3, 1] = first.along_col * first.pitch[1]
    affine[:3, 2] = step
    affine[:3, 3] = stack[0].position
    affine = LPS_TO_RAS @ affine
    check_grid(hu.shape, np.linalg.norm(affine[:3, :3], axis=0))
    meta = {"source": "DICOM", **dict(first.facts)}
    return straighten(Volume(hu, affine, (*notes, *found), meta), resample, SHEAR_DEG)


def _without_duplicates(
    stack: list[Slice], planes: list[np.ndarray], normal: np.ndarray, notes: list[str]
) -> tuple[list[Slice], list[np.ndarray]]:
    """Identical slices at one position once; different ones are refused."""
    steps = np.diff([float(s.position @ normal) for s in stack])
    usual = float(np.median(steps[steps > 1e-3])) if (steps > 1e-3).any() else 1.0
    keep = [0]
    for i, step in enumerate(steps, 1):
        if step > max(1e-3, 0.01 * usual):
            keep.append(i)
        elif not np.array_equal(planes[i], planes[keep[-1]]):
            at = float(stack[i].position @ normal)
            raise CTError(
                f"two different slices lie at {at:.2f} mm: separate the acquisitions (phases) into folders",
                "DUPLICATE_SLICE",
            )
    if len(keep) < len(stack):
        notes.append(f"{len(stack) - len(keep)} duplicate slices were dropped")
    return [stack[i] for i in keep], [planes[i] for i in keep]


def _tilt(stack: list[Slice], normal: np.ndarray) -> float:
    """Degrees between the line of positions and the normal; 0 where rounding alone explains it."""
    offsets = np.array([s.position - stack[0].position for s in stack])
    along = offsets @ normal
    aside = offsets - along[:, None] * normal
    slope = aside[-1] / along[-1]
    stray = np.linalg.norm(aside - along[:, None] * slope, axis=1).max()
    if stray > max(0.01, 0.01 * min(stack[0].pitch)):
        raise CTError(
            f"slices are shifted sideways by up to {stray:.2f} mm: export the series again", "IRREGULAR_SPACING"
        )
    return math.degrees(math.atan(float(np.linalg.norm(slope)))) if np.linalg.norm(aside[-1]) > 0.01 else 0.0


def _even_heights(heights: np.ndarray, resample: bool, notes: list[str]) -> np.ndarray:
    """The heights themselves if evenly spaced, else (resample) an even grid over the same range."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    slack = max(0.01, 0.01 * usual)
    ideal = np.linspace(heights[0], heights[-1], len(heights))
    # Against the mean, not the median: rounded positions alternate about it. Drift is bounded as well.
    if (np.abs(steps - steps.mean()) <= slack).all() and np.abs(heights - ideal).max() <= max(slack, 0.25 * usual):
        return heights
    whole = np.rint(steps / steps.min())
    gaps = np.flatnonzero(whole > 1)
    if not resample:
        if len(gaps) and (np.abs(steps / whole - np.median(steps / whole)) <= slack).all():
            pitch = float(np.median(steps / whole))
            missing = [heights[g] + pitch * m for g in gaps for m in range(1, int(whole[g]))]
            where = ", ".join(f"{m:.2f}" for m in missing[:8]) + (", ..." if len(missing) > 8 else "")
            raise CTError(
                f"{len(missing)} slices are missing, at {where} mm along the stack: "
                "copy the whole series, or fill the gaps with --resample",
                "MISSING_SLICE",
            )
        raise CTError(
            f"slices are {steps.min():.3f} to {steps.max():.3f} mm apart: --resample puts them on an even grid",
            "IRREGULAR_SPACING",
        )
    pitch = usual
    even = heights[0] + pitch * np.arange(int(np.rint((heights[-1] - heights[0]) / pitch)) + 1)
    even[-1] = min(even[-1], heights[-1])
    even = np.linspace(heights[0], heights[-1], len(even))
    notes.append(
        f"slices {steps.min():.3f} to {steps.max():.3f} mm apart were interpolated onto {len(even)} even ones; "
        f"the widest gap is {steps.max():.2f} mm"
    )
    return even


def _between(planes: list[np.ndarray], heights: np.ndarray, even: np.ndarray) -> list[np.ndarray]:
    """Planes at other heights, linear between neighbours."""
    out = []
    for h in even:
        above = int(np.clip(np.searchsorted(heights, h), 1, len(heights) - 1))
        f = float((h - heights[above - 1]) / (heights[above] - heights[above - 1]))
        plane = planes[above - 1] * (1 - f) + planes[above] * f
        out.append(compact(np.rint(plane)) if planes[0].dtype.kind == "i" else plane)
    return out
