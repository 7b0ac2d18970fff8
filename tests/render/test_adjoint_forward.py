"""The adjoint beside a forward mode of its own: derivatives that are carried along each path from its beginning.

Another walk in NumPy, with analogue flights and score functions (∂ log p of what was drawn), one parameter at a time.
It shares no code, no random numbers and no estimator with the adjoint, which collects a path's radiance backwards.
"""

import numpy as np
import pytest

from endorender.scene import Constant
from tests.render.gradients import adjoint
from tests.render.scenes import cube_scene

SIGMA, ALBEDO, G, SIZE, DEEPEST = 3.0, 0.8, 0.4, 4, 48
PATHS = 400_000
ASKED = {
    "albedo": lambda g: g.albedo.sum(),
    "sigma_t": lambda g: g.sigma_t.sum(),
    "phase": lambda g: g.phase.sum(),
}


def _leaving(o, d):
    """Distance at which rays from within the unit cube leave it."""
    with np.errstate(divide="ignore"):
        return np.where(d > 0, (1 - o) / d, np.where(d < 0, -o / d, np.inf)).min(-1)


def _turned(d, cosine, angle):
    """Directions at so large a cosine and azimuth about d."""
    side = np.where(np.abs(d[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    u = np.cross(d, side)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    sine = np.sqrt(np.maximum(0, 1 - cosine**2))
    across = np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * np.cross(d, u)
    return cosine[:, None] * d + sine[:, None] * across


def forward(camera_rays, rng):
    """(pixels, PATHS, 4): what paths bring under an even sky of 1, and its derivatives by albedo, extinction and g.

    camera_rays: (pixels, PATHS, 2, 3) origins and directions.
    """
    out = []
    for rays in camera_rays:
        o, d = rays[:, 0].copy(), rays[:, 1].copy()
        with np.errstate(divide="ignore"):
            near, far = -o / d, (1 - o) / d
        enter, leave = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
        hit = (enter < leave) & (leave > 0)
        light = np.where(hit, 0.0, 1.0)
        dark = np.zeros((len(o), 3))
        o, d, index = (o + enter[:, None] * d)[hit], d[hit], np.flatnonzero(hit)
        beta, by = np.ones(len(o)), np.zeros((len(o), 3))  # throughput, and derivatives of its logarithm
        for n in range(DEEPEST + 1):
            t, end = rng.exponential(1 / SIGMA, len(o)), _leaving(o, d)
            out_now = t >= end
            by[:, 1] += np.where(out_now, -end, 1 / SIGMA - t)
            light[index[out_now]] = beta[out_now]
            dark[index[out_now]] = beta[out_now, None] * by[out_now]
            o, d, t, beta, by, index = (a[~out_now] for a in (o, d, t, beta, by, index))
            if n == DEEPEST or not len(o):
                break
            o = np.clip(o + t[:, None] * d, 0, 1)
            beta, by[:, 0] = beta * ALBEDO, by[:, 0] + 1 / ALBEDO
            u = rng.uniform(size=len(o))
            cosine = (1 + G**2 - ((1 - G**2) / (1 - G + 2 * G * u)) ** 2) / (2 * G)
            by[:, 2] += -2 * G / (1 - G**2) - 3 * (G - cosine) / (1 + G**2 - 2 * G * cosine)
            d = _turned(d, cosine, rng.uniform(0, 2 * np.pi, len(o)))
        out.append(np.column_stack([light, dark]))
    return np.array(out)


@pytest.fixture(scope="module")
def scene():
    return cube_scene(SIGMA, ALBEDO, [Constant(radiance=(1.0, 1.0, 1.0))], G, SIZE, fov=25.0, max_scatterings=DEEPEST)


@pytest.fixture(scope="module")
def carried(scene):
    """Sum over pixels, its standard error, and that of absolute terms: of the picture and of the three derivatives."""
    rng = np.random.default_rng(0)
    camera, each = scene.camera, PATHS // SIZE**2
    pixels = camera.pixels().reshape(-1, 2)
    jittered = pixels[:, None] + rng.uniform(-0.5, 0.5, (len(pixels), each, 2))
    directions = camera.unproject(jittered.reshape(-1, 2)).reshape(len(pixels), each, 3)
    pose = np.asarray(scene.world_from_camera)
    directions = directions @ pose[:3, :3].T
    origins = np.broadcast_to(pose[:3, 3], directions.shape)
    found = forward(np.stack([origins, directions], 2), rng)
    return found.mean(1).sum(0), np.sqrt((found.var(1) / each).sum(0)), np.abs(found).mean(1).sum(0)


@pytest.mark.parametrize("name", ASKED)
def test_derivatives_carried_forward_are_those_collected_backward(scene, carried, name):
    weights = np.zeros((SIZE, SIZE, 3))
    weights[..., 1] = 1  # one channel: all are alike
    wanted = ("sigma_t", "air") if name == "sigma_t" else (name,)
    back = adjoint(scene, weights, wanted, 1024, 16, ASKED[name])
    column = 1 + list(ASKED).index(name)
    value, error, terms = (row[column] for row in carried)
    assert error < 0.03 * terms
    assert back.error < 0.03 * terms
    assert abs(back.value - value) < 3.5 * np.hypot(back.error, error)
