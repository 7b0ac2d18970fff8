"""One door for every scan: a path, the shipped sample, or a phantom."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np

from endorender.ct.errors import CTError
from endorender.ct.limits import regular
from endorender.ct.nifti_header import PAIR
from endorender.ct.volume import Volume

SAMPLE = "airway.nii.gz"
Progress = Callable[[float, int, str], None]


def load(
    path: str | Path,
    series: str | None = None,
    resample: bool = False,
    assume_hu: bool = False,
    progress: Progress | None = None,
    phase: str | int | None = None,
) -> Volume:
    """A CT from a DICOM folder, file or zip, or from NIfTI.

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
            if is_nifti(path):
                from endorender.ct import nifti

                return nifti.read(path, resample, assume_hu)
            from endorender.ct import dicom

            return dicom.read(path, series, resample, assume_hu, progress, phase)
    except MemoryError:
        raise CTError("the scan does not fit into this machine's memory: crop it first", "TOO_LARGE") from None


def is_nifti(path: Path) -> bool:
    """By its name: what a file with this name holds is the NIfTI reader's to judge."""
    return path.is_file() and path.name.lower().endswith((".nii", ".nii.gz", *PAIR, *PAIR[".hdr"]))


def open_ct(
    spec: str | Path,
    series: str | None = None,
    resample: bool = False,
    assume_hu: bool = False,
    progress: Progress | None = None,
    phase: str | int | None = None,
) -> Volume:
    """A volume from what users write: `sample`, `phantom:SEED`, or a path for `load`. Raises CTError."""
    name = str(spec)
    if name == "sample":
        with resources.as_file(resources.files("endorender.ct") / "samples" / SAMPLE) as file:
            return load(file)
    if name.startswith("phantom:"):
        from endorender.ct import phantoms

        seed = name.removeprefix("phantom:")
        if not seed.isascii() or not seed.isdigit():
            raise CTError("a phantom is phantom:SEED with a whole number", "BAD_SPEC")
        return phantoms.colon(int(seed))
    return load(spec, series, resample, assume_hu, progress, phase)
