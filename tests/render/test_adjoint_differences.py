"""The adjoint beside central finite differences: additive steps, common random numbers, the same bounds for all.

Standard errors from the spread over rounds of other seeds. The rounds of the two sides are independent. `python -m
tests.render.test_adjoint_differences` prints the table of docs/gradients.md.
"""

import functools
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from endorender.inverse import parameters
from endorender.render.images import gradient
from endorender.scene import Disk, Endoscope, EnvironmentMap, GridMedium, HenyeyGreenstein, Pinhole, Scene
from tests.render.gradients import Estimate, differences, magnitudes, weights
from tests.render.scenes import affine, tube_scene

HU = (-1000, -500, 0, 40)  # air, the foot and the head of the wall's ramp, tissue
ALBEDO = ((0.9, 0.8, 0.7), (0.8, 0.7, 0.6), (0.9, 0.6, 0.5), (0.95, 0.9, 0.8))


def tube(surface="volume", sigma_t=(0.0, 0.02, 0.1, 0.15), mu=1.0, albedo=ALBEDO, **changes):
    """The bent tube, thin enough for exact differences, under two guides of a true radius at the lens."""
    guides = Endoscope(guides=((1.5, 0.3, 0), (-1.5, 0, 0.2)), radius=0.6, intensity=100.0, mu=mu)
    tissue = {"hu": HU, "sigma_t": sigma_t, "albedo": albedo, "phase": {"type": "hg", "g": 0.4}, **changes}
    return tube_scene(surface, (8, 8), (guides,), **tissue)


def coated(**changes):
    """A wet wall over absorbing tissue: short paths."""
    return tube("interface", (0, 0.5, 1, 1.2), albedo=((0.6, 0.5, 0.4),) * 4, roughness=0.3, specular=0.7, **changes)


def turned():
    """The tube from a camera askew, its air clear at the lens, under light that has no edge at 90°."""
    scene = tube(sigma_t=(0.0, 0.05, 0.25, 0.3), mu=6.0)
    pose = scene.world_from_camera.copy()
    pose[:3, :3] = Rotation.from_rotvec([0.2, 0.3, 0.5]).as_matrix()
    return scene.with_(world_from_camera=pose)


@functools.cache
def _voxels():
    rng = np.random.default_rng(1)
    sigma_t = (rng.uniform(0.05, 0.3, (5, 5, 5)) * (rng.uniform(size=(5, 5, 5)) > 0.5)).astype(np.float32)
    sigma_t[:, :, 4] = 1.0
    sky = EnvironmentMap(pixels=[[[0.1, 0, 1], [4, 1, 0]], [[1, 0, 0], [0, 0.2, 0]], [[0.5, 0, 0], [0, 9, 0]]])
    disk = Disk(position=(-1.5, 0.3, 0.5), direction=(0.4, 0, 1), radius=0.5, intensity=8.0)
    medium = GridMedium(
        sigma_t,
        rng.uniform(0.4, 0.95, (5, 5, 5, 3)).astype(np.float32),
        affine([1.0] * 3, translation=[0.5] * 3),
        HenyeyGreenstein(g=0.3),
    )
    pose = affine([1.0] * 3, translation=(2.5, 2.5, 0.6))
    return Scene(medium, Pinhole(width=8, height=8, fov=70), pose, (disk, sky), surface="volume")


def voxels():
    """5³ voxels, many of them empty, others thin or dense, under a disk and a sky."""
    return _voxels()


def where(condition):
    """Voxels by their extinction."""
    return lambda value: condition(voxels().medium.sigma_t) * 1.0


AIR, THIN, DENSE = where(lambda s: s == 0), where(lambda s: (s > 0) & (s < 0.5)), where(lambda s: s > 0.5)


@dataclass(frozen=True)
class Case:
    """A parameter along one direction. direction: of the step, from the value. spp: of the differences, and a round."""

    scene: Any
    name: str
    direction: Any
    step: float
    spp: int = 4096
    one_sided: bool = False


def point(i, n=4):
    """The i-th control point alone."""
    return lambda value: np.eye(n)[i].reshape([n] + [1] * (value.ndim - 1)) * np.ones_like(value)


def component(i):
    return lambda value: np.eye(max(value.size, 1))[i].reshape(value.shape)


EACH = np.ones_like
CASES = {
    "sigma_t, control point in air (0)": Case(tube, "tissue.sigma_t", point(0), 0.002, one_sided=True),
    "sigma_t, foot of the wall": Case(tube, "tissue.sigma_t", point(1), 0.01),
    "sigma_t, head of the wall": Case(tube, "tissue.sigma_t", point(2), 0.03),
    "sigma_t, tissue": Case(tube, "tissue.sigma_t", point(3), 0.03),
    "sigma_t, head of the wall under a coat": Case(lambda: coated(wall_hu=-400), "tissue.sigma_t", point(2), 0.1),
    "sigma_t, tissue under a coat": Case(coated, "tissue.sigma_t", point(3), 0.1),
    "sigma_t, empty voxels": Case(voxels, "medium.sigma_t", AIR, 0.02, one_sided=True),
    "sigma_t, thin voxels": Case(voxels, "medium.sigma_t", THIN, 0.03),
    "sigma_t, dense voxels": Case(voxels, "medium.sigma_t", DENSE, 0.1),
    "albedo, foot of the wall": Case(tube, "tissue.albedo", point(1), 0.02, 1024),
    "albedo, tissue": Case(tube, "tissue.albedo", point(3), 0.02, 1024),
    "albedo, voxels": Case(voxels, "medium.albedo", EACH, 0.02, 1024),
    "g, tissue": Case(tube, "phase.g", EACH, 0.02, 2048),
    "g, voxels": Case(voxels, "phase.g", EACH, 0.02, 4096),
    "k of Schlick": Case(lambda: tube(phase={"type": "schlick", "k": 0.3}), "phase.k", EACH, 0.02, 2048),
    "share of a double HG": Case(lambda: tube(phase={"type": "double_hg", "w": 0.6}), "phase.w", EACH, 0.05, 2048),
    "intensity": Case(tube, "lights.0.intensity", EACH, 5.0, 256),
    "mu": Case(tube, "lights.0.mu", EACH, 0.05, 1024),
    "sky": Case(voxels, "lights.1.scale", EACH, 0.1, 1024),
    "guide across": Case(turned, "lights.0.guides", component(0), 0.1),
    "guide along the axis": Case(turned, "lights.0.guides", component(5), 0.1),
    "roughness": Case(coated, "tissue.roughness", EACH, 0.03),
    "specular": Case(coated, "tissue.specular", EACH, 0.1),
    "pose, x": Case(turned, "camera.pose", component(0), 0.05),
    "pose, z": Case(turned, "camera.pose", component(2), 0.05),
    "pose, about x": Case(turned, "camera.pose", component(3), 0.02),
    "pose, about z": Case(turned, "camera.pose", component(5), 0.02),
    "focal length": Case(turned, "camera.focal", EACH, 0.1),
}
ROUNDS = 8


def along(case, spp, rounds, apply=lambda x: x):
    """The gradient along the case's direction, in rounds of other seeds. apply: to what it is made of."""
    scene = case.scene()
    value = parameters.current(scene, case.name)
    wanted = parameters.wanted(scene, [case.name])
    found = []
    for n in range(rounds):
        g = gradient.gradient(scene, weights(8), wanted, spp, 1 + n, 1, case.name.startswith("camera."))
        by = parameters.chain(scene, {case.name: value}, g, [case.name])[case.name]
        found.append((by * apply(case.direction(value))).sum())
    return Estimate.of(found)


def beside(case):
    """The same by differences."""
    scene = case.scene()
    value = parameters.current(scene, case.name)

    def make(h):
        return parameters.apply(scene, {case.name: value + h * case.direction(value)})

    smooth = case.name.startswith("camera.")
    return differences(make, case.step, weights(8), case.spp, ROUNDS, smooth, case.one_sided)


def magnitude(case):
    """Sum of the absolute terms that make up the gradient."""
    with magnitudes():
        return along(case, 64, 2, np.abs).value


CHEAP = ("albedo, tissue", "mu")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in CHEAP else pytest.mark.slow) for n in CASES])
def test_gradient_is_that_of_differences(name):
    case = CASES[name]
    found = along(case, case.spp // 2, ROUNDS)
    assert abs(found.z(beside(case))) < 4
    # Where terms cancel the error is small beside them, not beside their sum.
    assert found.error < 0.03 * abs(found.value) or found.error < 0.03 * magnitude(case)


def main():
    """Print the table."""
    for name in sys.argv[1:] or CASES:
        case = CASES[name]
        began = time.process_time()
        found, other = along(case, case.spp // 2, ROUNDS), beside(case)
        share = found.error / abs(found.value)
        if share > 0.03:
            share = found.error / magnitude(case)
        print(
            f"| {name} | {found.value:.4g} ± {found.error:.1g} | {other.value:.4g} ± {other.error:.1g} "
            f"| {found.z(other):+.1f} | {share:.1%} |",
            flush=True,
        )
        print(f"{time.process_time() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
