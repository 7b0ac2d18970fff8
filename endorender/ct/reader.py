"""One door for every scan: a path, the shipped sample, or a phantom."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from endorender.ct.errors import CTError
from endorender.ct.volume import Volume

SAMPLE = "airway.nii.gz"


def load(path: str | Path, series: str | None = None, resample: bool = False, assume_hu: bool = False) -> Volume:
    """A CT from a DICOM folder, file or zip, or from NIfTI.

    series: which of several DICOM volumes (number in the list of the error, or SeriesInstanceUID).
    resample: accept gaps, uneven spacing and gantry tilt, and resample; the volume's warnings say what was done.
    assume_hu: accept values that do not look like Hounsfield units.
    Raises CTError with a code out of `CODES`.
    """
    path = Path(path)
    if not path.exists():
        raise CTError(f"{path} does not exist: give a DICOM folder, a NIfTI file, sample, or phantom:SEED", "NOT_FOUND")
    if path.is_file() and path.name.lower().endswith((".nii", ".nii.gz")):
        from endorender.ct import nifti

        return nifti.read(path, resample, assume_hu)
    from endorender.ct import dicom

    return dicom.read(path, series, resample, assume_hu)


def open_ct(spec: str | Path, series: str | None = None, resample: bool = False, assume_hu: bool = False) -> Volume:
    """A volume from what users write: `sample`, `phantom:SEED`, or a path for `load`. Raises CTError."""
    name = str(spec)
    if name == "sample":
        with resources.as_file(resources.files("endorender.ct") / "samples" / SAMPLE) as file:
            return load(file)
    if name.startswith("phantom:"):
        from endorender.ct import phantoms

        seed = name.removeprefix("phantom:")
        if not seed.isascii() or not seed.isdigit():
            raise CTError(f"a phantom is phantom:SEED with a whole number, got {name!r}", "BAD_SPEC")
        return phantoms.colon(int(seed))
    return load(spec, series, resample, assume_hu)
