"""Views of phantoms by Blender's Cycles, as a SimCol3D folder: the second domain that endorender did not render.

`python tests/benchmarks/cycles.py OUT [PATIENT ...]`, then `endorender experiment adapt --foreign cycles=simcol3d@OUT`.
Of endorender come the wall (as triangles), the poses and the depth. Of Cycles come light, material, lens and tone: a
principled BSDF with random-walk subsurface scattering, procedural mottling, flushes and vessels, a wet coat over bumps,
two or three lamps at the tip, exposure control, Blender's view transforms, and a video chain of its own. Each patient's
look is drawn (cycles_looks.py), and so is its lens. At every view the depth is held against Cycles' own Z pass: half
the pixels within AGREED of it, or nothing is written. Needs the extra `bench` on Python 3.11, for which bpy is made.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # In the place of this folder, where Blender's own module `cycles` would be found to be this file.
    sys.path[0] = str(Path(__file__).parents[2])
from endorender.dataset import exr
from endorender.errors import UserError
from endorender.render import geometry, init
from endorender.scene import Endoscope, Scene, trajectory
from endorender.viewer import shapes
from tests.benchmarks import cycles_looks as looks
from tests.benchmarks import foreign_set
from tests.benchmarks.cycles_mucosa import mucosa

PATIENTS = range(9001, 9013)  # phantoms of which nothing was ever trained or chosen on
VIEWS = 5
WIDTH, HEIGHT = 160, 120
SPP = 16
SEED = 20240716
AGREED = 0.005  # median relative difference of Cycles' Z and our depth


def load_bpy():
    """Blender as a module, on the CPU, with an empty scene."""
    try:
        import bpy
    except ImportError:
        sys.exit("error: this test set needs Blender: pip install 'endorender[bench]' with Python 3.11")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy


class Studio:
    """One patient's scene in Blender."""

    def __init__(self, bpy, mesh: shapes.Mesh, look: looks.Look, camera) -> None:
        self.bpy, self.look, self.camera = bpy, look, camera
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self._wall(mesh)
        self.eye = bpy.data.objects.new("eye", bpy.data.cameras.new("eye"))
        self.scene.collection.objects.link(self.eye)
        self.scene.camera, lens = self.eye, self.eye.data
        lens.sensor_fit, lens.sensor_width, lens.clip_start, lens.clip_end = "HORIZONTAL", 36.0, 0.01, 1e4
        for name, value in looks.lens(camera).items():
            setattr(lens, name, value)
        self.lamps = [self._lamp(lamp) for lamp in look.lamps]
        self._settings()

    def _wall(self, mesh: shapes.Mesh) -> None:
        data = self.bpy.data.meshes.new("wall")
        faces = looks.facing_lumen(mesh)
        data.vertices.add(len(mesh.vertices))
        data.vertices.foreach_set("co", mesh.vertices.astype(np.float32).ravel())
        data.loops.add(faces.size)
        data.loops.foreach_set("vertex_index", faces.astype(np.int32).ravel())
        data.polygons.add(len(faces))
        data.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
        data.update(calc_edges=True)
        data.validate()
        data.shade_smooth()
        data.materials.append(mucosa(self.bpy, self.look))
        self.scene.collection.objects.link(self.bpy.data.objects.new("wall", data))

    def _lamp(self, lamp: looks.Lamp):
        data = self.bpy.data.lights.new("lamp", lamp.kind)
        data.color, data.energy = lamp.colour, 900 * lamp.watt
        if lamp.kind == "AREA":
            data.shape, data.size, data.spread = "DISK", lamp.size, np.radians(lamp.opening)
        else:
            data.shadow_soft_size, data.spot_size, data.spot_blend = lamp.size / 2, np.radians(lamp.opening), 1.0
        made = self.bpy.data.objects.new("lamp", data)
        made.visible_camera = False
        self.scene.collection.objects.link(made)
        return made

    def _settings(self) -> None:
        render, cycles = self.scene.render, self.scene.cycles
        render.engine, cycles.device = "CYCLES", "CPU"
        render.resolution_x, render.resolution_y = self.camera.width, self.camera.height
        render.resolution_percentage, render.use_persistent_data = 100, True
        cycles.use_adaptive_sampling, cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = False, 6, 4, 2
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.denoiser = "OPENIMAGEDENOISE"
        self.scene.view_layers[0].use_pass_z = True

    def aim(self, pose: np.ndarray) -> None:
        """Move the lens, and the lamps with it. pose: (4, 4) world_from_camera."""
        from mathutils import Matrix

        world = Matrix(looks.camera_to_world(pose).tolist())
        self.eye.matrix_world = world
        for made, lamp in zip(self.lamps, self.look.lamps):
            made.matrix_world = world @ Matrix(looks.lamp_on_camera(lamp).tolist())

    def render(self, spp: int, seed: int, denoise: bool = True, filter_width: float = 1.5) -> dict[str, np.ndarray]:
        """linear: (H, W, 3) radiance. z: (H, W) mm, NaN where nothing is met."""
        cycles = self.scene.cycles
        cycles.samples, cycles.seed, cycles.use_denoising = spp, seed, denoise
        cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", filter_width
        with _quiet():
            self.bpy.ops.render.render()
        with tempfile.TemporaryDirectory() as folder:
            path = self._saved(Path(folder) / "view.exr", "OPEN_EXR_MULTILAYER", "32")
            channels, _ = exr.read(path)
        linear = np.stack([channels[f"ViewLayer.Combined.{c}"] for c in "RGB"], -1)
        z = channels["ViewLayer.Depth.Z"]
        return {"linear": linear, "z": np.where(z < 1e6, z, np.nan)}

    def shown(self, stops: float) -> np.ndarray:
        """(H, W, 3) 0..1: the last picture through the patient's view transform, exposed by so many stops."""
        import tifffile

        settings = self.scene.view_settings
        settings.view_transform, settings.look = self.look.tone
        settings.exposure = stops
        with tempfile.TemporaryDirectory() as folder:
            return tifffile.imread(self._saved(Path(folder) / "view.tif", "TIFF", "16"))[..., :3] / 65535

    def _saved(self, path: Path, kind: str, depth: str) -> Path:
        form = self.scene.render.image_settings
        form.file_format, form.color_mode, form.color_depth = kind, "RGB" if kind == "TIFF" else "RGBA", depth
        with _quiet():
            self.bpy.data.images["Render Result"].save_render(str(path), scene=self.scene)
        return path


@contextlib.contextmanager
def _quiet():
    """Blender writes lines to the process's standard output, past Python: they go nowhere."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def off(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Median relative difference of two depths, where both have one; infinite where fewer than nine in ten do."""
    both = np.isfinite(theirs) & np.isfinite(ours)
    if both.sum() < 0.9 * np.isfinite(ours).sum():
        return float("inf")
    return float(np.median(np.abs(theirs[both] / ours[both] - 1)))


def flight(own: foreign_set.Phantom, number: int, views: int) -> np.ndarray:
    """(V, 4, 4) poses: near the axis and near the wall, along the lumen and turned towards its side."""
    rng = np.random.default_rng([SEED, number, 1])
    ready = own.ready
    return trajectory.poses(
        ready.volume,
        ready.lumen,
        ready.path,
        views,
        SEED + number,
        min_clearance_mm=looks.CLEARANCE_MM,
        jitter=rng.uniform(0.2, 1.0, views),
        look_aside=rng.uniform(4.0, 28.0, views),
        ahead=rng.uniform(0.8, 3.0, views),
        approach=rng.uniform(0.0, 0.9, views),
    )


def patient(bpy, number: int, own: foreign_set.Phantom, views: int) -> foreign_set.Patient:
    """A phantom in its look."""
    look = looks.draw(np.random.default_rng([SEED, number]))
    camera, poses, ready = look.camera(WIDTH, HEIGHT), flight(own, number, views), own.ready
    seen = camera.visible()
    studio: list[Studio] = []  # made once a view is missing

    def shoot(n: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        if not studio:
            studio.append(Studio(bpy, shapes.wall(ready.volume, ready.lumen, sys.maxsize), look, camera))
        scene = Scene(ready.volume, camera, poses[n], (Endoscope(),), threshold=ready.lumen.threshold)
        z = geometry(scene).z_depth
        studio[0].aim(poses[n])
        # The Z pass is of the first sample alone, somewhere in the pixel's filter: a narrow one puts it in the middle.
        disagreed = off(studio[0].render(1, n, denoise=False, filter_width=0.01)["z"], z)
        if not disagreed < AGREED:
            raise UserError(f"phantom:{number}, view {n}: Cycles' depth is {disagreed:.2%} from ours", "DEPTH")
        linear = studio[0].render(SPP, n)["linear"]
        gain = looks.stops(linear, look, seen)
        image = looks.video(studio[0].shown(gain), look, seen, np.random.default_rng([SEED, number, 2, n]))
        return image, z, {"z_off": round(disagreed, 6), "stops": round(gain, 3)}

    return foreign_set.Patient(camera, poses, shoot, {"look": look.told()})


def main() -> None:
    asked = foreign_set.arguments(__doc__, PATIENTS, VIEWS)
    bpy = load_bpy()
    init("cpu")
    settings = {"blender": bpy.app.version_string, "size": [WIDTH, HEIGHT], "spp": SPP, "seed": SEED}
    foreign_set.make(asked, "cycles", settings, lambda *given: patient(bpy, *given))


if __name__ == "__main__":
    main()
