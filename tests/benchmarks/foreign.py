"""Views of the phantoms by Mitsuba 3, as a SimCol3D folder: a domain that endorender did not render.

`python tests/benchmarks/foreign.py OUT`, then `endorender experiment adapt --foreign mitsuba=simcol3d@OUT`.
Of endorender come the wall (as triangles) and the poses. Of Mitsuba come light, material, camera and depth: the wall is
opaque, a rough principled BSDF with a mottled base colour and bumps of its own; two point lights beside the lens; path
tracing; depth by Mitsuba's own rays. Every patient has another colour, gloss and exposure. Nothing of it stands for
tissue: it is a renderer, a material model and a camera response that no training image shares. Needs the extra `bench`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from endorender.scene import Pinhole, trajectory
from endorender.viewer import shapes
from tests.benchmarks import foreign_set
from tests.benchmarks.reference_scenes import load_mitsuba

PATIENTS = range(8001, 8013)  # used for nothing else
VIEWS = 10
WIDTH, HEIGHT, FOV = 128, 96, 100.0
SPP = 256
SEED = 20181106  # of views that no dataset of the experiments holds
CELLS = 64  # of the noise's period
BEFORE_LENS = np.diag([-1.0, -1, 1, 1])  # Mitsuba's cameras look along +z with x to the left and y up


def noise(points: np.ndarray, cell_mm: float, rng: np.random.Generator) -> np.ndarray:
    """(N,) smooth values, mean 0 and about unit size: cubic interpolation of random numbers `cell_mm` apart."""
    from scipy.ndimage import map_coordinates

    lattice = rng.standard_normal((CELLS, CELLS, CELLS))
    return map_coordinates(lattice, points.T / cell_mm, order=3, mode="grid-wrap")


def wall(mi, prepared, rng: np.random.Generator):
    """The lumen's wall with a base colour for each vertex, and a rough, wet coat."""
    mesh = shapes.wall(prepared.volume, prepared.lumen, 400_000)
    vertices, faces = mesh.vertices.astype(float), mesh.faces
    corner = vertices[faces]
    across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], across)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    bumps = 0.12 * noise(vertices, 2.0, rng) + 0.05 * noise(vertices, 0.9, rng)
    colour = rng.uniform((0.62, 0.28, 0.2), (0.9, 0.5, 0.42))
    mottled = 0.10 * noise(vertices, 9.0, rng) + 0.08 * noise(vertices, 2.5, rng)
    redder = np.clip(noise(vertices, 5.0, rng), 0, None)[:, None] * (0.0, -0.06, -0.05)
    shade = np.clip(colour * (1 + mottled[:, None]) + redder, 0.02, 0.98)
    bsdf = {
        "type": "twosided",
        "bsdf": {
            "type": "principled",
            "base_color": {"type": "mesh_attribute", "name": "vertex_color"},
            "roughness": float(rng.uniform(0.25, 0.5)),
            "specular": float(rng.uniform(0.3, 0.7)),
        },
    }
    made = mi.Mesh("wall", len(vertices), len(faces), props=_properties(mi, bsdf))
    made.add_attribute("vertex_color", 3, shade.astype(np.float32).ravel())
    parameters = mi.traverse(made)
    parameters["vertex_positions"] = (vertices + normals * bumps[:, None]).astype(np.float32).ravel()
    parameters["faces"] = faces.astype(np.uint32).ravel()
    parameters.update()
    return made


def _properties(mi, bsdf):
    found = mi.Properties()
    found["bsdf"] = mi.load_dict(bsdf)
    return found


def view(mi, mesh, pose: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) linear radiance, (H, W) z-depth in mm, NaN where the ray leaves through an open end."""
    lights = {
        f"light{n}": {
            "type": "point",
            "position": (pose @ (x, 0.0, 0.0, 1.0))[:3].tolist(),
            "intensity": {"type": "rgb", "value": [1.0, 0.96, 0.9]},
        }
        for n, x in enumerate((-2.0, 2.0))
    }
    scene = mi.load_dict(
        {
            "type": "scene",
            "wall": mesh,
            "integrator": {"type": "path", "max_depth": 6},
            "sensor": {
                "type": "perspective",
                "fov": FOV,
                "fov_axis": "x",
                "near_clip": 0.01,
                "far_clip": 1e4,
                "to_world": mi.ScalarTransform4f(pose @ BEFORE_LENS),
                "film": {"type": "hdrfilm", "width": WIDTH, "height": HEIGHT, "rfilter": {"type": "box"}},
                "sampler": {"type": "independent", "sample_count": SPP},
            },
            **lights,
        }
    )
    image = np.array(mi.render(scene, spp=SPP, seed=seed))[..., :3]
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    at = mi.Point2f(mi.Float((u / WIDTH).ravel()), mi.Float((v / HEIGHT).ravel()))
    ray, _ = scene.sensors()[0].sample_ray(0.0, 0.5, at, mi.Point2f(0.5))
    hit = scene.ray_intersect(ray)
    point = np.array(hit.p).reshape(3, -1)
    z = pose[:3, 2] @ (point - pose[:3, 3:])
    return image, np.where(np.array(hit.is_valid()), z, np.nan).reshape(HEIGHT, WIDTH)


def developed(linear: np.ndarray, exposure: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8: exposed for the median, a filmic shoulder, gamma 2.2, and a sensor's noise."""
    x = exposure * linear / max(float(np.median(linear.mean(-1))), 1e-12)
    shown = 255 * (x / (1 + x)) ** (1 / 2.2)
    return np.clip(np.round(shown + rng.normal(0, 1.5, shown.shape)), 0, 255).astype(np.uint8)


def patient(mi, number: int, own: foreign_set.Phantom, views: int) -> foreign_set.Patient:
    """A phantom with a colour, gloss and exposure of its own."""
    rng = np.random.default_rng([SEED, number])
    ready = own.ready
    mesh, exposure = wall(mi, ready, rng), float(rng.uniform(0.12, 0.3))
    poses = trajectory.poses(ready.volume, ready.lumen, ready.path, views, SEED)

    def shoot(n: int):
        linear, z = view(mi, mesh, poses[n], n)
        return developed(linear, exposure, np.random.default_rng([SEED, number, n])), z, {}

    return foreign_set.Patient(Pinhole(width=WIDTH, height=HEIGHT, fov=FOV), poses, shoot, {"exposure": exposure})


def main() -> None:
    asked = foreign_set.arguments(__doc__, PATIENTS, VIEWS)
    mi = load_mitsuba()
    settings = {"mitsuba": mi.__version__, "size": [WIDTH, HEIGHT], "spp": SPP, "seed": SEED}
    foreign_set.make(asked, "mitsuba", settings, lambda *given: patient(mi, *given))


if __name__ == "__main__":
    main()
