"""Facts and a picture for `endorender inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from endorender.ct import survey
from endorender.ct.anatomy import collapsed
from endorender.ct.anatomy import lumen as hollow
from endorender.ct.anatomy.lumen import Lumen, sample
from endorender.ct.anatomy.lumen import Path as Way
from endorender.ct.errors import CTError
from endorender.ct.mask import onto
from endorender.ct.prepare import Prepared, prepare
from endorender.ct.resample import isotropic
from endorender.ct.volume import Volume
from endorender.outputs import whole

if TYPE_CHECKING:
    from jaxtyping import Shaped
    from matplotlib.figure import Figure

MEASURED = 4  # lumens whose way is measured; smaller ones are listed by volume


def describe(volume: Volume, lumen: Lumen | None = None, path: Way | None = None) -> dict[str, Any]:
    """What a person wants to know of a scan before rendering it; plain types, no patient data.

    Lengths in mm, volumes in ml, values in HU. With a lumen its facts, with a path its length and narrowest place.
    """
    facts = survey.facts(volume)
    if lumen is not None:
        facts["lumens_air_ml"] = list(lumen.candidates)
        facts["region"] = lumen.region
        facts["volume_ml"] = round(lumen.volume_ml, 1)
        facts["wall_hu"] = lumen.threshold
        facts["widest_radius_mm"] = round(float(lumen.clearance.max()), 1)
        facts["left_out"] = [{"volume_ml": ml, "why": why} for ml, why in lumen.left_out]
    if path is not None:
        facts |= _measured(path)
    return facts


def _measured(way: Way) -> dict[str, Any]:
    """Its length, and its narrowest place with how far that is along the centreline, in mm from its start."""
    at = int(way.clearance.argmin())
    return {
        "path_mm": round(way.length, 1),
        "narrowest_radius_mm": round(float(way.clearance[at]), 1),
        "narrowest_at_mm": round(float(way.along[at]), 1),
    }


def on_grid(
    volume: Volume, label: Shaped[np.ndarray, "I J K"] | None
) -> tuple[Volume, Shaped[np.ndarray, "A B C"] | None]:
    """The isotropic volume, and a label mask of the volume that is given on its grid."""
    grid = isotropic(volume)
    return grid, None if label is None else onto(label, volume, grid)


def lumens(
    grid: Volume,
    label: Shaped[np.ndarray, "I J K"] | None = None,
    scope_mm: float | None = None,
    ready: Prepared | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Each hollow: region, air, volume, length of the way through, narrowest and widest radius. And the gaps between.

    air_ml is what surely is air (below -925 HU), by which hollows are found and numbered; volume_ml reaches to the wall
    of the lumen that is rendered, and is there where a way was found.

    grid: isotropic. label: as for `lumen.find`. scope_mm: diameter of an endoscope; then also whether it passes, or
    how far it comes. ready: one of them, if it is prepared already. A hollow with no way through carries `problem`
    instead. Gaps (`collapsed.gaps`) are where the organ may be collapsed: no way leads through them.
    Raises CTError LUMEN if there is no hollow.
    """
    candidates = (hollow.find(grid, None, label) if ready is None else ready.lumen).candidates
    rows: list[dict[str, Any]] = [{"region": n, "air_ml": ml} for n, ml in enumerate(candidates, 1) if ml]
    found: list[tuple[Volume, np.ndarray]] = []
    for row in rows[:MEASURED]:
        region = row["region"]
        try:
            one = ready if ready is not None and ready.lumen.region == region else prepare(grid, region, label)
        except CTError as error:
            row |= {"code": error.code, "problem": str(error)}
            continue
        row |= {"volume_ml": round(one.lumen.volume_ml, 1), **_measured(one.path)}
        row["widest_radius_mm"] = round(float(one.lumen.clearance.max()), 1)
        if scope_mm is not None:
            row |= passage(one.path, scope_mm)
        found.append((one.volume, one.lumen.mask))
    gaps = collapsed.gaps(found)
    measured = [row["region"] for row in rows if "path_mm" in row]
    for gap in gaps:
        gap["regions"] = [measured[n - 1] for n in gap["regions"]]
    return rows, gaps


def passage(way: Way, scope_mm: float) -> dict[str, Any]:
    """Whether an endoscope of this diameter passes along a way, and if not, where it is stopped (mm from its start).

    A way begins and ends near closed walls, or where the scan was cut: its first and last two diameters do not count,
    nor those of each of its pieces, which `ends_left_out_mm` says. Where it passes: the tightest place of what counts.
    """
    if not 0 < scope_mm < np.inf:
        raise CTError("an endoscope's diameter is a number of mm above 0", "BAD_SPEC")
    along = way.along
    pieces = [_inner(along[piece], 2 * scope_mm) for piece in way.pieces]
    inner = np.concatenate([piece.start + places for piece, (places, _) in zip(way.pieces, pieces)])
    ends = min(left_out for _, left_out in pieces)
    tight = inner[2 * way.clearance[inner] < scope_mm]
    at = tight[0] if len(tight) else inner[way.clearance[inner].argmin()]
    facts = {"scope_passes": not len(tight), "ends_left_out_mm": round(ends, 1)}
    where = ("stopped_at_mm", "diameter_there_mm") if len(tight) else ("tightest_at_mm", "diameter_there_mm")
    return facts | dict(zip(where, (round(float(along[at]), 1), round(float(2 * way.clearance[at]), 1))))


def _inner(along: np.ndarray, ends: float) -> tuple[np.ndarray, float]:
    """Places of a piece that count, without so many mm at its ends, and the mm that were left out."""
    inner = np.flatnonzero((along >= along[0] + ends) & (along <= along[-1] - ends))
    if len(inner):
        return inner, ends
    middle = len(along) // 2  # a way that is all ends: its middle must do
    return np.array([middle]), float(min(along[middle] - along[0], along[-1] - along[middle]))


def _plane(volume: Volume, scanned: Volume | None, across: int, at: int) -> np.ndarray:
    """(x, y) HU of one plane of the grid, as they were scanned."""
    if scanned is None:
        return volume.hu.take(at, across)
    places = np.indices(volume.shape[:across] + (1,) + volume.shape[across + 1 :], dtype=float)
    places[across] += at
    flat = np.squeeze(np.moveaxis(places, 0, -1), axis=across)
    points = volume.to_world(flat.reshape(-1, 3))
    return sample(scanned, scanned.hu, points).reshape(flat.shape[:2])


def preview(
    volume: Volume, lumen: Lumen | None, path: Way | None, out_png: str | Path, scanned: Volume | None = None
) -> None:
    """`sections` as PNG."""
    with whole(Path(out_png)) as (part,):
        sections(volume, lumen, path, scanned).savefig(part, dpi=100, format=part.suffix[1:] or "png")


def sections(volume: Volume, lumen: Lumen | None, path: Way | None, scanned: Volume | None = None) -> Figure:
    """Three planes through the middle (of the path, if there is one) and the histogram.

    HU in grey, the wall in orange, the path in blue. scanned: the volume whose values are shown and counted, if
    sealing and cropping changed them since.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 5.2), layout="constrained")
    way = None if path is None else volume.to_voxel(path.points)
    middle = np.array(volume.shape) / 2 if way is None else way[len(way) // 2]
    at = np.clip(np.rint(middle).astype(int), 0, np.array(volume.shape) - 1)
    *planes, last = figure.subplots(1, 4)
    for axes, across in zip(planes, (2, 1, 0)):
        x, y = (a for a in range(3) if a != across)
        image = _plane(volume, scanned, across, int(at[across]))
        extent = (0, image.shape[0] * volume.spacing[x], 0, image.shape[1] * volume.spacing[y])
        axes.imshow(image.T, cmap="gray", vmin=-1050, vmax=250, origin="lower", extent=extent, aspect="equal")
        mask = None if lumen is None else lumen.mask.take(at[across], across)
        if mask is not None and mask.any() and not mask.all():
            axes.contour(mask.T, [0.5], colors="tab:orange", linewidths=0.8, extent=extent)
        if way is not None:
            for piece in path.pieces if path else ():
                at_x, at_y = ((way[piece, a] + 0.5) * volume.spacing[a] for a in (x, y))
                axes.plot(at_x, at_y, color="tab:blue")
            axes.plot(*[(way[0, a] + 0.5) * volume.spacing[a] for a in (x, y)], "o", color="tab:blue")
        axes.set_xlabel(f"{'ijk'[x]} [mm]")
        axes.set_ylabel(f"{'ijk'[y]} [mm]")
    low, high, step = survey.EDGES[0], survey.EDGES[-1], 100
    last.stairs(
        survey.facts(scanned or volume)["histogram"]["counts"], np.arange(low, high + 1, step), fill=True, color="0.5"
    )
    last.set_yscale("log")
    last.set_xlabel("HU")
    last.set_ylabel("voxels")
    title = survey.orientation(volume.affine)
    if lumen is not None:
        title += f"; lumen {lumen.volume_ml:.0f} ml, wall at {lumen.threshold:.0f} HU"
    if path is not None:
        title += f", path {path.length:.0f} mm"
    figure.suptitle(title)
    return figure
