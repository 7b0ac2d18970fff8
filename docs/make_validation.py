"""Makes docs/validation.md and its figures again: `python docs/make_validation.py`, some minutes on two cores.

What is measured stands in tests/render/proofs.py, where the tests ask more or less of the same numbers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from endorender import __version__  # noqa: E402
from endorender.render import init  # noqa: E402
from endorender.render.device import backend  # noqa: E402
from endorender.scene import Fisheye, Pinhole, phase_functions  # noqa: E402
from tests.render import proofs, shapes  # noqa: E402
from tests.render.reference import SCENES as REFERENCES  # noqa: E402
from tests.render.scenes import tube_scene  # noqa: E402
from tests.render.test_volpath import SCENES  # noqa: E402

IMAGES = ROOT / "docs" / "images"
INK, SECOND = "#1f4e79", "#c8553d"
Finding = proofs.Finding


def main() -> None:
    """Measure everything, draw the figures, write the page."""
    began = time.monotonic()
    init("cpu")
    tracking = [
        (how, measure(profile, tracker))
        for how, measure in (("free flight", proofs.free_flights), ("there and back", proofs.shadow_rays))
        for profile in proofs.PROFILES
        for tracker in proofs.TRACKERS
    ]
    said("tracking", began)
    models = [(name, phase_functions.build({"type": name, **case})) for name, case in phase_functions.cases()]
    furnace = [named(name, model, proofs.furnace(model)[0]) for name, model in models]
    reciprocity = [
        named(name, model, proofs.reciprocity(model)) for name, model in models if not proofs.too_peaked(model)
    ]
    said("furnace and reciprocity", began)
    scattering = [*proofs.slab(), proofs.half_space()]
    square = [proofs.inverse_square(d) for d in (3.0, 10.0, 100.0)]
    ratio = proofs.variance_ratio(tube_scene(albedo=[[0.6, 0.5, 0.4]] * 4))
    said("scattering", began)
    depth = [row for grid in shapes.GRIDS for row in depths(grid)]
    said("depth", began)
    oracle = {n: proofs.oracle(s(), 1024 * (16 if n in ("outside", "map") else 1)) for n, s in SCENES.items()}
    said("oracle", began)
    mitsuba = {r.name: proofs.mitsuba(r)[0] for r in REFERENCES}
    said("Mitsuba", began)
    singles = [f for _, f in tracking] + furnace + reciprocity + scattering + square
    draw_z(IMAGES / "validation_z.png", oracle, mitsuba)
    draw_findings(IMAGES / "validation_findings.png", tracking, furnace, scattering, square)
    page = f"""# Validation

Measured by `python docs/make_validation.py` with endorender {__version__} on its `{backend.running()}` device. Seeds are fixed: the
same machine gives the same numbers. z is the distance from the expectation in standard errors. The tests in `tests/render` ask
the same functions (`tests/render/proofs.py`) for |z| < 4, and for the bounds named below.

![Deviation of every measured number from theory](images/validation_findings.png)

Of {len(singles)} numbers with a known value, the largest |z| is {max(abs(f.z) for f in singles):.2f}.

## Free flights and transmittance
Rays through media that vary along z, absorbing or scattering once: delta tracking under local majorants and under one for the whole
medium (`volpath`), and delta tracking with ratio-tracked shadow rays (`volpath_simple`). *Free flight* is the share of paths that
pass, against exp(−∫σ_t); *there and back* is single scattering of a point light at the lens, against albedo/4π ∫ σ_t T² I/r². At least
10⁶ paths each; asked for: bias below 0.2 %. `CT` is a line through the shipped scan, air and tissue.

{table(("", "medium, tracker", *COLUMNS), ((how, f.what, *numbers(f)) for how, f in tracking))}

## Multiple scattering
Matched slab, μ_a = 10 cm⁻¹, μ_s = 90 cm⁻¹, g = 0.75, 0.02 cm thick: diffuse reflectance and total transmittance after van de Hulst 1980.
Half space, albedo 0.9, isotropic: Chandrasekhar's H-function.

{table(("", *COLUMNS), zip(("slab, R_d", "slab, T_t", "half space, R_d"), *zip(*map(numbers, scattering))))}

## Furnace
Albedo 1 in an uneven medium under constant light gives radiance 1 (asked for: within 0.5 %), for every registered phase function.

{table(("phase function", *COLUMNS), ((f.what, *numbers(f)) for f in furnace))}

## Reciprocity
Light that reaches a lens from a point lamp through an uneven medium, over what reaches it when the two change places. A phase
function depends on the angle alone and is reciprocal by that; this tests what is made of it.

{table(("phase function", *COLUMNS), ((f.what, *numbers(f)) for f in reciprocity))}

## Inverse square
Single scattering under a point light at a distance (asked for: within 0.5 %).

{table(("distance", *COLUMNS), ((f.what, *numbers(f)) for f in square))}

## Variance
The variance with n samples over that with 2n, median over the pixels of a tube: {ratio:.3f} (2).

## Depth
Error of the wall along its normal, in voxels, and of the normal, on signed-distance ramps of radius ≥ 16 voxels; asked for: median below
0.02, 99th percentile below 0.1 voxel.

{table(("grid", "shape", "camera", "median", "99th percentile", "largest", "normal, 99th percentile"), depth)}

## Pictures against pictures
z of every pixel and channel: `volpath` against the simple integrator on every scene of the tests, and against Mitsuba 3.9.1's images
of the reference scenes. Equal pictures have an rms z of 1, and 99.75 % of the values within the z-test's limit (α = 0.01, Šidák).

![Histograms of z beside the normal distribution](images/validation_z.png)

{table(("scene", "values", "rms z", "within limit", "z of the mean (R, G, B)"), [*rows("simple integrator", oracle), *rows("Mitsuba", mitsuba)])}
"""  # noqa: E501
    (ROOT / "docs" / "validation.md").write_text(page, encoding="utf-8")
    said("written", began)


COLUMNS = ("measured", "expected", "standard error", "z", "bias")


def said(what: str, began: float) -> None:
    """Progress on stderr."""
    print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr)


def named(name: str, model: Any, finding: Finding) -> Finding:
    """A finding under the model's name and parameters."""
    return proofs.dataclasses.replace(finding, what=f"`{name}` {model}".strip())


def numbers(f: Finding) -> tuple[str, ...]:
    """A finding's columns."""
    return f"{f.measured:.5f}", f"{f.expected:.5f}", f"{f.error:.1e}", f"{f.z:+.2f}", f"{f.bias:+.3%}"


def table(head: Iterable[str], body: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def depths(grid: str) -> Iterable[tuple[str, ...]]:
    """Rows of the depth table on one grid."""
    for shape in shapes.SHAPES:
        for camera in (Pinhole(width=96, height=72, fov=100), Fisheye(width=96, height=72, fov=150)):
            e = shapes.errors(shape, grid, camera)
            voxels = (f"{np.median(e.voxels):.4f}", f"{np.percentile(e.voxels, 99):.4f}", f"{e.voxels.max():.4f}")
            yield grid, shape, type(camera).__name__.lower(), *voxels, f"{np.percentile(e.degrees, 99):.2f}°"


def rows(against: str, found: dict[str, proofs.Comparison]) -> Iterable[tuple[str, ...]]:
    """Rows of the table of pictures."""
    for name, c in found.items():
        means = ", ".join(f"{z:+.2f}" for z in c.mean_z)
        yield f"{name} ({against})", f"{c.z.size}", f"{c.rms:.3f}", f"{c.share_within():.2%}", means


def figure(width: float, height: float, columns: int) -> tuple[Any, Any]:
    """A figure with plain axes."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = made.subplots(1, columns, squeeze=False)[0]
    for a in axes:
        a.spines[["top", "right"]].set_visible(False)
    return made, axes


def draw_z(path: Path, oracle: dict[str, proofs.Comparison], mitsuba: dict[str, proofs.Comparison]) -> None:
    """Histograms of all z beside the normal distribution, on a logarithmic axis so that the tails show."""
    made, axes = figure(9, 3.2, 2)
    edges = np.linspace(-6, 6, 61)
    x = np.linspace(-6, 6, 400)
    for a, title, found in ((axes[0], "simple integrator", oracle), (axes[1], "Mitsuba 3.9.1", mitsuba)):
        z = np.concatenate([c.z for c in found.values()])
        counts = np.histogram(z, edges)[0]
        a.stairs(counts, edges, fill=True, color=INK, alpha=0.35, label="measured")
        expected = z.size * (edges[1] - edges[0]) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
        a.plot(x, expected, color=SECOND, lw=1.5, label="normal distribution")
        a.set(yscale="log", ylim=(0.5, None), xlabel="z", ylabel="values", title=f"against {title}: {z.size} values")
        a.legend(frameon=False, loc="upper left", fontsize=8)
    made.savefig(path, metadata={"Software": None})


def draw_findings(
    path: Path,
    tracking: list[tuple[str, Finding]],
    furnace: list[Finding],
    scattering: list[Finding],
    square: list[Finding],
) -> None:
    """Relative deviation of each number from theory, with four standard errors."""
    groups: list[tuple[str, list[Finding], Callable[[Finding], str]]] = [
        ("free flights", [f for how, f in tracking if how == "free flight"], lambda f: f.what),
        ("there and back", [f for how, f in tracking if how != "free flight"], lambda f: f.what),
        ("scattering", [*scattering, *square, *furnace], lambda f: f.what.replace("`", "")),
    ]
    names = [*("slab, R_d", "slab, T_t", "half space, R_d"), *(f"1/r², {f.what}" for f in square)]
    made, axes = figure(15, max(4.2, 0.16 * max(len(found) for _, found, _ in groups)), 3)
    for a, (title, found, label) in zip(axes, groups):
        labels = [label(f) for f in found]
        if title == "scattering":
            labels = names + [f"furnace, {text}" for text in labels[len(names) :]]
        labels = [text if len(text) < 40 else text[:38] + " …" for text in labels]  # tables of a phase function
        y = np.arange(len(found))[::-1]
        bars = [400 * f.error / f.expected for f in found]
        a.errorbar([100 * f.bias for f in found], y, xerr=bars, fmt="o", ms=3.5, color=INK, ecolor=INK, elinewidth=1)
        a.axvline(0, color=SECOND, lw=1)
        a.set(title=title, xlabel="deviation, %, and four standard errors")
        a.set_yticks(y, labels, fontsize=7)
    made.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    main()
