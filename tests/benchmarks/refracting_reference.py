"""Renders again what tests/refs/d_dielectric.npz holds: Mitsuba 3 on a smooth dielectric slab of scatterers.

python tests/benchmarks/refracting_reference.py [OUT.npz]. Needs the extra `bench` and a libLLVM (see
reference_scenes.py). The scene is `tests.render.reference.DIELECTRIC`; the slab is so wide and thick that no
light comes out elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.reference_scenes import load_mitsuba
from tests.render.reference import DIELECTRIC as D

SEEDS, SPP = (*range(60), *range(100, 160)), 1024


def scene(mi):
    """The scene for Mitsuba; mm."""
    to = mi.ScalarTransform4f
    radiance = [i / (np.pi * D.radius**2) for i in D.intensity]
    face = {"type": "dielectric", "int_ior": D.ior, "ext_ior": 1.0}
    return mi.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "volpath", "max_depth": 400, "rr_depth": 60},
            "slab": {
                "type": "cube",
                "to_world": to().translate([11.5, 11.5, D.front + 100]).scale([100, 100, 100]),
                "bsdf": face,
                "interior": {
                    "type": "homogeneous",
                    "sigma_t": D.sigma_t,
                    "albedo": {"type": "rgb", "value": list(D.albedo)},
                    "phase": {"type": "hg", "g": D.g},
                },
            },
            "disk": {
                "type": "disk",
                "bsdf": {"type": "null"},
                "to_world": to().translate(list(D.light)).scale(D.radius),
                "emitter": {"type": "area", "radiance": {"type": "rgb", "value": radiance}},
            },
            "sensor": {
                "type": "perspective",
                "fov": D.fov,
                "fov_axis": "x",
                "near_clip": 1e-3,
                "to_world": to().look_at(origin=list(D.origin), target=list(D.target), up=[0, -1, 0]),
                "film": {
                    "type": "hdrfilm",
                    "width": D.size,
                    "height": D.size,
                    "rfilter": {"type": "box"},
                    "pixel_format": "rgb",
                    "component_format": "float32",
                },
            },
        }
    )


def main() -> None:
    """Rounds of pictures, their mean and the variance of that."""
    mi = load_mitsuba()
    mi.set_variant("llvm_ad_rgb")
    made = scene(mi)
    images = np.stack([np.array(mi.render(made, spp=SPP, seed=n)) for n in SEEDS]).astype(float)
    out = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "refs" / "d_dielectric.npz"
    np.savez_compressed(
        out, mean=images.mean(0).astype(np.float32), variance=(images.var(0, ddof=1) / len(SEEDS)).astype(np.float32)
    )
    error = np.sqrt(images.var(0) / len(SEEDS)).mean() / images.mean()
    print(f"mean {images.mean():.5f}, relative error of a pixel {error:.4f}")


if __name__ == "__main__":
    main()
