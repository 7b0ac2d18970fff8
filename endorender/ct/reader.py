"""One door for every scan: a path, the shipped sample, or a phantom."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np

from endorender.ct.dicom.phases import ALL
from endorender.ct.errors import CTError
from endorender.ct.files import Entry, files, single
from endorender.ct.formats import detect
from endorender.ct.limits import regular
from endorender.ct.volume import Volume
from endorender.ct.voxels import in_order

SAMPLE = "airway.nii.gz"
LISTED = 12  # files that a message names
Progress = Callable[[float, int, str], None]


def load(
    path: str | Path,
    series: str | None = None,
    resample: bool = False,
    assume_hu: bool = False,
    progress: Progress | None = None,
    phase: str | int | None = None,
) -> Volume:
    """A CT from a DICOM folder, file or zip, from NIfTI, MetaImage or NRRD, or from a folder or zip that holds one.

    series: which of several DICOM volumes (number in the list of the error, or SeriesInstanceUID).
    resample: accept gaps, uneven spacing and gantry tilt, and resample; the volume's warnings say what was done.
    assume_hu: accept values that do not look like Hounsfield units.
    progress: called with (done, total, what) while a DICOM series is read.
    phase: which of several scans of one place under one series (number in the list of the error), or "all".
    Raises CTError with a code out of `CODES`.
    """
    path = regular(Path(path))
    try:
        # Absurd numbers in a header overflow on the way to the check that refuses them.
        with np.errstate(all="ignore"):
            return _loaded(path, series, resample, assume_hu, progress, phase)
    except MemoryError:
        raise CTError("the scan does not fit into this machine's memory: crop it first", "TOO_LARGE") from None


def _loaded(
    path: Path,
    series: str | None,
    resample: bool,
    assume_hu: bool,
    progress: Progress | None,
    phase: str | int | None,
) -> Volume:
    from endorender.ct.dicom import series as dicom

    if path.is_file():
        what = detect.kind(single(path))
        read = detect.readable(what)
        if read is not None:
            _refuse_choice("the file", series, phase)
            return read(single(path), resample, assume_hu)
        if what != ".zip":
            detect.refuse(what)
    try:
        return dicom.read(path, series, resample, assume_hu, progress, phase)
    except CTError as error:
        if error.code != "NO_CT":
            raise
        read = volume_of(inside(path, error), series)
        _refuse_choice("the file", None, phase)
        return read(resample, assume_hu)


def _refuse_choice(what: str, series: str | None, phase: str | int | None) -> None:
    """Raise where one of several is asked for, and there is but one volume. Raises CTError NO_SERIES, NO_PHASE."""
    if series is not None and str(series) != "1":
        raise CTError(f"{what} holds one volume alone: leave --series out", "NO_SERIES")
    if phase is not None and str(phase) not in ("1", ALL):
        raise CTError(f"{what} holds one phase alone: leave --phase out", "NO_PHASE")


def inside(path: Path, without_dicom: CTError) -> list[Entry]:
    """The files of a folder or zip that hold a volume. Raises the error, with what else is there, if there are none."""
    entries = files(path)
    found = detect.within(entries)
    if not found:
        others, way_out = detect.named(entries)
        seen = str(without_dicom).partition(": ")[0]
        raise CTError(f"{seen}, of them {others}: {way_out}", "NO_CT") if others else without_dicom
    return found


def volume_of(found: list[Entry], series: str | None) -> Callable[[bool, bool], Volume]:
    """What reads the one of several files that `series` numbers, from 1. Raises CTError SERIES_AMBIGUOUS, NO_SERIES."""
    listed = "; ".join(f"{n}) {detect.kind(e)}" for n, e in enumerate(found[:LISTED], 1))
    listed += f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    if series is None and len(found) > 1:
        raise CTError(
            f"{len(found)} volumes, choose one with --series NUMBER (`endorender inspect` looks into each): {listed}",
            "SERIES_AMBIGUOUS",
        )
    number = series or "1"
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= len(found):
        raise CTError(f"no such series here; there are: {listed}", "NO_SERIES")
    entry = found[int(number) - 1]
    read = detect.readable(detect.kind(entry))
    assert read is not None
    return lambda resample, assume_hu: read(entry, resample, assume_hu)


def is_nifti(path: Path) -> bool:
    """By its name: what a file with this name holds is the NIfTI reader's to judge."""
    return path.is_file() and path.name.lower().endswith((*detect.NIFTI, *detect.IMAGES))


def open_ct(
    spec: str | Path | Volume,
    series: str | None = None,
    resample: bool = False,
    assume_hu: bool = False,
    progress: Progress | None = None,
    phase: str | int | None = None,
) -> Volume:
    """A volume from what users write: `sample`, `phantom:SEED`, or a path for `load`; or one in memory. In C order.
    Raises CTError."""
    if isinstance(spec, Volume):
        _refuse_choice("a volume in memory", series, phase)
        return dataclasses.replace(spec, hu=in_order(spec.hu))
    name = str(spec)
    if not name.strip():  # a variable of the shell that is not set; pathlib would take it for the folder one is in
        raise CTError("the path of the scan is empty: give a path, sample, or phantom:SEED", "BAD_SPEC")
    if name.startswith("phantom:"):
        from endorender.ct import phantoms

        seed = name.removeprefix("phantom:")
        if not seed.isascii() or not seed.isdigit():
            raise CTError("a phantom is phantom:SEED with a whole number", "BAD_SPEC")
        _refuse_choice("a phantom", series, phase)
        return phantoms.colon(int(seed))
    if name == "sample":
        _refuse_choice("the sample", series, phase)
        with resources.as_file(resources.files("endorender.ct") / "samples" / SAMPLE) as file:
            volume = load(file)
    else:
        volume = load(spec, series, resample, assume_hu, progress, phase)
    # Files have another order, in which all that follows would take twice as long.
    return dataclasses.replace(volume, hu=in_order(volume.hu))
