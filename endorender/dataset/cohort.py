"""A folder with one folder or file for each patient, as the CTs that it stands for."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from endorender.errors import Notice, UserError

VOLUMES = (".nii", ".nii.gz", ".hdr", ".mha", ".mhd", ".nrrd", ".nhdr", ".zip")


MOST = 10_000  # phantoms in one range


def ranged(ct: str) -> list[str]:
    """`phantom:1..3` -> phantom:1, phantom:2, phantom:3; anything else is itself. Raises UserError BAD_SPEC."""
    ends = re.fullmatch(r"phantom:(\d{1,18})\.\.(\d{1,18})", ct)
    if not ends:
        return [ct]
    first, last = int(ends[1]), int(ends[2])
    if not first <= last < first + MOST:
        raise UserError(f"a range of phantoms is phantom:FIRST..LAST, upwards and of {MOST} at most", "BAD_SPEC")
    return [f"phantom:{seed}" for seed in range(first, last + 1)]


def apart(ct: str) -> list[str]:
    """The CTs that `ct` stands for, in the order of their names; but for a folder of patients it is one: `ct` itself.

    A folder that holds slices, or folders with the series of one study, is one CT, as it is for the reader. Folders of
    different studies, and files that are volumes, are patients. UserError where it might be either: names are patient
    data, so folders are told by their place in the order of names.
    """
    if len(several := ranged(ct)) > 1:
        return several
    root = Path(ct)
    try:
        whole = not ct.strip() or not root.is_dir()  # an empty one is for the reader to refuse
    except (OSError, ValueError):  # no name that a path can have: for the reader to say
        whole = True
    if whole or any(_dicom(path) for path in _files(root)):
        return [ct]
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    studies = {path: study for path in folders if (study := _study(path))}
    found = [path for path in _files(root) if _is_volume(path)]
    if studies and len({study for study, _ in studies.values()}) == 1:
        return [ct]
    _refuse_one_patient_twice(folders, studies)
    found += studies
    empty = 0
    for number, folder in enumerate(folders, 1):
        if folder not in studies:
            inside = [path for path in sorted(folder.rglob("*")) if _is_volume(path)]
            if len(inside) > 1:
                raise UserError(
                    f"folder {number} in the order of names holds {len(inside)} files that may be its patient's CT: "
                    "give one --ct per patient",
                    "CTS_AMBIGUOUS",
                )
            found += inside
            empty += not inside
    if found and empty:
        warnings.warn(f"{empty} folders without a CT were passed over", Notice, stacklevel=2)
    return [str(path) for path in sorted(found)] or [ct]


def _refuse_one_patient_twice(folders: list[Path], studies: dict[Path, tuple[str, str]]) -> None:
    """Folders that share a study or a patient are not one patient each: they would land in different splits."""
    seen: dict[str, int] = {}
    for number, folder in enumerate(folders, 1):
        for name in {f"{kind}{text}" for kind, text in zip("sp", studies.get(folder, ())) if text}:
            if name in seen:
                raise UserError(
                    f"folders {seen[name]} and {number} in the order of names hold CTs of one "
                    f"{'study' if name[0] == 's' else 'patient'}: give one --ct per patient",
                    "CTS_AMBIGUOUS",
                )
            seen[name] = number


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]


def _is_volume(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(VOLUMES)


def _below(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(here, name) for name in sorted(names))


def _study(folder: Path) -> tuple[str, str] | None:
    """(study, patient) of the first CT slice below a folder, by their identifiers, or None if there is no slice."""
    for path in _below(folder):
        if path.is_file() and (said := _dicom(path)) and said[0] == "CT":
            return said[1:]
    return None


def _dicom(path: Path) -> tuple[str, str, str] | None:
    """(modality, study, patient) of a DICOM file, as far as they can be read; None of anything else."""
    import pydicom

    from endorender.ct.dicom.parsing import parse
    from endorender.ct.files import Entry, quiet

    with quiet():
        try:
            if parse(Entry(1, lambda: path.open("rb"))) is None:
                return None
            tags = ["Modality", "StudyInstanceUID", "PatientID"]
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
            modality, study, patient = (str(header.get(tag) or "") for tag in tags)
            return modality, study, patient
        except Exception:  # damaged: for the reader to say
            return "", "", ""
