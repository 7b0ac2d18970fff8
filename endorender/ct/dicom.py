"""DICOM in: which files make a volume, and in which order."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.pixels import MAX_FILE, hounsfield
from endorender.ct.resample import straighten
from endorender.ct.values import MAX_VOXELS, check_grid, checked_hu, compact
from endorender.ct.volume import Volume

Opener = Callable[[], BinaryIO]
CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
)
DEFLATED = "1.2.840.10008.1.2.1.99"
SHEAR_DEG = 0.1
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Slice:
    """One axial plane: a classic file, or one frame of an enhanced one."""

    open: Opener
    frame: int | None
    uid: str
    number: int
    rows: int
    cols: int
    position: np.ndarray  # (3,) LPS mm, centre of the first pixel
    along_row: np.ndarray  # (3,) unit, direction in which the column index grows
    along_col: np.ndarray  # (3,) unit, direction in which the row index grows
    pitch: tuple[float, float]  # mm between columns, between rows
    rescale: tuple[float, float] | None  # slope, intercept
    facts: tuple[tuple[str, Any], ...]

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit, LPS."""
        n = np.cross(self.along_row, self.along_col)
        return np.asarray(n / np.linalg.norm(n))

    @property
    def geometry(self) -> tuple[Any, ...]:
        """Equal for the slices of one stack: size, orientation and pitch, each to what rounding leaves."""
        axes = (*self.along_row, *self.along_col)
        return (self.rows, self.cols, *(round(float(a), 3) + 0.0 for a in axes), *(round(p, 4) for p in self.pitch))


def read(path: Path, series: str | None = None, resample: bool = False, assume_hu: bool = False) -> Volume:
    """A CT from a folder (searched to the bottom), one file, or a zip of DICOM.

    series: number in the list that SERIES_AMBIGUOUS prints, or a SeriesInstanceUID.
    Raises CTError; see endorender.ct.errors.CODES.
    """
    notes: list[str] = []
    slices = _scan(_files(path), notes)
    chosen = _choose(slices, series)
    return _volume(chosen, notes, resample, assume_hu)


def _files(path: Path) -> Iterator[Opener]:
    """Ways to open every file, in the order of names."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            yield partial(_opened, file)
    elif zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        for info in sorted(archive.infolist(), key=lambda i: i.filename):
            if info.is_dir():
                continue
            if info.file_size > MAX_FILE:
                raise CTError("a member of the zip is too large when unpacked: unpack it yourself", "TOO_LARGE")
            yield partial(_unpacked, archive, info)
    else:
        yield partial(_opened, path)


def _opened(path: Path) -> BinaryIO:
    return open(path, "rb")


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    try:
        with archive.open(info) as member:
            data = member.read(MAX_FILE + 1)
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise CTError(f"the zip cannot be unpacked ({type(error).__name__}): unpack it yourself", "TRUNCATED") from None
    if len(data) > MAX_FILE:
        raise CTError("a member of the zip is too large when unpacked: unpack it yourself", "TOO_LARGE")
    return io.BytesIO(data)


@contextmanager
def _quiet() -> Iterator[None]:
    """pydicom warns with header texts, which are patient data."""
    import pydicom.config

    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def parse(opener: Opener, pixels: bool) -> Any:
    """The dataset, or None if the file is no DICOM. Raises CTError TRUNCATED, TOO_LARGE."""
    import pydicom
    from pydicom.filereader import read_preamble

    with opener() as file, _quiet():
        head = file.read(132)
        bare = head[:2] == b"\x08\x00"  # some archives drop the preamble
        if head[128:] != b"DICM" and not bare:
            return None
        file.seek(0)
        try:
            if not bare:
                read_preamble(file, force=False)
                syntax = str(pydicom.filereader._read_file_meta_info(file).get("TransferSyntaxUID", ""))
                if syntax == DEFLATED and len(zlib.decompressobj(-15).decompress(file.read(), MAX_FILE)) >= MAX_FILE:
                    raise CTError("a deflated file is too large when inflated", "TOO_LARGE")
                file.seek(0)
            return pydicom.dcmread(file, force=bare, stop_before_pixels=not pixels)
        except CTError:
            raise
        except Exception as error:  # pydicom raises a dozen kinds for files cut or scrambled
            if bare:
                return None
            kind = type(error).__name__
            raise CTError(f"a DICOM file breaks off or is damaged ({kind}): copy it again", "TRUNCATED") from None


def _scan(openers: Iterable[Opener], notes: list[str]) -> list[Slice]:
    """Every CT slice among the files; the others are counted."""
    found: list[Slice] = []
    junk = other = 0
    for opener in openers:
        header = parse(opener, pixels=False)
        if header is None:
            junk += 1
            continue
        with _quiet():
            planes = _slices(header, opener)
        found += planes
        other += not planes
    if junk:
        notes.append(f"{junk} files that are no DICOM were passed over")
    if other:
        notes.append(f"{other} DICOM files that are no CT slices were passed over")
    if not found:
        raise CTError(
            f"no CT slices here ({junk} files are no DICOM, {other} are DICOM of another kind): "
            "give the folder that holds the slices",
            "NO_CT",
        )
    return found


def _slices(header: Any, opener: Opener) -> list[Slice]:
    """The planes of one file; none if it is no CT image."""
    kind = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", ""))
    if kind not in CT_CLASSES or str(header.get("Modality", "CT")) not in ("CT", ""):
        return []
    if int(_need(header, "SamplesPerPixel", 1)) != 1 or "LOCALIZER" in (header.get("ImageType") or []):
        return []
    if "PerFrameFunctionalGroupsSequence" not in header:
        return [_slice(header, [header], opener, None)]
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])
    planes = []
    for index, frame in enumerate(header.PerFrameFunctionalGroupsSequence):
        # What a frame says goes before what all frames share; each macro is a sequence of one item.
        groups = [item for group in (frame, *shared) for e in group if e.VR == "SQ" for item in (e.value or [])[:1]]
        planes.append(_slice(header, [*groups, header], opener, index))
    return planes


def _need(source: Any, name: str, default: Any = None) -> Any:
    """The first value among datasets, or a CTError that names the tag."""
    for dataset in source if isinstance(source, list) else [source]:
        value = dataset.get(name)
        if value is not None and value != "":
            return value
    if default is None:
        raise CTError(f"a CT slice lacks {name}: export the series again as original CT images", "MISSING_TAG")
    return default


def _numbers(source: list[Any], name: str, count: int) -> np.ndarray:
    try:
        values = np.array([float(v) for v in _need(source, name)])
    except (TypeError, ValueError):
        raise CTError(f"{name} of a CT slice holds no numbers: export the series again", "MISSING_TAG") from None
    if len(values) != count or not np.isfinite(values).all():
        raise CTError(f"{name} of a CT slice is not {count} finite numbers: export the series again", "MISSING_TAG")
    return values


def _slice(header: Any, groups: list[Any], opener: Opener, frame: int | None) -> Slice:
    axes = _numbers(groups, "ImageOrientationPatient", 6)
    along_row, along_col = axes[:3], axes[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_col)
    if abs(lengths[0] - 1) > 1e-2 or abs(lengths[1] - 1) > 1e-2 or abs(along_row @ along_col) > 2e-3:
        raise CTError("ImageOrientationPatient is not two perpendicular unit vectors", "BAD_ORIENTATION")
    between_rows, between_cols = _numbers(groups, "PixelSpacing", 2)
    rescale = None
    if all(any(g.get(n) not in (None, "") for g in groups) for n in ("RescaleSlope", "RescaleIntercept")):
        rescale = (float(_need(groups, "RescaleSlope")), float(_need(groups, "RescaleIntercept")))
    facts = []
    for name, tag in (("kernel", "ConvolutionKernel"), ("kvp", "KVP"), ("thickness_mm", "SliceThickness")):
        value = next((g.get(tag) for g in groups if g.get(tag) not in (None, "")), None)
        try:
            # A kernel is vendor's text: only a short word of it passes, so that no remark slips through.
            facts.append((name, str(value)[:16] if name == "kernel" else float(str(value))))
        except ValueError:
            continue
    return Slice(
        open=opener,
        frame=frame,
        uid=str(header.get("SeriesInstanceUID") or ""),
        number=int(header.get("SeriesNumber") or 0),
        rows=int(_need(header, "Rows")),
        cols=int(_need(header, "Columns")),
        position=_numbers(groups, "ImagePositionPatient", 3),
        along_row=along_row / lengths[0],
        along_col=along_col / lengths[1],
        pitch=(float(between_cols), float(between_rows)),
        rescale=rescale,
        facts=tuple((n, v) for n, v in facts if v not in ("None", "")),
    )


def _choose(slices: list[Slice], series: str | None) -> list[Slice]:
    """The slices of one volume. Raises CTError SERIES_AMBIGUOUS, NO_SERIES, MIXED_GEOMETRY."""
    stacks: dict[tuple[Any, ...], list[Slice]] = {}
    for s in slices:
        stacks.setdefault((s.number, s.uid, s.geometry), []).append(s)
    candidates = [stacks[key] for key in sorted(stacks)]
    if series is not None:
        by_number = {str(i): stack for i, stack in enumerate(candidates, 1)}
        chosen = [by_number[series]] if series in by_number else [c for c in candidates if c[0].uid == series]
        if not chosen:
            raise CTError(f"no such series here; there are: {_listing(candidates)}", "NO_SERIES")
        candidates = chosen
    elif len({c[0].uid for c in candidates}) > 1 and any(len(c) > 1 for c in candidates):
        # A single plane beside a stack is a scout or a key image that does not say so.
        stacked = {c[0].uid for c in candidates if len(c) > 1}
        candidates = [c for c in candidates if c[0].uid in stacked]
    if len(candidates) == 1:
        return candidates[0]
    if len({c[0].uid for c in candidates}) == 1 and min(map(len, candidates)) < 3:
        raise CTError(
            f"slices of one series differ in size, orientation or pixel spacing ({_listing(candidates)}): "
            "--series chooses by number",
            "MIXED_GEOMETRY",
        )
    raise CTError(
        f"{len(candidates)} volumes, choose one with --series NUMBER: {_listing(candidates)}", "SERIES_AMBIGUOUS"
    )


def _listing(candidates: list[list[Slice]]) -> str:
    """`1) 133 slices 512 x 512, 0.703 mm, STANDARD, 2.5 mm thick; 2) ...`, free of patient data."""
    lines = []
    for i, stack in enumerate(candidates, 1):
        s = stack[0]
        facts = dict(s.facts)
        text = f"{i}) {len(stack)} slices {s.cols} x {s.rows}, {s.pitch[0]:.3g} mm"
        text += f", {facts['kernel']}" if "kernel" in facts else ""
        text += f", {facts['thickness_mm']:g} mm thick" if "thickness_mm" in facts else ""
        lines.append(text)
    return "; ".join(lines)


def _volume(stack: list[Slice], notes: list[str], resample: bool, assume_hu: bool) -> Volume:
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
    if (np.abs(steps - usual) <= slack).all() and np.abs(heights - ideal).max() <= max(slack, 0.25 * usual):
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
