"""What is measured to prove light transport, each beside what theory says. For the tests and for docs/validation.md."""

import contextlib
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from scipy.stats import norm

from endorender.ct import open_ct
from endorender.ct.volume import Volume
from endorender.render import radiance
from endorender.render.device import backend
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.render.transport import world
from endorender.scene import Constant, EnvironmentMap, GridMedium, Isotropic, Pinhole, Point, Scene, Tissue
from tests.render.reference import build
from tests.render.scenes import affine, cube_scene
from tests.scene.test_sampling import phase_call

REFS = Path(__file__).parents[1] / "refs"
MITSUBA_SPP = {"a": 256, "b": 128, "c": 64}
DARK = Constant(radiance=(0.0, 0.0, 0.0))  # beside a point, so that all these scenes share one kernel
OFF = Point(position=(0.0, 0.0, 0.0), intensity=(0.0, 0.0, 0.0))


@dataclass(frozen=True)
class Finding:
    """A number measured and the number it should be. error: standard error of the measured one."""

    what: str
    measured: float
    expected: float
    error: float

    @property
    def z(self):
        """Standard errors from the expectation."""
        return (self.measured - self.expected) / self.error

    @property
    def bias(self):
        """Relative difference from the expectation."""
        return self.measured / self.expected - 1


@dataclass(frozen=True)
class Comparison:
    """Two noisy images of one thing. z: of every value that has noise. mean_z: (3,) of the channels' means."""

    z: np.ndarray
    mean_z: np.ndarray
    mean_bias: np.ndarray

    @property
    def rms(self):
        """Root mean square of z: 1 for equal images."""
        return float(np.sqrt((self.z**2).mean()))

    def share_within(self, alpha=0.01):
        """Share of the values within the z-test's limit with Šidák correction."""
        return float((np.abs(self.z) <= norm.isf(0.5 * (1 - (1 - alpha) ** (1 / self.z.size)))).mean())


def compare(mean, variance, other_mean, other_variance, least=0.0):
    """z-scores between two images (H, W, 3); least: variance below which a value counts as free of noise."""
    variance = variance.astype(float) + other_variance
    difference = mean.astype(float) - other_mean
    noisy = variance > least
    error = np.sqrt(variance.sum((0, 1))) / difference[..., 0].size
    # Channels share paths and are correlated, so each has a mean of its own.
    average = difference.mean((0, 1))
    return Comparison(
        difference[noisy] / np.sqrt(variance[noisy]),
        average / np.maximum(error, 1e-30),
        average / np.maximum(np.mean(other_mean, (0, 1), dtype=float), 1e-30),
    )


def same_image(a, b):
    """Comparison of two of our own images."""
    return compare(a.mean, a.variance, b.mean, b.variance, 1e-12 * max(a.mean.max(), 1e-9) ** 2)


def oracle(scene, spp, seeds=(1, 2)):
    """`volpath` beside `volpath_simple`, which gets a quarter of the samples.

    Both stop at 64 scatterings: the oracle has no roulette, and most of its paths would wander for ever.
    """
    scene = scene.with_(max_scatterings=64)
    return same_image(radiance([scene], spp, seeds[0])[0], radiance_simple(scene, spp // 4, seeds[1]))


def mitsuba(reference):
    """Our image of a reference scene beside Mitsuba's, and the largest difference where neither has noise."""
    stored = np.load(REFS / f"{reference.name}.npz")
    ours = radiance([build(reference)], MITSUBA_SPP[reference.name[0]], 1)[0]
    quiet = ours.variance.astype(float) + stored["variance"] <= 0
    difference = np.abs(ours.mean.astype(float) - stored["mean"])[quiet].max(initial=0)
    return compare(ours.mean, ours.variance, stored["mean"], stored["variance"]), difference


def mean_of(what, image, expected, channel=0, weight=1.0):
    """The mean of one channel as a finding."""
    values, variance = image.mean[..., channel].astype(float), image.variance[..., channel].astype(float)
    n = values.size
    return Finding(what, float((weight * values).mean()), expected, float(np.sqrt((weight**2 * variance).sum()) / n))


# Tracking: single rays along z through media that vary along z alone.


@dataclass(frozen=True)
class Profile:
    """A medium that varies along z. scene: a camera before it; sigma_t at mm into it; depth: its thickness, mm."""

    scene: Scene
    sigma_t: object
    depth: float


def _along_z(medium, tissue, sigma_t, depth, front):
    """Camera at (0.5, 0.5, front - depth): a beam hardly wider than a ray."""
    pose = affine((1.0,) * 3, translation=(0.5, 0.5, front - depth))
    camera = Pinhole(width=4, height=4, fov=0.05)
    return Profile(Scene(medium, camera, pose, (OFF, DARK), tissue, surface="volume"), sigma_t, depth)


def _grid(values):
    """A GridMedium of 1 mm: linear between voxel centres, constant over the outer halves. Isotropic, albedo 0.8."""
    values = np.asarray(values, np.float32)
    n = len(values)
    medium = GridMedium(
        np.ascontiguousarray(np.broadcast_to(values, (2, 2, n))),
        np.full((2, 2, n, 3), 0.8, np.float32),
        affine((1.0,) * 3, translation=(0.0, 0.0, 0.5)),
        Isotropic(),
    )
    return _along_z(medium, Tissue(), lambda t: np.interp(t - 0.5, np.arange(n), values), float(n), 0.0)


def _ct():
    """A line through the shipped scan, half air and half tissue, under control points that let most light pass."""
    line = np.asarray(open_ct("sample").hu)[48:96, 70, 50].astype(np.int16)
    tissue = Tissue(
        hu=(-900.0, -300.0, 40.0, 500.0), sigma_t=(0, 0.006, 0.009, 0.015), albedo=((0.8,) * 3,) * 4, phase=Isotropic()
    )
    volume = Volume(np.ascontiguousarray(np.broadcast_to(line, (2, 2, len(line)))), np.eye(4))
    n = len(line)

    def sigma_t(t):
        return tissue.table(np.interp(t, np.arange(n), line.astype(float)))[:, 0].astype(float)

    return _along_z(volume, tissue, sigma_t, n - 1.0, 0.0)


PROFILES = {
    "constant": functools.cache(lambda: _grid(np.full(16, 0.015))),
    "linear": functools.cache(lambda: _grid(np.linspace(0.0, 0.03, 16))),
    "CT": functools.cache(_ct),
}


@contextlib.contextmanager
def global_majorant():
    """Within, `volpath` tracks under one bound for the whole medium."""
    true = world.cells

    def flat(*args):
        most = backend.fetch(true(*args))[..., 0]
        # The sign marks cells that stick out of the grid; with 0 as the least nothing is known without a look-up.
        one = np.copysign(np.abs(most).max(), most)
        return backend.resident(np.stack([one, np.zeros_like(one)], -1))

    with mock.patch.object(world, "cells", flat):
        yield


# The fast integrator tracks by delta tracking alone; the simple one's shadow rays are ratio-tracked.
TRACKERS = {
    "local majorants": lambda scene, spp, seed: radiance([scene], spp, seed)[0],
    "global majorant": lambda scene, spp, seed: _globally(scene, spp, seed),
    "simple integrator": radiance_simple,
}


def _globally(scene, spp, seed):
    with global_majorant():
        return radiance([scene], spp, seed)[0]


def _seed(profile, tracker):
    return 100 + 10 * list(PROFILES).index(profile) + list(TRACKERS).index(tracker)


def free_flights(profile, tracker, spp=65536):
    """Delta tracking: the share of paths that pass, against exp(-∫ sigma_t dt). 16 spp paths."""
    p = PROFILES[profile]()
    step = p.depth / 100_000
    t = (np.arange(100_000) + 0.5) * step
    scene = p.scene.with_(lights=(OFF, Constant()), max_scatterings=0)
    image = TRACKERS[tracker](scene, spp, _seed(profile, tracker))
    return mean_of(f"{profile}, {tracker}", image, float(np.exp(-p.sigma_t(t).sum() * step)))


def shadow_rays(profile, tracker, spp=655360):
    """Single scattering of a point light at the lens: there and back, albedo / 4π ∫ sigma_t T² I / r² dt."""
    p = PROFILES[profile]()
    step = p.depth / 100_000
    t = (np.arange(100_000) + 0.5) * step
    sigma_t = p.sigma_t(t)
    transmittance = np.exp(-(np.cumsum(sigma_t) - 0.5 * sigma_t) * step)
    light = Point(intensity=(4 * np.pi * p.depth**2,) * 3)
    expected = 0.8 * (sigma_t * transmittance**2 * (p.depth / (p.depth + t)) ** 2).sum() * step
    image = TRACKERS[tracker](p.scene.with_(lights=(light, DARK), max_scatterings=1), spp, _seed(profile, tracker))
    return mean_of(f"{profile}, {tracker}", image, float(expected))


def inverse_square(distance, spp=131072):
    """Single scattering in a slab, light and lens on one axis: albedo / 4π ∫ sigma_t T I T' / r² dt."""
    sigma_t = 0.5
    p = _grid(np.full(2, sigma_t))
    light = Point(position=(0.5, 0.5, -distance), intensity=(4 * np.pi * distance**2,) * 3, attached="world")
    step = p.depth / 100_000
    t = (np.arange(100_000) + 0.5) * step
    expected = 0.8 * sigma_t * (np.exp(-2 * sigma_t * t) * (distance / (distance + t)) ** 2).sum() * step
    image = radiance([p.scene.with_(lights=(light, DARK), max_scatterings=1)], spp, 200 + int(distance))[0]
    return mean_of(f"{distance:g} mm", image, float(expected))


# Multiple scattering.


def furnace(phase, spp=2048):
    """Albedo 1 under constant light: radiance 1 everywhere, by energy conservation. Also the image."""
    sigma_t = np.random.default_rng(0).uniform(0, 12, (8, 8, 8)).astype(np.float32)
    # An even sky is not sampled, and every path brings exactly 1. A grain of unevenness has it sampled, with MIS.
    sky = EnvironmentMap(pixels=[[[1.0] * 3, [1.0] * 3], [[1.0] * 3, [1.000001] * 3]])
    image = radiance([cube_scene(sigma_t, 1.0, [OFF, sky], phase=phase)], spp, 3)[0]
    return mean_of(str(phase), image, 1.0), image


def half_space(spp=16384):
    """Diffuse reflectance of a matched half space, albedo 0.9, isotropic: 0.41495 (Chandrasekhar's H-function).

    Light falls straight down; by reciprocity the mean radiance seen along the normal under constant light equals it.
    """
    pose = affine((1,) * 3, translation=(30, 30, -90))
    scene = cube_scene(2.0, 0.9, [OFF, Constant()], size=4, edge=60.0, fov=0.5, pose=pose)
    return mean_of("R_d", radiance([scene], spp, 5)[0], 0.41495)


def deep_reflectance(albedo, g, streams=64):
    """Diffuse reflectance of a matched half space under light straight down, Henyey-Greenstein, by adding-doubling.

    By reciprocity it is the radiance straight up under even light, for which the mean over azimuths suffices
    (van de Hulst 1980, Multiple Light Scattering).
    """
    mu, weight = np.polynomial.legendre.leggauss(streams)
    mu, weight = np.append(0.5 * (mu + 1), 1.0), np.append(0.5 * weight, 0.0)
    orders = np.arange(2 * streams)
    legendre = np.polynomial.legendre.legvander(mu, orders[-1])
    moments = (2 * orders + 1) * g**orders
    thin = 2.0**-24  # optical depth of a layer in which light scatters once at most; doubled 40 times it is deep
    share = 0.5 * albedo * thin / mu[:, None] * weight
    through = np.diag(1 - thin / mu) + share * ((legendre * moments) @ legendre.T)
    back = share * ((legendre * moments * (-1.0) ** orders) @ legendre.T)
    for _ in range(40):
        between = np.linalg.solve(np.eye(len(mu)) - back @ back, through)
        back, through = back + through @ back @ between, through @ between
    return float(back.sum(1)[-1])


SIMILAR = (0.96, 0.9, 0.8)  # albedo of red, green, blue


def similar_half_space(after, albedo=SIMILAR, spp=16384, render=None):
    """Diffuse reflectance of a half space with g = 0.9 under `similarity_after`, beside the true one."""
    medium = Volume(np.full((9, 9, 9), 40, np.int16), affine((15.0,) * 3))
    tissue = Tissue(hu=(40,), sigma_t=(10.0,), albedo=(albedo,), phase={"type": "hg", "g": 0.9}, similarity_after=after)
    pose = affine((1,) * 3, translation=(60, 60, -90))
    scene = Scene(medium, Pinhole(width=16, height=16, fov=0.5), pose, (Constant(),), tissue, surface="volume")
    image = (render or (lambda *a: radiance([a[0]], *a[1:])[0]))(scene, spp, 11)
    return [mean_of(str(a), image, deep_reflectance(a, 0.9), channel) for channel, a in enumerate(albedo)]


SLAB = {"R_d": 0.09739, "T_t": 0.66096}  # van de Hulst 1980, Multiple Light Scattering


def slab(spp=131072, render=None):
    """Matched slab, absorption 10 and scattering 90 cm⁻¹, g = 0.75, 0.02 cm, light falling straight down.

    By reciprocity: seen along the normal under light from the camera's half of the sky (diffuse reflectance) and from
    the other (total transmittance). The two are the red and the green of one picture.
    """
    n, thickness, side = 4, 0.2, 40.0
    medium = GridMedium(
        np.full((n, n, n), 10.0, np.float32),
        np.full((n, n, n, 3), 0.9, np.float32),
        affine((side / n, side / n, thickness / n), translation=(side / n / 2, side / n / 2, thickness / n / 2)),
        cube_scene(1.0, 1.0, [DARK], g=0.75).medium.phase,
    )
    # The upper half of the map is the sky behind the slab, as the camera sees it; the step between is one row wide.
    sky = EnvironmentMap(pixels=[[[0.0, 1.0, 0.0]]] * 512 + [[[1.0, 0.0, 0.0]]] * 512)
    pose = affine((1,) * 3, translation=(side / 2, side / 2, -5.0))
    scene = Scene(medium, Pinhole(width=4, height=4, fov=0.5), pose, (OFF, sky), surface="volume")
    image = (render or (lambda *a: radiance([a[0]], *a[1:])[0]))(scene, spp, 7)
    return [mean_of(name, image, SLAB[name], channel) for channel, name in enumerate(SLAB)]


def too_peaked(phase):
    """Whether light so seldom meets the phase function's peak that `reciprocity` is too noisy to tell."""
    return 4 * np.pi * phase_call("pdf", phase, np.array([-1.0, 1.0], np.float32)).max() > 195


def reciprocity(phase, spp=8192):
    """Light that reaches A from a point at B through an uneven medium, over what reaches B from A: 1.

    Summed over the solid angle of the picture, which holds all of the medium.
    """
    rng = np.random.default_rng(2)
    sigma_t = (rng.uniform(0, 6, (6, 6, 6)) * np.linspace(0.1, 2, 6)).astype(np.float32)
    albedo = rng.uniform(0.5, 1, (6, 6, 6, 3)).astype(np.float32)
    scene = cube_scene(sigma_t, 0.0, [OFF, DARK], phase=phase)
    medium = dataclasses.replace(scene.medium, albedo=albedo)
    eyes = np.array([[0.5, 0.4, -4.0], [3.5, 2.5, 3.0]])
    received = []
    for here, there in ((0, 1), (1, 0)):
        camera = Pinhole(width=12, height=12, fov=26)
        forward = np.array([0.5, 0.5, 0.5]) - eyes[here]
        forward /= np.linalg.norm(forward)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        pose = affine((1,) * 3, np.stack([right, np.cross(forward, right), forward], 1), eyes[here])
        light = Point(position=tuple(eyes[there]), intensity=(30.0,) * 3, attached="world")
        view = scene.with_(medium=medium, camera=camera, world_from_camera=pose, lights=(light, DARK))
        solid_angle = camera.unproject(camera.pixels())[..., 2] ** 3
        received.append(mean_of("", radiance([view], spp, 8 + here)[0], 1.0, weight=solid_angle))
    a, b = received
    ratio = a.measured / b.measured
    return Finding(str(phase), ratio, 1.0, ratio * float(np.hypot(a.error / a.measured, b.error / b.measured)))


def variance_ratio(scene, spp=1024):
    """Median over the pixels of the variance with spp samples over that with twice as many: 2."""
    few, many = radiance([scene], spp, 9)[0], radiance([scene], 2 * spp, 10)[0]
    return float(np.median(few.variance / many.variance))
