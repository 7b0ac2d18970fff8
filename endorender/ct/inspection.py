"""Facts and a picture for `endorender inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from endorender.ct.lumen import Lumen
from endorender.ct.lumen import Path as Way
from endorender.ct.volume import Volume


def describe(volume: Volume, lumen: Lumen | None = None, path: Way | None = None) -> dict[str, Any]:
    """What a person wants to know of a scan before rendering it; plain types, no patient data.

    Lengths in mm, volumes in ml, values in HU. With a lumen its facts, with a path its length and narrowest place.
    """
    facts: dict[str, Any] = {
        "size": list(volume.shape),
        "spacing_mm": [round(float(s), 4) for s in volume.spacing],
        "extent_mm": [round(float(s * (n - 1)), 1) for s, n in zip(volume.spacing, volume.shape)],
        "hu_min": float(volume.hu.min()),
        "hu_max": float(volume.hu.max()),
        "warnings": list(volume.warnings),
        "meta": dict(volume.meta),
    }
    if lumen is not None:
        facts["lumens_ml"] = list(lumen.candidates)
        facts["region"] = lumen.region
        facts["volume_ml"] = round(lumen.volume_ml, 1)
        facts["wall_hu"] = lumen.threshold
        facts["widest_radius_mm"] = round(float(lumen.clearance.max()), 1)
    if path is not None:
        facts["path_mm"] = round(path.length, 1)
        facts["narrowest_radius_mm"] = round(float(path.clearance.min()), 1)
    return facts


def preview(volume: Volume, lumen: Lumen, path: Way, out_png: str | Path) -> None:
    """Three planes through the middle of the path as PNG: HU in grey, the wall in orange, the path in blue."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    way = volume.to_voxel(path.points)
    at = np.clip(np.rint(way[len(way) // 2]).astype(int), 0, np.array(volume.shape) - 1)
    for axes, across in zip(figure.subplots(1, 3), (2, 1, 0)):
        x, y = (a for a in range(3) if a != across)
        image, mask = volume.hu.take(at[across], across), lumen.mask.take(at[across], across)
        extent = (0, image.shape[0] * volume.spacing[x], 0, image.shape[1] * volume.spacing[y])
        axes.imshow(image.T, cmap="gray", vmin=-1050, vmax=250, origin="lower", extent=extent, aspect="equal")
        if mask.any() and not mask.all():
            axes.contour(mask.T, [0.5], colors="tab:orange", linewidths=0.8, extent=extent)
        axes.plot((way[:, x] + 0.5) * volume.spacing[x], (way[:, y] + 0.5) * volume.spacing[y], color="tab:blue")
        axes.plot(*[(way[0, a] + 0.5) * volume.spacing[a] for a in (x, y)], "o", color="tab:blue")
        axes.set_xlabel(f"{'ijk'[x]} [mm]")
        axes.set_ylabel(f"{'ijk'[y]} [mm]")
    figure.suptitle(f"{lumen.volume_ml:.0f} ml, wall at {lumen.threshold:.0f} HU, path {path.length:.0f} mm")
    figure.savefig(out_png, dpi=100)
