"""Datasets whose every pixel is known in closed form: cameras inside a hollow sphere with a ball in it."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from endorender.dataset import configure, exr, open_dataset
from endorender.dataset.frame import Frame, frame_id
from endorender.dataset.generate import describe
from endorender.dataset.negative import write_png
from endorender.dataset.pages import write_pages
from endorender.dataset.writer import Writer
from endorender.scene import cameras

WALL = 30.0  # mm, radius of the hollow around the origin
BALL, BALL_AT = 3.0, np.array([1.0, -2.0, 14.0])
CLOSE = 0.01  # mm


def hit(origin, directions):
    """Distance (...) to the nearest surface along unit directions (..., 3), and the unit normal that faces back."""
    b = directions @ origin
    wall = -b + np.sqrt(b * b - origin @ origin + WALL**2)
    to = origin - BALL_AT
    b = directions @ to
    root = b * b - to @ to + BALL**2
    ball = np.where(root > 0, -b - np.sqrt(np.maximum(root, 0)), np.inf)
    ball = np.where(ball > 0, ball, np.inf)
    distance = np.minimum(wall, ball)
    point = origin + distance[..., None] * directions
    normal = np.where((ball < wall)[..., None], (point - BALL_AT) / BALL, -point / WALL)
    return distance, normal


def shade(points):
    """(..., 3) mm -> (..., 3) uint8: a colour that belongs to the place, smooth in it."""
    return np.round(127 + 100 * np.sin(points * (0.15, 0.2, 0.25))).astype(np.uint8)


def poses(views, seed=0, step=0.8):
    """(V, 4, 4): a camera that flies along z and turns a little."""
    rng = np.random.default_rng(seed)
    out = np.tile(np.eye(4), (views, 1, 1))
    out[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.06, (views, 3))).as_matrix()
    out[:, :3, 3] = rng.normal(0, 0.5, (views, 3)) + np.arange(views)[:, None] * (0.1, 0, step)
    return out


def configuration(camera="pinhole:fov=80", size="32x24", views=3, patients=3, names=("plain", "red")):
    cts = [f"phantom:{n + 1}" for n in range(patients)]
    return configure(ct=cts, views=views, size=size, camera=camera, variations=[{"name": n} for n in names])


def make(root, extra=lambda here, after, camera: {}, volume=lambda patient: {"ct_sha256": patient}, **changes):
    """Write such a dataset. extra(pose, next pose or None, camera) -> further channels of geometry.exr. volume(patient)
    -> what the manifest says of the CT."""
    config = configuration(**changes)
    ids = [frame_id(p.alias, n, v.name) for p in config.ct for n in range(config.views) for v in config.columns]
    writer = Writer(Path(root), describe(config), ids)
    with writer.open(False):
        for seed, patient in enumerate(p.alias for p in config.ct):
            path = poses(config.views, seed)
            for n, pose in enumerate(path):
                camera = cameras.build(config.draw_view(patient, n)["camera"])
                rays, visible = camera.unproject(camera.pixels()), camera.visible()
                directions = rays @ pose[:3, :3].T
                distance, normal = hit(pose[:3, 3], directions)
                points = pose[:3, 3] + distance[..., None] * directions
                distance[~visible] = np.nan
                normal = np.where(visible[..., None], normal @ pose[:3, :3], np.nan)
                after = path[n + 1] if n + 1 < len(path) else None
                channels = {
                    "Z": distance * rays[..., 2],
                    "distance.V": distance,
                    "mask.V": visible,
                    **exr.split_rgb("normal", normal, "XYZ"),
                    **extra(pose, after, camera),
                }
                channels = {k: v.astype(np.float32) for k, v in channels.items()}
                folder = f"{patient}/{n:04d}"
                geometry = writer.add(f"{folder}/geometry.exr", lambda p, c=channels: exr.write(p, c, {}))
                for v in config.columns:
                    picture = np.where(visible[..., None], shade(points), 0).astype(np.uint8)
                    light = exr.split_rgb("", (picture / 255).astype(np.float16))
                    files = {
                        "geometry": geometry,
                        "radiance": writer.add(f"{folder}/{v.name}.exr", lambda p, c=light: exr.write(p, c, {})),
                        "image": writer.add(f"{folder}/{v.name}.png", lambda p, i=picture: write_png(p, i)),
                    }
                    writer.append(
                        Frame(
                            id=f"{folder}/{v.name}",
                            patient=patient,
                            scene={},
                            view=n,
                            variation=v.name,
                            parameters={},
                            seed=1,
                            K=camera.K.tolist(),
                            camera=cameras.dump(camera),
                            world_from_camera=pose.tolist(),
                            volume=volume(patient),
                            files=files,
                            spp=4,
                            denoised=False,
                        )
                    )
        writer.finish()
        write_pages(writer, open_dataset(writer.root))
    return Path(root)


def truth(frame):
    """(H, W, 3) the points of a frame in the world, mm, in closed form; NaN where nothing is seen."""
    camera, pose = cameras.build(frame.camera), np.array(frame.world_from_camera)
    directions = camera.unproject(camera.pixels()) @ pose[:3, :3].T
    points = pose[:3, 3] + hit(pose[:3, 3], directions)[0][..., None] * directions
    return np.where(camera.visible()[..., None], points, np.nan)


def frame_of(data, patient, variation, view):
    return next(f for f in data.frames if (f.patient, f.variation, f.view) == (patient, variation, view))


def same_points(points, frame, valid=None):
    """Points (H, W, 3) are the frame's, to CLOSE; where NaN, the frame has none either."""
    expected = truth(frame)
    assert np.array_equal(np.isfinite(points[..., 0]), np.isfinite(expected[..., 0]) if valid is None else valid)
    off = np.linalg.norm(points - expected, axis=-1)
    assert np.nanmax(off) < CLOSE
    return np.nanmax(off)
