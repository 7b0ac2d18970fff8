"""Recovery: photographs made with hidden parameters, through noise and 8 bits, and what a fit finds of them.

Each experiment gives rows (parameter, hidden, found, low, high, observable). Used by the slow tests beside it and by
tests/benchmarks/recovery.py.
"""

import functools

import numpy as np
from scipy.spatial.transform import Rotation

from endorender.ct import open_ct, prepare
from endorender.ct.volume import Volume
from endorender.inverse import parameters
from endorender.inverse.fit import Fit, fit
from endorender.inverse.parameters import moved
from endorender.inverse.pose import SPP, apart, refine, search
from endorender.render import radiance
from endorender.scene import LOOKS, Endoscope, HenyeyGreenstein, Pinhole, Scene, Tissue
from endorender.scene import Response as Fixed
from endorender.scene.trajectory import poses
from tests.render.proofs import REFS
from tests.render.reference import SCENES, build
from tests.render.scenes import AIR, THRESHOLD, affine

HU = (0.0, 60.0, 200.0, 350.0, 500.0)  # the first is under the coat, where nothing is: the fit must say so
ALBEDO = ((0.8, 0.8, 0.8), (0.955, 0.9, 0.77), (0.94, 0.86, 0.8), (0.9, 0.72, 0.62), (0.93, 0.9, 0.84))
EYES = (  # two along the lumen, two at the wall, where the lamps are reflected: the coat tells light from colour
    ((13.0, 12.0, 7.0), (8, -12)),
    ((12.0, 11.5, 11.0), (-20, 60)),
    ((17.0, 12.5, 18.0), (35, -65)),
    ((13.0, 12.0, 26.0), (-170, 15)),
)
SENSOR = {"full_well": 8000.0, "read_noise": 6.0}


@functools.cache
def patchwork():
    """A closed bent tube with folds, 0.5 mm voxels, whose wall is of the four tissues of HU in turn."""
    shape, pitch = (48, 48, 72), 0.5
    x, y, z = (pitch * a for a in np.meshgrid(*map(np.arange, shape), indexing="ij"))
    radius = 5 - 1.2 * np.exp(-((z - 14) ** 2) / 2) - 1.2 * np.exp(-((z - 22) ** 2) / 2)
    dx, dy = x - 12 - 2 * np.sin(z / 9), y - 12
    outside = np.maximum(np.hypot(dx, dy) - radius, np.maximum(4 - z, z - 30))
    sector = (np.floor((np.arctan2(dy, dx) / (2 * np.pi) + z / 24) * 4) % 4).astype(int)
    hu = np.clip(THRESHOLD + 2400 * outside, AIR, np.array(HU[1:])[sector])
    return Volume(np.round(hu).astype(np.int16), affine([pitch] * 3))


def eye(position, turn):
    """(4, 4) a camera there, turned about its x and y axes by degrees from looking along +z."""
    pose = affine((1.0, 1.0, 1.0), translation=position)
    pose[:3, :3] = Rotation.from_euler("yx", (turn[1], turn[0]), degrees=True).as_matrix()
    return pose


def views(volume, tissue, surface="interface", size=64, eyes=EYES, camera=None, **changes):
    """Scenes of one tube, lit by two guides."""
    camera = camera or Pinhole(width=size, height=size, fov=95)
    guides = Endoscope(guides=((1.2, 0.0, 0.0), (-1.2, 0.0, 0.0)), radius=0.5, intensity=100.0)
    return [Scene(volume, camera, eye(*e), (guides,), tissue, THRESHOLD, surface, **changes) for e in eyes]


def photographs(scenes, response, spp, seed=11):
    """(B, H, W, 3) uint8 of the scenes as they truly are, and the response with the exposure it took."""
    light = [radiance([scene], spp, seed, n)[0].mean for n, scene in enumerate(scenes)]
    fixed = response.resolve(np.concatenate(light))
    return np.stack([fixed.apply(x, seed + n) for n, x in enumerate(light)]), fixed


def table(found: Fit, hidden):
    """Rows (label, hidden, found, low, high, observable). hidden: by name."""
    known = found.problem.unknowns
    truth = np.concatenate([np.broadcast_to(hidden[n], known.start[n].shape)[known.free[n]] for n in known.names])
    return [(label, float(t), value, low, high, seen)
            for t, (label, value, low, high, seen) in zip(truth, found.intervals())]  # fmt: skip


def joint(names=None, size=64, spp=4000, plan=None, seed=0, progress=None):
    """Exposure × intensity, albedo of four control points, g and roughness; or some of them, the others known."""
    hidden = Tissue(hu=HU, sigma_t=(0, 1.5, 1.5, 1.5, 1.5), albedo=ALBEDO, phase=HenyeyGreenstein(g=0.6), wall_hu=60,
                    roughness=0.12)  # fmt: skip
    taken, response = photographs(views(patchwork(), hidden, size=size), Fixed(**SENSOR), spp)
    truth = {"tissue.albedo": np.array(ALBEDO), "phase.g": 0.6, "tissue.roughness": 0.12,
             "response.exposure": response.exposure}  # fmt: skip
    names = list(names or truth)
    start = {"tissue.albedo": np.full((5, 3), 0.85), "phase.g": np.array(0.3), "tissue.roughness": np.array(0.2)}
    scenes = [parameters.apply(s, {n: v for n, v in start.items() if n in names})
              for s in views(patchwork(), hidden, size=size)]  # fmt: skip
    if "response.exposure" in names:
        response = response.model_copy(update={"exposure": 1.4 * response.exposure})
    found = fit(scenes, taken, response, names, plan=plan, seed=seed, progress=progress)
    return found, table(found, truth)


def thin(size=48, spp=400, plan=None, seed=0, progress=None):
    """Extinction of thin mist and wall in a folded tube; of the third control point nothing is there."""
    fields = {"hu": (-1000, -300, 40, 500), "albedo": ((0.9, 0.8, 0.7),) * 4, "phase": HenyeyGreenstein(g=0.3)}
    hidden = np.array([0.03, 0.25, 0.5, 2.0])
    scenes = views(smooth_tube(), Tissue(sigma_t=hidden.tolist(), **fields), "volume", size)
    taken, response = photographs(scenes, Fixed(**SENSOR), spp)
    start = [s.with_(tissue=Tissue(sigma_t=(0.06, 0.12, 0.25, 2.0), **fields)) for s in scenes]
    found = fit(start, taken, response, ["tissue.sigma_t"], plan=plan, seed=seed, progress=progress)
    return found, table(found, {"tissue.sigma_t": hidden})


@functools.cache
def smooth_tube():
    """The folded tube of one tissue of 40 HU."""
    volume = patchwork()
    return Volume(np.minimum(volume.hu, 40).astype(np.int16), volume.affine)


def by_mitsuba(plan=None, seed=0, progress=None):
    """g, albedo and exposure of reference scene a from the picture that Mitsuba 3 rendered of it."""
    ref = SCENES[0]
    picture = np.load(REFS / f"{ref.name}.npz")["mean"]
    whole = build(ref)
    cube = Volume(np.full((5, 5, 5), 100, np.int16), affine([0.25] * 3))
    tissue = Tissue(hu=(100,), sigma_t=(8.0,), albedo=((0.8, 0.8, 0.8),), phase=HenyeyGreenstein(g=-0.2))
    scene = whole.with_(medium=cube, tissue=tissue)
    fixed = Fixed().resolve(picture)
    taken = fixed.apply(picture)[None]
    start = fixed.model_copy(update={"exposure": 1.3 * fixed.exposure})
    found = fit([scene], taken, start, ["tissue.albedo", "phase.g", "response.exposure"], plan=plan, seed=seed,
                progress=progress)  # fmt: skip
    return found, table(found, {"tissue.albedo": 0.9, "phase.g": ref.g, "response.exposure": fixed.exposure})


def off(rng, mm, degrees):
    """(6,) a step of se(3) by so much, in any direction."""
    shift, turn = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    return np.concatenate([mm * shift, np.radians(degrees) * turn])


@functools.cache
def colon():
    """A phantom, ready, with tall crescents all along and no ring: its folds tell where a camera is and how it is
    rolled; the tube above looks alike from all sides."""
    return prepare(open_ct("phantom:43"))


def pose(mm=1.0, degrees=3.0, count=6, size=64, spp=600, seed=0, far=False, steps=SPP, progress=None):
    """Poses of cameras in a phantom that are off by so much: rows (label, mm and degrees off at first, after the
    search, at the end, likeness of the search). Without `far` nothing is searched, and the second pair is the first."""
    ready, rng = colon(), np.random.default_rng([seed, 5])
    rows = []
    for n, true in enumerate(poses(ready.volume, ready.lumen, ready.path, count, seed + 5)):
        tissue = LOOKS["pale_pink"].tissue
        scene = Scene(ready.volume, Pinhole(width=size, height=size, fov=95), true, (Endoscope(),), tissue,
                      ready.lumen.threshold)  # fmt: skip
        (taken,), response = photographs([scene], Fixed(**SENSOR), spp)
        start = found = moved(true, off(rng, mm, degrees))
        like = np.nan
        if far:
            found, like = search(scene.with_(world_from_camera=start), taken, response, 1.2 * mm, 1.2 * degrees, seed=n)
        end, _ = refine(scene.with_(world_from_camera=found), taken, response, steps, n)
        rows.append((f"view {n + 1}", *apart(true, start), *apart(true, found), *apart(true, end), like))
        if progress:
            progress(n + 1, count, 0.0, {})
    return rows
