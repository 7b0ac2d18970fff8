"""DICOM in: which files make a volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.files import Opener, files, parse, quiet
from endorender.ct.stack import assemble
from endorender.ct.volume import Volume

CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
)


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
    slices = _scan(files(path), notes)
    chosen = _choose(slices, series)
    return assemble(chosen, notes, resample, assume_hu)


def _scan(openers: Iterable[Opener], notes: list[str]) -> list[Slice]:
    """Every CT slice among the files; the others are counted."""
    found: list[Slice] = []
    junk = other = 0
    for opener in openers:
        header = parse(opener, pixels=False)
        if header is None:
            junk += 1
            continue
        try:
            with quiet():
                planes = _slices(header, opener)
        except CTError:
            raise
        except Exception as error:  # pydicom converts a value when it is asked for, and may choke on it
            kind = type(error).__name__
            raise CTError(f"a tag of a DICOM file holds rubbish ({kind}): export it again", "MISSING_TAG") from None
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
    if not kind and header.file_meta:
        raise CTError("a DICOM file breaks off before it says what it is: copy it again", "TRUNCATED")
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
