"""Masks that somebody drew on a scan, of an organ or of tissues: NIfTI or DICOM SEG, on the very grid of the scan."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.resample import EDGE, mapped
from endorender.ct.volume import Volume
from endorender.errors import Notice

if TYPE_CHECKING:
    from jaxtyping import Bool, Shaped, UInt8

OFF_GRID_VOXELS = 0.1  # how far a mask's voxel may lie from the scan's: headers keep single precision
ASKED = "label mask", "give a NIfTI (.nii, .nii.gz) or DICOM SEG file"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # Segmentation, Label Map
LEAST_KEPT = 0.5  # of what is marked: a mask that loses more on the way to a straightened scan is another scan's


def read_mask(path: str | Path, volume: Volume) -> tuple[UInt8[np.ndarray, "I J K"], str]:
    """(I, J, K) uint8 labels on the grid of `volume`, 0 where nothing is marked, and the sha256 of the mask's file.

    path: a NIfTI file of whole numbers 0..255, or a DICOM SEG (file, folder or zip that holds one), whose segment
    numbers become the labels. Axes may be stored in another order or direction, as converters do: what counts is
    where a voxel lies in the patient. Another grid is refused, never resampled; but where reading has straightened the
    scan, there is nobody else's grid to draw on, and the nearest voxel of a NIfTI counts.
    Raises CTError: MASK_GRID (another grid), MASK_VALUES (no labels), MASK_KIND (neither NIfTI nor SEG), and those
    of reading a file.
    """
    from endorender.ct.limits import regular
    from endorender.ct.reader import is_nifti

    path = regular(Path(path), *ASKED)
    try:
        labels, data = _nifti(path, volume) if is_nifti(path) else _seg(path, volume)
    except CTError as error:
        if error.code.startswith("MASK_"):
            raise
        raise CTError(f"the label mask cannot be read: {error}", error.code) from None  # it is not the scan
    if not labels.any():
        raise CTError("the label mask is empty: nothing in it is marked", "MASK_VALUES")
    return np.ascontiguousarray(labels), hashlib.sha256(data).hexdigest()


def read_organ(spec: str | Path, volume: Volume) -> tuple[Bool[np.ndarray, "I J K"], str]:
    """(I, J, K) bool of the voxels in which a lumen may lie, and the sha256 of the mask's file.

    spec: what `read_mask` takes, then `:LABEL` or `:LABEL,LABEL` where not every label counts, as
    `segmentation.nii.gz:20` for the colon in a mask of TotalSegmentator. Raises CTError as `read_mask`.
    """
    path, wanted = chosen(spec)
    labels, digest = read_mask(path, volume)
    there = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:]) + 1
    listing = ", ".join(map(str, there[:12])) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
    if absent := sorted(set(wanted) - set(there.tolist())):
        raise CTError(f"the label mask holds no label {absent[0]}; there are {listing}", "MASK_VALUES")
    if len(there) > 1 and not wanted:
        told = f"the label mask holds the labels {listing}, and all count as lumen: MASK:LABEL,LABEL chooses"
        warnings.warn(told, Notice, stacklevel=2)
    return np.isin(labels, wanted) if wanted else labels > 0, digest


def chosen(spec: str | Path) -> tuple[Path, tuple[int, ...]]:
    """`mask.nii.gz:20,21` -> its path and (20, 21); () where all labels count. Raises CTError MASK_VALUES."""
    match = re.fullmatch(r"(.+):\s*(\d+(?:\s*,\s*\d+)*)\s*", str(spec), re.DOTALL)
    if match is None:
        if os.path.isfile(str(spec).rpartition(":")[0]) and not os.path.exists(spec):
            raise CTError("the labels of a mask are numbers, as in MASK:20 or MASK:20,21", "MASK_VALUES")
        return Path(spec), ()
    wanted = tuple(sorted({int(n) for n in match[2].split(",")}))
    if not 1 <= wanted[0] <= wanted[-1] <= 255:
        raise CTError("a label of a mask is from 1 to 255: 0 is what nobody marked", "MASK_VALUES")
    return Path(match[1]), wanted


def onto(labels: Shaped[np.ndarray, "I J K"], volume: Volume, grid: Volume) -> Shaped[np.ndarray, "A B C"]:
    """Labels on the grid of `volume`, looked up at the voxels of another grid: the nearest, 0 outside."""
    if labels.shape == grid.shape and np.allclose(volume.affine, grid.affine):
        return labels
    # A label fills its voxel, half a pitch beyond the centre.
    return mapped(labels, volume.voxel_from_world @ grid.affine, grid.shape, 0, 0, 0.5 + EDGE)


def _nifti(path: Path, volume: Volume) -> tuple[np.ndarray, bytes]:
    from endorender.ct.formats import nifti

    image, shape, affine = nifti.opened(path, [])
    with closing(image.dataobj.file_like):
        labels = _labels(nifti.values(image, shape, []))
    try:
        placed = _placed(labels, affine, volume)
    except CTError as error:
        if error.code != "MASK_GRID" or "straightened_deg" not in volume.meta:
            raise
        placed = mapped(labels, np.linalg.inv(affine) @ volume.affine, volume.shape, 0, 0, 0.5 + EDGE)
        size, ours = (abs(np.linalg.det(a[:3, :3])) for a in (affine, volume.affine))
        if np.count_nonzero(placed) * ours < LEAST_KEPT * np.count_nonzero(labels) * size:
            raise error from None
    return placed, path.read_bytes()


def _labels(values: np.ndarray) -> np.ndarray:
    lo, hi = float(values.min()), float(values.max())
    if not 0 <= lo <= hi <= 255 or (values.dtype.kind == "f" and not np.array_equal(values, np.rint(values))):
        raise CTError(f"a label mask holds whole numbers from 0 to 255, this one {lo:g} to {hi:g}", "MASK_VALUES")
    return values.astype(np.uint8)


def _elsewhere(what: str) -> CTError:
    way_out = "draw it on this very scan, or resample it onto the scan"
    return CTError(f"the label mask does not lie on the grid of the scan: {what}; {way_out}", "MASK_GRID")


def _sizes(shape: tuple[int, ...], volume: Volume) -> str:
    theirs, ours = (" x ".join(map(str, s)) for s in (shape, volume.shape))
    return f"it is {theirs} voxels, the scan {ours}"


def _placed(values: np.ndarray, affine: np.ndarray, volume: Volume) -> np.ndarray:
    """The same values in the order of the scan's axes. Raises CTError MASK_GRID."""
    from nibabel import orientations

    to_scan = volume.voxel_from_world @ affine
    turn = orientations.io_orientation(to_scan)
    if np.isnan(turn).any():
        raise _elsewhere(_sizes(values.shape, volume))
    values = orientations.apply_orientation(values, turn)
    if values.shape != volume.shape:
        raise _elsewhere(_sizes(values.shape, volume))
    to_scan = to_scan @ orientations.inv_ornt_aff(turn, tuple(values.shape[int(axis)] for axis in turn[:, 0]))
    ends = np.array(np.meshgrid(*[(0.0, n - 1.0) for n in values.shape], indexing="ij")).reshape(3, -1).T
    apart = float(np.abs(ends @ to_scan[:3, :3].T + to_scan[:3, 3] - ends).max())
    if not apart <= OFF_GRID_VOXELS:
        raise _elsewhere(f"it lies up to {apart:.2g} voxels off")
    return values


def _seg(path: Path, volume: Volume) -> tuple[np.ndarray, bytes]:
    """Frames of a segmentation object, each laid where its position says; and the bytes of its file."""
    from endorender.ct.dicom.parsing import parse, whole
    from endorender.ct.files import files, quiet

    found = []
    with quiet():
        for entry in files(path):
            parsed = parse(entry)
            if parsed is not None and str(parsed.dataset.get("SOPClassUID", "")) in SEG_CLASSES:
                found.append(entry)
    if len(found) != 1:
        raise CTError(
            f"{len(found)} DICOM segmentations here, one is needed: give one NIfTI (.nii, .nii.gz) or DICOM SEG file",
            "MASK_KIND",
        )
    with quiet():
        try:
            labels = _frames(whole(found[0]), volume)
            with found[0].open() as file:
                return labels, file.read()
        except CTError:
            raise
        except Exception as error:  # pydicom converts a value when it is asked for, and may choke on it
            kind = type(error).__name__
            raise CTError(f"the DICOM segmentation is damaged ({kind}): export it again", "TRUNCATED") from None


def _frames(seg: Any, volume: Volume) -> np.ndarray:
    from endorender.ct.dicom.stored import all_planes
    from endorender.ct.values import MAX_VOXELS

    rows, cols, count = int(seg.Rows), int(seg.Columns), int(seg.get("NumberOfFrames") or 1)
    described = seg.PerFrameFunctionalGroupsSequence
    if len(described) != count or rows * cols * count > MAX_VOXELS:
        raise CTError("the DICOM segmentation contradicts itself about its frames: export it again", "TRUNCATED")
    shared = seg.SharedFunctionalGroupsSequence[0]
    fractional = str(seg.get("SegmentationType", "BINARY")) == "FRACTIONAL"
    half = int(seg.get("MaximumFractionalValue", 255)) / 2
    pixels = all_planes(seg, count).reshape(count, rows, cols)
    labels = np.zeros(volume.shape, np.uint8)
    for frame, plane in zip(described, pixels):
        where = _place(frame, shared)
        if fractional:
            plane = plane > half
        if not plane.any():
            continue
        if str(seg.get("SegmentationType")) == "LABELMAP":
            marked = plane
        else:
            name = "SegmentIdentificationSequence"
            number = int((frame if name in frame else shared)[name][0].ReferencedSegmentNumber)
            if not 1 <= number <= 255:
                raise CTError(f"segment {number} of the DICOM SEG is not in 1..255", "MASK_VALUES")
            marked = plane.astype(np.uint8) * number
        _lay(labels, _labels(marked), where, volume)
    return labels


def _place(frame: Any, shared: Any) -> np.ndarray:
    """(4, 4) RAS mm from (column, row, 0) of a frame; what the frame says goes before what all share."""

    def of(macro: str, name: str) -> np.ndarray:
        source = frame if macro in frame else shared
        return np.array([float(v) for v in source[macro][0][name].value])

    axes = of("PlaneOrientationSequence", "ImageOrientationPatient")
    between_rows, between_cols = of("PixelMeasuresSequence", "PixelSpacing")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[:3] * between_cols, axes[3:] * between_rows
    affine[:3, 2] = np.cross(axes[:3], axes[3:])
    affine[:3, 3] = of("PlanePositionSequence", "ImagePositionPatient")
    return np.asarray(LPS_TO_RAS @ affine)


def _lay(labels: np.ndarray, plane: np.ndarray, where: np.ndarray, volume: Volume) -> None:
    """Marks the voxels under one frame's marked pixels. Raises CTError MASK_GRID, MASK_VALUES (segments overlap)."""
    row, col = np.nonzero(plane)
    ends = np.array([[0, 0, 0], [plane.shape[1] - 1, 0, 0], [0, plane.shape[0] - 1, 0]], float)
    ends = volume.to_voxel(ends @ where[:3, :3].T + where[:3, 3])
    at = np.rint(ends)
    sides = [np.abs(at[1] - at[0]).max() + 1, np.abs(at[2] - at[0]).max() + 1]
    inside = (at >= 0).all() and (at < volume.shape).all()
    if np.abs(ends - at).max() > OFF_GRID_VOXELS or not inside or sides != [plane.shape[1], plane.shape[0]]:
        raise _elsewhere(f"a frame of {plane.shape[1]} x {plane.shape[0]} lies beside the scan's slices")
    per_col = (at[1] - at[0]) / max(1, plane.shape[1] - 1)
    per_row = (at[2] - at[0]) / max(1, plane.shape[0] - 1)
    voxel = (at[0] + col[:, None] * per_col + row[:, None] * per_row).astype(int)
    index = tuple(voxel.T)
    if (labels[index] > 0).any():
        raise CTError("segments of the DICOM SEG overlap: export them as separate masks", "MASK_VALUES")
    labels[index] = plane[row, col]
