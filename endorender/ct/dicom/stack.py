"""From slices to a volume: order, gaps, tilt, and the place in the patient."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from endorender.ct.dicom import kinds
from endorender.ct.dicom.phases import layers
from endorender.ct.dicom.pixels import hounsfield
from endorender.ct.errors import CTError
from endorender.ct.resample import straighten
from endorender.ct.values import MAX_VOXELS, check_grid, checked_hu
from endorender.ct.volume import SHEAR_DEG, Skewed, Volume

if TYPE_CHECKING:
    from endorender.ct.dicom.slices import Slice

Progress = Callable[[float, int, str], None]
INVENTED = 0.5  # slices that --resample is advised to invent, for each that is there
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def assemble(
    stack: list[Slice], notes: list[str], resample: bool, assume_hu: bool, progress: Progress | None = None
) -> Volume:
    """Slices of one geometry in any order -> Volume in RAS mm.

    notes: what was noticed so far; it becomes the volume's warnings.
    Raises CTError (MISSING_SLICE, DUPLICATE_SLICE, IRREGULAR_SPACING, GANTRY_TILT, NOT_HU, ...).
    """
    first = stack[0]
    check_grid((first.cols, first.rows, max(2, len(stack))), np.array([*first.pitch, 1.0]))
    normal = first.normal
    stack = sorted(stack, key=lambda s: float(s.position @ normal))
    kinds.check(stack, resample, assume_hu, notes)
    layer = layers(stack)
    places = [stack[i] for i in np.flatnonzero(np.diff(layer, prepend=-1))]
    _check_places(stack, places)
    tilt = _tilt(places, normal)
    if tilt > SHEAR_DEG and not resample:
        raise CTError(
            f"slices are tilted by {tilt:.2f} degrees (gantry tilt): --resample straightens them", "GANTRY_TILT"
        )
    heights = np.array([float(s.position @ normal) for s in places])
    even = _even_heights(heights, resample, notes)
    if len(even) * first.rows * first.cols > MAX_VOXELS:
        raise CTError(f"{len(even)} resampled slices are too many: crop the scan first", "TOO_LARGE")
    planes, span = _filled(stack, layer, heights, assume_hu, notes, progress)
    _remark(stack, heights, notes)
    if even is not heights:
        planes = _between(planes, heights, even)
    # Slices lie one after the other in memory, as they came: a transposed copy would cost as much as reading.
    hu, found = checked_hu(planes.transpose(2, 1, 0), assume_hu, span)
    pitch = (even[-1] - even[0]) / (len(even) - 1)
    step = normal * pitch
    if tilt > SHEAR_DEG:
        rise = places[-1].position - places[0].position
        step = rise / float(rise @ normal) * pitch
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * first.pitch[0]
    affine[:3, 1] = first.along_col * first.pitch[1]
    affine[:3, 2] = step
    affine[:3, 3] = places[0].position
    affine = LPS_TO_RAS @ affine
    check_grid(hu.shape, np.linalg.norm(affine[:3, :3], axis=0))
    meta = {"source": "DICOM", **dict(first.facts)}
    return straighten(Skewed(hu, affine, (*notes, *found), meta), resample, SHEAR_DEG)


def _check_places(stack: list[Slice], places: list[Slice]) -> None:
    """Raises CTError TOO_FEW_SLICES, MISSING_TAG."""
    nowhere = sum(not s.position.any() for s in stack)
    if nowhere > 1 and nowhere > len(stack) - len(places):
        raise CTError(
            f"{nowhere} slices have the position 0, 0, 0, as careless anonymisation leaves it: export the series again "
            "with ImagePositionPatient",
            "MISSING_TAG",
        )
    if len(places) < 2 and len(stack) > 1:
        raise CTError(
            f"all {len(stack)} slices lie at one place, a time series or copies of one slice: give a series along the "
            "body",
            "TOO_FEW_SLICES",
        )
    if len(places) < 2:
        raise CTError("one slice is no volume: give the whole series", "TOO_FEW_SLICES")


def _filled(
    stack: list[Slice],
    layer: np.ndarray,
    heights: np.ndarray,
    assume_hu: bool,
    notes: list[str],
    progress: Progress | None,
) -> tuple[np.ndarray, tuple[float, float]]:
    """(K, rows, cols) HU, int16 or float32, and their range. Identical slices at one place count once; different ones
    are refused."""
    planes = np.empty((len(heights), stack[0].rows, stack[0].cols), np.int16)
    fresh = np.diff(layer, prepend=-1) > 0
    low, high = np.inf, -np.inf

    def room(n: int) -> np.ndarray | None:
        return planes[layer[n]] if fresh[n] and planes.dtype == np.int16 else None

    # While the series is read: a generator that an error leaves behind would keep what it opened.
    with closing(hounsfield(stack, assume_hu, notes, room)) as slices:
        for n, (hu, least, most) in enumerate(slices):
            if progress is not None:
                progress(n, len(stack), "reading slices")
            if hu.dtype != planes.dtype and planes.dtype == np.int16:
                planes = planes.astype(np.float32)
            at = layer[n]
            if not fresh[n]:
                if not np.array_equal(planes[at], hu.astype(planes.dtype, copy=False)):
                    raise CTError(
                        f"two different slices lie at {heights[at]:.2f} mm, and no tag tells two scans apart: "
                        "separate the acquisitions (phases) into folders",
                        "DUPLICATE_SLICE",
                    )
            elif not np.may_share_memory(planes[at], hu):
                planes[at] = hu
            low, high = min(low, least), max(high, most)
    if len(heights) < len(stack):
        notes.append(f"{len(stack) - len(heights)} duplicate slices were dropped")
    return planes, (float(low), float(high))


def _remark(stack: list[Slice], heights: np.ndarray, notes: list[str]) -> None:
    """What no position can prove but a person should know."""
    thickness = dict(stack[0].facts).get("thickness_mm")
    pitch = float(np.diff(heights).mean())
    if thickness and 0 < thickness < 0.5 * pitch:
        notes.append(f"slices are {thickness:g} mm thick and {pitch:.3g} mm apart: what lies between was not scanned")
    expected = stack[0].expected
    if expected > len(stack) and {s.expected for s in stack} == {expected}:
        notes.append(f"the header counts {expected} images in the acquisition, {len(stack)} are here")


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
            way_out = "copy the whole series"
            if len(missing) <= INVENTED * len(heights):
                way_out += ", or fill the gaps with --resample"
            raise CTError(
                f"{len(missing)} slices are missing, at {where} mm along the stack, {len(heights)} are here: {way_out}",
                "MISSING_SLICE",
            )
        way_out = "--resample puts them on an even grid"
        if (heights[-1] - heights[0]) / steps.min() > (1 + INVENTED) * len(heights):
            way_out = "slices are missing or several series are mixed, copy or export the series again"
        raise CTError(f"slices are {steps.min():.3f} to {steps.max():.3f} mm apart: {way_out}", "IRREGULAR_SPACING")
    # The finest: what was scanned at 1 mm is not thrown away because more was scanned at 2 mm.
    pitch = float(steps.min())
    even = heights[0] + pitch * np.arange(int(np.rint((heights[-1] - heights[0]) / pitch)) + 1)
    even[-1] = min(even[-1], heights[-1])
    even = np.linspace(heights[0], heights[-1], len(even))
    notes.append(
        f"{len(heights)} slices {steps.min():.3f} to {steps.max():.3f} mm apart were interpolated onto {len(even)} "
        f"even ones; the widest gap is {steps.max():.2f} mm"
    )
    return even


def _between(planes: np.ndarray, heights: np.ndarray, even: np.ndarray) -> np.ndarray:
    """(K, rows, cols) planes at other heights, linear between neighbours."""
    out = np.empty((len(even), *planes.shape[1:]), planes.dtype)
    for n, h in enumerate(even):
        above = int(np.clip(np.searchsorted(heights, h), 1, len(heights) - 1))
        f = float((h - heights[above - 1]) / (heights[above] - heights[above - 1]))
        plane = planes[above - 1] * (1 - f) + planes[above] * f
        out[n] = np.rint(plane) if planes.dtype.kind == "i" else plane
    return out
