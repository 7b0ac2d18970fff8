"""A scan as small as one can be flown through, and what is asked of it."""

import numpy as np

from endorender.dataset import configure


def tube(path, radius=9.0, bend=6.0):
    """A bent tube of air in tissue as NIfTI: 44 x 44 x 80 voxels of 1 mm."""
    import nibabel

    x, y, z = np.meshgrid(np.arange(44.0), np.arange(44.0), np.arange(80.0), indexing="ij")
    distance = np.hypot(x - 21.5 - bend * np.sin(z / 20), y - 21.5) - radius
    hu = np.clip(distance * 700 - 470, -1000, 45).astype(np.int16)
    hu[..., [0, 1, -2, -1]] = 40
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = (5, -7, 30)
    nibabel.save(nibabel.Nifti1Image(hu, affine), path)
    return path


def configuration(ct, **changes):
    values = {"ct": str(ct), "views": 2, "size": "24x18", "spp": 2, "seed": 3, "preset": "paper4", "denoise": False}
    return configure(**{**values, **changes})
