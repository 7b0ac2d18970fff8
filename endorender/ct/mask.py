"""A label mask that somebody drew on a scan: NIfTI or DICOM SEG, on the very grid of the scan."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.volume import Volume

OFF_GRID_VOXELS = 0.1  # how far a mask's voxel may lie from the scan's
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # Segmentation, Label Map


def load_mask(path: str | Path, volume: Volume) -> np.ndarray:
    """(I, J, K) uint8 labels on the grid of `volume`, 0 where nothing is marked.

    path: a NIfTI file of whole numbers 0..255, or a DICOM SEG (file, folder or zip that holds one), whose segment
    numbers become the labels. Axes may be stored in another order or direction, as converters do: what counts is
    where a voxel lies in the patient.
    Raises CTError: MASK_GRID (another grid), MASK_VALUES (no labels), MASK_KIND (neither NIfTI nor SEG), and those
    of reading a file.
    """
    from endorender.ct.limits import regular
    from endorender.ct.reader import is_nifti

    path = Path(path)
    regular(path)
    labels = _nifti(path, volume) if is_nifti(path) else _seg(path, volume)
    if not labels.any():
        raise CTError("the label mask is empty: nothing in it is marked", "MASK_VALUES")
    return labels


def _nifti(path: Path, volume: Volume) -> np.ndarray:
    from endorender.ct import nifti

    image, shape, affine = nifti.opened(path, [])
    with closing(image.dataobj.file_like):
        if sorted(shape) != sorted(volume.shape):
            raise _elsewhere(shape, volume)
        return _labels(_onto(nifti.values(image, shape, []), affine, volume))


def _labels(values: np.ndarray) -> np.ndarray:
    lo, hi = float(values.min()), float(values.max())
    if not 0 <= lo <= hi <= 255 or (values.dtype.kind == "f" and not np.array_equal(values, np.rint(values))):
        raise CTError(f"a label mask holds whole numbers 0..255, this one {lo:g} to {hi:g}", "MASK_VALUES")
    return values.astype(np.uint8)


def _elsewhere(shape: tuple[int, ...], volume: Volume) -> CTError:
    theirs, ours = (" x ".join(map(str, s)) for s in (shape, volume.shape))
    return CTError(
        f"the label mask ({theirs}) does not lie on the grid of the scan ({ours}): "
        "draw it on this very scan, or resample it onto the scan",
        "MASK_GRID",
    )


def _onto(values: np.ndarray, affine: np.ndarray, volume: Volume) -> np.ndarray:
    """The same values in the order of the scan's axes. Raises CTError MASK_GRID."""
    to_scan = volume.voxel_from_world @ affine
    turn = np.rint(to_scan[:3, :3])
    ends = np.array(np.meshgrid(*[(0.0, n - 1.0) for n in values.shape], indexing="ij")).reshape(3, -1).T
    exact = ends @ to_scan[:3, :3].T + to_scan[:3, 3]
    order = np.abs(turn).argmax(axis=1)
    lattice = sorted(order) == [0, 1, 2] and np.array_equal(np.abs(turn).sum(axis=1), np.ones(3))
    low, high = exact.min(axis=0), exact.max(axis=0)
    if not lattice or np.abs(low).max() > OFF_GRID_VOXELS:
        raise _elsewhere(values.shape, volume)
    if np.abs(high - np.array(volume.shape) + 1).max() > OFF_GRID_VOXELS:
        raise _elsewhere(values.shape, volume)
    back = tuple(slice(None, None, int(turn[axis, order[axis]])) for axis in range(3))
    return values.transpose(tuple(int(o) for o in order))[back]


def _seg(path: Path, volume: Volume) -> np.ndarray:
    """Frames of a segmentation object, each laid where its position says."""
    from endorender.ct.files import files, quiet
    from endorender.ct.parsing import parse, whole

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
            return _frames(whole(found[0]), volume)
        except CTError:
            raise
        except Exception as error:  # pydicom converts a value when it is asked for, and may choke on it
            kind = type(error).__name__
            raise CTError(f"the DICOM segmentation is damaged ({kind}): export it again", "TRUNCATED") from None


def _frames(seg: Any, volume: Volume) -> np.ndarray:
    from endorender.ct.stored import all_planes
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
        raise _elsewhere(plane.shape, volume)
    per_col = (at[1] - at[0]) / max(1, plane.shape[1] - 1)
    per_row = (at[2] - at[0]) / max(1, plane.shape[0] - 1)
    voxel = (at[0] + col[:, None] * per_col + row[:, None] * per_row).astype(int)
    index = tuple(voxel.T)
    if (labels[index] > 0).any():
        raise CTError("segments of the DICOM SEG overlap: export them as separate masks", "MASK_VALUES")
    labels[index] = plane[row, col]
