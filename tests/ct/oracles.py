"""What other readers make of the same files: (array, RAS affine), for tests only."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from endorender.ct import CTError, Volume, load

TOOLS = ("SimpleITK", "dcm2niix", "nibabel")
OTHERS = (".nii", ".nii.gz", ".hdr", ".mha", ".mhd", ".nrrd", ".nhdr")
_converter = shutil.which("dcm2niix") or str(Path(sys.executable).parent / "dcm2niix")
CONVERTER = _converter if Path(_converter).exists() else None


def available(tool: str) -> bool:
    return CONVERTER is not None if tool == "dcm2niix" else importlib.util.find_spec(tool) is not None


def ours(path: Path) -> str:
    """`loads`, or the code of the refusal."""
    try:
        load(path)
    except CTError as error:
        return error.code
    return "loads"


def applies(tool: str, path: Path) -> bool:
    """Which tool reads what: pipes and loops would hang them, and they are no judges of zips."""
    nifti = path.name.endswith((".nii", ".nii.gz", ".hdr"))
    if os.path.isdir(path) and not all(p.is_file() or (p.is_dir() and not p.is_symlink()) for p in path.rglob("*")):
        return False
    if tool == "nibabel":
        return nifti
    dicom = os.path.isdir(path) and not any(p.name.endswith(OTHERS) for p in path.rglob("*"))
    if tool == "dcm2niix":
        return dicom
    return nifti or path.name.endswith(OTHERS) or dicom


def read(tool: str, path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every volume the tool makes of a folder or file; none if it refuses."""
    try:
        return {"SimpleITK": _simpleitk, "dcm2niix": _dcm2niix, "nibabel": _nibabel}[tool](path)
    except Exception:  # an oracle may fail in any way it likes
        return []


def _nibabel(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    import nibabel

    image = nibabel.load(path)
    return [(image.get_fdata(), image.affine)]


def _dcm2niix(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    assert CONVERTER is not None
    with tempfile.TemporaryDirectory() as out:
        command = [CONVERTER, "-b", "n", "-z", "n", "-m", "n", "-f", "v%s_%d", "-o", out, str(path)]
        subprocess.run(command, capture_output=True, timeout=300, check=False)
        return [v for file in sorted(Path(out).glob("*.nii")) for v in _nibabel(file)]


def _simpleitk(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    if path.is_file():
        return [_of_itk(SimpleITK.ReadImage(str(path)))]
    volumes = []
    for folder in [path, *(p for p in path.rglob("*") if p.is_dir())]:
        for uid in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
            image = SimpleITK.ReadImage(names[0]) if len(names) == 1 else SimpleITK.ReadImage(names)
            volumes.append(_of_itk(image))
    return volumes


def _of_itk(image: object) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK

    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


def same(volume: Volume, hu: np.ndarray, affine: np.ndarray) -> bool:
    """Whether both have the same HU (padding aside) at the same patient points: all of them, to a thousandth."""
    hu = hu[..., 0] if hu.ndim == 4 and hu.shape[3] == 1 else hu
    if hu.ndim != 3 or sorted(hu.shape) != sorted(volume.shape) or abs(np.linalg.det(affine)) < 1e-9:
        return False
    at = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    where = volume.to_voxel(at @ affine[:3, :3].T + affine[:3, 3])
    near = np.rint(where).astype(int)
    # Single precision of positions, as NIfTI has it, is 1e-5 of a voxel here.
    if np.abs(where - near).max() > 2e-3 or near.min() < 0 or (near >= volume.shape).any():
        return False
    mine, theirs = volume.hu[tuple(near.T)].astype(float), hu.reshape(-1).astype(float)
    return bool((np.abs(mine - theirs)[mine > -1024] < 0.51).all())


def _apart(tool: str, path: Path) -> str:
    """accepts, refuses, crashes or hangs: hostile files kill some readers, so each is read by a process of its own."""
    child = multiprocessing.get_context("fork").Process(target=_exit, args=(tool, path))
    child.start()
    child.join(30)
    if child.is_alive():
        child.kill()
        child.join()
        return "hangs"
    return {10: "accepts", 11: "refuses"}.get(child.exitcode or 0, "crashes")


def _exit(tool: str, path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    os._exit(10 if read(tool, path) else 11)


def verdict(tool: str, path: Path, outcome: str) -> str:
    """Of one tool on one case: agrees, differs, refuses (both, or it alone), or loads what is refused here."""
    if not available(tool) or not applies(tool, path):
        return "-"
    if outcome != "loads":
        return _apart(tool, path)
    theirs = read(tool, path)
    if not theirs:
        return "refuses"
    volume = load(path)
    return "agrees" if any(same(volume, *v) for v in theirs) else "differs"
