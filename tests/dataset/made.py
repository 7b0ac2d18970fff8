"""A dataset made of numbers instead of light, through the real writer: fast enough to be killed often."""

import sys
import time
from pathlib import Path

import numpy as np

from endorender.dataset import configure, exr, open_dataset
from endorender.dataset.frame import Frame, frame_id
from endorender.dataset.generate import describe
from endorender.dataset.negative import write_png
from endorender.dataset.pages import write_pages
from endorender.dataset.writer import Writer

H, W = 24, 32


def configuration(views=4, **changes):
    changes.setdefault("preset", "paper4")
    return configure(ct=["phantom:1", "phantom:2", "phantom:3"], views=views, size=f"{W}x{H}", spp=4, **changes)


def make(root, resume=False, wait=0.0, config=None):
    """Write (or go on writing) the dataset of `config` into `root`."""
    config = config or configuration()
    ids = [frame_id(p.alias, n, v.name) for p in config.ct for n in range(config.views) for v in config.columns]
    writer = Writer(Path(root), describe(config), ids)
    with writer.open(resume):
        for name in writer.missing():
            patient, view, variation = name.split("/")
            rng = np.random.default_rng(int(patient[1:]) * 100 + int(view))
            depth = rng.uniform(1, 50, (H, W)).astype(np.float32)
            depth[0, 0] = np.nan
            channels = {"Z": depth, "distance.V": depth, "mask.V": np.isfinite(depth).astype(np.float32)}
            channels |= exr.split_rgb("normal", np.zeros((H, W, 3), np.float32), "XYZ")
            image = np.full((H, W, 3), len(variation) * 10, np.uint8)
            shade = np.full((H, W, 3), len(variation), np.float16)
            # A second row of the view finds the geometry in place and leaves it.
            known = writer.geometry_of(patient, int(view))
            geometry = f"{patient}/{view}/geometry.exr"
            files = {
                "geometry": known or writer.add(geometry, lambda p, c=channels: exr.write(p, c, {})),
                "radiance": writer.add(f"{name}.exr", lambda p, s=shade: exr.write(p, exr.split_rgb("", s), {})),
                "image": writer.add(f"{name}.png", lambda p, i=image: write_png(p, i)),
            }
            time.sleep(wait)
            writer.append(
                Frame(
                    id=name,
                    patient=patient,
                    scene={},
                    view=int(view),
                    variation=variation,
                    parameters={},
                    seed=1,
                    K=np.eye(3).tolist(),
                    camera={},
                    world_from_camera=np.eye(4).tolist(),
                    volume={"ct_sha256": patient},
                    files=files,
                    spp=4,
                    denoised=False,
                )
            )
        writer.finish()
        write_pages(writer, open_dataset(writer.root))
    return Path(root)


def contents(root):
    """Every file below root by relative path."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(Path(root).rglob("*")) if p.is_file()}


if __name__ == "__main__":
    make(sys.argv[1], resume=True, wait=float(sys.argv[2]))
